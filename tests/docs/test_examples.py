"""Every example is started as its own text says, and a client uses it."""

from __future__ import annotations

import poplib
import re
import smtplib
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme

EXAMPLES = Path(__file__).parents[2] / "examples"
PORT = re.compile(r"on 127\.0\.0\.1 port (\d+)")

Start = Callable[..., "Running"]


class Running:
    """An example at work: the ports it told, and what it prints."""

    def __init__(self, process: subprocess.Popen[str], listeners: int) -> None:
        self.process = process
        self.ports = [self._port() for _ in range(listeners)]

    def _port(self) -> int:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if found := PORT.search(line):
                return int(found[1])
        raise AssertionError("the example ended without telling its port")

    def finish(self) -> str:
        """Press Enter; give what else was printed."""
        output, _ = self.process.communicate("\n", timeout=20)
        assert self.process.returncode == 0
        return output


@contextmanager
def running(name: str, *arguments: str, listeners: int = 1) -> Iterator[Running]:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield Running(process, listeners)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def log_in(port: int, name: str, password: str) -> poplib.POP3:
    client = poplib.POP3("127.0.0.1", port, timeout=10)
    client.user(name)
    client.pass_(password)
    return client


def test_server(tmp_path: Path) -> None:
    with running("server.py", "--port", "0", "--mail", str(tmp_path)) as example:
        client = log_in(example.ports[0], "JOE", "secret")
        assert client.stat() == (0, 0)
        client.quit()
        output = example.finish()
    assert "joe: 0 messages, 0 octets" in output
    assert "secret" not in output


def test_server_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    files = ["--certificate", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem")]
    ports = ["--port", "0", "--tls-port", "0"]
    with running("server_tls.py", *files, *ports, listeners=2) as example:
        plain = poplib.POP3("localhost", example.ports[0], timeout=10)
        with pytest.raises(poplib.error_proto, match="STLS"):
            plain.user("joe")
        plain.stls(context)
        implicit = poplib.POP3_SSL("localhost", example.ports[1], context=context, timeout=10)
        for client in (plain, implicit):
            client.user("joe")
            client.pass_("secret")
            assert client.retr(1)[1][-1] == b"Nobody else has read this."
            client.quit()
        example.finish()


def test_command_override() -> None:
    with running("command_override.py", "--port", "0") as example:
        client = log_in(example.ports[0], "CleverTester", "clevertester")
        assert "XTIME" in client.capa()
        assert client.stat()[0] == 3
        assert len(client.list()[1]) == 3
        assert client._shortcmd("XTIME") == b"+OK it is time to read"  # type: ignore[attr-defined]
        client.quit()
        output = example.finish()
    assert "STAT answered here: 3 messages" in output
    assert "LIST by CleverTester" in output


def test_mail_server(tmp_path: Path) -> None:
    ports = ["--port", "0", "--smtp-port", "0"]
    with running("mail_server.py", *ports, "--mail", str(tmp_path), listeners=2) as example:
        with smtplib.SMTP("127.0.0.1", example.ports[0], timeout=10) as smtp:
            smtp.sendmail("a@b.example", ["ann@example.org"], "Subject: Hi\r\n\r\n.dot\r\n")
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                smtp.sendmail("a@b.example", ["ann@elsewhere.example"], "Subject: no\r\n\r\n")
        client = log_in(example.ports[1], "ann", "hush")
        assert client.retr(1)[1] == [b"Subject: Hi", b"", b".dot"]
        client.quit()
        example.finish()


def test_generated_mail(tmp_path: Path) -> None:
    database = str(tmp_path / "shop.db")
    with running("generated_mail.py", "--port", "0", "--database", database) as example:
        client = log_in(example.ports[0], "ada", "lovelace")
        count, octets = client.stat()
        message = client.retr(2)
        assert count == 2
        assert octets == client.retr(1)[2] + message[2]
        assert b"Subject: Invoice 2" in message[1]
        client.dele(1)
        client.quit()
        again = log_in(example.ports[0], "ada", "lovelace")
        assert again.uidl()[1] == [b"1 invoice-2"]
        again.quit()
        example.finish()
