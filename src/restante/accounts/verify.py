"""The decision: does an account's credential bear out a login's claim?"""

from __future__ import annotations

import secrets
from functools import cache
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


class Verifier:
    """Decides claims for one store of accounts. Safe to use from several threads.

    A refused password always costs a slow check when the store keeps slow hashes: for an
    unknown name, or an account without such a hash, one is made against a decoy. So the
    time an answer takes doesn't tell which names exist. The decoy is of the slowest
    scheme that the store says it holds (`KnowsHashing`), else of the default scheme; a
    store that keeps nothing slow needs none, and all its answers are quick.
    """

    def __init__(self, store: AccountStore | None = None) -> None:
        self._store = store

    def is_cheap(self, account: Account | None, claim: Claim) -> bool:
        """Whether `check` is quick enough to be done in place, on the event loop.

        Raises AccountError when the store can't tell what it holds.
        """
        if not isinstance(claim, PasswordClaim):
            return True
        credentials = account.credentials if account else ()
        return not any(map(is_slow, credentials)) and self._decoy_scheme() is None

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
        matched = any(verify(credential, claim.password) for credential in credentials)
        if not matched and not any(map(is_slow, credentials)):
            scheme = self._decoy_scheme()
            if scheme is not None:
                verify(_decoy(scheme), claim.password)
        return matched and _acts_as_itself(account, claim)

    def _decoy_scheme(self) -> str | None:
        if isinstance(self._store, KnowsHashing):
            return self._store.slowest_scheme()
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
