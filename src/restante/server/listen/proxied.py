"""A connection that a proxy passes on, as the PROXY protocol tells it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from restante.networks import is_local
from restante.server.listen.proxy_protocol import Address, Header


@dataclass(frozen=True, slots=True)
class Proxied:
    """A connection that a proxy passes on.

    peer: the proxy's address; it may be gone already, so that the transport has none.
    header: what it says of its client.
    """

    peer: Address
    header: Header

    @property
    def client(self) -> Address:
        """Where the client is, as far as is known."""
        return self.header.source or self.peer

    @property
    def is_local(self) -> bool:
        """No network sees what the client sends."""
        if not is_local(self.peer[0]):
            return False
        source = self.header.source
        return self.header.local if source is None else is_local(source[0])


class ProxiedChannel:
    """The TLS that a proxy ended. `restante.protocol.mechanisms.Channel`.

    Nothing of it can be bound to: what the client's end has seen, only the proxy's has too.
    external_names: kinds of names that EXTERNAL may use; a proxy tells only `cn`.
    """

    __slots__ = ("_names",)

    def __init__(self, header: Header, *, external_names: Collection[str] = ("cn",)) -> None:
        told = header.client_verified and header.common_name and "cn" in external_names
        self._names = (header.common_name,) if told else ()

    def binding_types(self) -> tuple[str, ...]:
        """None."""
        return ()

    def binding(self, kind: str) -> bytes | None:
        """None of any kind."""
        return None

    def names(self) -> tuple[str, ...]:
        """The common name of the certificate that the proxy verified; none without one."""
        return self._names
