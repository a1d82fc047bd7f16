"""The last lines of the debug log, kept in memory for the console."""

from __future__ import annotations

import logging
from collections import deque
from typing import Any

MAX_LINES = 2000
"""Lines that a process keeps: some 600 KB."""

MAX_CHARACTERS = 600
"""Of a line. Replies have at most 512 octets; what clients send may be longer."""


class RecentDialogues(logging.Handler):
    """Keeps what the debug log writes, as long as it isn't closed. Nothing is made for it: without
    a chosen dialogue there are no records.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[dict[str, Any]] = deque(maxlen=MAX_LINES)
        logging.getLogger("restante.protocol").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record's line."""
        said = vars(record)
        self._lines.append(
            {
                "time": record.created,
                "session": said["client"],
                "peer": said["peer"],
                "account": said["account"],
                "direction": said["direction"],
                "line": said["line"][:MAX_CHARACTERS],
            }
        )

    def lines(self, session: str = "") -> list[dict[str, Any]]:
        """The lines of one session, or of all, oldest first. Secrets were masked before."""
        return [line for line in self._lines if not session or line["session"] == session]

    def close(self) -> None:
        """Keep nothing more."""
        logging.getLogger("restante.protocol").removeHandler(self)
        super().close()
