"""Who is at the other end of a connection, and what TLS says of it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

from restante.accounts.contract import Account
from restante.networks import is_local
from restante.protocol.mechanisms import NO_CHANNEL, Channel
from restante.server.listen.proxied import Proxied, ProxiedChannel
from restante.server.tls.channel import TlsChannel
from restante.server.tls.settings import TlsSettings


class Peer:
    """The client of one connection, behind a proxy or not, as a backend sees it.

    address: its host and port; "" and 0 for a Unix socket.
    tls: whether it speaks TLS, with us or with its proxy.
    trusted: no network sees what it sends.
    certificate: its verified certificate as `ssl.SSLSocket.getpeercert` gives it, or None.
    protocol: what it speaks, `pop3` or `smtp`.
    """

    __slots__ = (
        "_proxied", "_tls", "address", "admit", "certificate", "goes_first", "has_room", "protocol",
        "tls", "trusted",
    )  # fmt: skip

    def __init__(
        self, address: tuple[str, int], *, protocol: Literal["pop3", "smtp"] = "pop3"
    ) -> None:
        self.address = address
        self.protocol = protocol
        self.tls = False
        self.trusted = is_local(address[0])
        self.certificate: dict[str, Any] | None = None
        self._tls: ssl.SSLObject | ssl.SSLSocket | None = None
        self._proxied: Proxied | None = None
        self.goes_first: Callable[[str, bool], bool] = _goes_last
        """Whether a slow check for this login goes ahead of others'; see `Hashing.run`.

        Its second argument: whether the account has logged in before.
        """
        self.has_room: Callable[[Account], bool] = _has_room
        """Whether `admit` would let the account begin a session now. It changes nothing.

        For a backend that opens a maildrop before it knows whether the credentials are right: what
        is opened for a session that is refused then may be another session's.
        """
        self.admit: Callable[[Account], None] = _admit
        """Tells the server that credentials were proven, and for which account.

        A backend calls it before it opens the maildrop. Raises Pop3Error when the account may
        not begin a session now. Where a backend doesn't call it, the server does afterwards.
        """

    def inside_tls(self, tls: ssl.SSLObject | ssl.SSLSocket) -> None:
        """A handshake was done with it."""
        self._tls = tls
        self.tls = True
        # Read now, because handlers ask for it when the connection has ended, too.
        if tls.context.verify_mode is not ssl.CERT_NONE:
            with suppress(ValueError, OSError):  # Python can't read it, or the client has left
                self.certificate = tls.getpeercert() or None

    @property
    def tls_version(self) -> str:
        """Of the TLS that is with us; "" without it."""
        return (self._tls.version() or "") if self._tls is not None else ""

    @property
    def tls_resumed(self) -> bool:
        """Whether that TLS session goes on from an earlier one."""
        return self._tls is not None and bool(self._tls.session_reused)

    def behind(self, proxied: Proxied) -> None:
        """A proxy passes its connection on, by the PROXY protocol."""
        self._proxied = proxied
        self.trusted = proxied.is_local
        self.tls = self.tls or proxied.header.tls

    def channel(self, settings: TlsSettings | None, external_names: tuple[str, ...]) -> Channel:
        """What TLS says. settings: whose certificates are shown; external_names: see `TlsChannel`.

        Where a proxy ended TLS, our certificate and binding are with the proxy, so they are
        not taken for the client's.
        """
        if self._proxied is not None and self._proxied.header.tls:
            return ProxiedChannel(self._proxied.header, external_names=external_names)
        tls = self._tls
        return (
            NO_CHANNEL if tls is None else TlsChannel(tls, settings, external_names=external_names)
        )


def peer_of(transport: asyncio.Transport, proxied: Proxied | None) -> Peer:
    """The peer of a connection. proxied: what a proxy says of its client."""
    if proxied is not None:
        peer = Peer(proxied.client)
    else:
        name = transport.get_extra_info("peername")
        # A client that has left already has none; it isn't one of ours for that.
        peer = Peer((name[0], name[1]) if isinstance(name, tuple) else ("unknown", 0))
    if (tls := transport.get_extra_info("ssl_object")) is not None:
        peer.inside_tls(tls)
    if proxied is not None:
        peer.behind(proxied)
        if proxied.header.tls:
            peer.certificate = None
    return peer


def _goes_last(login: str, has_succeeded: bool) -> bool:
    """What `goes_first` is until a login begins."""
    return False


def _has_room(account: Account) -> bool:
    return True


def _admit(account: Account) -> None:
    """What `admit` is until a login begins: it does nothing."""
