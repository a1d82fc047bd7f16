"""LMTP on real sockets."""

from __future__ import annotations

import asyncio
import smtplib
import sys
from pathlib import Path

import pytest

from restante.accounts.contract import Account, AccountStore
from restante.delivery import Recipients, lmtp_protocol
from tests.corpus import NASTY, wire_form
from tests.delivery.helpers import (
    SECRET_FAULT,
    FakeStore,
    Peer,
    as_data,
    flood,
    intake_for,
    listening,
    serving,
    until,
)

pytestmark = pytest.mark.asyncio
TO_JOE = ("LHLO mta", "MAIL FROM:<a@b>", "RCPT TO:<joe@example.org>")


@pytest.mark.parametrize("name", NASTY)
async def test_the_corpus_is_stored_octet_for_octet(name: str) -> None:
    """F1, F2, F3"""
    store = FakeStore()
    intake = intake_for(store)
    async with listening(lmtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        for message in (wire_form(NASTY[name]), NASTY[name]):
            await peer.say(*TO_JOE)
            assert (await peer.data(as_data(message))).startswith("250 2.0.0")
        await peer.close()
    wire, raw = wire_form(NASTY[name]), NASTY[name]
    ended = raw if not raw or raw.endswith(b"\r\n") else raw + b"\r\n"
    assert store.mail("joe") == [wire, ended]


async def test_each_recipient_has_its_own_fate() -> None:
    store = FakeStore(joe_commit=SECRET_FAULT)
    intake = intake_for(store)
    async with listening(lmtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say(*TO_JOE, "RCPT TO:<ann@example.org>")
        first = await peer.data(b"x\r\n.\r\n")
        second = await peer.reply()
        await peer.close()
    assert first.startswith("451 4.3.0 not delivered (ref ")
    assert "secret" not in first
    assert second.startswith("250 ")
    assert store.mail("joe") == []
    assert store.mail("ann") == [b"x\r\n"]


async def test_durable_before_the_reply_and_never_on_the_loop() -> None:
    store = FakeStore()
    intake = intake_for(store)
    async with listening(lmtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say(*TO_JOE, "DATA")
        store.gate.clear()
        await peer.send(b"x\r\n.\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(peer.reader.read(1)), 0.05)
        other = await Peer.connect(port)  # the loop is free while the disk is not
        assert (await other.say("NOOP")).startswith("250 ")
        store.gate.set()
        await until(lambda: store.events[-1:] == ["joe commit"])
        await other.close()
        await peer.close()
    assert "MainThread" not in store.threads


async def test_reading_pauses_while_the_storage_is_behind() -> None:
    store = FakeStore()
    intake = intake_for(store)
    async with listening(lmtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say(*TO_JOE, "DATA")
        store.gate.clear()
        line = b"x" * 998 + b"\r\n"
        sender = asyncio.create_task(peer.send(line * 30_000 + b".\r\n"))
        await asyncio.sleep(0.1)
        assert not sender.done()
        assert max(c._session.pending for c in intake._live) < 1 << 20  # type: ignore[attr-defined]
        store.gate.set()
        await sender
        assert (await peer.reply()).startswith("250 ")
        await peer.close()
    assert store.mail("joe") == [line * 30_000]


async def test_a_lost_connection_delivers_nothing() -> None:
    store = FakeStore()
    intake = intake_for(store)
    async with listening(lmtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say(*TO_JOE, "DATA")
        await peer.send(b"half a mess")
        await peer.close()
        await until(lambda: intake.connections == 0)
    assert store.mail("joe") == []


async def test_a_half_closed_peer_is_still_answered() -> None:
    store = FakeStore()
    intake = intake_for(store)
    async with listening(lmtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        dialogue = "\r\n".join([*TO_JOE, "DATA", "x", ".", ""])
        await peer.send(dialogue.encode())
        peer.writer.write_eof()
        everything = await asyncio.wait_for(peer.reader.read(), 5)
        await peer.close()
    assert everything.endswith(b"250 2.0.0 delivered\r\n")
    assert store.mail("joe") == [b"x\r\n"]


@pytest.mark.parametrize("data", [False, True])
async def test_a_peer_that_sends_a_byte_now_and_then_is_sent_away(data: bool) -> None:
    """L2: what counts is progress, not activity."""
    store = FakeStore()
    intake = intake_for(store, timeout=0.15)
    async with listening(lmtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        if data:
            await peer.say(*TO_JOE, "DATA")
        answer = asyncio.create_task(peer.reply())
        while not answer.done():
            peer.writer.write(b"N")
            await asyncio.sleep(0.02)
        assert (await answer) == "421 4.4.2 timeout"
        await until(lambda: intake.connections == 0)
        await peer.close()
    assert store.mail("joe") == []


async def test_a_peer_that_never_reads_is_dropped() -> None:
    intake = intake_for(FakeStore(), timeout=0.3)
    async with listening(lmtp_protocol(intake), intake) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=10)
        sender = asyncio.create_task(flood(writer, b"LHLO x\r\n"))
        await until(lambda: intake.connections == 1)
        await until(lambda: intake.connections == 0)
        await sender
        assert reader is not None


async def test_one_connection_too_many() -> None:
    """L4"""
    intake = intake_for(FakeStore(), max_connections=1)
    async with listening(lmtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await reader.read()).startswith(b"421 4.3.2 too many")
        writer.close()
        await writer.wait_closed()
        assert (await peer.say("NOOP")).startswith("250")
        await peer.close()


async def test_stop_lets_a_message_in_flight_finish_and_ends_the_idle() -> None:
    store = FakeStore()
    intake = intake_for(store)
    async with listening(lmtp_protocol(intake), intake) as port:
        idle, busy = await Peer.connect(port), await Peer.connect(port)
        await busy.say(*TO_JOE, "DATA")
        stopping = asyncio.create_task(intake.stop(5))
        assert (await idle.reply()).startswith("421 4.3.2")
        await busy.send(b"x\r\n.\r\n")
        assert (await busy.reply()).startswith("250 ")
        assert (await busy.reply()).startswith("421 4.3.2")
        await stopping
        assert intake.connections == 0
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert (await reader.read()).startswith(b"421 4.3.2 going down")
        for peer in (idle, busy, Peer(reader, writer)):
            await peer.close()


async def test_stop_has_a_deadline() -> None:
    store = FakeStore()
    intake = intake_for(store)
    async with listening(lmtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say(*TO_JOE, "DATA")
        await intake.stop(0.05)
        await until(lambda: intake.connections == 0)
        await peer.close()
    assert store.mail("joe") == []


async def test_a_fault_of_ours_shows_a_reference_and_no_text() -> None:
    class Broken(AccountStore):
        def lookup(self, name: str) -> Account | None:
            raise RuntimeError("password of the database")

    intake = intake_for(FakeStore(), recipients=Recipients(Broken()))
    async with listening(lmtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        answer = await peer.say(*TO_JOE)
        assert answer.startswith("451 4.3.0 internal error (ref ")
        assert "password" not in answer
        assert (await peer.say("NOOP")).startswith("250 ")
        await peer.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets")
async def test_on_a_unix_socket_with_trace(tmp_path: Path) -> None:
    store = FakeStore()
    intake = intake_for(store, trace=True)
    path = str(tmp_path / "lmtp")
    server = await asyncio.get_running_loop().create_unix_server(lmtp_protocol(intake), path)
    peer = Peer(*await asyncio.open_unix_connection(path))
    await peer.reply()
    await peer.say(*TO_JOE)
    assert (await peer.data(b"Subject: x\r\n.\r\n")).startswith("250 ")
    await peer.close()
    server.close()
    await intake.stop(1)
    (message,) = store.mail("joe")
    assert message.startswith(b"Return-Path: <a@b>\r\nDelivered-To: joe@example.org\r\nReceived: ")
    assert b"from mta (local)\r\n\tby mail.example.org with LMTP; " in message
    assert message.endswith(b"\r\nSubject: x\r\n")


async def test_the_standard_library_delivers() -> None:
    store = FakeStore()

    def deliver() -> None:
        def make() -> object:
            intake = intake_for(store)
            return lmtp_protocol(intake), intake

        with serving(make) as port, smtplib.LMTP("127.0.0.1", port) as client:  # type: ignore[arg-type]
            client.sendmail("a@b", ["joe@example.org"], "Subject: x\n\n.hello\n")

    await asyncio.to_thread(deliver)
    assert store.mail("joe") == [b"Subject: x\r\n\r\n.hello\r\n"]
