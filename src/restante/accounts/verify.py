"""Decides whether an account's credentials prove a login's claim."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple
from unicodedata import normalize

from restante.accounts.contract import Account, AccountStore, AppPassword
from restante.accounts.schemes import (
    default_scheme,
    hash_password,
    is_slow,
    split_credential,
    verify,
)
from restante.calls import OnThread, finished
from restante.defaults import REMEMBER_SECONDS
from restante.protocol.claims import Claim, PasswordClaim, SecretClaim
from restante.sasl.scram import HASHES

log = logging.getLogger("restante.server")

MAX_REMEMBERED = 200_000
"""Verified passwords that are remembered, some 32 MB at most, and logins, some 220 MB where there
are such: see `Verifier.note`. Only accounts that have logged in take room, and with fewer places
than accounts that poll by turns, no poll would find its password remembered."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What proved a claim.

    credential: the one that matched; "" when somebody else was asked.
    app_password: its name, when it was one of those.
    master: the master's name, when one acts as somebody else.
    """

    credential: str = field(default="", repr=False)
    app_password: str = ""
    master: str = ""


class Login(NamedTuple):
    """A login that was right. followed: when that was, or when what follows a login was last due.

    until: when it is forgotten. Both in seconds, by the verifier's clock.
    """

    account: Account
    proof: Proof
    followed: float
    until: float


_NOBODY = Account("", (f"{{PLAIN}}{secrets.token_urlsafe()}",))
"""Checked in place of an account that doesn't exist, so that a check takes as long."""


class Verifier:
    """Decides claims for one store of accounts. Safe to use from several threads.

    A refused password always costs a slow check when the store keeps slow hashes: for an
    unknown name, or an account without such a hash, one is made against a decoy. So the
    time an answer takes doesn't tell which names exist. The decoy is of the slowest scheme
    that the store says it holds; a store that holds nothing slow needs none, and all its
    answers are quick. store: None: a decoy is of the default scheme.

    A password that was right by a slow check is remembered for `remember` seconds, as a
    hash with a key of this process: people poll every few minutes, and should not pay for
    Argon2 each time. What is remembered goes with the very credentials it was checked
    against, so a changed password is at once a wrong one. clock: seconds, monotonic.

    Where a store of mail sees in one query that an account is unchanged and opens the maildrop,
    the account goes with what is remembered, and needn't be looked up: see `recall`.
    """

    def __init__(
        self,
        store: AccountStore | None = None,
        *,
        remember: float = REMEMBER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # A store that isn't derived from AccountStore: until the server refuses those.
        self._slowest_scheme = store.slowest_scheme if store is not None else default_scheme
        self._name_key = store.name_key if store is not None else str
        self._remember = remember
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._verified: dict[bytes, tuple[float, Proof]] = {}
        self._logins: dict[bytes, Login] = {}
        self._succeeded: dict[str, None] = {}

    def check(self, account: Account | None, claim: Claim) -> bool:
        """Whether `claim` proves its peer to be `account`, however long that takes.

        account: the one found by the claim's name. True is the only yes; who would act as
        somebody else gets a no. Raises AccountError when it can't be told.
        """
        proof = finished(self.prove(account, claim))
        return account is not None and proof is not None and acts_as_itself(account, claim)

    def prove(self, account: Account | None, claim: Claim) -> Proof | OnThread[Proof | None] | None:
        """What proves `claim`, or None; an `OnThread` where that takes a slow check.

        Whom the claim would act as isn't looked at. Raises AccountError, here or by the
        `OnThread`, when it can't be told.
        """
        held = _NOBODY if account is None or account.disabled else account
        if isinstance(claim, PasswordClaim):
            return self._by_password(held, claim)
        if isinstance(claim, SecretClaim):
            proof = _by_secret(None if held is _NOBODY else held, claim)
            return self._kept(held, proof)
        return None

    def has_succeeded(self, account: Account | None) -> bool:
        """Whether the account has proven itself since the start, from whatever address.

        Of the `MAX_REMEMBERED` accounts that did so last.
        """
        return account is not None and account.name in self._succeeded

    def remember(self, account: Account, claim: PasswordClaim, proof: Proof) -> None:
        """Remember for a while that `claim` is right."""
        self._kept(account, proof)
        if self._remember > 0:
            _make_room(self._verified)
            self._verified[self._tag(account, claim)] = (self._clock() + self._remember, proof)

    def note(self, claim: PasswordClaim, account: Account, proof: Proof) -> None:
        """Keep a login that was right, for `recall`: one whose account has a `row`."""
        if self._remember > 0 and account.row is not None:
            _make_room(self._logins)
            now = self._clock()
            self._logins[self._login_tag(claim)] = Login(account, proof, now, now + self._remember)

    def recall(self, claim: PasswordClaim) -> Login | None:
        """The login by this claim that was right a while ago.

        Its account must not be believed before somebody has seen that the row is as it was. If
        it is, `confirm` keeps the login for as long again; otherwise `forget` it.
        """
        if not self._logins:
            return None
        login = self._logins.get(self._login_tag(claim))
        return login if login is not None and self._clock() < login.until else None

    def confirm(self, claim: PasswordClaim, login: Login) -> bool:
        """The login was right again. Gives whether what follows a login is due once more."""
        now = self._clock()
        due = now - login.followed >= self._remember
        followed = now if due else login.followed
        _make_room(self._logins)
        self._logins[self._login_tag(claim)] = login._replace(
            followed=followed, until=now + self._remember
        )
        self._kept(login.account, login.proof)
        return due

    def forget(self, claim: PasswordClaim) -> None:
        """The account has changed."""
        self._logins.pop(self._login_tag(claim), None)

    def _by_password(
        self, account: Account, claim: PasswordClaim
    ) -> Proof | OnThread[Proof | None] | None:
        held = _held(account.credentials, account.app_passwords)
        if held.slow or account.check_password is not None:
            until, proof = self._verified.get(self._tag(account, claim), (0.0, None))
            if proof is not None and self._clock() < until:
                return self._kept(account, proof)
        if held.slow:
            return OnThread(self._by_slow_check, account, claim)
        if (proof := _fitting(held, claim)) is not None:
            return self._kept(account, proof)
        if account.check_password is not None:
            return None  # somebody else is asked next, which takes its time
        scheme = self._slowest_scheme()
        return None if scheme is None else OnThread(_check_decoy, scheme, claim)

    def _by_slow_check(self, account: Account, claim: PasswordClaim) -> Proof | None:
        proof = _fitting(_held(account.credentials, account.app_passwords), claim)
        if proof is not None:
            self.remember(account, claim, proof)
        return proof

    def _kept(self, account: Account, proof: Proof | None) -> Proof | None:
        if proof is None or account is _NOBODY:
            return None
        if account.name not in self._succeeded:
            _make_room(self._succeeded)
            self._succeeded[account.name] = None
        return proof

    def _tag(self, account: Account, claim: PasswordClaim) -> bytes:
        proofs = _held(account.credentials, account.app_passwords).proofs
        held = (proof.credential for proof in proofs)
        return self._digest(account.name, account.version, claim.password, *held)

    def _login_tag(self, claim: PasswordClaim) -> bytes:
        # One for all spellings of a name, or one account could take the places of others.
        name, target = self._name_key(claim.name), normalize("NFC", claim.authzid)
        return self._digest("login", name, target, claim.password)

    def _digest(self, *parts: str) -> bytes:
        digest = blake2b(key=self._key, digest_size=32)
        for part in parts:
            octets = part.encode("utf-8", "surrogateescape")
            digest.update(len(octets).to_bytes(8, "big") + octets)
        return digest.digest()


def _make_room(remembered: dict[Any, Any]) -> None:
    """Forget the oldest entries until there is room for one more."""
    while len(remembered) >= MAX_REMEMBERED:
        with suppress(KeyError, StopIteration, RuntimeError):  # another thread may be at it
            del remembered[next(iter(remembered))]


def _fitting(held: _Held, claim: PasswordClaim) -> Proof | None:
    """The first of the credentials that the claim's password fits."""
    for each in held.proofs:
        if verify(each.credential, claim.password):
            return each
    return None


def _check_decoy(scheme: str, claim: PasswordClaim) -> None:
    verify(_decoy(scheme), claim.password)


class _Held(NamedTuple):
    """What a password is checked against, and whether that is slow."""

    proofs: tuple[Proof, ...]
    slow: bool


@lru_cache(1024)
def _held(credentials: tuple[str, ...], app_passwords: tuple[AppPassword, ...]) -> _Held:
    """All that a password is checked against, what is quick first.

    Keys for SCRAM only where there is nothing else: they are of the same password, and a check
    more would take longer than the one that an unknown name costs.
    """
    if not all(split_credential(each)[0] for each in credentials):
        log.warning("an account's credential has no scheme, so nobody can log in by it")
    others = [each for each in credentials if split_credential(each)[0] not in HASHES]
    proofs = [Proof(each.credential, each.name) for each in app_passwords]
    proofs += map(Proof, others or credentials)
    return _Held(tuple(proofs), any(is_slow(proof.credential) for proof in proofs))


def _by_secret(account: Account | None, claim: SecretClaim) -> Proof | None:
    schemes = claim.schemes
    held = [
        (credential, scheme, data)
        for credential in (account.credentials if account else ())
        for scheme, data in [split_credential(credential)]
        if scheme in schemes and data
    ]
    if not held:
        # Without a secret the proof is computed all the same: it takes its time too.
        _holds(claim, min(schemes), "-")
        return None
    # Last what SCRAM would have to derive keys from: whoever has keys is known by them.
    held.sort(key=lambda each: each[1] == "PLAIN")
    return next((Proof(credential) for credential, *rest in held if _holds(claim, *rest)), None)


def _holds(claim: SecretClaim, scheme: str, data: str) -> bool:
    try:
        return claim.holds_for(scheme, data) is True
    except ValueError:
        return False  # the credential is damaged


def acts_as_itself(account: Account, claim: Claim) -> bool:
    """Whether the identity to act as is the login's own (RFC 4616 §2)."""
    if not claim.authzid:
        return True
    own = {normalize("NFC", name) for name in (claim.name, account.name)}
    return normalize("NFC", claim.authzid) in own


@cache
def _decoy(scheme: str) -> str:
    return hash_password(secrets.token_urlsafe(), scheme)
