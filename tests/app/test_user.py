"""`restante user`: accounts in the database."""

from __future__ import annotations

import json
import os
import re
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


@pytest.mark.parametrize(
    "command", [["passwd", "--generate"], ["change", "--master"], ["remove"], ["disable"]]
)
def test_whose_address_was_given_for_a_name_is_told(
    folder: Path, call: Call, command: list[str]
) -> None:
    (folder / "data").mkdir()
    with database(folder) as accounts:
        accounts.add("ann", "x", email="anna@example.org")
    done = call("user", command[0], "anna@example.org", *command[1:])
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        "restante: no account 'anna@example.org': that is an address of the account 'ann'\n"
    )
    assert call("user", command[0], "x@example.org", *command[1:]).err == (
        "restante: no account 'x@example.org'\n"
    )
    told = call("undelete", "anna@example.org", "--since", "1h")
    assert "that is an address of the account 'ann'" in told.err


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


def test_it_is_said_when_an_account_may_not_have_so_few_days(folder: Path, call: Call) -> None:
    least = ("--set", "pop3.expire_user_days=30")
    call("user", "add", "ann", "--generate")
    said = "restante: --expire-days 1: mail is kept for 30 days, as pop3.expire_user_days"
    assert said in call("user", "change", "ann", "--expire-days", "1", *least).err
    assert "\texpire days 1 (30 count)\t" in call("user", "list", *least).out
    assert "\texpire days 1 (no effect)\t" in call("user", "list").out
    for days in ("0", "30", "31"):
        assert call("user", "change", "ann", "--expire-days", days, *least).err == ""
        assert f"\texpire days {days}\t" in call("user", "list", *least).out
    call("user", "change", "ann", "--default-expire", *least)
    assert "expire days" not in call("user", "list", *least).out


def test_the_list_as_json_has_what_the_table_has(folder: Path, call: Call) -> None:
    call("user", "add", "joe", "--generate", "--email", "joe@a.example", "--quota-octets", "1K")
    call("user", "change", "joe", "--protocol", "pop3", "--expire-days", "9")
    (line,) = call("user", "list", "--json").out.splitlines()
    assert json.loads(line) == {
        "name": "joe",
        "email": "joe@a.example",
        "display_name": "",
        "maildrop": "joe",
        "schemes": ["ARGON2ID", "SCRAM-SHA-256"],
        "disabled": False,
        "master": False,
        "protocols": ["pop3"],
        "networks": [],
        "expires": None,
        "app_passwords": 0,
        "expire_days": 9,
        "messages": 0,
        "octets": 0,
        "quota_messages": None,
        "quota_octets": 1024,
    }


def on_a_terminal(folder: Path, columns: int) -> str:
    """What `restante user list` shows there."""
    pty = pytest.importorskip("pty")
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        program = "from restante.app.cli.main import run; run(['user', 'list'])"
        os.execve(
            sys.executable,
            [sys.executable, "-c", program],
            {**environment(), "TERM": "xterm", "COLUMNS": str(columns)},
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
    return re.sub(r"\x1b\[[0-9;]*m", "", seen.decode())


def cells_of(shown: str, word: str) -> list[str]:
    """Those of the line that has `word` in it."""
    (line,) = [line for line in shown.splitlines() if word in line]
    return [cell.strip() for cell in line.replace("┃", "│").strip("│ ").split("│")]


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of Unix")
def test_every_column_has_a_heading(folder: Path, call: Call) -> None:
    given = ("--email", "joe@a.example", "--display-name", "Joe", "--quota-messages", "7")
    call("user", "add", "joe", "--generate", *given, "--quota-octets", "1K")
    call("user", "disable", "joe")
    cells = cells_of(on_a_terminal(folder, 200), "E-mail")
    assert len(cells) == 10
    assert all(cells)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal of Unix")
def test_columns_that_are_empty_for_all_are_left_out_and_nothing_is_cut_off(
    folder: Path, call: Call
) -> None:
    call("user", "add", "joe", "--generate")
    shown = on_a_terminal(folder, 80)
    assert cells_of(shown, "Name") == ["Name", "Maildrop", "Kept as", "Messages", "Octets"]
    assert cells_of(shown, "ARGON2ID") == ["joe", "joe", "ARGON2ID, SCRAM-SHA-256", "0", "0"]
    assert "…" not in shown


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
