"""Files that are sent as they lie: the octets that are in them, whatever their size."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from restante import calls
from restante.server.sending import FILE_TURN
from restante.server.transport.transport import SocketTransport
from restante.stores.maildir.open_maildir import SMALL
from restante.stores.maildir.store import Maildir
from tests.conftest import Authority
from tests.server.kit import NAME, PASSWORD, Client, new_server, until

SIZES = (SMALL, SMALL + 1, 2 * FILE_TURN - 1, 2 * FILE_TURN, 2 * FILE_TURN + 77)


def in_wire_form(octets: int) -> bytes:
    """A message of so many octets, in lines of all lengths."""
    chance = random.Random(octets)
    head = b"Subject: as it lies\r\n\r\n"
    whole = bytearray(head)
    while len(whole) < octets:
        whole += b"%x" % chance.getrandbits(4 * chance.randrange(1, 250)) + b"\r\n"
    del whole[octets - 2 :]
    if whole.endswith(b"\r"):
        whole[-1:] = b"x"
    elif whole.endswith(b"\n"):
        whole[-2:] = b"xx"
    return bytes(whole + b"\r\n")


@pytest.fixture(scope="module")
def messages() -> list[bytes]:
    return [in_wire_form(octets) for octets in SIZES]


@pytest.fixture
def store(messages: list[bytes], tmp_path: Path) -> Maildir:
    for at, message in enumerate(messages):
        for folder in ("new", "cur", "tmp"):
            (tmp_path / NAME / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / NAME / "cur" / f"{at}.letter:2,").write_bytes(message)
    return Maildir(tmp_path)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Octets of each part that the system was to send."""
    parts: list[int] = []
    send_file = SocketTransport.send_file

    def counting(self: SocketTransport, fd: int, at: int, count: int) -> bool:
        done = send_file(self, fd, at, count)
        if done:
            parts.append(count)
        return done

    monkeypatch.setattr(SocketTransport, "send_file", counting)
    return parts


def fetch_all(client: Client, messages: list[bytes]) -> None:
    client.log_in()
    for number, message in enumerate(messages, 1):
        assert client.fetch(f"RETR {number}") == message
        assert client.ask("NOOP").startswith(b"+OK")
    assert client.ask("QUIT").startswith(b"+OK")


def test_in_the_clear(
    store: Maildir, messages: list[bytes], counted: list[int], loop_kind: str
) -> None:
    with new_server(store) as server, Client(server.port, receive_buffer=8192) as client:
        fetch_all(client, messages)
    assert sum(counted) == sum(octets for octets in SIZES if octets > SMALL)
    assert max(counted) == FILE_TURN


@pytest.mark.usefixtures("loop_kind")
@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_within_tls(
    tls: str,
    store: Maildir,
    messages: list[bytes],
    counted: list[int],
    authority: Authority,
) -> None:
    context = authority.client_context()
    with (
        new_server(store, tls=tls, certificate=authority.certificate) as server,
        Client(server.port, tls=context if tls == "implicit" else None) as client,
    ):
        if tls == "starttls":
            client.start_tls(context)
        fetch_all(client, messages)
    assert not counted


def test_slow_storage(
    store: Maildir,
    messages: list[bytes],
    counted: list[int],
    loop_kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls.Caller, "is_quick", lambda self: False)
    with new_server(store) as server, Client(server.port) as client:
        fetch_all(client, messages)
    assert not counted


def enter(client: Client) -> None:
    """Log in, once the one before has been buried."""

    def let_in() -> bool:
        client.ask(f"USER {NAME}")
        return client.ask(f"PASS {PASSWORD}").startswith(b"+OK")

    until(let_in)


def test_clients_that_leave_in_the_middle(
    store: Maildir, messages: list[bytes], counted: list[int], loop_kind: str
) -> None:
    with new_server(store) as server:
        for _ in range(3):
            with Client(server.port, receive_buffer=8192) as client:
                enter(client)
                client.send("RETR 5\r\n")
                assert client.line().startswith(b"+OK")
                client.reset()
        with Client(server.port) as client:
            enter(client)
            assert client.fetch("RETR 5") == messages[4]


def test_many_at_once_are_all_let_in(loop_kind: str) -> None:
    with new_server() as server:
        clients = [Client(server.port, greet=False) for _ in range(100)]
        try:
            for client in clients:
                assert client.line().startswith(b"+OK")
            assert server.sessions == 100
        finally:
            for client in clients:
                client.close()


def test_a_stop_cuts_handshakes_in_hand(authority: Authority, loop_kind: str) -> None:
    with new_server(tls="implicit", certificate=authority.certificate) as server:
        silent = [Client(server.port, greet=False) for _ in range(5)]
        silent[0].send(b"\x16\x03\x01")
    for client in silent:
        with client:
            assert client.is_cut()
