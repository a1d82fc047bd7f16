"""`restante explain`: a real server with several worker processes, and what is said of it."""

from __future__ import annotations

import json
import os
import poplib
import smtplib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from restante.app.config.load import read
from restante.observing import History
from tests.app.conftest import Call
from tests.app.support import PASSWORD, Server, restante, wait_until, write_config

MAIL = b"Subject: Hello\r\n\r\nHello, Joe\r\n"


def deliver(server: Server, count: int = 1) -> None:
    with smtplib.SMTP("127.0.0.1", server.port("smtp", "starttls"), timeout=20) as client:
        for _ in range(count):
            client.sendmail("ann@example.org", ["joe@example.org"], MAIL)
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail("ann@example.org", ["nobody@example.org"], MAIL)


def refuse(server: Server, recipient: str, reply: str) -> None:
    """Have mail refused."""
    with (
        smtplib.SMTP("127.0.0.1", server.port("smtp", "starttls"), timeout=20) as client,
        pytest.raises(smtplib.SMTPException, match=reply),
    ):
        client.sendmail("ann@example.org", [recipient], MAIL)


def fetch_all(server: Server, *, delete: bool = False) -> None:
    client = server.login()
    for number in range(1, client.stat()[0] + 1):
        client.retr(number)
        if delete:
            client.dele(number)
    client.quit()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only systems with fork have workers")
def test_all_workers_write_one_history(folder: Path) -> None:
    write_config(folder)
    with Server(folder, "--workers", "2") as server:
        deliver(server, 3)
        for _ in range(6):
            fetch_all(server)
        with pytest.raises(poplib.error_proto):
            server.login(password="wrong")
        history = History(folder / "data" / "history.sqlite")
        wait_until(lambda: len(history.sessions()) == 6, "six sessions in the history")
        (listing,) = history.listings("joe")
        assert listing.messages == 3
        wait_until(lambda: len(history.deliveries()) == 4, "deliveries in the history")
        assert history.deliveries(outcome="refused")[0].recipient == "nobody@example.org"
        assert history.delivered_among(history.listed(listing)) == set(history.listed(listing))
        victim = next((folder / "data" / "mail" / "joe" / "new").iterdir())
        victim.unlink()
        fetch_all(server, delete=True)
        wait_until(lambda: len(history.sessions()) == 7, "the last session")
        said = restante("explain", "joe", cwd=folder).stdout.decode()
    assert "Client 1, 127.0.0.1" in said
    assert "1 message vanished between" in said
    assert f"gone: unique_id={victim.name.partition(',')[0]} octets=" in said
    assert "deleted 2 messages that it had fetched" in said
    assert "A login was refused to 127.0.0.1 by USER" in said
    assert PASSWORD not in said
    assert "history" not in server.log.read_text()

    # It is still there when the server has stopped.
    found = json.loads(restante("explain", "joe", "--json", cwd=folder).stdout)
    kinds = {each["kind"] for each in found["findings"]}
    assert kinds == {"fetched again", "removed", "deleted", "refused"}


def test_mail_that_was_refused_is_told(folder: Path, call: Call) -> None:
    write_config(folder, "[store]\nquota_messages = 1\n")
    with Server(folder, "--workers", "1") as server:
        deliver(server)
        fetch_all(server)
        for address in ("joe@example.org", "JOE+shop@example.org"):
            refuse(server, address, "4.2.2")
        said = call("explain", "joe")
    assert "Nothing unusual has happened." not in said.out
    assert "2 messages for it were refused between" in said.out
    assert "recipient='joe@example.org' sender='ann@example.org' peer=127.0.0.1" in said.out
    assert "4.2.2 mailbox full" in said.out
    assert "nobody@example.org" not in said.out


@pytest.mark.parametrize(
    ("kind", "said"), [("sqlite", "undelete`."), ("maildir", "undelete`, or from a backup.")]
)
def test_what_undelete_put_back_is_not_taken_for_a_backup(
    folder: Path, call: Call, kind: str, said: str
) -> None:
    write_config(folder, f'[store]\nkind = "{kind}"\n')
    with Server(folder, "--workers", "1") as server:
        deliver(server)
        fetch_all(server, delete=True)
        fetch_all(server)
        assert call("undelete", "joe", "--since", "1h").out == "1 message put back\n"
        fetch_all(server)
        told = " ".join(call("explain", "joe").out.split())
    assert f"it was put back, most likely by `restante {said} It had been deleted" in told


def test_one_key_switches_it_off(folder: Path, call: Call) -> None:
    write_config(folder, "[history]\nenabled = false\n")
    with Server(folder, "--workers", "1") as server:
        deliver(server)
        fetch_all(server)
    assert not (folder / "data" / "history.sqlite").exists()
    done = call("explain", "joe")
    assert (done.status, done.out) == (0, "Account joe: there is no history yet.\n")
    assert "history.enabled = false: nothing more is noted" in done.err


def test_an_account_that_there_is_not(folder: Path, call: Call) -> None:
    write_config(folder)
    done = call("explain", "nobody")
    assert (done.status, done.out) == (1, "")
    assert "there is no account 'nobody'" in done.err


def test_an_account_is_found_by_its_address(folder: Path, call: Call) -> None:
    write_config(folder)
    with Server(folder, "--workers", "1") as server:
        server.login().quit()
        said = call("explain", "joe@example.org")
    assert (said.status, said.err) == (0, "")
    assert said.out.startswith("Account joe. The history begins at ")
    assert "Client 1, 127.0.0.1" in said.out
    assert "there is no account 'nobody@example.org'" in call("explain", "nobody@example.org").err


def test_a_time_that_is_none(folder: Path, call: Call) -> None:
    write_config(folder)
    done = call("explain", "joe", "--since", "yesterday")
    assert done.status == 2
    assert "--since 'yesterday': not a time such as 90s" in done.err


def test_a_file_that_can_not_be_read(folder: Path, call: Call) -> None:
    write_config(folder)
    (folder / "data").mkdir()
    (folder / "data" / "history.sqlite").write_bytes(b"no database" * 1000)
    done = call("explain", "joe")
    assert done.status == 1
    assert "history.sqlite: file is not a database" in done.err


def test_the_history_is_where_mail_is(folder: Path, call: Call) -> None:
    def file(text: str) -> Path | None:
        write_config(folder, text)
        return read(folder / "restante.toml", environ={}).settings.history_file

    database = '[store]\nkind = "postgres"\npostgres.dsn = "postgresql://h/d"\n'
    assert file("") == folder / "data" / "history.sqlite"
    assert file(database) is None
    assert file(f'{database}[history]\nplace = "file"\n') == folder / "data" / "history.sqlite"
    assert file('[history]\nplace = "database"\n') is None
    done = call("check-config")
    assert 'history.place = "database": allowed with store.kind = "postgres" alone' in done.err
    done = call("explain", "joe")
    assert done.status == 1
    assert "store.postgres.dsn is missing" in done.err


def test_check_config_says_what_is_wrong_with_the_history(folder: Path, call: Call) -> None:
    write_config(folder, "[history]\nenabled = false\ndays = 3\n")
    assert "has no effect while history.enabled = false" in call("check-config").err
    write_config(folder, "[history]\nmax_size = 10\n")
    assert "history.max_size" in call("check-config").err
    write_config(folder)
    (folder / "data" / "history.sqlite").mkdir(parents=True)
    done = call("check-config")
    assert "is a folder, so no history can be kept" in done.err + done.out


@pytest.mark.parametrize("workers", ["1", "2"])
def test_what_has_just_ended_is_explained_at_once(folder: Path, call: Call, workers: str) -> None:
    """Nobody waits for the next batch, not even with the history's first row."""
    if workers != "1" and not hasattr(os, "fork"):
        pytest.skip("only systems with fork have workers")
    write_config(folder)
    with Server(folder, "--workers", workers) as server:
        for times in (1, 2, 3):
            server.login().quit()
            said = call("explain", "joe")
            assert (said.status, said.err) == (0, "")
            polls = "1 session" if times == 1 else f"{times} sessions"
            assert "Client 1, 127.0.0.1" in said.out
            assert polls in said.out


def test_a_session_that_goes_on_is_told_of(folder: Path, call: Call) -> None:
    write_config(folder)
    with Server(folder, "--workers", "1") as server:
        deliver(server)
        client = server.login()
        client.retr(1)
        said = call("explain", "joe")
        assert "No session of it has ended since then." in said.out
        assert "a session from 127.0.0.1 goes on since" in said.err
        assert "1 of 1 messages fetched so far; it is noted when it ends. session=" in said.err
        client.quit()
        assert "goes on" not in call("explain", "joe").err


def test_what_could_not_be_written_is_told_of(folder: Path, call: Call) -> None:
    write_config(folder)
    with Server(folder, "--workers", "1") as server:
        server.login().quit()
        assert "Client 1" in call("explain", "joe").out
        file = folder / "data" / "history.sqlite"
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")  # whoever writes has to wait
            server.login().quit()
            said = call("explain", "joe")
            other.execute("ROLLBACK")
        assert "1 session" in said.out
        assert "what happened in the last seconds may be missing: the server hasn't" in said.err
        assert "2 sessions" in call("explain", "joe").out
