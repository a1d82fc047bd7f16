"""Somebody else's functions: awaited, called in place, or called on a thread.

Handlers, accounts and stores are an application's own code. A function of theirs may be plain
or async. This module is the one place that decides how it is called:

- An async one is awaited.
- A plain one of an owner with `blocking = True` is called on a worker thread.
- A plain one of an owner with `blocking = False` is called in place, on the event loop. What
  it can't do there quickly it returns as `OnThread(function, *args)`, which is done on a
  thread. While such functions turn out slow, as on a network disk, they are called on threads.

Slow is measured. Sampled calls are timed by the wall clock and by the thread's processor time.
The difference is time spent waiting: for a disk, or for a processor on a busy machine. A busy
machine interrupts few of such short calls, a slow disk delays most of them, so what counts is
how many calls waited, not how long. One call that takes `HARD_SECONDS` is enough by itself.
"""

from __future__ import annotations

import asyncio
import inspect
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from time import monotonic, thread_time
from typing import Any, Generic, TypeVar

from restante.contained import await_contained, call_contained
from restante.threads import WorkerThreads

T = TypeVar("T")

SAMPLE_EVERY = 8
"""One call of so many is measured by its processor time, too."""

WAITED_SECONDS = 0.0005
"""A call that took so much longer than its processor time has waited for something."""

MOST_WAITING = 0.3
"""The share of sampled calls that may wait."""

CPU_SECONDS = 0.005
"""Processor time that a call may take on average, for the sake of the other sessions."""

MEMORY = 16
"""Samples over which both averages slide."""

HARD_SECONDS = 0.1
"""Wall time of a single call after which calling in place stops at once."""

REST_SECONDS = 10.0
"""How long functions are then called on threads."""

PROBATION = 64
"""Calls in a row that a blocking function must do quickly on threads to be called in place."""

QUICK_SECONDS = 0.0002
"""How long each of those may take."""


class OnThread(Generic[T]):
    """What a plain function returns when the rest of its work must run on a thread.

    Whoever called the function gets what `OnThread`'s function returns, or raises.
    """

    __slots__ = ("_args", "_function")

    def __init__(self, function: Callable[..., T | OnThread[T]], *args: Any) -> None:
        self._function = function
        self._args = args

    def __call__(self) -> T:
        """Do the work on the calling thread."""
        return finished(self._function(*self._args))


def finished(result: T | OnThread[T]) -> T:
    """What a plain function returned, its `OnThread` work done on the calling thread."""
    return result() if isinstance(result, OnThread) else result


class Pace:
    """Decides whether the plain functions of one owner are called in place.

    proven: whether they are trusted to be quick from the start. Otherwise they are called on
        threads until `PROBATION` calls in a row were quick.
    """

    __slots__ = ("_calls", "_cpu", "_quick", "_resumes", "_waiting", "rests")

    def __init__(self, *, proven: bool) -> None:
        self._resumes = 0.0 if proven else float("inf")
        self._calls = 0
        self._quick = 0
        self._waiting = 0.0  # share of sampled calls that waited
        self._cpu = 0.0
        self.rests = 0
        """How often calling in place had to stop."""

    def is_quick(self) -> bool:
        """Whether a function may be called in place now."""
        return monotonic() >= self._resumes

    def call(self, function: Callable[..., T], args: tuple[Any, ...]) -> T:
        """Call a function in place, and see how long it takes."""
        self._calls += 1
        sampled = not self._calls % SAMPLE_EVERY
        cpu = thread_time() if sampled else 0.0
        begun = monotonic()
        try:
            return call_contained(function, *args)
        finally:
            seconds = monotonic() - begun
            if seconds >= HARD_SECONDS:
                self._rest()
            elif sampled:
                self._sample(seconds, thread_time() - cpu)

    def _sample(self, seconds: float, cpu: float) -> None:
        waited = seconds - cpu > WAITED_SECONDS
        self._waiting += (waited - self._waiting) / MEMORY
        self._cpu += (cpu - self._cpu) / MEMORY
        if self._waiting > MOST_WAITING or self._cpu > CPU_SECONDS:
            self._rest()

    def _rest(self) -> None:
        self._waiting = self._cpu = 0.0
        self._resumes = monotonic() + REST_SECONDS
        self.rests += 1

    def prove(self, seconds: float) -> None:
        """A function that is on probation took so long on a thread."""
        self._quick = self._quick + 1 if seconds < QUICK_SECONDS else 0
        if self._quick >= PROBATION:
            self._resumes = 0.0


class Caller:
    """Calls the functions of one owner: an account store, a maildrop store, an application.

    threads: where its plain functions run that may block. blocking: whether they may.
    """

    __slots__ = ("_pace", "_threads")

    def __init__(self, threads: WorkerThreads, *, blocking: bool) -> None:
        self._threads = threads
        self._pace = None if blocking else Pace(proven=True)

    async def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function, plain or async, and give its result. Raises nothing but Exceptions."""
        if is_async(function):
            return await in_task(function(*args))
        pace = self._pace
        if pace is not None and monotonic() >= pace._resumes:
            result = pace.call(function, args)
            if type(result) is OnThread:
                result = await self._threads.run(result)
        else:
            result = await self._threads.run(_call_through, function, args)
        return await in_task(result) if hasattr(result, "__await__") else result


def _call_through(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    return finished(function(*args))


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling `function` gives something to await. Sees through callable objects."""
    code = getattr(function, "__code__", None)
    if code is not None:
        return bool(code.co_flags & inspect.CO_COROUTINE)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - the question is whether it is async
    )


# Coroutines


@types.coroutine
def _next_turn() -> Generator[None, None, None]:
    yield


async def in_task(work: Awaitable[T]) -> T:
    """Await somebody's coroutine within a task. Raises nothing but Exceptions.

    Timeouts and other libraries look for the current task, and a coroutine that was begun in
    place has none yet.
    """
    if asyncio.current_task() is None:
        await _next_turn()
    if not isinstance(work, Coroutine):
        work = _awaited(work)
    return await await_contained(work)


async def _awaited(work: Awaitable[T]) -> T:
    return await work


class Begun(Generic[T]):
    """A coroutine that was begun in place.

    done: it has ended without waiting, and `result` is what it returned. Otherwise `go_on`
    gives the rest of it, to be run by a task.
    """

    __slots__ = ("_waits_for", "_work", "done", "result")

    def __init__(self, work: Coroutine[Any, Any, T]) -> None:
        self._work = work
        self.result: T
        try:
            self._waits_for = work.send(None)
        except StopIteration as end:
            self.result = end.value
            self.done = True
        else:
            self.done = False

    async def go_on(self) -> T:
        """The rest. Await it once, in a task."""
        return await _rest(self._work, self._waits_for)


@types.coroutine
def _rest(work: Coroutine[Any, Any, T], waits_for: Any) -> Generator[Any, Any, T]:
    while True:
        try:
            value = yield waits_for
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:
            step: Callable[[Any], Any] = work.throw
            value = error
        else:
            step = work.send
        try:
            waits_for = step(value)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
