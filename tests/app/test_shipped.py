"""Files for other programs: they are in the wheel, those programs accept them, and they fit."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder

from restante.app.cli.show import FOLDERS, SHIPPED, files
from restante.app.config.load import read
from restante.app.config.settings import Settings
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
        "restante: 'upstart': known are systemd, fail2ban, logrotate, grafana, alerts, haproxy,"
        " compose, kubernetes\n",
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


# Several nodes


def test_haproxy_accepts_its_file() -> None:
    program = need("haproxy", package="haproxy")
    file = SHIPPED / "haproxy" / "haproxy.cfg"
    done = subprocess.run(
        [program, "-c", "-f", file], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


yaml = pytest.importorskip("yaml", reason="only CPython has it here")


def _manifests() -> list[dict[str, Any]]:
    text = (SHIPPED / "kubernetes" / "restante.yaml").read_text("utf-8")
    return [*yaml.safe_load_all(text)]


def test_kubernetes_knows_every_field() -> None:
    import kubernetes_validate  # noqa: PLC0415 - not on PyPy

    for manifest in _manifests():
        kubernetes_validate.validate(manifest, "1.30", strict=True)


def _settings(folder: Path, text: str) -> Settings:
    file = folder / "given.toml"
    file.write_text(text)
    return read(file, environ={}).settings


def test_kubernetes_waits_until_sessions_have_ended(folder: Path) -> None:
    by_kind = {each["kind"]: each for each in _manifests()}
    settings = _settings(folder, by_kind["ConfigMap"]["data"]["restante.toml"])
    pod = by_kind["Deployment"]["spec"]["template"]["spec"]
    server = settings.server
    ends = server.notice_seconds + server.finish_seconds + server.drain_seconds
    assert ends < pod["terminationGracePeriodSeconds"]
    probe = pod["containers"][0]["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < server.notice_seconds
    ports = {each["name"]: each["containerPort"] for each in pod["containers"][0]["ports"]}
    pop3, lmtp, metrics = settings.pop3, settings.lmtp, settings.metrics
    wanted = (pop3.port, pop3.tls_port, lmtp.port, metrics.port)
    assert tuple(ports[name] for name in ("pop3", "pop3s", "lmtp", "metrics")) == wanted


def test_compose_waits_until_sessions_have_ended(folder: Path) -> None:
    text = (SHIPPED / "compose" / "restante.toml").read_text("utf-8")
    server = _settings(folder, text).server
    compose = yaml.safe_load((SHIPPED / "compose" / "compose.yaml").read_text("utf-8"))
    for name in ("node1", "node2", "node3"):
        grace = int(compose["services"][name]["stop_grace_period"].removesuffix("s"))
        assert server.notice_seconds + server.finish_seconds + server.drain_seconds < grace
