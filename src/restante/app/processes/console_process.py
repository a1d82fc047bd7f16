"""The console's process: started, replaced when it ends, and ended with the server.

It is a program of its own, not a fork: it shares nothing with those that serve mail but the
configuration, and has a lower priority. It gets two descriptors: the socket that browsers connect
to, and a pipe whose end tells it that the server is gone. Nothing here waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress

from restante.app.config.load import Loaded
from restante.app.processes.listen_sockets import Endpoint, start_error
from restante.server.listen.sockets import bind_shared

log = logging.getLogger("restante.app")

FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0
"""Seconds until a console that has ended is started again; each time twice as long."""

YOUNG_SECONDS = 60.0
"""One that has lived longer than this is started again after `FIRST_DELAY`."""

CHECK_SECONDS = 1.0

BACKLOG = 64


class ConsoleProcess:
    """The console, listening where the configuration says. Raises StartError.

    endpoint: where.
    """

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        console = loaded.settings.console
        assert console.port != "off"
        try:
            (self._listening,) = bind_shared(console.host, console.port, BACKLOG, 1)
        except OSError as error:
            raise start_error("console.port", console.host, console.port, error) from error
        host, port = self._listening[0].getsockname()[:2]
        self.endpoint = Endpoint("HTTP", console.tls, host, port)
        self._process: subprocess.Popen[bytes] | None = None
        self._life: int | None = None
        self._due: float | None = 0.0  # monotonic; None: it runs, or is to start no more
        self._started = 0.0
        self._delay = FIRST_DELAY
        self._restarting = False

    @property
    def pid(self) -> int | None:
        """Its process id, while it runs."""
        return self._process.pid if self._process is not None else None

    async def watch(self) -> None:
        """Keep it running, in a server that is one process."""
        while True:
            self.check(time.monotonic())
            await asyncio.sleep(CHECK_SECONDS)

    def check(self, now: float) -> None:
        """Start it if it is due. Called about once a second."""
        if self._process is not None and (status := self._process.poll()) is not None:
            self.ended(status)
        if self._due is not None and now >= self._due:
            self._due = None
            try:
                self._start()
            except OSError as error:
                log.error("the console can't be started: %s", error)
                self._due = now + LONGEST_DELAY

    def _start(self) -> None:
        theirs, ours = os.pipe()
        try:
            with tempfile.TemporaryFile() as given:
                pickle.dump(self._loaded, given)
                given.seek(0)
                listening = [each.fileno() for each in self._listening]
                self._process = subprocess.Popen(  # noqa: S603 - ourselves
                    [sys.executable, "-P", "-m", "restante.app.console", str(theirs),
                     *map(str, listening)],
                    stdin=given, pass_fds=(theirs, *listening),
                )  # fmt: skip
        except BaseException:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self._life = ours
        self._started = time.monotonic()

    def ended(self, status: int) -> None:
        """It has ended: start it again, later each time if it ends young."""
        process, self._process = self._process, None
        if process is None:
            return
        process.returncode = status  # somebody else may have waited for it
        self._close_life()
        now = time.monotonic()
        if self._restarting:
            self._restarting, self._due = False, now
            return
        young = now - self._started < YOUNG_SECONDS
        self._delay = min(LONGEST_DELAY, self._delay * 2) if young else FIRST_DELAY
        self._due = now + self._delay
        log.error(
            "the console has ended with status %d; it is started again in %d seconds."
            " Mail isn't concerned",
            status, self._delay,
        )  # fmt: skip

    def restart(self) -> None:
        """Have it started anew, as for another certificate."""
        if self._process is not None:
            self._restarting = True
            self._signal(signal.SIGTERM)

    def stop(self) -> None:
        """Begin its end: it is told to stop, and isn't started any more."""
        self._due = None
        if self._process is not None:
            self._signal(signal.SIGTERM)
            self._close_life()

    def close(self) -> None:
        """It has ended when this returns. Harmless when repeated."""
        self.stop()
        process, self._process = self._process, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            process.wait()
        for each in self._listening:
            each.close()

    def close_sockets(self) -> None:
        """In a worker, which has copies: close them, so that the pipe ends with the server."""
        for each in self._listening:
            each.close()
        self._close_life()
        if self._process is not None:
            self._process.returncode = 0  # it is the supervisor's
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, number)

    def _close_life(self) -> None:
        if self._life is not None:
            os.close(self._life)
            self._life = None
