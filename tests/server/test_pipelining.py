"""Many commands at once, or one octet at a time: replies in order, in few writes (F4, F11)."""

from __future__ import annotations

import time
from statistics import median

import pytest

from restante import MemoryStore
from restante.server.connection import FLUSH_AT, Connection
from restante.server.transport.transport import SocketTransport
from tests.corpus import NASTY, wire_form
from tests.server.kit import NAME, PASSWORD, Client, serving, store_of, until

pytestmark = pytest.mark.usefixtures("loop_kind")

MAIL = [mail for name, mail in NASTY.items() if len(mail) < 2000 and name != "utf-8-header"]
LOGIN = f"USER {NAME}\r\nPASS {PASSWORD}\r\n"


def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what connections hand to their transports, from now on."""
    sizes: list[int] = []
    write = SocketTransport.write

    def counted(self: SocketTransport, data: bytes) -> None:
        sizes.append(len(data))
        write(self, data)

    monkeypatch.setattr(SocketTransport, "write", counted)
    return sizes


def test_a_thousand_commands_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(MAIL) as server, Client(server.port) as client:
        client.log_in()
        numbers = [n % len(MAIL) + 1 for n in range(1000)]
        expected = [client.ask(f"LIST {number}") for number in range(1, len(MAIL) + 1)]
        sizes = writes(monkeypatch)
        client.send("".join(f"LIST {number}\r\n" for number in numbers))
        assert [client.line() for _ in numbers] == [expected[number - 1] for number in numbers]
        assert len(sizes) <= 10


def test_a_reply_is_one_write_terminator_included(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(MAIL) as server, Client(server.port) as client:
        client.log_in()
        sizes = writes(monkeypatch)
        for command in ("LIST", "UIDL", "CAPA", "RETR 1", "TOP 1 0"):
            client.fetch(command)
        assert len(sizes) == 5


def test_a_client_that_takes_everything_is_not_the_only_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However fast it reads, others have a turn after each write of many replies."""
    written: list[int] = []
    receive = Connection.data_received

    def counted(self: Connection, data: bytes) -> None:
        written.append(0)
        receive(self, data)

    def take(self: SocketTransport, data: bytes) -> None:
        written[-1] += len(data)

    message = b"x" * 98 + b"\r\n"
    with serving([message * 1000]) as server, Client(server.port) as client:
        client.log_in()
        with monkeypatch.context() as patched:
            patched.setattr(Connection, "data_received", counted)
            patched.setattr(SocketTransport, "write", take)
            client.send("RETR 1\r\n" * 100)
            until(lambda: sum(written) == 100 * len(b"+OK 100000 octets\r\n.\r\n") + 10_000_000)
        assert max(written) < FLUSH_AT + 2 * len(message) * 1000
        assert client.ask("NOOP").startswith(b"+OK")


def whole_dialogue() -> tuple[str, int]:
    lines = [LOGIN + "STAT"]
    for number in range(1, len(MAIL) + 1):
        lines += [f"RETR {number}", f"TOP {number} 2", f"DELE {number}", f"RETR {number}"]
    return "\r\n".join([*lines, "RSET", "NOOP", "XNONE", "QUIT", ""]), len(MAIL)


def said_to(data: bytes, size: int) -> bytes:
    with serving(MAIL) as server, Client(server.port) as client:
        for at in range(0, len(data), size):
            client.send(data[at : at + size])
        return client.rest()


def test_replies_do_not_depend_on_how_commands_arrive() -> None:
    data = whole_dialogue()[0].encode()
    whole = said_to(data, len(data))
    assert whole.endswith(b"+OK\r\n-ERR unknown command\r\n+OK bye\r\n")
    assert said_to(data, 1) == whole
    assert said_to(data, 7) == whole


def test_a_client_that_reads_an_octet_at_a_time() -> None:
    with serving([b".dot\n"]) as server, Client(server.port) as client:
        client.log_in().send("RETR 1\r\nQUIT\r\n")
        octets = list(iter(lambda: client.socket.recv(1), b""))
        assert b"".join(octets) == b"+OK 6 octets\r\n..dot\r\n.\r\n+OK bye\r\n"


def test_retr_and_dele_pipelined() -> None:
    """Emacs and others do, whether or not PIPELINING is announced."""
    with serving(MAIL) as server, Client(server.port) as client:
        client.log_in()
        numbers = range(1, len(MAIL) + 1)
        client.send("".join(f"RETR {n}\r\nDELE {n}\r\n" for n in numbers) + "QUIT\r\n")
        for message in MAIL:
            assert client.line().startswith(b"+OK")
            assert client.body() == wire_form(message)
            assert client.line() == b"+OK marked"
        assert client.line() == b"+OK bye"
        assert isinstance(store_of(server), MemoryStore)
        assert store_of(server).messages(NAME) == {}


def test_all_replies_arrive_after_a_half_close() -> None:
    """`printf … | nc`"""
    big = b"Subject: x\n\n" + (b"y" * 70 + b"\n") * 50_000
    with serving([*MAIL, big]) as server, Client(server.port) as client:
        last = len(MAIL) + 1
        client.send(LOGIN + f"RETR {last}\r\nTOP {last} 1\r\nSTAT\r\n")
        client.shut_writing()
        said = client.rest()
        assert said.count(b"y" * 70) == 50_001
        assert said.splitlines()[-1].startswith(b"+OK %d " % last)
        until(lambda: server.sessions == 0)


def test_a_half_close_without_quit_deletes_nothing() -> None:
    with serving(MAIL) as server:
        with Client(server.port) as client:
            client.send(LOGIN + "DELE 1\r\nQUIT")  # no line end: not a command
            client.shut_writing()
            assert client.rest().endswith(b"+OK marked\r\n")
        with Client(server.port) as client:
            until(lambda: client.ask("USER joe") and client.ask("PASS secret").startswith(b"+OK"))
            assert client.ask("STAT").startswith(b"+OK %d " % len(MAIL))


def test_what_follows_quit_is_not_answered_and_does_not_destroy_its_reply() -> None:
    with serving(MAIL) as server, Client(server.port) as client:
        client.send(LOGIN + "QUIT\r\n" + "STAT\r\n" * 50_000)
        assert client.rest().splitlines()[-1] == b"+OK bye"


def test_the_lease_is_free_before_the_client_reads_bye() -> None:
    """L1: whoever reconnects at once gets in."""
    with serving([b"x\n"]) as server:
        for attempt in range(200):
            with Client(server.port) as client:
                client.send(LOGIN + ("DELE 1\r\n" if attempt == 150 else "") + "QUIT\r\n")
                client.line()
                there = b"+OK 1 message" if attempt <= 150 else b"+OK 0 messages"
                assert client.line() == there, attempt
                if attempt == 150:
                    client.line()
                assert client.line() == b"+OK bye"


def test_pipelining_with_events_that_listen() -> None:
    with serving(MAIL) as server:
        told: list[str] = []
        server.on("receive_command")(lambda session, line: told.append(line))
        server.on("send_response")(lambda session, line: told.append(line))
        with Client(server.port) as client:
            client.send(LOGIN + "STAT\r\nRETR 1\r\nNOOP\r\nQUIT\r\n")
            said = client.rest()
        assert told[0::2] == ["USER joe", "PASS ****", "STAT", "RETR 1", "NOOP", "QUIT"]
        assert all(line.encode() in said for line in told[1::2])


def test_a_reply_waits_for_nothing_but_its_own_work() -> None:
    """Nagle meeting delayed ACKs cost old servers 40 ms a reply."""
    with serving(MAIL) as server, Client(server.port) as client:
        client.log_in()
        took = []
        for _ in range(100):
            begun = time.monotonic()
            client.fetch("RETR 1")
            took.append(time.monotonic() - begun)
        assert median(took) < 0.03  # a busy machine delays some of them, Nagle all
