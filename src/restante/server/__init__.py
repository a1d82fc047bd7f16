"""The POP3 server: the component, its backends, hooks and observers.

What `__all__` lists is public; all else in this package may change.
"""

from restante.server.backend import Backend, StandardBackend
from restante.server.client import ClientSession
from restante.server.hooks import EVENTS, Event, Events
from restante.server.listen.listener import Listener
from restante.server.observer import AccessLog, Observer
from restante.server.peer import Peer
from restante.server.server import Pop3Server
from restante.server.settings import Settings
from restante.server.tls.settings import Certificate, TlsSettings

__all__ = [
    "EVENTS",
    "AccessLog",
    "Backend",
    "Certificate",
    "ClientSession",
    "Event",
    "Events",
    "Listener",
    "Observer",
    "Peer",
    "Pop3Server",
    "Settings",
    "StandardBackend",
    "TlsSettings",
]
