"""Requests to an issuer: bounded in time and size, without redirects."""

from __future__ import annotations

import asyncio
import json
import ssl
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlsplit

import httpx2

from restante.accounts.contract import AccountError

MAX_ANSWER = 256 * 1024
"""Octets of an answer. Large issuers' key sets with certificates have some 30,000."""

MAX_REQUESTS = 20
"""Requests under way at once; further ones wait, which counts as part of their time."""


class IssuerClient:
    """Asks an issuer. What can't be had within `timeout` seconds is an AccountError.

    ca_file: PEM, the authorities to trust in place of the system's. Raises ValueError when
    it can't be read.
    """

    def __init__(self, ca_file: str | Path | None, timeout: float) -> None:
        try:
            self._tls = ssl.create_default_context(cafile=ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise ValueError(f"ca_file={str(ca_file)!r}: {error.strerror or error}") from None
        self._timeout = timeout
        self._client: httpx2.AsyncClient | None = None

    async def get(self, url: str) -> dict[str, Any]:
        """The JSON object at `url`."""
        return await self._ask("GET", url)

    async def post(
        self, url: str, form: dict[str, str], credentials: tuple[str, str]
    ) -> dict[str, Any]:
        """The JSON object that `url` answers a form with; the client's id and secret prove it."""
        user, password = map(quote_plus, credentials)  # RFC 6749 §2.3.1
        return await self._ask("POST", url, data=form, auth=httpx2.BasicAuth(user, password))

    async def aclose(self) -> None:
        """Close all connections. The next request opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _ask(self, method: str, url: str, **options: Any) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._timeout):
                body = await self._body(method, url, options)
            answer = json.loads(body)
        except httpx2.ConnectError as error:
            raise AccountError(f"{shown(url)}: {error}") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
            # Not the error's text: it might quote a header.
            raise AccountError(f"{shown(url)}: {type(error).__name__}") from None
        except (ValueError, RecursionError):
            raise AccountError(f"{shown(url)}: the answer is not JSON") from None
        if not isinstance(answer, dict):
            raise AccountError(f"{shown(url)}: the answer is no JSON object")
        return answer

    async def _body(self, method: str, url: str, options: dict[str, Any]) -> bytes:
        body = bytearray()
        async with self._connections().stream(method, url, **options) as response:
            if response.status_code != 200:
                raise AccountError(f"{shown(url)}: HTTP status {response.status_code}")
            if "content-encoding" in response.headers:
                raise AccountError(f"{shown(url)}: a compressed answer, which wasn't asked for")
            async for part in response.aiter_raw():
                body += part
                if len(body) > MAX_ANSWER:
                    raise AccountError(f"{shown(url)}: more than {MAX_ANSWER} octets")
        return bytes(body)

    def _connections(self) -> httpx2.AsyncClient:
        if self._client is None:
            self._client = httpx2.AsyncClient(
                verify=self._tls,
                timeout=self._timeout,
                limits=httpx2.Limits(max_connections=MAX_REQUESTS),
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
                follow_redirects=False,
                trust_env=False,
            )
        return self._client


def check_url(url: str, what: str) -> str:
    """`url`, if it is safe to send secrets to. Raises ValueError, naming `what` it is.

    Safe is https, and http to this machine itself.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError(f"{what}: not a URL") from None
    if not host or "@" in parts.netloc or parts.fragment:
        raise ValueError(f"{what}: a URL is needed, without user or fragment")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise ValueError(f"{what}={shown(url)!r}: only https is allowed, but for this machine")
    return url


def shown(url: str) -> str:
    """`url` as it may be logged: a query may hold a key."""
    return url.partition("?")[0]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
