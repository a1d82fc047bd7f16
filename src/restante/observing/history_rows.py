"""Records to rows of the history, within a transaction."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from restante.observing.history_place import (
    DAY,
    REBASE,
    SESSION_COLUMNS,
    Malformed,
    Tables,
    as_json,
    count,
    keep_newest,
    listed,
    packed,
    sent_text,
)
from restante.observing.history_records import (
    Delivered,
    EndedSession,
    LoginRefused,
    Polls,
    Taken,
)

MESSAGES_TOGETHER = 250_000
"""So many messages' unique-ids may be compared with those before in one go: some tens of MiB."""

MAX_NODES = 8
"""Nodes that are named for polls which are one row."""

log = logging.getLogger("restante.observing")


async def add_records(tables: Tables, records: Iterable[Taken]) -> None:
    sessions = [each for each in records if isinstance(each, EndedSession)]
    polls = [each for each in records if isinstance(each, Polls)]
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


def _opened(session: EndedSession | Polls) -> float:
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

    async def add(self, sessions: Sequence[EndedSession | Polls]) -> None:
        """Insert sessions; polls that are like an earlier row are counted there."""
        sessions = sorted(sessions, key=_opened)
        known = await self._known([each for each in sessions if isinstance(each, Polls)])
        new = [each for each in sessions if isinstance(each, EndedSession) or id(each) not in known]
        await self._find_last([each.last for each in new if isinstance(each, Polls)])
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

    async def _known(self, polls: Sequence[Polls]) -> dict[int, str]:
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

    def _like_before(self, polls: Polls, listing: int | None) -> int:
        """The row for polls: that of the client's session before, if it was like them, or new."""
        last = polls.last
        row = self._last.get((last.account, last.address), _Row())
        if (
            row.like != _like(last, last.greeting, listing, quiet=True)
            or last.opened - row.since > DAY
        ):
            return self._insert(last, listing, polls)
        self._add_to(row.number, row.node, polls)
        return row.number

    def _insert(
        self, session: EndedSession, listing: int | None, polls: Polls | None = None
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
        like = _like(session, greeting, listing, quiet=polls is not None)
        self._last[session.account, session.address] = _Row(number, since, like, node)
        return number

    def _add_to(self, number: int, node: str, polls: Polls) -> None:
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


def _like(
    session: EndedSession, greeting: str, listing: int | None, *, quiet: bool
) -> tuple[Any, ...]:
    return (
        session.maildrop, session.tls, session.mechanism, greeting, session.ended,
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
