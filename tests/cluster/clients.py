"""Clients that deliver, fetch and delete, each in a maildrop of its own, and keep a ledger."""

from __future__ import annotations

import poplib
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from typing import NamedTuple

from tests import pop3
from tests.app.support import PASSWORD, wait_until
from tests.cluster.ledger import Ledger, Message, State, lines_of, subject_of

ACCOUNTS = tuple(f"user{number}" for number in range(12))

FAILED = (OSError, poplib.error_proto, EOFError)


class NotTaken(OSError):
    """Mail was refused."""


class Ports(NamedTuple):
    """Where a client goes. control: see `tests.cluster.forked`; 0: nowhere."""

    host: str
    pop3: int
    lmtp: int
    control: int = 0


def log_in(host: str, port: int, account: str) -> poplib.POP3:
    """A session."""
    return pop3.log_in(host, port, account, PASSWORD)


def send_by_lmtp(
    host: str, port: int, accounts: Sequence[str], lines: Sequence[bytes]
) -> Generator[bytes, None, None]:
    """Deliver a message by LMTP; the reply for each recipient, as it comes. Raises OSError."""
    with (
        socket.create_connection((host, port), 60) as connection,
        connection.makefile("rb") as replies,
    ):

        def reply() -> bytes:
            while (line := replies.readline())[3:4] == b"-":
                pass
            if not line:
                raise ConnectionError("no reply")
            return line

        def well() -> None:
            if (line := reply())[:1] in b"45":
                raise NotTaken(line.decode())

        well()
        recipients = [b"RCPT TO:<%s>" % each.encode() for each in accounts]
        commands = [b"LHLO localhost", b"MAIL FROM:<a@example.org>", *recipients, b"DATA", b""]
        connection.sendall(b"\r\n".join(commands))
        for _ in commands[:-1]:
            well()
        connection.sendall(b"\r\n".join([*lines, b".", b"QUIT", b""]))
        for _ in accounts:
            yield reply()


class Clients:
    """A client for each account. May be entered again.

    ports: asked before each connection. errors: what clients were told or saw that isn't right
    when nothing breaks. wrong: what may never be. few: how many accounts. undelete: let clients
    do as well what has errors by itself: they leave without QUIT, take over their own maildrops,
    and have messages put back that were removed within so many seconds.
    """

    def __init__(
        self, ports: Callable[[], Ports], seed: int = 1, *, few: int = 6, undelete: float = 0
    ) -> None:
        self._ports = ports
        self._undelete_seconds = undelete
        self.accounts = ACCOUNTS[:few]
        self.ledger = Ledger(self.accounts)
        self.wrong = self.ledger.wrong
        self.errors: list[str] = []
        self.done: Counter[str] = Counter()
        self._chances = {name: random.Random(f"{seed} {name}") for name in self.accounts}
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Clients:
        self._over.clear()
        self._threads = [
            threading.Thread(target=self._live, args=item) for item in self._chances.items()
        ]
        for each in self._threads:
            each.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for each in self._threads:
            each.join()

    def wait_for(self, sessions: int) -> None:
        """Wait until so many more sessions have gone well."""
        wanted = self.done["sessions"] + sessions
        wait_until(lambda: self.done["sessions"] >= wanted or self.wrong, "sessions", 120)

    def settle(self, *, whole: bool = False) -> None:
        """While nobody is at work: hold every maildrop against the ledger, all of it.

        whole: nothing has failed but nodes as a whole, so that each delivery has come to all of
        its recipients, or to none.
        """
        for account in self.accounts:
            before = self.ledger.before(account)

            def opened(account: str = account) -> poplib.POP3 | None:
                with suppress(*FAILED):
                    return self._log_in(account)
                return None

            client = wait_until(opened, f"the maildrop of {account}")
            try:
                self._look(account, client, before, wholly=True)
                client.quit()
            finally:
                client.close()
        self.ledger.end_deliveries(whole=whole)
        assert not self.wrong, self.wrong

    def _live(self, account: str, chance: random.Random) -> None:
        moves = 5 * [self._deliver, self._fetch]
        if self._undelete_seconds:
            moves.append(self._undelete)
        while not self._over.is_set() and not self.wrong:
            try:
                chance.choice(moves)(account, chance)
            except FAILED as error:
                self.errors.append(f"{time.time():.2f} {account}: {error!r}")
                time.sleep(chance.uniform(0.02, 0.2))  # with a lease that must end first, often

    def _log_in(self, account: str) -> poplib.POP3:
        at = self._ports()
        return log_in(at.host, at.pop3, account)

    def _deliver(self, account: str, chance: random.Random) -> None:
        others = [each for each in self.accounts if each != account]
        chosen = [account, *chance.sample(others, chance.choice((0, 0, 0, 1, 2)))]
        messages = self.ledger.sending(chosen, chance)
        lines, at = lines_of(messages[0].subject), self._ports()
        with closing(send_by_lmtp(at.host, at.lmtp, chosen, lines)) as replies:
            refused = b""
            for message in messages:
                reply = next(replies)
                if reply.startswith(b"250"):
                    self.ledger.told(message)
                    self.done["deliveries"] += 1
                else:
                    self.ledger.refused(message)
                    refused = reply
        if refused:
            raise NotTaken(refused.decode())

    def _fetch(self, account: str, chance: random.Random) -> None:
        before = self.ledger.before(account)
        client = self._log_in(account)
        try:
            chosen = self._choose(account, client, before, chance)
            way = chance.random()
            if way < 0.1 and self._undelete_seconds:
                return  # without QUIT nothing is removed
            if way < 0.2:
                client.rset()
                chosen = []
            elif way < 0.3:
                time.sleep(chance.uniform(0, 0.8))  # its lease is renewed
            elif way < 0.4 and self._undelete_seconds and self._taken_over(account, chance):
                self._quit_too_late(account, client, chosen)
                return
            self._quit(client, chosen)
        finally:
            client.close()

    def _choose(
        self,
        account: str,
        client: poplib.POP3,
        before: dict[str, State],
        chance: random.Random,
    ) -> list[Message]:
        """Look, and mark some messages as deleted."""
        chosen = []
        for number, message in enumerate(self._look(account, client, before), 1):
            if chance.random() < 0.4:
                client.dele(number)
                chosen.append(message)
        return chosen

    def _quit(self, client: poplib.POP3, chosen: Sequence[Message]) -> None:
        self.ledger.removing(chosen)
        client.quit()
        self.ledger.removed(chosen)
        self.done["sessions"] += 1
        self.done["removed"] += len(chosen)

    def _taken_over(self, account: str, chance: random.Random) -> bool:
        """Whether a second session has got the maildrop, as the first one's lease has ended."""
        end = time.monotonic() + 1.2
        while time.monotonic() < end:
            before = self.ledger.before(account)
            try:
                client = self._log_in(account)
            except FAILED:
                time.sleep(0.05)
                continue
            try:
                self._quit(client, self._choose(account, client, before, chance))
            finally:
                client.close()
            return True
        return False

    def _quit_too_late(self, account: str, client: poplib.POP3, chosen: Sequence[Message]) -> None:
        self.done["taken over"] += 1
        try:
            client.quit()
        except FAILED:
            return
        if chosen:
            self.wrong.append(f"{account}: a session without its lease has committed")

    def _undelete(self, account: str, chance: random.Random) -> None:
        seconds = self._undelete_seconds * chance.random()
        messages = self.ledger.undeleting(account, seconds)
        at = self._ports()
        with (
            socket.create_connection((at.host, at.control), 60) as connection,
            connection.makefile("rb") as replies,
        ):
            connection.sendall(f"{account} {seconds}\n".encode())
            if not replies.readline().endswith(b"\n"):
                raise ConnectionError("no answer to undelete")
        self.done["undeleted"] += self.ledger.undeleted(messages, seconds)

    def _look(
        self,
        account: str,
        client: poplib.POP3,
        before: dict[str, State],
        *,
        wholly: bool = False,
    ) -> list[Message]:
        """Hold a session's maildrop against the ledger; its messages.

        wholly: read all messages, not only those that aren't known yet, and some.
        """
        known = self.ledger.known(account)
        found = []
        for line in client.uidl()[1]:
            number, unique_id = line.decode().split()
            subject = known.get(unique_id)
            if subject is None or wholly or int(unique_id.encode().hex(), 16) % 5 == 0:
                lines = client.retr(int(number))[1]
                subject = subject_of(lines)
                if not subject.isdigit() or lines != lines_of(subject):
                    self.wrong.append(f"{account}: {subject} isn't what was sent")
            found.append((subject, unique_id))
        return self.ledger.seen(account, before, found)
