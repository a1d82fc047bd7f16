"""Mail that programs send by SMTP is read by POP3 as it was sent."""

from __future__ import annotations

import poplib
import re
import smtplib
import subprocess
from pathlib import Path
from unittest import mock

import pytest

from restante.testing import MailServer
from tests.corpus import NASTY, wire_form
from tests.needs import need
from tests.peers.harness import NAME, PASSWORD

SENDER, RECIPIENT = "anna@example.org", f"{NAME}@example.org"


pytestmark = [
    pytest.mark.peer,
    pytest.mark.mail_server(accounts={NAME: PASSWORD}, utf8_headers="as-is"),
]


def missing(sent: dict[str, bytes], server: MailServer) -> list[str]:
    """Names of messages that POP3 doesn't give octet for octet; and their number is right."""
    with mock.patch.object(poplib, "_MAXLINE", 1 << 30):
        client = poplib.POP3(server.host, server.port, timeout=60)
        client.user(NAME)
        client.pass_(PASSWORD)
        numbers = range(1, client.stat()[0] + 1)
        got = [b"".join(line + b"\r\n" for line in client.retr(each)[1]) for each in numbers]
        client.quit()
    assert len(got) == len(sent)
    return [name for name, wire in sent.items() if wire not in got]


@pytest.mark.parametrize("tls", [False, True])
def test_what_smtplib_sends_is_read_as_it_was(tls: bool, mail_server: MailServer) -> None:
    """smtplib stuffs; line ends of bytes are the sender's business, so it is given CRLF."""
    sent = {name: wire_form(message) for name, message in NASTY.items()}
    with smtplib.SMTP("localhost", mail_server.smtp_port, timeout=30) as smtp:
        if tls:
            smtp.starttls(context=mail_server.ca.ssl_context())
        for wire in sent.values():
            assert smtp.sendmail(SENDER, [RECIPIENT], wire) == {}
    assert missing(sent, mail_server) == []


@pytest.mark.slow
def test_thirty_megabytes_sent_are_thirty_megabytes_read(mail_server: MailServer) -> None:
    wire = b"Subject: thirty megabytes\r\n\r\n.\r\n..\r\n" + b"letters of a line\r\n" * 1_600_000
    with smtplib.SMTP("localhost", mail_server.smtp_port, timeout=60) as smtp:
        smtp.sendmail(SENDER, [RECIPIENT], wire)
    assert missing({"big": wire}, mail_server) == []


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


def test_what_swaks_sends_is_read_as_it_was(mail_server: MailServer, tmp_path: Path) -> None:
    """swaks is given what DATA takes, stuffed and with its end: its own stuffing has holes."""
    swaks = need("swaks", package="swaks")
    sent = {name: wire_form(NASTY[name]) for name in SWAKS}
    for name, wire in sent.items():
        (tmp_path / name).write_bytes(re.sub(rb"(?m)^\.", b"..", wire) + b".\r\n")
        where = ["--server", f"localhost:{mail_server.smtp_port}", "--ehlo", "peer.example.org"]
        address = ["--from", SENDER, "--to", RECIPIENT]
        tls = ["--tls", "--tls-verify", "--tls-ca-path", str(mail_server.ca.path)]
        data = ["--data", f"@{name}", "--no-data-fixup", "--silent", "2"]
        argv = [swaks, *where, *address, *tls, *data]
        subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True, timeout=90)
    assert missing(sent, mail_server) == []
