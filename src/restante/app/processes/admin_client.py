"""Asking a running server what it does: by a Unix socket in the data folder, for its owner only.

The question is a line: a word, and what it is about. The answer is lines of JSON, the last one
with `end`.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import parse_qsl, urlencode

from restante.app.errors import NoAnswer, NoServer

Row: TypeAlias = dict[str, Any]

MAX_QUESTION = 4096
"""Octets of a question."""

ANSWER_SECONDS = 5.0
"""How long the server waits for its workers' part of an answer. Who asks waits twice as long."""

END: Row = {"end": True}


class Wanted(NamedTuple):
    """Which live sessions are asked for: the newest ones that fit.

    find: a part of an account's name or an address; "" fits all. account: its name, exactly;
    "": any. most: so many at most. before, before_id: only those that began before a session that
    began then and has this id; "": the newest.
    """

    find: str = ""
    account: str = ""
    most: int = 100
    before: float = 0.0
    before_id: str = ""

    def question(self) -> str:
        """As a question to the server. The answers end with `found`, `left` and `total`:
        how many fit, how many of them began before, and how many there are."""
        return f"sessions {urlencode(self._asdict())}"

    @classmethod
    def of(cls, text: str) -> Wanted:
        """What a question's text asks for. Raises ValueError."""
        given = dict(parse_qsl(text, strict_parsing=True, keep_blank_values=True))
        return cls(
            given["find"].casefold(),
            given["account"],
            max(0, int(given["most"])),
            float(given["before"]),
            given["before_id"],
        )


def line(row: Row) -> bytes:
    """A line of an answer."""
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def status_row(pid: int, since: float, sessions: int, **more: object) -> Row:
    """One process that serves. since: seconds since 1970. sessions: its POP3 connections."""
    uptime = max(0.0, time.time() - since)
    return {"pid": pid, "since": since, "uptime": uptime, "sessions": sessions, **more}


def ask(path: Path, question: str, *, seconds: float = 2 * ANSWER_SECONDS) -> Iterator[Row]:
    """The rows of an answer, the last one with `end`. Raises NoAnswer.

    seconds: how long to wait for the next of its octets.
    """
    if not hasattr(socket, "AF_UNIX"):
        raise NoAnswer("not available on this system")
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(seconds)
            asking.connect(str(path))
            asking.sendall(question.encode() + b"\n")
            for text in asking.makefile("rb"):
                row: Row = json.loads(text)
                yield row
                if row.get("end"):
                    return
    except (FileNotFoundError, ConnectionRefusedError):
        raise NoServer(f"{path}: no server runs here") from None
    except (OSError, ValueError) as error:
        raise NoAnswer(f"{path}: {error}") from error
    raise NoAnswer(f"{path}: the server broke off")
