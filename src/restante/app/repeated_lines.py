"""Lines of the log that say the same again and again: they are written once, and then counted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import dataclass
from types import TracebackType
from typing import TypeAlias

SILENT_SECONDS = 600.0
"""How long a line isn't written again. Then it is, with the number of times it was left out."""

MAX_REMEMBERED = 256
"""Lines, and tracebacks, that are compared with."""

NEVER_LEFT_OUT = frozenset({"restante.access", "restante.protocol"})
"""Loggers of which each line counts: fail2ban counts refused logins."""

_Key: TypeAlias = tuple[object, ...]


@dataclass(slots=True)
class _Written:
    """A line that was written. at: when, monotonic. left_out: how often it wasn't since then."""

    record: logging.LogRecord
    at: float
    left_out: int = 0


class RepeatedLines:
    """Leaves out what was written already. Only warnings and errors are looked at.

    The text of a line is left out for `SILENT_SECONDS`. Of an error whose lines differ, as each
    has a reference of its own, the traceback is left out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._written: dict[_Key, _Written] = {}

    def forget(self) -> None:
        """Write everything anew: somebody has mended something, or wants to know."""
        self._written.clear()

    def to_write(self, record: logging.LogRecord) -> Iterator[logging.LogRecord]:
        """What is to be written for `record`, which may be nothing."""
        if record.levelno < logging.WARNING or record.name in NEVER_LEFT_OUT:
            yield record
            return
        now = self._clock()
        yield from self._expired(now)
        text = (record.name, record.levelno, record.getMessage())
        if (known := self._written.get(text)) is not None:
            known.left_out += 1
            return
        self._remember(text, record, now)
        yield self._without_known_traceback(record, now)

    def left_out(self) -> Iterator[logging.LogRecord]:
        """What is still to be said at the end: how often lines were left out."""
        for key in [*self._written]:
            yield from self._summary(self._written.pop(key))

    def _expired(self, now: float) -> Iterator[logging.LogRecord]:
        for key, written in [*self._written.items()]:
            if now - written.at < SILENT_SECONDS:
                break  # they are in the order of their times
            del self._written[key]
            yield from self._summary(written)

    def _summary(self, written: _Written) -> Iterator[logging.LogRecord]:
        if written.left_out:
            text = written.record.getMessage()
            said = copy(written.record)
            said.msg, said.args, said.exc_info = (
                "%s (%d more times)",
                (text, written.left_out),
                None,
            )
            said.created = time.time()
            said.msecs = said.created % 1 * 1000
            yield said

    def _remember(self, key: _Key, record: logging.LogRecord, now: float) -> None:
        while len(self._written) >= MAX_REMEMBERED:
            del self._written[next(iter(self._written))]
        self._written[key] = _Written(record, now)

    def _without_known_traceback(self, record: logging.LogRecord, now: float) -> logging.LogRecord:
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return record
        key = (record.name, type(error), str(error), _origin(error.__traceback__))
        if key not in self._written:
            # Of a traceback nothing is counted: each of its lines is written.
            self._remember(key, record, now)
            return record
        said = copy(record)
        said.msg = "%s | %s: %s (the traceback is in an earlier line)"
        said.args = (record.getMessage(), type(error).__name__, error)
        said.exc_info = said.exc_text = None
        return said


def _origin(traceback: TracebackType | None) -> object:
    """Where an exception was raised."""
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return traceback and (traceback.tb_frame.f_code, traceback.tb_lineno)
