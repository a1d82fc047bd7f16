"""The log: one line a record, for people or as JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from functools import lru_cache
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Literal, TextIO, cast

from restante.app.buffered_log import GatheringHandler
from restante.app.log_fields import fields_of


def one_line(text: str) -> str:
    """`text` with everything escaped that could end the line or steer a terminal."""
    if text.isprintable():
        return text
    return "".join(map(_escape, text))


def _escape(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


@lru_cache(maxsize=2)
def _second(created: int) -> str:
    """Local time, as people read it. Many records fall into one second."""
    return f"{datetime.fromtimestamp(created).astimezone():%Y-%m-%d %H:%M:%S}"


class HumanFormatter(logging.Formatter):
    """`2026-01-31 12:00:00.123 INFO restante.server: text`. A traceback follows on that line."""

    def format(self, record: logging.LogRecord) -> str:
        head = f"{_second(int(record.created))}.{int(record.msecs):03d}"
        text = f"{head} {record.levelname} {record.name}: {record.getMessage()}"
        if record.exc_info:
            text += " | " + self.formatException(record.exc_info)
        return one_line(text)


class JsonFormatter(logging.Formatter):
    """An object a line: time, level, logger, message, then the line's fields.

    See `restante.app.log_fields`. The names of the first four are never a field's.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {n: value for n, value in fields_of(record).items() if n not in fields}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        # ASCII only: JSON's own escapes keep control characters off the line.
        return json.dumps(fields, default=str)


_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


class JournalFormatter(logging.Formatter):
    """An entry of systemd's journal: MESSAGE, PRIORITY, LOGGER, and each field as RESTANTE_NAME.

    MESSAGE begins with the logger's name, so that nothing that a client says can look like
    another logger's line.
    """

    def format(self, record: logging.LogRecord) -> str:
        message = f"{record.name}: {record.getMessage()}"
        if record.exc_info:
            message += " | " + self.formatException(record.exc_info)
        priority = next((given for level, given in _PRIORITIES if record.levelno >= level), 7)
        fields = {
            "MESSAGE": message,
            "PRIORITY": priority,
            "SYSLOG_IDENTIFIER": "restante",
            "LOGGER": record.name,
        }
        fields |= {f"RESTANTE_{name.upper()}": value for name, value in fields_of(record).items()}
        return "".join(f"{name}={one_line(str(value))}\n" for name, value in fields.items())


def _journal() -> TextIO | None:
    """The journal, if standard error leads there."""
    if sys.platform != "linux":
        return None
    from restante.app.journal import JournalStream  # noqa: PLC0415 - only there

    return cast("TextIO | None", JournalStream.of_standard_error())


def spare_what_no_record_shows() -> None:
    """Have `logging` not look up, for each record, what neither formatter writes.

    Its documentation names these switches. They hold for the whole process, so only a
    program that is all ours may set them, never the library.
    """
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None  # where in the source: not asked for
    if sys.version_info >= (3, 12):
        logging.logAsyncioTasks = False


def configure(
    *, format: Literal["human", "json"] = "human", level: str = "info", file: Path | None = None
) -> logging.Handler:
    """Send the log to `file`, else to standard error. Raises OSError.

    Where standard error is systemd's journal and the format is for people, records go to the
    journal itself, with their fields.

    The file is opened anew when it has been renamed or removed, as logrotate does. Lines
    that tell of logins are written a little later, together.
    """
    target: logging.StreamHandler[TextIO] | WatchedFileHandler
    formatter: logging.Formatter = JsonFormatter() if format == "json" else HumanFormatter()
    journal = _journal() if file is None and format == "human" else None
    if journal is not None:
        target = logging.StreamHandler(journal)
        formatter = JournalFormatter()
    elif file is None:
        target = logging.StreamHandler(sys.stderr)
    else:
        target = WatchedFileHandler(file, encoding="utf-8", errors="backslashreplace")
    handler = GatheringHandler(target)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    spare_what_no_record_shows()
    # Which dialogues are logged is decided before a record is made, not by a level.
    logging.getLogger("restante.protocol").setLevel(logging.DEBUG)
    # Each request for keys is no news.
    for name in ("httpx2", "httpcore2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return handler


def write_anew() -> None:
    """Have lines written that were left out because they said the same as earlier ones."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, GatheringHandler):
            handler.repeated.forget()
