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
from restante.app.processes.control import (
    MAX_UNSENT,
    ControlError,
    Message,
    batches,
    encode,
    read_message,
)
from restante.app.processes.garbage import spare_what_stays
from restante.app.processes.listen_sockets import Given, StartError
from restante.app.processes.sharing import Sharing, live_sessions
from restante.app.service import Service
from restante.stores.contract import StoreError

log = logging.getLogger("restante.app")

NEWS_SECONDS = 0.1
"""How often others are told what has changed; nothing is sent when nothing has."""

BEAT_ROUNDS = 50
"""The supervisor hears that the event loop turns each time so many of those have passed."""

FAREWELL_SECONDS = 5.0
"""How long the supervisor may take to hear what was said last."""

_READ_LIMIT = 1 << 18


class Worker:
    """One worker process's work. control: its end of the control channel."""

    def __init__(
        self, loaded: Loaded, reread: Callable[[], Loaded], given: Given, control: socket.socket
    ) -> None:
        self._loaded = loaded
        self._reread = reread
        self._given = given
        self._control = control
        self._service: Service
        self._writer: StreamWriter

    def run(self, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None) -> int:
        """Serve until the supervisor says it is enough, or is gone. Gives the exit status."""
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            return runner.run(self._run())

    async def _run(self) -> int:
        reader, self._writer = await asyncio.open_connection(sock=self._control, limit=_READ_LIMIT)
        try:
            self._service = Service(self._loaded, self._reread, self._given)
            sharing = Sharing(self._service)
            await self._service.open()
            spare_what_stays()
        except (StartError, AccountError, StoreError, ValueError, OSError) as error:
            self._say({"say": "failed", "text": str(error)})
            await self._leave()
            return 1
        self._say({"say": "ready"})
        telling = asyncio.get_running_loop().create_task(self._tell(sharing))
        try:
            await self._listen(reader, sharing)
        except ControlError as error:
            log.error("worker %d: the supervisor can't be understood: %s", os.getpid(), error)
        finally:
            await self._service.close()
            telling.cancel()
            with suppress(asyncio.CancelledError):
                await telling
            await self._leave()
        return 0

    async def _leave(self) -> None:
        self._writer.close()
        with suppress(OSError):  # TimeoutError is one
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._writer.wait_closed()

    def _say(self, message: Message) -> None:
        self._writer.write(encode(message))

    async def _tell(self, sharing: Sharing) -> None:
        rounds = 0
        while True:
            await asyncio.sleep(NEWS_SECONDS)
            rounds += 1
            # What isn't told now is told together with what comes.
            if self._writer.transport.get_write_buffer_size() > MAX_UNSENT:
                continue
            try:
                for message in sharing.news():
                    self._say(message)
            except Exception:
                log.exception("worker %d: others can't be told", os.getpid())
            if rounds % BEAT_ROUNDS == 0:
                self._say({"say": "beat"})

    async def _listen(self, reader: StreamReader, sharing: Sharing) -> None:
        """Heed the supervisor until it says that it is enough, or is gone."""
        while (message := await read_message(reader)) is not None:
            match message.get("say"):
                case "news":
                    sharing.hear(message)
                case "sessions":
                    await self._list_sessions(message["inquiry"])
                case "reload":
                    self._reload(accounts=message["accounts"])
                case "drain":
                    return
        log.warning("worker %d: the supervisor is gone, stopping", os.getpid())

    async def _list_sessions(self, inquiry: int) -> None:
        for rows in batches(live_sessions(self._service)):
            self._say({"say": "sessions", "inquiry": inquiry, "list": rows})
            await self._writer.drain()
        self._say({"say": "sessions", "inquiry": inquiry, "list": [], "end": True})

    def _reload(self, *, accounts: bool) -> None:
        fresh = None
        try:
            fresh = self._reread() if accounts else None
            self._service.take(fresh)
        except (ConfigError, ValueError) as error:  # changed since the supervisor has read it
            log.error("worker %d: can't reload: %s", os.getpid(), error)
        self._say({"say": "reloaded"})


def settle() -> None:
    """In a new process: be deaf to signals, which also come to a whole group of processes.

    The supervisor decides. They aren't ignored as such: programs that are started would be
    deaf, too.
    """
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def leave(status: int) -> None:
    """End this process: what the supervisor would do at its end is not for us to do."""
    with suppress(OSError, ValueError):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status)
