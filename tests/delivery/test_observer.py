"""What the access log says of mail that came in, by the observer that writes it."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from restante.accounts.contract import Account
from restante.delivery import import_messages, iter_messages, lmtp_protocol, smtp_protocol
from restante.delivery.observer import AccessLog
from tests.delivery.helpers import SECRET_FAULT, FakeStore, Peer, intake_for, listening

WAY = r"peer=127\.0\.0\.1 protocol=ESMTP tls=no"
SESSION = r"session=[0-9a-f]+-m[0-9a-f]+"
THERE = f"{WAY} {SESSION}"
QUEUE = rf"queue=[0-9a-f]{{10}} {SESSION}"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    caplog.set_level(logging.INFO, "restante.access")
    return lambda: [
        f"{record.levelname} {record.getMessage()}"
        for record in caplog.records
        if record.name == "restante.access"
    ]


def matching(lines: list[str], *patterns: str) -> bool:
    assert len(lines) == len(patterns), lines
    return all(re.fullmatch(pattern, line) for line, pattern in zip(lines, patterns, strict=True))


@pytest.mark.asyncio
async def test_smtp(lines: Callable[[], list[str]]) -> None:
    intake = intake_for(FakeStore(ann_prepare=SECRET_FAULT), max_octets=100)
    async with listening(smtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say("EHLO mta", "MAIL FROM:<a@b> SIZE=101", "MAIL FROM:<a@b>")
        await peer.say("RCPT TO:<who@example.org>", b"RCPT TO:<\xff", "NOOP")
        await peer.say("RCPT TO:<joe+tag@example.org>")
        await peer.data(b"hello\r\n.\r\n")
        await peer.say("MAIL FROM:<>", "RCPT TO:<joe@example.org>", "RCPT TO:<ann@example.org>")
        await peer.data(b"hello\r\n.\r\n")
        await peer.say("MAIL FROM:<a@b>", "RCPT TO:<joe@example.org>")
        await peer.data(b"x" * 200 + b"\r\n.\r\n")
        await peer.say("Host: localhost")
        await peer.close()
    assert matching(
        lines(),
        rf"INFO refused: recipient='' sender='a@b' {THERE} reply='552 5.3.4 message too big'",
        r"INFO refused: recipient='who@example.org' sender='a@b' "
        rf"{THERE} reply='550 5.1.1 no such user here'",
        rf"INFO refused: recipient='<\\udcff' sender='a@b' {THERE} reply='553 5.1.3 bad address'",
        r"INFO delivered: recipient='joe\+tag@example.org' sender='a@b' octets=7 unique_id=\S+ "
        rf"{WAY} {QUEUE}",
        r"ERROR not delivered: recipient='joe@example.org' sender='' octets=7 "
        rf"{WAY} {QUEUE} reason=\"another recipient's copy failed\"",
        r"ERROR not delivered: recipient='ann@example.org' sender='' octets=7 "
        rf"{WAY} {QUEUE} reason='disk /dev/secret is full'",
        rf"INFO refused: recipient='' sender='a@b' {WAY} {QUEUE} "
        r"reply='552 5.3.4 message too big'",
        rf"INFO refused: recipient='' sender='' {THERE} reply='421 4.7.0 this is no HTTP server'",
    )


@pytest.mark.asyncio
async def test_one_recipient_of_several_fails_late(
    lines: Callable[[], list[str]], tmp_path: Path
) -> None:
    """The sender is told 250, and the operator where the copy is."""
    intake = intake_for(FakeStore(ann_commit=SECRET_FAULT), spool=tmp_path / "spool")
    async with listening(smtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say("EHLO mta", "MAIL FROM:<a@b>", "RCPT TO:<joe@example.org>")
        await peer.say("RCPT TO:<ann@example.org>")
        assert await peer.data(b"hello\r\n.\r\n") == "250 2.0.0 delivered"
        await peer.close()
    (kept,) = (tmp_path / "spool").iterdir()
    assert kept.read_bytes() == b"hello\r\n"
    assert lines()[1].endswith(f" kept={str(kept)!r} reason='disk /dev/secret is full'")
    assert kept.name.partition("-")[0] in lines()[1]


@pytest.mark.asyncio
async def test_tls_and_logins(lines: Callable[[], list[str]]) -> None:
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    server_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_tls)
    client_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client_tls)
    intake = intake_for(FakeStore())
    factory = smtp_protocol(intake, tls=server_tls, authenticate=lambda name, *_: name == "joe")
    async with listening(factory, intake) as port:
        peer = await Peer.connect(port)
        await peer.say("STARTTLS")
        await peer.writer.start_tls(client_tls, server_hostname="localhost")
        await peer.say("EHLO mta", "AUTH LOGIN", "YW5u", "eA==", "AUTH PLAIN AGpvZQB4")
        await peer.say("MAIL FROM:<a@b>", "RCPT TO:<joe@example.org>")
        await peer.data(b"hello\r\n.\r\n")
        await peer.close()
    assert matching(
        lines(),
        rf"WARNING login failed: account='ann' peer=127\.0\.0\.1 mechanism=SMTP-LOGIN {SESSION}",
        r"INFO delivered: recipient='joe@example.org' .* protocol=ESMTPSA tls=TLSv1\.3 " + QUEUE,
    )


@pytest.mark.asyncio
async def test_lmtp_on_a_unix_socket(lines: Callable[[], list[str]], tmp_path: Path) -> None:
    intake = intake_for(FakeStore(joe_commit=SECRET_FAULT))
    path = str(tmp_path / "lmtp")
    server = await asyncio.get_running_loop().create_unix_server(lmtp_protocol(intake), path)
    peer = Peer(*await asyncio.open_unix_connection(path))
    await peer.reply()
    await peer.say("LHLO x", "MAIL FROM:<a@b>", "RCPT TO:<joe>", "RCPT TO:<ann@example.org>")
    await peer.data(b"hello\r\n.\r\n")
    await peer.reply()
    await peer.close()
    server.close()
    await intake.stop(1)
    assert [re.sub("(queue|session)=.*? ", "", line) for line in lines()][:1] == [
        "ERROR not delivered: recipient='joe' sender='a@b' octets=7 "
        "peer=local protocol=LMTP tls=no reason='disk /dev/secret is full'"
    ]
    assert lines()[1].startswith("INFO delivered: recipient='ann@example.org' sender='a@b' ")


def test_an_import(lines: Callable[[], list[str]], tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(b"Subject: x\n\nhello\n")
    messages = iter_messages(tmp_path)
    work = import_messages(FakeStore(), Account("joe"), messages, observer=AccessLog())
    asyncio.run(work)
    assert matching(
        lines(),
        r"INFO delivered: recipient='joe' sender='' octets=18 unique_id=\S+ "
        r"peer=local protocol=import tls=no queue=[0-9a-f]{10}",
    )


@pytest.mark.asyncio
async def test_no_observer() -> None:
    intake = intake_for(FakeStore(), observer=None)
    async with listening(lmtp_protocol(intake), intake) as port:
        peer = await Peer.connect(port)
        await peer.say("LHLO x", "MAIL FROM:<a@b>", "RCPT TO:<who>", "RCPT TO:<joe@example.org>")
        assert (await peer.data(b"hello\r\n.\r\n")).startswith("250 ")
        await peer.close()
