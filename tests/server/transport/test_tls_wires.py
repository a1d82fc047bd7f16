"""TLS straight on a socket: handshakes of all kinds, and its end."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import cast

import pytest

from restante import TlsSettings
from restante.server.transport import freeing, transport
from restante.server.transport.transport import SocketTransport
from tests.conftest import Authority
from tests.server.transport.kit import Counting, Ground, Recorder, pair, reset, take, turns, until

FEW = 60
"""Calls that a handshake and a moment may take; a loop that spins makes thousands."""


class Peer:
    """A TLS client whose octets go where the test wants them."""

    def __init__(self, authority: Authority) -> None:
        self.arrived, self.leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = authority.client_context().wrap_bio(
            self.arrived, self.leaving, server_hostname="localhost"
        )

    async def step(self, plain: socket.socket, do: Callable[[], object]) -> bool:
        """Try once, after what has come meanwhile; whether it was enough."""
        try:
            while more := plain.recv(65536):
                self.arrived.write(more)
            self.arrived.write_eof()
        except BlockingIOError:
            pass
        try:
            do()
        except ssl.SSLWantReadError:
            return False
        return True

    def hello(self) -> bytes:
        """What the handshake begins with."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self.leaving.read()

    async def drive(
        self, plain: socket.socket, do: Callable[[], object], piece: int = 65536
    ) -> None:
        """Until it is done, `piece` octets at a time."""
        while True:
            done = await self.step(plain, do)
            await self.post(plain, piece)
            if done:
                return
            await asyncio.sleep(0.001)

    async def post(self, plain: socket.socket, piece: int = 65536) -> None:
        while octets := self.leaving.read(piece):
            plain.send(octets)
            if piece < 65536:
                await asyncio.sleep(0)

    async def take(self, plain: socket.socket, count: int) -> bytes:
        """So many octets, or fewer at an end in order. Raises SSLEOFError for another end."""
        data = bytearray()

        def read() -> None:
            while len(data) < count:
                if not (more := self.tls.read(count - len(data))):
                    return
                data.extend(more)

        with contextlib.suppress(ssl.SSLZeroReturnError):
            await self.drive(plain, read)
        return bytes(data)


class Server:
    """A transport that makes its handshake."""

    def __init__(self, transport: SocketTransport, context: ssl.SSLContext) -> None:
        self.transport = transport
        self.recorder = Recorder()
        self.ended: list[OSError | None] = []
        self._context = context

    def start(self, seconds: float = 10.0, begin: bool = True) -> None:
        def done(error: OSError | None) -> None:
            self.ended.append(error)
            if begin and error is None:
                self.transport.begin(self.recorder)

        self.transport.start_tls(self._context, seconds, done)


@pytest.fixture(scope="module")
def context(authority: Authority) -> ssl.SSLContext:
    return TlsSettings(authority.certificate).context


Test = Callable[[Counting, Server, Peer, socket.socket], Awaitable[None]]
Run = Callable[..., None]


@pytest.fixture
def run(
    ground: Ground,
    context: ssl.SSLContext,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Runs a test with both ends of a connection, TLS not begun. Whatever happens in it, memory
    that is to be given back is, once, and after the socket was closed."""
    begun: list[ssl.SSLSocket] = []
    freed: list[ssl.SSLSocket] = []

    def way_to_free(tls: ssl.SSLSocket) -> Callable[[], None]:
        def free() -> None:
            assert tls.fileno() == -1
            freed.append(tls)

        begun.append(tls)
        return free

    monkeypatch.setattr(transport, "way_to_free", way_to_free)

    def run(test: Test, room: int | None = None) -> None:
        async def whole(readiness: Counting) -> None:
            async with pair(readiness, room=room) as (end, plain):
                await test(readiness, Server(end, context), Peer(authority), plain)

        ground.run(whole)
        assert freed == begun

    return run


def test_where_python_frees_by_itself_nothing_is_to_be_done(
    context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where it doesn't, what its `ssl` is made of does it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        tls = context.wrap_socket(ours, server_side=True, do_handshake_on_connect=False)
        with tls:
            assert (freeing.way_to_free(tls) is None) == (freeing.release is None)
    released: list[object] = []
    monkeypatch.setattr(freeing, "release", released.append)
    inner = SimpleNamespace(ssl=object())
    free = freeing.way_to_free(cast(ssl.SSLSocket, SimpleNamespace(_sslobj=inner)))
    assert free is not None
    assert released == []
    free()
    assert released == [inner.ssl]


def test_a_handshake_in_single_octets(run: Run) -> None:
    async def test(_: Counting, server: Server, peer: Peer, plain: socket.socket) -> None:
        server.start()
        await peer.drive(plain, peer.tls.do_handshake, piece=1)
        await until(lambda: server.ended == [None])
        server.transport.write(b"+OK\r\n")
        assert await peer.take(plain, 5) == b"+OK\r\n"

    run(test)


def test_its_end_and_the_first_command_in_one_piece(run: Run) -> None:
    async def test(_: Counting, server: Server, peer: Peer, plain: socket.socket) -> None:
        server.start()
        while not await peer.step(plain, peer.tls.do_handshake):
            await peer.post(plain)
            await asyncio.sleep(0.001)
        said = b"CAPA\r\n" * 6000
        for at in range(0, len(said), 9000):
            peer.tls.write(said[at : at + 9000])
        await peer.post(plain)
        await until(lambda: server.recorder.data == said)

    run(test)


def test_a_silent_peer_is_cut_off_in_time(run: Run) -> None:
    async def test(readiness: Counting, server: Server, _: Peer, plain: socket.socket) -> None:
        server.start(seconds=0.05)
        assert await take(plain, 1) == b""
        assert [type(each) for each in server.ended] == [TimeoutError]
        assert readiness.turns < FEW

    run(test)


def test_garbage_is_answered_with_an_alert(run: Run) -> None:
    async def test(_: Counting, server: Server, __: Peer, plain: socket.socket) -> None:
        plain.send(b"\x16\x03\x01\x00\x05USER " + b"joe\r\n" * 9000)
        server.start()
        await until(lambda: server.ended)
        assert isinstance(server.ended[0], ssl.SSLError)
        assert (await take(plain, 100))[:1] == b"\x15"  # an alert, RFC 8446 §5.1

    run(test)


@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("said", [0, 1, 20])
def test_a_peer_that_leaves_in_the_handshake(how: str, said: int, run: Run) -> None:
    async def test(_: Counting, server: Server, peer: Peer, plain: socket.socket) -> None:
        server.start()
        plain.send(peer.hello()[:said] or b"\x16")
        await turns(2)
        if how == "end":
            plain.close()
        else:
            reset(plain)
        await until(lambda: server.ended)
        assert isinstance(server.ended[0], OSError)
        assert len(server.ended) == 1

    run(test)


@pytest.mark.parametrize("said", [b"", b"\x16\x03"])
def test_a_peer_that_has_left_before_it(said: bytes, run: Run) -> None:
    """As port scanners do: neither the descriptor nor the caller is forgotten."""

    async def test(_: Counting, server: Server, __: Peer, plain: socket.socket) -> None:
        plain.send(said)
        reset(plain)
        server.start()
        await until(lambda: server.ended)
        assert isinstance(server.ended[0], OSError)

    run(test)


def test_much_for_a_slow_reader(run: Run) -> None:
    async def test(readiness: Counting, server: Server, peer: Peer, plain: socket.socket) -> None:
        server.start()
        await peer.drive(plain, peer.tls.do_handshake)
        await until(lambda: server.ended == [None])
        whole = b"".join(bytes([at % 251]) * 3001 for at in range(300))
        for at in range(0, len(whole), 3001):
            server.transport.write(whole[at : at + 3001])
        before = readiness.turns
        await turns()
        assert readiness.turns < before + FEW
        assert server.recorder.calls == ["pause"]
        assert not server.transport.send_file(0, 0, 1)
        assert not server.transport.can_write_eof()
        server.transport.close()
        # close_notify had no room, and still comes: another end would be an error.
        assert await peer.take(plain, len(whole) + 1) == whole
        assert server.recorder.calls[-1] == "lost"
        assert server.recorder.error is None

    run(test, room=8192)


class Reluctant(ssl.SSLSocket):
    """Has no room for its goodbye at first."""

    refusals = 2

    def unwrap(self) -> socket.socket:
        if self.refusals:
            self.refusals -= 1
            raise ssl.SSLWantWriteError
        return super().unwrap()


def test_close_notify_waits_for_room(
    run: Run, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "sslsocket_class", Reluctant)

    async def test(_: Counting, server: Server, peer: Peer, plain: socket.socket) -> None:
        server.start()
        await peer.drive(plain, peer.tls.do_handshake)
        await until(lambda: server.ended == [None])
        server.transport.write(b"+OK bye\r\n")
        server.transport.close()
        assert server.recorder.calls == []
        assert server.transport.get_write_buffer_size() > 0  # so that patience ends
        assert await peer.take(plain, 100) == b"+OK bye\r\n"
        assert server.recorder.calls == ["lost"]

    run(test)


def test_abort_is_no_end_in_order(run: Run) -> None:
    async def test(_: Counting, server: Server, peer: Peer, plain: socket.socket) -> None:
        server.start()
        await peer.drive(plain, peer.tls.do_handshake)
        await until(lambda: server.ended == [None])
        server.transport.write(b"+OK half a mess")
        server.transport.abort()
        with pytest.raises(ssl.SSLEOFError):
            await peer.take(plain, 100)

    run(test)


@pytest.mark.parametrize("in_order", [True, False])
def test_the_peers_end(in_order: bool, run: Run) -> None:
    async def test(_: Counting, server: Server, peer: Peer, plain: socket.socket) -> None:
        server.recorder = Recorder(keeps_open=False)
        server.start()
        await peer.drive(plain, peer.tls.do_handshake)
        peer.tls.write(b"QUIT\r\n")
        if in_order:
            with pytest.raises(ssl.SSLWantReadError):
                peer.tls.unwrap()
        await peer.post(plain)
        plain.shutdown(socket.SHUT_WR)
        await until(lambda: "lost" in server.recorder.calls)
        assert server.recorder.data == b"QUIT\r\n"
        assert server.recorder.calls == ["eof", "lost"]

    run(test)


def test_an_upgrade_with_output_waiting(run: Run) -> None:
    """The client's side has begun already, but takes nothing: no call is made in vain."""

    async def test(readiness: Counting, server: Server, peer: Peer, plain: socket.socket) -> None:
        transport = server.transport
        transport.begin(server.recorder)
        transport.write(b"x" * 3_000_000)
        transport.pause_reading()
        server.start(begin=False)
        plain.send(peer.hello())
        before = readiness.turns
        await turns()
        assert readiness.turns < before + FEW
        assert await take(plain, 3_000_000) == b"x" * 3_000_000
        await peer.drive(plain, peer.tls.do_handshake)
        await until(lambda: server.ended == [None])
        peer.tls.write(b"STAT\r\n")
        await peer.post(plain)
        await until(lambda: server.recorder.data == b"STAT\r\n")
        assert server.recorder.calls == ["pause", "resume"]

    run(test, room=8192)


@pytest.mark.parametrize("how", ["too slow", "abort", "close", "reset"])
def test_an_upgrade_that_is_cut(how: str, run: Run) -> None:
    async def test(_: Counting, server: Server, __: Peer, plain: socket.socket) -> None:
        transport = server.transport
        transport.begin(server.recorder)
        transport.write(b"x" * 3_000_000)
        server.start(seconds=0.05 if how == "too slow" else 10, begin=False)
        if how == "reset":
            reset(plain)
        elif how == "abort":
            transport.abort()
        elif how == "close":
            transport.close()
            assert await take(plain, 3_000_001) == b"x" * 3_000_000
        await until(lambda: server.ended)
        assert len(server.ended) == 1
        assert isinstance(server.ended[0], OSError)
        assert transport.get_write_buffer_size() == 0

    run(test, room=8192)


async def fill(ours: socket.socket) -> None:
    """Send until the systems of both sides take no more."""
    refused = 0
    while refused < 5:
        try:
            ours.send(b"x" * 100)
            refused = 0
        except BlockingIOError:
            refused += 1
            await asyncio.sleep(0.005)


class Stuck(ssl.SSLSocket):
    """Has no room for its answer."""

    def do_handshake(self, block: bool = False) -> None:
        raise ssl.SSLWantWriteError


def test_a_handshake_without_room_for_its_answer(
    run: Run, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's buffers are full, and the client goes on talking: nothing spins."""
    monkeypatch.setattr(context, "sslsocket_class", Stuck)

    async def test(readiness: Counting, server: Server, _: Peer, plain: socket.socket) -> None:
        with server.transport.get_extra_info("socket").dup() as ours:  # TLS takes the socket itself
            await fill(ours)
            server.start()
            plain.send(b"more")
            while True:
                before = readiness.turns
                await turns()
                if not select.select([], [ours], [], 0)[1]:
                    break
                await fill(ours)  # what the peer's system has taken since has made room again
        assert readiness.turns < before + FEW

    run(test, room=8192)
