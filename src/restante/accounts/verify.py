"""The decision: does an account's credential bear out a login's claim?"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, lru_cache
from hashlib import blake2b
from typing import NamedTuple
from unicodedata import normalize

from restante.accounts.contract import Account, AccountStore, AppPassword, KnowsHashing
from restante.accounts.schemes import (
    default_scheme,
    hash_password,
    is_slow,
    split_credential,
    verify,
)
from restante.defaults import REMEMBER_SECONDS
from restante.protocol.claims import Claim, PasswordClaim, SecretClaim
from restante.sasl.scram import HASHES

MAX_REMEMBERED = 50_000
"""Verified passwords that are remembered, some 8 MB at most."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What bore a claim out.

    credential: the one that fitted; "" when somebody else was asked.
    app_password: its name, when it was one of those.
    master: whose it was, when a master acts as somebody else.
    """

    credential: str = field(default="", repr=False)
    app_password: str = ""
    master: str = ""


_NOBODY = Account("", (f"{{PLAIN}}{secrets.token_urlsafe()}",))
"""Looked at in the place of an account that there isn't: a look takes its time too."""


class Verifier:
    """Decides claims for one store of accounts. Safe to use from several threads.

    A refused password always costs a slow check when the store keeps slow hashes: for an
    unknown name, or an account without such a hash, one is made against a decoy. So the
    time an answer takes doesn't tell which names exist. The decoy is of the slowest
    scheme that the store says it holds (`KnowsHashing`), else of the default scheme; a
    store that keeps nothing slow needs none, and all its answers are quick.

    A password that was right by a slow check is remembered for `remember` seconds, as a
    hash with a key of this process: people poll every few minutes, and should not pay for
    Argon2 each time. What is remembered goes with the very credentials it was checked
    against, so a changed password is at once a wrong one. clock: seconds, monotonic.
    """

    def __init__(
        self,
        store: AccountStore | None = None,
        *,
        remember: float = REMEMBER_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hashing = store if isinstance(store, KnowsHashing) else None
        self._remember = remember
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._verified: dict[bytes, tuple[float, Proof]] = {}

    def is_cheap(self, account: Account | None, claim: Claim) -> bool:
        """Whether `prove` is quick enough to be done in place, on the event loop.

        Raises AccountError when the store can't tell what it holds.
        """
        if not isinstance(claim, PasswordClaim):
            return True
        held = account or _NOBODY
        if not _costs(held):
            return self._decoy_scheme() is None
        return self.remembered(held, claim) is not None

    def check(self, account: Account | None, claim: Claim) -> bool:
        """Whether `claim` proves its peer to be `account`, the one found by the claim's name.

        True is the only yes; who would act as somebody else gets a no. Raises AccountError
        when it can't be told.
        """
        proof = self.prove(account, claim)
        return account is not None and proof is not None and acts_as_itself(account, claim)

    def prove(self, account: Account | None, claim: Claim) -> Proof | None:
        """What bears `claim` out; whom it would act as is somebody else's question."""
        if account is not None and account.disabled:
            account = None
        if isinstance(claim, PasswordClaim):
            proof = self._by_password(account or _NOBODY, claim)
        elif isinstance(claim, SecretClaim):
            proof = _by_secret(account, claim)
        else:
            proof = None
        return None if account is None else proof

    def remembered(self, account: Account, claim: PasswordClaim) -> Proof | None:
        """What bore this very claim out a while ago."""
        until, proof = self._verified.get(self._tag(account, claim), (0.0, None))
        return proof if self._clock() < until else None

    def remember(self, account: Account, claim: PasswordClaim, proof: Proof) -> None:
        """Keep in mind for a while that `claim` is right."""
        if self._remember <= 0:
            return
        while len(self._verified) >= MAX_REMEMBERED:
            with suppress(KeyError, StopIteration, RuntimeError):  # another thread may be at it
                del self._verified[next(iter(self._verified))]
        self._verified[self._tag(account, claim)] = (self._clock() + self._remember, proof)

    def _by_password(self, account: Account, claim: PasswordClaim) -> Proof | None:
        slow = _costs(account)
        if slow and (known := self.remembered(account, claim)):
            return known
        proof = None
        for each in _proofs(account):
            if verify(each.credential, claim.password):
                proof = each
                break
        if proof is not None and slow:
            self.remember(account, claim, proof)
        if proof is None and not slow and (scheme := self._decoy_scheme()) is not None:
            verify(_decoy(scheme), claim.password)
        return proof

    def _tag(self, account: Account, claim: PasswordClaim) -> bytes:
        digest = blake2b(key=self._key, digest_size=32)
        held = (proof.credential for proof in _proofs(account))
        for part in (account.name, account.version, claim.password, *held):
            octets = part.encode("utf-8", "surrogateescape")
            digest.update(len(octets).to_bytes(8, "big") + octets)
        return digest.digest()

    def _decoy_scheme(self) -> str | None:
        if self._hashing is not None:
            return self._hashing.slowest_scheme()
        return default_scheme()


class _Held(NamedTuple):
    """What a password can be held against, and whether that takes its time."""

    proofs: tuple[Proof, ...]
    slow: bool


@lru_cache(1024)
def _held(credentials: tuple[str, ...], app_passwords: tuple[AppPassword, ...]) -> _Held:
    """All that a password can be held against, what is quick first.

    Keys for SCRAM only where there is nothing else: they are of the same password, and a check
    more would take longer than the one that an unknown name costs.
    """
    others = [each for each in credentials if split_credential(each)[0] not in HASHES]
    proofs = [Proof(each.credential, each.name) for each in app_passwords]
    proofs += map(Proof, others or credentials)
    return _Held(tuple(proofs), any(is_slow(proof.credential) for proof in proofs))


def _proofs(account: Account) -> tuple[Proof, ...]:
    return _held(account.credentials, account.app_passwords).proofs


def _costs(account: Account) -> bool:
    """Whether a password is checked against a slow hash, or by somebody else."""
    if account.check_password is not None:
        return True
    return _held(account.credentials, account.app_passwords).slow


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
