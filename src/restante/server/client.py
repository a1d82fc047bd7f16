"""What handlers see of a connected client."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from restante.accounts.contract import Account
from restante.protocol.listing import Listing
from restante.protocol.session import Session
from restante.protocol.states import State

if TYPE_CHECKING:
    from restante.server.connection import Connection


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
    """One connected client. Given to every handler as its first argument.

    data: for the application's own use.
    """

    __slots__ = ("_connection", "_session", "data", "mailbox")

    def __init__(self, connection: Connection, session: Session) -> None:
        self._connection = connection
        self._session = session
        self.mailbox = Mailbox(session)
        self.data: dict[str, Any] = {}

    @property
    def id(self) -> str:
        """Short text that is this connection's own in the logs."""
        return self._connection.id

    @property
    def since(self) -> float:
        """When it connected, seconds since 1970."""
        return self._connection.since

    @property
    def peer_ip(self) -> str:
        """Where the client is; an empty text for a Unix socket."""
        return self._connection.address[0]

    @property
    def peer_port(self) -> int:
        """Its port; 0 for a Unix socket."""
        return self._connection.address[1]

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
    def peer_certificate(self) -> dict[str, Any] | None:
        """The client's verified TLS certificate as `ssl.SSLSocket.getpeercert` gives it."""
        return self._connection.peer_certificate()

    def close(self) -> None:
        """End the connection after the reply in hand. From any thread."""
        self._connection.request_close()

    def __repr__(self) -> str:
        name = self.account.name if self.account else "-"
        return f"<ClientSession {self.id} {self.peer_ip} {name} {self.state.value}>"


@lru_cache(1024)
def is_local(address: str) -> bool:
    """Whether a peer is on this machine, so that no network sees its password."""
    if address.startswith("::ffff:"):
        address = address.removeprefix("::ffff:")
    return not address or address.startswith("127.") or address == "::1"
