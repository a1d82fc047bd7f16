"""What all tests share, and what none may leave behind."""

from __future__ import annotations

import os
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from hypothesis import settings

from restante import Certificate
from tests.stores.blobs.radosgw import Radosgw, shared_radosgw

pytest_plugins = ["restante.testing.plugin"]

GRACE_SECONDS = 20.0

# A busy machine must not fail a property for being slow.
settings.register_profile("restante", deadline=None)
settings.load_profile("restante")


@dataclass(frozen=True)
class Authority:
    """A certificate authority for tests, its certificate for localhost, and trust in it.

    file: the authority's own certificate, PEM.
    """

    file: Path
    certificate: Certificate

    def client_context(self) -> ssl.SSLContext:
        """A client's context that trusts this authority and nothing else."""
        return ssl.create_default_context(cafile=self.file)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The tests' certificate authority; its certificate names localhost and 127.0.0.1."""
    folder = tmp_path_factory.mktemp("authority")
    ca = trustme.CA()
    issued = ca.issue_cert("localhost", "127.0.0.1", common_name="localhost")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return Authority(folder / "ca.pem", Certificate(folder / "server.pem"))


@pytest.fixture(scope="session")
def radosgw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Radosgw]:
    """An S3 server, the same one for all processes of the tests."""
    folder = tmp_path_factory.getbasetemp()
    with shared_radosgw(folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + GRACE_SECONDS
    while left := set(threading.enumerate()) - before:
        if time.monotonic() > deadline:
            pytest.fail(f"threads left running: {sorted(thread.name for thread in left)}")
        time.sleep(0.005)


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left() -> Iterator[None]:
    yield
    if not hasattr(os, "waitid"):
        return
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return
    pytest.fail("a process that a test started was left behind")


def forgotten(reporter: pytest.TerminalReporter) -> list[str]:
    """Reasons of skips that must not be on CI, where scripts/test installs what tests need.

    A test that can't run on every system gives a reason that begins with "only".
    """
    if os.environ.get("CI") != "true":
        return []
    reasons = []
    for report in reporter.stats.get("skipped", []):
        if isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            if not reason.startswith("only"):
                reasons.append(f"{report.nodeid}: {reason}")
    return reasons


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and forgotten(reporter) and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason in forgotten(terminalreporter):
        terminalreporter.write_line(f"FAILED: skipped on CI: {reason}", red=True)
