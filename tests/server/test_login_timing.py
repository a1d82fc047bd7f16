"""Whether the time of an answer tells who has an account, or that a password is right.

A real server without `failure_delay`, which would hide all of it, is asked by turns about two
cases. Not the clock tells them apart, which a busy machine disturbs, but what the server does:
slow hashes, their costs, and whether they are computed on the event loop, must be the same, and so
must, with some tolerance, the calls of functions and rounds of hashes be in number.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from restante import (
    Account,
    AccountStore,
    ClientSession,
    GuardSettings,
    Observer,
    Pop3Server,
    StaticAccounts,
)
from restante.accounts import schemes, verify
from restante.accounts.schemes import hash_password
from tests.needs import only_cpython
from tests.server.kit import NAME, PASSWORD, Client, serving
from tests.server.login_clients import Caller, attempt

pytestmark = only_cpython  # whose calls are counted

TRIES = 9

ALIKE = 1.05
"""How far the numbers of calls may differ."""

Try = Callable[[Client], None]
"""A try to log in."""


class Meter(Observer):
    """What threads that begin after it do between each line of a client and its answer."""

    def __init__(self) -> None:
        self._calls = itertools.count()
        self._rounds = self._since = self.done = 0
        self.slow: list[tuple[object, ...]] = []

    def called(self, *_: object) -> None:
        """A function was called or returned (see `sys.setprofile`)."""
        next(self._calls)

    def note(self, *what: object, rounds: int = 0) -> None:
        """Something slow was done. Each round counts as a call, though it takes longer."""
        self.slow.append((*what, "on the loop" if asyncio._get_running_loop() else "on a thread"))
        self._rounds += rounds

    def line(self, session: ClientSession, line: str) -> None:
        self._since = self._until_now()

    def reply(self, session: ClientSession, line: str) -> None:
        self.done += self._until_now() - self._since

    def reset(self) -> None:
        self.done = 0
        self.slow.clear()

    def _until_now(self) -> int:
        return next(self._calls) + self._rounds


@dataclass(frozen=True)
class Work:
    """What the server did for one kind of try.

    calls: of the try that took the fewest; what other threads and timers do only adds to them.
    slow: each way in which slow things were done.
    """

    calls: int
    slow: frozenset[tuple[tuple[object, ...], ...]]

    def tells(self, other: Work) -> bool:
        """Whether a client may tell it from the other by its time."""
        return self.slow != other.slow or not 1 / ALIKE < self.calls / other.calls < ALIKE


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Iterator[Meter]:
    """It sees servers that begin in the test, and what they hash."""
    made = Meter()
    scrypt, pbkdf2 = hashlib.scrypt, hashlib.pbkdf2_hmac

    def noting_scrypt(octets: bytes, **given: Any) -> bytes:
        n, r, p = given["n"], given["r"], given["p"]
        made.note("scrypt", n, r, p, rounds=n * r * p)
        return scrypt(octets, **given)

    def noting_pbkdf2(name: str, octets: bytes, salt: bytes, iterations: int) -> bytes:
        made.note("pbkdf2", name, iterations, rounds=iterations)
        return pbkdf2(name, octets, salt, iterations)

    monkeypatch.setattr(schemes, "scrypt", noting_scrypt)
    monkeypatch.setattr(hashlib, "pbkdf2_hmac", noting_pbkdf2)
    threading.setprofile(made.called)
    yield made
    threading.setprofile(None)


def compare(server: Pop3Server, meter: Meter, one: Try, other: Try) -> tuple[Work, Work]:
    """Try both by turns, each time in a session of its own."""
    server.observe(meter)
    calls: dict[Try, list[int]] = {one: [], other: []}
    slow: dict[Try, set[tuple[tuple[object, ...], ...]]] = {one: set(), other: set()}
    for number in range(TRIES + 1):
        for each in (one, other):
            with Client(server.port) as client:
                meter.reset()
                each(client)
                if number:  # the first time other things are done
                    calls[each].append(meter.done)
                    slow[each].add(tuple(meter.slow))
    first, second = (Work(min(calls[each]), frozenset(slow[each])) for each in (one, other))
    return first, second


def assert_alike(server: Pop3Server, meter: Meter, one: Try, other: Try) -> None:
    first, second = compare(server, meter, one, other)
    assert not first.tells(second), (first, second)


def refused(mechanism: str, name: str, password: str = "wrong") -> Try:
    """A login that fails."""
    caller = Caller(name, password)

    def take(client: Client) -> None:
        reply = attempt(client, mechanism, caller)
        assert reply == b"-ERR [AUTH] authentication failed"

    return take


def server_first(name: str) -> Try:
    """The first message of SCRAM's server, which tells salt and iterations."""
    message = b64encode(f"n,,n={name},r=nonce".encode())

    def take(client: Client) -> None:
        assert client.ask(b"AUTH SCRAM-SHA-256 " + message).startswith(b"+ ")
        assert client.ask("*").startswith(b"-ERR")

    return take


@contextmanager
def house(accounts: AccountStore) -> Iterator[Pop3Server]:
    guard = GuardSettings(trusted_networks=("127.0.0.0/8",))
    with serving(accounts=accounts, guard=guard, ntlm=True) as server:
        yield server


def with_rights(joe: Account) -> list[Account]:
    """joe, and others with the same credentials who may not log in, or not from here."""
    return [
        joe,
        replace(joe, name="disabled", disabled=True),
        replace(joe, name="expired", expires=1.0),
        replace(joe, name="elsewhere", networks=("192.0.2.0/24",)),
        replace(joe, name="sender", protocols=frozenset({"smtp"})),
    ]


@pytest.fixture
def slow_hash(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A credential of the slow kind, of small costs."""
    monkeypatch.setattr(schemes, "_SCRYPT_COSTS", (10, 8, 1))
    verify._decoy.cache_clear()
    yield hash_password(PASSWORD, "SCRYPT")
    verify._decoy.cache_clear()


@pytest.mark.parametrize("mechanism", ["PLAIN", "USER"])
@pytest.mark.parametrize("password", ["wrong", PASSWORD])
@pytest.mark.parametrize("name", ["disabled", "expired", "elsewhere", "sender"])
def test_slow_hashes_and_accounts_that_may_not(
    name: str, password: str, mechanism: str, meter: Meter, slow_hash: str
) -> None:
    """Not even the right password shows, tried again and again: it isn't remembered for them."""
    accounts = StaticAccounts(with_rights(Account(NAME, (slow_hash,))))
    with house(accounts) as server:
        known = refused(mechanism, name, password)
        assert_alike(server, meter, refused(mechanism, "nobody"), known)


def test_a_password_that_its_owner_uses_elsewhere(meter: Meter, slow_hash: str) -> None:
    """That it is remembered as right doesn't show where the account may not log in."""
    joe = Account(NAME, (slow_hash,), networks=("127.0.0.0/8",))
    accounts = StaticAccounts([joe])
    with house(accounts) as server:
        with Client(server.port) as client:
            client.log_in()
        accounts.remove(NAME)
        accounts.add(replace(joe, networks=("192.0.2.0/24",)))
        assert_alike(server, meter, refused("PLAIN", "nobody"), refused("PLAIN", NAME, PASSWORD))


@pytest.mark.parametrize("mechanism", ["PLAIN", "USER"])
@pytest.mark.parametrize("with_keys", [False, True])
def test_slow_hashes(with_keys: bool, mechanism: str, meter: Meter, slow_hash: str) -> None:
    """Alone, or beside keys for SCRAM, as `restante user add` makes them."""
    keys = hash_password(PASSWORD, "SCRAM-SHA-256")
    joe = Account(NAME, (slow_hash, keys) if with_keys else (slow_hash,))
    with house(StaticAccounts([joe])) as server:
        assert_alike(server, meter, refused(mechanism, "nobody"), refused(mechanism, NAME))


@pytest.mark.parametrize("mechanism", ["PLAIN", "USER", "APOP", "CRAM-MD5", "NTLM"])
def test_passwords_that_are_kept(mechanism: str, meter: Meter) -> None:
    with house(StaticAccounts({NAME: PASSWORD})) as server:
        assert_alike(server, meter, refused(mechanism, "nobody"), refused(mechanism, NAME))


@pytest.mark.parametrize("scheme", ["PLAIN", "SCRAM-SHA-256"])
def test_scram(scheme: str, meter: Meter) -> None:
    """Neither the server's first message nor its last."""
    with house(StaticAccounts({NAME: hash_password(PASSWORD, scheme)})) as server:
        assert_alike(server, meter, server_first("nobody"), server_first(NAME))
        scram = "SCRAM-SHA-256"
        assert_alike(server, meter, refused(scram, "nobody"), refused(scram, NAME))


ELSEWHERE = 5000
"""To how many calls a question over the network compares: a millisecond's, at least."""


class Directory(AccountStore):
    """Has passwords checked elsewhere, which takes time. decoy: for unknown names, too."""

    def __init__(self, meter: Meter, decoy: bool) -> None:
        self._meter = meter
        self._decoy = decoy

    def lookup(self, name: str) -> Account | None:
        return Account(name, check_password=self._check) if name == NAME else None

    async def _check(self, password: str) -> bool:
        self._meter.note("asked elsewhere", rounds=ELSEWHERE)
        return password == PASSWORD

    async def check_decoy(self, name: str, password: str) -> None:
        if self._decoy:
            self._meter.note("asked elsewhere", rounds=ELSEWHERE)

    def slowest_scheme(self) -> str | None:
        return None


def test_passwords_checked_elsewhere(meter: Meter) -> None:
    with house(Directory(meter, decoy=True)) as server:
        assert_alike(server, meter, refused("PLAIN", "nobody"), refused("PLAIN", NAME))


# Would a leak be seen?


def test_a_directory_without_a_decoy_is_seen_through(meter: Meter) -> None:
    with house(Directory(meter, decoy=False)) as server:
        one, other = compare(server, meter, refused("PLAIN", "nobody"), refused("PLAIN", NAME))
        assert one.tells(other)


@pytest.mark.parametrize("costs", [(4, 8, 1), (10, 8, 2)])
def test_a_decoy_of_other_costs_is_seen_through(
    costs: tuple[int, int, int], meter: Meter, slow_hash: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemes, "_SCRYPT_COSTS", costs)
    with house(StaticAccounts({NAME: slow_hash})) as server:
        one, other = compare(server, meter, refused("PLAIN", "nobody"), refused("PLAIN", NAME))
        assert one.tells(other)


def test_a_look_at_each_account_is_seen_through(meter: Meter) -> None:
    """As a store may that goes through its accounts until it finds the name."""

    class Slow(StaticAccounts):
        def lookup(self, name: str) -> Account | None:
            found = super().lookup(name)
            if found is None:
                sum(len(each) for each in map(str, range(100)))
            return found

    with house(Slow({NAME: PASSWORD})) as server:
        one, other = compare(server, meter, refused("PLAIN", "nobody"), refused("PLAIN", NAME))
        assert one.tells(other)
