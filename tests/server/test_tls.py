"""TLS: implicit and STLS, names, client certificates, reload, and what must not pass."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from pathlib import Path

import pytest
import trustme

from restante import (
    Certificate,
    ClientSession,
    Listener,
    MemoryStore,
    Pop3Server,
    TlsSettings,
)
from tests.conftest import Authority
from tests.server.kit import NAME, PASSWORD, Client, new_server, serving, store_of, until

MAIL = [b"Subject: x\n\nhello\n", b"Subject: big\n\n" + b"y" * 3_000_000]


def issue(ca: trustme.CA, folder: Path, *names: str) -> Certificate:
    path = folder / f"{names[0].replace('*', 'star')}.pem"
    ca.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(path)
    return Certificate(path)


@pytest.fixture
def trusting(authority: Authority) -> ssl.SSLContext:
    return authority.client_context()


def connected(server: Pop3Server, tls: str, context: ssl.SSLContext) -> Client:
    """A client inside TLS, whichever way leads there."""
    if tls == "implicit":
        return Client(server.port, tls=context)
    client = Client(server.port)
    try:
        return client.start_tls(context)
    except BaseException:
        client.close()
        raise


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("tls", ["implicit", "starttls", "starttls_required"])
def test_a_whole_session_inside_tls(
    tls: str,
    version: ssl.TLSVersion,
    authority: Authority,
    trusting: ssl.SSLContext,
    loop_kind: str,
) -> None:
    trusting.minimum_version = trusting.maximum_version = version
    with serving(MAIL, tls=tls, certificate=authority.certificate) as server:
        with Client(server.port, tls=trusting if tls == "implicit" else None) as client:
            if tls != "implicit":
                client.start_tls(trusting)
            assert b"STLS" not in client.fetch("CAPA")
            client.log_in()
            assert client.fetch("RETR 1") == b"Subject: x\r\n\r\nhello\r\n"
            assert len(client.fetch("RETR 2")) == 3_000_018
            client.ask("DELE 1")
            assert client.ask("STLS") == b"-ERR already logged in"
            assert client.ask("QUIT") == b"+OK bye"
            # An EOF without close_notify would raise here.
            assert client.rest() == b""
        until(lambda: server.sessions == 0)
        assert isinstance(store_of(server), MemoryStore)
        assert len(store_of(server).messages(NAME)) == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_line_of_a_login_says_the_version(
    version: ssl.TLSVersion,
    authority: Authority,
    trusting: ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "restante.access")
    trusting.minimum_version = trusting.maximum_version = version
    with (
        serving(tls="implicit", certificate=authority.certificate) as server,
        Client(server.port, tls=trusting) as client,
    ):
        client.log_in()
    assert f"peer=127.0.0.1 tls={version.name.replace('_', '.')} messages=0" in caplog.text


def test_handlers_are_told_of_tls(authority: Authority, trusting: ssl.SSLContext) -> None:
    seen: list[tuple[bool, object]] = []
    with serving(tls="starttls", certificate=authority.certificate) as server:

        @server.command("XTLS")
        def ask(session: ClientSession, *_: object) -> None:
            seen.append((session.tls, session.peer_certificate))

        with Client(server.port) as client:
            client.ask("XTLS")
            client.start_tls(trusting).ask("XTLS")
    assert seen == [(False, None), (True, None)]


# STLS


def test_what_was_said_before_stls_is_forgotten(
    authority: Authority, trusting: ssl.SSLContext
) -> None:
    """RFC 2595 §4"""
    with (
        serving(tls="starttls", certificate=authority.certificate) as server,
        Client(server.port) as client,
    ):
        client.ask("LANG de")
        client.ask("USER joe")
        assert not client.ask("STLS").endswith(b"begin TLS")
        client.wrap(trusting)
        assert client.ask(f"PASS {PASSWORD}") == b"-ERR send USER first"
        assert client.ask("STLS") == b"-ERR TLS is active already"
        client.log_in()


@pytest.mark.parametrize("tail", ["CAPA\r\n", "CAPA", "\r\n"])
@pytest.mark.parametrize("watched", [False, True])
def test_plaintext_after_stls_in_the_same_flight_is_refused(
    tail: str, watched: bool, authority: Authority, loop_kind: str
) -> None:
    """A7: nothing that came in the clear is ever taken for something said inside TLS."""
    with serving(tls="starttls", certificate=authority.certificate) as server:
        commands: list[str] = []
        if watched:
            server.on("receive_command")(lambda session, line: commands.append(line))
        with Client(server.port) as client:
            client.send(f"STLS\r\n{tail}")
            assert client.line() == b"-ERR nothing may follow STLS before the handshake"
            assert client.is_cut()
        assert not any("CAPA" in line for line in commands)


@pytest.mark.parametrize("delay", [0.0, 0.02])
def test_plaintext_after_the_reply_to_stls_is_not_taken_for_a_command(
    delay: float, authority: Authority, loop_kind: str
) -> None:
    with serving(MAIL, tls="starttls", certificate=authority.certificate) as server:
        with Client(server.port) as client:
            client.send("STLS\r\n")
            time.sleep(delay)
            client.send(f"USER joe\r\nPASS {PASSWORD}\r\nDELE 1\r\nQUIT\r\n")
            assert client.line() in (
                b"+OK begin TLS",
                b"-ERR nothing may follow STLS before the handshake",
            )
            client.socket.settimeout(10)
            try:
                said = client.rest()
            except ConnectionError:
                said = b""
            assert b"+OK" not in said
        assert isinstance(store_of(server), MemoryStore)
        assert len(store_of(server).messages(NAME)) == 2


def test_one_clients_stls_is_nobody_elses(
    authority: Authority, trusting: ssl.SSLContext, loop_kind: str
) -> None:
    """A8: inbucket switched STLS off for all."""
    with (
        serving(tls="starttls", certificate=authority.certificate) as server,
        Client(server.port) as one,
        Client(server.port) as two,
    ):
        one.start_tls(trusting)
        assert b"STLS" in two.fetch("CAPA")
        two.start_tls(trusting).log_in()
        assert b"STLS" not in one.fetch("CAPA")


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00", b""])
def test_a_failed_handshake_closes_that_connection_only(
    tls: str,
    garbage: bytes,
    authority: Authority,
    trusting: ssl.SSLContext,
    loop_kind: str,
) -> None:
    """A8"""
    closed: list[ClientSession] = []
    with serving(tls=tls, certificate=authority.certificate) as server:
        server.on("close_connection")(closed.append)

        def fresh() -> Client:
            return Client(server.port, tls=trusting if tls == "implicit" else None)

        with fresh() as other:
            with Client(server.port, greet=tls == "starttls") as client:
                if tls == "starttls":
                    assert client.ask("STLS") == b"+OK begin TLS"
                client.send(garbage)
                client.shut_writing()
                with contextlib.suppress(ConnectionError):
                    client.rest()
            if tls == "starttls":
                until(lambda: len(closed) == 1)
            until(lambda: server.sessions == 1)
            assert other.log_in().ask("STAT") == b"+OK 0 0"
        with fresh() as later:
            if tls == "starttls":
                later.start_tls(trusting)
            assert later.ask("QUIT") == b"+OK bye"


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_a_handshake_that_is_never_made_ends_in_time(
    tls: str, authority: Authority, loop_kind: str
) -> None:
    settings = {"tls": tls, "certificate": authority.certificate, "handshake_timeout": 0.05}
    with serving(**settings) as server, Client(server.port, greet=tls == "starttls") as client:  # type: ignore[arg-type]
        if tls == "starttls":
            client.ask("STLS")
        assert client.is_cut()


def test_starttls_required_answers_nothing_of_worth_before_it(
    authority: Authority, trusting: ssl.SSLContext
) -> None:
    """A9"""
    with (
        serving(tls="starttls_required", certificate=authority.certificate) as server,
        Client(server.port) as client,
    ):
        for line in ("USER joe", "PASS x", "AUTH", "AUTH PLAIN AA==", "APOP joe x"):
            assert client.ask(line) == b"-ERR TLS needed first: send STLS"
        assert b"STLS" in client.fetch("CAPA")
        client.start_tls(trusting).log_in()


def test_the_reply_names_the_port_that_speaks_tls(authority: Authority) -> None:
    """A9: for peers that are not on this machine."""
    listeners = [Listener(port=0, tls="starttls"), Listener(port=0, tls="implicit")]
    with serving(listeners=listeners, certificate=authority.certificate) as server:
        ports = [port for _, port in server.addresses]
        assert [listener.policy.tls_port for listener in server.listeners] == [ports[1]] * 2


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_tls_1_1_is_refused(tls: str, authority: Authority, trusting: ssl.SSLContext) -> None:
    """RFC 8996"""
    trusting.minimum_version = ssl.TLSVersion.TLSv1
    trusting.maximum_version = ssl.TLSVersion.TLSv1_1
    trusting.set_ciphers("ALL:@SECLEVEL=0")
    with serving(tls=tls, certificate=authority.certificate) as server:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            connected(server, tls, trusting)
        until(lambda: server.sessions == 0)


# Certificates


def subject_names(client: Client) -> set[str]:
    assert isinstance(client.socket, ssl.SSLSocket)
    certificate = client.socket.getpeercert()
    assert certificate is not None
    return {str(entry[1]) for entry in certificate["subjectAltName"]}


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


def trust(ca: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    ca.configure_trust(context)
    return context


def test_a_certificate_for_each_name(ca: trustme.CA, tmp_path: Path, loop_kind: str) -> None:
    by_name = {
        "Pop.example.org": issue(ca, tmp_path, "pop.example.org"),
        "*.example.net": issue(ca, tmp_path, "*.example.net"),
    }
    settings = TlsSettings(issue(ca, tmp_path, "localhost"), by_name=by_name)
    context = trust(ca)
    with serving(tls="implicit", tls_settings=settings) as server:
        for name, expected in [
            ("localhost", "localhost"),
            ("pop.example.org", "pop.example.org"),
            ("POP.EXAMPLE.ORG", "pop.example.org"),
            ("mail.example.net", "*.example.net"),
        ]:
            with Client(server.port, tls=context, name=name) as client:
                assert subject_names(client) == {expected}
        with pytest.raises(ssl.SSLCertVerificationError):
            Client(server.port, tls=context, name="a.b.example.net")  # one label for the star


def test_the_certificate_event_is_asked_first(
    ca: trustme.CA, tmp_path: Path, loop_kind: str
) -> None:
    asked: list[str | None] = []
    errors: list[Exception] = []
    other = TlsSettings(issue(ca, tmp_path, "other.example.org")).context

    class Ours(Pop3Server):
        def on_certificate(self, server_name: str | None) -> ssl.SSLContext | None:
            asked.append(server_name)
            if server_name == "broken.example.org":
                raise ZeroDivisionError
            return other if server_name == "other.example.org" else None

    server = new_server(kind=Ours, tls="implicit", certificate=issue(ca, tmp_path, "localhost"))
    server.on("server_error")(lambda session, error: errors.append(error))
    context = trust(ca)
    with server:
        with Client(server.port, tls=context, name="other.example.org") as client:
            assert subject_names(client) == {"other.example.org"}
        with Client(server.port, tls=context) as client:
            assert subject_names(client) == {"localhost"}
        context.check_hostname = False
        with Client(server.port, tls=context, name="broken.example.org") as client:
            assert subject_names(client) == {"localhost"}
            assert client.ask("QUIT") == b"+OK bye"
        until(lambda: errors)
    assert asked == ["other.example.org", "localhost", "broken.example.org"]
    assert [type(error) for error in errors] == [ZeroDivisionError]


@pytest.mark.parametrize("wanted", ["ask", "require"])
@pytest.mark.parametrize("tls", ["implicit", "starttls"])
def test_client_certificates(
    wanted: str, tls: str, ca: trustme.CA, tmp_path: Path, loop_kind: str
) -> None:
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    settings = TlsSettings(
        issue(ca, tmp_path, "localhost"),
        client_certificates=wanted,  # type: ignore[arg-type]
        client_ca=tmp_path / "ca.pem",
    )
    seen: list[object] = []
    left: list[object] = []

    with serving(tls=tls, tls_settings=settings) as server:

        @server.command("XWHO")
        def who(session: ClientSession, *_: object) -> None:
            seen.append(session.peer_certificate)

        @server.on("close_connection")
        def gone(session: ClientSession) -> None:
            left.append(session.peer_certificate)

        known = trust(ca)
        ca.issue_cert("client@example.org").configure_cert(known)
        with connected(server, tls, known) as client:
            assert client.ask("XWHO") == b"+OK"
        assert seen[0]
        assert "client@example.org" in str(seen[0])
        until(lambda: left)
        assert left == seen
        if wanted == "ask":
            with connected(server, tls, trust(ca)) as client:
                assert client.ask("XWHO") == b"+OK"
            assert seen[1] is None
        stranger = trust(ca)
        trustme.CA().issue_cert("client@example.org").configure_cert(stranger)
        for refused in [stranger] + ([trust(ca)] if wanted == "require" else []):
            with (
                pytest.raises((ssl.SSLError, ConnectionError, EOFError)),
                connected(server, tls, refused) as client,
            ):
                client.ask("XWHO")  # TLS 1.3: the refusal comes after the client's handshake
        assert len(seen) == (2 if wanted == "ask" else 1)


def test_certificates_are_read_again_while_sessions_go_on(
    ca: trustme.CA, tmp_path: Path, loop_kind: str
) -> None:
    live = issue(ca, tmp_path, "localhost")
    settings = TlsSettings(live)
    with (
        serving(MAIL, tls="implicit", tls_settings=settings) as server,
        Client(server.port, tls=trust(ca)) as old,
    ):
        old.log_in()
        assert not settings.changed()
        new_ca = trustme.CA()
        issue(new_ca, tmp_path, "localhost")
        assert settings.changed()
        settings.reload()
        assert not settings.changed()
        assert old.fetch("RETR 1") == b"Subject: x\r\n\r\nhello\r\n"
        with Client(server.port, tls=trust(new_ca)) as new:
            assert new.ask("QUIT") == b"+OK bye"
        with pytest.raises(ssl.SSLError):
            Client(server.port, tls=trust(ca))
        Path(live.chain).write_text("not a certificate")
        with pytest.raises(ssl.SSLError):
            settings.reload()
        with Client(server.port, tls=trust(new_ca)) as new:
            assert new.ask("QUIT") == b"+OK bye"
        assert old.ask("STAT").startswith(b"+OK 2")


def test_settings_that_cannot_work(ca: trustme.CA, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nothing"):
        TlsSettings(Certificate(tmp_path / "nothing.pem"))
    with pytest.raises(ValueError, match="client_ca"):
        TlsSettings(issue(ca, tmp_path, "localhost"), client_certificates="require")
    assert "hush" not in repr(Certificate("a.pem", password="hush"))


def test_a_tls_client_that_never_reads_is_closed_in_time(
    authority: Authority, trusting: ssl.SSLContext, loop_kind: str, quick_sweep: None
) -> None:
    big = (b"x" * 70 + b"\n") * 200_000
    settings = {"tls": "implicit", "certificate": authority.certificate, "stall_timeout": 0.3}
    with serving([big], **settings) as server:
        with Client(server.port, tls=trusting, receive_buffer=4096) as client:
            client.log_in().send("RETR 1\r\n")
            until(lambda: server.sessions == 0)
        with Client(server.port, tls=trusting) as client:
            client.log_in()


@pytest.mark.asyncio
async def test_inside_an_application_s_own_loop(
    authority: Authority, trusting: ssl.SSLContext
) -> None:
    async with new_server(tls="starttls", certificate=authority.certificate) as server:

        def dialogue() -> bytes:
            with Client(server.port) as client:
                return client.start_tls(trusting).log_in().ask("QUIT")

        assert await asyncio.to_thread(dialogue) == b"+OK bye"
