"""LMTP alone, on real sockets; see test_smtp_and_lmtp.py."""

from __future__ import annotations

import asyncio
import smtplib
import sys
from pathlib import Path

import pytest

from restante.delivery import lmtp_protocol
from tests.delivery.helpers import (
    SECRET_FAULT,
    FakeStore,
    Peer,
    intake_for,
    listening,
    serving,
)

pytestmark = pytest.mark.asyncio
TO_JOE = ("LHLO mta", "MAIL FROM:<a@b>", "RCPT TO:<joe@example.org>")


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
