"""Worker threads: a pool with a minimum and a maximum of threads."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import ContextVar, copy_context
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

from restante.contained import as_exception

P = ParamSpec("P")
T = TypeVar("T")

Job = Callable[[], object]


class _Lender:
    """A worker thread that waits for something, and runs jobs meanwhile.

    lending: whether it still does. Read and changed on the event loop only. What was begun
    by the work it waits for (tasks, callbacks) may outlive that and still know this lender.
    """

    def __init__(self) -> None:
        self.jobs: SimpleQueue[Job | None] = SimpleQueue()
        self.lending = True


_lender: ContextVar[_Lender | None] = ContextVar("lender", default=None)


class WorkerThreads:
    """Runs plain functions, at most `maximum` at once, the rest in order of arrival.

    minimum: threads that are started by `start` and kept.
    maximum: threads, and so functions, that are active at the same time.
    idle_seconds: a thread above the minimum ends after so long without work.
    stand_back: run at a lower priority than the other threads (on Linux only).

    `concurrent.futures` has no minimum and never gives a thread back, hence this.
    """

    def __init__(
        self,
        name: str,
        minimum: int,
        maximum: int,
        idle_seconds: float = 10.0,
        *,
        stand_back: bool = False,
    ) -> None:
        if not 0 <= minimum <= maximum or maximum < 1:
            raise ValueError(f"{name}: need 0 <= minimum <= maximum, and a maximum of 1 or more")
        self.name = name
        self.minimum = minimum
        self.maximum = maximum
        self.idle_seconds = idle_seconds
        self._stands_back = stand_back
        self._lock = threading.Lock()
        self._jobs: deque[tuple[Job, Job]] = deque()
        # Locks of threads that wait for a job: the last one to wait is the first to be woken, and
        # the only one. A queue that all wait for wakes two for each job.
        self._idle: list[threading.Lock] = []
        self._threads: set[threading.Thread] = set()
        self._busy = 0  # jobs that run or wait
        self._stopped = False

    @property
    def count(self) -> int:
        """Threads that are there now."""
        return len(self._threads)

    def is_current(self) -> bool:
        """Whether this is called on one of the threads."""
        return threading.current_thread() in self._threads

    def start(self) -> None:
        """Start the minimum of threads."""
        with self._lock:
            self._stopped = False
            while len(self._threads) < self.minimum:
                self._add_thread()

    def stop(self, timeout: float = 5.0) -> None:
        """Let running functions end, cancel waiting ones; wait at most `timeout` seconds."""
        with self._lock:
            self._stopped = True
            threads, jobs = list(self._threads), list(self._jobs)
            self._jobs.clear()
            self._busy -= len(jobs)
            while self._idle:
                self._idle.pop().release()
        for _, cancel in jobs:
            cancel()
        limit = time.monotonic() + timeout
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(max(0.0, limit - time.monotonic()))

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `function` called on a thread. Raises RuntimeError after `stop`."""
        future: Future[T] = Future()

        def job() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                future.set_exception(as_exception(error))
            else:
                future.set_result(result)

        self._put(job, future.cancel)
        return future

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` on a thread and wait for its result. Raises RuntimeError after `stop`.

        It sees the context (`contextvars`) of the caller.

        Under `call_and_lend` it runs on the thread that waits there instead.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = copy_context()

        def job() -> None:
            if future.cancelled():
                return
            try:
                result = context.run(function, *args, **kwargs)
            except BaseException as error:
                _tell(loop, _fail, future, as_exception(error))
            else:
                _tell(loop, _succeed, future, result)

        lender = _lender.get()
        if lender is None or not lender.lending:
            self._put(job, lambda: _tell(loop, future.cancel))
        else:
            lender.jobs.put(job)
        return await future

    def _put(self, job: Job, cancel: Job) -> None:
        with self._lock:
            if self._stopped:
                raise RuntimeError(f"{self.name}: worker threads are stopped")
            if len(self._threads) < min(self._busy + 1, self.maximum):
                self._add_thread()
            self._busy += 1
            self._jobs.append((job, cancel))
            if self._idle:
                self._idle.pop().release()

    def _add_thread(self) -> None:
        thread = threading.Thread(target=self._work, name=f"restante-{self.name}", daemon=True)
        thread.start()
        self._threads.add(thread)

    def _work(self) -> None:
        if self._stands_back and sys.platform == "linux":
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        woken = threading.Lock()
        woken.acquire()
        while (job := self._next(woken)) is not None:
            job()
            del job  # what it refers to must not wait for the next one
            with self._lock:
                self._busy -= 1

    def _next(self, woken: threading.Lock) -> Job | None:
        """The next job of the thread that waits for this lock; None: the thread ends.

        A thread that nobody needs ends after `idle_seconds` without a job.
        """
        late = False
        while True:
            with self._lock:
                if self._jobs:
                    return self._jobs.popleft()[0]
                spare = late and len(self._threads) > max(self.minimum, self._busy)
                if self._stopped or spare:
                    self._threads.discard(threading.current_thread())
                    return None
                self._idle.append(woken)
            late = not woken.acquire(timeout=self.idle_seconds)
            if late:
                with self._lock:
                    if woken in self._idle:
                        self._idle.remove(woken)
                    else:  # it was woken when the time was just over
                        woken.acquire()
                        late = False


def _tell(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: object) -> None:
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(function, *args)


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


def call_and_lend(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    """From a worker thread: have `work` done on the loop, and wait for its result.

    Plain functions that `work` needs run on the waiting thread itself, so that handlers
    calling their defaults can't use up all threads and wait for each other.
    """
    lender = _Lender()

    async def lending() -> T:
        _lender.set(lender)
        try:
            return await work
        finally:
            lender.lending = False

    future = asyncio.run_coroutine_threadsafe(lending(), loop)
    future.add_done_callback(lambda _: lender.jobs.put(None))
    while (job := lender.jobs.get()) is not None:
        job()
    return future.result()
