"""What clients did, session by session: the recorder of a test's server."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from restante.protocol.claims import Claim
from restante.protocol.listing import MessageNumber
from restante.protocol.redaction import HIDDEN, masked
from restante.server.client import ClientSession
from restante.server.observer import Observer
from restante.testing.wire import Occasion, Tap, Wire

MAX_SESSIONS = 10_000
"""Sessions that a recorder keeps. The oldest are forgotten."""

MAX_LINES = 10_000
"""Lines of a session's dialogue that are kept, the first ones."""

MAX_RAW = 1 << 20
"""Octets of a session that are kept as the client sent them, the first ones."""

MAX_SENT = 1 << 16
"""The same of what the client was sent."""

SHOWN_SESSIONS = 20
SHOWN_LINES = 200
"""How much of the recordings a report shows: of so many sessions, the last lines."""

TLS_FAILED = "TLS failed"
"""How a connection ends that never gets through its handshake, as the server says after STLS."""

OPEN_VERBS = frozenset(
    ("STAT", "LIST", "RETR", "DELE", "NOOP", "RSET", "QUIT", "TOP", "UIDL", "CAPA", "STLS", "UTF8",
     "LANG", "USER")
)  # fmt: skip
"""Commands without a secret: what is wrong with their arguments is shown."""

_UNKNOWN = "(unknown command"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Sendings:
    """Messages of one session that have left, not those that the server meant to send."""

    def __init__(self) -> None:
        self._meant: deque[Callable[[], None]] = deque()
        self._left: deque[bool] = deque()

    def meant(self, tell: Callable[[], None]) -> None:
        """The server sends a message; `tell` is called when it has left, if ever it does."""
        self._meant.append(tell)
        self._match()

    def replied(self, occasion: Occasion, itself: bool) -> None:
        """As `Tap.replied`. This may come before `meant`, or after it."""
        if occasion.verb in ("RETR", "TOP"):
            self._left.append(itself)
            self._match()

    def _match(self) -> None:
        while self._meant and self._left:
            tell = self._meant.popleft()
            if self._left.popleft():
                tell()


@dataclass(eq=False)
class RecordedSession:
    """One connection of a client, while it is open and afterwards.

    id: as the logs name it. peer: the client's address and port.
    commands: the lines that the client sent, as it wrote them, also those that are no commands;
        secrets are shown as `****`, control characters as `\\x0d`.
    replies: the first line of each reply, with the greeting, as the server gives it to the wire.
    sent: the octets that the client was sent, inside TLS, after what faults have made of them;
        the first 64 KiB.
    logged_in: the account's name; None when no login succeeded.
    mechanism: how: `USER`, `APOP` or SASL's name. tls: whether it is inside TLS.
    retrieved: unique-ids of the messages that were sent whole, in order (RETR).
    deleted: unique-ids of the messages that QUIT removed.
    refused: names of the mechanisms of logins that were refused.
    faults: the faults that fired in it.
    """

    id: str
    peer: tuple[str, int]
    commands: list[str] = field(default_factory=list)
    replies: list[str] = field(default_factory=list)
    logged_in: str | None = None
    mechanism: str | None = None
    tls: bool = False
    retrieved: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    faults: list[object] = field(default_factory=list)
    _raw: bytearray = field(default_factory=bytearray, repr=False)
    _sent: bytearray = field(default_factory=bytearray, repr=False)
    _pending: bytearray = field(default_factory=bytearray, repr=False)
    _sendings: Sendings = field(default_factory=Sendings, repr=False)
    _in_exchange: bool = field(default=False, repr=False)
    _lines: list[str] = field(default_factory=list, repr=False)
    _client: ClientSession | None = field(default=None, repr=False)
    _ended: str = field(default="", repr=False)

    @property
    def ended_by(self) -> str:
        """`QUIT`, `client left`, `TLS failed`, `fault RETR:close` …; "" while it is open."""
        client = self._client
        return self._ended if client is None else client.ended

    @property
    def is_over(self) -> bool:
        """Whether the connection has ended, and the maildrop is free again."""
        return self._client is None

    @property
    def raw(self) -> bytes:
        """The octets that the client sent, inside TLS, the first MiB; secrets as `****`.

        What the server hasn't read as a line, such as half a one, is at their end.
        """
        rest = bytes(self._pending)
        return bytes(self._raw) + (HIDDEN.encode() if rest and self._in_exchange else rest)

    @property
    def sent(self) -> bytes:
        return bytes(self._sent)

    @property
    def dialogue(self) -> str:
        """All lines in order: `C:` the client's, `S:` the server's, `--` what else happened."""
        return "\n".join(self._lines)

    def __str__(self) -> str:
        return self.dialogue

    def _note(self, kind: str, line: str) -> None:
        if len(self._lines) < MAX_LINES:
            self._lines.append(f"{kind} {line}")
        elif len(self._lines) == MAX_LINES:
            self._lines.append(f"-- more than {MAX_LINES} lines: the rest isn't recorded")


class Recorder(Observer):
    """Records the sessions of one server.

    changed: called after each event, on the server's thread.
    secrets: those that lines are searched for, besides the arguments that are known to be
        secret; None: nothing is masked, as far as the lines are known.
    """

    def __init__(
        self, changed: Callable[[], None], secrets: Callable[[], Iterable[str]] | None
    ) -> None:
        self._changed = changed
        self._secrets = secrets
        self._by_id: dict[str, RecordedSession] = {}
        self._sessions: deque[RecordedSession] = deque(maxlen=MAX_SESSIONS)
        self.ended = 0
        """How many sessions have ended since the last `clear`."""

    @property
    def sessions(self) -> list[RecordedSession]:
        """The sessions in the order in which they began."""
        return list(self._sessions)

    def clear(self) -> None:
        """Forget the sessions that are over."""
        over = [each for each in self._sessions if each.is_over]
        for each in over:
            self._sessions.remove(each)
        self.ended = 0

    # Observer

    def connected(self, session: ClientSession) -> None:
        self._begin(session)

    def turned_away(self, session: ClientSession, reply: str) -> None:
        recorded = self._begin(session)
        recorded.replies.append(reply)
        recorded._note("S:", reply)
        self._end(session, recorded)

    def line(self, session: ClientSession, line: str) -> None:
        recorded = self._of(session)
        raw, newline, rest = bytes(recorded._pending).partition(b"\n")
        if newline:
            recorded._pending = bytearray(rest)
        else:  # a fault has changed it, or nobody listens to the wire
            raw = b""
        octets = raw.removesuffix(b"\r")
        shown = self._shown(line, octets) if newline else line
        if newline and len(recorded._raw) < MAX_RAW:
            same = shown == printable(octets)
            end = raw[len(octets) :] + newline
            recorded._raw += (octets if same else shown.encode()) + end
        recorded._in_exchange = False
        recorded.commands.append(shown)
        recorded._note("C:", shown)
        self._changed()

    def reply(self, session: ClientSession, line: str) -> None:
        if self.of(session) is None:
            return  # it was turned away, and the reply is known
        recorded = self._of(session)
        recorded.replies.append(line)
        recorded._in_exchange = line.startswith("+ ") or line == "+"
        recorded._note("S:", line)
        self._changed()

    def refused(self, session: ClientSession, claim: Claim, reason: str) -> None:
        self._of(session).refused.append(claim.mechanism)

    def opened(self, session: ClientSession, mechanism: str) -> None:
        recorded = self._of(session)
        recorded.logged_in = session.account.name if session.account else None
        recorded.mechanism = mechanism
        self._changed()

    def sent(self, session: ClientSession, number: MessageNumber, lines: int | None) -> None:
        recorded = self._of(session)
        recorded._sendings.meant(partial(self._sent, recorded, session, number, lines))

    def _sent(
        self,
        recorded: RecordedSession,
        session: ClientSession,
        number: MessageNumber,
        lines: int | None,
    ) -> None:
        if lines is None:
            recorded.retrieved += _unique_ids(session, [number])
            self._changed()

    def committed(self, session: ClientSession, numbers: Sequence[MessageNumber]) -> None:
        self._of(session).deleted += _unique_ids(session, numbers)
        self._changed()

    def closed(self, session: ClientSession) -> None:
        self._end(session, self._of(session))

    # One session

    def of(self, session: ClientSession | None) -> RecordedSession | None:
        """The recording of a session that is open."""
        return None if session is None else self._by_id.get(session.id)

    def fired(self, session: ClientSession | None, fault: object) -> None:
        """A fault has fired."""
        if (recorded := self.of(session)) is not None:
            recorded.faults.append(fault)
            recorded._note("--", f"fault: {fault}")
            self._changed()

    def no_tls(self, wire: Wire, error: OSError) -> None:
        """A client that didn't come through the handshake, such as one that refused the
        certificate: there is no session."""
        recorded = RecordedSession(f"tls-{wire.number}", wire.peer, _ended=TLS_FAILED)
        recorded._note("--", f"ended: {TLS_FAILED}: {error}")
        self._sessions.append(recorded)
        self.ended += 1
        self._changed()

    def _begin(self, session: ClientSession) -> RecordedSession:
        recorded = RecordedSession(session.id, (session.peer_ip, session.peer_port))
        recorded._client, recorded.tls = session, session.tls
        self._by_id[session.id] = recorded
        self._sessions.append(recorded)
        self._changed()
        return recorded

    def _of(self, session: ClientSession) -> RecordedSession:
        recorded = self._by_id[session.id]
        recorded.tls = session.tls
        return recorded

    def _end(self, session: ClientSession, recorded: RecordedSession) -> None:
        recorded._note("--", f"ended: {session.ended}")
        recorded._ended, recorded._client = session.ended, None
        self._by_id.pop(session.id, None)
        self.ended += 1
        self._changed()

    def _shown(self, safe: str, raw: bytes) -> str:
        """A line as it was sent, but for its secrets. safe: as logs show it."""
        text = printable(raw)
        if self._secrets is None:
            return text
        verb, blank, _ = text.partition(" ")
        if safe.startswith(_UNKNOWN):
            return self._without_secrets(masked(text))
        if HIDDEN not in safe:
            return text
        if verb.upper() in OPEN_VERBS:
            return self._without_secrets(text)
        # Of a response in an exchange nothing is shown, of a command what logs show of it.
        return verb + safe[len(verb) :] if blank and safe[: len(verb)] == verb.upper() else safe

    def _without_secrets(self, text: str) -> str:
        assert self._secrets is not None
        secrets = set(self._secrets())
        return " ".join(HIDDEN if word in secrets else word for word in text.split(" "))


class RawTap(Tap):
    """Gives a recorder the octets themselves."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def received(self, wire: Wire, data: bytes) -> None:
        if (recorded := self._recorder.of(wire.session)) is not None:
            recorded._pending += data[: MAX_RAW - len(recorded._pending)]

    def sent(self, wire: Wire, data: bytes) -> None:
        if (recorded := self._recorder.of(wire.session)) is not None:
            recorded._sent += data[: MAX_SENT - len(recorded._sent)]

    def handshake_failed(self, wire: Wire, error: OSError) -> None:
        self._recorder.no_tls(wire, error)

    def replied(self, wire: Wire, occasion: Occasion, itself: bool) -> None:
        if (recorded := self._recorder.of(wire.session)) is not None:
            recorded._sendings.replied(occasion, itself)


def printable(line: bytes) -> str:
    """A line as text: octets that aren't UTF-8, and control characters, as `\\x00`."""
    text = line.decode("utf-8", "backslashreplace")
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def _unique_ids(session: ClientSession, numbers: Sequence[MessageNumber]) -> list[str]:
    known = session.mailbox.listing.unique_ids
    return [known[number - 1] for number in numbers]


def report(sessions: Sequence[RecordedSession]) -> str:
    """The dialogues of some sessions for a person who looks for a mistake, bounded."""
    if not sessions:
        return "no client has connected"
    parts = []
    if left_out := len(sessions) - SHOWN_SESSIONS:
        sessions = sessions[-SHOWN_SESSIONS:]
        if left_out > 0:
            parts.append(f"({left_out} earlier sessions aren't shown)")
    for each in sessions:
        lines = each.dialogue.splitlines()
        head = f"session {each.id} from {each.peer[0]}:{each.peer[1]}"
        if len(lines) > SHOWN_LINES:
            head += f" (the last {SHOWN_LINES} of {len(lines)} lines)"
        parts.append("\n".join([head, *lines[-SHOWN_LINES:]]))
    return "\n\n".join(parts)
