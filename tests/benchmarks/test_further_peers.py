"""Servers that are known by their command line, and checkouts that are compared."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks.__main__ import main, parse
from benchmarks.corpus import HASHED
from benchmarks.ground import Ground, Unavailable
from benchmarks.others import start_further, words_of
from benchmarks.processes import stop
from benchmarks.servers import BY_NAME, RESTANTE, Peer, running

from benchmarks import others, ours, pairs, servers

TINY = """
import asyncio, sys
from restante import Maildir, Pop3Server

port, mail, users = sys.argv[1:]
fields = [line.split(":") for line in open(users)]
accounts = {name: word.removeprefix("{PLAIN}") for name, word, *_ in fields}
asyncio.run(Pop3Server(accounts=accounts, store=Maildir(mail), port=int(port)).serve())
"""


@pytest.fixture(autouse=True)
def known_as_before() -> Iterator[None]:
    before = dict(BY_NAME)
    yield
    BY_NAME.clear()
    BY_NAME.update(before)


def tiny(folder: Path) -> str:
    """The command line of a small server, in a folder with a blank in its name."""
    program = folder / "a peer" / "tiny.py"
    program.parent.mkdir()
    program.write_text(TINY)
    return f"{shlex.join([sys.executable, str(program)])} {{pop3}} {{maildirs}} {{passwd}}"


# Further peers


@pytest.mark.slow
def test_a_peer_is_measured_by_its_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ours.HERE))
    output = tmp_path / "results.json"
    arguments = ["--quick", "--rounds", "1", "--servers", "ceiling", "--output", str(output)]
    arguments += ["--peer", f"tiny={tiny(tmp_path)}", "--scenarios", "poll", "tls-poll"]
    assert main(arguments) == 0
    results = json.loads(output.read_text())
    assert results["scenarios"]["poll"]["tiny"]["violations"] == 0
    assert results["scenarios"]["poll"]["tiny"]["cpu_us"] > 0
    assert "tiny" not in results["scenarios"]["tls-poll"]  # it didn't ask for {pop3s}
    assert "tiny" in capsys.readouterr().out


def test_a_peer_is_told_all_places(tmp_path: Path) -> None:
    told = tmp_path / "told"
    program = "import json, sys, time; open(sys.argv[1], 'w').write(json.dumps(sys.argv[2:]))"
    line = shlex.join([sys.executable, "-c", program, str(told)])
    line += " " + " ".join(f"--{place}={{{place}}}" for place in others.PLACES)
    ground = Ground(tmp_path, tmp_path / "mail", {"ann": "word", "bob": HASHED}, None)
    process, ports = start_further(words_of(line), ground, tmp_path, tmp_path / "log")
    try:
        process.wait(20)
    finally:
        stop(process)
    seen = dict(word.removeprefix("--").split("=", 1) for word in json.loads(told.read_text()))
    assert list(seen) == list(others.PLACES)
    assert (int(seen["pop3"]), int(seen["pop3s"])) == ports
    assert 0 not in ports
    assert seen["maildirs"] == str(ground.maildrops)
    assert (seen["certificate"], seen["key"]) == (str(ground.certificate), str(ground.key))
    ann, bob = Path(seen["passwd"]).read_text().splitlines()
    assert ann.startswith("ann:{PLAIN}word:")
    assert bob.startswith(f"bob:{HASHED}:")
    assert ann.split(":")[5] == str(ground.maildrops / "ann")


def test_a_peer_that_ends_at_once_is_skipped_with_what_it_said(tmp_path: Path) -> None:
    line = shlex.join([sys.executable, "-c", "raise SystemExit('no such option')", "{pop3}"])
    words = words_of(line)
    servers.add(Peer("odd", line, lambda *given: start_further(words, *given)))
    ground = Ground(tmp_path, tmp_path / "mail", {}, None)
    with pytest.raises(Unavailable, match="no such option"), running("odd", ground):
        pass


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("serve {pop3}", "NAME='COMMAND LINE' is wanted"),
        ("tiny=serve --port 110", "{pop3} is missing"),
        ("tiny=serve {pop3} {imap}", "{imap} is unknown; known are pop3,"),
        ("tiny=serve '{pop3}", "No closing quotation"),
        ("dovecot=serve {pop3}", "dovecot is a server that there is already"),
        ("../tiny=serve {pop3}", "is no name"),
    ],
)
def test_a_peer_that_can_not_be_started_is_refused(
    given: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(["--peer", given])
    assert why in capsys.readouterr().err


# Pairs


def test_what_is_compared() -> None:
    here = str(ours.HERE.parent)
    assert parse(["--against", here]).servers == [pairs.BEFORE, pairs.NOW]
    assert pairs.NOW in RESTANTE
    assert parse(["--handler"]).servers == [pairs.WITHOUT, pairs.WITH]
    both = parse(["--handler", "--against", here])
    assert both.servers == [pairs.BEFORE_WITH, pairs.WITH]
    assert both.chosen == pairs.SHORT
    assert "held" not in parse(["--against", here]).chosen


def test_only_a_checkout_can_be_compared_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(["--against", str(tmp_path)])
    assert "is no checkout of Restante" in capsys.readouterr().err


def test_another_checkout_runs_its_own_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = tmp_path / "src" / "restante" / "app"
    app.mkdir(parents=True)
    for package in (app.parent, app):
        (package / "__init__.py").touch()
    (app / "entry.py").write_text("def main():\n    print('another')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ours.HERE), str(tmp_path)]))
    ran = subprocess.run(
        ours.command("asyncio"),
        env=ours.environment(ours.sources_of(tmp_path)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "another\n"


def figures(*rounds: float) -> dict[str, Any]:
    return {"cpu_us": rounds[0], "p99_ms": 7.0, "rounds": {"cpu_us": list(rounds)}}


def test_ratios_are_taken_round_by_round() -> None:
    """The machine was half as fast in the second round."""
    results = {
        "servers": [pairs.BEFORE, pairs.NOW],
        "titles": {"poll": "poll"},
        "scenarios": {
            "poll": {
                pairs.BEFORE: figures(300.0, 600.0, 250.0),
                pairs.NOW: figures(150.0, 300.0, 100.0),
            },
            "tls-poll": {},
        },
    }
    head, row = pairs.table(results)
    assert len(head) == len(row)
    assert row == [
        "poll",
        "300",
        "150",
        "2.00",
        "2.00 to 2.25",
        "2.00 to 2.50",
        "2.50",
        "7.00",
        "7.00",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("handler", [False, True])
def test_this_checkout_against_itself(
    handler: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cryptography", reason="restante serve needs it")
    output = tmp_path / "results.json"
    arguments = ["--against", str(ours.HERE.parent), "--quick", "--rounds", "1"]
    arguments += ["--handler"] * handler
    arguments += ["--scenarios", "poll", "--markdown", "--output", str(output)]
    assert main(arguments) == 0
    names = parse(arguments).servers
    assert list(json.loads(output.read_text())["scenarios"]["poll"]) == names
    assert f"| {names[0]} | {names[1]} | times less |" in capsys.readouterr().out
