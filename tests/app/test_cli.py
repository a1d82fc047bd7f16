"""The command line itself."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from restante import __version__
from restante.app.cli.main import app, run
from tests.app.conftest import Call
from tests.app.support import restante, write_config

COMMANDS = ("serve", "user", "deliver", "import", "check-config", "cert", "log")


def test_version(folder: Path) -> None:
    done = restante("--version", cwd=folder)
    assert (done.returncode, done.stdout.decode()) == (0, f"restante {__version__}\n")


def test_help_names_every_command() -> None:
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert all(command in result.output for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_helps(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.mark.parametrize("arguments", [["nothing"], ["serve", "--no-such"], ["import"]])
def test_a_wrong_command_line_is_status_2(arguments: list[str]) -> None:
    assert run(arguments) == 2


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
