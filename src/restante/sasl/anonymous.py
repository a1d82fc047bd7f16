"""ANONYMOUS (RFC 4505): everybody logs in to one account, without a password."""

from __future__ import annotations

from restante.protocol.claims import IdentityClaim
from restante.sasl.contract import (
    Exchange,
    MechanismContext,
    MechanismError,
    MechanismInfo,
    ask,
    credential_text,
)

MAX_TRACE = 255
"""Characters of trace information (RFC 4505 §2)."""


def anonymous(account_name: str) -> MechanismInfo:
    """The mechanism by which everybody logs in to the account of that name."""

    def begin(context: MechanismContext, initial: bytes | None) -> Exchange:
        """One response: trace information, an address or a nickname, or nothing.

        It is checked and forgotten: it proves nothing.
        """
        trace = initial if initial is not None else (yield from ask(b""))
        if trace and len(credential_text(trace)) > MAX_TRACE:
            raise MechanismError("malformed response: trace information too long")
        return IdentityClaim((account_name,), "ANONYMOUS")

    return MechanismInfo("ANONYMOUS", begin)
