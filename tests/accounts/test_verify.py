"""The decision: only what proves the account lets in."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import md5
from typing import cast

import pytest

from restante.accounts import verify as module
from restante.accounts.contract import Account, AccountError, AccountStore
from restante.accounts.schemes import hash_password, verify
from restante.accounts.static import StaticAccounts
from restante.accounts.verify import Proof, Verifier
from restante.calls import OnThread
from restante.protocol.claims import ApopClaim, Claim, PasswordClaim
from restante.sasl.cram_md5 import CramMd5Claim

pytestmark = pytest.mark.usefixtures("cheap_hashes")

JOE = Account("joe", ("{PLAIN}geheim",))


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The credentials that are checked, as they are checked."""
    seen: list[str] = []

    def watched(credential: str, password: str) -> bool:
        seen.append(credential)
        return verify(credential, password)

    monkeypatch.setattr(module, "verify", watched)
    module._decoy.cache_clear()
    return seen


class Knows(AccountStore):
    """A store that says how slow it is."""

    def __init__(self, scheme: str | None) -> None:
        self.scheme = scheme

    def lookup(self, name: str) -> Account | None:
        return None

    def slowest_scheme(self) -> str | None:
        return self.scheme


def apop(secret: str) -> ApopClaim:
    digest = md5(b"<1.2@h>" + secret.encode()).hexdigest()
    return ApopClaim("joe", b"<1.2@h>", digest)


@pytest.mark.parametrize("scheme", ["ARGON2ID", "SCRYPT", "PLAIN"])
def test_the_right_password_is_a_yes(scheme: str) -> None:
    account = Account("joe", (hash_password("geheim", scheme),))
    verifier = Verifier()
    assert verifier.check(account, PasswordClaim("joe", "geheim")) is True
    assert verifier.check(account, PasswordClaim("joe", "Geheim")) is False


def test_any_credential_may_match() -> None:
    account = Account("joe", ("{MD5}x", hash_password("one", "SCRYPT"), "{PLAIN}two"))
    verifier = Verifier()
    assert verifier.check(account, PasswordClaim("joe", "one"))
    assert verifier.check(account, PasswordClaim("joe", "two"))
    assert not verifier.check(account, PasswordClaim("joe", "x"))


@dataclass(frozen=True)
class Odd:
    """A claim whose answer is not True, though it counts as true."""

    name: str = "joe"
    mechanism: str = "ODD"
    authzid: str = ""
    schemes: frozenset[str] = frozenset({"PLAIN"})

    def holds_for(self, scheme: str, data: str) -> bool:
        return cast(bool, "yes")


@pytest.mark.parametrize(
    ("account", "claim"),
    [
        (None, PasswordClaim("joe", "geheim")),
        (None, PasswordClaim("joe", "")),
        (None, apop("geheim")),
        (None, apop("-")),
        (None, apop("")),
        (JOE, PasswordClaim("joe", "")),
        (JOE, PasswordClaim("joe", "geheim ")),
        (JOE, PasswordClaim("joe", "{PLAIN}geheim")),
        (JOE, apop("Geheim")),
        (JOE, ApopClaim("joe", b"<1.2@h>", "")),
        (JOE, ApopClaim("joe", b"<1.2@h>", "é" * 32)),
        (JOE, CramMd5Claim("joe", b"<1.2@h>", "0" * 32)),
        (JOE, Odd()),
        (JOE, None),
        (JOE, object()),
        (Account("joe"), PasswordClaim("joe", "geheim")),
        (Account("joe"), apop("-")),
        (Account("joe", ("geheim",)), PasswordClaim("joe", "geheim")),
        (Account("joe", ("{PLAIN}",)), PasswordClaim("joe", "")),
        (Account("joe", ("{PLAIN}",)), apop("")),
        (Account("joe", ("{PLAIN}",)), apop("-")),
        (Account("joe", ("{NT}geheim",)), PasswordClaim("joe", "geheim")),
        (Account("joe", ("{NT}geheim",)), apop("geheim")),
        (Account("joe", ("{PLAIN}geheim",), disabled=True), PasswordClaim("joe", "geheim")),
        (Account("joe", ("{PLAIN}geheim",), disabled=True), apop("geheim")),
        (JOE, PasswordClaim("joe", "geheim", "PLAIN", authzid="root")),
        (JOE, PasswordClaim("joe", "geheim", "PLAIN", authzid="Joe")),
        (JOE, PasswordClaim("joe", "geheim", "PLAIN", authzid="joe ")),
    ],
)
def test_everything_else_is_a_no(account: Account | None, claim: Claim) -> None:
    """A10: fail closed."""
    for store in (None, Knows(None), Knows("SCRYPT")):
        assert Verifier(store).check(account, claim) is False


def test_a_secret_is_needed_in_the_clear_for_a_digest() -> None:
    verifier = Verifier()
    hashed = Account("joe", (hash_password("geheim"),))
    both = Account("joe", (hash_password("geheim"), "{PLAIN}geheim"))
    assert verifier.check(both, apop("geheim")) is True
    assert verifier.check(hashed, apop("geheim")) is False


def test_secrets_are_utf8_in_digests() -> None:
    assert Verifier().check(Account("joe", ("{PLAIN}größer",)), apop("größer")) is True


@pytest.mark.parametrize("authzid", ["", "JOE", "joe"])
def test_one_may_act_as_oneself(authzid: str) -> None:
    """An authzid equal to the login name, as typed or as the store has it, is normal."""
    claim = PasswordClaim("JOE", "geheim", "PLAIN", authzid)
    assert Verifier().check(JOE, claim) is True


def test_one_may_act_as_oneself_in_another_composition() -> None:
    zoe = Account("Zo\u00eb", ("{PLAIN}geheim",))
    claim = PasswordClaim("Zo\u00eb", "geheim", "PLAIN", authzid="Zoe\u0308")
    assert Verifier().check(zoe, claim) is True


WRONG = PasswordClaim("joe", "wrong")
SLOW = Account("joe", ("{SCRYPT}$ln=2,r=8,p=1$AAAA$AAAAAAAAAAAAAAAAAAAAAAAA",))


def slow_ones(checks: list[str]) -> list[str]:
    return [credential for credential in checks if not credential.startswith("{PLAIN}")]


@pytest.mark.parametrize("account", [None, Account("joe"), JOE, SLOW])
@pytest.mark.parametrize("scheme", ["ARGON2ID", "SCRYPT"])
def test_a_refusal_costs_one_slow_check_whoever_it_is(
    checks: list[str], account: Account | None, scheme: str
) -> None:
    """The time doesn't tell whether the account exists."""
    assert not Verifier(Knows(scheme)).check(account, WRONG)
    slow = slow_ones(checks)
    assert len(slow) == 1
    assert account is SLOW or slow[0].startswith(f"{{{scheme}}}")


def test_a_disabled_account_takes_as_long_as_any(checks: list[str]) -> None:
    account = Account("joe", (hash_password("geheim"),), disabled=True)
    for _ in range(2):  # the right password isn't remembered
        checks.clear()
        assert not Verifier().check(account, PasswordClaim("joe", "geheim"))
        assert len(slow_ones(checks)) == 1


def test_keys_for_scram_cost_no_second_check(checks: list[str]) -> None:
    keys = hash_password("geheim", "SCRAM-SHA-256")
    hashed = hash_password("geheim", "SCRYPT")
    assert not Verifier(Knows("SCRYPT")).check(Account("joe", (keys, hashed)), WRONG)
    assert checks == [hashed]
    assert Verifier().check(Account("joe", (keys,)), PasswordClaim("joe", "geheim"))


def test_a_store_that_doesnt_say_is_taken_to_hash(checks: list[str]) -> None:
    class Silent(AccountStore):
        def lookup(self, name: str) -> Account | None:
            return None

    assert not Verifier(Silent()).check(None, WRONG)
    assert [credential[:10] for credential in slow_ones(checks)] == ["{ARGON2ID}"]


def test_where_all_is_quick_nothing_slow_is_done(checks: list[str]) -> None:
    store = StaticAccounts({"joe": "geheim"})
    verifier = Verifier(store)
    for account in (None, store.lookup("joe")):
        assert verifier.prove(account, WRONG) is None
    assert len(checks) == 2
    assert slow_ones(checks) == []


def test_a_slow_check_is_for_a_thread_and_costs_no_second_one(checks: list[str]) -> None:
    fast, slow = Verifier(Knows(None)), Verifier(Knows("SCRYPT"))
    assert isinstance(fast.prove(SLOW, WRONG), OnThread)
    for account in (None, JOE, SLOW):
        checks.clear()
        work = slow.prove(account, WRONG)
        assert slow_ones(checks) == []
        assert isinstance(work, OnThread)
        assert work() is None
        assert len(slow_ones(checks)) == 1
        assert not isinstance(slow.prove(account, apop("geheim")), OnThread)


def test_a_right_password_kept_in_the_clear_is_proven_in_place() -> None:
    assert isinstance(Verifier().prove(JOE, PasswordClaim("joe", "geheim")), Proof)


def test_what_somebody_else_checks_costs_no_hash_here(checks: list[str]) -> None:
    account = Account("joe", check_password=lambda password: True)
    assert Verifier(Knows("SCRYPT")).prove(account, WRONG) is None
    assert checks == []


def test_accounts_that_have_proven_themselves_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("restante.accounts.verify.MAX_REMEMBERED", 3)
    clock = Clock()
    verifier = Verifier(remember=60, clock=clock)
    slow = Account("ann", (hash_password("geheim"),))
    external = Account("kim", check_password=lambda password: True)
    for account in (JOE, slow, external, None):
        assert not verifier.has_succeeded(account)
        assert not verifier.check(account, WRONG)
        assert not verifier.has_succeeded(account)
    assert verifier.check(JOE, apop("geheim"))
    assert verifier.check(slow, PasswordClaim("ann", "geheim"))
    verifier.remember(external, PasswordClaim("kim", "x"), Proof())  # whoever was asked said yes
    clock.now = 1e9
    assert all(map(verifier.has_succeeded, (JOE, slow, external)))
    max_ = Account("max", ("{PLAIN}geheim",))
    assert verifier.check(max_, PasswordClaim("max", "geheim"))
    assert not verifier.has_succeeded(JOE)  # the one that was remembered first


def test_the_decoy_follows_the_store() -> None:
    store = StaticAccounts({"joe": "geheim"})
    verifier = Verifier(store)
    assert verifier.prove(None, WRONG) is None
    store.add(Account("ann", (hash_password("x", "SCRYPT"),)))
    assert isinstance(verifier.prove(None, WRONG), OnThread)
    store.remove("ann")
    assert verifier.prove(None, WRONG) is None


def test_a_store_that_cant_tell_is_not_a_no() -> None:
    class Broken(Knows):
        def slowest_scheme(self) -> str | None:
            raise AccountError("gone")

    with pytest.raises(AccountError):
        Verifier(Broken(None)).check(None, WRONG)


class Clock:
    """A clock that the test turns."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_verified_password_is_remembered_for_a_while(checks: list[str]) -> None:
    clock = Clock()
    verifier = Verifier(remember=60, clock=clock)
    account = Account("joe", (hash_password("geheim"),))
    right, wrong = PasswordClaim("joe", "geheim"), PasswordClaim("joe", "falsch")
    assert isinstance(verifier.prove(account, right), OnThread)
    assert verifier.check(account, right)
    checks.clear()
    assert isinstance(verifier.prove(account, right), Proof)
    assert checks == []
    assert not verifier.check(account, wrong)
    assert checks != []
    clock.now = 61
    assert isinstance(verifier.prove(account, right), OnThread)


def test_what_is_remembered_ends_with_the_credentials() -> None:
    """A changed password is wrong at once, and so is one of a disabled account."""
    verifier = Verifier()
    old = Account("joe", (hash_password("geheim"),))
    claim = PasswordClaim("joe", "geheim")
    assert verifier.check(old, claim)
    assert not verifier.check(Account("joe", (hash_password("neu"),)), claim)
    assert not verifier.check(Account("joe", old.credentials, disabled=True), claim)
    assert not verifier.check(old, PasswordClaim("joe", "geheim", authzid="ann"))
    assert not verifier.check(Account("ann", old.credentials), PasswordClaim("ann", "falsch"))


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restante.accounts.verify.MAX_REMEMBERED", 3)
    monkeypatch.setattr("restante.accounts.verify.verify", lambda credential, password: True)
    verifier = Verifier()
    account = Account("joe", ("{ARGON2ID}x",))
    for number in range(10):
        assert verifier.check(account, PasswordClaim("joe", str(number)))
    assert len(verifier._verified) == 3
