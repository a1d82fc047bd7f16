"""The profile of Dovecot, beside a real one."""

from __future__ import annotations

import socket
import subprocess
from base64 import b64encode
from collections.abc import Iterator

import pytest

from restante.testing.faults import Profile, load_profile
from tests.conftest import Authority
from tests.dialogues.dovecot import Dovecot, running
from tests.needs import need
from tests.testing.faults.harness import FIRST, SECOND, Client, failing

pytestmark = pytest.mark.peer

RIGHT, WRONG = (b64encode(b"\0joe\0" + word).decode() for word in (b"secret", b"wrong"))
SESSIONS = [
    ["USER joe", "PASS wrong", f"AUTH PLAIN {WRONG}", "QUIT"],
    [
        *("USER joe", "PASS secret", "LIST", "LIST 1", "UIDL", "RETR 2", "TOP 1 0"),
        *("RETR 3", "DELE 3", "DELE 1", "RSET", "NOOP", "QUIT"),
    ],
    [f"AUTH PLAIN {RIGHT}", "QUIT"],
]
MULTI_LINE = ("LIST", "UIDL", "RETR 2", "TOP 1 0")


@pytest.fixture(scope="module")
def dovecot(authority: Authority) -> Iterator[Dovecot]:
    version = [need("dovecot", package="dovecot-core"), "--version"]
    if not subprocess.run(version, capture_output=True, check=True).stdout.startswith(b"2.3."):
        pytest.skip("only Dovecot 2.3 was recorded")
    with running(authority, mechanisms="plain") as dovecot:
        yield dovecot


def _connect(dovecot: Dovecot) -> Client:
    source = dovecot.give({"a1": FIRST, "a2": SECOND}), 0
    return Client(socket.create_connection(("127.0.0.1", dovecot.port), 20, source))


def _capa(client: Client) -> tuple[bytes, set[str]]:
    first, *lines = client.ask_lines("CAPA")
    return first, {line.decode().rstrip("\r\n") for line in lines}


def test_dovecot_greets_and_announces_what_its_profile_says(dovecot: Dovecot) -> None:
    profile = load_profile("dovecot")
    assert profile.capa_after_login is not None
    with _connect(dovecot) as client:
        assert client.line() == f"+OK {profile.greeting}\r\n".encode()
        assert _capa(client) == (b"+OK\r\n", set(profile.capa))
        assert client.ask("USER joe").startswith(b"+OK")
        assert client.ask("PASS secret").startswith(b"+OK")
        assert _capa(client) == (b"+OK\r\n", set(profile.capa_after_login))
    assert profile.capa_text == ""


@pytest.mark.parametrize("session", SESSIONS, ids=["refused", "PASS", "AUTH"])
def test_dovecot_and_its_profile_use_the_same_words(dovecot: Dovecot, session: list[str]) -> None:
    with _connect(dovecot) as client:
        expected = _status_lines(client, session)
    with failing(Profile("dovecot")) as server, server.connect() as client:
        assert _status_lines(client, session) == expected


def _status_lines(client: Client, session: list[str]) -> list[tuple[str, bytes]]:
    """What comes first after each command, and the greeting."""
    found = [("", client.line())]
    for command in session:
        status = client.ask_lines(command)[0] if command in MULTI_LINE else client.ask(command)
        found.append((command, status))
    return found
