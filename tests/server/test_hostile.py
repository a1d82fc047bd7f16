"""Clients that mean no good, or have none to spare: bounded memory, bounded time, others served."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, cast

import pytest

from restante import MaildropStore, MemoryStore, MessageInfo, Pop3Server
from restante.accounts import Account
from restante.protocol.limits import MAX_AUTH_LINE, MAX_LINE, MAX_PENDING_INPUT
from restante.server import connection
from restante.server import server as server_module
from restante.server.connection import FLUSH_AT, Connection
from tests.server.kit import NAME, PASSWORD, Client, new_server, serving, store_of, until

LINE = b"x" * 78 + b"\r\n"
BIG = LINE * 60_000  # 4.8 MB: more than sockets with small buffers take
IDLE: dict[str, Any] = {"idle_timeout": 0.25, "short_idle": True}
READ_SIZE = 256 * 1024  # the most that asyncio hands over at once

pytestmark = pytest.mark.usefixtures("loop_kind")


@pytest.fixture
def big() -> Iterator[Pop3Server]:
    store = MemoryStore()
    for _ in range(3):
        store.add(NAME, BIG)
    store.add("ann", b"small\n")
    with new_server(store, {NAME: PASSWORD, "ann": PASSWORD}) as server:
        yield server


def connections(server: Pop3Server) -> list[Connection]:
    return cast(list[Connection], list(server._live.connections))


def held(server: Pop3Server) -> int:
    """Octets that the server holds for its clients, coming and going."""
    return sum(
        len(each.session.buffer) + each._transport.get_write_buffer_size() + each._gathered
        for each in connections(server)
    )


def test_one_that_pipelines_and_never_reads(big: Pop3Server) -> None:
    """Its messages wait in the store, its commands in the network, and others are served."""
    with Client(big.port, receive_buffer=4096) as client:
        client.log_in()
        client.socket.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            for _ in range(400):
                client.send(b"RETR 1\r\nTOP 2 99999999\r\nUIDL\r\n" * 300)
        with Client(big.port) as other:
            assert other.log_in("ann").fetch("RETR 1") == b"small\r\n"
        bound = MAX_PENDING_INPUT + READ_SIZE + 2 * FLUSH_AT + 4 * big.settings.batch_size
        assert held(big) <= bound
        client.socket.settimeout(15)
        for _ in range(2):  # and when it does read, all is in order
            assert client.line() == b"+OK 4800000 octets"
            assert len(client.body()) == len(BIG)
            assert client.line() == b"+OK top of message follows"
            assert len(client.body()) == len(BIG)
            assert client.line() == b"+OK 3 messages"
            assert client.body().count(b"\r\n") == 3
    until(lambda: big.sessions == 0)


def test_small_replies_that_nobody_reads_wait_too() -> None:
    """Without a message in flight: what no task paces, the transport does."""
    with serving([b"x\n"] * 200) as server, Client(server.port, receive_buffer=4096) as client:
        client.log_in()
        block = client.fetch("UIDL")
        asked = 0
        client.socket.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            for _ in range(200):
                client.socket.sendall(b"UIDL\r\n" * 1000)
                asked += 1000
        assert held(server) <= MAX_PENDING_INPUT + READ_SIZE + 3 * FLUSH_AT
        client.socket.settimeout(15)
        for _ in range(min(asked, 5000)):
            assert client.line() == b"+OK 200 messages"
            assert client.body() == block


def test_reading_goes_on_after_it_was_paused() -> None:
    """More commands than are read ahead, all quick, by one who reads late."""
    with serving([b"x\n"] * 50) as server, Client(server.port, receive_buffer=4096) as client:
        client.log_in()
        count = 60_000
        sender = threading.Thread(target=client.send, args=(b"LIST\r\n" * count,))
        sender.start()
        time.sleep(0.1)
        for _ in range(count):
            assert client.line() == b"+OK 50 messages"
            client.body()
        sender.join()
        assert client.ask("QUIT") == b"+OK bye"


def test_one_that_takes_nothing_for_too_long_is_cut(
    big: Pop3Server, quick_sweep: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with new_server(store_of(big), stall_timeout=0.2) as server:
        with Client(server.port, receive_buffer=4096) as client:
            client.log_in().send("DELE 2\r\nRETR 1\r\n")
            until(lambda: server.sessions == 0)
        with Client(server.port) as client:
            assert client.log_in().ask("STAT").startswith(b"+OK 3 ")  # D5


def test_a_slow_reader_is_not_a_stalled_one(quick_sweep: None) -> None:
    """L2: never idle while data flows."""
    with (
        serving([BIG], stall_timeout=1.5, **IDLE) as server,
        Client(server.port, receive_buffer=65_536) as client,
    ):
        client.log_in().send("RETR 1\r\n")
        begun, got = time.monotonic(), 0
        while time.monotonic() - begun < 0.8:
            got += len(client.socket.recv(65_536))
            time.sleep(0.02)
        client.send("QUIT\r\n")
        assert client.rest().endswith(b"\r\n.\r\n+OK bye\r\n")


@pytest.mark.parametrize("logged_in", [False, True])
@pytest.mark.parametrize(
    ("start", "limit"), [(b"", MAX_LINE), (b"USER ", MAX_LINE), (b"AUTH PLAIN ", MAX_AUTH_LINE)]
)
def test_ten_megabytes_without_a_newline(logged_in: bool, start: bytes, limit: int) -> None:
    """L3: told, then closed, and never held in memory."""
    with serving() as server, Client(server.port) as client:
        if logged_in:
            client.log_in()
        most = 0
        client.send(start)
        with contextlib.suppress(ConnectionError):
            for _ in range(160):
                client.send(b"x" * 65_536)
                most = max(most, held(server))
        assert client.line() == b"-ERR line of more than %d octets" % limit
        assert client.is_cut()
        assert most <= limit + READ_SIZE + 2


def test_one_that_goes_on_talking_after_it_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_LINGER", 100_000)
    with serving() as server, Client(server.port) as client:
        client.send(b"x" * 2000)
        assert client.line().startswith(b"-ERR line of more")
        with pytest.raises(ConnectionError):
            client.send(b"x" * 100_000_000)
        until(lambda: server.sessions == 0)


def test_a_lingering_connection_ends_by_itself_and_holds_no_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "LINGER_SECONDS", 0.1)
    with serving() as server, Client(server.port) as client:
        client.log_in().send(b"x" * 2000)
        assert client.line().startswith(b"-ERR line of more")
        with Client(server.port) as other:
            until(lambda: other.ask("USER joe") and other.ask("PASS secret").startswith(b"+OK"))
        until(lambda: server.sessions == 0)


def test_one_that_talks_on_after_quit_hears_the_end_though_the_server_closes(
    running_quit: tuple[Pop3Server, threading.Event],
) -> None:
    server, may_end = running_quit
    with Client(server.port) as client:
        client.log_in().ask("DELE 1")
        client.send(b"QUIT\r\nNOOP\r\n")
        until(lambda: [each._task for each in connections(server)] != [None])
        for each in server.clients:
            each.close()
        may_end.set()
        assert client.line() == b"+OK bye"
        client.send(b"NOOP\r\n")  # what is thrown away: a reset could destroy the last reply
        until(lambda: [each._lingering for each in connections(server)] == [len(b"NOOP\r\n")])


@pytest.fixture
def running_quit() -> Iterator[tuple[Pop3Server, threading.Event]]:
    """A server whose QUIT removes nothing until it may."""
    may_end = threading.Event()

    class Slow(MaildropStore):
        def list(self, account: Account) -> list[MessageInfo]:
            return [MessageInfo("1")]

        def read(self, account: Account, unique_id: str) -> bytes:
            return b"small\n"

        def delete(self, account: Account, unique_ids: Sequence[str]) -> None:
            assert may_end.wait(30)

    with new_server(Slow(), {NAME: PASSWORD}) as server:
        yield server, may_end


def test_one_that_connects_and_says_nothing(quick_sweep: None) -> None:
    with serving(**IDLE) as server:
        begun = time.monotonic()
        with Client(server.port) as client:
            assert client.rest() == b""  # RFC 1939 §3: without a reply
        assert time.monotonic() - begun >= 0.1


def test_one_that_sends_an_octet_now_and_then(quick_sweep: None) -> None:
    """The timer runs from the last whole command."""
    with serving(**IDLE) as server, Client(server.port) as client:
        begun = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while server.sessions and time.monotonic() - begun < 30:
                client.send(b"N")
                time.sleep(0.02)
        until(lambda: server.sessions == 0)


class GivenTime:
    """Time as the server sees it. It passes when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.looked = 0

    def monotonic(self) -> float:
        self.looked += 1
        return self.now

    def passes(self, seconds: float) -> None:
        """And the server has seen what that means for its connections."""
        self.now += seconds
        seen = self.looked
        until(lambda: self.looked >= seen + 2)


def test_commands_keep_a_session_alive(quick_sweep: None, monkeypatch: pytest.MonkeyPatch) -> None:
    given = GivenTime()
    monkeypatch.setattr(server_module, "time", given)
    with serving([b"x\n"]) as server, Client(server.port) as client:
        client.log_in().ask("DELE 1")
        for _ in range(5):
            given.passes(500)
            assert client.ask("NOOP") == b"+OK"
        given.passes(500)
        given.passes(601)
        assert client.rest() == b""
        until(lambda: server.sessions == 0)
        with Client(server.port) as again:
            assert again.log_in().ask("STAT") == b"+OK 1 3"  # an autologout deletes nothing


def test_an_exchange_can_be_idle_too(quick_sweep: None) -> None:
    with serving(**IDLE) as server:
        server.command("AUTH")(lambda session, argument, default: default())
        with Client(server.port) as client:
            assert client.ask("AUTH LOGIN").startswith(b"+ ")
            assert client.is_cut()
        until(lambda: server.sessions == 0)


def test_a_slow_handler_is_not_idleness(quick_sweep: None) -> None:
    with serving(**IDLE) as server:

        @server.command("XSLOW")
        def slow(*_: object) -> str:
            time.sleep(0.6)
            return "done"

        with Client(server.port) as client:
            assert client.ask("XSLOW") == b"+OK done"
            assert client.ask("QUIT") == b"+OK bye"


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_link_lost_in_the_middle_of_a_message_frees_the_lease_at_once(
    how: str, big: Pop3Server
) -> None:
    """L1"""
    with Client(big.port, receive_buffer=4096) as client:
        client.log_in().send("DELE 2\r\nRETR 1\r\n")
        assert client.line() == b"+OK marked"
        client.line()
        client.reset() if how == "reset" else client.close()
        with Client(big.port) as again:
            until(lambda: again.ask("USER joe") and again.ask("PASS secret").startswith(b"+OK"))
            assert again.ask("STAT").startswith(b"+OK 3 ")


def test_the_next_session_may_begin_when_the_client_hears_of_the_end() -> None:
    with serving() as server:
        for _ in range(50):
            with Client(server.port) as first:
                first.log_in().ask("NOOP")
                assert first.ask("NOOP " + "x" * MAX_LINE).startswith(b"-ERR line of more")
                with Client(server.port) as second:
                    second.log_in()
                    assert second.ask("QUIT") == b"+OK bye"


def test_too_many_bad_commands() -> None:
    with serving() as server, Client(server.port) as client:
        client.send(b"XYZZY\r\n" * 1000)
        lines = client.rest().splitlines()
        assert lines == [b"-ERR unknown command"] * 24 + [b"-ERR too many bad commands"]


def test_a_browser_is_told_once() -> None:
    with serving() as server, Client(server.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\n\r\nUSER joe\r\nPASS secret\r\nSTAT\r\n")
        assert client.rest() == b"-ERR this is not an HTTP server\r\n"


def test_every_octet_and_a_lot_of_noise() -> None:
    with serving() as server:
        for seed in range(20):
            with Client(server.port) as client:
                client.send(bytes((n * (2 * seed + 1)) % 256 for n in range(3000)) + b"\r\n")
                client.shut_writing()
                with contextlib.suppress(ConnectionError):
                    assert all(
                        line.startswith((b"-ERR", b"+OK")) for line in client.rest().splitlines()
                    )
        with Client(server.port) as client:
            client.log_in()
        until(lambda: server.sessions == 0)
