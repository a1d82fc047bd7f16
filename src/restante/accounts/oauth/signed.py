"""Tokens that are JWTs, signed with a key of their issuer (RFC 7519, RFC 8725)."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from joserfc.errors import UnsupportedAlgorithmError
from joserfc.jws import CompactSignature, JWSRegistry, extract_compact, validate_compact

from restante.accounts.oauth.claims import Demands
from restante.accounts.oauth.issuer import IssuerClient
from restante.accounts.oauth.keys import KeyCache, PublicKey
from restante.sasl.oauth import MAX_TOKEN

_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")

_TYPES = {"jwt", "at+jwt", "application/at+jwt"}
"""RFC 8725 §3.11: a JWT of another type was made for something else than access."""


class SignedTokens:
    """Vouches for tokens by their signature. algorithms: those that are taken.

    Raises ValueError when there is too little to tell one's own tokens by.
    """

    def __init__(
        self,
        client: IssuerClient,
        keys: KeyCache,
        algorithms: Collection[str],
        demands: Demands,
    ) -> None:
        if not demands.issuer or not demands.audience:
            raise ValueError("issuer and audience are needed, unless introspection_url is given")
        self._client = client
        self._keys = keys
        self._registry = _Registry(algorithms=algorithms, strict_check_header=False)
        self._algorithms = algorithms
        self._demands = demands

    async def identify(self, token: str) -> str | None:
        """The name of the account that a valid token stands for; None for any other.

        Raises AccountError when the issuer's keys can't be had.
        """
        jws = self._extract(token)
        if jws is None:
            return None
        header = jws.headers()
        for key in await self._keys.find(header.get("kid"), header["alg"]):
            if self._is_signed(jws, key):
                return self._name(jws)
        return None

    async def aclose(self) -> None:
        """Close the connections to the issuer."""
        await self._keys.aclose()
        await self._client.aclose()

    def _extract(self, token: str) -> CompactSignature | None:
        """The token's parts, if it looks like one that may be taken."""
        if not _JWT.fullmatch(token):
            return None
        try:
            jws = extract_compact(token.encode("ascii"), registry=self._registry)
            header = jws.headers()
            self._registry.check_header(header)
            kind = header.get("typ", "JWT").lower()
        except Exception:  # noqa: BLE001 - whatever a hostile token does to a library is a no
            return None
        if header["alg"] not in self._algorithms or kind not in _TYPES:
            return None
        # RFC 7515 §4.1.11: what must be understood. We know no extensions.
        return None if "crit" in header or "b64" in header else jws

    def _is_signed(self, jws: CompactSignature, key: PublicKey) -> bool:
        try:
            return validate_compact(jws, key, registry=self._registry) is True
        except Exception:  # noqa: BLE001 - as above
            return False

    def _name(self, jws: CompactSignature) -> str | None:
        try:
            claims = json.loads(jws.payload)
        except (ValueError, RecursionError):
            return None
        return self._demands.name(claims, signed=True) if isinstance(claims, dict) else None


class _Registry(JWSRegistry):
    """What the library takes: headers with a chain of certificates, and long tokens."""

    max_header_length = 16 * 1024
    max_payload_length = MAX_TOKEN

    def get_alg(self, name: str) -> Any:
        """An allowed algorithm, without the warning that `EdDSA` is an old name (RFC 9864)."""
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError("not allowed")
        return self.algorithms[name]
