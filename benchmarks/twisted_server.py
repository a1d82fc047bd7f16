"""Twisted's POP3 server over Maildirs: `python -m benchmarks.twisted_server CONFIGURATION READY`.

The configuration is a JSON object: `maildrops`, a folder, and `accounts`, passwords by name.
The port is written to the file READY.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor
from twisted.internet.protocol import ServerFactory
from twisted.mail.maildir import MaildirMailbox
from twisted.mail.pop3 import POP3, IMailbox
from zope.interface import implementer


class Mailbox(MaildirMailbox):  # type: ignore[misc]
    """As Twisted has it, but for its unique-ids, which are text where octets are wanted."""

    def getUidl(self, i: int) -> bytes:
        found: str | bytes = super().getUidl(i)
        return found.encode() if isinstance(found, str) else found


@implementer(IRealm)
class Realm:
    """Gives an account its Maildir."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def requestAvatar(self, name: bytes, _: object, *__: object) -> tuple[object, ...]:
        """The maildrop of a name."""
        path = self._folder / name.decode()
        return IMailbox, Mailbox(str(path).encode()), lambda: None


class Factory(ServerFactory):  # type: ignore[misc]
    """Makes the protocol of each connection."""

    def __init__(self, portal: Portal) -> None:
        self._portal = portal

    def buildProtocol(self, _: object) -> POP3:
        """A session."""
        protocol = POP3()
        protocol.portal = self._portal
        protocol.factory = self
        return protocol


def main() -> None:
    """Serve until a signal ends it."""
    about, ready = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    accounts = {name.encode(): password.encode() for name, password in about["accounts"].items()}
    checker = InMemoryUsernamePasswordDatabaseDontUse()
    checker.users = accounts
    portal = Portal(Realm(Path(about["maildrops"])), [checker])
    loop: Any = reactor
    port = loop.listenTCP(0, Factory(portal), interface="127.0.0.1", backlog=1024)
    ready.write_text(f"{port.getHost().port}\n")
    loop.run()


if __name__ == "__main__":
    main()
