r"""Dialogues: POP3 sessions as text that anyone can read, played to whatever speaks POP3.

A dialogue is a file `name.pop`. Lines that start with `#` say what it shows: the RFC's
section, and the row of the field notes (F1, U2 …) where there is one. Then come directives:

    @maildrop letters       what joe's maildrop holds: `letters` (three of them) or `empty`
    @message Subject: x\n\n.dot\n     or these messages, one a directive, escapes as below
    @unique-ids a b         what the messages are called by a store of three methods, which
                            knows nothing of what POP3 allows; without it, letter-1 or message-1
    @accounts hashed        no account holds a secret that APOP or CRAM-MD5 could use
    @server use_auth=sasl tls=starttls    settings, as `Settings` and `Listener` name them;
                            tls_port=yes adds a listener for TLS from the first octet
    @peer remote            the client is on another machine
    @broken fetch           the store fails when it is asked to: open, fetch or commit
    @only core socket       the ways of playing it; all ways when there is no such line
    @not dovecot: reason    a way not to play it, and why

and what is said, in order:

    C: text                 the client sends the line; CRLF is added
    C; text\r\n             the client sends exactly this; escapes are \r \n \t \0 \\ \xNN
    S: text                 the server says this line; `S; text` is the same with escapes
    S~ regex                the server says a line that the whole expression matches
    C*25: text              25 times; so with S
    2C: text                on a second connection, which the first such line opens; so with S
    REST                    the server says the rest of a multi-line reply, whatever it is
    LOGIN                   joe logs in with USER and PASS
    TLS                     client and server do the TLS handshake
    CLOSED                  the server has closed the connection, and said nothing more
    DISCONNECT              the client drops the connection without QUIT
    RECONNECT               the client connects again
    REMOVE letter-1         another program removes a message from the maildrop

The greeting is read when a connection is made and must start with `+OK`; when the first
thing said is an `S` line, that is the greeting. In `C:` and `S:` lines, `{x*100}` is a
hundred times `x`, `{b64 \0joe\0secret}` is base64, `{apop joe secret}` is what follows APOP
and `{cram joe secret}` the response to the last challenge. After the last line nothing more
may come from the server.

The ways are `core` (a line at a time), `core-pipelined` (all that the client says between
two events in one write), `core-bytes` (octet by octet), `socket` and `socket-pipelined`
(a real server), `tls` (TLS from the first octet) and `dovecot`. `@only core` means all three.
Over sockets a dialogue is played in one of the ways that it is meant for.
Dovecot's texts are its own, so there only `+OK` and `-ERR`, scan listings, unique-ids and
the lines of multi-line replies must agree.
"""

from __future__ import annotations

import hmac
import re
from abc import ABC, abstractmethod
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from hashlib import md5
from pathlib import Path
from typing import Protocol

WAYS = ("core", "core-pipelined", "core-bytes", "socket", "socket-pipelined", "tls", "dovecot")
EVENTS = ("REST", "LOGIN", "TLS", "CLOSED", "DISCONNECT", "RECONNECT")

LETTERS = {
    "letter-1": b"From: anna@example.org\r\nSubject: one\r\n\r\nFirst line.\r\nSecond line.\r\n",
    "letter-2": b"From: ben@example.org\nSubject: two\n\nHello.\n",
    "letter-3": b"From: carl@example.org\r\nSubject: three\r\n\r\n"
    b"One.\r\nTwo.\r\nThree.\r\nFour.\r\nFive.\r\n",
}
MAILDROPS: dict[str, dict[str, bytes]] = {"letters": LETTERS, "empty": {}}

_SAID = re.compile(r"(\d)?([CS])(?:\*(\d+))?([:;~])(?: (.*))?")
_REPEAT = re.compile(r"\{([^{}*]+)\*(\d+)\}")
_BASE64 = re.compile(r"\{b64 ([^{}]*)\}")
_SECRET = re.compile(rb"\{(apop|cram) ([^{} ]+) ([^{}]+)\}")
_ESCAPE = re.compile(rb"\\(?:([rnt0\\])|x([0-9A-Fa-f]{2}))")
_ESCAPES = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
_LISTING = re.compile(rb"\+OK \d+ (?!messages?|octets)\S+")
_STATUS = re.compile(rb"\+OK|-ERR|\+ ")


class DialogueError(Exception):
    """A script can't be read. The text names the file and the line."""


@dataclass(frozen=True)
class Step:
    """One line of a dialogue.

    kind: `C`, `S`, `S~`, or the name of an event. data: octets sent or expected, the
    expression, or the event's argument. content: the line belongs to a multi-line reply.
    """

    place: str
    kind: str
    data: bytes = b""
    connection: int = 1
    content: bool = False


@dataclass
class Dialogue:
    """A script, read."""

    name: str
    comment: str = ""
    maildrop: dict[str, bytes] = field(default_factory=lambda: dict(LETTERS))
    unique_ids: tuple[str, ...] = ()
    hashed: bool = False
    remote: bool = False
    broken: str = ""
    server: dict[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = WAYS
    excluded: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    def refuses(self, way: str) -> str | None:
        """Why it isn't played this way; None if it is."""
        if not _among(way, self.only):
            return "played " + " ".join(self.only) + " only"
        if way == "tls" and "tls" in self.server:
            return "it is about STLS"
        return next((why for name, why in self.excluded.items() if _among(way, [name])), None)


def _among(way: str, names: tuple[str, ...] | list[str]) -> bool:
    return any(way == name or way.startswith(name + "-") for name in names)


def unescape(text: str) -> bytes:
    """Octets of `text` with its escapes taken for what they mean."""

    def meaning(found: re.Match[bytes]) -> bytes:
        return bytes([int(found[2], 16)]) if found[2] else _ESCAPES[found[1]]

    return _ESCAPE.sub(meaning, text.encode("utf-8"))


def _expand(text: str) -> str:
    text = _REPEAT.sub(lambda found: found[1] * int(found[2]), text)
    return _BASE64.sub(lambda found: b64encode(unescape(found[1])).decode("ascii"), text)


def read_dialogue(path: Path) -> Dialogue:
    """The dialogue in a file. Raises DialogueError."""
    dialogue = Dialogue(path.stem)
    comments = []
    for number, line in enumerate(path.read_text("utf-8").split("\n"), 1):
        place = f"{path.name}:{number}"
        if line.startswith("#"):
            comments.append(line[1:].strip())
        elif line.startswith("@"):
            _direct(dialogue, line[1:], place)
        elif line:
            dialogue.steps += _read_step(line, place)
    dialogue.comment = "\n".join(comments)
    dialogue.steps = list(_with_content(dialogue.steps))
    return dialogue


def _direct(dialogue: Dialogue, line: str, place: str) -> None:
    name, _, value = line.partition(" ")
    match name, value:
        case "maildrop", _ if value in MAILDROPS:
            dialogue.maildrop = dict(MAILDROPS[value])
        case "message", _:
            if dialogue.maildrop == LETTERS:
                dialogue.maildrop = {}
            number = len(dialogue.maildrop) + 1
            dialogue.maildrop[f"message-{number}"] = unescape(_expand(value))
        case "unique-ids", _:
            dialogue.unique_ids = tuple(_expand(value).split())
        case "accounts", "hashed":
            dialogue.hashed = True
        case "peer", "remote":
            dialogue.remote = True
        case "broken", "open" | "fetch" | "commit":
            dialogue.broken = value
        case "server", _:
            dialogue.server |= dict(pair.split("=", 1) for pair in value.split())
        case "only", _:
            dialogue.only = tuple(value.split())
        case "not", _ if ": " in value:
            way, _, why = value.partition(": ")
            dialogue.excluded[way] = why
        case _:
            raise DialogueError(f"{place}: not a directive: @{line}")


def _read_step(line: str, place: str) -> list[Step]:
    word, _, argument = line.partition(" ")
    if word == "LOGIN":
        return [
            Step(place, "C", b"USER joe\r\n"),
            Step(place, "S", b"+OK send PASS"),
            Step(place, "C", b"PASS secret\r\n"),
            Step(place, "S~", rb"\+OK \d+ messages?"),
        ]
    if word in EVENTS or word == "REMOVE":
        return [Step(place, word, argument.encode())]
    found = _SAID.fullmatch(line)
    if found is None:
        raise DialogueError(f"{place}: neither comment, directive, step nor event: {line}")
    connection, side, times, mark, text = found.groups(default="")
    kind = side + "~" if mark == "~" else side
    if mark == ";":
        data = unescape(_expand(text))
    else:
        data = (text if mark == "~" else _expand(text)).encode("utf-8")
    if side == "C" and mark == ":":
        data += b"\r\n"
    return [Step(place, kind, data, int(connection or 1))] * int(times or 1)


def _with_content(steps: list[Step]) -> Iterator[Step]:
    """The steps, with the lines that follow a status line in a multi-line reply marked."""
    inside = False
    for at, step in enumerate(steps):
        if not step.kind.startswith("S"):
            inside = False
            yield step
            continue
        yield replace(step, content=inside)
        if inside:
            inside = step.data != b"."
        else:
            after = steps[at + 1] if at + 1 < len(steps) else None
            inside = after is not None and after.kind.startswith("S") and not _is_status(after)


def _is_status(step: Step) -> bool:
    data = step.data.removeprefix(b"\\") if step.kind == "S~" else step.data
    return _STATUS.match(data) is not None


class Link(ABC):
    """A client's connection to what a dialogue is played to."""

    greeting = b""
    challenge = b""

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Send octets."""

    @abstractmethod
    def line(self) -> bytes | None:
        """The next line without its CRLF; None when none comes any more."""

    @abstractmethod
    def closed(self) -> bool:
        """Whether the server closes the connection and says nothing more."""

    @abstractmethod
    def start_tls(self) -> None:
        """Do the handshake."""

    @abstractmethod
    def drop(self) -> None:
        """Leave without a word; return when the server has seen it."""

    @abstractmethod
    def leftover(self) -> bytes:
        """End the connection; what the server had still said."""


class Venue(Protocol):
    """What a dialogue is played to. exact: replies must be Restante's to the letter."""

    exact: bool

    def connect(self) -> Link:
        """A new connection."""

    def remove(self, unique_id: str) -> None:
        """Remove a message behind the session's back."""


def pipelined(steps: list[Step]) -> list[Step]:
    """The steps in an order in which as much as possible is said in one write."""
    ordered: list[Step] = []
    said: list[Step] = []
    heard: list[Step] = []

    def flush() -> None:
        ordered.extend(said)
        ordered.extend(heard)
        said.clear()
        heard.clear()

    connection = 1
    for step in steps:
        waits = step.kind not in ("C", "S", "S~") or b"{cram " in step.data
        if waits or step.connection != connection:
            flush()
        connection = step.connection
        (said if step.kind == "C" else heard).append(step)
        if waits and step.kind != "C":
            flush()
    flush()
    return ordered


def play(dialogue: Dialogue, venue: Venue, *, pipeline: bool = False) -> None:
    """Play a dialogue. Raises AssertionError naming the line at which it went wrong."""
    _Play(dialogue, venue, pipeline).run()


class _Play:
    def __init__(self, dialogue: Dialogue, venue: Venue, pipeline: bool) -> None:
        self._steps = pipelined(dialogue.steps) if pipeline else dialogue.steps
        self._venue = venue
        self._pipeline = pipeline
        self._links: dict[int, Link] = {}
        self._ended: set[int] = set()
        self._unsent = b""
        first = dialogue.steps[0] if dialogue.steps else None
        self._says_greeting = first is not None and first.kind.startswith("S")

    def run(self) -> None:
        try:
            for at, step in enumerate(self._steps):
                following = self._steps[at + 1] if at + 1 < len(self._steps) else None
                self._do(step, following)
            for number in sorted(set(self._links) - self._ended):
                left = self._links[number].leftover()
                assert left == b"", f"connection {number}: unexpected at the end: {left[:200]!r}"
        finally:
            for number in sorted(set(self._links) - self._ended):
                self._links[number].leftover()

    def _do(self, step: Step, following: Step | None) -> None:
        link = self._link(step)
        match step.kind:
            case "C":
                self._say(link, step, following)
            case "S" | "S~":
                self._hear(link, step)
            case "REST":
                while (line := link.line()) != b".":
                    assert line is not None, f"{step.place}: the reply has no end"
            case "TLS":
                link.start_tls()
            case "CLOSED":
                assert link.closed(), f"{step.place}: the connection is still open"
            case "DISCONNECT":
                link.drop()
                self._ended.add(step.connection)
            case "RECONNECT":
                pass
            case "REMOVE":
                self._venue.remove(step.data.decode())

    def _link(self, step: Step) -> Link:
        number = step.connection
        if step.kind == "RECONNECT" and number in self._links:
            if number not in self._ended:
                left = self._links[number].leftover()
                assert left == b"", f"{step.place}: unexpected before: {left[:200]!r}"
            del self._links[number]
            self._ended.discard(number)
        if number not in self._links:
            link = self._links[number] = self._venue.connect()
            if self._says_greeting:
                self._says_greeting = False
            else:
                line = link.line()
                assert line is not None, f"{step.place}: no greeting"
                assert line.startswith(b"+OK"), f"{step.place}: greeting {line!r}"
                link.greeting = line
        return self._links[number]

    def _say(self, link: Link, step: Step, following: Step | None) -> None:
        self._unsent += _SECRET.sub(lambda found: _prove(found, link), step.data)
        same = following is not None and (following.kind, following.connection) == (
            "C",
            step.connection,
        )
        if not (self._pipeline and same):
            data, self._unsent = self._unsent, b""
            link.send(data)

    def _hear(self, link: Link, step: Step) -> None:
        line = link.line()
        expected = step.data.decode("utf-8", "backslashreplace")[:200]
        assert line is not None, f"{step.place}: nothing came, expected {expected}"
        if not link.greeting:
            link.greeting = line
        if line.startswith(b"+ "):
            link.challenge = line[2:]
        shown = line[:200].decode("utf-8", "backslashreplace")
        agrees = self._agrees(step, line)
        assert agrees, f"{step.place}:\nexpected {expected}\ncame     {shown}"

    def _agrees(self, step: Step, line: bytes) -> bool:
        if self._venue.exact or step.content or _LISTING.fullmatch(step.data):
            matched = re.fullmatch(step.data, line) if step.kind == "S~" else step.data == line
            return bool(matched)
        expected = step.data.removeprefix(b"\\") if step.kind == "S~" else step.data
        return line.split(b" ")[0] == expected.split(b" ")[0]


def _prove(found: re.Match[bytes], link: Link) -> bytes:
    kind, name, secret = found.groups()
    if kind == b"apop":
        stamp = re.search(rb"<[^>]*>", link.greeting)
        assert stamp is not None, "the greeting has no timestamp"
        return name + b" " + md5(stamp[0] + secret).hexdigest().encode()
    digest = hmac.new(secret, b64decode(link.challenge), md5).hexdigest()
    return b64encode(name + b" " + digest.encode())
