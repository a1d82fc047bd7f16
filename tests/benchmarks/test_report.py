"""What is made of figures: ratios, regressions, targets, charts, profiles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from benchmarks.load import Outcome
from benchmarks.measure import Samples

from benchmarks import charts, cores, profiling, report, soak, targets


def figures(cpu_us: float, **more: Any) -> dict[str, Any]:
    return {
        "cpu_us": cpu_us,
        "sessions_per_second": 10.0,
        "megabytes_per_second": 1.0,
        "p99_ms": 7.25,
        "generator_busy": 0.1,
        "violations": 0,
        "first_violation": "",
        **more,
    }


def held(kib: float, sessions: int = 100, trouble: str = "") -> dict[str, Any]:
    return {
        "private_kib": kib,
        "sessions": sessions,
        "wanted": 100,
        "trouble": trouble,
        "beside_p50_ms": 1.0,
        "beside_p99_ms": 2.0,
    }


def results(ours: float = 100.0, theirs: float = 1000.0) -> report.Results:
    poll = {
        "dovecot": figures(theirs),
        "ceiling": figures(50.0),
        "restante-uvloop": figures(ours),
        "restante-asyncio": figures(600.0),
    }
    one = {"sessions_per_second": 1000.0, "cpu_us": 100.0}
    one |= {"server_cores": 1.0, "generator_cores": 0.2, "second_to_busiest": 0.0}
    two = one | {"sessions_per_second": 1700.0, "cpu_us": 105.0}
    return {
        "servers": ["dovecot", "ceiling", "restante-uvloop", "restante-asyncio"],
        "scenarios": {
            "poll": poll,
            "huge-first": {
                "restante-uvloop": figures(
                    9e6, octets_a_message=300, alone_p99_ms=1, beside_p99_ms=2, beside_longest_ms=3
                )
            },
        },
        "titles": {"poll": "poll", "huge-first": "first sight", "idle": "in the clear"},
        "memory": {
            "idle": {"dovecot": held(200), "restante-uvloop": held(7.5, 99, "-ERR no more")}
        },
        "cores": {"restante-uvloop": {"1": one, "2": two, **cores.growth(one, two)}},
        "skipped": {"twisted": "it is not installed"},
        "files_allowed": 1024,
    }


def test_rounds_become_medians() -> None:
    samples = Samples()
    for seconds in (0.3, 0.1, 0.2):
        samples.add(seconds, Outcome(100, 2.0, 4_000_000, 0, "", cpu_seconds=0.5, p99_ms=7))
    found = samples.figures()
    assert found["cpu_us"] == pytest.approx(2000)
    assert found["sessions_per_second"] == 50
    assert found["megabytes_per_second"] == 2
    assert (found["generator_busy"], found["p99_ms"]) == (0.25, 7)


def test_a_ratio_that_has_become_worse_is_pointed_at() -> None:
    assert report.ratios(results(250.0))["poll"]["restante-uvloop"] == 4.0
    text, worse = report.compare(results(500.0), results(250.0), 0.2)
    assert worse
    assert "WORSE" in text
    assert "better" in report.compare(results(100.0), results(250.0), 0.2)[0]
    assert report.compare(results(260.0), results(250.0), 0.2)[1] is False


def test_the_same_ratio_on_a_slower_machine_is_no_regression() -> None:
    text, worse = report.compare(results(200.0, 2000.0), results(100.0, 1000.0), 0.2)
    assert not worse
    assert "WORSE" not in text


def test_rounds_are_compared_each_with_its_own() -> None:
    """The machine was half as fast in one round, at which the medians of the two were taken."""
    found = results(100.0, 1000.0)
    poll = found["scenarios"]["poll"]
    poll["dovecot"]["rounds"] = {"cpu_us": [1000.0, 1000.0, 2000.0]}
    poll["restante-uvloop"]["rounds"] = {"cpu_us": [100.0, 200.0, 200.0]}
    poll["restante-asyncio"]["rounds"] = {"cpu_us": [500.0]}
    assert report.ratios(found, by_round=True)["poll"] == {
        "ceiling": 20.0,
        "restante-uvloop": 10.0,
        "restante-asyncio": pytest.approx(1000 / 600),
    }
    assert not report.compare(found, results(100.0, 1000.0), 0.2)[1]


def test_targets_are_met_or_not() -> None:
    found = {each.what: (each.seen, each.met) for each in targets.verdicts(results())}
    assert found["poll"] == ("1/10.0", True)
    assert found["poll, asyncio"] == ("1/1.7", False)
    assert found["poll, against the ceiling"] == ("2.0 times", True)
    assert found["idle session in the clear"] == ("7.5 KiB", True)
    assert found["sessions held in the clear"] == ("99", False)
    assert found["memory at first sight of many messages"] == ("300 octets each", True)
    by_clock = "from one core to two, by the clock, the generator taking its part"
    assert found[by_clock] == ("1.70 times", False)
    assert found["from one core to two, by the server's processor time"] == ("1.90 times", True)
    assert targets.times_ceiling(results(), "sync") is None


def test_targets_are_for_pypy_too() -> None:
    both = results()
    poll = both["scenarios"]["poll"]
    poll["restante-pypy"] = {**poll["restante-uvloop"], "cpu_us": poll["dovecot"]["cpu_us"] / 5}
    found = {each.what: (each.seen, each.met) for each in targets.verdicts(both)}
    assert found["poll, PyPy"] == ("1/5.0", False)
    assert found["poll"] == ("1/10.0", True)


def test_everything_is_in_the_tables() -> None:
    text = report.tables(results())
    for wanted in ("100 (1/10.0)", "1/26.7", "second worker to first", "octets a message", "7.25"):
        assert wanted in text
    for note, wanted in zip(report.notes(results()), ("twisted", "99 of 100"), strict=True):
        assert wanted in note


def test_charts_hold_the_figures(tmp_path: Path) -> None:
    drawn = {chart.name: chart for chart in charts.charts(results())}
    assert set(drawn) == {"cpu", "ratio", "throughput", "memory"}
    assert drawn["cpu"].rows["poll"]["ceiling"] == 50
    assert drawn["ratio"].rows["poll"] == {"restante-uvloop": 10.0, "restante-asyncio": 1000 / 600}
    assert drawn["ratio"].marks["poll"] == 7
    assert drawn["memory"].rows["in the clear"]["dovecot"] == 200


def test_charts_are_svg_and_the_same_each_time(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    first = [path.read_text() for path in charts.draw(results(), tmp_path / "performance")]
    assert len(first) == 4
    assert all("<svg" in text and "</svg>" in text for text in first)
    assert [path.read_text() for path in charts.draw(results(), tmp_path / "performance")] == first
    assert (tmp_path / "performance-cpu.svg").exists()


def test_without_matplotlib_charts_are_skipped_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert charts.draw(results(), tmp_path / "performance") == []
    assert "matplotlib is not installed" in capsys.readouterr().err


def test_results_are_kept_as_json(tmp_path: Path) -> None:
    path = report.store(results(), tmp_path / "kept" / "run.json")
    assert json.loads(path.read_text()) == results()


def test_samples_of_stacks_become_parts() -> None:
    start = "main (a.py:1);Runner.run (asyncio/runners.py:9)"
    spots = profiling.of_stacks(
        [
            f"{start};f (b.py:1);g (b.py:5) 3",
            f"{start};f (b.py:2) 1",
            "Thread.run (threading.py:1);Condition.wait (threading.py:2) 90",
        ]
    )
    assert spots["g (b.py)"] == (0.75, 0.75)
    assert spots["f (b.py)"] == (0.25, 1.0)
    assert spots["Runner.run (asyncio/runners.py)"] == (0.0, 1.0)
    assert not any(name.startswith(("main", "Condition")) for name in spots)


def test_system_calls_are_counted_for_a_session() -> None:
    said = "syscall  calls  errors\n------ ------ ------\nwrite  12\nread  8  2\ntotal  20  2\n"
    assert [line.split() for line in profiling.counts(said, 4).splitlines()[2:]] == [
        ["write", "3.00"],
        ["read", "2.00"],
    ]
    assert profiling.counts("", 4) == "strace could not attach"


def test_a_soak_has_workers_enough_for_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "can_have_workers", lambda: True)
    assert soak.workers_for(20_000, 20_000) == 3
    assert soak.workers_for(20_000, 1_000_000) == 1
    monkeypatch.setattr(soak, "can_have_workers", lambda: False)
    assert soak.workers_for(20_000, 20_000) == 1
