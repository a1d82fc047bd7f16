"""Writing the history: observers that note what happens, and a thread that writes it down.

A session's notes become one row, some seconds after it ended, together with many others. A poll
that is like the one before it only adds to numbers in memory, which are written then. Nobody ever
waits for the place where it is kept: records go into a queue with a bound, and what doesn't fit is
lost and counted.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from restante.accounts.contract import Account
from restante.delivery.envelope import Envelope
from restante.delivery.observer import DeliveryObserver
from restante.observing.history_file import HistoryFile
from restante.observing.history_place import (
    DAY,
    REBASE,
    SESSION_COLUMNS,
    Bounds,
    HistoryError,
    HistoryPlace,
    Malformed,
    Tables,
    as_json,
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

MOST_VERBS = 100
"""Commands of one session that are noted in their order. Of later ones it is counted what they
were."""

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

MESSAGES_TOGETHER = 250_000
"""So many messages' unique-ids may be compared with those before in one go: some tens of MiB."""

MAX_NODES = 8
"""Nodes that are named for polls which are one row."""

REMEMBERED = 10_000
"""Clients whose last poll is remembered, in some hundred octets each."""

POLLS_SECONDS = 600.0
"""How long a poll is compared with one in memory, before what other processes wrote counts."""

log = logging.getLogger("restante.observing")


class EndedSession:
    """What is noted of a session that has logged in, from then to its end.

    verbs: of the first commands, `MOST_VERBS` at most. later: how often each command came after
    those. before_login: how many came before the one that logged in. sent: number and TOP's
    lines, None for RETR.
    """

    __slots__ = (
        "account", "address", "before_login", "committed", "committed_at", "ended", "later",
        "listing", "maildrop", "mechanism", "octets", "opened", "retrieved", "sent", "session",
        "tls", "until", "verbs",
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
        self.verbs: list[str] = []
        self.later: Counter[str] | None = None
        self.before_login = 0
        self.sent: list[tuple[int, int | None]] = []
        self.committed: Sequence[MessageNumber] = ()
        self.committed_at: float | None = None

    @property
    def greeting(self) -> str:
        """The verbs up to the login, each once."""
        return " ".join(dict.fromkeys(v or "unknown" for v in self.verbs[: self.before_login + 1]))

    @property
    def commands(self) -> str:
        """How often each command came, as JSON."""
        if self.later is not None:
            return _as_text(Counter(self.verbs) + self.later)
        return _commands(*self.verbs)

    @property
    def how(self) -> tuple[object, ...]:
        """What polls that are counted together have in common, but for verbs and listing."""
        return (
            self.ended, self.mechanism, self.tls, self.maildrop, self.before_login, self.later,
        )  # fmt: skip

    def again(self, session: str, listing: Listing, opened: float, until: float) -> EndedSession:
        """Another session that is like this one, which is a poll."""
        other = EndedSession.__new__(EndedSession)
        other.session, other.listing, other.opened, other.until = session, listing, opened, until
        other.account, other.maildrop, other.address = self.account, self.maildrop, self.address
        other.tls, other.mechanism, other.ended = self.tls, self.mechanism, self.ended
        other.verbs, other.later, other.before_login = self.verbs, self.later, self.before_login
        other.octets = other.retrieved = 0
        other.sent, other.committed, other.committed_at = [], (), None
        return other


def _as_text(commands: Counter[str]) -> str:
    shown = {verb or "unknown": times for verb, times in commands.items()}
    return json.dumps(shown, separators=(",", ":"))


@lru_cache(1000)
def _commands(*verbs: str) -> str:
    """The same of some verbs. Most sessions have the same ones."""
    return _as_text(Counter(verbs))


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
    `last` is the last, as values for `EndedSession.again`; seconds: that they lasted together.
    waits: whether it is to be written.
    """

    __slots__ = (
        "digest", "first", "further", "how", "last", "number", "row_listing", "seconds", "verbs",
        "waits",
    )  # fmt: skip

    def __init__(self, first: EndedSession) -> None:
        self.first = first
        self.verbs, self.how = first.verbs, first.how
        self.last = first.session, first.listing, first.opened, first.until
        self.further = 1
        self.seconds = first.until - first.opened
        self.number = 0
        self.row_listing: int | None = 0
        self.digest = b""
        self.waits = True

    def has(
        self, verbs: list[str], how: tuple[object, ...], listing: Listing, opened: float
    ) -> bool:
        """Whether a poll is like this one in all, so that it need only be counted."""
        return (
            (listing is self.first.listing or (listing.digested == self.digest != b""))
            and verbs == self.verbs
            and how == self.how
            and 0 <= opened - self.first.opened <= POLLS_SECONDS
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
    """Keeps the history of one process: in an SQLite file, or in another place.

    place: the file's path, or where else, such as `PostgresHistory`. Several processes may write
        to the same. Nothing that happens to it disturbs a session: records are lost then, and the
        log says so once.
    max_octets: how large it may become: 1 MiB or more. days: how long anything is kept.

    `sessions` is for `Pop3Server.observe`, `deliveries` for what takes mail in. A file is made,
    and the thread begins, with the first record; `close` ends both.

    Raises ValueError for bounds that aren't allowed.
    """

    def __init__(
        self,
        place: Path | str | HistoryPlace,
        *,
        max_octets: int = 256 * 2**20,
        days: float = 30.0,
    ) -> None:
        if not max_octets >= 2**20:
            raise ValueError(f"max_octets={max_octets!r}: allowed is 1048576 or more")
        if not days > 0:
            raise ValueError(f"days={days!r}: allowed is more than 0")
        self.sessions = SessionHistory(self)
        self.deliveries = DeliveryHistory(self)
        self.lost = 0
        """Records that were not written: the queue was full, or the place couldn't be used."""
        self._place = place if isinstance(place, HistoryPlace) else HistoryFile(Path(place))
        self._bounds = Bounds(max_octets, days)
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
        is_poll = not (session.sent or session.committed)
        last = session.session, session.listing, session.opened, session.until
        if is_poll and self.count_poll(key, session.verbs, session.how, last):
            return
        with self._lock:
            if not is_poll:
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

    def count_poll(
        self,
        key: tuple[str, str],
        verbs: list[str],
        how: tuple[object, ...],
        last: tuple[str, Listing, float, float],
    ) -> bool:
        """Count a session with the client's poll before it; False if it isn't like that one.

        key: account and address. verbs: of its commands. how, last: what `EndedSession.how`
        would give, and what `EndedSession.again` takes.
        """
        _, listing, opened, until = last
        with self._lock:
            poll = self._polls.get(key)
            if poll is None or not poll.has(verbs, how, listing, opened) or self._closing:
                return False
            poll.further += 1
            poll.seconds += until - opened
            poll.last = last
            self._given += 1
            if poll.waits:
                return True
            poll.waits = True
            self._queue.append(poll)
        self._wake()
        return True

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
        self._place.close()

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
        taken = _Polls(record, record.further, record.seconds, record.first.again(*record.last))
        record.further, record.seconds, record.waits = 0, 0.0, False
        record.last = record.first.session, _FORGOTTEN, 0.0, 0.0
        return taken

    def _write(self, records: Sequence[Taken]) -> None:
        number = sum(each.times if isinstance(each, _Polls) else 1 for each in records)
        try:
            self._place.write(lambda tables: _add(tables, records), self._bounds)
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


async def _add(tables: Tables, records: Iterable[Taken]) -> None:
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
        await _Batch(tables).add([*sessions, *polls])
    if delivered:
        counts.update((int(each.at // 60), each.outcome) for each in delivered)
        await _add_deliveries(tables, delivered)
    if refused:
        counts.update((int(each.at // 60), "logins refused") for each in refused)
        await _add_refusals(tables, refused)
    await count(tables, counts)


async def _add_deliveries(tables: Tables, found: Sequence[Delivered]) -> None:
    rows = [(tables.number("deliveries"), *each) for each in found]
    await tables.insert("deliveries", _DELIVERY_COLUMNS, rows)
    if any(each.outcome == "refused" for each in found):
        await keep_newest(tables, "deliveries", "outcome = 'refused'")


async def _add_refusals(tables: Tables, refused: Sequence[LoginRefused]) -> None:
    """Those that are alike become one row."""
    alike: dict[tuple[str | float, ...], list[float]] = {}
    for each in refused:
        alike.setdefault(each[1:], []).append(each.at)
    given = as_json(
        [(at, *what, times[0] - 3600) for at, (what, times) in enumerate(alike.items())]
    )
    before = await tables.rows(_REFUSED_BEFORE, given)
    earlier: dict[int, int] = {at: number for at, number in before}  # noqa: C416 - rows, not pairs
    new, further = [], []
    for at, (what, times) in enumerate(alike.items()):
        if at in earlier:
            further.append((earlier[at], len(times), times[-1]))
        else:
            new.append((tables.number("refusals"), times[0], times[-1], len(times), *what))
    if further:
        await tables.run(_REFUSED_AGAIN, as_json(further))
    if new:
        await tables.insert("refusals", _REFUSAL_COLUMNS, new)
        await keep_newest(tables, "refusals")


def _opened(session: EndedSession | _Polls) -> float:
    return session.opened if isinstance(session, EndedSession) else session.last.opened


class _Newest(NamedTuple):
    """A maildrop's newest listing. number: 0 for none."""

    number: int = 0
    at: float = 0.0
    digest: bytes = b""
    messages: int = 0


class _Row(NamedTuple):
    """A client's last row, and what further polls must be like. number: 0 for none."""

    number: int = 0
    since: float = 0.0
    like: tuple[Any, ...] = ()
    node: str = ""


class _Batch:
    """Sessions that are written together, within a transaction.

    What is there already is asked for all of them at once, as each question may be a round trip.
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._newest: dict[str, _Newest] = {}
        self._chains: dict[str, list[tuple[bytes | None, bytes | None, bytes | None]]] = {}
        """The last whole listing of a maildrop, and the differences since."""
        self._listings: list[tuple[Any, ...]] = []
        self._is_told = False  # of damage
        self._waiting = 0  # messages of listings that aren't written yet, at most
        self._rows: list[list[object]] = []
        self._further: dict[int, tuple[Any, ...]] = {}
        self._last: dict[tuple[str, str], _Row] = {}

    async def add(self, sessions: Sequence[EndedSession | _Polls]) -> None:
        """Insert sessions; polls that are like an earlier row are counted there."""
        sessions = sorted(sessions, key=_opened)
        known = await self._known([each for each in sessions if isinstance(each, _Polls)])
        new = [each for each in sessions if isinstance(each, EndedSession) or id(each) not in known]
        await self._find_last([each.last for each in new if isinstance(each, _Polls)])
        listings = await self._find_listings(
            [each if isinstance(each, EndedSession) else each.last for each in new]
        )
        for session in sessions:
            if isinstance(session, EndedSession):
                self._insert(session, listings[id(session)])
            elif id(session) in known:
                self._add_to(session.poll.number, known[id(session)], session)
            else:
                poll, last = session.poll, session.last
                listing = listings[id(last)]
                poll.number = self._like_before(session, listing)
                poll.row_listing, poll.digest = listing, last.listing.digest()
        await self._write()

    async def _known(self, polls: Sequence[_Polls]) -> dict[int, str]:
        """The polls whose rows are still there, and the nodes that these have."""
        if not polls:
            return {}
        rows = await self._tables.rows(_KNOWN, [each.poll.number for each in polls])
        found = {
            number: (account, address, listing, node)
            for number, account, address, listing, node in rows
        }
        known = {}
        for each in polls:
            *same, node = found.get(each.poll.number, ("",))
            if same == [each.last.account, each.last.address, each.poll.row_listing]:
                known[id(each)] = node
        return known

    async def _find_last(self, sessions: Sequence[EndedSession]) -> None:
        """Of each client the last row that is there."""
        if not sessions:
            return
        clients = list({(each.account, each.address): None for each in sessions})
        rows = await self._tables.rows(_LAST, as_json(clients))
        for account, address, number, since, *like, node in rows:
            self._last[account, address] = _Row(number, since, tuple(like), node)

    def _like_before(self, polls: _Polls, listing: int | None) -> int:
        """The row for polls: that of the client's session before, if it was like them, or new."""
        last = polls.last
        row = self._last.get((last.account, last.address), _Row())
        if row.like != _like(last, listing, quiet=True) or last.opened - row.since > DAY:
            return self._insert(last, listing, polls)
        self._add_to(row.number, row.node, polls)
        return row.number

    def _insert(
        self, session: EndedSession, listing: int | None, polls: _Polls | None = None
    ) -> int:
        """Give a session a row, or several polls. The row's number."""
        number, node = self._tables.number("sessions"), self._tables.node
        greeting = session.greeting
        since = session.opened if polls is None else polls.poll.first.opened
        ids, octets = session.listing.unique_ids, session.listing.octets
        self._rows.append([
            number, session.session, session.account, session.maildrop, session.address,
            int(session.tls), session.mechanism, greeting, since, session.until,
            1 if polls is None else polls.times, session.ended, session.commands,
            session.retrieved, len(session.committed), session.octets, session.listing.count,
            listing, sent_text(session.sent, ids, octets),
            sent_text([(each, None) for each in session.committed], ids, octets),
            session.committed_at, *([node] if node else ()),
        ])  # fmt: skip
        like = _like(session, listing, quiet=polls is not None)
        self._last[session.account, session.address] = _Row(number, since, like, node)
        return number

    def _add_to(self, number: int, node: str, polls: _Polls) -> None:
        """Count polls with a row. node: that the row has."""
        _, before, *_, node = self._further.get(number, (0, 0, node))
        last = polls.last
        self._further[number] = (
            number, before + polls.times, last.until, last.session, last.commands,
            _nodes(node, self._tables.node),
        )  # fmt: skip

    async def _write(self) -> None:
        if self._rows:
            columns = SESSION_COLUMNS | ({"node": "TEXT"} if self._tables.node else {})
            await self._tables.insert("sessions", columns, self._rows)
        if self._further:
            statement = _ADD_TO_NODES if self._tables.node else _ADD_TO_FILE
            await self._tables.run(statement, as_json(list(self._further.values())))

    # Listings

    async def _find_listings(self, sessions: Sequence[EndedSession]) -> dict[int, int | None]:
        """What each session saw: a listing's number, or None if it was written too late to be
        placed. Listings that are new are written."""
        if not sessions:
            return {}
        maildrops = as_json([[each] for each in sorted({each.maildrop for each in sessions})])
        for maildrop, *newest in await self._tables.rows(_NEWEST, maildrops):
            self._newest[maildrop] = _Newest(*newest)
        waiting = deque(sessions)
        numbers: dict[int, int | None] = {}
        while waiting:
            await self._find_chains(waiting)
            while waiting and (
                self._newest.get(waiting[0].maildrop, _Newest()).number == 0
                or waiting[0].maildrop in self._chains
                or not self._has_changed(waiting[0])
            ):
                session = waiting.popleft()
                numbers[id(session)] = await self._listing(session)
            await self._write_listings()
        return numbers

    def _has_changed(self, session: EndedSession) -> bool:
        newest = self._newest.get(session.maildrop, _Newest())
        return session.listing.digest() != newest.digest and session.opened >= newest.at

    async def _find_chains(self, sessions: Iterable[EndedSession]) -> None:
        """Get what the next changed maildrops had before, as far as it isn't too much at once."""
        wanted: list[str] = []
        messages = 0
        self._chains.clear()
        for session in sessions:
            newest = self._newest.get(session.maildrop, _Newest())
            if newest.number and session.maildrop not in wanted and self._has_changed(session):
                messages += newest.messages + session.listing.count
                if wanted and messages > MESSAGES_TOGETHER:
                    break
                wanted.append(session.maildrop)
        if wanted:
            given = as_json([[each] for each in wanted])
            for maildrop, *row in await self._tables.rows(_CHAINS, given):
                self._chains.setdefault(maildrop, []).append((row[0], row[1], row[2]))
            for maildrop in wanted:
                self._chains.setdefault(maildrop, [])

    async def _listing(self, session: EndedSession) -> int | None:
        """The number of what the session saw; None if it was written too late to be placed."""
        maildrop, listing, opened = session.maildrop, session.listing, session.opened
        newest = self._newest.get(maildrop, _Newest())
        now = listing.digest()
        if newest.number and now == newest.digest:
            return newest.number
        if opened < newest.at:  # another process has written of a later session before
            await self._write_listings()
            earlier = await self._tables.rows(_EARLIER, maildrop, now)
            return int(earlier[0][0]) if earlier else None
        texts = list(listing.unique_ids)
        messages = list(zip(texts, listing.octets, strict=True))
        come = gone = whole = None
        chain = self._chains.setdefault(maildrop, [])
        before = await self._before(maildrop, chain)
        if before is None:
            whole = packed(messages)
        else:
            there = set(texts)
            come = packed(each for each in messages if each[0] not in before)
            gone = packed(each for each in before.items() if each[0] not in there)
            if _needs_whole(chain):
                whole = packed(messages)
        if whole is not None:
            chain.clear()
        chain.append((come, gone, whole))
        number = self._tables.number("listings")
        self._listings.append((
            number, maildrop, opened, session.session, now, len(messages), listing.total, come,
            gone, whole,
        ))  # fmt: skip
        self._newest[maildrop] = _Newest(number, opened, now, len(messages))
        self._waiting += len(messages)
        if self._waiting > MESSAGES_TOGETHER:
            await self._write_listings()
        return number

    async def _before(
        self, maildrop: str, chain: list[tuple[bytes | None, bytes | None, bytes | None]]
    ) -> dict[str, int] | None:
        """What a maildrop had; None if nothing is known of it."""
        if not chain:
            return None
        try:
            return listed(chain)
        except Malformed as error:
            if not self._is_told:
                log.error("the history has %s: that of the maildrop begins anew", error)
            self._is_told = True
            await self._write_listings()
            await self._tables.remove("listings", "maildrop = ?", maildrop)
            chain.clear()
            return None

    async def _write_listings(self) -> None:
        if self._listings:
            await self._tables.run_each(_INSERT_LISTING, self._listings)
            self._listings.clear()
            self._waiting = 0


def _like(session: EndedSession, listing: int | None, *, quiet: bool) -> tuple[Any, ...]:
    return (
        session.maildrop, session.tls, session.mechanism, session.greeting, session.ended,
        listing, quiet,
    )  # fmt: skip


def _needs_whole(chain: Sequence[tuple[bytes | None, bytes | None, bytes | None]]) -> bool:
    """Whether enough differences have come together since the last whole listing."""
    octets = sum(len(come or b"") + len(gone or b"") for come, gone, _ in chain)
    whole = max((len(each) for *_, each in chain if each is not None), default=0)
    return len(chain) > REBASE or octets > max(4096, whole)


def _nodes(before: str, node: str) -> str:
    """Nodes that had the same polls, divided by `, `."""
    found = before.split(", ") if before else []
    if node in found or len(found) > MAX_NODES or not node:
        return before
    return ", ".join([*found, node if len(found) < MAX_NODES else "…"])


_KNOWN = (
    "SELECT number, account, address, listing, {node} AS node FROM {sessions} WHERE number {among}"
)
_LAST = """
SELECT given.account, given.address, s.number, s.since, s.maildrop, s.tls, s.mechanism, s.greeting,
    s.ended, s.listing, s.sent IS NULL AND s.removed IS NULL, {node} AS node
FROM {given:account TEXT, address TEXT} AS given JOIN {sessions} AS s ON s.number = (
    SELECT max(number) FROM {sessions} AS mine
    WHERE mine.account = given.account AND mine.address = given.address
)
"""
_NEWEST = """
SELECT l.maildrop, l.number, l.at, l.digest, l.messages
FROM {given:maildrop TEXT} AS given JOIN {listings} AS l ON l.number = (
    SELECT max(number) FROM {listings} AS mine WHERE mine.maildrop = given.maildrop
)
"""
_CHAINS = """
SELECT l.maildrop, l.come, l.gone, l.whole
FROM {given:maildrop TEXT} AS given JOIN {listings} AS l
ON l.maildrop = given.maildrop AND l.number >= (
    SELECT max(number) FROM {listings} AS base
    WHERE base.maildrop = given.maildrop AND base.whole IS NOT NULL
)
ORDER BY l.number
"""
_EARLIER = (
    "SELECT number FROM {listings} WHERE maildrop = ? AND digest = ? ORDER BY number DESC LIMIT 1"
)
_INSERT_LISTING = (
    "INSERT INTO {listings} (number, maildrop, at, session, digest, messages, octets, come, gone,"
    " whole) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


_ADD_TO_FILE = """
UPDATE {sessions} AS s SET times = s.times + given.times, until = given.until,
    session = given.session, commands = given.commands
FROM {given:number BIGINT, times BIGINT, until DOUBLE PRECISION, session TEXT, commands TEXT,
    node TEXT} AS given WHERE s.number = given.number
"""
_ADD_TO_NODES = _ADD_TO_FILE.replace("FROM", ", node = given.node FROM", 1)


_DELIVERY_COLUMNS = {"number": "BIGINT", "at": "DOUBLE PRECISION"} | {
    name: "BIGINT" if name == "octets" else "TEXT" for name in Delivered._fields if name != "at"
}
_REFUSED_BEFORE = """
SELECT given.place, max(r.number) FROM {given:place BIGINT, account TEXT, address TEXT,
    mechanism TEXT, reason TEXT, since DOUBLE PRECISION} AS given JOIN {refusals} AS r
ON r.account = given.account AND r.address = given.address AND r.mechanism = given.mechanism
    AND r.reason = given.reason AND r.since > given.since
GROUP BY given.place
"""
_REFUSED_AGAIN = """
UPDATE {refusals} AS r SET until = given.until, times = r.times + given.times
FROM {given:number BIGINT, times BIGINT, until DOUBLE PRECISION} AS given
WHERE r.number = given.number
"""
_REFUSAL_COLUMNS = {
    "number": "BIGINT", "since": "DOUBLE PRECISION", "until": "DOUBLE PRECISION",
    "times": "BIGINT", "account": "TEXT", "address": "TEXT", "mechanism": "TEXT", "reason": "TEXT",
}  # fmt: skip


class _Unfinished:
    """What is kept of a session that goes on.

    verbs, later: as of `EndedSession`, from the greeting on. noted: what it did since the login.
    removed: the messages that QUIT has removed, and when.
    """

    __slots__ = ("later", "noted", "removed", "verbs")

    def __init__(self) -> None:
        self.verbs: list[str] = []
        self.later: Counter[str] | None = None
        self.noted: EndedSession | None = None
        self.removed: tuple[Sequence[MessageNumber], float | None] = (), None

    def add(self, verbs: list[str]) -> None:
        """Take the verbs of further commands."""
        room = MOST_VERBS - len(self.verbs)
        self.verbs += verbs[:room]
        if len(verbs) > room:
            self.later = self.later or Counter()
            self.later.update(verbs[room:])


class SessionHistory(Observer):
    """Notes what sessions do, for a `HistoryWriter`."""

    def __init__(self, writer: HistoryWriter) -> None:
        self._put, self._put_session = writer.put, writer.put_session
        self._count_poll = writer.count_poll
        self._unfinished: dict[ClientSession, _Unfinished] = {}

    def refused(self, session: ClientSession, claim: Claim, reason: str) -> None:
        name = safe_name(claim.name)[:MAX_TEXT]
        address = session.peer_ip or "unix"
        self._put(LoginRefused(time.time(), name, address, claim.mechanism, reason))

    def committed(self, session: ClientSession, numbers: Sequence[MessageNumber]) -> None:
        unfinished = self._unfinished.setdefault(session, _Unfinished())
        unfinished.removed = tuple(numbers), time.time()

    def noted(self, session: ClientSession, notes: Notes) -> None:
        account, opened = session.account, notes.opened
        if (
            notes.last
            and opened is not None
            and account is not None
            and not notes.messages
            and session not in self._unfinished
            and self._count_poll(
                (account.name, session.peer_ip or "unix"),
                notes.answers[::3],
                (
                    session.ended,
                    notes.mechanism,
                    session.tls,
                    account.maildrop_name,
                    notes.before_login,
                    None,
                ),
                (session.id, session.mailbox.listing, opened, time.time()),
            )
        ):
            return  # what most sessions are
        unfinished = self._unfinished.setdefault(session, _Unfinished())
        noted = unfinished.noted
        if noted is None and opened is not None and account is not None:
            address, listing = session.peer_ip or "unix", session.mailbox.listing
            noted = unfinished.noted = EndedSession(session.id, account, address, listing, opened)
            noted.tls = session.tls
            noted.mechanism = notes.mechanism
            noted.before_login = len(unfinished.verbs) + notes.before_login
        unfinished.add(notes.answers[::3])
        if noted is not None and len(noted.sent) < MAX_SENT:
            noted.sent += notes.each_message()
        if notes.last:
            del self._unfinished[session]
            if noted is not None:
                noted.until = time.time()
                noted.ended = session.ended
                noted.verbs, noted.later = unfinished.verbs, unfinished.later
                noted.octets = session.octets
                noted.retrieved = session.retrieved
                noted.committed, noted.committed_at = unfinished.removed
                self._put_session(noted)


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
