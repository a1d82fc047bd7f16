"""Writing the history: observers that note what happens, and a thread that writes it down.

A session's notes become one record when it ends. Nobody ever waits for the file: records go
into a queue with a bound, and what doesn't fit is lost and counted.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from restante.delivery.envelope import Envelope
from restante.delivery.observer import DeliveryObserver
from restante.observing.history_file import (
    DAY,
    REBASE,
    HistoryError,
    HistoryFile,
    as_json,
    count,
    digest_of,
    keep_newest,
    listed,
    packed,
)
from restante.protocol.claims import Claim
from restante.protocol.listing import Listing, MessageNumber
from restante.protocol.redaction import safe_name
from restante.server.client import ClientSession
from restante.server.observer import Observer

MAX_QUEUED = 2000
"""Records that wait to be written. A busy server makes some hundred in the time of a writing."""

MAX_SENT = 200_000
"""Retrievals of one session that are noted: more than a maildrop has messages."""

WRITTEN_TOGETHER = 200
"""Records of one transaction: so much fits in once what is oldest has been removed."""

GATHER_SECONDS = 0.25
"""How long records are gathered before they are written together."""

CLOSE_SECONDS = 10.0
"""How long `close` waits for the last records to be written."""

MAX_TEXT = 500
"""Characters of a text from outside, such as an address, that are kept."""

REMEMBERED = 256
"""Maildrops whose last listing is remembered, to see without a look that nothing has changed."""

POLLS_SECONDS = 600.0
"""How long a poll is compared with one in memory, before what other processes wrote counts."""

log = logging.getLogger("restante.observing")


class Sent(NamedTuple):
    """A message that was sent. lines: TOP's; None for RETR."""

    number: int
    lines: int | None
    at: float


class _Notes:
    """What is noted of a session while it goes on."""

    __slots__ = (
        "began", "commands", "committed", "committed_at", "greeting", "listing", "mechanism",
        "opened", "sent",
    )  # fmt: skip

    def __init__(self) -> None:
        self.commands: dict[str, int] = {}
        self.greeting: list[str] = []
        self.began = False
        self.opened = 0.0
        self.mechanism = ""
        self.listing: Listing | None = None
        self.sent: list[Sent] = []
        self.committed: Sequence[MessageNumber] = ()
        self.committed_at = 0.0


class EndedSession(NamedTuple):
    """A session that had logged in, as it is given to the thread."""

    session: str
    account: str
    maildrop: str
    address: str
    tls: bool
    ended: str
    octets: int
    retrieved: int
    until: float
    notes: _Notes


class Delivered(NamedTuple):
    """A message that came in, or that didn't. outcome: delivered, not delivered, refused."""

    at: float
    outcome: str
    recipient: str
    sender: str
    octets: int
    unique_id: str
    peer: str
    protocol: str
    tls: str
    queue_id: str
    reason: str


class LoginRefused(NamedTuple):
    """A login that failed or was held off. account: the name that was tried, if it may be shown."""

    at: float
    account: str
    address: str
    mechanism: str
    reason: str


class _Poll(NamedTuple):
    """A poll that found nothing new, and the rows that it and its listing have."""

    number: int
    listing: int | None
    session: EndedSession


Record: TypeAlias = EndedSession | Delivered | LoginRefused


class HistoryWriter:
    """Keeps the history of one process in the SQLite file at `path`.

    Several processes may write the same file. Nothing that happens to it disturbs a session:
    records are lost then, and the log says so once.

    max_octets: how large the file may become: 1 MiB or more. days: how long anything is kept.

    `sessions` is for `Pop3Server.observe`, `deliveries` for what takes mail in. The file is made
    and its thread begins with the first record; `close` ends both.

    Raises ValueError for bounds that aren't allowed.
    """

    def __init__(self, path: Path, *, max_octets: int = 256 * 2**20, days: float = 30.0) -> None:
        if not max_octets >= 2**20:
            raise ValueError(f"max_octets={max_octets!r}: allowed is 1048576 or more")
        if not days > 0:
            raise ValueError(f"days={days!r}: allowed is more than 0")
        self.sessions = SessionHistory(self)
        self.deliveries = DeliveryHistory(self)
        self.lost = 0
        """Records that were not written: the queue was full, or the file couldn't be used."""
        self._file = HistoryFile(path, max_octets=max_octets, days=days)
        self._queue: deque[Record] = deque()
        self._lock = threading.Lock()
        self._awake = threading.Event()
        self._hurry = threading.Event()
        self._idle = threading.Condition()
        self._given = self._done = 0
        self._closing = False
        self._thread: threading.Thread | None = None
        self._failing = False
        self._told_lost = 0
        self._listings: OrderedDict[str, tuple[int, Sequence[str]]] = OrderedDict()
        self._polls: OrderedDict[tuple[str, str], _Poll] = OrderedDict()

    def put(self, record: Record) -> None:
        """Have a record written, soon. Never waits."""
        if len(self._queue) >= MAX_QUEUED or self._closing:
            self.lost += 1
            return
        self._queue.append(record)
        self._given += 1
        if self._thread is None:
            self._begin()
        if not self._awake.is_set():
            self._awake.set()

    def flush(self, seconds: float = CLOSE_SECONDS) -> bool:
        """Wait until what was put before has been written or lost. False if that takes longer."""
        wanted = self._given
        self._hurry.set()
        self._awake.set()
        with self._idle:
            return self._idle.wait_for(lambda: self._done >= wanted, seconds)

    def close(self) -> None:
        """Write what waits, for ten seconds at most. Harmless when repeated."""
        self._closing = True
        self._hurry.set()
        self._awake.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="restante-history", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        while not (self._closing and not self._queue):
            self._awake.wait()
            self._hurry.wait(GATHER_SECONDS)
            self._hurry.clear()
            self._awake.clear()
            self._write_all()
        self._file.close()

    def _write_all(self) -> None:
        queue = self._queue
        for _ in range(-(-len(queue) // WRITTEN_TOGETHER)):
            records = [queue.popleft() for _ in range(min(len(queue), WRITTEN_TOGETHER))]
            self._write_some(records)
            with self._idle:
                self._done += len(records)
                self._idle.notify_all()
        if self.lost > self._told_lost and not self._failing:
            log.warning("the history is too slow: %d records were lost", self.lost)
            self._told_lost = self.lost

    def _write_some(self, records: Sequence[Record]) -> None:
        try:
            self._file.write(lambda database: self._add(database, records))
        except Exception as error:  # noqa: BLE001 - whatever it is, the server goes on
            self._fail(error, len(records))
            return
        if self._failing:
            log.warning("the history goes on; %d records were lost", self.lost)
            self._told_lost = self.lost
        self._failing = False

    def _fail(self, error: Exception, records: int) -> None:
        self.lost += records
        self._listings.clear()
        self._polls.clear()
        if self._failing:
            return
        self._failing = True
        if isinstance(error, HistoryError):
            log.error("the history can't be written, mail is served without it: %s", error)
        else:
            log.error("the history can't be written, mail is served without it", exc_info=error)

    # Records to rows

    def _add(
        self,
        database: sqlite3.Connection,
        records: Iterable[Record],
    ) -> None:
        sessions = [each for each in records if isinstance(each, EndedSession)]
        delivered = [each for each in records if isinstance(each, Delivered)]
        refused = [each for each in records if isinstance(each, LoginRefused)]
        counts: Counter[tuple[int, str]] = Counter()
        polls: dict[_Poll, list[EndedSession]] = {}
        for session in sorted(sessions, key=lambda each: each.notes.opened):
            if (poll := self._like_the_last(session)) is not None:
                polls.setdefault(poll, []).append(session)
            else:
                self._add_session(database, session)
            minute = int(session.until // 60)
            counts[minute, "sessions"] += 1
            counts[minute, "retrieved"] += session.retrieved
            counts[minute, "deleted"] += len(session.notes.committed)
            counts[minute, "octets"] += session.octets
            counts[minute, "seconds"] += max(0.0, session.until - session.notes.opened)  # type: ignore[assignment]
        for poll, alike in polls.items():
            self._add_polls(database, poll, alike)
        counts.update((int(each.at // 60), each.outcome) for each in delivered)
        counts.update((int(each.at // 60), "logins refused") for each in refused)
        database.executemany(
            f"INSERT INTO deliveries ({', '.join(Delivered._fields)})"  # noqa: S608
            f" VALUES ({', '.join('?' * len(Delivered._fields))})",
            delivered,
        )
        if any(each.outcome == "refused" for each in delivered):
            keep_newest(database, "deliveries", "outcome = 'refused'")
        self._add_refusals(database, refused)
        count(database, counts)

    def _add_refusals(self, database: sqlite3.Connection, refused: Sequence[LoginRefused]) -> None:
        """Those that are alike become one row."""
        alike: dict[tuple[str | float, ...], list[float]] = {}
        for each in refused:
            alike.setdefault(each[1:], []).append(each.at)
        for what, times in alike.items():
            done = database.execute(
                "UPDATE refusals SET until = ?, times = times + ? WHERE number = (SELECT number"
                " FROM refusals WHERE account = ? AND address = ? AND mechanism = ?"
                " AND reason = ? AND since > ? ORDER BY number DESC LIMIT 1)",
                (times[-1], len(times), *what, times[0] - 3600),
            )
            if not done.rowcount:
                database.execute(
                    "INSERT INTO refusals (since, until, times, account, address, mechanism,"
                    " reason) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (times[0], times[-1], len(times), *what),
                )
        if alike:
            keep_newest(database, "refusals")

    def _add_session(self, database: sqlite3.Connection, session: EndedSession) -> None:
        notes = session.notes
        assert notes.listing is not None
        listing = self._listing(database, session, notes.listing)
        is_quiet = not notes.sent and not notes.committed
        if is_quiet and self._merge(database, session, listing):
            return
        greeting = " ".join(notes.greeting)
        number = database.execute(
            "INSERT INTO sessions (session, account, maildrop, address, tls, mechanism, greeting,"
            " since, until, times, ended, commands, retrieved, deleted, octets, messages, listing)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?)",
            (
                session.session, session.account, session.maildrop, session.address, session.tls,
                notes.mechanism, greeting, notes.opened, session.until, session.ended,
                as_json(notes.commands), session.retrieved, len(notes.committed), session.octets,
                notes.listing.count, listing,
            ),
        ).lastrowid  # fmt: skip
        if is_quiet and number is not None:
            self._remember_poll(session, number, listing)
        else:
            self._polls.pop((session.account, session.address), None)
        ids, octets = notes.listing.unique_ids, notes.listing.octets
        database.executemany(
            "INSERT INTO retrievals (maildrop, unique_id, session, at, lines, octets)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            [
                (session.maildrop, ids[each.number - 1], number, each.at, each.lines,
                 octets[each.number - 1])
                for each in notes.sent
            ],
        )  # fmt: skip
        database.executemany(
            "INSERT INTO deletions (maildrop, unique_id, session, at, octets)"
            " VALUES (?, ?, ?, ?, ?)",
            [
                (session.maildrop, ids[each - 1], number, notes.committed_at, octets[each - 1])
                for each in notes.committed
            ],
        )

    def _merge(
        self, database: sqlite3.Connection, session: EndedSession, listing: int | None
    ) -> bool:
        """Count a poll that found nothing new with the one before it, of the same client."""
        notes = session.notes
        row = database.execute(
            "SELECT number, maildrop, tls, mechanism, greeting, ended, listing, retrieved, deleted,"
            " since, EXISTS (SELECT 1 FROM retrievals WHERE session = number)"
            " FROM sessions WHERE account = ? AND address = ? ORDER BY number DESC LIMIT 1",
            (session.account, session.address),
        ).fetchall()
        if not row:
            return False
        number, *same, retrieved, deleted, since, has_sent = row[0]
        quiet = [
            session.maildrop, session.tls, notes.mechanism, " ".join(notes.greeting),
            session.ended, listing,
        ]  # fmt: skip
        if same != quiet or retrieved or deleted or has_sent or notes.opened - since > DAY:
            return False
        database.execute(
            "UPDATE sessions SET until = ?, times = times + 1, session = ?, commands = ?"
            " WHERE number = ?",
            (session.until, session.session, as_json(notes.commands), number),
        )
        self._remember_poll(session, number, listing)
        return True

    def _remember_poll(self, session: EndedSession, number: int, listing: int | None) -> None:
        key = session.account, session.address
        self._polls[key] = _Poll(number, listing, session)
        self._polls.move_to_end(key)
        if len(self._polls) > REMEMBERED:
            self._polls.popitem(last=False)

    def _like_the_last(self, session: EndedSession) -> _Poll | None:
        """The poll that this one is like in all, if it isn't long ago: then they are one row."""
        notes = session.notes
        poll = self._polls.get((session.account, session.address))
        if poll is None or notes.sent or notes.committed:
            return None
        last = poll.session
        before = last.notes
        assert notes.listing is not None
        assert before.listing is not None
        same = (
            notes.listing.unique_ids is before.listing.unique_ids
            and notes.greeting == before.greeting
            and notes.mechanism == before.mechanism
            and session.ended == last.ended
            and session.tls == last.tls
            and session.maildrop == last.maildrop
            and 0 <= notes.opened - before.opened <= POLLS_SECONDS
        )
        return poll if same else None

    def _add_polls(
        self, database: sqlite3.Connection, poll: _Poll, alike: Sequence[EndedSession]
    ) -> None:
        """Count polls with the one that they are like, or anew if it was removed meanwhile."""
        last = alike[-1]
        done = database.execute(
            "UPDATE sessions SET until = ?, times = times + ?, session = ?, commands = ?"
            " WHERE number = ? AND account = ? AND address = ? AND listing IS ?",
            (
                last.until, len(alike), last.session, as_json(last.notes.commands), poll.number,
                last.account, last.address, poll.listing,
            ),
        )  # fmt: skip
        if not done.rowcount:
            self._polls.pop((last.account, last.address), None)
            for each in alike:
                self._add_session(database, each)

    def _listing(
        self, database: sqlite3.Connection, session: EndedSession, listing: Listing
    ) -> int | None:
        """The number of what the session saw; None if it was written too late to be placed."""
        maildrop, ids = session.maildrop, listing.unique_ids
        opened = session.notes.opened
        found = database.execute(
            "SELECT number, at, digest FROM listings WHERE maildrop = ?"
            " ORDER BY number DESC LIMIT 1",
            (maildrop,),
        ).fetchall()
        latest, at, digest = found[0] if found else (0, 0.0, b"")
        known, same_ids = self._listings.get(maildrop, (0, ()))
        if latest and known == latest and same_ids is ids:
            return int(latest)
        texts = list(ids)
        now = digest_of(texts)
        if found and now == digest:
            self._remember(maildrop, latest, ids)
            return int(latest)
        if opened < at:  # another process has written of a later session before
            earlier = database.execute(
                "SELECT number FROM listings WHERE maildrop = ? AND digest = ?"
                " ORDER BY number DESC LIMIT 1",
                (maildrop, now),
            ).fetchall()
            return int(earlier[0][0]) if earlier else None
        messages = list(zip(texts, listing.octets, strict=True))
        come = gone = whole = None
        if found:
            before = listed(database, maildrop, latest)
            there = set(texts)
            come = packed(each for each in messages if each[0] not in before)
            gone = packed(each for each in before.items() if each[0] not in there)
            if self._needs_whole(database, maildrop, len(messages)):
                whole = packed(messages)
        else:
            whole = packed(messages)
        number = database.execute(
            "INSERT INTO listings (maildrop, at, session, digest, messages, octets, come, gone,"
            " whole) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (maildrop, opened, session.session, now, len(messages), listing.total, come, gone,
             whole),
        ).lastrowid  # fmt: skip
        assert number is not None
        self._remember(maildrop, number, ids)
        return number

    def _needs_whole(self, database: sqlite3.Connection, maildrop: str, messages: int) -> bool:
        """Whether enough differences have come together since the last whole one."""
        [(rows, octets, whole)] = database.execute(
            "SELECT count(*), sum(length(come) + length(gone)), max(length(whole)) FROM listings"
            " WHERE maildrop = ? AND number >= (SELECT max(number) FROM listings"
            " WHERE maildrop = ? AND whole IS NOT NULL)",
            (maildrop, maildrop),
        ).fetchall()
        return rows > REBASE or (octets or 0) > max(4096, whole or 0)

    def _remember(self, maildrop: str, number: int, ids: Sequence[str]) -> None:
        self._listings[maildrop] = (number, ids)
        self._listings.move_to_end(maildrop)
        if len(self._listings) > REMEMBERED:
            self._listings.popitem(last=False)


class SessionHistory(Observer):
    """Notes what sessions do, for a `HistoryWriter`."""

    def __init__(self, writer: HistoryWriter) -> None:
        self._put = writer.put
        self._notes: dict[ClientSession, _Notes] = {}

    def answered(self, session: ClientSession, verb: str, ok: bool, octets: int) -> None:
        notes = self._notes.get(session)
        if notes is None:
            notes = self._notes[session] = _Notes()
        verb = verb or "unknown"
        commands = notes.commands
        commands[verb] = commands.get(verb, 0) + 1
        if not notes.began:
            notes.began = notes.opened > 0  # this was the command that logged in
            if verb not in notes.greeting:
                notes.greeting.append(verb)

    def refused(self, session: ClientSession, claim: Claim, reason: str) -> None:
        name = safe_name(claim.name)[:MAX_TEXT]
        address = session.peer_ip or "unix"
        self._put(LoginRefused(time.time(), name, address, claim.mechanism, reason))

    def opened(self, session: ClientSession, mechanism: str) -> None:
        notes = self._notes.get(session)
        if notes is None:
            notes = self._notes[session] = _Notes()
        notes.opened = time.time()
        notes.mechanism = mechanism
        notes.listing = session.mailbox.listing

    def sent(self, session: ClientSession, number: MessageNumber, lines: int | None) -> None:
        notes = self._notes.get(session)
        if notes is not None and len(notes.sent) < MAX_SENT:
            notes.sent.append(Sent(number, lines, time.time()))

    def committed(self, session: ClientSession, numbers: Sequence[MessageNumber]) -> None:
        notes = self._notes.get(session)
        if notes is not None:
            notes.committed = tuple(numbers)
            notes.committed_at = time.time()

    def closed(self, session: ClientSession) -> None:
        notes = self._notes.pop(session, None)
        account = session.account
        if notes is None or account is None or notes.listing is None:
            return
        address = session.peer_ip or "unix"
        self._put(
            EndedSession(
                session.id,
                account.name,
                account.maildrop_name,
                address,
                session.tls,
                session.ended,
                session.octets,
                session.retrieved,
                time.time(),
                notes,
            )
        )


class DeliveryHistory(DeliveryObserver):
    """Notes what becomes of mail that comes in, for a `HistoryWriter`."""

    def __init__(self, writer: HistoryWriter) -> None:
        self._put = writer.put

    def delivered(self, envelope: Envelope, recipient: str, octets: int, unique_id: str) -> None:
        self._put(_delivered("delivered", envelope, recipient, octets, unique_id=unique_id))

    def not_delivered(
        self, envelope: Envelope, recipient: str, octets: int, reason: str, kept: str
    ) -> None:
        reason = f"{reason}; kept at {kept}" if kept else reason
        self._put(_delivered("not delivered", envelope, recipient, octets, reason=reason))

    def refused(self, envelope: Envelope, recipient: str, reply: str) -> None:
        self._put(_delivered("refused", envelope, recipient, 0, reason=reply))

    def login_refused(self, what: str, name: str, peer: str, mechanism: str, session: str) -> None:
        reason = what.removeprefix("login ")
        self._put(
            LoginRefused(
                time.time(), safe_name(name)[:MAX_TEXT], peer or "unix", f"SMTP-{mechanism}", reason
            )
        )


def _delivered(
    outcome: str,
    envelope: Envelope,
    recipient: str,
    octets: int,
    *,
    unique_id: str = "",
    reason: str = "",
) -> Delivered:
    return Delivered(
        time.time(),
        outcome,
        recipient[:MAX_TEXT],
        envelope.sender[:MAX_TEXT],
        octets,
        unique_id,
        envelope.peer or "local",
        envelope.protocol,
        envelope.tls,
        envelope.queue_id,
        reason[:MAX_TEXT],
    )
