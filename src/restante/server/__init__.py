"""The POP3 server: the component, its backends, hooks and observers.

What `__all__` lists is public; all else in this package may change.
"""

from typing import TYPE_CHECKING

from restante.public import lazily

if TYPE_CHECKING:
    from restante.server.backend import Backend as Backend
    from restante.server.backend import StandardBackend as StandardBackend
    from restante.server.client import ClientSession as ClientSession
    from restante.server.hooks import EVENTS as EVENTS
    from restante.server.hooks import AsyncDefault as AsyncDefault
    from restante.server.hooks import Default as Default
    from restante.server.hooks import Event as Event
    from restante.server.hooks import Events as Events
    from restante.server.listen.listener import Listener as Listener
    from restante.server.notes import Notes as Notes
    from restante.server.observer import AccessLog as AccessLog
    from restante.server.observer import Observer as Observer
    from restante.server.peer import Peer as Peer
    from restante.server.server import Pop3Server as Pop3Server
    from restante.server.settings import Settings as Settings
    from restante.server.tls.settings import Certificate as Certificate
    from restante.server.tls.settings import TlsSettings as TlsSettings
else:
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "backend": "Backend StandardBackend",
            "client": "ClientSession",
            "hooks": "EVENTS AsyncDefault Default Event Events",
            "listen.listener": "Listener",
            "notes": "Notes",
            "observer": "AccessLog Observer",
            "peer": "Peer",
            "server": "Pop3Server",
            "settings": "Settings",
            "tls.settings": "Certificate TlsSettings",
        },
    )
