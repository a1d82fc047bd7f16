"""Answers to questions about a server that is one process; see `admin_client`."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator

from restante.app.processes.admin_client import (
    ANSWER_SECONDS,
    END,
    MAX_QUESTION,
    Row,
    line,
    status_row,
)
from restante.app.processes.admin_socket import address_rows, listen_at
from restante.app.processes.worker_news import WORKER_QUESTIONS, answer
from restante.app.service import Service


class SingleProcessAdmin:
    """Answers for a server that is one process."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._path = service.settings.admin_socket
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
            async with asyncio.timeout(ANSWER_SECONDS):
                question = await reader.readuntil()
                async for row in self._rows(question.decode("ascii", "replace").strip()):
                    writer.write(line(row))
                writer.write(line(END))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass  # TimeoutError is one
        finally:
            writer.close()

    async def _rows(self, question: str) -> AsyncIterator[Row]:
        pid = os.getpid()
        match question.partition(" ")[0]:
            case word if word in WORKER_QUESTIONS:
                async for row in answer(self._service, question):
                    yield {**row, "worker": pid}
            case "addresses":
                for row in address_rows(self._service.endpoints):
                    yield row
            case "status":
                sessions = self._service.pop3.sessions
                yield status_row(pid, self._since, sessions, restarts=0, state="ready")
