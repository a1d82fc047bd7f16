"""Settings, checked when they are given; login delay, by its clock."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest

from restante import Listener, MemoryStore, StaticAccounts
from restante.delivery import Intake, Recipients
from restante.guard.login_delay import LoginDelay
from restante.server.settings import Settings, SettingsGiven


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"use_auth": "none"}, "use_auth='none': allowed is .pop., .sasl. or .both."),
        (
            {"utf8_headers": "drop"},
            "utf8_headers='drop': allowed is .internationalized., .downgrade., .refuse. or .as-is.",
        ),
        ({"min_threads": -1}, "min_threads=-1: allowed is a whole number, 0 or more"),
        ({"max_threads": 0}, "max_threads=0: allowed is a whole number, 1 or more"),
        ({"min_threads": 9, "max_threads": 3}, "min_threads=9: allowed is up to max_threads=3"),
        ({"batch_size": 1}, "batch_size=1: allowed is octets from 512 to 16777216"),
        ({"failure_delay": -0.5}, "failure_delay=-0.5: allowed is seconds from 0 to 60"),
        ({"max_connections": 0}, "max_connections=0: allowed is a whole number, 1 or more"),
        ({"idle_timeout": 60}, r"idle_timeout=60: allowed is 600 seconds or more \(RFC 1939"),
    ],
)
def test_a_mistake_is_named_with_its_value_and_what_is_allowed(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**given)


@pytest.mark.parametrize(
    ("hostname", "reason"),
    [
        ("a b", "' ' is in it; letters, digits, hyphens and dots may be"),
        ("mail.example.org\r\n", "'.r' is in it"),
        ("bücher.example", "'ü' is in it; .*other letters as A-labels"),
        ("[192.0.2.1]", "'\\[' is in it"),
        ("", "between its dots there must be 1 to 63 characters"),
        ("mail..example", "between its dots"),
        ("a" * 64, "between its dots"),
        ("a." * 130 + "a", "it has more than 253 characters"),
    ],
)
def test_a_host_name_is_one(hostname: str, reason: str) -> None:
    """It goes out in greetings, challenges and trace lines."""
    allowed = "hostname=.*: allowed is a host name, as mail.example.org"
    with pytest.raises(ValueError, match=rf"{allowed} \({reason}"):
        Settings(hostname=hostname)
    with pytest.raises(ValueError, match=rf"{allowed} \({reason}"):
        Intake(recipients=Recipients(StaticAccounts({})), store=MemoryStore(), hostname=hostname)


@pytest.mark.parametrize(
    "hostname", ["localhost", "mail.example.org", "my_app-1", "xn--strae-oqa.de"]
)
def test_a_name_that_machines_have_is_taken(hostname: str) -> None:
    assert Settings(hostname=hostname).hostname == hostname


def test_the_defaults_are_allowed_and_a_short_idle_time_when_it_is_meant() -> None:
    assert Settings().idle_timeout == 600
    assert Settings(idle_timeout=0.5, short_idle=True).idle_timeout == 0.5


def test_listeners_are_checked() -> None:
    with pytest.raises(ValueError, match="tls='on'"):
        Listener(tls="on")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="port=65536"):
        Listener(port=65536)


@pytest.mark.parametrize(
    "given",
    [
        {"allow_plaintext": "no"}, {"max_threads": "4"}, {"hostname": 7}, {"idle_timeout": None},
        {"mechanisms": "PLAIN"}, {"min_threads": True},
    ],
)  # fmt: skip
def test_a_value_of_a_wrong_type_is_named(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(TypeError, match=f"{name}=.*: allowed"):
        Settings(**given)


def test_an_expire_time_in_the_past_is_refused() -> None:
    with pytest.raises(ValueError, match="expire_days=-3: allowed is days, 0 or more"):
        Settings(expire_days=-3)


def test_the_keywords_that_type_checkers_know_are_the_settings() -> None:
    assert get_type_hints(SettingsGiven) == get_type_hints(Settings)


def test_a_misspelt_setting_is_told_with_the_right_name() -> None:
    with pytest.raises(TypeError, match="did you mean 'allow_plaintext'"):
        Settings(alow_plaintext=True)  # type: ignore[call-arg]


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("start", [0.0, 0.1, 3.3, 12345.678])
@pytest.mark.parametrize("seconds", [1, 30, 900, 86_400])
def test_the_first_login_is_free_and_the_next_waits(start: float, seconds: int) -> None:
    """Also right after the machine has started, when its clock is younger than the delay."""
    clock = Clock(start)
    delay = LoginDelay(seconds, clock)
    assert delay.wait_for("joe") == 0
    delay.count("joe")
    assert delay.wait_for("ann") == 0
    clock.now += seconds / 4
    assert delay.wait_for("joe") == pytest.approx(seconds * 3 / 4)
    clock.now += seconds * 0.76
    assert delay.wait_for("joe") == 0
    delay.count("joe")
    assert delay.wait_for("joe") == pytest.approx(seconds)


def test_what_is_over_is_forgotten() -> None:
    clock = Clock(100.0)
    delay = LoginDelay(10, clock)
    for number in range(1000):
        delay.count(f"user{number}")
    clock.now += 11
    delay.count("late")
    assert len(delay._last) == 1


def test_no_delay_remembers_nobody() -> None:
    delay = LoginDelay(0)
    for _ in range(3):
        assert delay.wait_for("joe") == 0
        delay.count("joe")
    assert not delay._last
