"""MailServer whose accounts are made when somebody logs in, and one that fails on purpose."""

from __future__ import annotations

import poplib
import smtplib
import subprocess

import pytest

from restante.testing import MailAccount, MailServer
from restante.testing.faults import FaultError, Reset
from tests import pop3
from tests.needs import need


def log_in(server: MailServer, name: str, password: str = "any") -> poplib.POP3:
    return pop3.log_in(server.host, server.port, name, password)


def test_every_name_logs_in_with_any_password_and_gets_mail() -> None:
    with MailServer(any_login=True, smtp=True) as server:
        with smtplib.SMTP(server.host, server.smtp_port) as client:
            client.sendmail("a@example.org", "Joe@example.org", b"Subject: x\r\n\r\n")
        for name in ("joe", "joe@example.org", "joe@example.net"):
            session = log_in(server, name)
            assert session.stat()[0] == 1
            session.quit()
        session = log_in(server, "ann", "another")
        assert session.stat()[0] == 0
        session.quit()
    assert {"joe", "ann"} <= set(server.accounts)


def test_an_account_that_is_made_so_can_be_given_mail_first() -> None:
    def give(account: MailAccount) -> None:
        account.add(f"Subject: for {account.name}\n\n")

    with MailServer(any_login=give) as server:
        session = log_in(server, "joe")
        assert session.retr(1)[1][0] == b"Subject: for joe"
        session.quit()


def test_an_account_of_the_tests_own_keeps_its_password() -> None:
    with MailServer(any_login=True, accounts={"joe": "secret"}) as server:
        with pytest.raises(poplib.error_proto):
            log_in(server, "joe", "wrong")
        log_in(server, "joe", "secret").quit()


def test_what_needs_a_certain_password_is_not_offered() -> None:
    with MailServer(any_login=True, accounts={"joe": "secret"}) as server:
        client = poplib.POP3(server.host, server.port, timeout=10)
        assert b"<" not in client.getwelcome()  # no timestamp: no APOP
        assert client.capa()["SASL"] == ["PLAIN", "LOGIN"]
        for line in ("APOP joe " + 32 * "0", "AUTH CRAM-MD5", "AUTH SCRAM-SHA-256"):
            with pytest.raises(poplib.error_proto):
                client._shortcmd(line)  # type: ignore[attr-defined]
        client.quit()
    with MailServer(accounts={"joe": "secret"}) as server:
        client = poplib.POP3(server.host, server.port, timeout=10)
        assert {"CRAM-MD5", "SCRAM-SHA-256"} <= set(client.capa()["SASL"])
        client.quit()


def test_curl_logs_in_with_any_password() -> None:
    curl = need("curl", package="curl")
    with MailServer(any_login=lambda account: account.add("Subject: x\n\n")) as server:
        url = f"pop3://{server.host}:{server.port}/1"
        told = subprocess.run(
            [curl, "--silent", "--show-error", "--max-time", "20", "--user", "joe:any", url],
            capture_output=True,
            check=False,
            timeout=60,
        )
        assert told.stderr == b""
        assert told.stdout == b"Subject: x\r\n\r\n"


def test_what_can_be_no_name_is_nobodys() -> None:
    with MailServer(any_login=True) as server:
        with pytest.raises(poplib.error_proto):
            log_in(server, "a\x01b")
        (session,) = server.sessions
        assert session.logged_in is None
        assert server.accounts == {}


def test_a_server_fails_as_it_is_told() -> None:
    with MailServer(accounts={"joe": "secret"}, faults=["NOOP:reset"]) as server:
        client = log_in(server, "joe", "secret")
        with pytest.raises((ConnectionError, poplib.error_proto)):
            client.noop()
        client.close()
        (session,) = server.wait_for(1)
        assert session.faults == [Reset("NOOP")]
        assert server.faults is not None
        server.faults.clear()
        client = log_in(server, "joe", "secret")
        client.noop()
        client.quit()


def test_a_fault_that_cannot_be_is_refused_when_it_is_given() -> None:
    with pytest.raises(FaultError, match="did you mean 'reset'"):
        MailServer(faults=["RETR:rest"])
