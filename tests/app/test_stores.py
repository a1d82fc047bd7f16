"""The server and the commands over each store that the configuration can name."""

from __future__ import annotations

import json
import os
import poplib
import signal
import smtplib
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.app.conftest import Call
from tests.app.support import Server, restante, wait_until, write_config

unix = pytest.mark.skipif(os.name != "posix", reason="signals of Unix")


@dataclass(frozen=True)
class Kind:
    """A store. text: what the configuration says of it."""

    name: str
    text: str


@pytest.fixture(params=["maildir", "sqlite"])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each store in turn."""
    return Kind(request.param, f'[store]\nkind = "{request.param}"\n')


def send(server: Server, text: str, to: str = "joe@localhost") -> None:
    with smtplib.SMTP("127.0.0.1", server.port("smtp", "starttls"), timeout=20) as client:
        client.sendmail("a@x.example", [to], f"Subject: {text}\r\n\r\n{text}\r\n".encode())


def mail(server: Server) -> list[bytes]:
    """The last line of each message of joe's."""
    client = server.login()
    found = [client.retr(number)[1][-1] for number in range(1, client.stat()[0] + 1)]
    client.quit()
    return found


@unix
@pytest.mark.parametrize("workers", ["1", "2"])
def test_mail_comes_in_by_smtp_and_out_by_pop3_through_restarts_and_kills(
    folder: Path, kind: Kind, workers: str
) -> None:
    write_config(folder, kind.text)
    with Server(folder, "--workers", workers) as server:
        send(server, "one")
        assert mail(server) == [b"one"]
        client = server.login()
        client.dele(1)
        client.quit()
        send(server, "two")
        send(server, "three")
        if workers == "2":
            kill_worker(server)
        assert mail(server) == [b"two", b"three"]
    with Server(folder, "--workers", workers) as server:
        client = server.login()
        ids = client.uidl()[1]
        assert client.stat()[0] == 2
        server.process.kill()
        client.close()
        server.process.wait()
    with Server(folder, "--workers", workers) as server:
        client = wait_until(lambda: logged_in(server), "the maildrop of a killed server")
        assert client.uidl()[1] == ids
        client.quit()
        assert mail(server) == [b"two", b"three"]


def kill_worker(server: Server) -> None:
    """End a worker without a chance to do anything, and wait for the next one."""
    pids = worker_pids(server)
    os.kill(pids[0], signal.SIGKILL)
    wait_until(
        lambda: len(now := worker_pids(server)) == len(pids) and now != pids, "another worker"
    )


def worker_pids(server: Server) -> list[int]:
    done = restante("status", "--json", cwd=server.folder)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return [row["pid"] for row in rows if row["state"] == "ready"]


def logged_in(server: Server) -> poplib.POP3 | None:
    try:
        return server.login()
    except poplib.error_proto:
        return None


def test_commands_put_mail_into_the_store(folder: Path, kind: Kind, call: Call) -> None:
    write_config(folder, kind.text)
    (folder / "x.eml").write_bytes(b"Subject: x\n\nfrom a file\n")
    assert call("import", "x.eml", "--account", "joe").status == 0
    assert call("deliver", "--to", "joe@localhost", given=b"Subject: y\n\nby a pipe\n").status == 0
    with Server(folder) as server:
        assert mail(server) == [b"from a file", b"by a pipe"]


def test_trying_works(folder: Path, kind: Kind) -> None:
    write_config(folder, kind.text)
    with Server(folder) as server:
        done = restante("try", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert mail(server) == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_whose_mail_cant_be_kept_doesnt_start_and_says_why(
    folder: Path, workers: str
) -> None:
    write_config(folder, '[store]\nkind = "sqlite"\nsqlite.path = "mail/all.sqlite"\n')
    (folder / "mail").mkdir()
    (folder / "mail/all.sqlite").write_bytes(b"no database, but a text of some length" * 100)
    done = restante("serve", "--workers", workers, "--pop3-port", "0", cwd=folder)
    assert done.returncode == 1
    assert b"mail/all.sqlite: file is not a database" in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_server_collects_by_itself(folder: Path) -> None:
    write_config(folder, '[store]\nkind = "sqlite"\ncollect_minutes = 0.01\n')
    with Server(folder, "--workers", "2") as server:
        send(server, "one")
        client = server.login()
        client.dele(1)
        client.quit()
        server.wait_for_log("collected: 1 messages that were removed are gone for good")
    assert restante("collect", cwd=folder).stdout == b"0 messages removed for good\n"


def test_collecting_heeds_the_time_to_undelete(folder: Path, call: Call) -> None:
    write_config(folder, '[store]\nkind = "sqlite"\ncollect_minutes = "off"\nundelete_days = 1\n')
    with Server(folder) as server:
        send(server, "one")
        client = server.login()
        client.dele(1)
        client.quit()
    assert call("collect").out == "0 messages removed for good\n"
    assert call("collect", "--set", "store.undelete_days=0").out == "1 message removed for good\n"


def test_what_has_no_effect_is_told(folder: Path, call: Call) -> None:
    write_config(
        folder,
        '[store]\nkind = "sqlite"\n[maildrops]\nfsync = false\n',
    )
    done = call("check-config")
    assert done.status == 2
    assert 'maildrops: has no effect; allowed: with store.kind = "maildir"' in done.err
    write_config(folder, '[store.sqlite]\npath = "x.sqlite"\n')
    done = call("check-config")
    assert 'store.sqlite: has no effect; allowed: with store.kind = "sqlite"' in done.err
    (folder / "f").mkdir()
    write_config(folder, '[store]\nkind = "sqlite"\nsqlite.path = "f"\n')
    assert "is a folder; allowed: the path of a file" in call("check-config").err
    write_config(folder, "[store]\ncollect_minutes = 0\n")
    assert 'allowed: minutes from 0.01 to 10080, or "off"' in call("check-config").err
