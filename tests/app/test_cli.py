"""The command line itself."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from restante import __version__
from restante.accounts.sqlite import SqliteAccounts
from restante.app.cli.command_line import Group
from restante.app.cli.main import COMMANDS, run
from tests.app.conftest import Call
from tests.app.support import environment, restante, write_config

SUMMARIES = {name: each.help for name, each in COMMANDS.commands.items()}  # type: ignore[union-attr]
GROUPS = {"user", "bans", "log"}


def test_version(folder: Path) -> None:
    done = restante("--version", cwd=folder)
    assert (done.returncode, done.stdout.decode()) == (0, f"restante {__version__}\n")


def test_python_m_restante_is_the_command(folder: Path) -> None:
    command = (sys.executable, "-m", "restante", "--version")
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=folder, env=environment()
    )
    assert done.stdout == f"restante {__version__}\n"


@pytest.mark.skipif(os.name != "posix", reason="what closes a pipe differs elsewhere")
@pytest.mark.parametrize("unbuffered", [True, False])
@pytest.mark.parametrize(
    "arguments", [["--version"], ["--help"], ["user", "list"], ["user", "list", "--json"]]
)
def test_whoever_reads_no_further_ends_a_command_quietly(
    folder: Path, arguments: list[str], unbuffered: bool
) -> None:
    """As `head` does, with output of any size."""
    with SqliteAccounts(folder / "accounts.sqlite") as accounts:
        for number in range(1 if unbuffered else 300):
            accounts.add(f"joe{number}", credentials=["{PLAIN}secret"])
    read, write = os.pipe()
    os.close(read)
    flags = ["-u"] if unbuffered else []
    data = ["--data", str(folder)] if "list" in arguments else []
    try:
        done = subprocess.run(
            [sys.executable, *flags, "-m", "restante", *arguments, *data],
            stdout=write, stderr=subprocess.PIPE, cwd=folder, env=environment(),
            timeout=60, check=False,
        )  # fmt: skip
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (128 + 13, b"")


def test_another_broken_pipe_is_an_error(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("restante.app.cli.main.execute", fails)
    done = call("status")
    assert (done.status, done.err) == (1, "restante: [Errno 32] Broken pipe\n")


def test_help_names_every_command_and_what_it_does(call: Call) -> None:
    for arguments, status in ((["--help"], 0), (["-h"], 0), ([], 2)):
        done = call(*arguments)
        assert done.status == status
        assert all(f"{name} " in done.out for name in COMMANDS.commands)
        assert all(text in done.out for text in SUMMARIES.values())


@pytest.mark.parametrize("command", SUMMARIES)
def test_every_command_helps_and_its_summary_is_what_it_says_itself(
    call: Call, command: str
) -> None:
    done = call(command, "--help")
    assert done.status == 0
    assert done.out.startswith(f"Usage: restante {command}")
    assert SUMMARIES[command].rstrip(".") in " ".join(done.out.split())


def test_every_command_below_another_helps(call: Call) -> None:
    for name in GROUPS:
        group = COMMANDS.find(name)
        assert isinstance(group, Group)
        for below in group.commands:
            done = call(name, below, "--help")
            assert done.status == 0
            assert done.out.startswith(f"Usage: restante {name} {below}")


NEVER = {"aiosmtpd", "argon2", "cryptography", "pydantic", "rich", "typer", "uvloop"}
SERVER = {
    "restante.server.server", "restante.server.listen.listener", "restante.delivery.smtp",
    "restante.accounts.oauth", "restante.app.service",
}  # fmt: skip
NOTHING = {"asyncio", "ssl", "sqlite3", "restante.app.config.settings"}

LIGHT = [
    ("--help", NEVER | SERVER | NOTHING),
    ("--version", NEVER | SERVER | NOTHING),
    ("serve --help", NEVER | SERVER | NOTHING),
    ("check-config --help", NEVER | SERVER | NOTHING),
    ("cert --help", NEVER | SERVER | NOTHING),
    ("fake --help", NEVER | SERVER | NOTHING),
    ("show systemd", NEVER | SERVER | NOTHING),
    ("status", NEVER | SERVER | {"asyncio", "ssl", "sqlite3"}),
    ("sessions", NEVER | SERVER | {"asyncio", "ssl", "sqlite3"}),
    ("log show", NEVER | SERVER | {"asyncio", "ssl", "sqlite3"}),
    ("bans list", NEVER | SERVER),
    ("user list", NEVER | SERVER),
    ("deliver --to joe", NEVER | SERVER),
    ("import mail --account joe", (NEVER | SERVER) - {"rich"}),
]


@pytest.mark.parametrize(("command", "unwanted"), LIGHT)
def test_a_command_loads_what_it_needs_and_no_more(
    folder: Path, command: str, unwanted: set[str]
) -> None:
    """Most of a short command's time goes into imports."""
    (folder / "data").mkdir()
    with SqliteAccounts(folder / "data" / "accounts.sqlite") as accounts:
        accounts.add("joe", "x")
    (folder / "mail").write_text("From a Mon Jan  1 00:00:00 2026\nSubject: x\n\nx\n")
    program = (
        "import sys\nfrom restante.app.entry import main\nstatus = main()\n"
        "print(*sys.modules, file=sys.stderr)\nsys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *command.split()],
        cwd=folder, input=b"Subject: x\n\nx\n", env=environment(), capture_output=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == (command in ("status", "sessions")), done.stderr[:500]
    loaded = set(done.stderr.decode().splitlines()[-1].split())
    assert loaded & unwanted == set()


def test_a_library_that_is_missing_is_named(folder: Path) -> None:
    program = (
        "import sys\nsys.modules['cryptography'] = None\n"
        "from restante.app.entry import main\nsys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "cert"], cwd=folder, env=environment(),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "restante: cryptography is missing: pip install 'restante[server]'\n"


@pytest.mark.parametrize("arguments", [["nothing"], ["serve", "--no-such"], ["import"]])
def test_a_wrong_command_line_is_status_2(arguments: list[str]) -> None:
    assert run(arguments) == 2


@pytest.mark.parametrize(
    ("arguments", "known", "example"),
    [
        ("bans --data X", "list, ban, unban", "restante bans list --data X"),
        (
            "bans --data 'my data' ban 10.1.2.3",
            "list",
            "restante bans ban --data 'my data' 10.1.2.3",
        ),
        ("log --data X", "on, off, show", "restante log show --data X"),
        ("user --set a=b", "add, change, passwd", "restante user list --set a=b"),
        ("user app-password --data X", "add, list", "restante user app-password list joe --data X"),
        ("--config X", "serve, try, user", "restante serve --config X"),
    ],
)
def test_options_without_a_command_are_answered_by_the_commands_and_an_example(
    call: Call, arguments: str, known: str, example: str
) -> None:
    done = call(*shlex.split(arguments))
    assert (done.status, done.out) == (2, "")
    assert f"is missing: known are {known}" in done.err
    assert done.err.endswith(f"for example: {example}\n")


def test_check_config_without_mistakes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_config(folder)
    assert run(["check-config"]) == 0
    assert capsys.readouterr() == (f"{file}: no mistakes\n", "")
    assert {each.name for each in folder.iterdir()} == {"restante.toml"}


def test_check_config_tells_all_mistakes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_config(folder, "port = 'x'\n[smtp]\nport = 1026\n[delivery]\ncatch_all = 'z'\n")
    assert run(["check-config", "--set", "log.level=x"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(": ")[2].split(" ")[0] for line in err.splitlines()[:-1]] == [
        "pop3.port",
        "log.level",
        "lmtp.port",
        "delivery.catch_all",
    ]
    assert err.endswith("restante: 4 mistakes\n")


def test_check_config_shows_what_is_in_effect(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(folder)
    assert run(["check-config", "--show", "--set", "pop3.port=7"]) == 0
    out = capsys.readouterr().out
    assert "port = 7\n" in out
    assert "correct horse" not in out
    (folder / "shown.toml").write_text(out)
    assert run(["check-config", "--config", "shown.toml"]) == 0


def test_serve_refuses_a_configuration_with_mistakes_and_makes_nothing(
    folder: Path, call: Call
) -> None:
    (folder / "restante.toml").write_text("[pop3]\nport = 'x'\n[delivery]\ncatch_all = 'z'\n")
    done = call("serve")
    assert (done.status, done.out) == (2, "")
    assert len(done.err.splitlines()) == 3
    assert {each.name for each in folder.iterdir()} == {"restante.toml"}
