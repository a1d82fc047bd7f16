"""What a test is told of its clients: each line, each octet, and no secret."""

from __future__ import annotations

import contextlib
import poplib
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator

import pytest

from restante.testing import MailServer, RecordedSession
from tests.server.kit import Client
from tests.testing.conftest import Connect

ONE = b"Subject: one\r\n\r\nHello\r\n"
PLAIN = b64encode(b"\0joe\0secret").decode()


@pytest.fixture
def server() -> Iterator[MailServer]:
    with MailServer(accounts={"joe": "secret"}) as server:
        server.accounts["joe"].add(ONE, "a1")
        server.accounts["joe"].add(ONE, "a2")
        yield server


def recorded(server: MailServer, *lines: bytes) -> RecordedSession:
    """The session of a client that sends these lines and hangs up."""
    with Client(server.port) as client:
        for line in lines:
            client.send(line)
            client.line()
    (session,) = server.wait_for(1)
    return session


def test_a_session_is_recorded_while_it_goes_on(server: MailServer, log_in: Connect) -> None:
    client = log_in(server)
    client.stat()
    (session,) = server.sessions
    assert session.commands == ["USER joe", "PASS ****", "STAT"]
    assert session.replies[-1] == "+OK 2 46"
    assert (session.logged_in, session.mechanism, session.tls) == ("joe", "USER", False)
    assert (session.ended_by, session.is_over) == ("", False)
    client.retr(2)
    client.retr(1)
    client.top(1, 0)
    client.dele(1)
    assert (session.retrieved, session.deleted) == (["a2", "a1"], [])
    client.quit()
    assert server.sessions == [session]
    assert (session.deleted, session.ended_by) == (["a1"], "QUIT")


def test_the_dialogue_is_there_to_be_read(server: MailServer, log_in: Connect) -> None:
    log_in(server).quit()
    (session,) = server.wait_for(1)
    greeting, *rest = session.dialogue.splitlines()
    assert greeting.startswith("S: +OK Restante ready")
    assert rest == [
        "C: USER joe",
        "S: +OK send PASS",
        "C: PASS ****",
        "S: +OK 2 messages",
        "C: QUIT",
        "S: +OK bye",
        "-- ended: QUIT",
    ]
    assert str(session) == session.dialogue
    assert session.dialogue in server.report()


def test_lines_are_shown_as_they_were_written(server: MailServer) -> None:
    session = recorded(server, b"user joe\r\n", b"Pass secret\n", b"retr  1\r\n", b"noop\r\n")
    assert session.commands == ["user joe", "Pass ****", "retr  1", "noop"]
    assert session.raw == b"user joe\r\nPass ****\nretr  1\r\nnoop\r\n"


def test_what_is_no_command_is_recorded_too(server: MailServer) -> None:
    session = recorded(server, b"HELO me\r\n", b"STAT\0\r\n", b"\xff\xfe\r\n", b"\r\n")
    assert session.commands == ["HELO me", "STAT\\x00", "\\xff\\xfe", ""]
    assert session.raw == b"HELO me\r\nSTAT\0\r\n\xff\xfe\r\n\r\n"


def test_half_a_line_is_among_the_octets(server: MailServer) -> None:
    with Client(server.port) as client:
        client.ask("CAPA")
        client.body()
        client.send("QUI")
    (session,) = server.wait_for(1)
    assert (session.commands, session.raw) == (["CAPA"], b"CAPA\r\nQUI")
    assert session.ended_by == "client left"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("PASS secret", "PASS ****"),
        ("apop joe 0123456789abcdef", "apop joe ****"),
        (f"AUTH PLAIN {PLAIN}", "AUTH PLAIN ****"),
        ("secret", "****"),
        ("joe secret", "joe ****"),
        ("USER joe secret", "USER joe ****"),
        ("password: hush", "password: ****"),
    ],
)
def test_secrets_are_shown_only_to_who_asks_for_them(line: str, shown: str) -> None:
    for record_secrets, expected in ((False, shown), (True, line)):
        with MailServer(accounts={"joe": "secret"}, record_secrets=record_secrets) as server:
            session = recorded(server, f"{line}\r\n".encode())
            assert session.commands == [expected]
            assert session.raw == f"{expected}\r\n".encode()
            assert expected in session.dialogue


def test_responses_of_an_exchange_are_secrets(server: MailServer) -> None:
    session = recorded(server, b"AUTH PLAIN\r\n", f"{PLAIN}\r\n".encode())
    assert session.commands == ["AUTH PLAIN", "****"]
    assert (session.logged_in, session.mechanism) == ("joe", "PLAIN")
    assert PLAIN.encode() not in session.raw


def test_half_a_response_is_a_secret(server: MailServer) -> None:
    with Client(server.port) as client:
        client.ask("AUTH PLAIN")
        client.send(PLAIN[:5])
    (session,) = server.wait_for(1)
    assert session.raw == b"AUTH PLAIN\r\n****"


def test_what_was_sent_is_there_to_the_octet(server: MailServer) -> None:
    with Client(server.port) as client:
        client.log_in()
        client.fetch("RETR 1")
        client.ask("QUIT")
    (session,) = server.wait_for(1)
    assert session.sent.endswith(b"+OK 23 octets\r\n" + ONE + b".\r\n+OK bye\r\n")


def test_inside_tls_it_is_the_same(pop3_server: MailServer) -> None:
    pop3_server.account("joe", "secret")
    with Client(pop3_server.port) as client:
        client.start_tls(pop3_server.ca.ssl_context())
        client.log_in()
        client.ask("QUIT")
    (session,) = pop3_server.wait_for(1)
    assert session.raw == b"STLS\r\nUSER joe\r\nPASS ****\r\nQUIT\r\n"
    assert session.tls is True


def test_refused_logins(server: MailServer, connect: Connect) -> None:
    client = connect(server)
    client.user("joe")
    with pytest.raises(poplib.error_proto):
        client.pass_("wrong")
    session = server.sessions[-1]
    assert (session.refused, session.logged_in, session.mechanism) == (["USER"], None, None)


def test_clients_that_are_turned_away_are_recorded() -> None:
    with MailServer(max_connections=1) as server, Client(server.port):
        with Client(server.port) as refused:
            assert refused.greeting.startswith(b"-ERR [SYS/TEMP] too many connections")
        (session,) = [each for each in server.wait_for(1) if each.is_over]
        assert (session.ended_by, session.commands) == ("turned away", [])
        assert session.replies == [refused.greeting.decode()]


def test_reports_are_bounded(server: MailServer) -> None:
    assert server.report() == "no client has connected"
    with Client(server.port) as client:
        for _ in range(300):
            client.send("CAPA\r\n")
            client.line()
            client.body()
    for _ in range(25):
        with Client(server.port) as client:
            client.ask("QUIT")
    server.wait_for(26)
    report = server.report()
    assert "(6 earlier sessions aren't shown)" in report
    assert report.count("-- ended: QUIT") == 20


# Every mechanism

MECHANISMS = ["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "NTLM", "ANONYMOUS"]


def test_every_mechanism_can_be_had() -> None:
    with MailServer(
        accounts={"joe": "secret", "guest": "x"},
        certificate="valid",
        client_certificates="ask",
        oauth=True,
        ntlm=True,
        anonymous="guest",
    ) as server:
        context = server.ca.ssl_context()
        server.ca.client_certificate("joe").load_into(context)
        with Client(server.tls_port, tls=context) as client:
            announced = next(
                line for line in client.fetch("CAPA").split(b"\r\n") if b"SASL" in line
            )
            known = set(announced.decode().split()[1:])
            assert known >= {*MECHANISMS, "EXTERNAL", "OAUTHBEARER", "XOAUTH2"}
            assert any(each.endswith("-PLUS") for each in known)
            assert client.ask("AUTH EXTERNAL =").startswith(b"+OK")
    (session,) = server.sessions
    assert (session.logged_in, session.mechanism) == ("joe", "EXTERNAL")


def xoauth2(server: MailServer, token: str) -> bytes:
    with Client(server.port) as client:
        response = b64encode(f"user=joe\1auth=Bearer {token}\1\1".encode()).decode()
        status = client.ask(f"AUTH XOAUTH2 {response}")
        return client.ask("") if status.startswith(b"+ ") else status


def test_tokens_of_the_kits_own_issuer() -> None:
    with MailServer(oauth=True) as server:
        server.account("joe")
        assert xoauth2(server, server.issuer.token(email="joe")).startswith(b"+OK")
        assert xoauth2(server, server.issuer.token(email="ann")).startswith(b"-ERR")
        assert xoauth2(server, server.issuer.token(email="joe", exp=1000)).startswith(b"-ERR")
    assert [each.logged_in for each in server.sessions] == ["joe", None, None]


def test_ssl_contexts_trust_the_authority_and_nobody_else(pop3_server: MailServer) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        Client(pop3_server.tls_port, tls=ssl.create_default_context())


def test_who_refuses_the_certificate_is_recorded(pop3_server: MailServer) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        Client(pop3_server.tls_port, tls=ssl.create_default_context())
    (session,) = pop3_server.wait_for(1)
    assert (session.ended_by, session.is_over, session.tls) == ("TLS failed", True, False)
    assert (session.commands, session.raw, session.sent) == ([], b"", b"")
    assert session.peer[0] == "127.0.0.1"
    assert session.dialogue.startswith("-- ended: TLS failed: ")
    with Client(pop3_server.port) as client, pytest.raises(ssl.SSLCertVerificationError):
        client.start_tls(ssl.create_default_context())
    _, after_stls = pop3_server.wait_for(2)
    assert (after_stls.ended_by, after_stls.commands) == ("TLS failed", ["STLS"])
    pop3_server.forget()
    assert pop3_server.sessions == []


# What was sent, where a fault has its hand in it


@pytest.mark.parametrize(
    ("fault", "last", "seen"),
    [
        ("RETR:reset-after=10", b"", []),
        ("RETR:close-after=body", b"", []),
        ("RETR:hang-after=10", b"Subject: o", []),
        ("RETR:half-close-after=10", b"", []),
        ("RETR:drip-rate=20", b"Subject", []),  # the client doesn't wait for the end
        ("RETR:raw-reply=+OK%0D%0A.%0D%0A", b".\r\n", []),
        ("RETR:no-reply", b"+OK 1 message\r\n", []),
        ("gone", b"-ERR", []),
        ("RETR:split-octets=7", b".\r\n", ["a1"]),
        ("RETR:coalesce", b".\r\n", ["a1"]),
        ("RETR:lone-lf", b"\n.\n", ["a1"]),
        ("TOP:reset", b".\r\n", ["a1"]),
    ],
)
def test_what_was_retrieved_is_what_was_sent(fault: str, last: bytes, seen: list[str]) -> None:
    """Not what the server meant to send. last: what the client waits for before it leaves."""
    with MailServer(accounts={"joe": "secret"}, faults=[fault]) as server:
        server.accounts["joe"].add(ONE, "a1")
        with socket.create_connection((server.host, server.port), timeout=20) as client:
            client.sendall(b"USER joe\r\nPASS secret\r\nRETR 1\r\n")
            received = b""
            with contextlib.suppress(ConnectionError):
                while not last or last not in received:
                    if not (block := client.recv(4096)):
                        break
                    received += block
        (session,) = server.wait_for(1)
        assert session.retrieved == seen


@pytest.mark.parametrize(
    ("fault", "ended"),
    [
        ("RETR:reset-after=5", "fault RETR:reset-after=5"),
        ("RETR:close", "fault RETR:close"),
        ("greeting:refused", "fault greeting:refused"),
        ("connection-reset", "fault connection-reset"),
        ("RETR:no-reply", "client left"),
    ],
)
def test_a_session_that_a_fault_has_cut_says_so(fault: str, ended: str) -> None:
    with MailServer(accounts={"joe": "secret"}, faults=[fault]) as server:
        server.accounts["joe"].add(ONE, "a1")
        address = server.host, server.port
        with contextlib.suppress(ConnectionError), socket.create_connection(address, 20) as client:
            client.sendall(b"USER joe\r\nPASS secret\r\nRETR 1\r\n")
            if fault == "RETR:no-reply":
                client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
        (session,) = server.wait_for(1)
        assert session.ended_by == ended
        assert session.dialogue.endswith(f"-- ended: {ended}")


def test_messages_that_were_asked_for_together(server: MailServer) -> None:
    """One write of the server has several replies, and the next one is cut."""
    server.fault("RETR 2:reset-after=3")
    with socket.create_connection((server.host, server.port), timeout=20) as client:
        client.sendall(b"USER joe\r\nPASS secret\r\nTOP 1 0\r\nRETR 1\r\nRETR 1\r\nRETR 2\r\n")
        with contextlib.suppress(ConnectionError):
            while client.recv(4096):
                pass
    (session,) = server.wait_for(1)
    assert session.retrieved == ["a1", "a1"]
