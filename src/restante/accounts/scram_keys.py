"""What SCRAM tells a peer of an account before it has proven anything: nothing.

The server speaks first of salt and iterations (RFC 5802 §3), so there must be some for
every name, known or not: always the same, and found in the same time.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from dataclasses import replace

from restante.accounts.contract import Account
from restante.accounts.names import fold
from restante.accounts.schemes import split_credential
from restante.defaults import SCRAM_ITERATIONS
from restante.sasl.scram import HASHES, SALT_OCTETS, ScramKeys, make

MIN_SECRET = 16
"""Octets of the secret: fewer could be guessed, and with it which salts are made up."""


_NOBODYS = ScramKeys(bytes(SALT_OCTETS), SCRAM_ITERATIONS, bytes(32), bytes(32)).format()


class ScramKeyFinder:
    """Finds the keys of accounts, and makes up those that there are none of.

    secret: decides the salts that no credential does. Kept over a restart, salts stay as
        they were; lost, only the names that have keys of their own keep their salt, which
        is how they can be told from others.
    iterations, salt_octets: as accounts' own keys have them; a made-up one looks no different.
    key: the same for names that are the same to the store.

    Raises ValueError for a short secret.
    """

    def __init__(
        self,
        secret: bytes,
        *,
        iterations: int = SCRAM_ITERATIONS,
        salt_octets: int = SALT_OCTETS,
        key: Callable[[str], str] = fold,
    ) -> None:
        if len(secret) < MIN_SECRET:
            raise ValueError(f"secret: at least {MIN_SECRET} octets")
        self._secret = secret
        self._iterations = iterations
        self._salt_octets = salt_octets
        self._key = key

    def is_cheap(self, account: Account | None, name: str, scheme: str, *, derives: bool) -> bool:
        """Whether `find` is quick enough to be done in place, on the event loop."""
        return not derives and (_own(account, scheme) is not None or _password(account) is None)

    def find(self, account: Account | None, name: str, scheme: str, *, derives: bool) -> ScramKeys:
        """Keys for a login with `name` by `scheme`; account: the one found by that name.

        derives: accounts keep passwords, which keys have to be derived from. That takes
        milliseconds, so it is done for every name, and again each time: an answer that was
        remembered would tell who has logged in lately.
        """
        own = _own(account, scheme)
        password = _password(account)
        salt = self._salt(name, scheme)
        derived = None
        if derives or (own is None and password is not None):
            # Done even when it isn't wanted: it takes its time too.
            derived = self._derive(scheme, password or "-", salt)
        if own is not None:
            return own
        if derived is not None and password is not None:
            return replace(derived, password=password)
        size = len(hmac.digest(b"", b"", HASHES[scheme]))
        return ScramKeys(
            salt, self._iterations, secrets.token_bytes(size), secrets.token_bytes(size)
        )

    def _derive(self, scheme: str, password: str, salt: bytes) -> ScramKeys:
        return make(HASHES[scheme], password, salt=salt, iterations=self._iterations)

    def _salt(self, name: str, scheme: str) -> bytes:
        named = f"{scheme}\0{self._key(name)}".encode("utf-8", "surrogateescape")
        return hmac.digest(self._secret, named, "sha512")[: self._salt_octets]


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
