"""Asking a running server what it does: by a Unix socket in the data folder, for its owner only.

The question is a line: a word and, for some words, the id of a session. The answer is lines of
JSON, the last one with `end`.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from restante.app.errors import NoAnswer

Row: TypeAlias = dict[str, Any]

MAX_QUESTION = 64
"""Octets of a question."""

ANSWER_SECONDS = 5.0
"""How long the server waits for its workers' part of an answer. Who asks waits twice as long."""

END: Row = {"end": True}


def line(row: Row) -> bytes:
    """A line of an answer."""
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def status_row(pid: int, since: float, sessions: int, **more: object) -> Row:
    """One process that serves. since: seconds since 1970. sessions: its POP3 connections."""
    uptime = max(0.0, time.time() - since)
    return {"pid": pid, "since": since, "uptime": uptime, "sessions": sessions, **more}


def ask(path: Path, question: str) -> Iterator[Row]:
    """The rows of an answer. Raises NoAnswer."""
    if not hasattr(socket, "AF_UNIX"):
        raise NoAnswer("not available on this system")
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(2 * ANSWER_SECONDS)
            asking.connect(str(path))
            asking.sendall(question.encode() + b"\n")
            for text in asking.makefile("rb"):
                row: Row = json.loads(text)
                yield row
                if row.get("end"):
                    return
    except (FileNotFoundError, ConnectionRefusedError):
        raise NoAnswer(f"{path}: no server runs here") from None
    except (OSError, ValueError) as error:
        raise NoAnswer(f"{path}: {error}") from error
    raise NoAnswer(f"{path}: the server broke off")
