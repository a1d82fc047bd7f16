"""Tokens that only their issuer understands: it is asked about them (RFC 7662)."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from restante.accounts.oauth.claims import Demands
from restante.accounts.oauth.issuer import IssuerClient, check_url

REMEMBER_SECONDS = 60.0
"""Seconds that a yes is remembered at most. A token that is revoked works until then."""

MAX_REMEMBERED = 10_000
"""Tokens that are remembered, some 2 MB at most."""


class Introspection:
    """Vouches for tokens by asking their issuer. credentials: a client's id and secret.

    clock: seconds, monotonic. Raises ValueError for settings that don't go together.
    """

    def __init__(
        self,
        client: IssuerClient,
        url: str,
        credentials: tuple[str, str],
        demands: Demands,
        clock: Callable[[], float],
    ) -> None:
        if not all(credentials):
            raise ValueError("introspection_url: client_id and client_secret are needed")
        if not demands.audience and not demands.scopes:
            raise ValueError("introspection_url: audience or scopes are needed")
        self._client = client
        self._url = check_url(url, "introspection_url")
        self._credentials = credentials
        self._demands = demands
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._known: dict[bytes, tuple[float, str]] = {}

    async def identify(self, token: str) -> str | None:
        """The name of the account that a valid token stands for; None for any other.

        Raises AccountError when the issuer can't be asked.
        """
        tag = blake2b(token.encode("ascii"), key=self._key, digest_size=32).digest()
        until, name = self._known.get(tag, (0.0, ""))
        if self._clock() < until:
            return name
        self._known.pop(tag, None)
        form = {"token": token, "token_type_hint": "access_token"}
        answer = await self._client.post(self._url, form, self._credentials)
        found = self._name(answer)
        if found is not None:
            self._remember(tag, found, answer)
        return found

    async def aclose(self) -> None:
        """Close the connections to the issuer."""
        await self._client.aclose()

    def _name(self, answer: dict[str, Any]) -> str | None:
        if answer.get("active") is not True:
            return None
        if str(answer.get("token_type", "Bearer")).lower() != "bearer":
            return None
        return self._demands.name(answer, signed=False)

    def _remember(self, tag: bytes, name: str, answer: dict[str, Any]) -> None:
        now, end = self._demands.now(), answer.get("exp")
        until = now + REMEMBER_SECONDS if end is None else min(now + REMEMBER_SECONDS, end)
        if until <= now:
            return  # it was let in by the leeway
        while len(self._known) >= MAX_REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[tag] = (self._clock() + until - now, name)
