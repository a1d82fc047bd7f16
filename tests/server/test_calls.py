"""Others' functions: awaited, called in place or on a thread; whatever they raise, none ends us."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from typing import Any, TypeVar

import anyio
import pytest

from restante import (
    Account,
    AccountStore,
    Backend,
    Claim,
    ClientSession,
    Maildrop,
    MemoryStore,
    OnThread,
    Peer,
    Pop3Server,
    Store,
)
from restante import calls as calls_module
from restante.calls import (
    HARD_SECONDS,
    MEMORY,
    PROBATION,
    QUICK_SECONDS,
    REST_SECONDS,
    SAMPLE_EVERY,
    Caller,
    finished,
    go_on,
    in_task,
    is_async,
)
from restante.threads import WorkerThreads
from tests.server.kit import NAME, PASSWORD, Client, new_server, serving

T = TypeVar("T")

NOT_EXCEPTIONS = [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError]


@pytest.fixture
def threads() -> Iterator[WorkerThreads]:
    pool = WorkerThreads("test", 0, 2)
    yield pool
    pool.stop()


def on_a_loop(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run `work` on an event loop that isn't the main thread's, as a started server's isn't."""
    results: list[T] = []
    errors: list[BaseException] = []

    def target() -> None:
        try:
            results.append(asyncio.run(work()))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=target, name="loop")
    thread.start()
    thread.join(20)
    if errors:
        raise errors[0]
    return results[0]


def in_place(caller: Caller, function: Callable[..., T], *args: Any) -> T:
    """Have a function called that isn't to wait for anything."""
    work = caller(function, *args)
    with pytest.raises(StopIteration) as end:
        work.send(None)
    result: T = end.value.value
    return result


def where(*_: object) -> str:
    """The kind of thread that this is called on."""
    return "worker" if threading.current_thread().name == "restante-test" else "loop"


async def where_async(*_: object) -> str:
    await asyncio.sleep(0)
    return where()


class Callables:
    """Where a function is called, in every form that a function may have."""

    def plain(self) -> str:
        return where()

    async def coroutine(self) -> str:
        return where()

    async def __call__(self) -> str:
        return where()


# How a function is called


@pytest.mark.parametrize(
    "function",
    [where_async, partial(where_async, 1), Callables().coroutine, Callables()],
    ids=["function", "partial", "method", "object"],
)
@pytest.mark.parametrize("blocking", [False, True])
def test_an_async_function_is_awaited_on_the_loop(
    function: Callable[..., Any], blocking: bool, threads: WorkerThreads
) -> None:
    assert is_async(function)
    assert on_a_loop(lambda: Caller(threads, blocking=blocking)(function)) == "loop"


@pytest.mark.parametrize(
    "function",
    [where, partial(where, 1), Callables().plain, lambda *_: where()],
    ids=["function", "partial", "method", "lambda"],
)
@pytest.mark.parametrize(("blocking", "place"), [(True, "worker"), (False, "loop")])
def test_a_plain_one_is_called_on_a_thread_if_it_may_wait_and_in_place_otherwise(
    function: Callable[..., Any], blocking: bool, place: str, threads: WorkerThreads
) -> None:
    assert not is_async(function)
    assert on_a_loop(lambda: Caller(threads, blocking=blocking)(function)) == place


def test_what_is_called_in_place_is_done_in_the_very_call(threads: WorkerThreads) -> None:
    """No task and no turn of the loop is needed; there needn't even be a loop."""
    assert in_place(Caller(threads, blocking=False), lambda a, b: a + b, 1, 2) == 3


def test_a_plain_function_may_give_something_to_await(threads: WorkerThreads) -> None:
    def gives_coroutine(*args: object) -> Awaitable[str]:
        return where_async(*args)

    for blocking in (False, True):
        caller = Caller(threads, blocking=blocking)
        assert on_a_loop(partial(caller, gives_coroutine)) == "loop"


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("probation", [False, True])
def test_the_rest_of_the_work_is_done_on_a_thread(
    blocking: bool, probation: bool, threads: WorkerThreads
) -> None:
    places: list[str] = []

    def begin(number: int) -> Any:
        places.append(where())
        return OnThread(go_on_with, number + 1)

    def go_on_with(number: int) -> Any:
        places.append(where())
        return OnThread(end, number + 1)  # it may find that there is still more to do

    def end(number: int) -> int:
        places.append(where())
        return number + 1

    caller = Caller(threads, blocking=blocking, probation=probation)
    assert on_a_loop(lambda: caller(begin, 1)) == 4
    assert places == ["worker" if blocking else "loop", "worker", "worker"]


def test_whoever_may_wait_does_the_rest_by_himself() -> None:
    def begin() -> OnThread[int]:
        return OnThread(sum, [1, 2])

    work: Any = OnThread(begin)
    assert finished(work) == 3
    assert finished("no more to do") == "no more to do"
    with pytest.raises(ZeroDivisionError):
        finished(OnThread(divmod, 1, 0))


# Whether that is quick


class Machine:
    """The wall clock and a thread's processor time, which go on only when somebody works."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.cpu = 1000.0, 50.0
        monkeypatch.setattr(calls_module, "monotonic", lambda: self.wall)
        monkeypatch.setattr(calls_module, "thread_time", lambda: self.cpu)

    def work(self, cpu: float = 0.00002, waits: float = 0.0) -> str:
        """Work for so many seconds, and wait for so many more."""
        self.cpu += cpu
        self.wall += cpu + waits
        return where()


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


SAMPLES = SAMPLE_EVERY * MEMORY
"""Calls after which the averages have forgotten what was before."""


def test_quick_functions_go_on_being_called_in_place(
    machine: Machine, threads: WorkerThreads
) -> None:
    caller = Caller(threads, blocking=False)
    for _ in range(10 * SAMPLES):
        in_place(caller, machine.work)
        assert caller.is_quick()


def test_a_busy_machine_is_not_a_slow_disk(machine: Machine, threads: WorkerThreads) -> None:
    """One call in five waits 20 ms for a processor: longer than all others take together."""
    caller = Caller(threads, blocking=False)
    for number in range(10 * SAMPLES):
        in_place(caller, machine.work, 0.00002, 0.02 if number % 5 == 0 else 0.0)
        assert caller.is_quick()


def test_a_slow_disk_is_told_by_how_many_calls_wait(
    machine: Machine, threads: WorkerThreads
) -> None:
    """Each waits 2 ms, which is little."""
    caller = Caller(threads, blocking=False)
    for _ in range(SAMPLES):
        if caller.is_quick():
            in_place(caller, machine.work, 0.00002, 0.002)
    assert not caller.is_quick()


def test_functions_that_compute_for_long_are_no_better(
    machine: Machine, threads: WorkerThreads
) -> None:
    caller = Caller(threads, blocking=False)
    for _ in range(SAMPLES):
        if caller.is_quick():
            in_place(caller, machine.work, 0.02)
    assert not caller.is_quick()


@pytest.mark.parametrize("calls_before", range(SAMPLE_EVERY))
def test_one_call_that_takes_very_long_is_enough(
    machine: Machine, threads: WorkerThreads, calls_before: int
) -> None:
    """Whether it is one of those that are measured in full or not."""
    caller = Caller(threads, blocking=False)
    for _ in range(calls_before):
        in_place(caller, machine.work)
    assert caller.is_quick()
    in_place(caller, machine.work, 0.00002, HARD_SECONDS)
    assert not caller.is_quick()


def test_a_call_that_fails_is_measured_too(machine: Machine, threads: WorkerThreads) -> None:
    def fails_late() -> None:
        machine.work(waits=HARD_SECONDS)
        raise ValueError

    caller = Caller(threads, blocking=False)
    with pytest.raises(ValueError):
        in_place(caller, fails_late)
    assert not caller.is_quick()


def test_slow_functions_rest_on_threads_for_a_while(
    machine: Machine, threads: WorkerThreads
) -> None:
    caller = Caller(threads, blocking=False)
    assert on_a_loop(lambda: caller(machine.work, 0.00002, HARD_SECONDS)) == "loop"
    assert on_a_loop(lambda: caller(machine.work)) == "worker"
    machine.wall += REST_SECONDS - 0.1
    assert on_a_loop(lambda: caller(machine.work)) == "worker"
    machine.wall += 0.2
    assert on_a_loop(lambda: caller(machine.work)) == "loop"


# Probation: handlers that are called for every command


def places(caller: Caller, machine: Machine, count: int, waits: float = 0.0) -> list[str]:
    async def many() -> list[str]:
        return [await caller(machine.work, 0.00001, waits) for _ in range(count)]

    return on_a_loop(many)


def test_a_function_that_proves_quick_is_called_in_place(
    machine: Machine, threads: WorkerThreads
) -> None:
    caller = Caller(threads, probation=True)
    assert places(caller, machine, PROBATION + 3) == ["worker"] * PROBATION + ["loop"] * 3


def test_it_must_be_quick_many_times_in_a_row(machine: Machine, threads: WorkerThreads) -> None:
    caller = Caller(threads, probation=True)
    places(caller, machine, PROBATION - 1)
    places(caller, machine, 1, waits=QUICK_SECONDS)
    assert places(caller, machine, PROBATION + 1) == ["worker"] * PROBATION + ["loop"]


def test_one_that_becomes_slow_goes_back_to_threads_and_must_prove_itself_anew(
    machine: Machine, threads: WorkerThreads
) -> None:
    caller = Caller(threads, probation=True)
    places(caller, machine, PROBATION)
    assert places(caller, machine, 1, waits=HARD_SECONDS) == ["loop"]
    machine.wall += 10 * REST_SECONDS  # time alone proves nothing
    assert places(caller, machine, PROBATION + 1) == ["worker"] * PROBATION + ["loop"]


def test_without_probation_a_blocking_function_stays_on_threads(
    machine: Machine, threads: WorkerThreads
) -> None:
    assert set(places(Caller(threads), machine, 2 * PROBATION)) == {"worker"}


def test_handlers_of_every_command_are_on_probation_and_others_not() -> None:
    """In a running server, whatever its machine does: in the end they are on the loop."""
    seen: dict[str, list[str]] = {"receive_command": [], "reset": []}
    with serving() as server:

        @server.on("receive_command")
        def received(session: ClientSession, line: str) -> None:
            seen["receive_command"].append(threading.current_thread().name)

        @server.on("reset")
        def reset(session: ClientSession) -> None:
            seen["reset"].append(threading.current_thread().name)

        with Client(server.port) as client:
            client.log_in()
            for _ in range(100 * PROBATION):
                client.ask("RSET")
                if seen["receive_command"][-1] == "restante-loop":
                    break
    assert seen["receive_command"][0] == "restante-worker"
    assert seen["receive_command"][-1] == "restante-loop"
    assert set(seen["reset"]) == {"restante-worker"}


# What they raise


def raiser(kind: type[BaseException]) -> Callable[[], Any]:
    def function() -> Any:
        raise kind("for good")

    return function


def async_raiser(kind: type[BaseException], *, waits: bool) -> Callable[[], Awaitable[Any]]:
    async def function() -> Any:
        if waits:
            await asyncio.sleep(0)
        raise kind("for good")

    return function


@pytest.mark.parametrize("kind", NOT_EXCEPTIONS)
@pytest.mark.parametrize("how", ["in place", "thread", "rest", "probation", "begin", "wait"])
def test_whatever_is_raised_comes_as_an_exception(
    how: str, kind: type[BaseException], threads: WorkerThreads
) -> None:
    """So it costs a command, and neither the session's task nor the loop nor a thread ends."""
    caller = Caller(threads, blocking=how != "in place", probation=how == "probation")
    function: Callable[[], Any] = raiser(kind)
    if how in ("begin", "wait"):
        function = async_raiser(kind, waits=how == "wait")
    elif how == "rest":
        function = partial(OnThread, raiser(kind))

    async def work() -> str:
        with pytest.raises(RuntimeError, match=f"{kind.__name__} was raised") as caught:
            await caller(function)
        assert type(caught.value.__cause__) is kind
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        return str(await caller(where))  # both go on

    assert on_a_loop(work) == ("loop" if how == "in place" else "worker")


@pytest.mark.parametrize("blocking", [False, True])
def test_stop_iteration_comes_as_an_exception_too(blocking: bool, threads: WorkerThreads) -> None:
    """Within a coroutine it would mean that the coroutine has ended."""

    async def work() -> None:
        with pytest.raises(RuntimeError):
            await Caller(threads, blocking=blocking)(next, iter(()))

    on_a_loop(work)


def test_exceptions_come_as_they_are(threads: WorkerThreads) -> None:
    async def work() -> None:
        for function in (raiser(KeyError), async_raiser(KeyError, waits=True)):
            for blocking in (False, True):
                with pytest.raises(KeyError, match="for good"):
                    await Caller(threads, blocking=blocking)(function)

    on_a_loop(work)


def test_ctrl_c_in_the_main_thread_goes_through(threads: WorkerThreads) -> None:
    """Python raises it in whatever the main thread runs; the program is to end by it."""
    work = Caller(threads, blocking=False)(raiser(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        work.send(None)


def test_the_cancellation_of_our_own_task_goes_through(threads: WorkerThreads) -> None:
    told: list[str] = []

    async def handler() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            told.append("given back")

    async def work() -> None:
        task = asyncio.create_task(Caller(threads)(handler))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    on_a_loop(work)
    assert told == ["given back"]


def test_cancellations_that_a_handler_makes_itself_are_its_own(threads: WorkerThreads) -> None:
    async def handler() -> str:
        inner = asyncio.create_task(asyncio.sleep(60))
        inner.cancel()
        await inner
        return "never"

    async def work() -> None:
        with pytest.raises(RuntimeError, match="CancelledError was raised"):
            await Caller(threads)(handler)

    on_a_loop(work)


# What is begun in place goes on in a task


def begun(work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    """Begin in place, outside of any task, as the server does."""
    return go_on(work, work.send(None))


def test_what_was_begun_in_place_goes_on_in_a_task() -> None:
    async def waits() -> str:
        await in_task(asyncio.sleep(0.001))
        return "result"

    async def fails() -> None:
        await in_task(asyncio.sleep(0.001))
        raise KeyError("canary")

    async def work() -> None:
        loop = asyncio.get_running_loop()
        tasks: list[asyncio.Task[Any]] = []
        loop.call_soon(lambda: tasks.append(loop.create_task(begun(waits()))))
        loop.call_soon(lambda: tasks.append(loop.create_task(begun(fails()))))
        while len(tasks) < 2:
            await asyncio.sleep(0)
        assert await tasks[0] == "result"
        with pytest.raises(KeyError, match="canary"):
            await tasks[1]

    on_a_loop(work)


async def uses_timeouts() -> None:
    """What needs a current task, at the first await."""
    async with asyncio.timeout(5):
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.sleep(5)
    with anyio.fail_after(5):
        await anyio.sleep(0)
    with anyio.move_on_after(0.001) as scope:
        await anyio.sleep(5)
    assert scope.cancelled_caught
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.sleep, 0)


class TimedAccounts(AccountStore):
    async def lookup(self, name: str) -> Account | None:
        await uses_timeouts()
        return Account(name, (f"{{PLAIN}}{PASSWORD}",))


class TimedStore(Store):
    def __init__(self) -> None:
        self.store = MemoryStore()

    async def open(self, account: Account) -> Maildrop:
        await uses_timeouts()
        return self.store.open(account)


class TimedBackend(Backend):
    def __init__(self) -> None:
        self.store = TimedStore()

    async def log_in(self, claim: Claim, peer: Peer) -> Maildrop | None:
        await uses_timeouts()
        return await self.store.open(Account(claim.name))


def test_timeouts_work_in_accounts_stores_and_handlers(loop_kind: str) -> None:
    server = new_server(TimedStore(), TimedAccounts())

    @server.command("XTIMED")
    async def timed(session: ClientSession, argument: str, default: object) -> str:
        await uses_timeouts()
        return "timed"

    @server.on("accept_connection")
    async def accept(session: ClientSession) -> None:
        await uses_timeouts()

    @server.on("receive_command")
    async def received(session: ClientSession, line: str) -> None:
        await uses_timeouts()

    with server, Client(server.port) as client:
        assert client.log_in().ask("XTIMED") == b"+OK timed"
        assert client.ask("QUIT") == b"+OK bye"


def test_timeouts_work_in_a_backend(loop_kind: str) -> None:
    with Pop3Server(backend=TimedBackend(), port=0) as server, Client(server.port) as client:
        assert client.log_in(NAME, "whatever").ask("STAT") == b"+OK 0 0"
