"""`restante user`: accounts in the database."""

from __future__ import annotations

import os
import select
import stat
import sys
from pathlib import Path

import pytest

from restante.accounts.account import Quota
from restante.accounts.schemes import split_credential, verify
from restante.accounts.sqlite import SqliteAccounts
from restante.app.cli.main import run
from restante.app.passwords import new_password
from tests.app.conftest import Call
from tests.app.support import environment, restante, write_config


def database(folder: Path) -> SqliteAccounts:
    return SqliteAccounts(folder / "data" / "accounts.sqlite")


def test_an_account_with_a_password_from_standard_input(folder: Path) -> None:
    done = restante("user", "add", "joe", "--password-stdin", cwd=folder, given=b" a b \r\nx")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    with database(folder) as accounts:
        (account,) = accounts.list()
    assert [split_credential(each)[0] for each in account.credentials] == [
        "ARGON2ID",
        "SCRAM-SHA-256",
    ]
    assert all(verify(credential, " a b ") for credential in account.credentials)
    if os.name == "posix":
        assert stat.S_IMODE((folder / "data").stat().st_mode) == 0o700


def test_a_generated_password_is_shown_once_and_works(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--email", "joe@x.example", "--display-name", "Joe", "--maildrop", "box"]
    assert run(["user", "add", "joe", "--generate", "--keep-secret", *options]) == 0
    password = capsys.readouterr().out.strip()
    with database(folder) as accounts:
        (account,) = accounts.list()
    assert f"{{PLAIN}}{password}" in account.credentials
    assert (account.email, account.display_name, account.maildrop) == (
        "joe@x.example",
        "Joe",
        "box",
    )


def test_generated_passwords_differ_and_are_long() -> None:
    made = {new_password() for _ in range(100)}
    assert len(made) == 100
    assert {len(each) for each in made} == {23}


def test_the_life_of_an_account(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["user", "add", "joe", "--generate", "--keep-secret"]) == 0
    assert run(["user", "passwd", "JOE", "--generate"]) == 0
    password = capsys.readouterr().out.splitlines()[-1]
    with database(folder) as accounts:
        assert f"{{PLAIN}}{password}" in accounts.list()[0].credentials
    assert run(["user", "passwd", "joe", "--generate", "--forget-secret"]) == 0
    assert run(["user", "disable", "joe"]) == 0
    capsys.readouterr()
    assert run(["user", "list"]) == 0
    assert capsys.readouterr().out == "joe\t\t\tjoe\tARGON2ID, SCRAM-SHA-256\tdisabled\t0\t0\t\t\n"
    assert run(["user", "enable", "joe"]) == 0
    assert run(["user", "remove", "joe"]) == 0
    assert run(["user", "list"]) == 0
    assert capsys.readouterr().out == ""


def test_a_maildrop_that_is_left_and_found_again_is_told(folder: Path, call: Call) -> None:
    assert call("user", "add", "joe", "--generate").err == ""
    assert call("user", "remove", "joe").err == ""
    call("user", "add", "joe", "--generate")
    assert restante("deliver", "--to", "joe", cwd=folder, given=b"S: x\n\nx\n").returncode == 0
    there = "the maildrop joe holds messages: 1, octets: "
    removed = call("user", "remove", "joe")
    assert removed.status == 0
    assert there in removed.err
    assert "a new account of this name would see them" in removed.err
    added = call("user", "add", "joe", "--generate")
    assert added.status == 0
    assert f"warning: {there}" in added.err
    call("user", "remove", "joe")
    assert call("user", "add", "joe", "--generate", "--maildrop", "new").err == ""


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["add", "joe"], 2, "no terminal"),
        (["add", "joe", "--generate", "--password-stdin"], 2, "exclude"),
        (["add", "joe", "--password", "x"], 2, "unrecognized arguments"),
        (["add", "a\nb", "--generate"], 1, "control characters"),
        (["add", "ann", "--generate"], 1, "exists"),
        (["passwd", "nobody", "--generate"], 1, "no account 'nobody'"),
        (["remove", "nobody"], 1, "no account 'nobody'"),
        (["add", "joe", "--generate", "--set", "pop3.port=x"], 2, "--set: pop3.port"),
    ],
)
def test_what_is_refused(
    folder: Path, call: Call, arguments: list[str], status: int, says: str
) -> None:
    (folder / "data").mkdir()
    with database(folder) as accounts:
        accounts.add("ann", "x")
    done = call("user", *arguments)
    assert (done.status, done.out) == (status, "")
    assert says in done.err


def test_an_empty_password_is_refused(call: Call) -> None:
    done = call("user", "add", "joe", "--password-stdin")
    assert (done.status, done.err) == (1, "restante: password: can't be empty\n")


def test_a_quota_and_a_time_for_mail_are_changed_one_by_one(folder: Path, call: Call) -> None:
    def limits() -> tuple[Quota | None, int | None]:
        with database(folder) as accounts:
            (account,) = accounts.list()
        return account.quota, account.expire_days

    assert call("user", "add", "joe", "--generate", "--quota-octets", "1G").status == 0
    assert limits() == (Quota(octets=2**30), None)
    call("user", "change", "joe", "--quota-messages", "100", "--expire-days", "30")
    assert limits() == (Quota(2**30, 100), 30)
    call("user", "change", "joe", "--quota-octets", "0", "--default-expire")
    assert limits() == (Quota(0, 100), None)
    call("user", "change", "joe", "--default-quota", "--expire-days", "0")
    assert limits() == (None, 0)
    done = call("user", "change", "joe", "--quota-octets", "lots")
    assert (done.status, "--quota-octets lots: no size" in done.err) == (2, True)
    assert limits() == (None, 0)


def test_static_accounts_are_listed_but_changed_elsewhere(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(folder)
    assert run(["user", "list"]) == 0
    assert capsys.readouterr().out == "joe\t\t\tjoe\tPLAIN\t\t0\t0\t\t\n"
    assert run(["user", "disable", "joe"]) == 2
    assert "accounts.static" in capsys.readouterr().err


def test_the_list_says_what_maildrops_hold_and_may_hold(folder: Path, call: Call) -> None:
    call("user", "add", "joe", "--generate", "--quota-octets", "1K")
    call("user", "add", "ann", "--generate")
    done = call("deliver", "--to", "joe", given=b"Subject: x\r\n\r\nx\r\n")
    assert done.status == 0
    lines = call("user", "list", "--set", "store.quota_messages=9").out.splitlines()
    ann, joe = (line.split("\t")[6:] for line in lines)
    assert ann == ["0", "0", "9", ""]
    assert joe == ["1", "17", "9", "1024"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of Unix")
def test_every_column_has_a_heading(folder: Path, call: Call) -> None:
    assert call("user", "add", "joe", "--generate").status == 0
    pty = pytest.importorskip("pty")
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        program = "from restante.app.cli.main import run; run(['user', 'list'])"
        os.execve(
            sys.executable, [sys.executable, "-c", program], {**environment(), "COLUMNS": "200"}
        )
    seen = b""
    while select.select([terminal], [], [], 20)[0]:
        try:
            block = os.read(terminal, 4096)
        except OSError:  # its end
            break
        seen += block
    os.waitpid(child, 0)
    os.close(terminal)
    (headings,) = [line for line in seen.decode().splitlines() if "E-mail" in line]
    cells = [cell.strip() for cell in headings.replace("┃", "│").strip("│ ").split("│")]
    assert len(cells) == 10
    assert all(cells)


def test_a_list_where_there_are_no_accounts_makes_none(folder: Path) -> None:
    assert run(["user", "list"]) == 1
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of Unix")
def test_on_a_terminal_the_password_is_asked_for_twice_and_not_echoed(folder: Path) -> None:
    pty = pytest.importorskip("pty")
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        program = "from restante.app.cli.main import run; run(['user', 'add', 'joe'])"
        os.execve(sys.executable, [sys.executable, "-c", program], environment())
    seen = b""
    for prompt in (b"Password: ", b"confirmation: "):
        while prompt not in seen:
            assert select.select([terminal], [], [], 20)[0]
            seen += os.read(terminal, 1000)
        os.write(terminal, b"typed\n")
    assert os.waitpid(child, 0)[1] == 0
    os.close(terminal)
    assert b"typed" not in seen
    with database(folder) as accounts:
        assert verify(accounts.list()[0].credentials[0], "typed")
