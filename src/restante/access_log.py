"""The access log: one stable line for each login, session and delivery.

The lines go to the logger `restante.access`. Their records are made without looking for the
line of code that they come from, which would cost more than all the rest.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

LOGGER = logging.getLogger("restante.access")

_START = time.time()

_ALIKE: dict[str, Any] = {
    "name": LOGGER.name, "levelname": "INFO", "levelno": logging.INFO, "pathname": "",
    "filename": "", "module": "access_log", "lineno": 0, "funcName": "", "exc_info": None,
    "exc_text": None, "stack_info": None, "thread": None, "threadName": None, "taskName": None,
    "process": None, "processName": "MainProcess",
}  # fmt: skip
"""What is the same in most records."""


class AccessRecord(logging.LogRecord):
    """A record of the access log."""

    def __init__(self, level: int, message: str, args: tuple[Any, ...]) -> None:
        now = time.time()
        about = self.__dict__
        about.update(
            _ALIKE, msg=message, args=args, created=now, msecs=now % 1 * 1000 // 1,
            relativeCreated=(now - _START) * 1000,
        )  # fmt: skip
        if level != logging.INFO:
            about.update(levelno=level, levelname=logging.getLevelName(level))
        if logging.logThreads:
            about["thread"] = threading.get_ident()
        if logging.logProcesses:
            about["process"] = os.getpid()


def write(level: int, message: str, *args: Any) -> None:
    """Write a line. message: as logging takes it, with places for `args`."""
    if LOGGER.isEnabledFor(level):
        LOGGER.handle(AccessRecord(level, message, args))
