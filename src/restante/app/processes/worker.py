"""A worker process: the whole server, with the supervisor at the other end of a socket."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from contextlib import suppress

from restante.accounts.contract import AccountError
from restante.app.config.load import Loaded
from restante.app.config.problem import ConfigError
from restante.app.errors import StartError
from restante.app.processes.control import (
    MAX_UNSENT,
    ControlError,
    Message,
    batches,
    encode,
    read_message,
)
from restante.app.processes.listen_sockets import Given
from restante.app.processes.memory import tune_collector
from restante.app.processes.worker_news import AT_ONCE, WorkerNews, answer
from restante.app.service import Service
from restante.stores.contract import StoreError

log = logging.getLogger("restante.app")

NEWS_SECONDS = 0.1
"""How often news are sent to the others, if there are any."""

BEAT_ROUNDS = 50
"""Each time so many of those have passed the supervisor is told that the event loop turns."""

GOODBYE_SECONDS = 5.0
"""How long the supervisor may take to read the last messages."""

_READ_LIMIT = 1 << 18


class Worker:
    """A worker process. control: its end of the control channel."""

    def __init__(
        self, loaded: Loaded, reread: Callable[[], Loaded], given: Given, control: socket.socket
    ) -> None:
        self._loaded = loaded
        self._reread = reread
        self._given = given
        self._control = control
        self._service: Service
        self._writer: StreamWriter
        self._answering: set[asyncio.Task[None]] = set()

    def run(self, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None) -> int:
        """Serve until the supervisor says `drain` or has ended. Gives the exit status."""
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(self._run())

    async def _run(self) -> int:
        reader, self._writer = await asyncio.open_connection(sock=self._control, limit=_READ_LIMIT)
        try:
            self._service = Service(self._loaded, self._reread, self._given)
            news = WorkerNews(self._service)
            await self._service.open()
            tune_collector()
        except (StartError, AccountError, StoreError, ValueError, OSError) as error:
            self._send({"say": "failed", "text": str(error)})
            await self._say_goodbye()
            return 1
        self._send({"say": "ready"})
        telling = asyncio.get_running_loop().create_task(self._send_news(news))
        try:
            await self._follow(reader, news)
        except ControlError as error:
            log.error("worker %d: the supervisor sent what isn't a message: %s", os.getpid(), error)
        finally:
            await self._service.close()
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling
            await self._say_goodbye()
        return 0

    async def _say_goodbye(self) -> None:
        self._writer.close()
        with suppress(OSError):  # TimeoutError is one
            async with asyncio.timeout(GOODBYE_SECONDS):
                await self._writer.wait_closed()

    def _send(self, message: Message) -> None:
        """Send, unless nobody is there any more: loops differ in what they raise then."""
        if not self._writer.is_closing():
            self._writer.write(encode(message))

    async def _send_news(self, news: WorkerNews) -> None:
        rounds = 0
        while True:
            await asyncio.sleep(NEWS_SECONDS)
            rounds += 1
            # What isn't told now is told together with what comes.
            if self._writer.transport.get_write_buffer_size() > MAX_UNSENT:
                continue
            try:
                for message in news.collect():
                    self._send(message)
            except Exception:
                log.exception("worker %d: others can't be told", os.getpid())
            if rounds % BEAT_ROUNDS == 0:
                self._send({"say": "beat"})

    async def _follow(self, reader: StreamReader, news: WorkerNews) -> None:
        """Do what the supervisor says until it says `drain` or has ended."""
        with suppress(ConnectionError):  # it was killed while it was sent an answer
            if await self._obey(reader, news):
                return
        log.warning("worker %d: the supervisor is gone, stopping", os.getpid())

    async def _obey(self, reader: StreamReader, news: WorkerNews) -> bool:
        """Do what messages say. True: one said `drain`; False: no more will come."""
        while (message := await read_message(reader)) is not None:
            match message.get("say"):
                case "news":
                    news.apply(message)
                case "ask":
                    work = self._answer(message["question"], message["text"])
                    answering = asyncio.get_running_loop().create_task(work)
                    self._answering.add(answering)
                    answering.add_done_callback(self._answering.discard)
                case "reload":
                    self._reload(accounts=message["accounts"])
                case "drain":
                    return True
        return False

    async def _answer(self, question: int, text: str) -> None:
        """Answer a question, while other messages are obeyed."""
        with suppress(ConnectionError):  # the supervisor has ended
            rows: list[Message] = []
            async for row in answer(self._service, text):
                rows.append(row)
                if len(rows) == AT_ONCE:
                    await self._send_rows(question, rows)
                    rows = []
            await self._send_rows(question, rows)
            self._send({"say": "answer", "question": question, "list": [], "end": True})

    async def _send_rows(self, question: int, rows: list[Message]) -> None:
        for some in batches(rows):
            self._send({"say": "answer", "question": question, "list": some})
            await self._writer.drain()

    def _reload(self, *, accounts: bool) -> None:
        fresh = None
        try:
            fresh = self._reread() if accounts else None
            self._service.take(fresh)
        except (ConfigError, ValueError) as error:  # changed since the supervisor has read it
            log.error("worker %d: can't reload: %s", os.getpid(), error)
        self._send({"say": "reloaded"})


def ignore_signals() -> None:
    """Ignore signals in a new worker process: they are the supervisor's, but come to the group.

    A handler that does nothing takes them. With SIG_IGN programs that this process starts would
    ignore them, too.
    """
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def end_process(status: int) -> None:
    """End this process without what the supervisor, of which it is a copy, does at its end."""
    with suppress(OSError, ValueError):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)
