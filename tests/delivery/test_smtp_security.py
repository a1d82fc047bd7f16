"""SMTP with STARTTLS and AUTH."""

from __future__ import annotations

import base64
import logging
import smtplib
import ssl

import pytest
import trustme

from restante.accounts.contract import AccountError
from restante.delivery import smtp_protocol
from tests.corpus import NASTY, wire_form
from tests.delivery.helpers import (
    FakeStore,
    Peer,
    intake_for,
    listening,
    smtp_served,
    until,
)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


def check(name: str, password: str, peer: str) -> bool:
    if name == "down":
        raise AccountError("secret")
    return (name, password) == ("joe", "s3cret pass")


async def acheck(name: str, password: str, peer: str) -> bool:
    return check(name, password, peer)


def test_starttls_then_login_then_mail(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    store = FakeStore()
    with (
        smtp_served(store, tls=server_tls, authenticate=acheck) as port,
        smtplib.SMTP("127.0.0.1", port, timeout=10) as client,
    ):
        client.ehlo("me")
        assert client.has_extn("starttls")
        assert not client.has_extn("auth")
        client.starttls(context=client_tls)
        client.ehlo("me")
        assert not client.has_extn("starttls")
        assert client.docmd("STARTTLS")[0] == 503
        client.login("joe", "s3cret pass")
        client.sendmail("a@b", ["joe@example.org"], wire_form(NASTY["several-megabytes"]))
    (message,) = store.mail("joe")
    assert b"by mail.example.org with ESMTPSA; " in message
    assert message.startswith(b"Return-Path: <a@b>\r\nDelivered-To: joe@example.org\r\n")
    assert message.endswith(b"\r\n" + wire_form(NASTY["several-megabytes"]))


def test_required_tls(server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    with (
        smtp_served(FakeStore(), tls=server_tls, require_tls=True) as port,
        smtplib.SMTP("127.0.0.1", port, timeout=10) as client,
    ):
        client.ehlo("me")
        assert client.mail("a@b")[0] == 530
        client.starttls(context=client_tls)
        client.ehlo("me")
        assert client.mail("a@b")[0] == 250


@pytest.mark.asyncio
async def test_plaintext_behind_starttls_is_never_obeyed(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """A7: what was sent ahead ends the connection; it is neither obeyed nor kept for later."""
    store = FakeStore()
    intake = intake_for(store)
    async with listening(smtp_protocol(intake, tls=server_tls), intake) as port:
        peer = await Peer.connect(port)
        await peer.say("EHLO plain", "MAIL FROM:<a@b>", "RCPT TO:<joe@example.org>")
        injected = b"EHLO evil\r\nMAIL FROM:<evil@b>\r\nRCPT TO:<joe@example.org>\r\n"
        await peer.send(b"STARTTLS\r\n" + injected)
        assert (await peer.reply()).startswith("503 5.5.1")
        assert await peer.reply() == ""
        await peer.close()
    assert store.events == []


@pytest.mark.asyncio
async def test_all_that_was_said_before_tls_is_forgotten(
    server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """A7"""
    intake = intake_for(FakeStore())
    async with listening(smtp_protocol(intake, tls=server_tls), intake) as port:
        peer = await Peer.connect(port)
        await peer.say("EHLO plain", "MAIL FROM:<a@b>", "RCPT TO:<joe@example.org>")
        assert (await peer.say("STARTTLS")).startswith("220 ")
        await peer.writer.start_tls(client_tls, server_hostname="localhost")
        assert (await peer.say("DATA")).startswith("503 ")
        assert (await peer.say("MAIL FROM:<x@y>")).startswith("503 ")
        assert "STARTTLS" not in await peer.say("EHLO again")
        await peer.close()


@pytest.mark.asyncio
async def test_a_handshake_that_never_comes(server_tls: ssl.SSLContext) -> None:
    intake = intake_for(FakeStore(), timeout=0.15)
    async with listening(smtp_protocol(intake, tls=server_tls), intake) as port:
        peer = await Peer.connect(port)
        await peer.say("EHLO x", "STARTTLS")
        await until(lambda: intake.connections == 0)
        await peer.close()


@pytest.mark.asyncio
async def test_a_failed_handshake_ends_that_connection_only(server_tls: ssl.SSLContext) -> None:
    """A8"""
    intake = intake_for(FakeStore())
    async with listening(smtp_protocol(intake, tls=server_tls), intake) as port:
        peer = await Peer.connect(port)
        await peer.say("EHLO x", "STARTTLS")
        await peer.send(b"this is no ClientHello\r\n" * 10)
        await until(lambda: intake.connections == 0)
        await peer.close()
        other = await Peer.connect(port)
        assert "STARTTLS" in await other.say("EHLO x")
        await other.close()


def b64(text: bytes) -> str:
    return base64.b64encode(text).decode()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("lines", "reply"),
    [
        (["AUTH PLAIN " + b64(b"\0joe\0s3cret pass")], "235 2.7.0"),
        (["AUTH PLAIN", b64(b"joe\0joe\0s3cret pass")], "235 2.7.0"),
        (["AUTH LOGIN", b64(b"joe"), b64(b"s3cret pass")], "235 2.7.0"),
        (["AUTH LOGIN " + b64(b"joe"), b64(b"s3cret pass")], "235 2.7.0"),
        (["AUTH PLAIN " + b64(b"ann\0joe\0s3cret pass")], "535 5.7.8"),
        (["AUTH PLAIN " + b64(b"\0joe\0wrong")], "535 5.7.8"),
        (["AUTH PLAIN " + b64(b"\0joe\0s3cret pass\0")], "501 5.5.2"),
        (["AUTH PLAIN " + b64(b"\0joe\0s3cret\r\n")], "501 5.5.2"),
        (["AUTH PLAIN " + b64(b"\0\xff\0x")], "501 5.5.2"),
        (["AUTH PLAIN " + b64(b"joe")], "501 5.5.2"),
        (["AUTH PLAIN ="], "501 5.5.2"),
        (["AUTH PLAIN !!!"], "501 5.5.2"),
        (["AUTH PLAIN", "*"], "501 "),
        (["AUTH LOGIN", b64(b"joe"), "*"], "501 "),
        (["AUTH PLAIN " + b64(b"\0down\0x")], "454 4.7.0"),
        (["AUTH CRAM-MD5"], "504 "),
    ],
)
async def test_auth(lines: list[str], reply: str, caplog: pytest.LogCaptureFixture) -> None:
    """A2, A10, A11"""
    caplog.set_level(logging.DEBUG)
    intake = intake_for(FakeStore())
    factory = smtp_protocol(intake, authenticate=check, auth_without_tls=True)
    async with listening(factory, intake) as port:
        peer = await Peer.connect(port)
        assert "250-AUTH LOGIN PLAIN" in await peer.say("EHLO x")
        assert (await peer.say(*lines)).startswith(reply)
        assert (await peer.say("NOOP")).startswith("250 ")
        await peer.close()
    assert "s3cret" not in caplog.text
    assert b64(b"\0joe\0s3cret pass") not in caplog.text


@pytest.mark.asyncio
@pytest.mark.parametrize("answer", [None, 1, "yes", "coroutine-truthy"])
async def test_only_an_explicit_yes_logs_in(answer: object) -> None:
    """A10"""
    intake = intake_for(FakeStore())
    factory = smtp_protocol(
        intake,
        authenticate=lambda name, password, peer: answer,  # type: ignore[arg-type,return-value]
        auth_without_tls=True,
    )
    async with listening(factory, intake) as port:
        peer = await Peer.connect(port)
        assert (await peer.say("EHLO x", "AUTH PLAIN " + b64(b"\0a\0b"))).startswith("535 ")
        await peer.close()


@pytest.mark.asyncio
async def test_guessing_passwords_ends_the_connection() -> None:
    intake = intake_for(FakeStore())
    factory = smtp_protocol(intake, authenticate=check, auth_without_tls=True)
    async with listening(factory, intake) as port:
        peer = await Peer.connect(port)
        await peer.say("EHLO x")
        answers = [await peer.say("AUTH PLAIN " + b64(b"\0joe\0no")) for _ in range(11)]
        assert answers[-1].startswith("421 ")
        await peer.close()


@pytest.mark.asyncio
async def test_an_endless_answer_to_a_challenge_ends_the_connection() -> None:
    """L3, A11: what is left of it must not be taken, and logged, as a command."""
    intake = intake_for(FakeStore())
    factory = smtp_protocol(intake, authenticate=check, auth_without_tls=True)
    async with listening(factory, intake) as port:
        peer = await Peer.connect(port)
        assert (await peer.say("EHLO x", "AUTH PLAIN", "A" * 5000)).startswith("500 5.5.6")
        await until(lambda: intake.connections == 0)
        await peer.close()


def test_a_login_gives_no_right_to_relay() -> None:
    with (
        smtp_served(FakeStore(), authenticate=check, auth_without_tls=True) as port,
        smtplib.SMTP("127.0.0.1", port, timeout=10) as client,
    ):
        client.login("joe", "s3cret pass")
        client.mail("joe@example.org")
        assert client.rcpt("someone@elsewhere.net")[0] == 550
