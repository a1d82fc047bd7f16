"""Files for other programs: they are in the wheel, those programs accept them, and they fit."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from restante.app.cli.show import FOLDERS, SHIPPED, files
from restante.app.logs import configure
from tests.app.conftest import Call
from tests.needs import need

ROOT = Path(__file__).parents[2]
UNIT = SHIPPED / "systemd" / "restante.service"
OPERATING = (ROOT / "docs" / "operating.md").read_text("utf-8")


def test_the_wheel_has_them(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in SHIPPED.rglob("*"):
        if path.is_file():
            assert str(path.relative_to(ROOT / "src")) in names


@pytest.mark.parametrize("what", FOLDERS)
def test_they_are_printed_with_their_places_or_written(folder: Path, call: Call, what: str) -> None:
    done = call("show", what)
    assert done.status == 0
    assert call("show", what, "--to", str(folder / "etc")).status == 0
    for name, text in files(what):
        assert f"# {FOLDERS[what] / name}\n{text}" in done.out
        assert (folder / "etc" / name).read_text() == text


def test_what_there_is_not_is_refused(call: Call) -> None:
    done = call("show", "upstart")
    assert (done.status, done.err) == (
        2,
        "restante: 'upstart': known are systemd, fail2ban, logrotate, grafana, alerts\n",
    )


def test_the_unit_calls_the_command_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    ((_, text),) = files("systemd")
    program = Path(sys.prefix) / "bin" / "restante"
    if sys.prefix != sys.base_prefix and program.exists():
        assert f"ExecStart={program} serve" in text
    monkeypatch.setattr("sys.prefix", sys.base_prefix)
    ((_, text),) = files("systemd")
    assert "ExecStart=/opt/restante/bin/restante serve" in text


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """The unit, with a program that there is."""
    copy = tmp_path / "restante.service"
    copy.write_text(UNIT.read_text().replace("/opt/restante/bin/restante", "/bin/true"))
    return copy


@pytest.mark.peer
def test_systemd_accepts_the_unit(unit: Path) -> None:
    program = need("systemd-analyze", package="systemd")
    done = subprocess.run(
        [program, "verify", unit], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.peer
def test_the_exposure_that_the_documents_state_is_the_units(unit: Path) -> None:
    program = need("systemd-analyze", package="systemd")
    done = subprocess.run(
        [program, "security", "--offline=true", "--no-pager", unit],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    found = re.search(r"exposure level for restante.service: ([0-9.]+)", done.stdout)
    assert found, done.stderr
    stated = re.search(r"exposure of ([0-9.]+)", OPERATING)
    assert stated
    assert abs(float(found[1]) - float(stated[1])) < 0.5  # releases of systemd differ a little


def test_the_unit_fits_the_folders_that_the_documents_name() -> None:
    unit = UNIT.read_text()
    for folder in ("/var/lib/restante", "/var/log/restante", "/run/restante"):
        assert folder in OPERATING
    for line in ("StateDirectory=restante", "LogsDirectory=restante", "RuntimeDirectory=restante"):
        assert f"{line}\n" in unit
    assert "ReadWritePaths=/srv/mail" in OPERATING


@pytest.mark.peer
def test_logrotate_rotates_the_log_and_no_line_is_lost(tmp_path: Path) -> None:
    program = need("logrotate", package="logrotate")
    log = tmp_path / "restante.log"
    rules = (SHIPPED / "logrotate" / "restante").read_text()
    rules = rules.replace("/var/log/restante/restante.log", str(log))
    rules = re.sub(r"    su .*\n|    create .*\n", "", rules)
    (tmp_path / "rules").write_text(rules)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    handler = configure(file=log)
    try:
        logging.getLogger("restante.app").warning("before")
        subprocess.run(
            [program, "--force", "--state", tmp_path / "state", tmp_path / "rules"],
            check=True, timeout=60,
        )  # fmt: skip
        logging.getLogger("restante.app").warning("after")
    finally:
        handler.close()
        root.handlers[:] = handlers
        root.setLevel(level)
    assert "before" in (tmp_path / "restante.log.1").read_text()
    assert log.read_text().endswith("after\n")
