"""Writing the history: observers that note what happens, and a thread that writes it down.

A session's notes become one row, some seconds after it ended, together with many others. A poll
that is like the one before it only adds to numbers in memory, which are written then. Nobody ever
waits for the file: records go into a queue with a bound, and what doesn't fit is lost and counted.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from restante.accounts.contract import Account
from restante.delivery.envelope import Envelope
from restante.delivery.observer import DeliveryObserver
from restante.observing.history_file import (
    DAY,
    REBASE,
    HistoryError,
    HistoryFile,
    count,
    keep_newest,
    listed,
    packed,
    sent_text,
)
from restante.protocol.claims import Claim
from restante.protocol.listing import Listing, MessageNumber
from restante.protocol.redaction import safe_name
from restante.server.client import ClientSession
from restante.server.notes import Notes
from restante.server.observer import Observer

MAX_QUEUED = 20_000
"""Records that wait to be written. A busy server makes some thousands in the time of a writing."""

MOST_ANSWERS = 100
"""Commands of one session that are noted in their order. Of later ones it is counted what they
were."""

LOGINS = ("PASS", "APOP", "AUTH")
"""Commands that log in."""

MAX_SENT = 200_000
"""Retrievals of one session that are noted: more than a maildrop has messages."""

WRITTEN_TOGETHER = 200
"""Records of one transaction: so much fits in once what is oldest has been removed."""

GATHER_SECONDS = 2.0
"""How long records are gathered before they are written together."""

HURRY_AT = MAX_QUEUED // 4
"""Records after which they are written at once."""

CLOSE_SECONDS = 10.0
"""How long `close` waits for the last records to be written."""

MAX_TEXT = 500
"""Characters of a text from outside, such as an address, that are kept."""

REMEMBERED = 10_000
"""Clients whose last poll is remembered, in some hundred octets each."""

POLLS_SECONDS = 600.0
"""How long a poll is compared with one in memory, before what other processes wrote counts."""

log = logging.getLogger("restante.observing")


class EndedSession:
    """What is noted of a session that has logged in, from then to its end.

    answers: the first ones, as in `Notes`. later: how often each command came after those.
    sent: number and TOP's lines, None for RETR.
    """

    __slots__ = (
        "account", "address", "answers", "committed", "committed_at", "ended", "later", "listing",
        "maildrop", "mechanism", "octets", "opened", "retrieved", "sent", "session", "tls",
        "until",
    )  # fmt: skip

    def __init__(
        self, session: str, account: Account, address: str, listing: Listing, opened: float
    ) -> None:
        self.session = session
        self.account = account.name
        self.maildrop = account.maildrop_name
        self.address = address
        self.tls = False
        self.mechanism = ""
        self.listing = listing
        self.opened = self.until = opened
        self.ended = ""
        self.octets = self.retrieved = 0
        self.answers: Sequence[Any] = []
        self.later: Counter[str] | None = None
        self.sent: list[tuple[int, int | None]] = []
        self.committed: Sequence[MessageNumber] = ()
        self.committed_at: float | None = None

    def add(self, notes: Notes) -> None:
        """Take what was noted since then. As others have the same notes, they stay as they are."""
        answers, messages = notes.answers, notes.messages
        if not self.answers:
            self.answers = answers
        elif len(self.answers) + len(answers) <= 3 * MOST_ANSWERS:
            self.answers = [*self.answers, *answers]
        else:
            self.later = self.later or Counter()
            self.later.update(answers[::3])
        if messages and len(self.sent) < MAX_SENT:
            self.sent += zip(messages[::2], messages[1::2], strict=True)

    @property
    def greeting(self) -> str:
        """The verbs up to the login, each once."""
        found = {}
        for verb, ok in zip(self.answers[::3], self.answers[1::3], strict=True):
            found[verb or "unknown"] = True
            if ok and verb in LOGINS:
                break
        return " ".join(found)

    @property
    def commands(self) -> str:
        """How often each command came, as JSON."""
        found = Counter(self.answers[::3])
        if self.later is not None:
            found += self.later
        return json.dumps(
            {verb or "unknown": times for verb, times in found.items()}, separators=(",", ":")
        )


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


_FORGOTTEN = Listing((), ())
"""In place of a listing that may be large; its digest is known by then."""


class _Poll:
    """A client's last poll, which found nothing new, and those since then that are like it.

    number, row_listing: of its row, and of the listing that the row has; 0 before it has one.
    digest: of its listing, once it has a row. further: polls that aren't written yet, of which
    `last` is the last; seconds: that they lasted together. waits: whether it is to be written.
    """

    __slots__ = (
        "digest", "first", "further", "last", "number", "row_listing", "seconds", "waits"
    )  # fmt: skip

    def __init__(self, first: EndedSession) -> None:
        self.first = self.last = first
        self.further = 1
        self.seconds = first.until - first.opened
        self.number = 0
        self.row_listing: int | None = 0
        self.digest = b""
        self.waits = True

    def has(self, session: EndedSession) -> bool:
        """Whether a session is like this one in all, so that it need only be counted."""
        first, listing = self.first, session.listing
        return (
            not session.sent
            and not session.committed
            and (listing is first.listing or (listing.digested == self.digest != b""))
            and session.answers[::3] == first.answers[::3]
            and session.later == first.later
            and session.ended == first.ended
            and session.mechanism == first.mechanism
            and session.tls == first.tls
            and session.maildrop == first.maildrop
            and 0 <= session.opened - first.opened <= POLLS_SECONDS
        )


class _Polls(NamedTuple):
    """What is to be written of a poll: so many further ones, and the last of them."""

    poll: _Poll
    times: int
    seconds: float
    last: EndedSession


Record: TypeAlias = EndedSession | Delivered | LoginRefused
Taken: TypeAlias = EndedSession | _Polls | Delivered | LoginRefused


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
        self._lock = threading.Lock()
        self._queue: deque[Record | _Poll] = deque()
        self._polls: OrderedDict[tuple[str, str], _Poll] = OrderedDict()  # by account, address
        self._awake = threading.Event()
        self._hurry = threading.Event()
        self._idle = threading.Condition()
        self._given = self._done = 0
        self._closing = False
        self._thread: threading.Thread | None = None
        self._failing = False
        self._told_lost = 0

    def put(self, record: Record) -> None:
        """Have a record written, soon. Never waits."""
        with self._lock:
            self._put(record)
        self._wake()

    def put_session(self, session: EndedSession) -> None:
        """The same for a session, which may become one with the poll before it."""
        key = session.account, session.address
        with self._lock:
            poll = self._polls.get(key)
            if poll is not None and not self._closing and poll.has(session):
                poll.further += 1
                poll.seconds += session.until - session.opened
                poll.last = session
                self._given += 1
                if not poll.waits:
                    poll.waits = True
                    self._queue.append(poll)
            elif session.sent or session.committed:
                self._polls.pop(key, None)
                self._put(session)
            else:
                poll = _Poll(session)
                if self._put(poll):
                    self._polls[key] = poll
                    self._polls.move_to_end(key)
                    if len(self._polls) > REMEMBERED:
                        self._polls.popitem(last=False)
        self._wake()

    def _put(self, record: Record | _Poll) -> bool:
        if len(self._queue) >= MAX_QUEUED or self._closing:
            self.lost += 1
            return False
        self._queue.append(record)
        self._given += 1
        return True

    def _wake(self) -> None:
        if self._thread is None:
            self._begin()
        if not self._awake.is_set():
            self._awake.set()
        elif len(self._queue) > HURRY_AT:
            self._hurry.set()

    def flush(self, seconds: float = CLOSE_SECONDS) -> bool:
        """Wait until what was put before has been written or lost. False if that takes longer."""
        wanted = self._given
        self._hurry.set()
        self._awake.set()
        with self._idle:
            return self._idle.wait_for(lambda: self._done >= wanted, seconds)

    @property
    def failing(self) -> bool:
        """Whether the last records could not be written, and were lost."""
        return self._failing

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
        for _ in range(-(-len(self._queue) // WRITTEN_TOGETHER)):
            with self._lock:
                taken = [self._take() for _ in range(min(len(self._queue), WRITTEN_TOGETHER))]
            self._write(taken)
        if self.lost > self._told_lost and not self._failing:
            log.warning("the history is too slow: %d records were lost", self.lost)
            self._told_lost = self.lost

    def _take(self) -> Taken:
        """The next record to be written. With the lock."""
        record = self._queue.popleft()
        if not isinstance(record, _Poll):
            return record
        taken = _Polls(record, record.further, record.seconds, record.last)
        record.further, record.seconds, record.waits = 0, 0.0, False
        record.last = record.first
        return taken

    def _write(self, records: Sequence[Taken]) -> None:
        number = sum(each.times if isinstance(each, _Polls) else 1 for each in records)
        try:
            self._file.write(lambda database: self._add(database, records))
        except Exception as error:  # noqa: BLE001 - whatever it is, the server goes on
            self._fail(error, number)
        else:
            if self._failing:
                log.warning("the history goes on; %d records were lost", self.lost)
                self._told_lost = self.lost
            self._failing = False
            for each in records:
                if isinstance(each, _Polls):
                    each.poll.first.listing = _FORGOTTEN
        with self._idle:
            self._done += number
            self._idle.notify_all()

    def _fail(self, error: Exception, records: int) -> None:
        with self._lock:
            self.lost += records
            self._polls.clear()
        if self._failing:
            return
        self._failing = True
        if isinstance(error, HistoryError):
            log.error("the history can't be written, mail is served without it: %s", error)
        else:
            log.error("the history can't be written, mail is served without it", exc_info=error)

    # Records to rows

    def _add(self, database: sqlite3.Connection, records: Iterable[Taken]) -> None:
        sessions = [each for each in records if isinstance(each, EndedSession)]
        polls = [each for each in records if isinstance(each, _Polls)]
        delivered = [each for each in records if isinstance(each, Delivered)]
        refused = [each for each in records if isinstance(each, LoginRefused)]
        counts: Counter[tuple[int, str]] = Counter()
        for session in sessions:
            minute = int(session.until // 60)
            counts[minute, "sessions"] += 1
            counts[minute, "seconds"] += max(0.0, session.until - session.opened)  # type: ignore[assignment]
            counts[minute, "retrieved"] += session.retrieved
            counts[minute, "deleted"] += len(session.committed)
            counts[minute, "octets"] += session.octets
        for poll in polls:
            minute = int(poll.last.until // 60)
            counts[minute, "sessions"] += poll.times
            counts[minute, "seconds"] += max(0.0, poll.seconds)  # type: ignore[assignment]
        if sessions or polls:
            self._add_sessions(database, [*sessions, *polls])
        if delivered:
            counts.update((int(each.at // 60), each.outcome) for each in delivered)
            self._add_deliveries(database, delivered)
        if refused:
            counts.update((int(each.at // 60), "logins refused") for each in refused)
            self._add_refusals(database, refused)
        count(database, counts)

    def _add_deliveries(self, database: sqlite3.Connection, found: Sequence[Delivered]) -> None:
        database.executemany(
            f"INSERT INTO deliveries ({', '.join(Delivered._fields)})"  # noqa: S608
            f" VALUES ({', '.join('?' * len(Delivered._fields))})",
            found,
        )
        if any(each.outcome == "refused" for each in found):
            keep_newest(database, "deliveries", "outcome = 'refused'")

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

    def _add_sessions(
        self, database: sqlite3.Connection, sessions: Sequence[EndedSession | _Polls]
    ) -> None:
        """Insert sessions; polls that are like an earlier row are counted there."""
        batch = _Batch(database)
        known = batch.known([each.poll.number for each in sessions if isinstance(each, _Polls)])
        for session in sorted(sessions, key=_opened):
            if isinstance(session, EndedSession):
                batch.insert(session, self._listing(batch, session))
                continue
            poll, last = session.poll, session.last
            if known.get(poll.number) == (last.account, last.address, poll.row_listing):
                batch.add_to(poll.number, session)
            else:
                listing = self._listing(batch, last)
                poll.number = self._like_before(batch, session, listing)
                poll.row_listing, poll.digest = listing, last.listing.digest()
        batch.write()

    def _like_before(self, batch: _Batch, polls: _Polls, listing: int | None) -> int:
        """The row for polls: that of the client's session before, if it was like them, or new."""
        last = polls.last
        number, since, *same = batch.last_of(last.account, last.address)
        quiet = [
            last.maildrop, last.tls, last.mechanism, last.greeting, last.ended, listing, True
        ]  # fmt: skip
        if same != quiet or last.opened - since > DAY:
            return batch.insert(last, listing, polls)
        batch.add_to(number, polls)
        return int(number)

    def _listing(self, batch: _Batch, session: EndedSession) -> int | None:
        """The number of what the session saw; None if it was written too late to be placed."""
        maildrop, listing = session.maildrop, session.listing
        opened = session.opened
        latest, at, digest = batch.listing_of(maildrop)
        now = listing.digest()
        if latest and now == digest:
            return latest
        database = batch.database
        if opened < at:  # another process has written of a later session before
            earlier = database.execute(
                "SELECT number FROM listings WHERE maildrop = ? AND digest = ?"
                " ORDER BY number DESC LIMIT 1",
                (maildrop, now),
            ).fetchall()
            return int(earlier[0][0]) if earlier else None
        texts = list(listing.unique_ids)
        messages = list(zip(texts, listing.octets, strict=True))
        come = gone = whole = None
        if latest:
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
        batch.listings[maildrop] = number, opened, now
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


def _opened(session: EndedSession | _Polls) -> float:
    return session.opened if isinstance(session, EndedSession) else session.last.opened


class _Batch:
    """Sessions that are written together, within a transaction."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database
        self.listings: dict[str, tuple[int, float, bytes]] = {}
        """The newest of a maildrop: number, since when, digest."""
        self._rows: list[list[object]] = []
        self._further: dict[int, tuple[Any, ...]] = {}
        self._last: dict[tuple[str, str], list[Any]] = {}
        found = database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'sessions'")
        self._next = next((seq for (seq,) in found.fetchall()), 0) + 1

    def listing_of(self, maildrop: str) -> tuple[int, float, bytes]:
        """A maildrop's newest listing: number, since when, digest. The number is 0 for none."""
        known = self.listings.get(maildrop)
        if known is None:
            rows = self.database.execute(
                "SELECT number, at, digest FROM listings WHERE maildrop = ?"
                " ORDER BY number DESC LIMIT 1",
                (maildrop,),
            ).fetchall()
            known = self.listings[maildrop] = rows[0] if rows else (0, 0.0, b"")
        return known

    def known(self, numbers: Sequence[int]) -> dict[int, tuple[str, str, int | None]]:
        """Account, address and listing of those of some rows that are still there."""
        rows = self.database.execute(
            "SELECT number, account, address, listing FROM sessions"
            " WHERE number IN (SELECT value FROM json_each(?))",
            (json.dumps(numbers),),
        ).fetchall()
        return {number: (account, address, listing) for number, account, address, listing in rows}

    def last_of(self, account: str, address: str) -> list[Any]:
        """Of a client's last row: number, since when, and what further polls must be like."""
        last = self._last.get((account, address))
        if last is None:
            rows = self.database.execute(
                "SELECT number, since, maildrop, tls, mechanism, greeting, ended, listing,"
                " sent IS NULL AND removed IS NULL FROM sessions"
                " WHERE account = ? AND address = ? ORDER BY number DESC LIMIT 1",
                (account, address),
            ).fetchall()
            last = self._last[account, address] = [*rows[0]] if rows else [0, 0.0]
        return last

    def insert(
        self, session: EndedSession, listing: int | None, polls: _Polls | None = None
    ) -> int:
        """Give a session a row, or several polls. The row's number."""
        number = self._next
        self._next += 1
        greeting = session.greeting
        since = session.opened if polls is None else polls.poll.first.opened
        ids, octets = session.listing.unique_ids, session.listing.octets
        self._rows.append([
            number, session.session, session.account, session.maildrop, session.address,
            session.tls, session.mechanism, greeting, since, session.until,
            1 if polls is None else polls.times, session.ended, session.commands,
            session.retrieved, len(session.committed), session.octets, session.listing.count,
            listing, sent_text(session.sent, ids, octets),
            sent_text([(each, None) for each in session.committed], ids, octets),
            session.committed_at,
        ])  # fmt: skip
        self._last[session.account, session.address] = [
            number, since, session.maildrop, session.tls, session.mechanism, greeting,
            session.ended, listing, polls is not None,
        ]  # fmt: skip
        return number

    def add_to(self, number: int, polls: _Polls) -> None:
        """Count polls with a row."""
        before = self._further.get(number, (0, 0))[1]
        last = polls.last
        self._further[number] = (
            number, before + polls.times, last.until, last.session, last.commands
        )  # fmt: skip

    def write(self) -> None:
        """Write them."""
        if self._rows:
            self.database.execute(_INSERT, (json.dumps(self._rows),))
        if self._further:
            self.database.execute(_ADD_TO, (json.dumps(list(self._further.values())),))


_COLUMNS = (
    "number, session, account, maildrop, address, tls, mechanism, greeting, since, until, times,"
    " ended, commands, retrieved, deleted, octets, messages, listing, sent, removed, removed_at"
)
_INSERT = (
    f"INSERT INTO sessions ({_COLUMNS}) SELECT "  # noqa: S608
    + ", ".join(f"json_extract(value, '$[{at}]')" for at in range(_COLUMNS.count(",") + 1))
    + " FROM json_each(?)"
)
_ADD_TO = (
    "UPDATE sessions SET times = times + json_extract(value, '$[1]'),"
    " until = json_extract(value, '$[2]'), session = json_extract(value, '$[3]'),"
    " commands = json_extract(value, '$[4]') FROM json_each(?)"
    " WHERE number = json_extract(value, '$[0]')"
)


class SessionHistory(Observer):
    """Notes what sessions do, for a `HistoryWriter`."""

    def __init__(self, writer: HistoryWriter) -> None:
        self._put, self._put_session = writer.put, writer.put_session
        self._going_on: dict[ClientSession, EndedSession] = {}
        """Sessions of which there will be further notes."""
        self._strangers: dict[ClientSession, list[Any]] = {}
        """The answers so far of those that haven't logged in."""
        self._removed: dict[ClientSession, tuple[Sequence[MessageNumber], float]] = {}

    def refused(self, session: ClientSession, claim: Claim, reason: str) -> None:
        name = safe_name(claim.name)[:MAX_TEXT]
        address = session.peer_ip or "unix"
        self._put(LoginRefused(time.time(), name, address, claim.mechanism, reason))

    def committed(self, session: ClientSession, numbers: Sequence[MessageNumber]) -> None:
        self._removed[session] = tuple(numbers), time.time()

    def noted(self, session: ClientSession, notes: Notes) -> None:
        noted = self._going_on.pop(session, None) if self._going_on else None
        account = session.account
        if noted is None:
            if account is None or notes.opened is None:
                self._note_stranger(session, notes)
                return
            address, listing = session.peer_ip or "unix", session.mailbox.listing
            noted = EndedSession(session.id, account, address, listing, notes.opened)
            noted.tls = session.tls
            noted.mechanism = notes.mechanism
            if self._strangers:
                noted.answers = self._strangers.pop(session, noted.answers)
        noted.add(notes)
        if not notes.last:
            self._going_on[session] = noted
            return
        noted.until = time.time()
        noted.ended = session.ended
        noted.octets = session.octets
        noted.retrieved = session.retrieved
        if self._removed and session in self._removed:
            noted.committed, noted.committed_at = self._removed.pop(session)
        self._put_session(noted)

    def _note_stranger(self, session: ClientSession, notes: Notes) -> None:
        """Keep what comes before the login, for if that succeeds."""
        before = self._strangers.pop(session, [])
        if not notes.last:
            self._strangers[session] = [*before, *notes.answers][: 3 * MOST_ANSWERS]


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
