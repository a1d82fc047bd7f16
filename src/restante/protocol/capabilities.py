"""What CAPA says (RFC 2449 §5), derived from the state of things, never written down."""

from __future__ import annotations

from restante.protocol.mechanisms import NO_CHANNEL, Channel
from restante.protocol.policy import Policy


def capabilities(
    policy: Policy, *, tls: bool, secure: bool, channel: Channel = NO_CHANNEL
) -> list[str]:
    """CAPA's lines: the same before and after login; only TLS changes them.

    tls: TLS is active, channel: what it says. secure: a password may be sent as it is.
    """
    lines = []
    for spec in policy.commands:
        if spec.capability is None:
            continue
        if spec.kind == "USER" and not policy.offers_user(secure):
            continue
        if spec.kind == "UTF8" and not policy.utf8:
            continue
        lines.append(spec.capability)
    lines += ["RESP-CODES", "AUTH-RESP-CODE", "PIPELINING"]
    if mechanisms := policy.mechanisms_for(secure, channel):
        lines.append("SASL " + " ".join(info.name for info in mechanisms))
    if not tls and policy.tls.startswith("starttls") and "STLS" in policy.commands:
        lines.append("STLS")
    expire = "NEVER" if policy.expire_days is None else str(policy.expire_days)
    lines.append(f"EXPIRE {expire}")
    lines.append(f"LOGIN-DELAY {policy.login_delay}")
    lines.append(f"IMPLEMENTATION {policy.implementation}")
    return lines
