"""Whether the time of an answer tells who has an account, or that a password is right.

A real server without `failure_delay`, which would hide all of it, is asked by turns about two
cases. They count as told apart when rank-sum says that chance doesn't explain the difference,
and the medians differ by enough to be of use. The noise of a busy machine falls on both alike.
"""

from __future__ import annotations

import math
import random
import statistics
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from restante import Account, AccountStore, GuardSettings, Pop3Server, StaticAccounts
from restante.accounts import schemes, verify
from restante.accounts.schemes import hash_password
from restante.protocol.limits import MAX_FAILED_LOGINS
from tests.needs import only_cpython
from tests.server.kit import NAME, PASSWORD, Client, serving
from tests.server.login_clients import Caller, attempt

pytestmark = [pytest.mark.slow, only_cpython]  # PyPy makes one way quicker, by chance

CHANCE = 5.0
"""Standard deviations: more than that comes by chance once in two million."""

Try = Callable[[Client], float]
"""A try to log in, and the seconds until its answer."""


@dataclass(frozen=True)
class Difference:
    """How two kinds of try differ. z: in standard deviations, by rank. ratio: of the medians."""

    z: float
    ratio: float

    def tells(self, tolerance: float) -> bool:
        return abs(self.z) > CHANCE and not 1 / tolerance < self.ratio < tolerance


def difference(ones: list[float], others: list[float]) -> Difference:
    """By the rank-sum test of Wilcoxon, Mann and Whitney."""
    ranked = sorted([(each, True) for each in ones] + [(each, False) for each in others])
    ranks = sum(rank for rank, (_, is_one) in enumerate(ranked, 1) if is_one)
    n, m = len(ones), len(others)
    expected, deviation = n * (n + m + 1) / 2, math.sqrt(n * m * (n + m + 1) / 12)
    ratio = statistics.median(others) / statistics.median(ones)
    return Difference((ranks - expected) / deviation, ratio)


def compare(server: Pop3Server, one: Try, other: Try, pairs: int) -> Difference:
    """Try both by turns, in an order that changes by chance."""
    took: dict[Try, list[float]] = {one: [], other: []}
    chance = random.Random(1)
    for each in (one, other):  # whatever is done only the first time
        with Client(server.port) as client:
            each(client)
    for _ in range(0, pairs, MAX_FAILED_LOGINS // 2 - 1):
        with Client(server.port) as client:
            for _ in range(MAX_FAILED_LOGINS // 2 - 1):
                for each in chance.sample((one, other), 2):
                    took[each].append(each(client))
    return difference(took[one], took[other])


def refused(mechanism: str, name: str, password: str = "wrong") -> Try:
    """A login that fails."""
    caller = Caller(name, password)

    def take(client: Client) -> float:
        begun = time.perf_counter()
        reply = attempt(client, mechanism, caller)
        took = time.perf_counter() - begun
        assert reply == b"-ERR [AUTH] authentication failed"
        return took

    return take


def server_first(name: str) -> Try:
    """The first message of SCRAM's server, which tells salt and iterations."""
    message = b64encode(f"n,,n={name},r=nonce".encode())

    def take(client: Client) -> float:
        begun = time.perf_counter()
        reply = client.ask(b"AUTH SCRAM-SHA-256 " + message)
        took = time.perf_counter() - begun
        assert reply.startswith(b"+ ")
        assert client.ask("*").startswith(b"-ERR")
        return took

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
    """A credential of the slow kind; a check takes some 3 ms."""
    monkeypatch.setattr(schemes, "_SCRYPT_COSTS", (10, 8, 1))
    verify._decoy.cache_clear()
    yield hash_password(PASSWORD, "SCRYPT")
    verify._decoy.cache_clear()


@pytest.mark.parametrize("mechanism", ["PLAIN", "USER"])
@pytest.mark.parametrize("password", ["wrong", PASSWORD])
@pytest.mark.parametrize("name", ["disabled", "expired", "elsewhere", "sender"])
def test_slow_hashes_and_accounts_that_may_not(
    name: str, password: str, mechanism: str, slow_hash: str
) -> None:
    """Not even the right password shows, tried again and again: it isn't remembered for them."""
    accounts = StaticAccounts(with_rights(Account(NAME, (slow_hash,))))
    with house(accounts) as server:
        found = compare(
            server, refused(mechanism, "nobody"), refused(mechanism, name, password), 60
        )
        assert not found.tells(1.1), found


def test_a_password_that_its_owner_uses_elsewhere(slow_hash: str) -> None:
    """That it is remembered as right doesn't show where the account may not log in."""
    joe = Account(NAME, (slow_hash,), networks=("127.0.0.0/8",))
    accounts = StaticAccounts([joe])
    with house(accounts) as server:
        with Client(server.port) as client:
            client.log_in()
        accounts.remove(NAME)
        accounts.add(replace(joe, networks=("192.0.2.0/24",)))
        found = compare(server, refused("PLAIN", "nobody"), refused("PLAIN", NAME, PASSWORD), 60)
        assert not found.tells(1.1), found


@pytest.mark.parametrize("mechanism", ["PLAIN", "USER"])
@pytest.mark.parametrize("with_keys", [False, True])
def test_slow_hashes(with_keys: bool, mechanism: str, slow_hash: str) -> None:
    """Alone, or beside keys for SCRAM, as `restante user add` makes them."""
    keys = hash_password(PASSWORD, "SCRAM-SHA-256")
    joe = Account(NAME, (slow_hash, keys) if with_keys else (slow_hash,))
    with house(StaticAccounts([joe])) as server:
        found = compare(server, refused(mechanism, "nobody"), refused(mechanism, NAME), 100)
        assert not found.tells(1.1), found


@pytest.mark.parametrize("mechanism", ["PLAIN", "USER", "APOP", "CRAM-MD5", "NTLM"])
def test_passwords_that_are_kept(mechanism: str) -> None:
    """All answers are quick, so that less of a difference would count."""
    with house(StaticAccounts({NAME: PASSWORD})) as server:
        found = compare(server, refused(mechanism, "nobody"), refused(mechanism, NAME), 200)
        assert not found.tells(1.15), found


@pytest.mark.parametrize("scheme", ["PLAIN", "SCRAM-SHA-256"])
def test_scram(scheme: str) -> None:
    """Neither the server's first message nor its last."""
    with house(StaticAccounts({NAME: hash_password(PASSWORD, scheme)})) as server:
        pairs = 50 if scheme == "PLAIN" else 200
        found = compare(server, server_first("nobody"), server_first(NAME), pairs)
        assert not found.tells(1.1), found
        scram = "SCRAM-SHA-256"
        found = compare(server, refused(scram, "nobody"), refused(scram, NAME), 40)
        assert not found.tells(1.1), found


class Directory(AccountStore):
    """Has passwords checked elsewhere, in 2 ms. decoy: for unknown names, too."""

    def __init__(self, decoy: bool) -> None:
        self._decoy = decoy

    def lookup(self, name: str) -> Account | None:
        return Account(name, check_password=self._check) if name == NAME else None

    def _check(self, password: str) -> bool:
        time.sleep(0.002)
        return password == PASSWORD

    async def check_decoy(self, name: str, password: str) -> None:
        if self._decoy:
            time.sleep(0.002)

    def slowest_scheme(self) -> str | None:
        return None


def by_directory(decoy: bool, pairs: int = 60) -> Difference:
    with house(Directory(decoy)) as server:
        return compare(server, refused("PLAIN", "nobody"), refused("PLAIN", NAME), pairs)


def test_passwords_checked_elsewhere() -> None:
    found = by_directory(decoy=True)
    assert not found.tells(1.2), found


# Would a leak be seen?


def test_a_directory_without_a_decoy_is_seen_through() -> None:
    assert any(by_directory(decoy=False, pairs=pairs).tells(1.2) for pairs in (60, 240, 960))


@pytest.mark.parametrize("costs", [(4, 8, 1), (10, 8, 2)])
def test_a_decoy_of_other_costs_is_seen_through(
    costs: tuple[int, int, int], slow_hash: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schemes, "_SCRYPT_COSTS", costs)
    with house(StaticAccounts({NAME: slow_hash})) as server:
        ways = refused("PLAIN", "nobody"), refused("PLAIN", NAME)
        # On a busy machine more tries are needed to see it.
        assert any(compare(server, *ways, pairs).tells(1.1) for pairs in (100, 400, 1600))


def test_chance_alone_is_not_taken_for_a_leak() -> None:
    """Two samples of one population, skewed as times are, over and over."""
    chance = random.Random(2)
    for _ in range(300):
        ones, others = ([chance.lognormvariate(0, 0.5) for _ in range(60)] for _ in range(2))
        assert not difference(ones, others).tells(1.1)
