"""A transport in the clear: nothing is lost, nothing spins, nothing is left."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from pathlib import Path

import pytest

from restante.server.transport.readiness import LoopReadiness
from tests.server.transport.kit import Counting, Ground, Recorder, pair, reset, take, turns, until

FEW = 60
"""Calls that a moment may take; a loop that spins makes thousands."""


def blocks(count: int, size: int) -> list[bytes]:
    return [bytes([at % 251]) * size for at in range(count)]


def test_what_waits_arrives_in_order(ground: Ground) -> None:
    async def test(readiness: Counting) -> None:
        async with pair(readiness, room=8192) as (transport, peer):
            recorder = Recorder()
            transport.begin(recorder)
            sent = blocks(200, 7001)
            for block in sent:
                transport.write(bytearray(block))
            transport.write(b"")
            assert recorder.calls == ["pause"]
            assert transport.get_write_buffer_size() > 0
            assert await take(peer, 200 * 7001) == b"".join(sent)
            await until(lambda: not transport.get_write_buffer_size())
            assert recorder.calls == ["pause", "resume"]

    ground.run(test)


def test_a_buffer_may_be_used_again_at_once(ground: Ground) -> None:
    async def test(readiness: Counting) -> None:
        async with pair(readiness, room=8192) as (transport, peer):
            transport.begin(Recorder())
            data = bytearray(b"a" * 2_000_000)
            transport.write(data)
            data[:] = b"b" * 10
            assert await take(peer, 2_000_000) == b"a" * 2_000_000

    ground.run(test)


def test_files_among_writes(ground: Ground, tmp_path: Path) -> None:
    lies = os.urandom(700_001)
    (tmp_path / "file").write_bytes(lies)

    async def test(readiness: Counting) -> None:
        async with pair(readiness, room=8192) as (transport, peer):
            recorder = Recorder()
            transport.begin(recorder)
            with (tmp_path / "file").open("rb") as file:
                transport.write(b"first")
                assert transport.send_file(file.fileno(), 0, 0)
                assert transport.send_file(file.fileno(), 1, 600_000)
                transport.write(b"between")
                assert transport.send_file(file.fileno(), 600_001, 100_000)
                transport.write(b"last")
                assert recorder.calls == ["pause"]
                expected = b"first" + lies[1:600_001] + b"between" + lies[600_001:] + b"last"
                assert await take(peer, len(expected)) == expected
                await until(lambda: not transport.get_write_buffer_size())
            assert recorder.calls == ["pause", "resume"]

    ground.run(test)


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS])
def test_a_file_system_without_sendfile(
    number: int, ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lies = os.urandom(600_000)
    (tmp_path / "file").write_bytes(lies)

    def refuse(*_: object) -> int:
        raise OSError(number, "not here")

    monkeypatch.setattr(os, "sendfile", refuse)

    async def test(readiness: Counting) -> None:
        async with pair(readiness, room=8192) as (transport, peer):
            transport.begin(Recorder())
            with (tmp_path / "file").open("rb") as file:
                assert transport.send_file(file.fileno(), 0, len(lies))
                assert await take(peer, len(lies)) == lies

    ground.run(test)


def test_a_file_that_becomes_shorter_costs_the_connection(ground: Ground, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3_000_000))

    async def test(readiness: Counting) -> None:
        async with pair(readiness, room=8192) as (transport, peer):
            recorder = Recorder()
            transport.begin(recorder)
            with path.open("rb") as file:
                transport.send_file(file.fileno(), 0, 3_000_000)
                transport.write(b".\r\n")
                os.truncate(path, 2_900_000)
                arrived = await take(peer, 4_000_000)
                await until(lambda: "lost" in recorder.calls)
            assert arrived == bytes(2_900_000)
            assert isinstance(recorder.error, OSError)

    ground.run(test)


@pytest.mark.parametrize("what", ["file", "octets"])
def test_a_peer_that_leaves_in_the_middle(what: str, ground: Ground, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3_000_000))

    async def test(readiness: Counting) -> None:
        async with pair(readiness, room=8192) as (transport, peer):
            recorder = Recorder()
            transport.begin(recorder)
            with path.open("rb") as file:
                if what == "file":
                    transport.send_file(file.fileno(), 0, 3_000_000)
                else:
                    transport.write(bytes(3_000_000))
                await take(peer, 10_000)
                reset(peer)
                await until(lambda: "lost" in recorder.calls)
            before = readiness.turns
            await turns()
            assert readiness.turns == before
            assert isinstance(recorder.error, OSError)
            assert recorder.calls.count("lost") == 1
            transport.write(b"more")
            assert transport.get_write_buffer_size() == 0

    ground.run(test)


def test_nothing_is_read_for_a_protocol_once_sending_has_failed(ground: Ground) -> None:
    """The peer's last words and its reset come in one event: after the loss they are late."""

    async def test(readiness: Counting) -> None:
        async with pair(readiness, room=8192) as (transport, peer):
            recorder = Recorder()
            transport.begin(recorder)
            transport.write(bytes(3_000_000))
            peer.send(b"QUIT\r\n")
            reset(peer)
            transport.ready(1 | 4 | 16)
            assert transport.is_closing()
            assert not recorder.data
            await until(lambda: "lost" in recorder.calls)

    ground.run(test)


def test_paused_with_data_waiting(ground: Ground) -> None:
    async def test(readiness: Counting) -> None:
        async with pair(readiness) as (transport, peer):
            recorder = Recorder()
            transport.begin(recorder)
            transport.pause_reading()
            assert not transport.is_reading()
            peer.send(b"STAT\r\n")
            before = readiness.turns
            await turns()
            assert readiness.turns == before
            assert not recorder.data
            transport.resume_reading()
            await until(lambda: recorder.data == b"STAT\r\n")

    ground.run(test)


def test_a_reset_while_paused(ground: Ground, loop_kind: str) -> None:
    if ground.readiness is LoopReadiness and loop_kind == "uvloop":
        pytest.skip("only where there is no epoll: with it, uvloop tells nobody of the error")

    async def test(readiness: Counting) -> None:
        async with pair(readiness) as (transport, peer):
            recorder = Recorder()
            transport.begin(recorder)
            transport.pause_reading()
            peer.send(b"STAT\r\n")
            reset(peer)
            await turns()
            if "lost" not in recorder.calls:  # the loop's own means don't tell
                transport.resume_reading()
            await until(lambda: "lost" in recorder.calls)
            assert readiness.turns < FEW

    ground.run(test)


def test_replies_after_the_peers_last_word(ground: Ground) -> None:
    async def test(readiness: Counting) -> None:
        async with pair(readiness, room=8192) as (transport, peer):
            recorder = Recorder()
            transport.begin(recorder)
            peer.send(b"QUIT\r\n")
            peer.shutdown(socket.SHUT_WR)
            await until(lambda: "eof" in recorder.calls)
            before = readiness.turns
            await turns()
            assert readiness.turns == before
            assert recorder.data == b"QUIT\r\n"
            transport.write(b"x" * 1_000_000)
            transport.write_eof()
            assert await take(peer, 2_000_000) == b"x" * 1_000_000
            assert recorder.calls.count("eof") == 1

    ground.run(test)


def test_an_end_that_the_protocol_doesnt_outlast(ground: Ground) -> None:
    async def test(readiness: Counting) -> None:
        async with pair(readiness) as (transport, peer):
            recorder = Recorder(keeps_open=False)
            transport.begin(recorder)
            peer.shutdown(socket.SHUT_WR)
            await until(lambda: "lost" in recorder.calls)
            assert recorder.calls == ["eof", "lost"]
            assert recorder.error is None

    ground.run(test)


def test_close_sends_what_waits(ground: Ground) -> None:
    async def test(readiness: Counting) -> None:
        async with pair(readiness, room=8192) as (transport, peer):
            recorder = Recorder()
            transport.begin(recorder)
            transport.write(b"x" * 3_000_000)
            transport.close()
            transport.close()
            assert transport.is_closing()
            assert "lost" not in recorder.calls
            assert await take(peer, 4_000_000) == b"x" * 3_000_000
            assert recorder.calls.count("lost") == 1
            assert recorder.error is None

    ground.run(test)


def test_abort_tells_a_little_later_and_once(ground: Ground) -> None:
    async def test(readiness: Counting) -> None:
        async with pair(readiness, room=8192) as (transport, peer):
            recorder = Recorder()
            transport.begin(recorder)
            transport.write(b"x" * 3_000_000)
            transport.abort()
            transport.abort()
            transport.close()
            assert "lost" not in recorder.calls
            await turns()
            assert recorder.calls == ["pause", "lost"]
            assert len(await take(peer, 4_000_000)) < 3_000_000

    ground.run(test)


def test_a_protocol_that_fails_costs_its_connection_only(ground: Ground) -> None:
    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            raise LookupError("by itself")

    async def test(readiness: Counting) -> None:
        told: list[object] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context.get("exception")))
        async with pair(readiness) as (bad, first), pair(readiness) as (good, second):
            failing, recorder = Failing(), Recorder()
            bad.begin(failing)
            good.begin(recorder)
            first.send(b"STAT\r\n")
            second.send(b"STAT\r\n")
            await until(lambda: recorder.data and "lost" in failing.calls)
            assert [type(each) for each in told] == [LookupError]
            assert not good.is_closing()

    ground.run(test)


def test_no_event_of_a_socket_that_is_gone(ground: Ground) -> None:
    """One that is called closes the other and takes a new one in, which gets its number."""

    async def test(readiness: Counting) -> None:
        loop = asyncio.get_running_loop()
        pairs = [socket.socketpair() for _ in range(2)]
        opened: list[socket.socket] = []
        stale: list[int] = []

        class Newcomer:
            def ready(self, events: int) -> None:
                stale.append(events)

            def broke(self, error: Exception) -> None:
                loop.call_exception_handler({"message": "broke", "exception": error})

        class Swapping(Newcomer):
            def __init__(self, other: socket.socket) -> None:
                self.other = other

            def ready(self, events: int) -> None:
                if opened:
                    return
                number = self.other.fileno()
                readiness.forget(number)
                self.other.close()
                opened.extend(socket.socketpair())
                if opened[0].fileno() != number:
                    opened.reverse()
                assert opened[0].fileno() == number
                readiness.watch(number, Newcomer(), 1)

        ours = [each[0] for each in pairs]
        for one, other in (ours, ours[::-1]):
            readiness.watch(one.fileno(), Swapping(other), 1)
        for _, peer in pairs:
            peer.send(b"x")
        await until(lambda: opened)
        await turns(3)
        assert not stale
        opened[1].send(b"x")
        await until(lambda: stale)
        readiness.close()
        for each in [*ours, *(peer for _, peer in pairs), *opened]:
            each.close()

    ground.run(test)
