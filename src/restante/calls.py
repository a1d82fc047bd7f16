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
from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from contextvars import copy_context
from inspect import CO_COROUTINE
from math import inf
from time import monotonic, thread_time
from typing import Any, Generic, TypeVar

from restante.contained import await_contained, raise_contained
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


class Caller:
    """Calls the functions of one owner: an account store, a maildrop store, a handler.

    threads: where plain functions run that may wait. blocking: whether they may.
    probation: let blocking functions be called in place once `PROBATION` calls in a row were
        quick.
    """

    __slots__ = (
        "_cpu", "_probation", "_proven", "_quick", "_resumes", "_threads", "_waiting", "calls",
        "in_part", "on_threads",
    )  # fmt: skip

    def __init__(
        self, threads: WorkerThreads, *, blocking: bool = True, probation: bool = False
    ) -> None:
        self._threads = threads
        self._probation = probation
        self._proven = not blocking
        self._resumes = inf if blocking else 0.0  # when calls in place may go on, by `monotonic`
        self._quick = 0  # calls on probation in a row that were
        self._waiting = 0.0  # the share of sampled calls that waited
        self._cpu = 0.0
        self.calls = 0
        """Calls in place so far, those included whose rest a thread did."""
        self.on_threads = 0
        """Calls that a thread did, wholly or in part."""
        self.in_part = 0
        """Those of them that began in place, where `calls` counts them."""

    def is_quick(self) -> bool:
        """Whether functions may be called in place now."""
        return monotonic() >= self._resumes

    async def __call__(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function, plain or async, and give its result. Raises nothing but Exceptions."""
        begun = monotonic()
        if begun >= self._resumes:
            self.calls = calls = self.calls + 1
            cpu = 0.0 if calls % SAMPLE_EVERY else thread_time()
            try:
                result = function(*args)  # an async one gives what is awaited below
            except BaseException as error:
                raise_contained(error)
            finally:
                seconds = monotonic() - begun
                if cpu or seconds >= HARD_SECONDS:
                    self._sample(seconds, thread_time() - cpu)
            if type(result) is OnThread:
                self.on_threads += 1
                self.in_part += 1
                result = await self._threads.run(result)
        elif is_async(function):
            result = function(*args)
        elif self._probation:
            self.on_threads += 1
            result = await self._threads.run(self._prove, function, *args)
        else:
            self.on_threads += 1
            result = await self._threads.run(_call_through, function, args)
        return await in_task(result) if hasattr(result, "__await__") else result

    def call_here(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function of our own that no thread may call, however slow storage is now."""
        self.calls = calls = self.calls + 1
        begun, cpu = monotonic(), thread_time()
        try:
            return function(*args)
        finally:
            seconds = monotonic() - begun
            if not calls % SAMPLE_EVERY or seconds >= HARD_SECONDS:
                self._sample(seconds, thread_time() - cpu)

    def _sample(self, seconds: float, cpu: float) -> None:
        """See how long a call in place took."""
        waited = seconds - cpu > WAITED_SECONDS
        self._waiting += (waited - self._waiting) / MEMORY
        self._cpu += (cpu - self._cpu) / MEMORY
        if seconds >= HARD_SECONDS or self._waiting > MOST_WAITING or self._cpu > CPU_SECONDS:
            self._waiting = self._cpu = 0.0
            self._quick = 0
            self._resumes = monotonic() + REST_SECONDS if self._proven else inf

    def _prove(self, function: Callable[..., T | OnThread[T]], *args: Any) -> T:
        """Call a function on a thread, and see whether it is quick."""
        begun = monotonic()
        try:
            return finished(function(*args))
        finally:
            self._quick = self._quick + 1 if monotonic() - begun < QUICK_SECONDS else 0
            if self._quick >= PROBATION and not self._proven:
                self._resumes = 0.0


def _call_through(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    return finished(function(*args))


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling `function` gives something to await. Sees through callable objects."""
    code = getattr(function, "__code__", None)
    if code is not None:
        return bool(code.co_flags & CO_COROUTINE)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - the question is whether it is async
    )


def check_arguments(function: Callable[..., Any], what: str, arguments: Sequence[str]) -> None:
    """Raise TypeError for a function that can't be called with arguments of these names.

    what: which function it is, for the error.
    """
    try:
        signature = inspect.signature(function)
    except ValueError:
        return  # some built-in functions don't tell
    try:
        signature.bind(*arguments)
    except TypeError:
        expected = f"({', '.join(arguments)})"
        raise TypeError(f"{what} is called with {expected}, but takes {signature}") from None


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


async def go_on(work: Coroutine[Any, Any, T], waits_for: Any) -> T:
    """The rest of a coroutine that was begun in place, for a task to run.

    waits_for: what `work.send(None)` gave. Where that raised StopIteration, the coroutine has
    ended without waiting, and no task is needed.
    """
    return await _rest(work, waits_for)


@types.coroutine
def in_own_context(work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await a coroutine within a copy of the current context (`contextvars`).

    A coroutine that is begun in place runs in the context of whoever began it, and later in
    that of a task: what it sets would stay in the one and be missing in the other.
    """
    context = copy_context()
    step: Callable[[Any], Any] = work.send
    value: Any = None
    while True:
        try:
            waits_for = context.run(step, value)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        try:
            value = yield waits_for
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:
            step, value = work.throw, error
        else:
            step = work.send


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
