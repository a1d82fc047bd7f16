"""Debian's Dovecot, in a folder of its own: 2.3 of Debian 12, and 2.4 of Debian 13, whose
configuration is another language."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.needs import missing, need

PATIENCE_SECONDS = 20.0

START_24 = "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n"

_COMMON = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
instance_name = tests
listen = 127.0.0.1
auth_failure_delay = 0
auth_username_chars =
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
"""


@contextmanager
def dovecot(both: str, *, dovecot_23: str, dovecot_24: str, **values: object) -> Iterator[Path]:
    """A Dovecot that listens; its folder. The configuration is `dovecot.conf` in there.

    both: settings that 2.3 and 2.4 know; then those of one of them. `{folder}` in them is
    the folder, other names in braces are `values`.
    """
    program = need("dovecot", package="dovecot-core")
    if os.geteuid() != 0:
        pytest.skip("only root can run Dovecot as it is packaged")
    if not Path("/usr/lib/dovecot/pop3-login").exists():
        missing("pop3-login is not installed (Debian package dovecot-pop3d)")
    with tempfile.TemporaryDirectory(prefix="dovecot-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # its workers run as other users and must get to their files
        for part in ("run", "state", "mail"):
            (folder / part).mkdir()
        settings = _COMMON + both
        settings = START_24 + settings + dovecot_24 if is_24(program) else settings + dovecot_23
        config = folder / "dovecot.conf"
        config.write_text(settings.format(folder=folder, **values))
        with (folder / "out").open("wb") as out:
            process = subprocess.Popen(
                [program, "-F", "-c", str(config)], stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        try:
            _wait_until_it_listens(process, folder)
            yield folder
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_SECONDS)


def is_24(program: str) -> bool:
    """Whether it is 2.4 or later, whose configuration begins with `START_24`."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return tuple(map(int, said.stdout.split(".")[:2])) >= (2, 4)


def _wait_until_it_listens(process: subprocess.Popen[bytes], folder: Path) -> None:
    """It writes its process id once all its ports are open."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (folder / "run" / "master.pid").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            said = [folder / "out", folder / "log"]
            texts = [path.read_text("utf-8", "replace") for path in said if path.exists()]
            raise AssertionError("Dovecot does not start:\n" + "\n".join(texts))
        time.sleep(0.02)
