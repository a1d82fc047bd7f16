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


class AccessRecord(logging.LogRecord):
    """A record of the access log."""

    def __init__(self, level: int, message: str, args: tuple[Any, ...]) -> None:
        now = time.time()
        self.__dict__.update(
            name=LOGGER.name, msg=message, args=args,
            levelname="INFO" if level == logging.INFO else logging.getLevelName(level),
            levelno=level, pathname="", filename="", module="access_log", lineno=0, funcName="",
            exc_info=None, exc_text=None, stack_info=None,
            created=now, msecs=int(now % 1 * 1000) + 0.0, relativeCreated=(now - _START) * 1000,
            thread=threading.get_ident(), threadName=None, taskName=None,
            process=os.getpid(), processName="MainProcess",
        )  # fmt: skip


def write(level: int, message: str, *args: Any) -> None:
    """Write a line. message: as logging takes it, with places for `args`."""
    if LOGGER.isEnabledFor(level):
        LOGGER.handle(AccessRecord(level, message, args))
