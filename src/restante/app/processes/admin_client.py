"""Asking a running server what goes on: a Unix socket in the data folder, for its owner only.

A line of one word is the question; lines of JSON are the answer, the last one an `end`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from restante.app.processes.listen_sockets import unix_socket
from restante.app.processes.sharing import live_sessions
from restante.app.service import Service

log = logging.getLogger("restante.app")

Row: TypeAlias = dict[str, Any]

MAX_QUESTION = 64
"""Octets of a question."""

PATIENCE_SECONDS = 5.0
"""How long an answer is waited for, by whom it is asked of and by whoever asks."""

END: Row = {"end": True}


class NoAnswer(Exception):
    """No server answers; the text says why."""


def listen_at(path: Path) -> socket.socket | None:
    """The socket where questions are asked; None, and a line in the log, if it can't be had."""
    if not hasattr(socket, "AF_UNIX"):
        return None
    try:
        if _is_answered(path):
            raise FileExistsError("another server answers there")
        return unix_socket(path, 0o600)
    except OSError as error:
        log.warning("%s: `restante sessions` won't work: %s", path, error)
        return None


def _is_answered(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(PATIENCE_SECONDS)
            probe.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True


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
            asking.settimeout(2 * PATIENCE_SECONDS)
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


class SingleAnswers:
    """Answers for a server that is one process."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._path = service.settings.inquiry_socket
        self._since = time.time()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen, if that can be."""
        listening = listen_at(self._path)
        if listening is not None:
            self._server = await asyncio.start_unix_server(
                self._answer, sock=listening, limit=MAX_QUESTION
            )

    async def close(self) -> None:
        """Listen no more. Harmless when repeated."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                question = await reader.readuntil()
                writer.writelines(line(row) for row in self._rows(question.strip()))
                writer.write(line(END))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass  # TimeoutError is one
        finally:
            writer.close()

    def _rows(self, question: bytes) -> list[Row]:
        pid = os.getpid()
        match question:
            case b"sessions":
                return [{**row, "worker": pid} for row in live_sessions(self._service)]
            case b"status":
                sessions = self._service.pop3.sessions
                return [status_row(pid, self._since, sessions, restarts=0, state="ready")]
        return []
