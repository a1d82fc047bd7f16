"""The supervisor: it starts a worker process for each core, and sees to it that they all serve.

It has no threads and no event loop, which a fork would copy: a plain loop over a selector. It
never waits for a worker, nor for anybody who asks.
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

from restante.app.build import make_all_tls
from restante.app.config.load import Loaded
from restante.app.processes import admin_client, worker
from restante.app.processes.admin_socket import Desk
from restante.app.processes.control import ControlError, Link, Message, batches
from restante.app.processes.counters import Ledger
from restante.app.processes.garbage import keep_what_is_there
from restante.app.processes.listen_sockets import Bound, Given, StartError, close_all
from restante.app.processes.worker_slots import Slot
from restante.app.service import read_again, renew_certificates, with_static_accounts
from restante.guard.ban_store import new_writer

log = logging.getLogger("restante.app")

MAX_FAILURES = 3
"""Workers that may die in a row before the first has got ready; then the start has failed."""

STUCK_SECONDS = 30.0
"""A worker that has said nothing for so long is told of in the log."""

GRACE_SECONDS = 15.0
"""What workers have, beyond `server.drain_seconds`, to give back what they hold."""

TURN_SECONDS = 1.0
"""The loop looks after what takes its time at least so often."""

MAX_BACKLOG = 1 << 20
"""Octets that wait for a worker, beyond which numbers are kept back and told later, together."""


class Supervisor:
    """Starts workers and looks after them. bound: what they listen on, with a share for each."""

    def __init__(
        self,
        loaded: Loaded,
        reread: Callable[[], Loaded],
        bound: list[Bound],
        workers: int,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None,
    ) -> None:
        self._loaded = loaded
        self._reread = reread
        self._bound = bound
        self._loop_factory = loop_factory
        tls, mail_tls = self._tls = make_all_tls(loaded.settings)
        key, writer = os.urandom(32), new_writer()
        self._slots = [
            Slot(
                number,
                Given(
                    [(each.endpoint, each.shares[number]) for each in bound],
                    tls, mail_tls, key, writer, workers,
                ),
            )
            for number in range(workers)
        ]  # fmt: skip
        self._ledger = Ledger()
        self._selector = selectors.DefaultSelector()
        self._signals: list[int] = []
        self._woken, self._wake = socket.socketpair()
        self._desk = Desk(self._selector, loaded.settings.inquiry_socket, self._answer)
        self._announced = False
        self._failure: str | None = None
        self._stopping: float | None = None
        """Until when workers may take to end."""

    def run(self, announce: Callable[[], None], retire: Callable[[], None]) -> None:
        """Serve until a signal ends it.

        announce: called once all workers are ready. retire: when the end begins.
        Raises StartError when no worker gets ready.
        """
        self._heed_signals()
        keep_what_is_there()
        try:
            while self._stopping is None or any(slot.pid for slot in self._slots):
                self._look_after()
                for key, mask in self._selector.select(self._patience()):
                    key.data(mask)
                while self._signals:
                    self._heed(self._signals.pop(0), retire)
                if not self._announced and all(slot.ready for slot in self._slots):
                    self._announced = True
                    announce()
        finally:
            self._end()
        if self._failure is not None:
            raise StartError(self._failure)
        log.info("stopped")

    # Signals

    def _heed_signals(self) -> None:
        for each in (self._woken, self._wake):
            each.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, self._drain_wakes)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
            signal.signal(number, lambda number, _: self._signals.append(number))

    def _drain_wakes(self, _: int) -> None:
        with suppress(BlockingIOError):
            self._woken.recv(1 << 12)

    def _heed(self, number: int, retire: Callable[[], None]) -> None:
        if number == signal.SIGCHLD:
            self._reap()
        elif number == signal.SIGHUP:
            if self._stopping is None:
                self._reload()
        elif self._stopping is not None and self._failure is None:
            log.warning("second signal: ending at once")
            self._kill_all()
            self._desk.close()
            worker.leave(128 + number)
        else:
            log.info("%s: stopping", signal.Signals(number).name)
            retire()
            self._stop()

    def _stop(self) -> None:
        """Refuse what is new; let workers finish what they have begun."""
        self._stopping = time.monotonic() + self._loaded.settings.server.drain_seconds
        self._stopping += GRACE_SECONDS
        close_all(self._bound)
        for slot in self._slots:
            slot.due = None
            if slot.link is not None:
                slot.link.send({"say": "drain"})

    def _reload(self) -> None:
        log.info("reloading")
        fresh = read_again(self._loaded, self._reread)
        if fresh is not None:
            self._loaded = with_static_accounts(self._loaded, fresh.settings)
        renew_certificates(self._tls, always=True)
        for slot in self._slots:
            if slot.link is not None:
                slot.reloading = True
                slot.link.send({"say": "reload", "accounts": fresh is not None})

    def _has_reloaded(self, slot: Slot) -> None:
        if slot.reloading:
            slot.reloading = False
            if not any(each.reloading for each in self._slots):
                log.info("reloaded")

    # Workers' lives

    def _look_after(self) -> None:
        now = time.monotonic()
        if self._stopping is not None and now > self._stopping:
            log.error("worker processes didn't end in time: killed")
            self._kill_all()
        for slot in self._slots:
            if slot.due is not None and slot.due <= now:
                self._start(slot)
            elif slot.link is not None:
                self._pay(slot)
                if slot.ready and not slot.stuck and now - slot.heard > STUCK_SECONDS:
                    slot.stuck = True
                    log.error("worker %d has not answered for %d seconds", slot.pid, STUCK_SECONDS)
        self._desk.look_after(now)

    def _patience(self) -> float:
        """How long the loop may wait."""
        due = [slot.due for slot in self._slots if slot.due is not None]
        return max(0.0, min([TURN_SECONDS, *(at - time.monotonic() for at in due)]))

    def _start(self, slot: Slot) -> None:
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
            self._schedule(slot)
            return
        if pid == 0:
            ours.close()
            self._work(slot, theirs)
        theirs.close()
        slot.fill(pid, Link(ours))
        slot.owed = self._ledger.names
        self._watch(slot)

    def _work(self, slot: Slot, control: socket.socket) -> None:
        """In the new process: be a worker to the end."""
        status = 1
        try:
            worker.settle()
            self._let_go(slot)
            work = worker.Worker(self._loaded, self._reread, slot.given, control)
            status = work.run(self._loop_factory)
        except BaseException:
            log.exception("worker %d failed", os.getpid())
        finally:
            worker.leave(status)

    def _let_go(self, slot: Slot) -> None:
        """Close what is the supervisor's, and other workers'."""
        self._selector.close()
        self._desk.let_go()
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
        """Bury all children that have ended: where we are process 1, others' too."""
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                for slot in self._slots:
                    if slot.pid == found[0]:
                        self._bury(slot, os.waitstatus_to_exitcode(found[1]))

    def _bury(self, slot: Slot, status: int) -> None:
        """A worker has ended. What it said last is heard; what it counted is forgotten."""
        if slot.link is not None:
            self._hear(slot, selectors.EVENT_READ)
        self._hang_up(slot)
        pid, slot.pid = slot.pid, 0
        self._desk.expect_no_more(pid)
        self._has_reloaded(slot)  # as its successor has
        self._owe(slot, self._ledger.forget(slot.number))
        if self._stopping is not None:
            return
        how = f"by signal {-status}" if status < 0 else f"with status {status}"
        log.error("worker %d ended %s", pid, how)
        self._schedule(slot)

    def _schedule(self, slot: Slot) -> None:
        """Have a worker replaced: at once, but slower and slower if they die young."""
        slot.vacate()
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
        """Leave nothing behind, however the end came."""
        self._kill_all()
        close_all(self._bound)
        for slot in self._slots:
            self._hang_up(slot)
        self._desk.close()
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._woken.close()
        self._wake.close()

    # What workers say, and are told

    def _watch(self, slot: Slot) -> None:
        assert slot.link is not None
        events = selectors.EVENT_READ
        if slot.link.unsent:
            events |= selectors.EVENT_WRITE

        def heed(mask: int) -> None:
            self._hear(slot, mask)

        try:
            known = self._selector.get_key(slot.link.socket)
        except KeyError:
            self._selector.register(slot.link.socket, events, heed)
        else:
            if known.events != events:
                self._selector.modify(slot.link.socket, events, known.data)

    def _hang_up(self, slot: Slot) -> None:
        if slot.link is not None:
            with suppress(KeyError):
                self._selector.unregister(slot.link.socket)
            slot.link.close()
            slot.link = None

    def _hear(self, slot: Slot, mask: int) -> None:
        link = slot.link
        if link is None:
            return
        if mask & selectors.EVENT_WRITE:
            link.flush()
            self._pay(slot)
        if not mask & selectors.EVENT_READ:
            return
        try:
            messages = link.receive()
        except ControlError as error:
            log.error("worker %d can't be understood: %s", slot.pid, error)
            messages = None
        if messages is None:
            # It ends, or can't go on: without us it stops by itself.
            self._hang_up(slot)
            return
        for message in messages:
            self._take(slot, message)

    def _take(self, slot: Slot, message: Message) -> None:
        slot.heard = time.monotonic()
        if slot.stuck:
            slot.stuck = False
            log.info("worker %d answers again", slot.pid)
        match message.get("say"):
            case "news":
                self._spread(slot, message)
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
            case "sessions":
                self._desk.add(message["inquiry"], slot.pid, message)

    def _spread(self, slot: Slot, message: Message) -> None:
        """Have the others hear of it: of numbers what they come to, of all else as it is."""
        numbers = message.pop("numbers", None)
        if numbers is not None:
            self._ledger.take(slot.number, numbers)
            self._owe(slot, numbers)
        if len(message) > 1:
            for other in self._slots:
                if other is not slot and other.link is not None:
                    other.link.send(message)
                    self._watch(other)

    def _owe(self, slot: Slot, names: Iterable[str]) -> None:
        for other in self._slots:
            if other is not slot and other.link is not None:
                other.owed.update(names)
                self._pay(other)

    def _pay(self, slot: Slot) -> None:
        """Tell a worker the numbers that have changed elsewhere, if it has read those before."""
        link = slot.link
        if link is None:
            return
        if slot.owed and link.unsent < MAX_BACKLOG:
            owed, slot.owed = slot.owed, set()
            for part in batches(self._ledger.elsewhere(slot.number, owed).items()):
                if not link.send({"say": "news", "numbers": dict(part)}):
                    slot.owed.update(dict(part))
        self._watch(slot)

    # What is asked

    def _answer(self, question: str, inquiry: int) -> tuple[list[admin_client.Row], set[int]]:
        """The answer as far as it is known here, and the workers that have more."""
        if question == "sessions":
            asked = [slot for slot in self._slots if slot.link is not None and slot.ready]
            for slot in asked:
                assert slot.link is not None
                slot.link.send({"say": "sessions", "inquiry": inquiry})
                self._watch(slot)
            return [], {slot.pid for slot in asked}
        return [self._status(slot) for slot in self._slots if question == "status"], set()

    def _status(self, slot: Slot) -> admin_client.Row:
        sessions = int(self._ledger.of(slot.number, "connection:"))
        return admin_client.status_row(
            slot.pid, slot.since, sessions, restarts=max(0, slot.restarts), state=slot.state
        )
