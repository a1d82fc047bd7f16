"""The POP3 server: the component, its backends, hooks and observers.

What `__all__` lists is public; all else in this package may change.
"""

from typing import TYPE_CHECKING, Any

from restante.public import load

if TYPE_CHECKING:
    from restante.server.backend import (
        Backend,
        StandardBackend,
    )
    from restante.server.client import (
        ClientSession,
    )
    from restante.server.hooks import (
        EVENTS,
        AsyncDefault,
        Default,
        Event,
        Events,
    )
    from restante.server.listen.listener import (
        Listener,
    )
    from restante.server.observer import (
        AccessLog,
        Observer,
    )
    from restante.server.peer import (
        Peer,
    )
    from restante.server.server import (
        Pop3Server,
    )
    from restante.server.settings import (
        Settings,
    )
    from restante.server.tls.settings import (
        Certificate,
        TlsSettings,
    )

_HOMES = {
    "backend": "Backend StandardBackend",
    "client": "ClientSession",
    "hooks": "EVENTS AsyncDefault Default Event Events",
    "listen.listener": "Listener",
    "observer": "AccessLog Observer",
    "peer": "Peer",
    "server": "Pop3Server",
    "settings": "Settings",
    "tls.settings": "Certificate TlsSettings",
}


def __getattr__(name: str) -> Any:
    found = globals()[name] = load(__name__, _HOMES, name)
    return found


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "EVENTS",
    "AccessLog",
    "AsyncDefault",
    "Backend",
    "Certificate",
    "ClientSession",
    "Default",
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
