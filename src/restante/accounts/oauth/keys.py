"""The public keys of an issuer, read from a file or a URL and kept for a while."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeAlias

from joserfc.jwk import ECKey, JWKRegistry, OKPKey, RSAKey

from restante.accounts.contract import AccountError
from restante.accounts.oauth.issuer import MAX_ANSWER, IssuerClient, check_url

log = logging.getLogger("restante.accounts")

PublicKey: TypeAlias = RSAKey | ECKey | OKPKey
Source: TypeAlias = Callable[[], Awaitable[object]]
"""Gets a JWK set (RFC 7517 §5), as JSON has it. AccountError when it can't be had."""

KEYS_LIFETIME = 3600.0
"""Seconds after which keys are fetched again, so that a withdrawn one stops working."""

FETCH_INTERVAL = 60.0
"""Seconds between two fetches: a client that makes up key ids must not cause one each time."""

KEYS_MAX_AGE = 86_400.0
"""Seconds that keys stay in use while newer ones can't be had."""

MAX_KEYS = 100
"""Keys of a set. A token that doesn't name its key is tried with all that fit."""

_FAMILIES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_MIN_MODULUS = 342
"""Characters of the modulus of a 2048-bit RSA key, the least that RFC 7518 §3.3 allows."""


def from_file(path: Path) -> Source:
    """The keys in a file."""

    async def fetch() -> object:
        return _read_file(path)

    return fetch


def from_url(client: IssuerClient, url: str) -> Source:
    """The keys at a URL. Raises ValueError unless it is a safe one."""
    check_url(url, "jwks_url")

    async def fetch() -> object:
        return await client.get(url)

    return fetch


def discovered(client: IssuerClient, issuer: str, url: str) -> Source:
    """The keys that the issuer's OpenID configuration names (OpenID Connect Discovery §4)."""
    check_url(url, "issuer")

    async def fetch() -> object:
        found = await client.get(url)
        if found.get("issuer") != issuer:
            raise AccountError(f"{url}: it is another issuer's")
        try:
            jwks_url = check_url(str(found.get("jwks_uri")), "jwks_uri")
        except ValueError as error:
            raise AccountError(f"{url}: {error}") from None
        return await client.get(jwks_url)

    return fetch


class KeyCache:
    """An issuer's keys, fetched when needed. clock: seconds, monotonic."""

    def __init__(self, source: Source, clock: Callable[[], float]) -> None:
        self._source = source
        self._clock = clock
        self._keys: tuple[PublicKey, ...] = ()
        self._fetched = -math.inf  # when that last went well
        self._tried = -math.inf
        self._problem = ""  # why it didn't
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None, algorithm: str) -> list[PublicKey]:
        """The keys of that id, or all if it is None, that may verify that algorithm.

        Raises AccountError when there are none, and newer keys can't be had.
        """
        if self._age() >= KEYS_LIFETIME:
            await self._refresh()
        found = self._matching(key_id, algorithm)
        if not found:
            await self._refresh()
            found = self._matching(key_id, algorithm)
        if not found and self._problem:
            raise AccountError(f"the issuer's keys can't be had: {self._problem}")
        return found

    async def aclose(self) -> None:
        """Stop fetching."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
            self._fetching = None  # a task that hadn't begun leaves it set

    def _age(self) -> float:
        return self._clock() - self._fetched

    def _matching(self, key_id: str | None, algorithm: str) -> list[PublicKey]:
        if self._age() >= KEYS_MAX_AGE:
            return []
        keys = (key for key in self._keys if key_id is None or key.kid == key_id)
        return [key for key in keys if _fits(key, algorithm)]

    async def _refresh(self) -> None:
        """Fetch the keys, unless that was tried just now."""
        if self._fetching is None:
            if self._clock() - self._tried < FETCH_INTERVAL:
                return
            self._fetching = asyncio.create_task(self._fetch())
        # All who wait share one fetch; if one of them is cancelled, it goes on.
        await asyncio.shield(self._fetching)

    async def _fetch(self) -> None:
        try:
            self._keys = _read_keys(await self._source())
            self._fetched, self._problem = self._clock(), ""
            self._tried = self._fetched
        except AccountError as error:
            self._problem = str(error)
            self._tried = self._clock()
            log.warning("OAuth: no new keys: %s", error)
        finally:
            self._fetching = None


def _read_file(path: Path) -> object:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_ANSWER + 1)
    except OSError as error:
        raise AccountError(f"{path}: {error.strerror}") from None
    if len(text) > MAX_ANSWER:
        raise AccountError(f"{path}: more than {MAX_ANSWER} octets")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise AccountError(f"{path}: not JSON") from None


def _read_keys(jwks: object) -> tuple[PublicKey, ...]:
    """The keys of a set that can verify signatures. Raises AccountError if there are none."""
    given = jwks.get("keys") if isinstance(jwks, dict) else None
    if not isinstance(given, list) or len(given) > MAX_KEYS:
        raise AccountError(f"no JWK set of up to {MAX_KEYS} keys")
    keys = tuple(key for key in map(_read_key, given) if key is not None)
    if not keys:
        raise AccountError("a JWK set without a key for signatures")
    return keys


def _read_key(jwk: Any) -> PublicKey | None:
    """A public key, or None for what is none: others in the set may be good."""
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig":
        return None
    if jwk.get("kty") == "RSA" and len(str(jwk.get("n"))) < _MIN_MODULUS:
        return None
    try:
        key = JWKRegistry.import_key(jwk) if jwk.get("kty") in _FAMILIES.values() else None
    except Exception:  # noqa: BLE001 - whatever a library finds wrong with it
        return None
    return key if isinstance(key, RSAKey | ECKey | OKPKey) else None


def _fits(key: PublicKey, algorithm: str) -> bool:
    if key.key_type != _FAMILIES[algorithm[:2]] or key.alg not in (None, algorithm):
        return False
    operations = key.get("key_ops")
    return operations is None or "verify" in operations
