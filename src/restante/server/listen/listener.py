"""Where a server listens, and how it speaks TLS there."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field

from restante.networks import NetworkMap, network_set, parse_address
from restante.protocol.policy import Policy, TlsMode
from restante.protocol.table import CommandTable
from restante.settings_fields import suggest_settings

_OPTIONS = (
    ("TCP_NODELAY", 1),
    ("TCP_KEEPIDLE", 60),
    ("TCP_KEEPINTVL", 15),
    ("TCP_KEEPCNT", 4),
    ("TCP_NOTSENT_LOWAT", 256 * 1024),
)

TLS_MODES: tuple[TlsMode, ...] = ("none", "implicit", "starttls", "starttls_required")


def _no_policy() -> Policy:
    return Policy(CommandTable())


@suggest_settings
@dataclass(slots=True)
class Listener:
    """One address that a server listens on.

    port: 0 lets the system choose; `address` tells which, once the server listens.
    tls: `none`; `implicit` from the first octet (RFC 8314); `starttls` allows STLS
        (RFC 2595), `starttls_required` answers nothing of worth before it.
    backlog: connections that the system may hold ready.
    proxy_protocol: each connection begins with a header of the PROXY protocol, which says
        who the client is; peers outside of `proxy_networks` are cut off.
    xclient: peers in `proxy_networks` may say so by XCLIENT, as Dovecot's proxy does.
    proxy_networks: addresses of the proxies to believe, or networks such as `10.0.0.0/8`.
    sockets: that listen already, TCP, instead of `host` and `port`; the server closes them
        when it stops.

    A server copies what it is given: one listener may be given to several.

    Raises TypeError for a value of a wrong type and ValueError for one that isn't allowed.
    """

    host: str = "127.0.0.1"
    port: int = 110
    tls: TlsMode = "none"
    backlog: int = 1024
    proxy_protocol: bool = False
    xclient: bool = False
    proxy_networks: Sequence[str] = ()
    sockets: Sequence[socket.socket] = field(default=(), repr=False)
    address: tuple[str, int] | None = field(default=None, init=False)
    policy: Policy = field(default_factory=_no_policy, init=False, repr=False)
    _proxies: NetworkMap[bool] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.tls not in TLS_MODES:
            raise ValueError(f"tls={self.tls!r}: allowed are {', '.join(TLS_MODES)}")
        if not isinstance(self.host, str):
            raise TypeError(f'host={self.host!r}: it must be text; "" listens on all addresses')
        for name, most in (("port", 65535), ("backlog", 65535)):
            value = getattr(self, name)
            if type(value) is not int:
                raise TypeError(f"{name}={value!r}: allowed is a whole number from 0 to {most}")
            if not 0 <= value <= most:
                raise ValueError(f"{name}={value}: allowed are 0 to {most}")
        if isinstance(self.proxy_networks, str):
            raise ValueError(  # noqa: TRY004 - as for every other wrong network
                f"proxy_networks={self.proxy_networks!r}: give a list of addresses and networks"
            )
        for each in self.sockets:
            if not isinstance(each, socket.socket):
                raise TypeError(f"sockets: {each!r} is no socket")
        try:
            self._proxies = network_set(self.proxy_networks)
        except ValueError as error:
            raise ValueError(f"proxy_networks: {error}") from None
        for name in ("proxy_protocol", "xclient"):
            if getattr(self, name) and not self.proxy_networks:
                raise ValueError(f"{name} needs proxy_networks: the addresses of the proxies")

    def is_proxy(self, host: str) -> bool:
        """Whether a peer's address is in `proxy_networks`."""
        try:
            address = parse_address(host)
        except ValueError:
            return False
        return any(self._proxies.covering(address))

    def hears_xclient(self, host: str) -> bool:
        """Whether a peer at this address may say by XCLIENT who its client is."""
        return self.xclient and self.is_proxy(host)


def watch_peers(listening: socket.socket) -> None:
    """Have the system notice within two minutes that a silent peer's machine is gone.

    Its maildrop's lease is then free again, long before the idle timeout. And have it
    take only so much of a message at a time that a slow reader's progress can be seen, and send
    each reply when it is written.
    Connections take these options over from the socket that listens.
    """
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _OPTIONS:
        if hasattr(socket, option):  # not everywhere
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
