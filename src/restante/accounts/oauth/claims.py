"""What a token must say of itself, whether it is signed or was asked about."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from restante.accounts.names import is_valid_name


@dataclass(frozen=True, slots=True)
class Demands:
    """What is demanded of tokens; empty: nothing in particular.

    issuer, audience, scopes, username_claims, leeway, now: as `OAuth` explains them.
    """

    issuer: str
    audience: tuple[str, ...]
    scopes: tuple[str, ...]
    username_claims: tuple[str, ...]
    leeway: float
    now: Callable[[], float]

    def __post_init__(self) -> None:
        if not self.username_claims or not all(self.username_claims):
            raise ValueError("username_claim: the name of a claim is needed")
        if not 0 <= self.leeway <= 600:
            raise ValueError(f"leeway={self.leeway!r}: allowed are 0 to 600 seconds")

    def name(self, claims: Mapping[str, Any], *, signed: bool) -> str | None:
        """The account's name, if `claims` meet all demands; None if any is not met.

        signed: a JWT's, which must tell its issuer, audience and end (RFC 7519 §4.1).
            Whoever was asked about a token may leave the issuer and the end out.
        """
        if not self._is_ours(claims, signed) or not self._is_in_time(claims, signed):
            return None
        if not set(self.scopes) <= _scopes(claims):
            return None
        if "cnf" in claims:
            return None  # only with a further proof (RFC 7800 §3), which nobody gives here
        return self._username(claims)

    def _is_ours(self, claims: Mapping[str, Any], signed: bool) -> bool:
        issuer = claims.get("iss")
        if issuer != self.issuer and (signed or (self.issuer and issuer is not None)):
            return False
        return not self.audience or not _texts(claims.get("aud")).isdisjoint(self.audience)

    def _is_in_time(self, claims: Mapping[str, Any], signed: bool) -> bool:
        times = [claims.get(each) for each in ("exp", "nbf", "iat")]
        if not all(time is None or _is_number(time) for time in times):
            return False
        end, start, issued = times
        now = self.now()
        if end is None:
            if signed:
                return False
        elif now - self.leeway >= end:
            return False
        return all(each is None or each <= now + self.leeway for each in (start, issued))

    def _username(self, claims: Mapping[str, Any]) -> str | None:
        # Some issuers write it as text.
        verified = claims.get("email_verified", True) in (True, "true")
        if "email" in self.username_claims and not verified:
            return None
        name = next((claims[each] for each in self.username_claims if claims.get(each)), None)
        return name if isinstance(name, str) and is_valid_name(name) else None


def _scopes(claims: Mapping[str, Any]) -> set[str]:
    """As RFC 8693 §4.2 has them; some issuers say `scp`, or give a list."""
    found: set[str] = set()
    for given in (claims.get("scope"), claims.get("scp")):
        found |= set(given.split()) if isinstance(given, str) else _texts(given)
    return found


def _texts(given: object) -> set[str]:
    """A text, or the texts of a list."""
    values = given if isinstance(given, list) else [given]
    return {value for value in values if isinstance(value, str)}


def _is_number(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)
