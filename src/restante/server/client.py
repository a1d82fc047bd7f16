"""What handlers see of a connected client."""

from __future__ import annotations

import time
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

    id: short text that is this connection's own in the logs.
    peer_ip, peer_port: where the client is; an empty text and 0 for a Unix socket.
    since: when it connected, seconds since 1970.
    data: for the application's own use.
    """

    __slots__ = (
        "_connection", "_session", "data", "id", "mailbox", "peer_ip", "peer_port", "since",
    )  # fmt: skip

    def __init__(
        self, connection: Connection, session: Session, identity: str, peer: tuple[str, int]
    ) -> None:
        self._connection = connection
        self._session = session
        self.id = identity
        self.peer_ip, self.peer_port = peer
        self.since = time.time()
        self.mailbox = Mailbox(session)
        self.data: dict[str, Any] = {}

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


def is_local(address: str) -> bool:
    """Whether a peer is on this machine, so that no network sees its password."""
    if address.startswith("::ffff:"):
        address = address.removeprefix("::ffff:")
    return not address or address.startswith("127.") or address == "::1"
