"""PLAIN (RFC 4616): authorisation identity, name and password in one response."""

from __future__ import annotations

from restante.protocol.claims import PasswordClaim
from restante.sasl.contract import (
    Challenge,
    MechanismContext,
    MechanismError,
    MechanismInfo,
    Step,
    credential_text,
)


class Plain:
    """`[authzid] NUL name NUL password` (RFC 4616 §2)."""

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")
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


def _make(context: MechanismContext) -> Plain:
    return Plain()


PLAIN = MechanismInfo("PLAIN", _make, plaintext=True, needs_secret=False)
