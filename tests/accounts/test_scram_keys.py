"""What SCRAM shows of accounts, known and unknown: the same, in the same time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.accounts.contract import Account
from restante.accounts.scram_keys import MIN_SECRET, ScramKeyFinder
from restante.calls import OnThread, finished
from restante.sasl.scram import HASHES, ScramKeys, make

SECRET = b"0123456789abcdef"
SCHEMES = sorted(HASHES)
OWN = {
    scheme: make(HASHES[scheme], "secret", salt=b"own salt, 16 oct", iterations=50)
    for scheme in SCHEMES
}


class Finder(ScramKeyFinder):
    """Finds keys however long it takes."""

    def keys(self, account: Account | None, name: str, scheme: str, *, derives: bool) -> ScramKeys:
        return finished(self.find(account, name, scheme, derives=derives))


def finder(secret: bytes = SECRET, **settings: Any) -> Finder:
    return Finder(secret, **({"iterations": 50} | settings))


def keeps_keys(scheme: str, name: str = "joe", **more: Any) -> Account:
    return Account(name, ("{ARGON2ID}x", f"{{{scheme}}}{OWN[scheme].format()}"), **more)


def keeps_password(name: str = "joe", **more: Any) -> Account:
    return Account(name, ("{PLAIN}secret",), **more)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("derives", [False, True])
def test_an_account_s_own_keys_come_first(scheme: str, derives: bool) -> None:
    account = keeps_keys(scheme)
    both = Account("joe", ("{PLAIN}secret", *account.credentials))
    for each in (account, both):
        assert finder().keys(each, "joe", scheme, derives=derives) == OWN[scheme]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("derives", [False, True])
def test_a_password_that_is_kept_gives_keys(scheme: str, derives: bool) -> None:
    """Even where the store had not said that there is one."""
    keys = finder().keys(keeps_password(), "joe", scheme, derives=derives)
    assert keys == make(HASHES[scheme], "secret", salt=keys.salt, iterations=50)
    assert keys.password == "secret"


@pytest.mark.parametrize(
    "credentials",
    [
        (),
        ("{ARGON2ID}$argon2id$x",),
        ("{PLAIN}",),
        ("secret",),
        ("{SCRAM-SHA-256}damaged",),
        ("{SCRAM-SHA-256}",),
    ],
)
@pytest.mark.parametrize("derives", [False, True])
def test_an_account_without_either_is_as_one_that_is_not_there(
    credentials: tuple[str, ...], derives: bool
) -> None:
    account = Account("joe", credentials)
    made_up, found = (
        finder().keys(each, "joe", "SCRAM-SHA-256", derives=derives) for each in (account, None)
    )
    assert (made_up.salt, made_up.iterations) == (found.salt, found.iterations)
    assert made_up.password is None


def test_damaged_keys_don_t_hide_a_password() -> None:
    account = Account("joe", ("{SCRAM-SHA-1}damaged", "{PLAIN}secret"))
    assert finder().keys(account, "joe", "SCRAM-SHA-1", derives=True).password == "secret"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("derives", [False, True])
def test_made_up_keys_look_like_real_ones(scheme: str, derives: bool) -> None:
    """The same number of iterations, the same size of salt; always the same salt."""
    seen = {
        (keys.salt, keys.iterations)
        for keys in (finder().keys(None, "nobody", scheme, derives=derives) for _ in range(3))
    }
    assert len(seen) == 1
    ((salt, iterations),) = seen
    assert (len(salt), iterations) == (len(OWN[scheme].salt), OWN[scheme].iterations)


def test_made_up_keys_can_be_made_to_look_otherwise() -> None:
    keys = finder(iterations=7, salt_octets=12).keys(None, "x", "SCRAM-SHA-1", derives=False)
    assert (len(keys.salt), keys.iterations) == (12, 7)


def test_salts_are_a_name_s_a_scheme_s_and_a_secret_s_own() -> None:
    names = ("nobody", "nobody2", "joe", "", "n\0", "Zoë")
    secrets = (SECRET, SECRET[::-1])
    salts = [
        finder(secret).keys(None, name, scheme, derives=False).salt
        for secret in secrets
        for name in names
        for scheme in SCHEMES
    ]
    assert len(set(salts)) == len(salts)


def test_made_up_keys_are_keys_of_nothing() -> None:
    """They differ each time, so nobody can ever have worked out a proof."""
    first, second = (
        finder().keys(None, "nobody", "SCRAM-SHA-256", derives=False) for _ in range(2)
    )
    assert first.stored_key != second.stored_key
    assert first.server_key != second.server_key
    assert len(first.stored_key) == len(first.server_key) == 32


@pytest.mark.parametrize("known", [keeps_password(), None], ids=["known", "unknown"])
def test_spellings_that_are_one_name_have_one_salt(known: Account | None) -> None:
    """A store that looks names up without regard to case must not be told from their salts."""
    spellings = ("joé", "JOÉ", "joe\u0301", "Joe\u0301")
    found = {finder().keys(known, n, "SCRAM-SHA-1", derives=True).salt for n in spellings}
    assert len(found) == 1
    exact: Callable[[str], str] = str
    apart = {finder(key=exact).keys(known, n, "SCRAM-SHA-1", derives=True).salt for n in spellings}
    assert len(apart) == 4


@pytest.mark.parametrize("derives", [False, True])
def test_a_disabled_account_looks_as_before(derives: bool) -> None:
    for make_account in (keeps_password, lambda **more: keeps_keys("SCRAM-SHA-1", **more)):
        before, after = (
            finder().keys(make_account(disabled=off), "joe", "SCRAM-SHA-1", derives=derives)
            for off in (False, True)
        )
        assert before == after


@pytest.mark.parametrize("derives", [False, True])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_same_work_is_done_for_every_name(
    scheme: str, derives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, where a clock would only be nearly right."""
    work: list[tuple[str, int, int]] = []
    derive = hashlib.pbkdf2_hmac

    def counted(name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
        work.append((name, len(salt), iterations))
        return derive(name, password, salt, iterations)

    monkeypatch.setattr(hashlib, "pbkdf2_hmac", counted)
    accounts = [None, Account("joe"), keeps_keys(scheme)]
    if derives:
        accounts.append(keeps_password())
    one = finder()
    for account in accounts * 2:  # nor is it less the second time
        work.clear()
        found = one.find(account, "joe", scheme, derives=derives)
        assert isinstance(found, OnThread) is derives
        assert work == []
        finished(found)
        assert work == [(HASHES[scheme], 16, 50)] * derives


def test_keys_of_a_password_are_derived_on_a_thread() -> None:
    found = finder().find(keeps_password(), "joe", "SCRAM-SHA-1", derives=False)
    assert isinstance(found, OnThread)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        ScramKeyFinder(b"x" * (MIN_SECRET - 1))


@given(st.text(), st.sampled_from(SCHEMES))
def test_there_are_keys_for_every_name(name: str, scheme: str) -> None:
    one, other = (finder().keys(None, name, scheme, derives=False) for _ in range(2))
    assert one.salt == other.salt
    assert ScramKeys.parse(one.format()) == one
