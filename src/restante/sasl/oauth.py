"""OAUTHBEARER (RFC 7628) and XOAUTH2 (Google's and Microsoft's): a bearer token logs in.

Both send pairs of a key and a value, each ended by an octet 1. XOAUTH2 names the user in
one of them, OAUTHBEARER as the authorisation identity of a GS2 header (RFC 5801 §4) before
them.
"""

from __future__ import annotations

import json
import re
from functools import partial

from restante.protocol.claims import TokenClaim
from restante.sasl.contract import (
    Exchange,
    MechanismContext,
    MechanismError,
    MechanismInfo,
    ask,
    credential_text,
)

MAX_TOKEN = 64 * 1024
"""Octets of a token. Tokens that list a user's groups grow to tens of thousands."""

_BEARER = re.compile(rb"bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE)  # RFC 6750 §2.1
_KEY = re.compile(rb"[A-Za-z]+")
_ESCAPE = re.compile(rb"=(2C|3D)?")  # RFC 5801 §4; a lone "=" is none


def oauth_mechanisms(
    *, scope: str = "", openid_configuration: str = ""
) -> tuple[MechanismInfo, MechanismInfo]:
    """OAUTHBEARER and XOAUTH2, for accounts whose tokens somebody can vouch for.

    A refused client is told the scope that its next token needs, and the URL of the
    issuer's OpenID configuration, where it gets one (RFC 7628 §3.2.2).
    """
    problem = {
        "status": "invalid_token",
        "scope": scope,
        "openid-configuration": openid_configuration,
    }
    oauthbearer = partial(_oauthbearer, _refusal(problem))
    xoauth2 = partial(_xoauth2, _refusal({"status": "401", "schemes": "bearer", "scope": scope}))
    return (
        MechanismInfo("OAUTHBEARER", oauthbearer, plaintext=True),
        MechanismInfo("XOAUTH2", xoauth2, plaintext=True),
    )


def _refusal(members: dict[str, str]) -> bytes:
    told = {name: value for name, value in members.items() if value}
    return json.dumps(told, separators=(",", ":")).encode("ascii")


def _oauthbearer(refusal: bytes, context: MechanismContext, initial: bytes | None) -> Exchange:
    response = initial if initial is not None else (yield from ask(b""))
    header, _, pairs = response.partition(b"\1")
    name = _authorisation_identity(header)
    auth = _read_pairs(pairs).get(b"auth")
    if auth == b"":
        # RFC 7628 §4.3: it wants to learn where tokens come from. The answer says nothing.
        yield from ask(refusal)
        raise MechanismError("no token")
    return TokenClaim(name, _read_token(auth), "OAUTHBEARER", refusal)


def _xoauth2(refusal: bytes, context: MechanismContext, initial: bytes | None) -> Exchange:
    response = initial if initial is not None else (yield from ask(b""))
    pairs = _read_pairs(response)
    name = credential_text(pairs.get(b"user", b""))
    return TokenClaim(name, _read_token(pairs.get(b"auth")), "XOAUTH2", refusal)


def _authorisation_identity(header: bytes) -> str:
    """The name in a GS2 header; empty when it has none: the token tells."""
    flag, _, rest = header.partition(b",")
    if flag not in (b"n", b"y"):
        # RFC 7628 §3.1: there is nothing to bind to a channel.
        raise MechanismError("malformed response: GS2 header")
    name, comma, more = rest.partition(b",")
    if not comma or more:
        raise MechanismError("malformed response: GS2 header")
    if not name:
        return ""
    if not name.startswith(b"a="):
        raise MechanismError("malformed response: GS2 header")
    return credential_text(_ESCAPE.sub(_unescape, name[2:]))


def _unescape(found: re.Match[bytes]) -> bytes:
    if found[1] is None:
        raise MechanismError("malformed response: GS2 header")
    return b"," if found[1] == b"2C" else b"="


def _read_pairs(data: bytes) -> dict[bytes, bytes]:
    """Pairs, each ended by an octet 1, and one more octet 1. Unknown keys do no harm."""
    if not data.endswith(b"\1\1"):
        raise MechanismError("malformed response: keys and values wanted")
    pairs: dict[bytes, bytes] = {}
    for pair in data[:-2].split(b"\1"):
        key, equals, value = pair.partition(b"=")
        if not _KEY.fullmatch(key) or not equals or key in pairs or b"\0" in value:
            raise MechanismError("malformed response: keys and values wanted")
        pairs[key] = value
    return pairs


def _read_token(auth: bytes | None) -> str:
    found = _BEARER.fullmatch(auth or b"")
    if found is None:
        raise MechanismError("malformed response: no bearer token")
    if len(found[1]) > MAX_TOKEN:
        raise MechanismError("malformed response: token too long")
    return found[1].decode("ascii")
