"""The keys with which a SCRAM exchange begins, for names that exist and for those that don't.

The server sends salt and iterations before the client has proven anything (RFC 5802 §3). So
there must be some for every name: always the same, and found in the same time.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import replace

from restante.accounts.account import Account
from restante.accounts.names import name_key
from restante.accounts.schemes import split_credential
from restante.calls import OnThread
from restante.defaults import SCRAM_ITERATIONS
from restante.sasl.scram import HASHES, SALT_OCTETS, ScramKeys, make

MIN_SECRET = 16
"""Octets of the secret: fewer could be guessed, and with it which salts are made up."""


_NOBODYS = ScramKeys(bytes(SALT_OCTETS), SCRAM_ITERATIONS, bytes(32), bytes(32)).format()


class ScramKeyFinder:
    """Finds the keys of accounts, and makes up keys for names without any.

    secret: decides the salts of names that have no keys of their own. Keep it over a restart:
        with another secret these salts change, and so show which names have no keys.
    iterations, salt_octets: of keys that are made up; use what accounts' own keys have.
    key: the same for names that are the same to the store.

    Raises ValueError for a short secret.
    """

    def __init__(
        self,
        secret: bytes,
        *,
        iterations: int = SCRAM_ITERATIONS,
        salt_octets: int = SALT_OCTETS,
        key: Callable[[str], str] = name_key,
    ) -> None:
        if len(secret) < MIN_SECRET:
            raise ValueError(f"secret: at least {MIN_SECRET} octets")
        self._secret = secret
        self._iterations = iterations
        self._salt_octets = salt_octets
        self._key = key

    def find(
        self, account: Account | None, name: str, scheme: str, *, derives: bool
    ) -> ScramKeys | OnThread[ScramKeys]:
        """Keys for a login with `name` by `scheme`; an `OnThread` where they must be derived.

        account: the one found by that name. derives: some accounts keep passwords, from which
        keys have to be derived. That takes milliseconds, so it is done for every name, and again
        each time: an answer that was remembered would tell who has logged in lately.
        """
        own = _own(account, scheme)
        password = _password(account)
        made_up = self._made_up(name, scheme)  # even where there are others: it takes its time too
        if derives or (own is None and password is not None):
            return OnThread(self._find_slowly, own, password, scheme, made_up)
        return own or made_up

    def _find_slowly(
        self, own: ScramKeys | None, password: str | None, scheme: str, made_up: ScramKeys
    ) -> ScramKeys:
        # Derived even when the account has its own keys: every name must take as long.
        derived = make(
            HASHES[scheme], password or "-", salt=made_up.salt, iterations=self._iterations
        )
        if own is None and password is not None:
            return replace(derived, password=password)
        return own or made_up

    def _made_up(self, name: str, scheme: str) -> ScramKeys:
        named = f"{scheme}\0{self._key(name)}".encode("utf-8", "surrogateescape")
        salt = hmac.digest(self._secret, named, "sha512")[: self._salt_octets]
        size = len(hmac.digest(b"", b"", HASHES[scheme]))
        return ScramKeys(
            salt, self._iterations, secrets.token_bytes(size), secrets.token_bytes(size)
        )


def _own(account: Account | None, scheme: str) -> ScramKeys | None:
    """The keys that an account itself keeps, if they are whole."""
    for credential in account.credentials if account else ():
        kept, data = split_credential(credential)
        if kept == scheme:
            try:
                return ScramKeys.parse(data)
            except ValueError:
                continue
    ScramKeys.parse(_NOBODYS)  # it takes its time too
    return None


def _password(account: Account | None) -> str | None:
    """The password itself, where the account keeps it."""
    kept = map(split_credential, account.credentials if account else ())
    return next((data for scheme, data in kept if scheme == "PLAIN" and data), None)
