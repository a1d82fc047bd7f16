"""Clients that go on while the server dies under them, and note what they are told."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from threading import Event
from typing import Protocol

from tests.crash.ledger import ACCOUNTS, PASSWORD, Copy, Ledger, message

FETCH = 8
"""Unknown messages fetched in a session at most."""

LARGE = 256 * 1024
"""Octets from which a RETR is worth being killed in."""


class Gone(Exception):
    """The connection has ended."""


class House(Protocol):
    """Where the servers come and go."""

    ledger: Ledger
    over: Event

    def server(self) -> tuple[int, dict[str, int]]:
        """The number and the ports of the server that lives, now or soon."""

    def lives(self, number: int) -> bool:
        """Whether the server of that number has not been killed yet."""

    def wants(self, name: str) -> bool:
        """Whether the server is to be killed at such a moment."""

    def moment(self, name: str) -> None:
        """A moment at which it may be killed: "data", "quit", "drop", "retr" or "login"."""


RELEASE_SECONDS = 5.0
"""A lease is free within seconds of its connection's end, and at once after a kill."""


class Wire:
    """A connection, line by line."""

    def __init__(self, port: int) -> None:
        try:
            self._socket = socket.create_connection(("127.0.0.1", port), 20)
        except OSError as error:
            raise Gone from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Gone from error

    def line(self) -> bytes:
        """The next line without its CRLF. Raises Gone also for half a line."""
        try:
            line = self._file.readline()
        except TimeoutError:
            raise
        except OSError as error:
            raise Gone from error
        if not line.endswith(b"\r\n"):
            raise Gone
        return line[:-2]

    def command(self, line: str) -> bytes:
        """A command's single line of reply."""
        self.send(line.encode() + b"\r\n")
        return self.line()

    def lines(self) -> Iterator[bytes]:
        """The rest of a multi-line reply, unstuffed."""
        while (line := self.line()) != b".":
            yield line[1:] if line.startswith(b".") else line


def converse(house: House, port: str, work: Callable[[Wire, int], None]) -> None:
    """Do `work` with a connection and its server's number.

    That the connection ends is a violation, unless its server was killed.
    """
    number, ports = house.server()
    try:
        with closing(Wire(ports[port])) as wire:
            work(wire, number)
    except Gone:
        if house.lives(number):
            house.ledger.violated(f"{port}: connection ended, though the server lives")
    except TimeoutError:
        house.ledger.violated(f"{port}: no answer")


def deliver(house: House, port: str, chance: random.Random) -> None:
    """Deliver by "lmtp" or "smtp" until it is over."""

    def work(wire: Wire, _: int) -> None:
        _expect(house, wire.line(), b"220")
        wire.send(b"LHLO client.example\r\n" if port == "lmtp" else b"EHLO client.example\r\n")
        while not (line := wire.line()).startswith(b"250 "):
            _expect(house, line, b"250")
        for _ in range(chance.randint(1, 30)):
            _deliver_one(house, wire, port, chance)
            if house.over.wait(chance.random() * 0.01):
                return

    while not house.over.is_set():
        converse(house, port, work)


def _deliver_one(house: House, wire: Wire, port: str, chance: random.Random) -> None:
    ledger = house.ledger
    accounts = chance.sample(ACCOUNTS, chance.choice((1, 1, 1, 2, 3)))
    name = ledger.new_message(accounts)
    _expect(house, wire.command("MAIL FROM:<sender@example.org>"), b"250")
    for account in accounts:
        _expect(house, wire.command(f"RCPT TO:<{account}@crash.example>"), b"250")
    _expect(house, wire.command("DATA"), b"354")
    stuffed = (b"\r\n" + message(ledger.seed, name)).replace(b"\r\n.", b"\r\n..")[2:]
    cut = chance.randrange(len(stuffed))
    wire.send(stuffed[:cut])
    house.moment("data")
    wire.send(stuffed[cut:] + b".\r\n")
    house.moment("data")
    replies = [wire.line() for _ in (accounts if port == "lmtp" else accounts[:1])]
    if port == "smtp":
        replies *= len(accounts)
    for account, reply in zip(accounts, replies, strict=True):
        if _expect(house, reply, b"250"):
            ledger.promise(Copy(account, name))


def _expect(house: House, reply: bytes, beginning: bytes) -> bool:
    if reply.startswith(beginning):
        return True
    house.ledger.violated(f"answered {reply[:80]!r}, not {beginning!r}")
    return False


class Reader:
    """The only POP3 client of its account."""

    def __init__(self, house: House, account: str, chance: random.Random) -> None:
        self._house = house
        self._ledger = house.ledger
        self._account = account
        self._chance = chance
        self._dropped_at = -1  # number of the server that last saw us leave without QUIT

    def go_on(self) -> None:
        """One session after the other until it is over."""
        while not self._house.over.wait(self._chance.random() * 0.005):
            converse(self._house, "pop3", self._session)

    def _session(self, wire: Wire, number: int) -> None:
        expected = self._ledger.must_be_listed(self._account)
        if not self._log_in(wire, number):
            return
        unique_ids, sizes = listed(wire, "UIDL"), listed(wire, "LIST")
        self._ledger.check_listing(self._account, list(unique_ids.values()), expected)
        self._fetch_some(wire, unique_ids, sizes)
        marked = self._mark_some(wire, unique_ids)
        if self._chance.random() < 0.1 or self._house.wants("drop"):
            self._dropped_at = number
            self._house.moment("drop")
            return
        if self._chance.random() < 0.1:
            _expect(self._house, wire.command("RSET"), b"+OK")
            marked = []
        self._ledger.removing(marked)
        wire.send(b"QUIT\r\n")
        self._house.moment("quit")
        if _expect(self._house, wire.line(), b"+OK"):
            self._ledger.removed_all(marked)

    def _log_in(self, wire: Wire, number: int) -> bool:
        _expect(self._house, wire.line(), b"+OK")
        _expect(self._house, wire.command(f"USER {self._account}"), b"+OK")
        wire.send(f"PASS {PASSWORD}\r\n".encode())
        self._house.moment("login")
        reply = wire.line()
        if self._dropped_at == number and reply.startswith(b"-ERR [IN-USE]"):
            return False  # this server may not have seen yet that we left
        return _expect(self._house, reply, b"+OK")

    def _fetch_some(self, wire: Wire, unique_ids: dict[int, str], sizes: dict[int, str]) -> None:
        """Unknown messages first; now and then the large one, during which we may be cut off."""
        unknown = [n for n, each in unique_ids.items() if not self._known(each)]
        others = self._chance.sample(sorted(unique_ids), min(2, len(unique_ids)))
        for number in (*unknown[:FETCH], *others):
            wire.send(f"RETR {number}\r\n".encode())
            if int(sizes[number]) > LARGE:
                self._house.moment("retr")
            octets = int(sizes[number])
            self._ledger.check_message(self._account, unique_ids[number], octets, fetched(wire))

    def _known(self, unique_id: str) -> Copy | None:
        return self._ledger.known(self._account, unique_id)

    def _mark_some(self, wire: Wire, unique_ids: dict[int, str]) -> list[Copy]:
        """DELE for some of the messages that were sent; bystanders are left alone."""
        marked = []
        for number, unique_id in unique_ids.items():
            copy = self._known(unique_id)
            if copy and copy.name.startswith("sent-") and self._chance.random() < 0.4:
                _expect(self._house, wire.command(f"DELE {number}"), b"+OK")
                marked.append(copy)
        return marked


def listed(wire: Wire, verb: str) -> dict[int, str]:
    """UIDL or LIST: the values by message-number."""
    wire.command(verb)
    pairs = (line.decode().split(" ", 1) for line in wire.lines())
    return {int(number): value for number, value in pairs}


def fetched(wire: Wire) -> bytes:
    """A message as RETR gives it. Raises Gone when the connection ends before its end."""
    status = wire.line()
    if not status.startswith(b"+OK"):
        return status
    return b"".join(line + b"\r\n" for line in wire.lines())


def _log_in(wire: Wire, account: str) -> bytes:
    """The reply to PASS. A client that has just dropped its connection is waited for."""
    until = time.monotonic() + RELEASE_SECONDS
    while True:
        wire.command(f"USER {account}")
        reply = wire.command(f"PASS {PASSWORD}")
        if not reply.startswith(b"-ERR [IN-USE]") or time.monotonic() > until:
            return reply
        time.sleep(0.02)


def fetch_all(port: int, account: str, ledger: Ledger) -> list[Copy]:
    """Everything in a maildrop, each message held against what was sent."""
    copies: list[Copy] = []
    with closing(Wire(port)) as wire:
        wire.line()
        reply = _log_in(wire, account)
        if not reply.startswith(b"+OK"):
            ledger.violated(f"{account}: no login in the end: {reply!r}")
            return copies
        expected = ledger.must_be_listed(account)
        unique_ids, sizes = listed(wire, "UIDL"), listed(wire, "LIST")
        ledger.check_listing(account, list(unique_ids.values()), expected)
        for number, unique_id in unique_ids.items():
            wire.send(f"RETR {number}\r\n".encode())
            octets = int(sizes[number])
            copies.append(ledger.check_message(account, unique_id, octets, fetched(wire)))
        wire.command("QUIT")
    return copies
