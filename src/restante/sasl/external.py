"""EXTERNAL (RFC 4422 appendix A): the client logs in by its TLS certificate."""

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


def external(context: MechanismContext, initial: bytes | None) -> Exchange:
    """One response: the identity to act as, or nothing for the certificate's own.

    A certificate that stands for several names is asked which one is meant by that.
    """
    names = context.channel.names()
    if not names:
        raise MechanismError("no client certificate says who this is")
    response = initial if initial is not None else (yield from ask(b""))
    authzid = credential_text(response) if response else ""
    if authzid in names:
        return IdentityClaim((authzid,), "EXTERNAL")
    return IdentityClaim(names, "EXTERNAL", authzid)


EXTERNAL = MechanismInfo("EXTERNAL", external, certificate=True)
