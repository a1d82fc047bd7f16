"""`restante bans`: bans made and taken back, with and without a running server."""

from __future__ import annotations

import json
import os
import time
from contextlib import closing
from pathlib import Path

import pytest

from restante.app.cli.bans import parse_duration
from restante.guard.guard import Guard
from restante.guard.sqlite_bans import SqliteBanStore
from tests.app.conftest import Call
from tests.app.support import Server, wait_until, write_config
from tests.guard.kit import fail
from tests.needs import only_cpython
from tests.ports import free_port
from tests.server.kit import Client


def test_the_life_of_a_ban(folder: Path, call: Call) -> None:
    assert call("bans", "list") == (0, "", "no bans, and nobody is slowed down\n")
    assert not (folder / "data").exists()
    done = call("bans", "ban", "192.0.2.7", "--for", "1h30m", "--reason", "noise\x1b[2J")
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("192.0.2.7 is banned until 2")
    assert call("bans", "ban", "2001:db8::/32").out == "2001:db8::/32 is banned until lifted\n"
    rows = [line.split("\t") for line in call("bans", "list").out.splitlines()]
    assert [row[:2] for row in rows] == [["ban", "192.0.2.7"], ["ban", "2001:db8::/32"]]
    assert rows[0][4] == r"noise\x1b[2J"
    assert rows[1][2] == "until lifted"
    listed = json.loads(call("bans", "list", "--json").out)
    ban, for_good = listed["bans"]
    assert 5300 < ban["until"] - time.time() <= 5400
    assert (ban["network"], ban["times"]) == ("192.0.2.7", 0)
    assert for_good["until"] is None
    assert listed["throttled"] == []
    lifted = "192.0.2.7 is not banned any more, its failures are forgotten\n"
    assert call("bans", "unban", "192.0.2.7") == (0, lifted, "")
    done = call("bans", "unban", "192.0.2.7")
    assert (done.status, done.err) == (1, "restante: 192.0.2.7 is not banned\n")
    done = call("bans", "unban", "2001:db8::1")
    assert done.err == "restante: 2001:db8::1 is not banned, but 2001:db8::/32 is\n"
    assert call("bans", "unban", "2001:db8::/32").status == 0
    assert call("bans", "list").out == ""


def test_who_is_throttled_is_listed(folder: Path, call: Call) -> None:
    (folder / "data").mkdir()
    with closing(Guard(ban_store=SqliteBanStore(folder / "data" / "bans.sqlite"))) as guard:
        for number in range(6):
            fail(guard, "192.0.2.7", "joe\x1b", b"%d" % number)
    rows = [line.split("\t") for line in call("bans", "list").out.splitlines()]
    assert [(row[0], row[1], row[3]) for row in rows] == [
        ("address", "192.0.2.7", "6"),
        ("account", r"joe\x1b", "6"),
    ]
    assert {row[4] for row in rows} == {"slowed down: too many failed logins"}
    listed = json.loads(call("bans", "list", "--json").out)
    assert {each["kind"] for each in listed["throttled"]} == {"address", "account"}
    assert all(each["until"] > time.time() for each in listed["throttled"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ban", "x"), "does not appear to be"),
        (("ban", "192.0.2.1/24"), "has host bits set"),
        (("ban", "192.0.2.1", "--for", "1y"), "not a time such as"),
        (("ban", "192.0.2.1", "--for", "0s"), "more than 0"),
        (("ban", "192.0.2.1", "--for", "999999999w"), "up to ten"),
        (("ban", "192.0.2.1", "--reason", "x" * 201), "at most 200"),
        (("unban", "x"), "does not appear to be"),
    ],
)
def test_mistakes(call: Call, arguments: tuple[str, ...], says: str) -> None:
    done = call("bans", *arguments)
    assert done.status == 2
    assert says in " ".join(done.err.replace("\u2502", " ").split())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("1h", 3600), ("1d12h", 129_600), ("2w", 1209600)],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "h", "1.5h", "-1h", "1h ", "\u0661h", "1h2", "0m"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


def test_a_damaged_book_is_told(folder: Path, call: Call) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "bans.sqlite").write_bytes(b"nothing of the kind " * 100)
    for arguments in (["list"], ["ban", "192.0.2.1"], ["unban", "192.0.2.1"]):
        done = call("bans", *arguments)
        assert done.status == 1
        assert done.err.startswith("restante: ")
        assert "bans.sqlite: file is not a database" in done.err


@pytest.mark.skipif(os.name != "posix", reason="only with POSIX signals")
def test_a_running_server_heeds_it(folder: Path, call: Call) -> None:
    write_config(folder)
    with Server(folder) as server:
        port = server.port("pop3", "starttls")

        def greeting() -> bytes:
            with Client(port) as client:
                return client.greeting

        assert greeting().startswith(b"+OK")
        assert call("bans", "ban", "127.0.0.0/8").status == 0
        wait_until(lambda: greeting() == b"-ERR connection refused", "the ban")
        assert call("bans", "unban", "127.0.0.0/8").status == 0
        wait_until(lambda: greeting().startswith(b"+OK"), "the end of the ban")


@only_cpython
def test_a_database_that_cannot_be_asked_is_told(folder: Path, call: Call) -> None:
    dsn = f"postgresql://mail:hidden@127.0.0.1:{free_port()}/mail"
    (folder / "restante.toml").write_text(
        f'[store]\nkind = "postgres"\n[store.postgres]\ndsn = "{dsn}"\n'
    )
    (folder / "restante.toml").chmod(0o600)
    for arguments in (["list"], ["ban", "192.0.2.1"], ["unban", "192.0.2.1"]):
        done = call("bans", *arguments)
        assert done.status == 1
        assert done.err.startswith("restante: PostgreSQL: ")
        assert "hidden" not in done.err
    assert not (folder / "data").exists()
