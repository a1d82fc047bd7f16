"""Slow checks wait in a queue that is bounded in time; what matters is counted in places."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import pytest_asyncio

from restante.accounts.contract import AccountError
from restante.accounts.hashing import FIRST_GUESS, Busy, Hashing
from restante.calls import OnThread, go_on
from restante.threads import WorkerThreads

pytestmark = pytest.mark.asyncio


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Checks:
    """Checks that take a second each by the clock, one at a time, once they are let go."""

    def __init__(self, threads: WorkerThreads) -> None:
        self.clock = Clock()
        self.hashing = Hashing(threads, clock=self.clock)
        self.done: list[object] = []
        self.go = threading.Event()
        self.runs = threading.Event()

    def check(self, what: object) -> Callable[[], object]:
        def work() -> object:
            self.runs.set()
            assert self.go.wait(30)
            self.clock.now += 1.0
            self.done.append(what)
            return what

        return work

    def begin(self, what: object, *, first: bool = False) -> asyncio.Future[Any]:
        return asyncio.ensure_future(self.hashing.run(self.check(what), first=first))


@pytest.fixture
def threads() -> Iterator[WorkerThreads]:
    threads = WorkerThreads("hashing", 1, 1)
    yield threads
    threads.stop()


@pytest_asyncio.fixture
async def checks(threads: WorkerThreads) -> Checks:
    checks = Checks(threads)
    checks.go.set()
    await checks.hashing.run(checks.check("to measure"), first=False)
    checks.go.clear()
    checks.runs.clear()
    checks.done.clear()
    return checks


async def test_what_it_returns_or_raises_is_given(threads: WorkerThreads) -> None:
    hashing = Hashing(threads)
    assert await hashing.run(lambda: 7, first=True) == 7
    assert await hashing.run(OnThread(int, "8"), first=False) == 8

    def fails() -> None:
        raise AccountError("no memory")

    for _ in range(3):  # and the thread is free again
        with pytest.raises(AccountError, match="no memory"):
            await hashing.run(fails, first=False)


async def test_those_who_are_known_go_first(checks: Checks) -> None:
    running = checks.begin("running")
    await asyncio.sleep(0)
    waiting = [checks.begin("stranger 1"), checks.begin("stranger 2")]
    await asyncio.sleep(0)
    waiting += [checks.begin("owner 1", first=True), checks.begin("owner 2", first=True)]
    await asyncio.sleep(0)
    checks.go.set()
    await asyncio.gather(running, *waiting)
    assert checks.done == ["running", "owner 1", "owner 2", "stranger 1", "stranger 2"]


async def test_who_would_wait_too_long_is_refused_at_once(checks: Checks) -> None:
    """A second each, five seconds at most: five may wait, behind one that runs."""
    guesses = [checks.begin(number) for number in range(120)]
    for _ in range(3):
        await asyncio.sleep(0)
    refused = [guess for guess in guesses if guess.done()]
    assert len(refused) == checks.hashing.refused == 120 - 6
    assert {type(guess.exception()) for guess in refused} == {Busy}
    assert issubclass(Busy, AccountError)
    checks.go.set()
    await asyncio.gather(*guesses, return_exceptions=True)
    assert checks.done == [0, 1, 2, 3, 4, 5]


async def test_an_owner_waits_for_one_stranger_however_many_there_are(checks: Checks) -> None:
    guesses = [checks.begin(number) for number in range(120)]
    await asyncio.sleep(0)
    assert checks.hashing.expected_wait(first=False) == 6.0
    assert checks.hashing.expected_wait(first=True) == 1.0
    owner = checks.begin("owner", first=True)
    await asyncio.sleep(0)
    checks.go.set()
    await asyncio.gather(owner, *guesses, return_exceptions=True)
    assert checks.done.index("owner") == 1


async def test_owners_too_are_refused_when_there_are_too_many(checks: Checks) -> None:
    owners = [checks.begin(number, first=True) for number in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert checks.hashing.refused == 20 - 6
    checks.go.set()
    await asyncio.gather(*owners, return_exceptions=True)


async def test_who_has_waited_too_long_is_refused_and_costs_nothing(
    threads: WorkerThreads,
) -> None:
    checks = Checks(threads)
    checks.hashing.max_wait = FIRST_GUESS
    running = checks.begin("hangs")
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await checks.hashing.run(checks.check("too late"), first=True)
    checks.go.set()
    await running
    assert await checks.hashing.run(checks.check("later"), first=False) == "later"
    assert checks.done == ["hangs", "later"]


async def test_a_client_that_has_left_costs_no_check(checks: Checks) -> None:
    running, leaves, stays = (checks.begin(each) for each in ("running", "leaves", "stays"))
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.sleep(0)
    assert checks.hashing.expected_wait(first=False) == 2.0
    checks.go.set()
    await asyncio.gather(running, stays)
    assert checks.done == ["running", "stays"]
    with pytest.raises(asyncio.CancelledError):
        await leaves


async def test_a_client_that_leaves_when_its_turn_has_come_gives_it_to_the_next(
    checks: Checks,
) -> None:
    running, leaves, stays = (checks.begin(each) for each in ("running", "leaves", "stays"))
    await asyncio.sleep(0)
    running.add_done_callback(lambda _: leaves.cancel())
    checks.go.set()
    await asyncio.gather(running, stays)
    assert "stays" in checks.done
    assert checks.hashing.expected_wait(first=False) == 0.0


async def test_leaving_in_the_middle_of_a_check_makes_no_room_for_another(checks: Checks) -> None:
    running = checks.begin("running")
    assert await asyncio.to_thread(checks.runs.wait, 30)
    running.cancel()
    await asyncio.sleep(0)
    behind = checks.begin("behind")
    await asyncio.sleep(0)
    assert checks.hashing.expected_wait(first=False) == 2.0
    checks.go.set()
    await behind
    assert checks.done == ["running", "behind"]


async def test_it_may_be_begun_outside_of_a_task(checks: Checks) -> None:
    """As the server does: a coroutine is begun in place, and goes on in a task if it waits."""
    begun: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()

    def begin() -> None:
        works = [checks.hashing.run(checks.check(each), first=False) for each in (1, 2)]
        begun.set_result([go_on(work, work.send(None)) for work in works])

    asyncio.get_running_loop().call_soon(begin)
    one, two = await begun
    checks.go.set()
    assert [*await asyncio.gather(one, two)] == [1, 2]


async def test_several_threads_share_the_work() -> None:
    threads = WorkerThreads("hashing", 0, 4)
    checks = Checks(threads)
    try:
        works = [checks.begin(number) for number in range(12)]
        await asyncio.sleep(0)
        assert checks.hashing.expected_wait(first=False) == pytest.approx(12 * FIRST_GUESS / 4)
        assert checks.hashing.expected_wait(first=True) == pytest.approx(4 * FIRST_GUESS / 4)
        checks.go.set()
        assert sorted(await asyncio.gather(*works)) == list(range(12))
    finally:
        threads.stop()


async def test_after_the_threads_have_stopped(threads: WorkerThreads) -> None:
    hashing = Hashing(threads)
    threads.stop()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="stopped"):
            await hashing.run(lambda: 7, first=True)
