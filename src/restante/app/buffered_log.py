"""Log lines written together: a line for each login must not cost a write."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from contextlib import suppress
from logging.handlers import WatchedFileHandler
from typing import TextIO

from restante.app.repeated_lines import RepeatedLines

GATHERED = "restante.access"
"""The logger whose lines wait, unless they are warnings; all others' are written at once."""

GATHER_SECONDS = 0.05
"""How long they may wait."""

MAX_GATHERED = 1000
"""Lines that wait at most."""


class GatheringHandler(logging.Handler):
    """Formats and writes records: those of logins a little later, together. What such a
    record shows must not change meanwhile.

    target: where to. What waits is written at exit too, but not by a process that is killed.
    """

    def __init__(self, target: logging.StreamHandler[TextIO] | WatchedFileHandler) -> None:
        super().__init__()
        self.target = target
        self.repeated = RepeatedLines()
        # Many threads put in, whoever writes takes out.
        self._records: deque[logging.LogRecord] = deque()
        self._writing = threading.RLock()  # not the handler's own: `logging.shutdown` holds that
        self._wanted = threading.Event()
        self._called = False  # `_wanted` is set; this is quicker to ask
        self._over = threading.Event()
        self._ended = False  # the same of `_over`
        self._thread: threading.Thread | None = None
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self.flush, after_in_child=self._forget_thread)

    def handle(self, record: logging.LogRecord) -> bool:
        """Take a record. Quicker than the usual way: there are no filters, nor a lock."""
        records = self._records
        if record.levelno < logging.WARNING:
            records.append(record)
            if record.name == GATHERED and len(records) < MAX_GATHERED and not self._ended:
                if not self._called:
                    self._call_thread()
                return True
        else:
            records.extend(self.repeated.to_write(record))
        self.flush()
        return True

    def flush(self) -> None:
        """Write what waits. What can't be written is lost, as with every handler."""
        with self._writing:
            lines = []
            while self._records:  # asked each time: a record may log while it is formatted
                lines.append(self._line())
            with suppress(OSError, ValueError):
                self._reopen()
                if lines and self.target.stream is not None:
                    self.target.stream.write("".join(lines))
                    self.target.stream.flush()

    def _reopen(self) -> None:
        """Follow a file that was renamed or removed, or come back to one that couldn't be made.

        Raises OSError.
        """
        target = self.target
        if not isinstance(target, WatchedFileHandler):
            return
        if target.stream is not None:
            target.reopenIfNeeded()
        elif not self._ended:
            self.target = WatchedFileHandler(
                target.baseFilename, encoding=target.encoding, errors=target.errors
            )

    def _line(self) -> str:
        """The oldest record's line; nothing where it can't be formatted."""
        record = self._records.popleft()
        try:
            return self.format(record) + "\n"
        except Exception:  # noqa: BLE001 - what logging itself does
            self.handleError(record)
            return ""

    def close(self) -> None:
        """Write what waits, and end. A record that comes later is written at once."""
        self._ended = True
        self._over.set()
        self._wanted.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._records.extend(self.repeated.left_out())
        self.flush()
        self.target.close()
        super().close()

    def _call_thread(self) -> None:
        self._called = True
        self._wanted.set()
        with self._writing:
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_on, name="log", daemon=True)
                self._thread.start()

    def _write_on(self) -> None:
        while not self._ended:
            self._wanted.wait()
            self._over.wait(GATHER_SECONDS)
            self._wanted.clear()
            self._called = False  # only now, else it could stay set; what has come is written
            self.flush()

    def _forget_thread(self) -> None:
        self._thread = None
        self._wanted = threading.Event()
        self._called = False
        self._writing = threading.RLock()
