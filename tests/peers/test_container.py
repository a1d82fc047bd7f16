"""The image of `restante fake`, built from its Containerfile and run.

The base image isn't fetched. What stands in its place has this machine's Python and system, bound
read-only, in a tree of its own; so each line of the Containerfile is obeyed.
"""

from __future__ import annotations

import json
import os
import poplib
import re
import shlex
import signal
import smtplib
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.needs import need

pytestmark = [pytest.mark.peer, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "examples" / "fake" / "Containerfile"
BASE = re.findall(r"^FROM (\S+)$", CONTAINERFILE.read_text(), re.M)
SYSTEM = ("/usr", "/etc/ssl", sys.base_prefix)
"""What the base takes from this machine."""

BASE_FILE = f"""
FROM scratch
COPY root/ /
RUN mkdir -p -m 1777 /tmp && {sys.base_prefix}/bin/python3 -m venv /opt/python
ENV PATH=/opt/python/bin:/usr/bin:/bin
"""


class Images:
    """Images and containers in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.program = need("buildah", package="buildah")
        self.folder = folder
        self.bound = list(SYSTEM)

    def command(self, *words: str) -> list[str]:
        place = ["--storage-driver", "vfs", "--root", f"{self.folder}/images"]
        return [self.program, *place, "--runroot", f"{self.folder}/run", *words]

    def do(self, *words: str) -> str:
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, check=False, timeout=500, cwd=ROOT
        )
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout

    @property
    def volumes(self) -> list[str]:
        return [f"--volume={path}:{path}:ro" for path in dict.fromkeys(self.bound)]

    def build(self, tag: str, *words: str) -> None:
        self.do("bud", "--isolation=chroot", "--pull=never", *self.volumes, "-t", tag, *words)


def lay_base(folder: Path, images: Images) -> None:
    """A tree with nothing in it but what this machine doesn't bring."""
    etc = folder / "root" / "etc"
    etc.mkdir(parents=True)
    for name in "bin", "lib", "lib64":
        (folder / "root" / name).symlink_to(f"usr/{name}")
    (etc / "passwd").write_text("root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n")
    (etc / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
    (etc / "pip.conf").write_text(pip_configuration(images))
    (folder / "Containerfile").write_text(BASE_FILE)


def pip_configuration(images: Images) -> str:
    """Where pip finds packages on this machine; the files that it names are bound, too."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    found = dict(re.findall(r"^(?:global|install|:env:)\.([\w-]+)='(.*)'$", listed, re.M))
    for path in map(Path, re.findall(r"(?:file://|\s|^)(/[^\s']+)", " ".join(found.values()))):
        # The packages of an index are beside it.
        place = path.parent if path.is_dir() and len(path.parts) > 3 else path
        if place.exists() and not any(place.is_relative_to(each) for each in images.bound):
            images.bound.append(str(place))
    return "[global]\n" + "".join(f"{name} = {value}\n" for name, value in found.items())


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    folder = tmp_path_factory.mktemp("container")
    made = Images(folder)
    lay_base(folder / "base", made)
    try:
        made.build(BASE[0], str(folder / "base"))
    except AssertionError as error:  # nothing of ours is in there
        pytest.skip(f"only where an image can be built: {error}")
    made.build("restante-fake", "-f", str(CONTAINERFILE), ".")
    return made


def configuration(images: Images) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(images.do("inspect", "--type", "image", "restante-fake"))
    config: dict[str, Any] = found["OCIv1"]["config"]
    return config


def test_the_base_is_one_image_of_python_with_a_version() -> None:
    (base,) = BASE
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+-slim", base)


def test_the_ports_that_it_tells_are_those_that_it_listens_on(images: Images) -> None:
    config = configuration(images)
    given = dict(zip(config["Entrypoint"], config["Entrypoint"][1:], strict=False))
    ports = {given["--pop3-port"], given["--pop3s-port"], given["--smtp-port"]}
    assert {f"{port}/tcp" for port in ports} == set(config["ExposedPorts"])
    assert given["--host"] == "0.0.0.0"
    assert config["User"] == "nobody"


def of_session(leader: int, program: str) -> list[int]:
    """The processes that a process has begun and that run a program in Python."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, IndexError):
            session = (folder / "stat").read_text().rpartition(")")[2].split()[3]
            words = (folder / "cmdline").read_text().split("\0")
            if session == str(leader) and words[1] == program and "python" in words[0]:
                found.append(int(folder.name))
    return found


@contextmanager
def running(images: Images, folder: Path, *options: str) -> Iterator[dict[str, Any]]:
    """What the image's entry point listens on, with options behind it as `podman run` has them."""
    config = configuration(images)
    container = images.do("from", "--pull=never", *images.volumes, "restante-fake").strip()
    folder.chmod(0o777)
    words = [*config["Entrypoint"], *options, "--ports-file", "/shared/ports.json"]
    run = ["run", "--isolation=chroot", *images.volumes, f"--volume={folder}:/shared"]
    with subprocess.Popen(
        images.command(*run, "--user", config["User"], container, "--", *words),
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            ports = folder / "ports.json"
            while not ports.exists():
                assert process.poll() is None, process.communicate()[1]
                time.sleep(0.05)
            assert ports.stat().st_uid != 0 or os.geteuid() != 0
            yield json.loads(ports.read_text())
        finally:
            for pid in of_session(process.pid, "/opt/python/bin/restante"):
                os.kill(pid, signal.SIGTERM)  # as `podman stop` does
            status = process.wait(60)
    assert status == 0
    assert not ports.exists()


def test_it_takes_mail_in_and_gives_it_out(images: Images, tmp_path: Path) -> None:
    anywhere = ["--pop3-port=0", "--pop3s-port=0", "--smtp-port=0", "--host=127.0.0.1"]
    options = [*anywhere, "--seconds=300", "--fault", "UIDL:refused", "--ca-file", "/shared/ca.pem"]
    with running(images, tmp_path, *options) as where:
        with smtplib.SMTP(where["host"], where["smtp"], timeout=30) as smtp:
            smtp.sendmail("shop@example.org", "joe@example.org", b"Subject: Hello\r\n\r\n")
        client = poplib.POP3(where["host"], where["pop3"], timeout=30)
        client.user("joe")
        client.pass_("anything")
        assert client.stat()[0] == 1
        assert b"Subject: Hello" in client.retr(1)[1]
        with pytest.raises(poplib.error_proto):
            client.uidl()
        client.quit()
        assert (tmp_path / "ca.pem").read_text().startswith("-----BEGIN CERTIFICATE-----")
