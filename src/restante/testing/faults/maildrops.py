"""Faults of maildrops: what the server says of the mail, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from restante.protocol.errors import Pop3Error
from restante.settings_fields import bounded
from restante.stores.contract import MessageGone
from restante.testing.faults.fault import (
    CommandFault,
    Fault,
    FaultError,
    Firing,
    Opened,
    occasion,
)
from restante.testing.faults.shapers import Lines, Listed
from restante.testing.shaping import Act, Shaper
from restante.testing.wire import Occasion


@dataclass(frozen=True)
class _Listing(Fault):
    """Base: what LIST or UIDL says of messages. message: of one alone; None: of all."""

    abstract: ClassVar[bool] = True
    lasting: ClassVar[bool] = True
    verb: ClassVar[str] = "UIDL"
    decides: ClassVar[str] = "unique-ids"
    needs: ClassVar[str] = "UIDL"

    message: int | None = bounded(None, 1)

    def concerns(self, occasion: Occasion) -> bool:
        return occasion.verb == self.verb

    def _concerns_same(self, other: Fault) -> bool:
        theirs = getattr(other, "message", None)
        return self.message is None or theirs is None or self.message == theirs

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        return _Changed(self, occasion, firing)

    def changed(self, number: int, value: str, occasion: Occasion) -> str | None:
        """What is said of a message instead; None: nothing."""
        raise NotImplementedError


class _Changed(Listed):
    def __init__(self, fault: _Listing, occasion: Occasion, firing: Firing) -> None:
        super().__init__(occasion, firing)
        self._fault = fault

    def changed(self, number: int, value: str) -> str | None:
        if self._fault.message not in (None, number):
            return value
        return self._fault.changed(number, value, self._occasion)


@dataclass(frozen=True)
class WrongOctets(_Listing):
    """LIST says so many octets more than RETR sends, or fewer, but not below 0."""

    verb: ClassVar[str] = "LIST"
    decides: ClassVar[str] = "octets"
    needs: ClassVar[str] = "LIST"

    by: int = bounded(1, -(2**40), 2**40)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.by:
            raise FaultError("by=0: then the octets would be right")

    def changed(self, number: int, value: str, occasion: Occasion) -> str | None:
        octets, _, more = value.partition(" ")
        return f"{max(0, int(octets) + self.by)}{' ' if more else ''}{more}"


@dataclass(frozen=True)
class WrongStat(Fault):
    """STAT says so many messages and octets more than LIST, or fewer, but not below 0."""

    lasting: ClassVar[bool] = True
    decides: ClassVar[str] = "stat"

    messages: int = bounded(0, -(2**31), 2**31)
    octets: int = bounded(0, -(2**40), 2**40)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.messages and not self.octets:
            raise FaultError("messages=0 and octets=0: then STAT would be right; change one")

    def concerns(self, occasion: Occasion) -> bool:
        return occasion.verb == "STAT"

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        return _Stat(self.messages, self.octets, firing)


class _Stat(Shaper):
    def __init__(self, messages: int, octets: int, firing: Firing) -> None:
        self._more = messages, octets
        self._firing = firing

    def head(self, line: bytes) -> Iterable[Act]:
        words = line.split()
        if words[:1] != [b"+OK"]:
            self._firing.missed("the reply wasn't +OK")
            return [line]
        self._firing.fired()
        new = [max(0, int(n) + more) for n, more in zip(words[1:], self._more, strict=True)]
        return [b"+OK %d %d\r\n" % (new[0], new[1])]


@dataclass(frozen=True)
class NoUniqueId(_Listing):
    """UIDL leaves out a message, or all."""

    def changed(self, number: int, value: str, occasion: Occasion) -> str | None:
        return None


@dataclass(frozen=True)
class SameUniqueId(_Listing):
    """UIDL gives a message, or all, the unique-id of the first one."""

    def changed(self, number: int, value: str, occasion: Occasion) -> str | None:
        session = occasion.session
        return str(session.mailbox.listing.unique_ids[0]) if session is not None else value


@dataclass(frozen=True)
class ChangedUniqueId(_Listing):
    """UIDL gives a message, or all, another unique-id in each session."""

    def changed(self, number: int, value: str, occasion: Occasion) -> str | None:
        session = occasion.session
        return f"{value}.{session.id}"[-70:] if session is not None else value


@dataclass(frozen=True)
class ReusedUniqueId(_Listing):
    """UIDL gives a message, or all, the message-number as unique-id.

    So new messages get unique-ids that others had in earlier sessions.
    """

    def changed(self, number: int, value: str, occasion: Occasion) -> str | None:
        return str(number)


@dataclass(frozen=True)
class LongUniqueId(_Listing):
    """Unique-ids have so many characters. RFC 1939 §7 allows 70."""

    octets: int = bounded(71, 71, 1_000_000)

    def changed(self, number: int, value: str, occasion: Occasion) -> str | None:
        return value.ljust(self.octets, "x")


@dataclass(frozen=True)
class NumberGap(Fault):
    """No message has this number: those from there on count one more, and STAT doesn't."""

    lasting: ClassVar[bool] = True

    message: int = bounded(1, 1)

    def on_open(self, opened: Opened, firing: Firing) -> None:
        if opened.insert_gap(self.message):
            firing.fired()
        else:
            firing.missed(f"the maildrop has too few messages for a gap at {self.message}")

    def concerns(self, occasion: Occasion) -> bool:
        return occasion.verb in ("STAT", "LIST", "UIDL", "RETR", "TOP", "DELE")

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        opened = firing.opened
        if opened is None or not opened.is_inserted(self.message):
            return None
        if occasion.argument.split(" ")[0] == str(self.message):
            occasion.refuse("no such message")
        elif occasion.verb == "STAT":
            return _Stat(-1, 0, firing)
        elif occasion.verb in ("LIST", "UIDL"):
            return _Gap(self.message, occasion, firing)
        return None


class _Gap(Listed):
    def __init__(self, number: int, occasion: Occasion, firing: Firing) -> None:
        super().__init__(occasion, firing)
        self._number = number

    def changed(self, number: int, value: str) -> str | None:
        return None if number == self._number else value


@dataclass(frozen=True)
class _Message(CommandFault):
    """Base of faults of messages as they are sent."""

    abstract: ClassVar[bool] = True

    when: str = occasion(("RETR", "TOP"))


@dataclass(frozen=True)
class Unstuffed(_Message):
    """Dots at the beginning of lines aren't doubled (RFC 1939 §3). One alone ends the message."""

    decides: ClassVar[str] = "stuffing"

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        return _Unstuffed(occasion, firing)


class _Unstuffed(Lines):
    _found = False

    def line(self, line: bytes) -> bytes:
        if not line.startswith(b".."):
            return line
        self._found = True
        return line[1:]

    def end(self, terminator: bytes) -> Iterable[Act]:
        if self._found:
            self._firing.fired()
        else:
            self._firing.missed("no line begins with a dot")
        return super().end(terminator)


@dataclass(frozen=True)
class NoFinalCrlf(_Message):
    """The message's last line has no end, so that the terminator isn't on a line of its own."""

    decides: ClassVar[str] = "final CRLF"

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        return _NoFinalCrlf(firing)


class _NoFinalCrlf(Shaper):
    def __init__(self, firing: Firing) -> None:
        self._firing = firing
        self._rest = b""

    def body(self, block: bytes) -> Iterable[Act]:
        block = self._rest + block
        self._rest = block[-2:]
        return [block[:-2]]

    def end(self, terminator: bytes) -> Iterable[Act]:
        if self._rest.endswith(b"\r\n"):
            self._firing.fired()
            return [terminator]
        self._firing.missed("the reply wasn't a message")
        return [self._rest, terminator]


@dataclass(frozen=True)
class Gone(Fault):
    """A message is removed by another program when the client fetches it.

    message: its number; None: whichever it is.
    """

    message: int | None = bounded(None, 1)

    async def on_fetch(self, opened: Opened, number: int, firing: Firing) -> None:
        firing.fired()
        await opened.lose(number)
        raise MessageGone("a fault has removed the message")

    def concerns_message(self, number: int) -> bool:
        return self.message in (None, number)


@dataclass(frozen=True)
class NewMail(CommandFault):
    """So many messages come in when a command is sent. The session doesn't see them."""

    messages: int = bounded(1, 1, 10_000)

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        opened = firing.opened
        if opened is None:
            firing.missed("no maildrop is open yet")
            return None

        async def deliver() -> None:
            for n in range(1, self.messages + 1):
                await opened.deliver(b"Subject: new mail %d\r\n\r\nIt came meanwhile.\r\n" % n)
            firing.fired()

        occasion.work.append(deliver)
        return None


@dataclass(frozen=True)
class ManyMessages(Fault):
    """The maildrop has so many messages more, which are made when they are fetched."""

    decides: ClassVar[str] = "many"

    messages: int = bounded(100_000, 1, 10_000_000)
    octets: int = bounded(200, 64, 1_000_000)

    def on_open(self, opened: Opened, firing: Firing) -> None:
        for n in range(1, self.messages + 1):
            opened.append(f"made.{n}", self.octets)
        firing.fired()


@dataclass(frozen=True)
class HugeMessage(Fault):
    """The maildrop has one more message of so many octets, made while it is sent: 4 GiB."""

    decides: ClassVar[str] = "huge"

    octets: int = bounded(4 * 1024**3, 64, 1024**4)

    def on_open(self, opened: Opened, firing: Firing) -> None:
        opened.append("made.huge", self.octets)
        firing.fired()


@dataclass(frozen=True)
class LeaseKept(Fault):
    """A session that ends without QUIT leaves the maildrop in use for so many seconds."""

    decides: ClassVar[str] = "lease"

    seconds: float = bounded(30.0, 0.001, 86_400, unit="seconds")

    def on_abandoned(self, opened: Opened, firing: Firing) -> None:
        opened.keep_lease(self.seconds)
        firing.fired()


@dataclass(frozen=True)
class NoLease(Fault):
    """Several sessions have a maildrop at once; RFC 1939 §4 lets only one have it.

    Each has its own marks. All see the messages that were there for the first of them.
    """

    lasting: ClassVar[bool] = True
    decides: ClassVar[str] = "lease"

    def shares(self) -> bool:
        return True

    def on_open(self, opened: Opened, firing: Firing) -> None:
        if opened.shared:
            firing.fired()


@dataclass(frozen=True)
class DeletesAtOnce(Fault):
    """DELE removes the message at once: neither RSET nor an end without QUIT keeps it."""

    def prevents(self, other: Fault) -> bool:
        """What is gone at DELE can't be there after QUIT."""
        return isinstance(other, DeletionForgotten)

    def concerns(self, occasion: Occasion) -> bool:
        return occasion.verb == "DELE"

    def on_command(self, occasion: Occasion, firing: Firing) -> Shaper | None:
        opened, session = firing.opened, occasion.session
        number = int(occasion.argument) if occasion.argument.isdecimal() else 0
        if (
            opened is None
            or session is None
            or not 0 < number <= session.mailbox.listing.count
            or number in session.mailbox.deleted
        ):
            firing.missed("there was no such message to be deleted")
            return None

        async def lose() -> None:
            await opened.lose(number)
            firing.fired()

        occasion.work.append(lose)
        return None


@dataclass(frozen=True)
class DeletionForgotten(Fault):
    """QUIT says +OK, and nothing was removed."""

    decides: ClassVar[str] = "commit"

    def on_commit(
        self, opened: Opened, numbers: Sequence[int], firing: Firing
    ) -> tuple[Sequence[int], Exception | None]:
        firing.fired()
        return (), None


@dataclass(frozen=True)
class QuitFails(Fault):
    """QUIT has something to remove and says -ERR (RFC 1939 §6).

    code: SYS/TEMP or SYS/PERM. removed: whether the messages were removed all the same.
    """

    decides: ClassVar[str] = "commit"

    code: Literal["SYS/TEMP", "SYS/PERM"] = "SYS/TEMP"
    removed: bool = False

    def on_commit(
        self, opened: Opened, numbers: Sequence[int], firing: Firing
    ) -> tuple[Sequence[int], Exception | None]:
        firing.fired()
        # As the server says it of a store's failure; but nobody is to look for the reason.
        error = Pop3Error(f"{len(numbers)} deleted messages not removed", self.code)
        return numbers if self.removed else (), error


def made_blocks(octets: int, subject: str) -> Any:
    """A message of so many octets, as blocks of its wire form."""
    head = f"Subject: {subject}\r\n\r\n".encode()[: max(0, octets - 2)]
    left = octets - len(head)
    yield head
    line = b"x" * 76 + b"\r\n"
    block = line * 800
    while left > len(block) + 80:
        yield block
        left -= len(block)
    while left > len(line) + 2:
        yield line
        left -= len(line)
    yield b"y" * (left - 2) + b"\r\n"
