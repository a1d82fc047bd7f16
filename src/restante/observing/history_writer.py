"""Writing the history: a queue, and a thread that writes it down.

A session's notes become one row, some seconds after it ended, together with many others. A poll
that is like the one before it only adds to numbers in memory, which are written then. Nobody ever
waits for the place where it is kept: records go into a queue with a bound, and what doesn't fit is
lost and counted.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Sequence
from pathlib import Path

from restante.observing.history_file import HistoryFile
from restante.observing.history_observers import DeliveryHistory, SessionHistory
from restante.observing.history_place import Bounds, HistoryError, HistoryPlace
from restante.observing.history_records import (
    FORGOTTEN,
    EndedSession,
    Notebook,
    Poll,
    Polls,
    Record,
    Taken,
)
from restante.observing.history_rows import add_records
from restante.protocol.listing import Listing

MAX_QUEUED = 20_000
"""Records that wait to be written. A busy server makes some thousands in the time of a writing."""

WRITTEN_TOGETHER = 200
"""Records of one transaction: so much fits in once what is oldest has been removed."""

GATHER_SECONDS = 2.0
"""How long records are gathered before they are written together."""

HURRY_AT = MAX_QUEUED // 4
"""Records after which they are written at once."""

CLOSE_SECONDS = 10.0
"""How long `close` waits for the last records to be written."""

REMEMBERED = 10_000
"""Clients whose last poll is remembered, in some hundred octets each."""

log = logging.getLogger("restante.observing")


class HistoryWriter(Notebook):
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
        self._queue: deque[Record | Poll] = deque()
        self._polls: OrderedDict[tuple[str, str], Poll] = OrderedDict()  # by account, address
        self._awake = threading.Event()
        self._hurry = threading.Event()
        self._idle = threading.Condition()
        self._given = self._done = 0
        self._closing = False
        self._thread: threading.Thread | None = None
        self._failing = False
        self._told_lost = 0

    def put(self, record: Record) -> None:
        with self._lock:
            self._put(record)
        self._wake()

    def put_session(self, session: EndedSession) -> None:
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
                poll = Poll(session)
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

    def _put(self, record: Record | Poll) -> bool:
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
        if not isinstance(record, Poll):
            return record
        taken = Polls(record, record.further, record.seconds, record.first.again(*record.last))
        record.further, record.seconds, record.waits = 0, 0.0, False
        record.last = record.first.session, FORGOTTEN, 0.0, 0.0
        return taken

    def _write(self, records: Sequence[Taken]) -> None:
        number = sum(each.times if isinstance(each, Polls) else 1 for each in records)
        try:
            self._place.write(lambda tables: add_records(tables, records), self._bounds)
        except Exception as error:  # noqa: BLE001 - whatever it is, the server goes on
            self._fail(error, number)
        else:
            if self._failing:
                log.warning("the history goes on; %d records were lost", self.lost)
                self._told_lost = self.lost
            self._failing = False
            for each in records:
                if isinstance(each, Polls):
                    each.poll.first.listing = FORGOTTEN
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
