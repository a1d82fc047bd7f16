"""Who is at the other end of a connection, and what TLS says of it."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from typing import Any

from restante.protocol.mechanisms import NO_CHANNEL, Channel
from restante.server.client import is_local
from restante.server.listen.proxied import Proxied, ProxiedChannel
from restante.server.tls.channel import TlsChannel
from restante.server.tls.settings import TlsSettings


class Peer:
    """The client of one connection, behind a proxy or not.

    transport: the connection's. proxied: what a proxy says of it.
    """

    __slots__ = ("_certificate", "_proxied", "_tls", "address", "tls", "trusted")

    def __init__(self, transport: asyncio.Transport, proxied: Proxied | None) -> None:
        self._proxied = proxied
        self.upgraded(transport)
        self.address: tuple[str, int]
        """Nobody knows the one of a peer that has gone already: it isn't ours for that."""
        self.trusted = False
        """No network sees what the client sends."""
        if proxied is not None:
            self.address, self.trusted = proxied.client, proxied.is_local
        elif isinstance(name := transport.get_extra_info("peername"), tuple):
            self.address = (str(name[0]), int(name[1]))
            self.trusted = is_local(self.address[0])
        else:
            self.address = ("unknown", 0)

    def upgraded(self, transport: asyncio.Transport) -> None:
        """The connection's transport is another one, or within TLS now."""
        tls: ssl.SSLObject | ssl.SSLSocket | None = transport.get_extra_info("ssl_object")
        self._tls = tls
        # Now: handlers ask for it when the connection has ended, too.
        self._certificate: dict[str, Any] | None = None
        if tls is not None and tls.context.verify_mode is not ssl.CERT_NONE:
            with suppress(ValueError, OSError):  # Python can't read it, or the peer has left
                self._certificate = tls.getpeercert() or None
        self.tls = tls is not None or self._ended_by_proxy
        """Whether the client speaks TLS, with us or with its proxy."""

    @property
    def _ended_by_proxy(self) -> bool:
        return self._proxied is not None and self._proxied.header.tls

    def channel(self, settings: TlsSettings | None, external_names: tuple[str, ...]) -> Channel:
        """What TLS says. settings: whose certificates are shown; external_names: see `TlsChannel`.

        Where a proxy ended TLS, our certificate and binding are with the proxy, so they are
        not taken for the client's.
        """
        if self._proxied is not None and self._ended_by_proxy:
            return ProxiedChannel(self._proxied.header, external_names=external_names)
        tls = self._tls
        return (
            NO_CHANNEL if tls is None else TlsChannel(tls, settings, external_names=external_names)
        )

    def certificate(self) -> dict[str, Any] | None:
        """The client's verified certificate, if it gave us one."""
        return None if self._ended_by_proxy else self._certificate
