"""Reading the history: what sessions did, which messages were there, what mail came in.

Times are in seconds since 1970, sizes in octets. Lists have the newest first.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from restante.observing.history_file import HistoryFile
from restante.observing.history_place import (
    DAY,
    HistoryError,
    HistoryPlace,
    Malformed,
    listed,
    sent_messages,
    unpacked,
)

T = TypeVar("T")

MAX_ROWS = 10_000
"""The most that one question is answered with."""


@dataclass(frozen=True, slots=True)
class PastSession:
    """A session that had logged in, or several polls of one client that found nothing new.

    number: its place in the history. session: its id in the logs, of the last one of several.
    address: the client's, `unix` on a Unix socket. tls: whether it was inside TLS.
    mechanism: how it logged in: `USER`, `APOP` or SASL's.
    greeting: what the client said up to its login, as `CAPA STLS CAPA USER PASS`.
    since, until: from the login to the end, of several from the first to the last.
    times: how many there were. ended: as `ClientSession.ended`.
    commands: how often it sent each, of several the last one.
    retrieved: messages sent, octets: of them. deleted: messages that QUIT removed.
    messages: how many were there at the login. listing: which ones, see `History.listings`;
        None where that isn't known.
    node: the server's node, where nodes share the history, else ""; of several all, as `a, b`.
    """

    number: int
    session: str
    account: str
    maildrop: str
    address: str
    tls: bool
    mechanism: str
    greeting: str
    since: float
    until: float
    times: int
    ended: str
    commands: Mapping[str, int]
    retrieved: int
    deleted: int
    octets: int
    messages: int
    listing: int | None
    node: str

    @property
    def client(self) -> tuple[str, str, str]:
        """What tells clients apart: where one is, and how it begins."""
        return self.address, self.greeting, self.mechanism


@dataclass(frozen=True, slots=True)
class Device:
    """A client of an account, as far as it can be told from others.

    tls: whether it was inside TLS in all its sessions. without_tls: in how many it wasn't.
    speaks: all commands that it was seen to send. sessions: how many it had.
    """

    account: str
    address: str
    tls: bool
    without_tls: int
    mechanism: str
    greeting: str
    speaks: tuple[str, ...]
    first: float
    last: float
    sessions: int
    retrieved: int
    deleted: int


@dataclass(frozen=True, slots=True)
class Retrieval:
    """A message that was sent to a client. at: when that session ended, by which it was sent.

    lines: of the body, by TOP; None: all, by RETR.
    """

    unique_id: str
    at: float
    lines: int | None
    octets: int
    number: int
    session: str
    account: str
    address: str


@dataclass(frozen=True, slots=True)
class Deletion:
    """A message that a session removed."""

    unique_id: str
    at: float
    octets: int
    number: int
    session: str
    account: str
    address: str


@dataclass(frozen=True, slots=True)
class PastDelivery:
    """Mail that came in, or didn't. outcome: `delivered`, `not delivered`, `refused`.

    reason: why not, or the reply. Empty where there is none.
    """

    number: int
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


@dataclass(frozen=True, slots=True)
class AccountUse:
    """What an account's sessions did in some time.

    addresses: how many they came from. retrieved: messages. octets: of these.
    """

    account: str
    addresses: int
    sessions: int
    retrieved: int
    octets: int


@dataclass(frozen=True, slots=True)
class RefusedLogin:
    """Logins that were refused alike: times of them, from since to until.

    account: the name that was tried; it proves nothing. reason: `failed` or `held off`.
    """

    number: int
    since: float
    until: float
    times: int
    account: str
    address: str
    mechanism: str
    reason: str


@dataclass(frozen=True, slots=True)
class PastListing:
    """What a maildrop held when a session found it changed.

    session: the id of the first session that saw it. messages, octets: how many and how large.
    come, gone: unique-ids and octets of what was or wasn't there in the one before; None in the
    first listing, which has none before it.
    """

    number: int
    maildrop: str
    at: float
    session: str
    messages: int
    octets: int
    come: tuple[tuple[str, int], ...] | None
    gone: tuple[tuple[str, int], ...] | None


@dataclass(frozen=True, slots=True)
class MessageStory:
    """All that is known of one message.

    listed: when a session first saw it; None if it was there before the history began, or
    never seen. gone: when a session first didn't see it any more.
    """

    unique_id: str
    delivered: tuple[PastDelivery, ...]
    retrieved: tuple[Retrieval, ...]
    deleted: tuple[Deletion, ...]
    listed: float | None
    gone: float | None


@dataclass(frozen=True, slots=True)
class Rates:
    """What happened in each of some minutes, for charts.

    minutes: when each one began. counts: by name, a number for each minute. The names are those
    of `COUNTS`.
    """

    minutes: tuple[float, ...]
    counts: Mapping[str, tuple[float, ...]]


LONGEST = 2 * DAY
"""What began longer ago, with its polls of a day, isn't looked for among what ended just now."""

COUNTS = (
    "sessions", "retrieved", "deleted", "octets", "seconds", "logins refused", "delivered",
    "not delivered", "refused",
)  # fmt: skip
"""What is counted a minute: sessions that ended, messages that they got and removed, octets of
those, seconds that they lasted in all; refused logins; mail that came in, or didn't."""

_SESSION = ", ".join(PastSession.__slots__).replace("node", "{node} AS node")


class History:
    """Reads the history that servers keep, while they keep it.

    place: a file's path, or where else they keep it, such as `PostgresHistory`. What isn't there
    is an empty history.

    Safe to use from several threads. Each method waits for the answer: some milliseconds, as a
    rule. They raise HistoryError when the history can't be read.
    """

    def __init__(self, place: Path | str | HistoryPlace) -> None:
        self._place = place if isinstance(place, HistoryPlace) else HistoryFile(Path(place))

    def close(self) -> None:
        """Close what is open. The next use opens it again."""
        self._place.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _rows(self, statement: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        return self._place.rows(statement, values)

    # Sessions

    def sessions(
        self,
        *,
        account: str | None = None,
        address: str | None = None,
        maildrop: str | None = None,
        since: float | None = None,
        until: float | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[PastSession]:
        """Sessions that have ended, the newest first.

        since, until: that went on at some time between. before: a session's number, to go on
        from the last one of another answer.
        """
        where, values = _where(
            ("account = ?", account),
            ("address = ?", address),
            ("maildrop = ?", maildrop),
            ("until >= ?", since),
            ("since <= ?", until),
            ("number < ?", before),
        )
        rows = self._rows(
            f"SELECT {_SESSION} FROM {{sessions}} WHERE {where} ORDER BY number DESC LIMIT ?",  # noqa: S608
            [*values, _bounded(limit)],
        )
        return [_session(row) for row in rows]

    def session(self, identity: str) -> PastSession | None:
        """The session with this id in the logs; the newest, should there be several."""
        rows = self._rows(
            f"SELECT {_SESSION} FROM {{sessions}} WHERE session = ? ORDER BY number DESC LIMIT 1",  # noqa: S608
            [identity],
        )
        return _session(rows[0]) if rows else None

    def accounts(self) -> list[str]:
        """The accounts that had a session, in alphabetical order."""
        return [
            name for (name,) in self._rows("SELECT DISTINCT account FROM {sessions} ORDER BY 1", [])
        ]

    def maildrop(self, account: str) -> str:
        """The name of an account's maildrop; as far as it is known, else the account's own."""
        rows = self._rows(
            "SELECT maildrop FROM {sessions} WHERE account = ? ORDER BY number DESC LIMIT 1",
            [account],
        )
        return str(rows[0][0]) if rows else account

    def devices(self, account: str) -> list[Device]:
        """The clients of an account, the one that logged in last first."""
        found: dict[tuple[str, str, str], list[PastSession]] = {}
        for each in self.sessions(account=account, limit=MAX_ROWS):
            found.setdefault(each.client, []).append(each)
        return [_device(sessions) for sessions in found.values()]

    # Messages

    def retrieved(self, number: int) -> list[Retrieval]:
        """What a session was sent, in order. number: see `PastSession.number`."""
        return self._retrievals(("number = ?", number))

    def fetched(self, account: str, unique_id: str | None = None) -> list[Retrieval]:
        """Who has fetched a message of an account's, or any of them, and when."""
        found = self._retrievals(
            ("maildrop = ?", self.maildrop(account)),
            ("{position}(sent, ?) > 0", None if unique_id is None else f"{unique_id} "),
        )
        return [each for each in found[::-1] if unique_id in (None, each.unique_id)]

    def _retrievals(self, *conditions: tuple[str, Any]) -> list[Retrieval]:
        """The oldest first, as far as they are in the newest sessions."""
        rows = self._texts("sent", *conditions)
        return _sound(
            lambda: [
                Retrieval(unique_id, at, lines, octets, number, session, account, address)
                for text, at, number, session, account, address in rows
                for unique_id, octets, lines in sent_messages(text)
            ]
        )

    def _texts(self, column: str, *conditions: tuple[str, Any]) -> Sequence[Sequence[Any]]:
        """A column of the newest sessions that have it, the oldest of them first."""
        where, values = _where(*conditions)
        at = "removed_at" if column == "removed" else "until"
        return self._rows(
            f"SELECT {column}, {at}, number, session, account, address FROM {{sessions}}"  # noqa: S608
            f" WHERE {column} IS NOT NULL AND {where} ORDER BY number DESC LIMIT {MAX_ROWS}",
            values,
        )[::-1]

    def deletions(self, account: str, *, unique_id: str | None = None) -> list[Deletion]:
        """What sessions have removed from an account's maildrop."""
        rows = self._texts(
            "removed",
            ("maildrop = ?", self.maildrop(account)),
            ("{position}(removed, ?) > 0", None if unique_id is None else f"{unique_id} "),
        )
        found = _sound(
            lambda: [
                Deletion(removed, at, octets, number, session, account, address)
                for text, at, number, session, account, address in rows
                for removed, octets, _ in sent_messages(text)
            ]
        )
        return [each for each in found[::-1] if unique_id in (None, each.unique_id)]

    def listings(self, account: str, *, limit: int = 100) -> list[PastListing]:
        """How an account's maildrop changed, the newest first."""
        rows = self._rows(
            "SELECT number, maildrop, at, session, messages, octets, come, gone FROM {listings}"
            " WHERE maildrop = ? ORDER BY number DESC LIMIT ?",
            [self.maildrop(account), _bounded(limit)],
        )
        return [
            PastListing(
                number, maildrop, at, session, messages, octets, _messages(come), _messages(gone)
            )
            for number, maildrop, at, session, messages, octets, come, gone in rows
        ]

    def listed(self, listing: PastListing) -> dict[str, int]:
        """Octets by unique-id of all messages that a listing had."""
        rows = self._rows(
            "SELECT come, gone, whole FROM {listings} WHERE maildrop = ? AND number <= ?"
            " AND number >= (SELECT max(number) FROM {listings} WHERE maildrop = ?"
            " AND number <= ? AND whole IS NOT NULL) ORDER BY number",
            [listing.maildrop, listing.number, listing.maildrop, listing.number],
        )
        return _sound(lambda: listed(rows))

    def message(self, account: str, unique_id: str) -> MessageStory:
        """All that is known of one message."""
        first = gone = None
        for each in reversed(self.listings(account, limit=MAX_ROWS)):
            if each.come and any(found == unique_id for found, _ in each.come):
                first, gone = each.at, None
            if each.gone and any(found == unique_id for found, _ in each.gone):
                gone = each.at
        return MessageStory(
            unique_id,
            tuple(self.deliveries(unique_id=unique_id)),
            tuple(self.fetched(account, unique_id)),
            tuple(self.deletions(account, unique_id=unique_id)),
            first,
            gone,
        )

    # Mail that came in, and who was refused

    def deliveries(
        self,
        *,
        search: str | None = None,
        outcome: str | None = None,
        recipient: str | None = None,
        sender: str | None = None,
        unique_id: str | None = None,
        queue_id: str | None = None,
        since: float | None = None,
        until: float | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> list[PastDelivery]:
        """Mail that came in, or didn't.

        search: a part of the recipient, the sender, the peer, the queue-id, the unique-id or
        the reason. Case doesn't matter there, nor for recipient and sender. outcome: `delivered`,
        `not delivered` or `refused`. before: see `sessions`.
        """
        columns = ("recipient", "sender", "peer", "queue_id", "unique_id", "reason")
        where, values = _where(
            ("outcome = ?", outcome),
            (_SAME.format("recipient"), recipient),
            (_SAME.format("sender"), sender),
            ("unique_id = ?", unique_id),
            ("queue_id = ?", queue_id),
            ("at >= ?", since),
            ("at <= ?", until),
            ("number < ?", before),
        )
        if search is not None:
            lines = " || '\n' || ".join(columns)
            fits = f"lower(({lines}){{unicode}}) LIKE lower(?{{unicode}}) ESCAPE '\\'"
            where = f"{fits} AND {where}"
            values = [f"%{_escaped(search)}%", *values]
        rows = self._rows(
            f"SELECT {', '.join(PastDelivery.__slots__)} FROM {{deliveries}}"  # noqa: S608
            f" WHERE {where} ORDER BY number DESC LIMIT ?",
            [*values, _bounded(limit)],
        )
        return [PastDelivery(*row) for row in rows]

    def delivered_among(self, unique_ids: Iterable[str]) -> set[str]:
        """Those of some unique-ids that mail got which came in by this server."""
        return self._of_deliveries("unique_id", unique_ids)

    def addressed(self, unique_ids: Iterable[str]) -> set[str]:
        """The recipients of mail that came in by this server and got some unique-ids."""
        return self._of_deliveries("recipient", unique_ids)

    def _of_deliveries(self, column: str, unique_ids: Iterable[str]) -> set[str]:
        found: set[str] = set()
        wanted = list(unique_ids)
        for at in range(0, len(wanted), MAX_ROWS):
            rows = self._rows(
                f"SELECT DISTINCT {column} FROM {{deliveries}} WHERE unique_id {{among}}",  # noqa: S608
                [wanted[at : at + MAX_ROWS]],
            )
            found.update(text for (text,) in rows)
        return found

    def refusals(
        self,
        *,
        account: str | None = None,
        address: str | None = None,
        since: float | None = None,
        limit: int = 100,
    ) -> list[RefusedLogin]:
        """Logins that were refused, those that happened last first."""
        where, values = _where(
            (_SAME.format("account"), account), ("address = ?", address), ("until >= ?", since)
        )
        rows = self._rows(
            f"SELECT {', '.join(RefusedLogin.__slots__)} FROM {{refusals}}"  # noqa: S608
            f" WHERE {where} ORDER BY until DESC LIMIT ?",
            [*values, _bounded(limit)],
        )
        return [RefusedLogin(*row) for row in rows]

    # Numbers

    def busiest(self, since: float, *, limit: int = 10) -> list[AccountUse]:
        """The accounts whose sessions were sent most since then, of the last 10,000 rows.

        A row of several polls counts as a whole, though the first may have been before. One that
        began more than two days before `since` doesn't count.
        """
        rows = self._rows(
            "SELECT account, count(DISTINCT address), CAST(sum(times) AS BIGINT),"
            " CAST(sum(retrieved) AS BIGINT), CAST(sum(octets) AS BIGINT) FROM"
            " (SELECT account, address, times, retrieved, octets FROM {sessions}"
            " WHERE until >= ? AND since >= ? ORDER BY until DESC LIMIT ?) AS last"
            " GROUP BY account ORDER BY 5 DESC, 3 DESC, 1 LIMIT ?",
            [since, since - LONGEST, MAX_ROWS, _bounded(limit)],
        )
        return [AccountUse(*row) for row in rows]

    def rates(self, minutes: int = 60, *, now: float | None = None) -> Rates:
        """What happened in the last minutes, of which the one that isn't over is the last."""
        end = int((time.time() if now is None else now) // 60)
        first = end - _bounded(minutes) + 1
        rows = self._rows("SELECT minute, name, count FROM {counts} WHERE minute >= ?", [first])
        found: dict[str, list[float]] = {name: [0.0] * (end - first + 1) for name in COUNTS}
        for minute, name, count in rows:
            if name in found and minute <= end:
                found[name][minute - first] = count
        return Rates(
            tuple(minute * 60.0 for minute in range(first, end + 1)),
            {name: tuple(counts) for name, counts in found.items()},
        )

    def begins(self) -> float | None:
        """Since when there is a history; None while there is none."""
        rows = self._rows("SELECT min(minute) FROM {counts}", [])
        return None if not rows or rows[0][0] is None else rows[0][0] * 60.0

    def octets(self) -> int:
        """The size of all: of the file, or what the rows take in the database, about."""
        return self._place.octets()


_SAME = "lower({}{{unicode}}) = lower(?{{unicode}})"
"""A column and a value are the same but for case."""


def _where(*conditions: tuple[str, Any]) -> tuple[str, list[Any]]:
    given = [(text, value) for text, value in conditions if value is not None]
    return " AND ".join(text for text, _ in given) or "1 = 1", [value for _, value in given]


def _bounded(limit: int) -> int:
    if limit < 1:
        raise ValueError(f"limit={limit!r}: allowed is 1 or more")
    return min(limit, MAX_ROWS)


def _sound(read: Callable[[], T]) -> T:
    try:
        return read()
    except Malformed as error:
        raise HistoryError(str(error)) from error


def _messages(block: bytes | None) -> tuple[tuple[str, int], ...] | None:
    return None if block is None else _sound(lambda: tuple(unpacked(block)))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _session(row: Sequence[Any]) -> PastSession:
    values = dict(zip(PastSession.__slots__, row, strict=True))
    values["tls"] = bool(values["tls"])
    values["commands"] = json.loads(values["commands"])
    return PastSession(**values)


def _device(sessions: Sequence[PastSession]) -> Device:
    """sessions: of one client, the newest first."""
    last = sessions[0]
    speaks = {verb: None for each in sessions for verb in each.commands}
    without_tls = sum(each.times for each in sessions if not each.tls)
    return Device(
        last.account,
        last.address,
        not without_tls,
        without_tls,
        last.mechanism,
        last.greeting,
        tuple(speaks),
        min(each.since for each in sessions),
        max(each.until for each in sessions),
        sum(each.times for each in sessions),
        sum(each.retrieved for each in sessions),
        sum(each.deleted for each in sessions),
    )
