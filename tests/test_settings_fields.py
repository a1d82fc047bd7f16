"""Settings are declared once: a default, and what is allowed."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import pytest

from restante import Account, AppPassword, GuardSettings, Settings, StaticAccounts
from restante.settings_fields import allowed_of, bounded, check, choice, items, unknown_setting
from restante.testing import MailServer


def even(number: int) -> None:
    if number % 2:
        raise ValueError("odd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    count: int = bounded(5, 1, 1000)
    seconds: float = bounded(1.0, 0, unit="seconds")
    days: int | None = bounded(None, 0, unit="days")
    manner: Literal["pop", "sasl", "both"] = "both"
    size: str = choice("s", "s", "m")
    flag: bool = False
    name: str | None = None
    numbers: tuple[int, ...] = items((), "even numbers", even)
    kinds: tuple[Literal["a", "b"], ...] | None = None

    def __post_init__(self) -> None:
        check(self)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": 0}, "count=0: allowed is a whole number from 1 to 1000"),
        ({"seconds": -1}, "seconds=-1: allowed is seconds, 0 or more"),
        ({"seconds": float("nan")}, "seconds=nan: allowed is seconds, 0 or more"),
        ({"days": -3}, "days=-3: allowed is days, 0 or more"),
        ({"manner": "none"}, """manner='none': allowed is "pop", "sasl" or "both\""""),
        ({"size": "xl"}, """size='xl': allowed is "s" or "m\""""),
        ({"numbers": (2, 3)}, "numbers=3: allowed are even numbers (odd)"),
        ({"kinds": ["a", "c"]}, """kinds='c': allowed are "a" or "b\""""),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_what_is(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError) as caught:
        Example(**given)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": 2.0}, "count=2.0: allowed is a whole number from 1 to 1000"),
        ({"count": True}, "count=True: allowed is a whole number from 1 to 1000"),
        ({"count": None}, "count=None: allowed is a whole number from 1 to 1000"),
        ({"seconds": "5"}, "seconds='5': allowed is seconds, 0 or more"),
        ({"flag": "no"}, "flag='no': allowed is true or false"),
        ({"flag": 1}, "flag=1: allowed is true or false"),
        ({"name": b"joe"}, "name=b'joe': allowed is text"),
        ({"numbers": 2}, "numbers=2: allowed is a list of even numbers"),
        ({"kinds": "a"}, """kinds='a': allowed is a list of "a" or "b", or none"""),
        ({"numbers": ("2",)}, "numbers='2': allowed are even numbers"),
    ],
)
def test_a_value_of_a_wrong_type_is_named_with_what_is_allowed(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError) as caught:
        Example(**given)
    assert str(caught.value) == message


def test_what_is_allowed_is_taken() -> None:
    example = Example(count=1000, seconds=3, days=0, manner="pop", name="joe", kinds=["a"])  # type: ignore[arg-type]
    assert example.kinds == ("a",)
    assert Example() == Example(count=5, days=None)


def test_the_declarations_can_be_read() -> None:
    allowed = allowed_of(Example)
    assert list(allowed) == [
        "count", "seconds", "days", "manner", "size", "flag", "name", "numbers", "kinds"
    ]  # fmt: skip
    assert (allowed["count"].least, allowed["count"].most) == (1, 1000)
    assert allowed["manner"].choices == ("pop", "sasl", "both")
    assert allowed["numbers"].several
    assert allowed["days"].optional
    assert [str(allowed[name]) for name in ("count", "days", "flag", "numbers")] == [
        "a whole number from 1 to 1000",
        "days, 0 or more, or none",
        "true or false",
        "a list of even numbers",
    ]


@pytest.mark.parametrize(
    ("kind", "misspelt", "meant"),
    [
        ("restante.GuardSettings", "ban_afer", "ban_after"),
        ("restante.Guard", "setings", "settings"),
        ("restante.Settings", "idle_timout", "idle_timeout"),
        ("restante.Pop3Server", "acounts", "accounts"),
        ("restante.Pop3Server", "idle_timout", "idle_timeout"),
        ("restante.testing.MailServer", "any_logn", "any_login"),
        ("restante.testing.MailServer", "idle_timout", "idle_timeout"),
        ("restante.TlsSettings", "certificat", "certificate"),
        ("restante.Certificate", "chian", "chain"),
        ("restante.Listener", "prot", "port"),
        ("restante.OAuth", "isuer", "issuer"),
        ("restante.Kerberos", "hostnam", "hostname"),
        ("restante.Account", "mail_drop", "maildrop"),
        ("restante.AppPassword", "credentials", "credential"),
        ("restante.StaticAccounts", "case_insensitiv", "case_insensitive"),
        ("restante.SqliteAccounts", "case_insensitiv", "case_insensitive"),
        ("restante.PasswdFile", "pth", "path"),
        ("restante.accounts.LdapAccounts", "bind_dm", "bind_dn"),
        ("restante.accounts.PostgresAccounts", "look_up", "lookup"),
        ("restante.accounts.MysqlAccounts", "look_up", "lookup"),
        ("restante.accounts.PamAccounts", "servise", "service"),
        ("restante.Maildir", "fsnc", "fsync"),
        ("restante.delivery.Intake", "hostnme", "hostname"),
        ("restante.delivery.Recipients", "domain", "domains"),
    ],
)
def test_whatever_has_settings_answers_a_misspelt_one_by_the_one_that_was_meant(
    kind: str, misspelt: str, meant: str
) -> None:
    package, _, name = kind.rpartition(".")
    with pytest.raises(TypeError) as caught:
        getattr(import_module(package), name)(**{misspelt: 1})
    said = f"{name}: unknown setting {misspelt!r}: did you mean {meant!r}?"
    assert str(caught.value) == said


@pytest.mark.parametrize(
    "kind", [GuardSettings, Settings, Account, AppPassword, StaticAccounts, MailServer]
)
def test_what_was_refused_can_be_shown_in_a_report(kind: type[Any]) -> None:
    refused: Any = object.__new__(kind)
    with pytest.raises(TypeError, match="unknown setting 'misspelt'"):
        refused.__init__(misspelt=1)
    assert kind.__name__ in repr(refused)


def test_the_signature_of_what_has_settings_stays() -> None:
    assert str(inspect.signature(GuardSettings)).startswith("(*, free_failures: 'int' = 5,")


def test_a_misspelt_setting_is_answered_by_the_one_that_was_meant() -> None:
    known = {"idle_timeout", "login_delay"}
    assert unknown_setting("idle_timout", known) == (
        "unknown setting 'idle_timout': did you mean 'idle_timeout'?"
    )
    assert unknown_setting("colour", known) == (
        "unknown setting 'colour': known are idle_timeout, login_delay"
    )
