"""Whole runs, as small as they can be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.__main__ import main, parse

from benchmarks import __main__ as command


def test_quick_is_two_servers_and_the_stored_baseline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    baseline = tmp_path / "baseline.json"
    monkeypatch.setattr(command, "BASELINE", baseline)
    assert parse(["--quick"]).compare is None
    baseline.write_text("{}")
    options = parse(["--quick"])
    assert options.servers == ["dovecot", "restante-uvloop"]
    assert options.compare == baseline
    assert "huge" not in options.chosen
    assert parse(["--quick", "--baseline"]).output == baseline
    assert parse(["--quick", "--baseline"]).compare is None
    assert parse([]).compare is None
    assert "huge" in parse([]).chosen


@pytest.mark.parametrize("wrong", [["--rounds", "101"], ["--held", "1"], ["--messages", "1"]])
def test_what_makes_no_sense_is_refused(
    wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(wrong)
    assert "is from" in capsys.readouterr().err


@pytest.mark.slow
def test_a_tiny_run_measures_and_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cryptography", reason="restante serve needs it")
    output = tmp_path / "results.json"
    chosen = ["poll", "tls-resumed", "drain", "poll-hashed", "held", "huge"]
    arguments = ["--quick", "--rounds", "1", "--servers", "ceiling", "restante-asyncio"]
    arguments += ["--held", "10", "--messages", "300", "--scenarios", *chosen]
    assert main([*arguments, "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "TLS poll, resumed" in printed
    results = json.loads(output.read_text())
    assert set(results["scenarios"]) - set(chosen) == {
        "huge-first",
        "huge-disk",
        "huge-worker",
        "huge-delivered",
    }
    for by_server in results["scenarios"].values():
        assert by_server["restante-asyncio"]["violations"] == 0
        assert by_server["restante-asyncio"]["cpu_us"] > 0
    for by_server in results["memory"].values():
        assert by_server["restante-asyncio"]["sessions"] == 10
