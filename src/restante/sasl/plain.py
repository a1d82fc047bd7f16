"""PLAIN (RFC 4616): authorisation identity, name and password in one response."""

from __future__ import annotations

from restante.protocol.claims import PasswordClaim
from restante.sasl.contract import (
    Exchange,
    MechanismContext,
    MechanismError,
    MechanismInfo,
    ask,
    credential_text,
)


def plain(context: MechanismContext, initial: bytes | None) -> Exchange:
    """`[authzid] NUL name NUL password` (RFC 4616 §2)."""
    response = initial if initial is not None else (yield from ask(b""))
    parts = response.split(b"\0")
    if len(parts) != 3:
        raise MechanismError("malformed response: PLAIN takes three parts")
    authzid, name, password = parts
    return PasswordClaim(
        name=credential_text(name),
        password=credential_text(password),
        mechanism="PLAIN",
        authzid=credential_text(authzid) if authzid else "",
    )


PLAIN = MechanismInfo("PLAIN", plain, plaintext=True)
