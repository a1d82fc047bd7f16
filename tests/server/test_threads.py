"""Worker threads: min_threads are kept warm, max_threads is how many are active at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from restante import ClientSession, Pop3Server
from restante.threads import WorkerThreads, call_and_lend
from tests.conftest import Authority
from tests.server.kit import NAME, Client, new_server, serving, until

Default = Callable[..., Any]


@pytest.fixture
def pool() -> Iterator[WorkerThreads]:
    threads = WorkerThreads("test", 2, 4, idle_seconds=0.05)
    threads.start()
    yield threads
    threads.stop()
    assert threads.count == 0


def test_the_minimum_is_there_at_once_and_named(pool: WorkerThreads) -> None:
    assert pool.count == 2
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("restante-test") == 2


def test_functions_run_and_give_results_or_exceptions(pool: WorkerThreads) -> None:
    assert pool.submit(pow, 2, 10).result() == 1024
    with pytest.raises(ZeroDivisionError):
        pool.submit(divmod, 1, 0).result()
    assert pool.submit(pow, 2, 3).result() == 8  # the thread goes on


@pytest.mark.asyncio
async def test_an_exception_that_a_future_does_not_take_is_told_too(pool: WorkerThreads) -> None:
    def function() -> object:
        return next(iter(()))

    with pytest.raises(RuntimeError) as caught:
        await asyncio.wait_for(pool.run(function), 5)
    assert isinstance(caught.value.__cause__, StopIteration)


def test_never_more_than_the_maximum_at_once_and_the_rest_in_order(pool: WorkerThreads) -> None:
    active, most, order = 0, 0, []
    lock = threading.Lock()

    def job(number: int) -> None:
        nonlocal active, most
        with lock:
            active += 1
            most = max(most, active)
            order.append(number)
        time.sleep(0.005)
        with lock:
            active -= 1

    for future in [pool.submit(job, number) for number in range(20)]:
        future.result()
    assert most == 4
    assert pool.count == 4
    assert sorted(order) == list(range(20))
    assert [n for n in order if n >= 4] == sorted(n for n in order if n >= 4) or most == 4


def test_a_job_wakes_one_thread_the_one_that_had_the_last_job() -> None:
    """Not all that wait in turn: each would have to be waited for by the event loop."""
    pool = WorkerThreads("test", 16, 16)
    pool.start()
    try:
        used = {pool.submit(threading.get_ident).result(30) for _ in range(64)}
    finally:
        pool.stop()
    assert len(used) < 16


def test_threads_above_the_minimum_end_when_idle(pool: WorkerThreads) -> None:
    gate = threading.Event()
    futures = [pool.submit(gate.wait, 10) for _ in range(4)]
    until(lambda: pool.count == 4)
    gate.set()
    for future in futures:
        future.result()
    until(lambda: pool.count == 2)
    time.sleep(0.1)
    assert pool.count == 2


def test_waiting_functions_are_cancelled_by_stop() -> None:
    pool = WorkerThreads("test", 0, 1)
    pool.start()
    gate, entered = threading.Event(), threading.Event()

    def wait() -> None:
        entered.set()
        gate.wait(10)

    running = pool.submit(wait)
    waiting = pool.submit(pow, 2, 2)
    entered.wait(10)
    begun = time.monotonic()
    pool.stop(timeout=0.05)
    assert time.monotonic() - begun < 9  # or it waited for the gate
    assert waiting.cancelled()
    with pytest.raises(RuntimeError, match="stopped"):
        pool.submit(pow, 2, 2)
    gate.set()
    running.result()
    until(lambda: pool.count == 0)


def test_a_stopped_pool_starts_again(pool: WorkerThreads) -> None:
    pool.stop()
    assert pool.count == 0
    pool.start()
    assert pool.submit(pow, 3, 2).result() == 9


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (2, 1), (0, 0)])
def test_numbers_that_make_no_sense(low: int, high: int) -> None:
    with pytest.raises(ValueError, match="minimum"):
        WorkerThreads("test", low, high)


@pytest.mark.asyncio
async def test_a_thread_that_waits_runs_what_it_waits_for() -> None:
    pool = WorkerThreads("test", 0, 1)
    pool.start()
    loop = asyncio.get_running_loop()
    seen: list[threading.Thread] = []

    async def work() -> int:
        seen.append(await pool.run(threading.current_thread))
        return await pool.run(pow, 2, 5)

    def handler() -> int:
        seen.append(threading.current_thread())
        return call_and_lend(loop, work())

    assert await pool.run(handler) == 32
    assert seen[0] is seen[1]
    assert pool.count == 1
    await asyncio.to_thread(pool.stop)


@pytest.mark.asyncio
async def test_what_outlives_the_lending_runs_in_the_pool() -> None:
    """A task begun while a thread lent itself must not wait for that thread afterwards."""
    pool = WorkerThreads("test", 0, 1)
    pool.start()
    loop = asyncio.get_running_loop()
    gate = asyncio.Event()
    later: list[asyncio.Task[int]] = []

    async def after() -> int:
        await gate.wait()
        return await pool.run(pow, 2, 6)

    async def work() -> None:
        later.append(loop.create_task(after()))

    await pool.run(call_and_lend, loop, work())
    gate.set()
    assert await asyncio.wait_for(later[0], 5) == 64
    await asyncio.to_thread(pool.stop)


# Within a server


def test_a_thread_that_has_just_been_started_takes_a_job() -> None:
    """No further one is started for it."""
    for _ in range(200):
        fresh = WorkerThreads("fresh", 2, 4)
        fresh.start()
        assert fresh.submit(lambda: 1).result(10) == 1
        assert fresh.count == 2
        fresh.stop()


def test_min_threads_are_warm_after_start() -> None:
    with serving(min_threads=3, max_threads=5) as server:
        assert server._workers.count == 3
        assert server._storage.count == 3
    assert server._workers.count == 0


def busy_handler(server: Pop3Server) -> tuple[list[int], threading.Event]:
    """A command XBUSY that waits; gives how many were in it each time, and what lets go."""
    counts: list[int] = []
    inside: list[object] = []
    leave = threading.Event()

    @server.command("XBUSY")
    def busy(session: ClientSession, argument: str, default: Default) -> str:
        inside.append(session)
        counts.append(len(inside))
        leave.wait(10)
        inside.remove(session)
        return "done"

    return counts, leave


def test_max_threads_handlers_are_active_at_once_and_no_more() -> None:
    with serving(max_threads=3) as server:
        counts, leave = busy_handler(server)
        clients = [Client(server.port) for _ in range(6)]
        for client in clients:
            client.send("XBUSY\r\n")
        until(lambda: len(counts) == 3)
        time.sleep(0.05)
        assert len(counts) == server._workers.count == 3
        leave.set()
        for client in clients:
            assert client.line() == b"+OK done"
            client.close()
        assert len(counts) == 6
        assert max(counts) == 3


def test_busy_worker_threads_do_not_hold_up_other_sessions(quick_sweep: None) -> None:
    """The commands of the protocol go on, and so do time limits, while all handlers wait."""
    with serving([b"x\n"], max_threads=1, idle_timeout=0.2, short_idle=True) as server:
        counts, leave = busy_handler(server)
        with Client(server.port) as busy, Client(server.port) as other:
            busy.send("XBUSY\r\n")
            until(lambda: counts)
            assert other.log_in().fetch("RETR 1") == b"x\r\n"
            assert other.is_cut()  # idle
            leave.set()
            assert busy.line() == b"+OK done"


@pytest.mark.parametrize("max_threads", [1, 2])
def test_plain_handlers_calling_default_do_not_deadlock(max_threads: int) -> None:
    """Their default needs threads too: the one that waits lends itself."""
    with serving([b"Subject: x\n\n" + b"y" * 200_000], max_threads=max_threads) as server:
        for verb in ("USER", "PASS", "STAT", "RETR", "DELE", "RSET", "QUIT"):

            def wrapper(session: ClientSession, argument: str, default: Default) -> Any:
                return default()

            server.command(verb)(wrapper)
        server.on("authenticate")(lambda session, claim, default: default())
        server.on("retrieve")(lambda session, number: None)
        server.on("delete")(lambda session, number: True)

        def whole_session() -> None:
            with Client(server.port) as client:
                client.ask(f"USER {NAME}")
                while client.ask("PASS secret").startswith(b"-ERR [IN-USE]"):
                    client.ask(f"USER {NAME}")
                assert len(client.fetch("RETR 1")) == 200_016
                assert client.ask("DELE 1") == b"+OK marked"
                assert client.ask("RSET") == b"+OK 1 message"
                assert client.ask("QUIT") == b"+OK bye"

        threads = [threading.Thread(target=whole_session) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()


def test_stls_within_a_plain_handler_leaves_nothing_behind(
    authority: Authority, loop_kind: str
) -> None:
    """What the connection does after it is not the lent thread's any more."""
    server = new_server(tls="starttls", certificate=authority.certificate, max_threads=1)
    told: list[str] = []
    server.on("close_connection")(lambda session: told.append("closed"))
    server.on("reset")(lambda session: told.append("reset"))

    @server.command("STLS")
    def stls(session: ClientSession, argument: str, default: Default) -> Any:
        return default()

    with server, Client(server.port) as client:
        client.start_tls(authority.client_context()).log_in()
        assert client.ask("RSET") == b"+OK 0 messages"
        assert client.ask("QUIT") == b"+OK bye"
        client.close()
        until(lambda: told == ["reset", "closed"])
