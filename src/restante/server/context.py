"""What connections need of their server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from restante.calls import Caller
from restante.guard.guard import Guard
from restante.guard.login_delay import LoginDelay
from restante.protocol.mechanisms import Channel
from restante.server.backend import Backend
from restante.server.hooks import Hooks
from restante.server.live import Live
from restante.server.numbering import Numbering
from restante.server.observer import Observers
from restante.server.peer import Peer
from restante.server.settings import Settings
from restante.server.tls.settings import TlsSettings


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of one server, for all its connections.

    call_blocking: calls what may wait for storage. call_quick: calls what mostly needn't, such
    as reading a file of a local disk, in place for as long as that is quick.
    call_worker: calls an application's other functions.
    call_soon: has a function called on the event loop, from any thread.
    """

    settings: Settings
    backend: Backend
    guard: Guard
    login_delay: LoginDelay
    hooks: Hooks
    observers: Observers
    live: Live
    numbering: Numbering
    tls: TlsSettings | None
    call_blocking: Caller
    call_quick: Caller
    call_worker: Caller
    call_soon: Callable[[Callable[[], object]], None]

    def channel_of(self, peer: Peer) -> Channel:
        """What TLS says of a connection."""
        return peer.channel(self.tls, self.settings.external_names)
