"""The supervisor: it starts the worker processes and replaces those that end.

It has no threads and no event loop, as a fork would copy them: it is a plain loop over a selector.
It never waits for a single worker or client.
"""

from __future__ import annotations

import asyncio
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from restante.app import metrics
from restante.app.config.load import Loaded
from restante.app.errors import StartError
from restante.app.http_endpoint import HttpEndpoint
from restante.app.processes import admin_client, worker
from restante.app.processes.admin_socket import AdminSocket, address_rows
from restante.app.processes.console_process import ConsoleProcess
from restante.app.processes.control import ControlError, Link, Message, batches
from restante.app.processes.counters import Counters
from restante.app.processes.listen_sockets import Bound, Endpoint, Given, close_all
from restante.app.processes.memory import freeze_objects
from restante.app.processes.worker_news import WORKER_QUESTIONS
from restante.app.processes.worker_slots import WorkerSlot
from restante.app.service import read_again, renew_certificates, with_static_accounts
from restante.app.signals import FirstSignal, ignore_further
from restante.app.tls import make_all_tls
from restante.guard.ban_store import new_writer

log = logging.getLogger("restante.app")

MAX_FAILURES = 3
"""Workers that may die in a row before the first has got ready; then the start has failed."""

STUCK_SECONDS = 30.0
"""A worker that has sent nothing for so long is reported in the log."""

GRACE_SECONDS = 15.0
"""How long workers may take to end, beyond `server.drain_seconds`."""

TURN_SECONDS = 1.0
"""The loop turns at least so often."""

MAX_BACKLOG = 1 << 20
"""While more octets than this wait for a worker, counters are kept back, to be sent together."""


class Supervisor:
    """Starts workers and replaces them. bound: what they listen on, with sockets for each.

    console: started once all workers are ready, and again whenever it ends.
    """

    def __init__(
        self,
        loaded: Loaded,
        reread: Callable[[], Loaded],
        bound: list[Bound],
        workers: int,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None,
        *,
        console: ConsoleProcess | None = None,
    ) -> None:
        self._loaded = loaded
        self._console = console
        self._reread = reread
        self._bound = bound
        self._loop_factory = loop_factory
        tls, mail_tls = self._tls = make_all_tls(loaded.settings)
        key, writer = os.urandom(32), new_writer()
        counted = loaded.settings.metrics.is_wanted
        self._metrics = metrics.bind(loaded.settings)
        self._reloads = 0
        self._slots = [
            WorkerSlot(
                number,
                Given(
                    [(each.endpoint, each.shares[number]) for each in bound],
                    tls, mail_tls, key, writer, workers,
                    metrics.shared_values() if counted else None, number,
                ),
            )
            for number in range(workers)
        ]  # fmt: skip
        self._counters = Counters()
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._woken, self._wake = socket.socketpair()
        self._admin = AdminSocket(self._selector, loaded.settings.admin_socket, self._answer)
        self._scraped = self._open_metrics() if counted else None
        self._announced = False
        self._failure: str | None = None
        self._noticing: float | None = None
        """Until when connections are still taken, monotonic; None: it wasn't told to stop."""
        self._stopping: float | None = None
        """Until when workers may take to end, monotonic; None: the server isn't stopping."""
        self._first_signal = FirstSignal()

    def run(self, announce: Callable[[], None], retire: Callable[[], None]) -> None:
        """Serve until a signal ends it.

        announce: called once all workers are ready. retire: when the end begins.
        Raises StartError when no worker gets ready.
        """
        self._catch_signals()
        freeze_objects()
        try:
            while self._stopping is None or any(slot.pid for slot in self._slots):
                self._check_workers()
                for key, mask in self._selector.select(self._seconds_to_wait()):
                    key.data(mask)
                while self._signals:
                    self._on_signal(self._signals.pop(0), retire)
                if not self._announced and all(slot.ready for slot in self._slots):
                    self._announced = True
                    announce()
        finally:
            self._end()
        if self._failure is not None:
            raise StartError(self._failure)
        log.info("stopped")

    def _open_metrics(self) -> HttpEndpoint:
        scrapes = metrics.Scrapes(
            [slot.given.values for slot in self._slots if slot.given.values is not None],
            lambda: [slot.state for slot in self._slots],
            lambda: sum(max(0, slot.restarts) for slot in self._slots),
            lambda: self._reloads,
            lambda: self._noticing is not None or self._stopping is not None,
        )
        listening = [each for _, each in self._metrics]
        names = metrics.names(self._loaded.settings)
        return HttpEndpoint(self._selector, listening, scrapes, names)

    @property
    def endpoints(self) -> list[Endpoint]:
        """What is listened on."""
        return [each.endpoint for each in self._bound] + [each for each, _ in self._metrics]

    # Signals

    def _catch_signals(self) -> None:
        for each in (self._woken, self._wake):
            each.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._read_wakes)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda number, _: self._signals.append(number))

    def _read_wakes(self, _: int) -> None:
        with suppress(BlockingIOError):
            self._woken.recv(1 << 12)

    def _on_signal(self, number: int, retire: Callable[[], None]) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number == signal.SIGHUP:
            if self._stopping is None:
                self._reload()
        elif self._first_signal.is_again(number):
            pass
        elif self._noticing is not None and self._failure is None:
            log.warning("second signal: ending at once")
            self._kill_all()
            self._admin.close()
            if self._console is not None:
                self._console.close()
            worker.end_process(128 + number)
        else:
            log.info("%s: stopping", signal.Signals(number).name)
            self._first_signal.came(number)
            retire()
            self._noticing = time.monotonic() + self._loaded.settings.server.notice_seconds

    def _stop(self) -> None:
        """Take no more connections, and have workers finish what they do."""
        settings = self._loaded.settings.server
        self._stopping = time.monotonic() + settings.finish_seconds + settings.drain_seconds
        self._stopping += GRACE_SECONDS
        close_all(self._bound)
        if self._console is not None:
            self._console.stop()
        for slot in self._slots:
            slot.due = None
            if slot.link is not None:
                slot.link.send({"say": "drain"})

    def _reload(self) -> None:
        log.info("reloading")
        self._reloads += 1
        fresh = read_again(self._loaded, self._reread)
        if fresh is not None:
            self._loaded = with_static_accounts(self._loaded, fresh.settings)
        renew_certificates(self._tls, always=True)
        if self._console is not None:
            self._console.restart()
        for slot in self._slots:
            if slot.link is not None:
                slot.reloading = True
                slot.link.send({"say": "reload", "accounts": fresh is not None})

    def _has_reloaded(self, slot: WorkerSlot) -> None:
        if slot.reloading:
            slot.reloading = False
            if not any(each.reloading for each in self._slots):
                log.info("reloaded")

    # Workers' lives

    def _check_workers(self) -> None:
        now = time.monotonic()
        if self._noticing is not None and self._stopping is None and now >= self._noticing:
            self._stop()
        if self._stopping is not None and now > self._stopping:
            log.error("worker processes didn't end in time: killed")
            self._kill_all()
        for slot in self._slots:
            if slot.due is not None and slot.due <= now:
                self._start(slot)
            elif slot.link is not None:
                self._send_counters(slot)
                if slot.ready and not slot.stuck and now - slot.heard > STUCK_SECONDS:
                    slot.stuck = True
                    log.error("worker %d has not answered for %d seconds", slot.pid, STUCK_SECONDS)
        self._admin.check_timeouts(now)
        if self._scraped is not None:
            self._scraped.check_timeouts(now)
        if self._console is not None and self._announced and self._stopping is None:
            self._console.check(now)

    def _seconds_to_wait(self) -> float:
        """How long the loop may wait for the next event."""
        due = [slot.due for slot in self._slots if slot.due is not None]
        if self._noticing is not None and self._stopping is None:
            due.append(self._noticing)
        return max(0.0, min([TURN_SECONDS, *(at - time.monotonic() for at in due)]))

    def _start(self, slot: WorkerSlot) -> None:
        renew_certificates(self._tls, always=False)
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        slot.since, slot.heard = time.time(), time.monotonic()
        try:
            pid = os.fork()
        except OSError as error:
            ours.close()
            theirs.close()
            log.error("no worker process can be started: %s", error)
            self._replace(slot)
            return
        if pid == 0:
            ours.close()
            self._work(slot, theirs)
        theirs.close()
        slot.filled(pid, Link(ours))
        slot.unsent = self._counters.names
        self._select(slot)

    def _work(self, slot: WorkerSlot, control: socket.socket) -> None:
        """In the new process: be a worker, and end."""
        status = 1
        try:
            worker.ignore_signals()
            self._close_inherited(slot)
            work = worker.Worker(self._loaded, self._reread, slot.given, control)
            status = work.run(self._loop_factory)
        except BaseException:
            log.exception("worker %d failed", os.getpid())
        finally:
            worker.end_process(status)

    def _close_inherited(self, slot: WorkerSlot) -> None:
        """In a new worker: close the sockets of the supervisor and of other workers."""
        self._selector.close()
        self._admin.close_sockets()
        if self._scraped is not None:
            self._scraped.close()
        if self._console is not None:
            self._console.close_sockets()
        for each in (self._woken, self._wake):
            each.close()
        own = {each for _, sockets in slot.given.listening for each in sockets}
        for other in self._slots:
            if other.link is not None:
                other.link.close()
            for _, sockets in other.given.listening:
                for each in sockets:
                    if each not in own:
                        each.close()

    def _reap(self) -> None:
        """Wait for all children that have ended: where we are process 1, also for others'."""
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if self._console is not None and self._console.pid == found[0]:
                    self._console.ended(os.waitstatus_to_exitcode(found[1]))
                for slot in self._slots:
                    if slot.pid == found[0]:
                        self._on_worker_end(slot, os.waitstatus_to_exitcode(found[1]))

    def _on_worker_end(self, slot: WorkerSlot, status: int) -> None:
        """A worker has ended: read its last messages, drop its counters, have it replaced."""
        if slot.link is not None:
            self._on_link(slot, selectors.EVENT_READ)
        self._close_link(slot)
        if slot.given.values is not None:
            metrics.forget_gauges(slot.given.values)
        pid, slot.pid = slot.pid, 0
        self._admin.worker_ended(pid)
        self._has_reloaded(slot)  # as its successor has
        self._counters_changed(slot, self._counters.forget(slot.number))
        if self._stopping is not None:
            return
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        log.error("worker %d ended %s", pid, how)
        self._replace(slot)

    def _replace(self, slot: WorkerSlot) -> None:
        """Have a worker replaced; the start has failed if too many die before one is ready."""
        slot.emptied()
        serves = self._announced or any(each.ready for each in self._slots)
        if not serves and sum(each.deaths for each in self._slots) >= MAX_FAILURES:
            self._fail("no worker process gets ready; the log says why")

    def _fail(self, text: str) -> None:
        """The start has failed."""
        if self._stopping is None:
            self._failure = text
            self._stop()

    def _kill_all(self) -> None:
        for slot in self._slots:
            if slot.pid:
                with suppress(ProcessLookupError):
                    os.kill(slot.pid, signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(slot.pid, 0)
                slot.pid = 0

    def _end(self) -> None:
        """Close everything, however the end came."""
        self._kill_all()
        close_all(self._bound)
        for slot in self._slots:
            self._close_link(slot)
        self._admin.close()
        if self._scraped is not None:
            self._scraped.close()
        metrics.close(self._metrics)
        if self._console is not None:
            self._console.close()
        ignore_further()
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._woken.close()
        self._wake.close()

    # Messages from workers and to them

    def _select(self, slot: WorkerSlot) -> None:
        assert slot.link is not None
        events = selectors.EVENT_READ
        if slot.link.unsent:
            events |= selectors.EVENT_WRITE

        def ready(mask: int) -> None:
            self._on_link(slot, mask)

        try:
            known = self._selector.get_key(slot.link.socket)
        except KeyError:
            self._selector.register(slot.link.socket, events, ready)
        else:
            if known.events != events:
                self._selector.modify(slot.link.socket, events, known.data)

    def _close_link(self, slot: WorkerSlot) -> None:
        if slot.link is not None:
            with suppress(KeyError):
                self._selector.unregister(slot.link.socket)
            slot.link.close()
            slot.link = None

    def _on_link(self, slot: WorkerSlot, mask: int) -> None:
        link = slot.link
        if link is None:
            return
        if mask & selectors.EVENT_WRITE:
            link.flush()
            self._send_counters(slot)
        if not mask & selectors.EVENT_READ:
            return
        try:
            messages = link.receive()
        except ControlError as error:
            log.error("worker %d sent what isn't a message: %s", slot.pid, error)
            messages = None
        if messages is None:
            # It has ended, or will: without a link to us it stops by itself.
            self._close_link(slot)
            return
        for message in messages:
            self._on_message(slot, message)

    def _on_message(self, slot: WorkerSlot, message: Message) -> None:
        slot.heard = time.monotonic()
        if slot.stuck:
            slot.stuck = False
            log.info("worker %d answers again", slot.pid)
        match message.get("say"):
            case "news":
                self._pass_on(slot, message)
            case "ready":
                slot.ready = True
                if self._announced:
                    log.info("worker %d serves", slot.pid)
            case "reloaded":
                self._has_reloaded(slot)
            case "failed" if not self._announced:
                self._fail(message["text"])
            case "failed":
                log.error("worker %d can't start: %s", slot.pid, message["text"])
            case "answer":
                self._admin.add(message["question"], slot.pid, message)

    def _pass_on(self, slot: WorkerSlot, message: Message) -> None:
        """Tell the other workers: of counters the sums, of all else the message as it is."""
        numbers = message.pop("numbers", None)
        if numbers is not None:
            self._counters.update(slot.number, numbers)
            self._counters_changed(slot, numbers)
        if len(message) > 1:
            for other in self._slots:
                if other is not slot and other.link is not None:
                    other.link.send(message)
                    self._select(other)

    def _counters_changed(self, slot: WorkerSlot, names: Iterable[str]) -> None:
        for other in self._slots:
            if other is not slot and other.link is not None:
                other.unsent.update(names)
                self._send_counters(other)

    def _send_counters(self, slot: WorkerSlot) -> None:
        """Tell a worker which counters have changed elsewhere, if it has read those before."""
        link = slot.link
        if link is None:
            return
        if slot.unsent and link.unsent < MAX_BACKLOG:
            owed, slot.unsent = slot.unsent, set()
            for part in batches(self._counters.elsewhere(slot.number, owed).items()):
                if not link.send({"say": "news", "numbers": dict(part)}):
                    slot.unsent.update(dict(part))
        self._select(slot)

    # Questions by the admin socket

    def _answer(
        self, question: str, question_number: int
    ) -> tuple[list[admin_client.Row], set[int]]:
        """The rows that are known here, and the workers that were asked for more."""
        if question.partition(" ")[0] in WORKER_QUESTIONS:
            asked = [slot for slot in self._slots if slot.link is not None and slot.ready]
            for slot in asked:
                assert slot.link is not None
                slot.link.send({"say": "ask", "question": question_number, "text": question})
                self._select(slot)
            return [], {slot.pid for slot in asked}
        if question == "addresses":
            return address_rows(self.endpoints), set()
        return [self._status(slot) for slot in self._slots if question == "status"], set()

    def _status(self, slot: WorkerSlot) -> admin_client.Row:
        sessions = int(self._counters.own(slot.number, "connection:"))
        return admin_client.status_row(
            slot.pid, slot.since, sessions, restarts=max(0, slot.restarts), state=slot.state
        )
