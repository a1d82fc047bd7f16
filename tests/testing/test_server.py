"""MailServer: a POP3 server for a test, begun and ended in one line."""

from __future__ import annotations

import asyncio
import gc
import poplib
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import unittest
import warnings
from contextlib import suppress
from email.message import EmailMessage
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest

from restante import Certificate
from restante.testing import Authority, MailServer
from restante.testing.faults import DeletionForgotten, FaultError, Reset
from tests.testing.conftest import Connect

ONE = b"Subject: one\r\n\r\nHello\r\n"


@pytest.fixture
def server() -> Any:
    with MailServer(accounts={"joe": "secret"}) as server:
        yield server


# Mail


def message() -> EmailMessage:
    made = EmailMessage()
    made["Subject"] = "Grüße"
    made.set_content("Hello\n")
    return made


def test_a_message_may_be_given_in_many_forms(server: MailServer, tmp_path: Path) -> None:
    file = tmp_path / "one.eml"
    file.write_bytes(ONE)
    joe = server.accounts["joe"]
    joe.add(message(), "a1")
    joe.add(ONE, "a2")
    joe.add("Subject: text\n\nwith ü\n", "a3")
    joe.add(file, "a4")
    joe.add(str(file), "a5")
    as_text = "Subject: text\n\nwith ü\n".encode()
    assert joe.messages == [message().as_bytes(), ONE, as_text, ONE, ONE]
    assert joe.unique_ids == ["a1", "a2", "a3", "a4", "a5"]
    assert [each.unique_id for each in joe.messages] == joe.unique_ids
    assert joe.messages[0].parsed["Subject"] == "Grüße"


def test_what_is_no_message_is_refused(server: MailServer, tmp_path: Path) -> None:
    joe = server.accounts["joe"]
    with pytest.raises(TypeError, match="int is no message: give an EmailMessage, bytes"):
        joe.add(5)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        joe.add(tmp_path / "none.eml")
    with pytest.raises(ValueError, match="not a unique-id"):
        joe.add(ONE, "with blank")
    joe.add(ONE, "a1")
    with pytest.raises(ValueError, match="used before"):
        joe.add(ONE, "a1")


def test_messages_come_and_go_while_the_server_runs(server: MailServer, log_in: Connect) -> None:
    joe = server.accounts["joe"]
    joe.add(ONE, "a1")
    joe.add(ONE, "a2")
    joe.remove("a1")
    assert log_in(server).uidl()[1] == [b"1 a2"]
    with pytest.raises(KeyError, match=r"no message 'a1'; there are \['a2'\]"):
        joe.remove("a1")
    joe.clear()
    assert joe.messages == []


def test_accounts_are_added_while_the_server_runs(server: MailServer, connect: Connect) -> None:
    ann = server.account("ann", "hush", email="ann@example.org")
    ann.add(ONE)
    client = connect(server)
    client.user("ann")
    client.pass_("hush")
    assert client.stat()[0] == 1
    assert set(server.accounts) == {"joe", "ann"}
    with pytest.raises(ValueError, match="account 'ann' exists"):
        server.account("ann")


def test_wrong_passwords_are_answered_at_once_and_never_held_against_anybody(
    server: MailServer, connect: Connect, log_in: Connect
) -> None:
    for _ in range(9):
        client = connect(server)
        client.user("joe")
        with pytest.raises(poplib.error_proto):
            client.pass_("wrong")
    assert log_in(server).stat() == (0, 0)


# Waiting


def test_waiting_for_the_end_of_sessions(server: MailServer, log_in: Connect) -> None:
    first, second = (
        log_in,
        threading.Thread(target=lambda: poplib.POP3("127.0.0.1", server.port).quit()),
    )
    client = first(server)
    second.start()
    (over,) = [each for each in server.wait_for(1) if each.is_over]
    assert over.ended_by == "QUIT"
    client.close()  # without QUIT
    assert [each.is_over for each in server.wait_for(2)] == [True, True]
    second.join()


def test_waiting_in_vain_says_what_clients_did(server: MailServer, log_in: Connect) -> None:
    log_in(server).noop()
    with pytest.raises(TimeoutError) as raised:
        server.wait_for(1, timeout=0.01)
    assert "after 0.01 seconds, 0 of 1 sessions have ended" in str(raised.value)
    assert "C: NOOP" in str(raised.value)


def test_waiting_for_anything(server: MailServer, log_in: Connect) -> None:
    client = log_in(server)
    noop = threading.Timer(0.0, client.noop)
    noop.start()
    server.wait_until(lambda: "NOOP" in server.sessions[-1].commands)
    noop.join()
    with pytest.raises(TimeoutError, match="C: NOOP"):
        server.wait_until(lambda: False, timeout=0.01)


def test_waiting_until_a_maildrop_is_empty(server: MailServer, log_in: Connect) -> None:
    joe = server.accounts["joe"]
    joe.add(ONE, "a1")
    with pytest.raises(TimeoutError, match="1 messages are left in the maildrop of 'joe': a1"):
        joe.wait_until_empty(timeout=0.01)
    client = log_in(server)
    client.dele(1)
    quit_ = threading.Thread(target=client.quit)
    quit_.start()
    joe.wait_until_empty()
    assert joe.messages == []
    quit_.join()


def test_forgotten_sessions_are_not_counted(server: MailServer, connect: Connect) -> None:
    connect(server).quit()
    server.wait_for(1)
    server.forget()
    assert server.sessions == []
    with pytest.raises(TimeoutError):
        server.wait_for(1, timeout=0.01)
    connect(server).quit()
    assert len(server.wait_for(1)) == 1


# Event loops


async def talk(server: MailServer, *lines: str) -> list[str]:
    """What a client in this very event loop is answered."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    replies = [(await reader.readline()).decode().rstrip()]
    for line in lines:
        writer.write(f"{line}\r\n".encode())
        replies.append((await reader.readline()).decode().rstrip())
    writer.close()
    await writer.wait_closed()
    return replies


def test_in_a_running_loop() -> None:
    async def main() -> None:
        async with MailServer(accounts={"joe": "secret"}) as server:
            joe = server.accounts["joe"]
            joe.add(ONE, "a1")
            client = asyncio.create_task(talk(server, "USER joe", "PASS secret", "DELE 1", "QUIT"))
            await joe.wait_until_empty_async()
            (session,) = await server.wait_for_async()
            assert session.deleted == ["a1"]
            assert (await client)[-1].startswith("+OK")
            with pytest.raises(TimeoutError):
                await server.wait_for_async(2, timeout=0.01)
            joe.add(ONE)
            with pytest.raises(TimeoutError):
                await joe.wait_until_empty_async(timeout=0.01)

    asyncio.run(main())


def test_a_client_that_blocks_the_loop_is_served_all_the_same() -> None:
    async def main() -> None:
        with MailServer() as server:
            poplib.POP3(server.host, server.port).quit()
            assert server.sessions[-1].ended_by == "QUIT"

    asyncio.run(main())


@pytest.mark.asyncio
async def test_by_pytest_asyncio(pop3_server: MailServer) -> None:
    assert (await talk(pop3_server, "QUIT"))[-1].startswith("+OK")
    await pop3_server.wait_for_async()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_by_anyio(pop3_server: MailServer) -> None:
    assert (await talk(pop3_server, "QUIT"))[-1].startswith("+OK")
    await pop3_server.wait_for_async()


@pytest.mark.skipif(find_spec("trio") is None, reason="only with trio")
def test_a_server_within_trio() -> None:
    """It runs on its own thread, whatever event loop its client is in."""
    trio = pytest.importorskip("trio")

    async def main() -> None:
        async with MailServer(accounts={"joe": "secret"}) as server:
            server.accounts["joe"].add(ONE)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(server.accounts["joe"].wait_until_empty_async)
                async with await anyio.connect_tcp(server.host, server.port) as stream:
                    await stream.send(b"USER joe\r\nPASS secret\r\nDELE 1\r\nQUIT\r\n")
                    with suppress(anyio.EndOfStream):
                        while await stream.receive():
                            pass
            assert (await server.wait_for_async(1))[0].deleted != []
        with pytest.raises(TimeoutError, match="1 of 5 sessions"):
            await server.wait_for_async(5, timeout=0.01)

    trio.run(main)


class ByUnittest(unittest.TestCase):
    server: ClassVar[MailServer]

    @classmethod
    def setUpClass(cls) -> None:
        cls.server = cls.enterClassContext(MailServer(accounts={"joe": "secret"}))

    def test_a_login(self) -> None:
        client = poplib.POP3(self.server.host, self.server.port)
        client.user("joe")
        client.pass_("secret")
        client.quit()
        assert self.server.sessions[-1].logged_in == "joe"


# TLS


def problem_of(server: MailServer, authority: Authority, host: str = "localhost") -> str:
    """Why a client that checks certificates refuses the server's; "" when it doesn't."""
    plain = socket.create_connection((server.host, server.tls_port))
    with plain:
        try:
            with authority.ssl_context().wrap_socket(plain, server_hostname=host) as inside:
                inside.recv(100)
        except ssl.SSLCertVerificationError as error:
            return str(error.verify_message)
    return ""


PROBLEMS = {
    "valid": "",
    "rsa": "",
    "ends-soon": "",
    "expired": "has expired",
    "not-yet-valid": "not yet valid",
    "wrong-name": "mismatch",
    "self-signed": "self-signed|self signed",
    "unknown-ca": "unable to get local issuer certificate",
}


@pytest.mark.parametrize("kind", PROBLEMS)
def test_a_client_sees_what_is_wrong_with_a_certificate(kind: Any) -> None:
    with MailServer(certificate=kind) as server:
        found = problem_of(server, server.ca)
        assert bool(found) == bool(PROBLEMS[kind])
        assert not found or any(each in found for each in PROBLEMS[kind].split("|"))


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_valid_certificate_is_for_this_machine_by_all_its_names(name: str) -> None:
    with MailServer(certificate="valid") as server:
        assert problem_of(server, server.ca, name) == ""


def test_tls_by_stls_and_from_the_beginning(pop3_server: MailServer, connect: Connect) -> None:
    pop3_server.account("joe", "secret")
    client = connect(pop3_server)
    client.stls(pop3_server.ca.ssl_context())
    client.user("joe")
    client.pass_("secret")
    client.quit()
    inside = poplib.POP3_SSL(
        "localhost", pop3_server.tls_port, context=pop3_server.ca.ssl_context()
    )
    inside.quit()
    assert [each.tls for each in pop3_server.wait_for(2)] == [True, True]


def test_stls_may_be_required_or_missing(connect: Connect) -> None:
    with MailServer(certificate="valid", tls="starttls_required") as server:
        client = connect(server)
        with pytest.raises(poplib.error_proto):
            client.user("joe")
    with MailServer(certificate="valid", tls="none") as server:
        assert "STLS" not in connect(server).capa()
        assert server.tls_port


def test_a_certificate_of_ones_own(tmp_path: Path) -> None:
    with Authority() as authority:
        own = authority.issue()
        assert isinstance(own, Certificate)
        with MailServer(certificate=own) as server:
            assert problem_of(server, authority) == ""
            with pytest.raises(RuntimeError, match="ca: the server has no authority of its own"):
                _ = server.ca


def test_a_server_without_tls_says_how_to_get_it() -> None:
    with MailServer() as server:
        with pytest.raises(RuntimeError, match="ca: the server has no authority of its own: give"):
            _ = server.ca
        with pytest.raises(RuntimeError, match="tls_port: the server has no TLS"):
            _ = server.tls_port


# SMTP


def test_mail_that_is_sent_can_be_fetched(mail_server: MailServer, log_in: Connect) -> None:
    joe = mail_server.account("joe", "secret")
    with smtplib.SMTP("localhost", mail_server.smtp_port) as smtp:
        smtp.starttls(context=mail_server.ca.ssl_context())
        smtp.login("joe", "secret")
        smtp.sendmail("ann@example.com", ["joe@example.org"], ONE)
    assert joe.messages == [ONE]
    (delivered,) = mail_server.delivered
    assert (delivered.sender, delivered.recipient) == ("ann@example.com", "joe@example.org")
    assert delivered.unique_id == joe.unique_ids[0]
    assert b"\r\n".join(log_in(mail_server).retr(1)[1]) + b"\r\n" == ONE


# Faults


def test_faults_happen_from_when_they_are_given_and_are_recorded(
    server: MailServer, log_in: Connect
) -> None:
    server.accounts["joe"].add(ONE, "a1")
    client = log_in(server)
    assert client.retr(1)[1][-1] == b"Hello"
    client.quit()
    server.fault(Reset("RETR", after=10))
    with pytest.raises(ConnectionError):
        log_in(server).retr(1)
    before, after = server.wait_for(2)
    assert (before.faults, after.faults) == ([], [Reset("RETR", after=10)])
    assert "-- fault: RETR:reset-after=10" in after.dialogue
    assert list(server.faults) == [Reset("RETR", after=10)]
    server.faults.clear()
    assert log_in(server).retr(1)[1][-1] == b"Hello"


def test_faults_may_be_there_from_the_beginning(log_in: Connect) -> None:
    with MailServer(accounts={"joe": "secret"}, faults=["RETR:reset-after=10"]) as server:
        server.accounts["joe"].add(ONE, "a1")
        with pytest.raises(ConnectionError):
            log_in(server).retr(1)


def test_faults_of_the_maildrop(server: MailServer, log_in: Connect) -> None:
    server.accounts["joe"].add(ONE, "a1")
    server.fault(DeletionForgotten())
    client = log_in(server)
    client.dele(1)
    client.quit()
    assert server.accounts["joe"].unique_ids == ["a1"]
    assert server.sessions[-1].faults == [DeletionForgotten()]


def test_what_is_no_fault_is_refused(server: MailServer) -> None:
    with pytest.raises(FaultError):
        server.fault("RETR:rest-after=10")
    with pytest.raises(FaultError):
        MailServer(faults=["RERT:reset-after=10"])
    gc.collect()  # the one that wasn't made


# What can't be used


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        (
            {"certificate": "broken"},
            ValueError,
            "certificate='broken': allowed are valid, rsa, ends-soon, expired",
        ),
        ({"tls": "starttls"}, ValueError, 'needs a certificate: give certificate="valid"'),
        ({"tls_port": 995}, ValueError, "tls_port=995 needs a certificate"),
        ({"tls": "implicit"}, ValueError, "allowed are none, starttls, starttls_required"),
        ({"client_certificates": "ask"}, ValueError, "needs a certificate of the server"),
        ({"smtp_port": 25}, ValueError, "smtp_port=25 needs smtp=True"),
        ({"accounts": {"joe": 5}}, TypeError, "accounts: 'joe' and its password have to be texts"),
        ({"accounts": ["joe"]}, TypeError, "names and passwords, as"),
        ({"any_login": 5}, TypeError, "any_login=5: True, False, or a function"),
        ({"smtp": "yes"}, TypeError, "smtp='yes': True or False"),
        ({"faults": "RETR:reset"}, TypeError, "a list of faults"),
        ({"mechanism": ("PLAIN",)}, TypeError, "mechanism"),
    ],
)
def test_wrong_options_are_refused_when_they_are_given(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        MailServer(**options)


def test_a_server_that_is_not_started_says_so() -> None:
    server = MailServer()
    with pytest.raises(RuntimeError, match="isn't started: use it as a context manager"):
        _ = server.port
    for missing in ("smtp_port", "issuer", "delivered"):
        with pytest.raises(RuntimeError, match=f"{missing}: the server has n"):
            getattr(server, missing)
    assert repr(server) == "<MailServer not started>"


# Its end


def open_files() -> set[str]:
    folder = Path("/proc/self/fd")
    return {f"{each.name} {each.readlink()}" for each in folder.iterdir() if each.exists()}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="only Linux lists open files")
def test_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    MailServer(certificate="valid", smtp=True, oauth=True).start().close()  # loads everything
    gc.collect()
    before = open_files(), set(threading.enumerate())
    with MailServer(
        accounts={"joe": "secret"}, certificate="valid", smtp=True, oauth=True
    ) as server:
        held = poplib.POP3_SSL(
            "localhost", server.tls_port, context=server.ca.ssl_context(), timeout=30
        )
        held.user("joe")
        sending = smtplib.SMTP("localhost", server.smtp_port)
        sending.ehlo()
        assert list(tmp_path.iterdir())
    assert server.sessions[-1].ended_by == "closed by the server"
    held.close()
    sending.close()
    gc.collect()
    assert (open_files(), set(threading.enumerate())) == before
    assert list(tmp_path.iterdir()) == []
    server.close()  # harmless


def test_a_server_goes_down_and_comes_back_where_it_was(connect: Connect) -> None:
    with MailServer(smtp=True, oauth=True, certificate="valid") as server:
        server.account("joe", "secret").add(ONE, "a1")
        ports = server.port, server.tls_port, server.smtp_port
        connect(server).quit()
        server.stop()
        server.stop()
        with pytest.raises(ConnectionRefusedError):
            connect(server)
        server.start()
        assert (server.port, server.tls_port, server.smtp_port) == ports
        with pytest.raises(RuntimeError, match="started already"):
            server.start()
        connect(server).quit()
        assert len(server.wait_for(2)) == 2
        assert server.accounts["joe"].unique_ids == ["a1"]


def test_a_port_that_is_taken_leaves_nothing_behind() -> None:
    with MailServer() as server:
        other = MailServer(port=server.port)
        with pytest.raises(OSError, match="can't listen"):
            other.start()
        other.close()


@pytest.mark.parametrize("options", [{}, {"any_login": True, "faults": ["RETR:reset-after=1"]}])
def test_a_server_that_nobody_closes_is_closed_with_a_warning_that_names_the_line(
    options: dict[str, Any],
) -> None:
    server = MailServer(**options).start()
    line = sys._getframe().f_lineno - 1
    port = server.port
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del server
        gc.collect()
    (warning,) = [each for each in caught if each.category is ResourceWarning]
    assert (warning.filename, warning.lineno) == (__file__, line)
    assert f"a MailServer made at {__file__}:{line} was not closed" in str(warning.message)
    with pytest.raises(ConnectionRefusedError):
        poplib.POP3("127.0.0.1", port)


def test_so_is_one_that_is_left_at_the_end_of_the_program() -> None:
    code = "from restante.testing import MailServer\nserver = MailServer().start()\n"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "<string>:2: ResourceWarning: a MailServer made at <string>:2" in done.stderr


def test_one_that_was_never_started_is_no_concern() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MailServer(certificate="valid")
        gc.collect()
