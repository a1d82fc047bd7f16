"""OAuth: whose account does a bearer token stand for?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from restante.accounts.oauth.claims import Demands
from restante.extras import missing
from restante.sasl.oauth import MAX_TOKEN
from restante.settings_fields import suggest_settings

if TYPE_CHECKING:
    from restante.accounts.oauth.introspection import Introspection
    from restante.accounts.oauth.signed import SignedTokens

__all__ = ["ALGORITHMS", "OAuth"]

ALGORITHMS = (
    *("RS256", "RS384", "RS512"),
    *("PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512"),
    *("EdDSA", "Ed25519", "Ed448"),
)
"""What tokens may be signed with: public keys only. `none` and HMAC can't be allowed."""

_DISCOVERY = "/.well-known/openid-configuration"


@suggest_settings
class OAuth:
    """Vouches for the access tokens of one issuer, for OAUTHBEARER and XOAUTH2.

    A token is a JWT signed with one of the issuer's keys (RFC 7519), or, with
    `introspection_url`, anything that the issuer can be asked about (RFC 7662). Keys are at
    `jwks_url`, in `jwks_file`, or, with neither, where the issuer's OpenID configuration says.

    issuer: whose tokens these are, to the letter as it writes itself into them.
    audience: whom tokens must be made for: one of these. JWTs need it, so that a token for
        somebody else's service opens no maildrop; introspection needs it or `scopes`.
    scopes: what a token must all allow.
    username_claim: what in the token names the account; of several, the first that it has.
        With `email` among them, a token that calls its address unverified is refused.
    leeway: seconds by which clocks may differ.
    client_id, client_secret: how this server presents itself to `introspection_url`.
    algorithms: of `ALGORITHMS`, those that tokens may be signed with.
    ca_file: PEM, the authorities to trust in place of the system's.
    timeout: seconds that a request may take, from beginning to end.
    now: seconds since 1970. clock: seconds, monotonic.

    URLs are https, but for those of this machine. No proxy is used, no redirect followed.
    One event loop at a time may use it; it can go on in another after `aclose`.
    Raises ValueError for settings that don't go together, ImportError without the libraries.
    """

    def __init__(
        self,
        *,
        issuer: str = "",
        audience: str | Sequence[str] = (),
        scopes: str | Sequence[str] = (),
        username_claim: str | Sequence[str] = "email",
        leeway: float = 60.0,
        jwks_url: str = "",
        jwks_file: str | Path | None = None,
        introspection_url: str = "",
        client_id: str = "",
        client_secret: str = "",
        algorithms: Sequence[str] = ALGORITHMS,
        ca_file: str | Path | None = None,
        timeout: float = 10.0,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._demands = demands = Demands(
            issuer,
            _several(audience),
            tuple(scopes.split() if isinstance(scopes, str) else scopes),
            _several(username_claim),
            leeway,
            now,
        )
        if sum(map(bool, (jwks_url, jwks_file, introspection_url))) > 1:
            raise ValueError("jwks_url, jwks_file, introspection_url: only one can be used")
        if not timeout > 0:
            raise ValueError(f"timeout={timeout!r}: allowed is more than 0")
        try:
            # An extra's libraries, loaded when somebody wants them.
            from restante.accounts.oauth import issuer as asking  # noqa: PLC0415
            from restante.accounts.oauth import keys, signed  # noqa: PLC0415
            from restante.accounts.oauth.introspection import Introspection  # noqa: PLC0415
        except ImportError as error:
            raise ImportError(missing("oauth", "OAuth", "joserfc and httpx2", error)) from error
        client = asking.IssuerClient(ca_file, timeout)
        self._voucher: Introspection | SignedTokens
        if introspection_url:
            credentials = (client_id, client_secret)
            self._voucher = Introspection(client, introspection_url, credentials, demands, clock)
            return
        if jwks_file:
            source = keys.from_file(Path(jwks_file))
        elif jwks_url:
            source = keys.from_url(client, jwks_url)
        else:
            source = keys.discovered(client, issuer, self.discovery)
        cache = keys.KeyCache(source, clock)
        self._voucher = signed.SignedTokens(client, cache, _checked(algorithms), demands)

    @property
    def scope(self) -> str:
        """The scopes that a token needs, divided by blanks."""
        return " ".join(self._demands.scopes)

    @property
    def discovery(self) -> str:
        """The URL of the issuer's OpenID configuration; empty if the issuer is no URL."""
        issuer = self._demands.issuer
        if not issuer.startswith(("https://", "http://")):
            return ""
        return issuer.removesuffix("/") + _DISCOVERY

    async def identify(self, token: str) -> str | None:
        """The name of the account that a valid token stands for; None for any other.

        Raises AccountError when the issuer, or its keys, can't be had.
        """
        if not 0 < len(token) <= MAX_TOKEN or not token.isascii():
            return None
        return await self._voucher.identify(token)

    async def aclose(self) -> None:
        """Close the connections to the issuer. Harmless when repeated."""
        await self._voucher.aclose()


def _several(given: str | Sequence[str]) -> tuple[str, ...]:
    """One text, or several; an empty one is none."""
    return tuple(filter(None, [given] if isinstance(given, str) else given))


def _checked(algorithms: Sequence[str]) -> frozenset[str]:
    unknown = set(algorithms) - set(ALGORITHMS)
    if unknown or not algorithms or isinstance(algorithms, str):
        raise ValueError(f"algorithms={algorithms!r}: allowed are {', '.join(ALGORITHMS)}")
    return frozenset(algorithms)
