"""The debug log: commands received and replies sent, with secrets left out.

Records go to the logger `restante.protocol` at level DEBUG with `client`, `peer`,
`account`, `direction` and `line` as attributes, so a JSON formatter has them apart.
"""

from __future__ import annotations

import logging

from restante.server.client import ClientSession
from restante.server.observer import Observer, Observers

log = logging.getLogger("restante.protocol")


class DebugLog(Observer):
    """Logs the dialogues that were chosen. May be changed while sessions run.

    observers: it watches through them for as long as anything is chosen.
    """

    def __init__(self, observers: Observers) -> None:
        self._observers = observers
        self._everything = False
        self._accounts: frozenset[str] = frozenset()
        self._addresses: frozenset[str] = frozenset()

    def choose(
        self,
        *,
        everything: bool = False,
        accounts: frozenset[str] = frozenset(),
        addresses: frozenset[str] = frozenset(),
    ) -> None:
        """Log these and no others from now on.

        everything: every session. accounts: by name, their failing logins too.
        addresses: clients by IP address.
        """
        self._accounts = frozenset(name.casefold() for name in accounts)
        self._addresses = addresses
        self._everything = everything
        if everything or accounts or addresses:
            self._observers.add(self)
        else:
            self._observers.remove(self)

    def line(self, session: ClientSession, line: str) -> None:
        self._write(session, "C", line)

    def reply(self, session: ClientSession, line: str) -> None:
        self._write(session, "S", line)

    def _wants(self, session: ClientSession) -> bool:
        if self._everything or session.peer_ip in self._addresses:
            return True
        name = session.account.name if session.account else session.claimed_name
        return name is not None and name.casefold() in self._accounts

    def _write(self, session: ClientSession, direction: str, line: str) -> None:
        if not self._wants(session):
            return
        account = session.account.name if session.account else "-"
        log.debug(
            "%s %s %s %s: %s", session.id, session.peer_ip or "unix", account, direction, line,
            extra={
                "client": session.id,
                "peer": session.peer_ip,
                "account": account,
                "direction": direction,
                "line": line,
            },
        )  # fmt: skip
