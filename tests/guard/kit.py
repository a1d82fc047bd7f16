"""What tests of the guard share: a clock, and connections that do one thing each."""

from __future__ import annotations

from itertools import count
from typing import Any

from restante.guard.admission import Admission
from restante.guard.guard import Guard
from restante.guard.settings import GuardSettings
from restante.protocol.replies import Err

HERE, THERE = "192.0.2.1", "198.51.100.7"
HOUR = 3600.0

guesses = count()


class Clock:
    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def new_guard(clock: Clock | None = None, **given: Any) -> Guard:
    return Guard(GuardSettings(**given), clock=clock or Clock())


def connection(guard: Guard, address: str = HERE) -> Admission:
    """A connection of which only logins count."""
    return Admission(guard, None, address)


def arrive(guard: Guard, address: str) -> Err | None:
    """A connection that comes, and stays."""
    return connection(guard, address).arrive()


def enter(guard: Guard, address: str, account: str) -> bool:
    """Whether a connection becomes a session of an account; it stays."""
    return connection(guard, address).enter(account) is None


def ask(guard: Guard, address: str, name: str) -> float | None:
    """An attempt that isn't decided."""
    return connection(guard, address).ask(name)


def fail(guard: Guard, address: str, name: str, secret: bytes | None) -> float | None:
    """A wrong attempt, without the wait that is asked for."""
    admission = connection(guard, address)
    wait = admission.ask(name)
    admission.failed(secret)
    return wait


def guess(guard: Guard, clock: Clock, address: str = HERE, name: str = "joe") -> float | None:
    """One wrong password, never the same, after the wait that is asked for."""
    admission = connection(guard, address)
    wait = admission.ask(name)
    if wait is not None:
        clock.now += wait
        admission.failed(b"wrong %d" % next(guesses))
    return wait


def owner(guard: Guard, address: str = THERE, name: str = "joe") -> float | None:
    """A right login."""
    admission = connection(guard, address)
    wait = admission.ask(name)
    if wait is not None:
        admission.proven(name)
    return wait


def is_open(guard: Guard, address: str, name: str) -> bool:
    """Whether an attempt would be checked at once."""
    admission = connection(guard, address)
    wait = admission.ask(name)
    admission.undecided()
    return wait == 0
