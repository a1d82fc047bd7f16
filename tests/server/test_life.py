"""Starting and stopping: from threads, as a context manager, inside an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from typing import Any

import pytest

from restante import Account, Listener, MemoryStore, Pop3Server, StaticAccounts
from restante.protocol.errors import Pop3Error
from restante.server.hooks import Event
from tests.server.kit import NAME, PASSWORD, Client, new_server, serving, until

BIG = b"x" * 78 + b"\r\n"
BIG_COUNT = 150_000  # of these lines in a message: more than any socket buffer takes


def refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_context_manager_listens_and_leaves_nothing(loop_kind: str) -> None:
    with serving([b"hello\n"]) as server:
        port = server.port
        assert server.addresses == [("127.0.0.1", port)]
        with Client(port) as client:
            assert client.greeting.startswith(b"+OK Restante ready")
            assert client.log_in().ask("STAT") == b"+OK 1 7"
            assert server.sessions == 1
            assert client.ask("QUIT") == b"+OK bye"
            assert client.rest() == b""
        until(lambda: server.sessions == 0)
    assert server.addresses == []
    assert refused(port)


def test_start_and_stop_from_different_threads_and_again() -> None:
    server = new_server()
    ports = set()
    for _ in range(3):
        starter = threading.Thread(target=server.start)
        starter.start()
        starter.join()
        ports.add(server.port)
        with Client(server.port) as client:
            assert client.ask("CAPA").startswith(b"+OK")
        stopper = threading.Thread(target=server.stop)
        stopper.start()
        stopper.join()
    assert all(map(refused, ports))


def test_stop_is_harmless_when_repeated_or_early() -> None:
    server = new_server()
    server.stop()
    server.start()
    server.stop()
    server.stop()


def test_starting_twice_is_refused_and_the_first_goes_on() -> None:
    with serving() as server:
        with pytest.raises(RuntimeError, match="started already"):
            server.start()
        with Client(server.port) as client:
            assert client.ask("QUIT") == b"+OK bye"


def test_a_port_in_use_raises_and_leaves_nothing_running() -> None:
    with serving() as first:
        second = new_server(port=first.port, min_threads=2)
        before = threading.active_count()
        with pytest.raises(OSError, match="in use"):
            second.start()
        until(lambda: threading.active_count() == before)
        assert second.addresses == []
        with Client(first.port) as client:
            assert client.ask("QUIT") == b"+OK bye"
    second.start()  # the port is free now, and the first try has spoilt nothing
    second.stop()


def test_when_the_second_listener_fails_the_first_is_closed_too() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free = Listener(port=0)
        server = new_server(listeners=[free, Listener(port=taken.getsockname()[1])])
        with pytest.raises(OSError, match="in use"):
            server.start()
        assert free.address is None


def test_several_servers_in_one_process_are_strangers_to_each_other() -> None:
    with (
        serving([b"one\n"]) as one,
        serving([b"two\n", b"two\n"], accounts={NAME: "other"}) as two,
    ):
        one.commands.remove("NOOP")
        with Client(one.port) as first, Client(two.port) as second:
            assert first.log_in().ask("STAT") == b"+OK 1 5"
            assert second.log_in(password="other").ask("STAT") == b"+OK 2 10"
            assert first.ask("NOOP") == b"-ERR unknown command"
            assert second.ask("NOOP") == b"+OK"


def test_one_server_on_several_listeners() -> None:
    with serving([b"x\n"], listeners=[Listener(port=0), Listener(port=0)]) as server:
        ports = [port for _, port in server.addresses]
        assert len(set(ports)) == 2
        for port in ports:
            with Client(port) as client:
                assert client.log_in().ask("QUIT") == b"+OK bye"


async def dialogue(port: int, *lines: str) -> list[bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = [await reader.readline()]
    for line in lines:
        writer.write(line.encode() + b"\r\n")
        answers.append(await reader.readline())
    writer.close()
    await writer.wait_closed()
    return answers


@pytest.mark.asyncio
async def test_serve_runs_until_stop_is_called() -> None:
    server = new_server()
    task = asyncio.create_task(server.serve())
    while not server.addresses:
        await asyncio.sleep(0.001)
    greeting, bye = await dialogue(server.port, "QUIT")
    assert greeting.startswith(b"+OK Restante ready")
    assert bye == b"+OK bye\r\n"
    server.stop()
    await task
    assert server.addresses == []


@pytest.mark.asyncio
async def test_serve_can_be_stopped_from_another_thread() -> None:
    server = new_server()
    task = asyncio.create_task(server.serve())
    while not server.addresses:
        await asyncio.sleep(0.001)
    await asyncio.to_thread(server.stop)
    await task


@pytest.mark.asyncio
async def test_serve_ends_when_its_task_is_cancelled() -> None:
    stopped = []
    server = new_server()
    server.on("stop")(lambda: stopped.append(True))
    task = asyncio.create_task(server.serve())
    while not server.addresses:
        await asyncio.sleep(0.001)
    port = server.port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await reader.readline()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stopped == [True]
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    assert refused(port)


@pytest.mark.asyncio
async def test_as_an_async_context_manager_and_again() -> None:
    server = new_server()
    for _ in range(2):
        async with server:
            assert (await dialogue(server.port, "NOOP"))[1] == b"-ERR log in first\r\n"


@pytest.mark.asyncio
async def test_close_is_harmless_when_repeated_at_the_same_time() -> None:
    server = new_server()
    await server.open()
    await asyncio.gather(server.close(), server.close())
    await server.close()


@pytest.mark.parametrize("use_async", [False, True], ids=["plain", "async"])
def test_a_handler_may_ask_for_the_end(use_async: bool) -> None:
    server = new_server()

    def stop(*_: object) -> str:
        server.stop()
        return "stopping"

    async def stop_async(*_: object) -> str:
        return stop()

    server.command("XSTOP")(stop_async if use_async else stop)
    server.start()
    port = server.port
    with Client(port) as client:
        assert client.ask("XSTOP") == b"+OK stopping"
        assert client.is_cut()
    until(lambda: refused(port))
    server.stop()  # waits for the end that has come
    server.start()
    with Client(server.port) as client:
        assert client.ask("NOOP") == b"-ERR log in first"
    server.stop()


def test_stop_after_open_asks_for_the_end() -> None:
    server = new_server()

    async def run() -> None:
        await server.open()
        port = server.port
        server.stop()
        while server.addresses:
            await asyncio.sleep(0.01)
        assert refused(port)
        await server.close()

    asyncio.run(run())


@pytest.mark.parametrize("use_async", [False, True], ids=["plain", "async"])
@pytest.mark.parametrize("event", ["start", "accept_connection", "close_connection", "stop"])
def test_every_event_s_handler_may_ask_for_the_end(event: Event, use_async: bool) -> None:
    server = new_server()

    def stop(*_: object) -> None:
        server.stop()

    async def stop_async(*_: object) -> None:
        server.stop()

    server.on(event)(stop_async if use_async else stop)
    server.start()
    with contextlib.suppress(RuntimeError, OSError, EOFError), Client(server.port) as client:
        client.ask("QUIT")
    if event == "stop":
        server.stop()
    until(lambda: not server.addresses)
    server.stop()


@pytest.mark.asyncio
@pytest.mark.parametrize("use_async", [False, True], ids=["plain", "async"])
async def test_a_handler_may_ask_for_the_end_of_serve(use_async: bool) -> None:
    server = new_server()

    def stop(*_: object) -> str:
        server.stop()
        return "stopping"

    async def stop_async(*_: object) -> str:
        return stop()

    server.command("XSTOP")(stop_async if use_async else stop)
    task = asyncio.create_task(server.serve())
    while not server.addresses:
        await asyncio.sleep(0.001)
    assert (await dialogue(server.port, "XSTOP"))[1] == b"+OK stopping\r\n"
    await task


@pytest.mark.asyncio
@pytest.mark.parametrize("event", ["receive_command", "close_connection", "stop"])
async def test_close_in_a_handler_says_what_to_call(event: Event) -> None:
    """It would wait for the handler that waits for it."""
    server = new_server()
    errors: list[str] = []
    server.on("server_error")(lambda session, error: errors.append(str(error)))

    async def close(*_: object) -> None:
        await server.close()

    server.on(event)(close)
    await server.open()
    assert (await dialogue(server.port, "QUIT"))[1] == b"+OK bye\r\n"
    if event == "close_connection":
        while not errors:
            await asyncio.sleep(0.001)
    await server.close()
    assert errors == ["close() would wait for this very handler: call stop() instead"]


def test_a_store_may_ask_for_the_end() -> None:
    class Last(MemoryStore):
        blocking = True

        def open(self, account: Account) -> Any:
            server.stop()
            return super().open(account)

    server = new_server(Last())
    server.start()
    with Client(server.port) as client:
        client.log_in()
        assert client.is_cut()
    server.stop()


@pytest.mark.asyncio
async def test_what_runs_already_is_not_started_again() -> None:
    server = new_server()
    await server.open()
    try:
        for start in (server.open, server.serve):
            with pytest.raises(RuntimeError, match="started already"):
                await start()
        with pytest.raises(RuntimeError, match="started already"):
            server.start()
        assert (await dialogue(server.port, "QUIT"))[1] == b"+OK bye\r\n"
    finally:
        await server.close()


@pytest.mark.asyncio
async def test_close_before_open_is_harmless() -> None:
    await new_server().close()


@pytest.mark.asyncio
async def test_as_a_plain_context_manager_within_a_running_loop() -> None:
    """It has a thread and a loop of its own; this loop waits for neither its clients nor it."""
    with new_server() as server:
        assert (await dialogue(server.port, "NOOP"))[1] == b"-ERR log in first\r\n"
        with pytest.raises(RuntimeError, match=r"call stop\(\) instead"):
            await server.close()
        with pytest.raises(RuntimeError, match="started already"):
            await server.open()


def test_close_in_another_loop_says_what_to_call() -> None:
    with serving() as server, pytest.raises(RuntimeError, match=r"call stop\(\) instead"):
        asyncio.run(server.close())


def test_the_port_is_known_while_the_server_listens() -> None:
    server = new_server()
    with pytest.raises(RuntimeError, match="isn't started"):
        _ = server.port


# Graceful stop


def stopping(server: Pop3Server) -> threading.Thread:
    thread = threading.Thread(target=server.stop)
    thread.start()
    return thread


def test_stop_finishes_a_reply_in_flight_and_refuses_new_sessions(loop_kind: str) -> None:
    store = MemoryStore()
    store.add(NAME, BIG * BIG_COUNT)
    server = new_server(store, drain_seconds=30)
    server.start()
    port = server.port
    with Client(port) as client, Client(port) as idle:
        client.log_in().send("RETR 1\r\nDELE 1\r\nQUIT\r\n")
        assert client.line().startswith(b"+OK")
        stopper = stopping(server)
        assert idle.rest() == b""
        until(lambda: refused(port))
        assert stopper.is_alive()
        assert len(client.body()) == len(BIG) * BIG_COUNT
        assert client.rest() == b""  # what came after it was not begun
        stopper.join()
    assert len(store.messages(NAME)) == 1


def test_stop_ends_in_time_for_a_client_that_never_reads(loop_kind: str) -> None:
    store = MemoryStore()
    store.add(NAME, BIG * BIG_COUNT)
    server = new_server(store, drain_seconds=0.2)
    server.start()
    with Client(server.port, receive_buffer=4096) as client:
        client.log_in().send("RETR 1\r\n")
        client.line()
        server.stop()  # or it would wait for the client for ever
    store.open(Account(NAME)).close()  # its lease is free


def test_stop_waits_for_a_handler_and_sends_its_reply() -> None:
    entered, leave = threading.Event(), threading.Event()
    server = new_server()

    @server.command("XWAIT")
    def wait(*_: object) -> str:
        entered.set()
        leave.wait(10)
        return "done"

    server.start()
    with Client(server.port) as client:
        client.send("XWAIT\r\n")
        entered.wait(10)
        stopper = stopping(server)
        leave.set()
        assert client.line() == b"+OK done"
        stopper.join()


def test_stop_with_all_worker_threads_stuck_still_ends() -> None:
    leave = threading.Event()
    entered = threading.Semaphore(0)
    server = new_server(max_threads=1, drain_seconds=0)

    @server.command("XSTUCK")
    def stuck(*_: object) -> str:
        entered.release()
        leave.wait(20)
        raise Pop3Error("too late")

    server.start()
    with Client(server.port) as one, Client(server.port) as two:
        one.send("XSTUCK\r\n")
        entered.acquire(timeout=10)
        two.send("XSTUCK\r\n")
        stopper = stopping(server)
        until(lambda: not stopper.is_alive() or leave.wait(0.5) is False)
        leave.set()
        stopper.join(20)
        assert not stopper.is_alive()
        assert one.is_cut()
        assert two.is_cut()


def test_events_of_life_are_told_in_order() -> None:
    told: list[str] = []
    server = new_server()
    server.on("start")(lambda: told.append(f"start {bool(server.addresses)}"))
    server.on("close_connection")(lambda session: told.append("close"))
    server.on("stop")(lambda: told.append(f"stop {server.sessions}"))
    with server, Client(server.port) as client:
        client.ask("CAPA")
    assert told == ["start True", "close", "stop 0"]


def test_a_failing_start_handler_does_not_keep_the_server_from_listening() -> None:
    server = new_server()
    errors: list[Exception] = []
    server.on("server_error")(lambda session, error: errors.append(error))

    @server.on("start")
    def fail() -> None:
        raise ZeroDivisionError

    with server, Client(server.port) as client:
        assert client.ask("QUIT") == b"+OK bye"
    assert [type(error) for error in errors] == [ZeroDivisionError]


def test_max_connections(loop_kind: str) -> None:
    """L4: who comes too late is told so, and who waits gets in."""
    with serving(max_connections=2) as server:
        first, second = Client(server.port), Client(server.port)
        with Client(server.port) as third:
            assert third.greeting == b"-ERR [SYS/TEMP] too many connections: try again later"
            assert third.is_cut()
        assert first.ask("QUIT") == b"+OK bye"
        first.close()

        def let_in() -> bool:
            with contextlib.suppress(OSError, EOFError), Client(server.port) as late:
                return late.greeting.startswith(b"+OK")
            return False

        until(let_in)
        second.close()


def test_the_servers_arguments_are_checked() -> None:
    store = MemoryStore()
    with pytest.raises(ValueError, match="certificate"):
        Pop3Server(accounts={}, store=store, tls="starttls")
    with pytest.raises(ValueError, match="tls='sometimes'"):
        Pop3Server(accounts={}, store=store, tls="sometimes")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="case_insensitive"):
        Pop3Server(accounts=StaticAccounts({}), store=store, case_insensitive=True)
    with pytest.raises(TypeError, match="did you mean 'allow_plaintext'"):
        Pop3Server(accounts={}, store=store, alow_plaintext=True)  # type: ignore[call-arg]


def test_names_compare_without_regard_to_case_when_asked() -> None:
    with serving([b"x\n"], case_insensitive=True) as server, Client(server.port) as client:
        assert client.log_in("JOE", PASSWORD).ask("STAT") == b"+OK 1 3"


# An application's tests


def test_for_tests_nobody_is_delayed_or_banned() -> None:
    """Twenty-five wrong passwords take no time, and the right one is checked at once."""
    waits: list[float] = []
    store = MemoryStore()
    server = Pop3Server(accounts={NAME: PASSWORD}, store=store, port=0, for_tests=True)
    admission = server.context.guard

    with server:
        for _ in range(5):
            with Client(server.port) as client:
                for _ in range(5):
                    client.ask(f"USER {NAME}")
                    assert client.ask("PASS wrong") == b"-ERR [AUTH] authentication failed"
        waits = [each.until for each in admission.throttled()]
        assert admission.bans() == []
        with Client(server.port) as client:
            assert client.log_in().ask("STAT") == b"+OK 0 0"
    assert server.settings.failure_delay == 0
    assert waits == []
