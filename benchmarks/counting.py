"""How much Python a warm poll is, and a RETR in it: the functions called, and the bytecodes.

A poll is greeting, USER, PASS, STAT, QUIT and the end of the connection. There are no sockets:
a transport of our own gives the lines to a `Connection`, and takes its replies. So the counts
are the same on every machine, however busy it is. They say nothing of what the system and C
functions take.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from math import inf
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeAlias, TypeVar
from unittest import mock

from benchmarks import corpus
from benchmarks.corpus import Group
from benchmarks.report import columns, number
from restante import Maildir, Pop3Server, calls
from restante.app.logs import spare_what_no_record_shows
from restante.server.connection import Connection

T = TypeVar("T")

NAME, PASSWORD = "joe", "s"
LINES = (b"USER joe\r\n", b"PASS s\r\n", b"STAT\r\n", b"QUIT\r\n")
RETR = b"RETR 1\r\n"

RETRS = 8
"""Messages that are fetched after the first one, for which the folder is opened."""

WARM_UP = 400
"""Polls before those that are counted."""

POLLS = 3 * calls.SAMPLE_EVERY
"""Polls that are counted. One call of `SAMPLE_EVERY` is timed, so it is a multiple of that."""

FIRST_SECONDS = 30.0
"""How long the first poll may last."""

LONG_PAST = corpus.SENT
"""When folders and files were changed last, in seconds."""

VARYING = {
    "Caller.__call__": f"one call of {calls.SAMPLE_EVERY} reads the processor clock",
    "Caller._sample": f"called for one call of {calls.SAMPLE_EVERY}",
}
"""Functions whose part differs from poll to poll, and why."""

_SWITCHES = ("logThreads", "logProcesses", "logMultiprocessing", "_srcfile")

Counts: TypeAlias = Counter[CodeType]
"""Calls or bytecodes of one poll, by function."""

Observe: TypeAlias = Callable[[Pop3Server], object]
"""Adds observers to a server."""


@dataclass(frozen=True)
class Spot:
    """One function's part of a poll. Both are averages."""

    name: str
    calls: float
    bytecodes: float


@dataclass(frozen=True)
class Counted:
    """What a poll is, on average.

    spots: by function, those with most bytecodes first. each_calls, each_bytecodes: of each
    poll. unexplained: functions whose part differs between polls, though none was expected to.
    """

    calls: float
    bytecodes: float
    spots: tuple[Spot, ...]
    each_calls: tuple[int, ...]
    each_bytecodes: tuple[int, ...]
    unexplained: tuple[str, ...]


class Wire(asyncio.Transport):
    """A client's end that takes all replies at once, as an idle socket does."""

    __slots__ = ("_closing", "connection", "replies")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.replies: list[bytes] = []
        self._closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 4711) if name == "peername" else default

    def is_closing(self) -> bool:
        return self._closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.replies.append(bytes(data))

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self.connection.connection_lost(None)  # the server's own transport does so, too

    def abort(self) -> None:
        self.close()


def unobserved(server: Pop3Server) -> None:
    """Nobody watches but the access log."""


def count(observe: Observe = unobserved, *, retrs: int = 0) -> Counted:
    """Count it. Raises RuntimeError when a poll isn't answered as it should be.

    observe: adds observers to the server first. retrs: how often the message is fetched, too.
    """
    lines = (*LINES[:-1], *[RETR] * retrs, LINES[-1])
    with maildrops() as root, _as_served():
        return asyncio.run(_counted(root, observe, lines), debug=False)


def count_retr(observe: Observe = unobserved) -> tuple[Spot, ...]:
    """What each further RETR of a small message is, by function: most bytecodes first."""
    one, more = count(observe, retrs=1), count(observe, retrs=1 + RETRS)
    before = {spot.name: spot for spot in one.spots}
    found = []
    for s in more.spots:
        then = before.get(s.name, Spot(s.name, 0, 0))
        part = (s.calls - then.calls) / RETRS, (s.bytecodes - then.bytecodes) / RETRS
        found += [Spot(s.name, *part)] if any(part) else []
    return tuple(sorted(found, key=lambda spot: (-spot.bytecodes, spot.name)))


@contextmanager
def maildrops() -> Iterator[Path]:
    """A folder with the maildrop that is polled."""
    with tempfile.TemporaryDirectory(prefix="restante-benchmark-") as folder:
        root = Path(folder)
        corpus.fill(root, Group(NAME, 1, (1000,)))
        (root / f"{NAME}0").rename(root / NAME)
        _settle(root / NAME)
        yield root


def processor_seconds(
    root: Path, kinds: Mapping[str, Observe], rounds: int, polls: int
) -> dict[str, list[float]]:
    """What a poll takes of the processor, without sockets, by kind and round.

    The kinds take turns, `polls` at a time, so that what else the machine does meets all alike.
    """
    with _as_served():
        return asyncio.run(_timed(root, kinds, rounds, polls), debug=False)


async def _timed(
    root: Path, kinds: Mapping[str, Observe], rounds: int, polls: int
) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in kinds}
    async with AsyncExitStack() as stack:
        servers = {}
        for name, observe in kinds.items():
            server = Pop3Server(accounts={NAME: PASSWORD}, store=Maildir(root), port=0)
            servers[name] = await stack.enter_async_context(server)
            observe(server)
            await _first(server)
            await _by_the_loop(partial(_warm_up, server))

        def measure() -> None:
            for name, server in servers.items():
                begun = time.process_time()
                for _ in range(polls):
                    _poll(server)
                found[name].append((time.process_time() - begun) / polls)

        gc.collect()
        gc.disable()
        stack.callback(gc.enable)
        for _ in range(rounds):
            await _by_the_loop(measure)
    return found


def _settle(maildrop: Path) -> None:
    """Let everything in it have been changed long ago."""
    for path in sorted(maildrop.rglob("*"), reverse=True):
        os.utime(path, (LONG_PAST, LONG_PAST))


@contextmanager
def _as_served() -> Iterator[None]:
    """Log as `restante serve` does, but for the writing. Stay in place however slow it is."""
    root = logging.getLogger()
    with ExitStack() as stack:
        for switch in _SWITCHES:
            stack.enter_context(mock.patch.object(logging, switch, getattr(logging, switch)))
        spare_what_no_record_shows()
        stack.enter_context(mock.patch.object(root, "handlers", [logging.NullHandler()]))
        stack.callback(root.setLevel, root.level)
        root.setLevel(logging.INFO)
        for limit in ("HARD_SECONDS", "MOST_WAITING", "CPU_SECONDS"):
            stack.enter_context(mock.patch.object(calls, limit, inf))
        yield


async def _counted(root: Path, observe: Observe, lines: Sequence[bytes]) -> Counted:
    accounts = {NAME: PASSWORD}
    async with Pop3Server(accounts=accounts, store=Maildir(root), port=0) as server:
        observe(server)
        await _first(server)
        return await _by_the_loop(partial(_polls_counted, server, lines))


def _polls_counted(server: Pop3Server, lines: Sequence[bytes]) -> Counted:
    _warm_up(server, lines)
    gc.collect()
    gc.disable()  # it would call others' functions
    try:
        called = [_counting(_calls, server, lines) for _ in range(POLLS)]
        run = [_counting(_bytecodes, server, lines) for _ in range(POLLS)]
    finally:
        gc.enable()
    return _summed(called, run)


def _warm_up(server: Pop3Server, lines: Sequence[bytes] = LINES) -> None:
    for _ in range(WARM_UP):
        _check(_poll(server, lines))


async def _by_the_loop(work: Callable[[], T]) -> T:
    """Do work as the event loop calls for a socket: outside of any task."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()

    def do() -> None:
        try:
            ended.set_result(work())
        except Exception as error:  # noqa: BLE001 - it goes to whoever waits
            ended.set_exception(error)

    loop.call_soon(do)
    return await ended


async def _first(server: Pop3Server) -> None:
    """A poll that may wait: what is found out about the maildrop is saved on a thread."""
    wire = await _by_the_loop(partial(_poll, server))
    async with asyncio.timeout(FIRST_SECONDS):
        while not wire.is_closing():  # noqa: ASYNC110 - an Event's own calls would be counted
            await asyncio.sleep(0.01)
    _check(wire)


def _poll(server: Pop3Server, lines: Sequence[bytes] = LINES) -> Wire:
    connection = Connection(server.context, server.listeners[0])
    wire = Wire(connection)
    connection.connection_made(wire)
    for line in lines:
        connection.data_received(line)
    return wire


def _check(wire: Wire) -> None:
    replies = [reply[:6] for reply in wire.replies]
    right = len(replies) > len(LINES) and all(reply[:3] == b"+OK" for reply in replies)
    if not right or replies[3] != b"+OK 1 " or not wire.connection.lost:
        raise RuntimeError(f"a poll was answered by {wire.replies}")


def _counting(way: Callable[[Counts], None], server: Pop3Server, lines: Sequence[bytes]) -> Counts:
    found: Counts = Counter()
    tracing, profiling = sys.gettrace(), sys.getprofile()
    way(found)
    try:
        wire = _poll(server, lines)
    finally:
        sys.settrace(tracing)
        sys.setprofile(profiling)
    _check(wire)
    for code in [code for code in found if code.co_filename == __file__]:
        del found[code]
    return found


def _calls(found: Counts) -> None:
    def called(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            found[frame.f_code] += 1

    sys.settrace(None)
    sys.setprofile(called)


def _bytecodes(found: Counts) -> None:
    def called(frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return traced

    def traced(frame: FrameType, event: str, argument: object) -> Callable[..., Any]:
        if event == "opcode":
            found[frame.f_code] += 1
        return traced

    sys.setprofile(None)
    sys.settrace(called)


def _summed(called: list[Counts], run: list[Counts]) -> Counted:
    all_calls, all_bytecodes = _total(called), _total(run)
    spots = [
        Spot(_name(code), all_calls[code] / POLLS, all_bytecodes[code] / POLLS)
        for code in all_bytecodes | all_calls
    ]
    varying = {
        code
        for polls in (called, run)
        for code in _total(polls)
        if len({poll[code] for poll in polls}) > 1
    }
    return Counted(
        calls=all_calls.total() / POLLS,
        bytecodes=all_bytecodes.total() / POLLS,
        spots=tuple(sorted(spots, key=lambda spot: (-spot.bytecodes, spot.name))),
        each_calls=tuple(poll.total() for poll in called),
        each_bytecodes=tuple(poll.total() for poll in run),
        unexplained=tuple(sorted(_name(c) for c in varying if _qualified(c) not in VARYING)),
    )


def _total(polls: list[Counts]) -> Counts:
    found: Counts = Counter()
    for poll in polls:
        found.update(poll)
    return found


def _qualified(code: CodeType) -> str:
    return str(getattr(code, "co_qualname", code.co_name))


def _name(code: CodeType) -> str:
    """A function and its module, as people name them."""
    if code.co_filename.startswith("<string"):  # a dataclass's: its fields tell which
        return f"{code.co_name}({', '.join(code.co_varnames[: code.co_argcount])})"
    parts = Path(code.co_filename.removeprefix("<frozen ").rstrip(">")).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    package = parts.index("restante") if "restante" in parts else len(parts) - 1
    return f"{_qualified(code)} ({'.'.join(parts[package:])})"


def table(counted: Counted, *, by_function: bool) -> str:
    """The counts as text."""
    text = _rows("one warm poll, without sockets", counted.spots, by_function=by_function)
    if differing := max(_differing(counted.each_calls), _differing(counted.each_bytecodes)):
        text += f"\n\n{differing} of {POLLS} polls differ from the others:"
        text += "".join(f"\n  {name}: {why}" for name, why in VARYING.items())
    for name in counted.unexplained:
        text += f"\n  {name}: its part differs, and nothing is known of why"
    return text


def retr_table(spots: Sequence[Spot], *, by_function: bool) -> str:
    """What a RETR is, as text."""
    return _rows("a further RETR of a small message", spots, by_function=by_function)


def total(spots: Sequence[Spot]) -> Spot:
    """All functions together."""
    calls, bytecodes = sum(s.calls for s in spots), sum(s.bytecodes for s in spots)
    return Spot("all functions", calls, bytecodes)


def _rows(title: str, spots: Sequence[Spot], *, by_function: bool) -> str:
    rows = [[title, "calls", "bytecodes"]]
    shown = [*spots, total(spots)] if by_function else [total(spots)]
    rows += [[s.name, number(s.calls), number(s.bytecodes)] for s in shown]
    return columns(rows)


def _differing(each: tuple[int, ...]) -> int:
    return len(each) - Counter(each).most_common(1)[0][1]
