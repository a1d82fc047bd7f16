"""Commands that root calls make nothing that the server's user couldn't open."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from restante.app.cert import make_certificate
from tests.app.support import COMMAND, PASSWORD, environment, python_for

USER = 54321  # nobody has this number

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be another user"
)


@pytest.fixture(scope="module")
def python() -> str:
    """A Python that other users than root can start."""
    found = python_for(USER)
    if found is None:
        pytest.skip("only where other users than root may read Python and the sources")
    return found


@pytest.fixture
def served() -> Iterator[Path]:
    """A folder with a data folder that belongs to the server's user."""
    folder = Path(tempfile.mkdtemp(prefix="restante-owner-"))
    folder.chmod(0o755)
    try:
        (folder / "data").mkdir(mode=0o700)
        os.chown(folder / "data", USER, USER)
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def as_root(python: str, served: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs a command line as root in that folder."""

    # The system's library may be older than the one that we need.
    program = COMMAND[2]
    if python != sys.executable:
        program = f"import sys; sys.modules['cryptography'] = None\n{program}"

    def call(line: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [python, "-c", program, *line.split()], cwd=served, input=given, env=environment(),
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip

    return call


def owners(folder: Path) -> set[int]:
    return {path.lstat().st_uid for path in (folder / "data").rglob("*")}


Command = Callable[..., subprocess.CompletedProcess[bytes]]


def test_what_commands_make_belongs_to_the_owner_of_the_data(
    served: Path, as_root: Command
) -> None:
    (served / "old.eml").write_text("Subject: x\n\nx\n")
    for line, given in (
        ("user add joe --password-stdin", PASSWORD.encode()),
        ("user list", b""),
        ("bans ban 192.0.2.7", b""),
        ("bans list", b""),
        ("log on --account joe", b""),
        ("deliver --to joe", b"Subject: x\n\nx\n"),
        ("user app-password add joe phone", b""),
    ):
        done = as_root(line, given)
        assert done.returncode == 0, (line, done.stderr)
    assert len(list((served / "data").rglob("*"))) > 8
    assert owners(served) == {USER}


def fill_maildir(folder: Path) -> None:
    for part in ("new", "cur", "tmp"):
        (folder / part).mkdir(parents=True)
    (folder / "new" / "1700000000.1.host").write_text("Subject: x\n\nx\n")


@pytest.mark.parametrize("to", ["maildir:data/{user}", "sqlite:data/mail.sqlite"])
def test_what_migrate_makes_belongs_to_the_owner_of_the_destination(
    served: Path, as_root: Command, to: str
) -> None:
    fill_maildir(served / "old" / "joe")
    done = as_root(f"migrate --from maildir:old/{{user}} --to {to} joe")
    assert done.returncode == 0, done.stderr
    assert owners(served) == {USER}


def test_migrate_as_root_writes_into_no_maildrop_of_another_user(
    served: Path, as_root: Command
) -> None:
    fill_maildir(served / "old" / "joe")
    os.chown(served / "data", 0, 0)
    (served / "data" / "joe").mkdir()
    os.chown(served / "data" / "joe", USER, USER)
    done = as_root("migrate --from maildir:old/{user} --to maildir:data/{user} joe")
    assert done.returncode == 1
    assert b"sudo -u '#54321' restante migrate" in done.stdout
    assert list((served / "data" / "joe").iterdir()) == []


def test_serve_refuses_and_says_how_to_start_it(served: Path, as_root: Command) -> None:
    done = as_root("serve")
    assert done.returncode == 1
    assert b"sudo -u '#54321' " in done.stderr
    assert owners(served) == set()


def test_check_config_finds_what_the_server_may_not_read(served: Path, as_root: Command) -> None:
    make_certificate(served / "c.pem", served / "k.pem")
    (served / "restante.toml").write_text('[tls]\ncertificate = "c.pem"\nkey = "k.pem"\n')
    done = as_root("check-config")
    assert done.returncode == 2
    assert b"tls.key = " in done.stderr
    assert b"k.pem: can't be read: Permission denied" in done.stderr.replace(b'"', b"")


def test_a_certificate_belongs_to_the_owner_of_its_folder(served: Path, as_root: Command) -> None:
    done = as_root("cert --out data")
    if b"cryptography is missing" in done.stderr:
        pytest.skip("only where that Python has the library cryptography")
    assert done.returncode == 0
    assert owners(served) == {USER}
