"""The debug log: commands received and replies sent, with secrets left out.

Records go to the logger `restante.protocol` at level DEBUG with `client`, `peer`,
`account`, `direction` and `line` as attributes, so a JSON formatter has them apart.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from restante.protocol.replies import Continue, Reply

if TYPE_CHECKING:
    from restante.server.client import ClientSession

log = logging.getLogger("restante.protocol")


class Transcript:
    """Decides whose dialogue is logged. May be changed while sessions run, from any thread.

    everything: log every session.
    accounts: log these accounts, by name. addresses: log these peers, by IP address.
    """

    def __init__(self) -> None:
        self.everything = False
        self.accounts: frozenset[str] = frozenset()
        self.addresses: frozenset[str] = frozenset()
        self.active = False
        """Whether any session might be logged: what the hot path looks at."""

    def choose(
        self,
        *,
        everything: bool = False,
        accounts: frozenset[str] = frozenset(),
        addresses: frozenset[str] = frozenset(),
    ) -> None:
        """Log these and no others from now on."""
        self.accounts = frozenset(name.casefold() for name in accounts)
        self.addresses = addresses
        self.everything = everything
        self.active = everything or bool(accounts) or bool(addresses)

    def wants(self, client: ClientSession) -> bool:
        """Whether this client's dialogue is logged: of an account, its failing logins too."""
        if self.everything or client.peer_ip in self.addresses:
            return True
        name = client.account.name if client.account else client.claimed_name
        return name is not None and name.casefold() in self.accounts

    def received(self, client: ClientSession, line: str) -> None:
        """Log a line of the client's."""
        self._write(client, "C", line)

    def sent(self, client: ClientSession, line: str) -> None:
        """Log the first line of a reply."""
        self._write(client, "S", line)

    def _write(self, client: ClientSession, direction: str, line: str) -> None:
        if not self.wants(client):
            return
        account = client.account.name if client.account else "-"
        log.debug(
            "%s %s %s %s: %s",
            client.id,
            client.peer_ip or "unix",
            account,
            direction,
            line,
            extra={
                "client": client.id,
                "peer": client.peer_ip,
                "account": account,
                "direction": direction,
                "line": line,
            },
        )


def first_line(status: bytes, reply: Reply) -> str:
    """A reply as the debug log shows it: its status line, without what a challenge says."""
    if isinstance(reply, Continue):
        return "+ ****" if reply.data else "+"
    return status.split(b"\r\n", 1)[0].decode("utf-8", "replace")
