"""XCLIENT: a mail proxy says who its client is, as Dovecot's does before it logs in.

The proxy sends it when the greeting begins with `+OK [XCLIENT]`, one line such as
`XCLIENT ADDR=192.0.2.7 PORT=51423 SESSION=8yQ5Xa TTL=4`, and expects `+OK`.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from restante.guard.admission import Admission
from restante.networks import parse_address
from restante.protocol.mechanisms import NO_CHANNEL
from restante.protocol.replies import Err
from restante.server.client import is_local

if TYPE_CHECKING:
    from restante.server.connection import Connection

log = logging.getLogger("restante.server")

MAX_SESSION = 128
"""Characters of a proxy's name for a session; a longer one is ignored."""

_ATTRIBUTE = re.compile(r"([A-Za-z0-9-]+)=(.*)")
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_SESSION = re.compile(r"[!-~]+")
_UNAVAILABLE = frozenset({"", "[UNAVAILABLE]", "[TEMPUNAVAIL]"})


@dataclass(frozen=True, slots=True)
class XClient:
    """What a mail proxy says of its client; None for what it doesn't.

    host, port: the client's. session: the proxy's name for the connection.
    tls: whether the client speaks TLS with the proxy.
    """

    host: str | None = None
    port: int | None = None
    session: str | None = None
    tls: bool | None = None


def parse_xclient(argument: str) -> XClient:
    """An XCLIENT command's argument. Raises ValueError, whose text the peer may read.

    Attributes that say nothing of the client's connection are ignored, LOGIN among them:
    nobody is logged in on a proxy's word.
    """
    said: dict[str, str] = {}
    for word in argument.split():
        attribute = _ATTRIBUTE.fullmatch(word)
        if attribute is None:
            raise ValueError("malformed attribute")
        name = attribute[1].upper()
        if name in said:
            raise ValueError("attribute given twice")
        said[name] = "" if attribute[2].upper() in _UNAVAILABLE else attribute[2]
    if not said:
        raise ValueError("attributes missing")
    return XClient(
        _host(said.get("ADDR", "")),
        _port(said.get("PORT", "")),
        _session(said.get("SESSION", "")),
        _tls(said.get("CLIENT-TRANSPORT", "")),
    )


def _host(value: str) -> str | None:
    if not value:
        return None
    # Postfix puts this before an IPv6 address, Dovecot doesn't.
    text = value[5:] if value[:5].upper() == "IPV6:" else value
    try:
        if "%" not in text:
            return str(parse_address(text))
    except ValueError:
        pass
    raise ValueError("malformed address")


def _port(value: str) -> int | None:
    if not value:
        return None
    if not _PORT.fullmatch(value) or int(value) > 65535:
        raise ValueError("malformed port")
    return int(value)


def _session(value: str) -> str | None:
    return value if len(value) <= MAX_SESSION and _SESSION.fullmatch(value) else None


def _tls(value: str) -> bool | None:
    return value.upper() == "TLS" if value else None


def introduce(connection: Connection, said: XClient) -> Err | None:
    """Take a proxy's word for who its client is, or say why that one can't come in."""
    session = connection.session
    log.info(
        "session %s: %s speaks for %s port %s, session %s",
        connection.id, connection.address[0], said.host, said.port, said.session,
    )  # fmt: skip
    # Without TLS, a network has seen what the client sends.
    seen = said.tls is False and not is_local(said.host or "unknown")
    trusted = session.secure and not session.tls and not seen
    session.protected(tls=session.tls or said.tls is True, trusted=trusted)
    session.channel = NO_CHANNEL  # our TLS is with the proxy, as is its certificate
    if said.host is None:
        return None
    connection.address = said.host, said.port or 0
    connection.admission.end()
    connection.admission = Admission(connection.server.guard, said.host)
    refusal = connection.admission.begin()
    session.closing = refusal is not None
    return refusal
