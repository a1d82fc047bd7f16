"""Mail that programs send by SMTP is read by POP3 as it was sent."""

from __future__ import annotations

import asyncio
import re
import smtplib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from restante import StaticAccounts
from restante.delivery import Intake, Recipients, smtp_protocol
from tests.corpus import NASTY, wire_form
from tests.needs import need
from tests.peers.harness import NAME, Post, Visit
from tests.peers.tools import Poplib

pytestmark = pytest.mark.peer

SENDER, RECIPIENT = "anna@example.org", f"{NAME}@example.org"


@pytest.fixture
def smtp_port(post: Post) -> Iterator[int]:
    """The port of an SMTP server that delivers into the store that `post` serves."""
    ports: list[int] = []
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    end = asyncio.Event()

    async def serve() -> None:
        intake = Intake(recipients=Recipients(StaticAccounts([post.account])), store=post.store)
        assert post.server.context.tls is not None
        factory = smtp_protocol(intake, tls=post.server.context.tls.context)
        async with await loop.create_server(factory, "127.0.0.1", 0) as server:
            ports.append(server.sockets[0].getsockname()[1])
            ready.set()
            await end.wait()
            await intake.stop(5)

    def work() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=work)
    thread.start()
    assert ready.wait(10)
    yield ports[0]
    loop.call_soon_threadsafe(end.set)
    thread.join()


def missing(sent: dict[str, bytes], post: Post, home: Path) -> list[str]:
    """Names of messages that POP3 doesn't give octet for octet; and their number is right."""
    got = Poplib().fetch(Visit(post, home))
    assert len(got) == len(sent)
    return [name for name, wire in sent.items() if wire not in got]


@pytest.mark.parametrize("tls", [False, True])
def test_what_smtplib_sends_is_read_as_it_was(
    tls: bool, post: Post, smtp_port: int, tmp_path: Path
) -> None:
    """smtplib stuffs; line ends of bytes are the sender's business, so it is given CRLF."""
    sent = {name: wire_form(message) for name, message in NASTY.items()}
    with smtplib.SMTP("localhost", smtp_port, timeout=30) as smtp:
        if tls:
            smtp.starttls(context=post.authority.client_context())
        for wire in sent.values():
            assert smtp.sendmail(SENDER, [RECIPIENT], wire) == {}
    assert missing(sent, post, tmp_path) == []


@pytest.mark.slow
def test_thirty_megabytes_sent_are_thirty_megabytes_read(
    post: Post, smtp_port: int, tmp_path: Path
) -> None:
    wire = b"Subject: thirty megabytes\r\n\r\n.\r\n..\r\n" + b"letters of a line\r\n" * 1_600_000
    with smtplib.SMTP("localhost", smtp_port, timeout=60) as smtp:
        smtp.sendmail(SENDER, [RECIPIENT], wire)
    assert missing({"big": wire}, post, tmp_path) == []


SWAKS = [
    "plain-crlf",
    "dots-crlf",
    "dot-at-byte-0",
    "dot-last-no-newline",
    "empty",
    "utf-8-header",
    "nul",
    "long-line",
    "many-short-lines",
]


def test_what_swaks_sends_is_read_as_it_was(post: Post, smtp_port: int, tmp_path: Path) -> None:
    """swaks is given what DATA takes, stuffed and with its end: its own stuffing has holes."""
    need("swaks", package="swaks")
    sent = {name: wire_form(NASTY[name]) for name in SWAKS}
    visit = Visit(post, tmp_path)
    for name, wire in sent.items():
        (tmp_path / name).write_bytes(re.sub(rb"(?m)^\.", b"..", wire) + b".\r\n")
        server = ["--server", f"localhost:{smtp_port}", "--ehlo", "peer.example.org", "--tls"]
        address = ["--from", SENDER, "--to", RECIPIENT]
        verify = ["--tls-verify", "--tls-ca-path", str(visit.ca)]
        data = ["--data", f"@{name}", "--no-data-fixup", "--silent", "2"]
        visit.run(["swaks", *server, *verify, *address, *data])
    assert missing(sent, post, tmp_path) == []
