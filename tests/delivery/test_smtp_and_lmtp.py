"""What SMTP and LMTP have in common, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from restante.accounts.contract import Account, AccountStore
from restante.delivery import Recipients, lmtp_protocol, smtp_protocol
from tests.corpus import NASTY, wire_form
from tests.delivery.helpers import (
    FakeStore,
    Peer,
    as_data,
    flood,
    intake_for,
    listening,
    until,
)

pytestmark = pytest.mark.asyncio


@dataclass(frozen=True)
class Kind:
    """A protocol. hello: how a client begins."""

    protocol: Callable[..., Any]
    hello: str

    @property
    def to_joe(self) -> tuple[str, str, str]:
        """The commands before a message for joe."""
        return (self.hello, "MAIL FROM:<a@b>", "RCPT TO:<joe@example.org>")


@pytest.fixture(params=["smtp", "lmtp"])
def kind(request: pytest.FixtureRequest) -> Kind:
    if request.param == "smtp":
        return Kind(smtp_protocol, "EHLO mta")
    return Kind(lmtp_protocol, "LHLO mta")


@pytest.mark.parametrize("name", NASTY)
async def test_the_corpus_is_stored_octet_for_octet(kind: Kind, name: str) -> None:
    """F1, F2, F3: lines of 100 KB, NUL, 8-bit, lone CR and bare LF included."""
    store = FakeStore()
    intake = intake_for(store)
    async with listening(kind.protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        for message in (wire_form(NASTY[name]), NASTY[name]):
            await peer.say(*kind.to_joe)
            assert await peer.data(as_data(message)) == "250 2.0.0 delivered"
        await peer.close()
    wire, raw = wire_form(NASTY[name]), NASTY[name]
    ended = raw if not raw or raw.endswith(b"\r\n") else raw + b"\r\n"
    assert store.mail("joe") == [wire, ended]


async def test_durable_before_the_reply_and_never_on_the_loop(kind: Kind) -> None:
    store = FakeStore()
    intake = intake_for(store)
    async with listening(kind.protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say(*kind.to_joe, "DATA")
        store.gate.clear()
        await peer.send(b"x\r\n.\r\n")
        answer = asyncio.create_task(peer.reply())
        other = await Peer.connect(port)  # the loop is free while the disk is not
        assert (await other.say("NOOP")).startswith("250 ")
        assert not answer.done()
        store.gate.set()
        assert (await answer).startswith("250 ")
        assert store.events[-1] == "joe commit"
        await other.close()
        await peer.close()
    assert "MainThread" not in store.threads


async def test_reading_pauses_while_the_storage_is_behind(kind: Kind) -> None:
    store = FakeStore()
    intake = intake_for(store)
    async with listening(kind.protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say(*kind.to_joe, "DATA")
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


async def test_a_lost_connection_delivers_nothing(kind: Kind) -> None:
    store = FakeStore()
    intake = intake_for(store)
    async with listening(kind.protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say(*kind.to_joe, "DATA")
        await peer.send(b"half a mess")
        await until(lambda: "joe write" in store.events)
        await peer.close()
        await until(lambda: intake.connections == 0)
    assert store.mail("joe") == []


async def test_a_half_closed_peer_is_still_answered(kind: Kind) -> None:
    store = FakeStore()
    intake = intake_for(store)
    async with listening(kind.protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        dialogue = "\r\n".join([*kind.to_joe, "DATA", "x", ".", ""])
        await peer.send(dialogue.encode())
        peer.writer.write_eof()
        everything = await asyncio.wait_for(peer.reader.read(), 60)
        await peer.close()
    assert everything.endswith(b"250 2.0.0 delivered\r\n")
    assert store.mail("joe") == [b"x\r\n"]


@pytest.mark.parametrize("data", [False, True])
async def test_a_peer_that_sends_a_byte_now_and_then_is_sent_away(kind: Kind, data: bool) -> None:
    """L2: what counts is progress, not activity."""
    store = FakeStore()
    intake = intake_for(store, timeout=0.15)
    async with listening(kind.protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        if data:
            await peer.say(*kind.to_joe, "DATA")
        answer = asyncio.create_task(peer.reply())
        while not answer.done():
            peer.writer.write(b"N")
            await asyncio.sleep(0.02)
        assert (await answer) == "421 4.4.2 timeout"
        await until(lambda: intake.connections == 0)
        await peer.close()
    assert store.mail("joe") == []


async def test_a_peer_that_never_reads_is_dropped(kind: Kind) -> None:
    intake = intake_for(FakeStore(), timeout=0.3)
    async with listening(kind.protocol(intake), intake) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=10)
        sender = asyncio.create_task(flood(writer, f"{kind.hello}\r\n".encode()))
        await until(lambda: intake.connections == 1)
        await until(lambda: intake.connections == 0, 20)
        await sender
        assert reader is not None


async def test_one_connection_too_many(kind: Kind) -> None:
    """L4"""
    intake = intake_for(FakeStore(), max_connections=1)
    async with listening(kind.protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{kind.hello}\r\n".encode())
        assert (await reader.readline()).startswith(b"421 4.3.2 too many")
        await Peer(reader, writer).close()
        assert intake.connections == 1
        assert (await peer.say("NOOP")).startswith("250 ")
        await peer.close()
        await until(lambda: intake.connections == 0)
        await (await Peer.connect(port)).close()


async def test_stop_lets_a_message_in_flight_finish_and_ends_the_idle(kind: Kind) -> None:
    store = FakeStore()
    intake = intake_for(store)
    async with listening(kind.protocol(intake), intake) as port:
        idle, busy = await Peer.connect(port), await Peer.connect(port)
        await busy.say(*kind.to_joe, "DATA")
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
    assert store.mail("joe") == [b"x\r\n"]


async def test_stop_has_a_deadline(kind: Kind) -> None:
    store = FakeStore()
    intake = intake_for(store)
    async with listening(kind.protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say(*kind.to_joe, "DATA")
        await intake.stop(0.05)
        await until(lambda: intake.connections == 0)
        await peer.close()
    assert store.mail("joe") == []


async def test_an_exception_shows_a_reference_and_no_text(
    kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(AccountStore):
        def lookup(self, name: str) -> Account | None:
            raise RuntimeError("password of the database")

    intake = intake_for(FakeStore(), recipients=Recipients(Broken()))
    async with listening(kind.protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        answer = await peer.say(*kind.to_joe)
        assert (await peer.say("NOOP")).startswith("250 ")
        await peer.close()
    assert answer.startswith("451 4.3.0 internal error (ref ")
    assert "password" not in answer
    assert answer.removesuffix(")").rpartition(" ")[2] in caplog.text


HTTP = (
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1:1025\r\nContent-Type: text/plain\r\n\r\n"
    b"EHLO x\r\nLHLO x\r\nMAIL FROM:<a@evil.example>\r\nRCPT TO:<joe@example.org>\r\nDATA\r\n"
    b"Subject: from a web page\r\n\r\nhi\r\n.\r\nQUIT\r\n"
)


@pytest.mark.parametrize("request_", [HTTP, HTTP.partition(b"\n")[2]])
async def test_a_browser_is_sent_away(kind: Kind, request_: bytes) -> None:
    store = FakeStore()
    intake = intake_for(store)
    async with listening(kind.protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.send(request_)
        assert await peer.reply() == "421 4.7.0 this is no HTTP server"
        assert await peer.reply() == ""
        await peer.close()
    assert store.events == []


async def test_one_client_with_many_commands_does_not_hold_up_the_others(kind: Kind) -> None:
    """250 KB of commands in one read are some 40,000 commands."""
    intake = intake_for(FakeStore())
    async with listening(kind.protocol(intake), intake) as port:
        peer, other = await Peer.connect(port), await Peer.connect(port)
        await peer.send(b"NOOP\r\n" * 30_000)
        assert (await other.say("NOOP")).startswith("250 ")
        assert max(each._session.pending for each in intake._live) > 0  # type: ignore[attr-defined]
        await other.close()
        await peer.close()
