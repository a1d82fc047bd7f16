"""Logging in at a server that runs: what an operator configures is what a client meets."""

from __future__ import annotations

import base64
import hashlib
import poplib
import smtplib
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from restante.app.cli.main import run
from tests.app.support import PASSWORD, Server, client_context, restante, wait_until


def add_user(folder: Path, name: str = "joe", *options: str, password: str = PASSWORD) -> None:
    given = f"{password}\n".encode()
    done = restante("user", "add", name, "--password-stdin", *options, cwd=folder, given=given)
    assert done.returncode == 0, done.stderr


def configure(folder: Path, text: str) -> None:
    (folder / "restante.toml").write_text(f"[tls]\ndevelopment = true\n{text}")


@pytest.fixture
def served(folder: Path) -> Iterator[Server]:
    add_user(folder)
    with Server(folder) as server:
        yield server


def server_first(server: Server, name: str) -> bytes:
    """What SCRAM is told of a name: salt and iterations."""
    client = poplib.POP3("127.0.0.1", server.port("pop3", "starttls"), timeout=20)
    first = base64.b64encode(f"n,,n={name},r=abcdef".encode()).decode()
    client._putcmd(f"AUTH SCRAM-SHA-256 {first}")  # type: ignore[attr-defined]
    line: bytes = client._getline()[0]  # type: ignore[attr-defined]
    client.close()
    told = base64.b64decode(line.removeprefix(b"+ "))
    return told.partition(b",")[2]


def test_made_up_keys_stay_the_same_over_a_restart(folder: Path) -> None:
    """Otherwise they would tell which names there are."""
    add_user(folder)
    told = []
    for _ in range(2):
        with Server(folder) as server:
            told.append([server_first(server, name) for name in ("joe", "nobody", "nobody2")])
    assert told[0] == told[1]
    assert len(set(told[0])) == 3
    assert {each.rpartition(b",")[2] for each in told[0]} == {b"i=16384"}
    assert stat.S_IMODE((folder / "data" / "secret.key").stat().st_mode) == 0o600


def test_rights_count_at_once_for_a_running_server(
    served: Server, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    served.login().quit()
    for options in (["--network", "192.0.2.0/24"], ["--protocol", "smtp"]):
        assert run(["user", "change", "joe", *options]) == 0
        with pytest.raises(poplib.error_proto, match="AUTH"):
            served.login()
        assert run(["user", "change", "joe", "--any-network", "--any-protocol"]) == 0
        served.login().quit()
    assert run(["user", "change", "joe", "--expires", "2020-01-31"]) == 0
    with pytest.raises(poplib.error_proto, match="AUTH"):
        served.login()
    assert run(["user", "change", "joe", "--never-expires"]) == 0
    served.login().quit()
    assert run(["user", "change", "nobody", "--master"]) == 1


def test_app_passwords(
    served: Server,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    assert run(["user", "app-password", "add", "joe", "phone"]) == 0
    password = capsys.readouterr().out.strip()
    served.login(password=password).quit()

    def listed() -> list[str]:
        assert run(["user", "app-password", "list", "joe"]) == 0
        return capsys.readouterr().out.strip().split("\t")

    wait_until(lambda: listed()[2] != "never", "the use to be recorded")
    assert listed()[0] == "phone"
    assert run(["user", "list"]) == 0
    assert "1 app password" in capsys.readouterr().out
    assert run(["user", "app-password", "remove", "joe", "phone"]) == 0
    with pytest.raises(poplib.error_proto, match="AUTH"):
        served.login(password=password)
    served.login().quit()


def test_inherited_hashes_are_brought_up_to_date_at_login(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hashed = b"{SHA256}" + base64.b64encode(hashlib.sha256(b"geheim").digest()) + b"\n"
    done = restante("user", "add", "joe", "--credential-stdin", cwd=folder, given=hashed)
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(folder)

    def kept() -> str:
        assert run(["user", "list"]) == 0
        return capsys.readouterr().out.split("\t")[4]

    with Server(folder) as server:
        with pytest.raises(poplib.error_proto, match="AUTH"):
            server.login(password="geheim ")
        assert kept() == "SHA256"
        server.login(password="geheim").quit()
        wait_until(lambda: kept() == "ARGON2ID", "a better hash")
        server.login(password="geheim").quit()


def test_a_credential_is_no_password(folder: Path) -> None:
    done = restante("user", "add", "ann", "--credential-stdin", cwd=folder, given=b"geheim\n")
    assert done.returncode == 1
    assert b"SCHEME" in done.stderr
    assert b"geheim" not in done.stderr


def test_a_master_logs_in_as_another(folder: Path) -> None:
    add_user(folder)
    add_user(folder, "root", "--master", password="allmacht")
    configure(folder, '[login]\nmaster_separator = "*"\n')
    with Server(folder) as server:
        server.login("joe*root", "allmacht").quit()
        with pytest.raises(poplib.error_proto, match="AUTH"):
            server.login("joe*root")
        log = server.wait_for_log("acts as")
    assert "master: account='root' acts as='joe' peer=127.0.0.1" in log


def test_failures_at_smtp_count_at_pop3(folder: Path) -> None:
    add_user(folder)
    configure(
        folder,
        "[smtp]\nauth = true\n[pop3]\nfailure_delay = 0.0\n"
        "[guard]\nshared_networks = []\nban_after = 3\ndelay_first = 0.0\n",
    )
    with Server(folder) as server:
        server.login().quit()
        with smtplib.SMTP("127.0.0.1", server.port("smtp", "starttls"), timeout=20) as sender:
            sender.starttls(context=client_context())
            for number in range(4):  # one more, since joe is known there
                with pytest.raises(smtplib.SMTPAuthenticationError):
                    sender.login("joe", f"wrong {number}")
        server.wait_for_log("login failed: account='joe' peer=127.0.0.1 mechanism=SMTP-")

        def refused() -> bool:
            address = ("127.0.0.1", server.port("pop3", "starttls"))
            with socket.create_connection(address, 20) as client:
                return client.recv(500).startswith(b"-ERR [SYS/TEMP] too many failed logins")

        wait_until(refused, "the ban at each worker")

        def listed() -> bool:
            return b"127.0.0.1" in restante("bans", "list", cwd=folder).stdout

        wait_until(listed, "the ban in the guard's book")
