"""The decision: does an account's credential bear out a login's claim?"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from hashlib import blake2b
from unicodedata import normalize

from restante.accounts.contract import Account, AccountStore, KnowsHashing
from restante.accounts.schemes import (
    default_scheme,
    hash_password,
    is_slow,
    split_credential,
    verify,
)
from restante.protocol.claims import Claim, PasswordClaim, SecretClaim

REMEMBER_SECONDS = 900.0
"""How long a verified password is remembered: a little more than the usual ten minutes
between two polls."""

MAX_REMEMBERED = 50_000
"""Verified passwords that are remembered, some 8 MB at most."""


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
        self._verified: dict[bytes, float] = {}

    def is_cheap(self, account: Account | None, claim: Claim) -> bool:
        """Whether `check` is quick enough to be done in place, on the event loop.

        Raises AccountError when the store can't tell what it holds.
        """
        if not isinstance(claim, PasswordClaim):
            return True
        credentials = account.credentials if account else ()
        if not any(map(is_slow, credentials)):
            return self._decoy_scheme() is None
        return account is not None and self._is_remembered(self._tag(account, claim))

    def check(self, account: Account | None, claim: Claim) -> bool:
        """Whether `claim` proves its peer to be `account`, the one found by the claim's name.

        True is the only yes. Raises AccountError when it can't be told.
        """
        if isinstance(claim, PasswordClaim):
            proven = self._password_matches(account, claim)
        elif isinstance(claim, SecretClaim):
            proven = _secret_matches(account, claim)
        else:
            proven = False
        return proven and account is not None and not account.disabled

    def _password_matches(self, account: Account | None, claim: PasswordClaim) -> bool:
        credentials = account.credentials if account else ()
        matched = account is not None and self._matches_one(account, claim)
        if not matched and not any(map(is_slow, credentials)):
            scheme = self._decoy_scheme()
            if scheme is not None:
                verify(_decoy(scheme), claim.password)
        return matched and _acts_as_itself(account, claim)

    def _matches_one(self, account: Account, claim: PasswordClaim) -> bool:
        slow = any(map(is_slow, account.credentials))
        tag = self._tag(account, claim) if slow else b""
        if slow and self._is_remembered(tag):
            return True
        matched = any(verify(credential, claim.password) for credential in account.credentials)
        if matched and slow and self._remember > 0:
            while len(self._verified) >= MAX_REMEMBERED:
                with suppress(KeyError, StopIteration, RuntimeError):  # another thread may be at it
                    del self._verified[next(iter(self._verified))]
            self._verified[tag] = self._clock() + self._remember
        return matched

    def _tag(self, account: Account, claim: PasswordClaim) -> bytes:
        digest = blake2b(key=self._key, digest_size=32)
        for part in (account.name, *account.credentials, claim.password):
            octets = part.encode("utf-8", "surrogateescape")
            digest.update(len(octets).to_bytes(8, "big") + octets)
        return digest.digest()

    def _is_remembered(self, tag: bytes) -> bool:
        until = self._verified.get(tag)
        return until is not None and self._clock() < until

    def _decoy_scheme(self) -> str | None:
        if self._hashing is not None:
            return self._hashing.slowest_scheme()
        return default_scheme()


def _secret_matches(account: Account | None, claim: SecretClaim) -> bool:
    credentials = map(split_credential, account.credentials if account else ())
    kept = [data for scheme, data in credentials if scheme == "PLAIN" and data]
    octets = [secret.encode("utf-8", "surrogateescape") for secret in kept]
    # Without a secret the digest is computed all the same: it takes its time too.
    held = [claim.holds_for(secret) is True for secret in octets or [b"-"]]
    return bool(kept) and any(held)


def _acts_as_itself(account: Account | None, claim: PasswordClaim) -> bool:
    """Whether the identity to act as is the login's own (RFC 4616 §2)."""
    if not claim.authzid:
        return True
    own = {claim.name, account.name if account else claim.name}
    return normalize("NFC", claim.authzid) in {normalize("NFC", name) for name in own}


@cache
def _decoy(scheme: str) -> str:
    return hash_password(secrets.token_urlsafe(), scheme)
