"""What handlers and observers see of a connected client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from restante.accounts.contract import Account
from restante.protocol.listing import Listing
from restante.protocol.session import Session
from restante.protocol.states import State
from restante.server.notes import Notes
from restante.server.peer import Peer


class Mailbox:
    """The client's opened maildrop, as its session sees it."""

    __slots__ = ("_session",)

    def __init__(self, session: Session) -> None:
        self._session = session

    @property
    def active_count(self) -> int:
        """Messages not marked as deleted."""
        return self._session.active_count

    @property
    def active_size(self) -> int:
        """Octets of the messages not marked as deleted."""
        return self._session.active_size

    @property
    def listing(self) -> Listing:
        """All messages of the session's snapshot; empty before login."""
        return self._session.listing

    @property
    def deleted(self) -> frozenset[int]:
        """Message-numbers marked as deleted."""
        return frozenset(self._session.deleted)


class ClientSession:
    """One connected client. Handlers and observers get it as their first argument.

    id: short text that is this connection's own in the logs.
    since: when it connected, in seconds since 1970.
    retrieved: messages that were sent whole, by RETR or TOP. removed: messages that QUIT removed.
    octets: of messages sent so far.
    ended: how the connection ended: `QUIT`, `client left`, `idle` …; "" while it is open.
    """

    __slots__ = (
        "_close", "_data", "_peer", "_session", "ended", "id", "notes", "octets", "removed",
        "retrieved", "since",
    )  # fmt: skip

    def __init__(
        self,
        identity: str,
        since: float,
        peer: Peer,
        session: Session,
        close: Callable[[], None],
    ) -> None:
        self.id = identity
        self.since = since
        self._peer = peer
        self.retrieved = self.removed = self.octets = 0
        self.notes: Notes | None = None
        """What `Observer.noted` is going to be told; None while nobody wants that."""
        self.ended = ""
        self._session = session
        self._close = close
        self._data: dict[str, Any] | None = None

    @property
    def data(self) -> dict[str, Any]:
        """For the application's own use."""
        if self._data is None:
            self._data = {}
        return self._data

    @property
    def peer_ip(self) -> str:
        """Where the client is; an empty text for a Unix socket."""
        return self._peer.address[0]

    @property
    def peer_port(self) -> int:
        """Its port; 0 for a Unix socket."""
        return self._peer.address[1]

    @property
    def peer_certificate(self) -> dict[str, Any] | None:
        """The client's verified TLS certificate as `ssl.SSLSocket.getpeercert` gives it."""
        return None if self._session.introduced else self._peer.certificate

    @property
    def mailbox(self) -> Mailbox:
        """The maildrop, as far as it is open."""
        return Mailbox(self._session)

    @property
    def state(self) -> State:
        """AUTHORIZATION, TRANSACTION or UPDATE."""
        return self._session.state

    @property
    def account(self) -> Account | None:
        """The account, once logged in."""
        account: Account | None = self._session.account
        return account

    @property
    def claimed_name(self) -> str | None:
        """The name that the client last tried to log in with. It proves nothing."""
        return self._session.claimed

    @property
    def tls(self) -> bool:
        """Whether the connection is inside TLS."""
        return self._session.tls

    @property
    def tls_version(self) -> str:
        """Of the TLS that is with us, as `TLSv1.3`; "" without it, and where a proxy ended it."""
        return self._peer.tls_version

    @property
    def tls_resumed(self) -> bool:
        """Whether that TLS session goes on from an earlier one."""
        return self._peer.tls_resumed

    def close(self) -> None:
        """End the connection after the reply in hand. From any thread."""
        self._close()

    def detach(self) -> None:
        """The connection has ended, and there is nothing left to close."""
        self._close = _nothing

    def __repr__(self) -> str:
        name = self.account.name if self.account else "-"
        return f"<ClientSession {self.id} {self.peer_ip} {name} {self.state.value}>"


def _nothing() -> None:
    pass
