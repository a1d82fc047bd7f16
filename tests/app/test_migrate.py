"""`restante migrate` as an operator calls it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from restante.stores import Maildir, SqliteStore
from restante.testing import MailServer
from tests.app.conftest import Call
from tests.app.support import COMMAND, PASSWORD, environment, restante, write_config
from tests.migration.kit import remove, shown


def fill(folder: Path, user: str, count: int, size: int = 10) -> None:
    """A Maildir as Dovecot leaves it behind, under `folder/mail`."""
    maildir = folder / "mail" / user
    for part in ("new", "cur", "tmp"):
        (maildir / part).mkdir(parents=True)
    lines = [f"3 V1700000000 N{count + 1} G1"]
    for number in range(1, count + 1):
        name = f"{1_700_000_000 + number}.M1P1.host"
        text = f"Subject: {user} {number}\n\n{'x' * size}\n"
        (maildir / "cur" / f"{name}:2,S").write_text(text)
        lines.append(f"{number} :{name}")
    (maildir / "dovecot-uidlist").write_text("\n".join(lines) + "\n")


def run(folder: Path, *arguments: str) -> tuple[int, str, str]:
    done = restante("migrate", *arguments, cwd=folder)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


FROM = ("--from", "maildir:mail/{user}", "--from-format", "dovecot")


@pytest.fixture
def house(tmp_path: Path) -> Path:
    fill(tmp_path, "joe", 3)
    fill(tmp_path, "ann", 2)
    return tmp_path


def test_mail_moves_into_a_store_and_out_again(house: Path) -> None:
    status, out, _ = run(house, *FROM, "--to", "sqlite:m.sqlite", "--all", "--report", "r.json")
    assert status == 0
    assert out.splitlines()[-1] == "2 accounts: 5 messages moved, 150 octets"
    assert "joe: 3 messages moved, 90 octets" in out.splitlines()
    report = json.loads((house / "r.json").read_text())
    assert report["well"] is True
    assert report["total"]["moved"] == 5
    assert [each["account"] for each in report["accounts"]] == ["ann", "joe"]
    assert run(house, *FROM, "--to", "sqlite:m.sqlite", "--all", "--check")[0] == 0

    out_again = ("--from", "sqlite:m.sqlite", "--to", "maildir:out/{user}")
    assert run(house, *out_again, "--all")[0] == 0
    assert run(house, *FROM, "--to", "maildir:out/{user}", "--all", "--check-bodies")[0] == 0
    store = Maildir(house / "out")
    assert [unique_id for unique_id, _ in shown(store)] == [
        f"0000000{number}6553f100" for number in (1, 2, 3)
    ]


def test_it_moves_into_the_store_of_the_configuration(house: Path) -> None:
    write_config(house, '[store]\nkind = "sqlite"\n')
    status, out, _ = run(house, *FROM, "--all")
    assert status == 1
    assert "ann: failed: the destination has no such account" in out.splitlines()
    assert "joe: 3 messages moved, 90 octets" in out.splitlines()
    assert run(house, *FROM, "joe")[0] == 0
    (file,) = house.glob("data/**/*.sqlite")
    assert len(shown(SqliteStore(file))) == 3
    assert run(house, "--from", "restante.toml", "--to", "maildir:out/{user}", "--all")[0] == 0
    assert run(house, *FROM, "--to", "maildir:out/{user}", "joe", "--check-bodies")[0] == 0


def test_a_check_says_what_differs_and_has_status_1(house: Path) -> None:
    to = ("--to", "sqlite:m.sqlite", "joe")
    run(house, *FROM, *to)
    remove(SqliteStore(house / "m.sqlite"), "000000026553f100")
    status, out, _ = run(house, *FROM, *to, "--check", "--report", "r.json")
    assert status == 1
    assert out.splitlines() == [
        "joe: 3 messages: 1 differ",
        "  differs: 000000026553f100: it isn't at the destination",
        "1 account compared, 3 messages: 1 differ",
    ]
    assert json.loads((house / "r.json").read_text())["well"] is False


def test_a_check_makes_nothing(house: Path) -> None:
    status, out, _ = run(house, *FROM, "--to", "maildir:out/{user}", "joe", "--check")
    assert status == 1
    assert "joe: failed: the destination has no such account" in out
    assert not (house / "out").exists()


def test_a_database_that_is_not_there_is_no_source_and_a_check_makes_none(house: Path) -> None:
    status, _, err = run(house, "--from", "sqlite:typo.sqlite", "--to", "sqlite:m.sqlite", "joe")
    assert (status, "sqlite:typo.sqlite: there is no such file" in err) == (2, True)
    status, _, err = run(house, *FROM, "--to", "sqlite:typo.sqlite", "joe", "--check")
    assert (status, "sqlite:typo.sqlite: there is no such file" in err) == (2, True)
    assert list(house.glob("typo*")) == []


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
@pytest.mark.parametrize("destination", ["sqlite:m.sqlite", "maildir:out/{user}"])
def test_a_run_that_is_killed_is_started_again(tmp_path: Path, destination: str) -> None:
    """Some times in a row, wherever it is: nothing is there twice, nothing is missing."""
    fill(tmp_path, "joe", 60)
    fill(tmp_path, "ann", 60)
    arguments = ("migrate", *FROM, "--to", destination, "--all")
    killed = 0
    for milliseconds in (0, 20, 60, 150):
        with subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            until = time.monotonic() + 30
            before = traces(tmp_path)
            while process.poll() is None and traces(tmp_path) == before:
                assert time.monotonic() < until
            time.sleep(milliseconds / 1000)
            process.send_signal(signal.SIGKILL)
        killed += process.returncode == -signal.SIGKILL
    assert killed
    status, out, _ = run(tmp_path, *arguments[1:])
    assert status == 0, out
    status, out, _ = run(tmp_path, *arguments[1:], "--check-bodies")
    assert status == 0, out
    assert out.splitlines()[-1] == "2 accounts compared, 120 messages: all the same"


def traces(folder: Path) -> Any:
    """Something that changes whenever a message has come to the destination."""
    files = [*folder.glob("m.sqlite*"), *folder.glob("out/*/*"), *folder.glob("out")]
    return [(path, path.stat().st_mtime_ns) for path in files if path.exists()]


@pytest.mark.skipif(os.name != "posix", reason="terminals are POSIX's")
def test_a_terminal_is_shown_a_bar(house: Path) -> None:
    main, other = pty.openpty()
    try:
        done = subprocess.run(
            [*COMMAND, "migrate", *FROM, "--to", "sqlite:m.sqlite", "--all"],
            cwd=house,
            env={**environment(), "TERM": "xterm", "COLUMNS": "120"},
            stdout=subprocess.PIPE,
            stderr=other,
            timeout=60,
            check=False,
        )
        shown_text = os.read(main, 100_000).decode()
    finally:
        os.close(main)
        os.close(other)
    assert done.returncode == 0
    assert "2 of 2 accounts" in shown_text
    assert re.search(r"150.150 bytes", shown_text)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("--from", "maildir:mail/{user}"), "name accounts, or give --all"),
        (("--from", "maildir:mail/{user}", "joe", "--all"), "name accounts, or give --all"),
        (("--from", "maildir:mail", "joe"), "{user} is missing, as in maildir:/srv/mail/{user}"),
        (("--from", "maildir:mail/{usr}", "joe"), "fields are {user}, {domain} and {name}"),
        (("--from", "mail", "joe"), "'mail': allowed is maildir:/srv/mail/{user}"),
        (("--from", "ftp://host", "joe"), "'ftp://host': allowed is"),
        (("--from", "maildir:mail/{user}", "--from-format", "x", "joe"), "own, dovecot, courier"),
        (("--from", "sqlite:x", "--from-format", "dovecot", "joe"), "is for Maildirs"),
        (("--from", "sqlite:x", "--unique-ids", "%u", "joe"), "--unique-ids is for"),
        (("--from", "imaps://h", "--unique-ids", "%f", "joe"), "allowed are %08Xu%08Xv"),
        (("--from", "pop3s://h", "joe"), "--users or --master must name a file"),
        (("--from", "pop3s://joe:x@h", "joe", "--users", "users"), "no password belongs into"),
        (("--from", "pop3s:h", "joe", "--users", "users"), "pop3s://mail.example.org:995"),
        (("--from", "pop3s://h:x", "joe", "--users", "users"), "the port is none"),
        (("--from", "pop3s://h/x", "joe", "--users", "users"), "allowed is pop3s://"),
        (("--from", "pop3s://h", "--users", "users", "--without-tls", "joe"), "--without-tls"),
        (("--from", "pop3://h", "--users", "open", "joe"), "others may read it"),
        (("--from", "pop3://h", "--users", "users", "--unique-ids", "%u", "joe"), "itself"),
        (("--from", "maildir:mail/{user}", "--users", "users", "joe"), "doesn't go with"),
        (("--from", "dovecot:", "--from-format", "dovecot", "joe"), "doesn't go with"),
        (("--from", "maildir:mail/{user}", "--data", "x", "joe"), "--config, --data and --set"),
        (("--from", "maildir:mail/{user}", "--parallel", "0", "joe"), "allowed is 1 to 64"),
        (("--from", "maildir:mail/{user}", "--max-octets", "0", "joe"), "allowed is 1 or more"),
    ],
)
def test_what_can_not_be_understood_has_status_2(
    call: Call, house: Path, arguments: tuple[str, ...], error: str
) -> None:
    for name, mode in (("users", 0o600), ("open", 0o644)):
        (house / name).write_text("joe:secret\n")
        (house / name).chmod(mode)
    done = call("migrate", *arguments, "--to", "sqlite:m.sqlite")
    assert done.status == 2, done
    assert error in done.err
    assert "secret" not in done.err


def test_an_account_that_the_source_does_not_have_is_told(house: Path) -> None:
    status, out, _ = run(house, *FROM, "--to", "sqlite:m.sqlite", "jo")
    assert status == 1
    assert out.splitlines()[0] == "jo: failed: the source has no such account"


def test_passwords_come_from_a_file_and_are_never_shown(house: Path) -> None:
    with MailServer() as server:
        server.account("joe", "hush hush").add(b"x\r\n", unique_id="a1")
        (house / "users").write_text("joe:hush hush\nann:hush wrong\n")
        (house / "users").chmod(0o600)
        arguments = ("--from", f"pop3://{server.host}:{server.port}", "--users", "users")
        done = run(house, *arguments, "--without-tls", "--to", "sqlite:m.sqlite", "--all")
        assert done[0] == 1
        assert "joe: 1 message moved, 3 octets" in done[1]
        assert "ann: failed: logging in: the server says" in done[1]
        assert "hush" not in "".join(map(str, done))
        assert shown(SqliteStore(house / "m.sqlite")) == [("a1", b"x\r\n")]
        # STLS or nothing, unless --without-tls is given
        done = run(house, *arguments, "--to", "sqlite:n.sqlite", "joe")
        assert "joe: failed: STLS: the server says" in done[1]


def test_quotas_of_the_destination_are_heeded(house: Path) -> None:
    file = write_config(house, '[store]\nkind = "sqlite"\n')
    limited = f'joe = {{ password = "{PASSWORD}", quota_messages = 2 }}'
    file.write_text(file.read_text().replace(f'joe = "{PASSWORD}"', limited))
    status, out, _ = run(house, *FROM, "joe")
    assert status == 1
    assert "messages that are not moved: 1" in out
