"""An S3 server for tests: Ceph's gateway over one monitor and one OSD that keeps all in memory."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import http.client
import json
import os
import re
import secrets
import shutil
import signal
import struct
import subprocess
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlencode
from uuid import uuid4

from tests.accounts.mysql_server import own_folder, unprivileged, wait_until
from tests.needs import need
from tests.ports import free_port

REGION = "us-east-1"

_CONFIG = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_v2},v1:127.0.0.1:{mon_v1}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
keyring = {folder}/keyring
admin socket =
run dir = {folder}
log to file = false
log to stderr = false
err to stderr = true
mon cluster log to file = false
mon cluster log to stderr = false
mon warn on pool no redundancy = false
mon allow pool size one = true
mon allow pool delete = true
mon osd crush smoke test = false
mon max pg per osd = 1000
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 2
osd pool default pgp num = 2
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd objectstore = memstore
osd class update on start = false
osd class dir = {classes}
osd op num shards = 1
osd op num threads per shard = 2
memstore device bytes = 2147483648
mon data = {folder}/mon
osd data = {folder}/osd
osd journal = {folder}/osd/journal

[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw enable usage log = false
rgw enable gc threads = true
rgw enable quota threads = false
rgw enable lc threads = false
rgw run sync thread = false
rgw thread pool size = 64
rgw cache enabled = true
rgw dns name = localhost
rgw override bucket index max shards = 1
"""


@dataclass(frozen=True)
class S3User:
    """Who may use the server."""

    access_key: str
    secret_key: str


@dataclass(frozen=True)
class Radosgw:
    """A running server. All of it can be used from any process.

    endpoint: its URL. user: who makes and owns buckets. other: a user without any rights to them.
    pids: its processes, the gateway's first. Other tests use them at the same time: who stops
        them starts a server of its own by `radosgw()`.
    """

    endpoint: str
    user: S3User
    other: S3User
    pids: list[int]

    @property
    def port(self) -> int:
        """The gateway's port on the loopback."""
        return int(self.endpoint.rpartition(":")[2])

    def make_bucket(self, name: str = "") -> str:
        """A new bucket's name."""
        name = name or f"test-{secrets.token_hex(6)}"
        status, text = self.request("PUT", f"/{name}")
        assert status == 200, text
        return name

    def version_bucket(self, name: str) -> None:
        """Have it keep the versions of its objects."""
        body = (
            b'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            b"<Status>Enabled</Status></VersioningConfiguration>"
        )
        status, text = self.request("PUT", f"/{name}", {"versioning": ""}, body)
        assert status == 200, text

    def allow(self, name: str, *actions: str) -> None:
        """Let everybody do this with the bucket, `s3:GetObject` say, and its objects."""
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": "*",
                    "Action": list(actions),
                    "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"],
                }
            ],
        }
        status, text = self.request("PUT", f"/{name}", {"policy": ""}, json.dumps(policy).encode())
        assert status in (200, 204), text

    def keys(self, name: str) -> list[str]:
        """The keys of a bucket's objects."""
        status, text = self.request("GET", f"/{name}", {"list-type": "2"})
        assert status == 200, text
        return re.findall("<Key>([^<]*)</Key>", text)

    def unfinished(self, name: str) -> list[str]:
        """The keys of uploads by parts that have begun and not ended."""
        status, text = self.request("GET", f"/{name}", {"uploads": ""})
        assert status == 200, text
        return re.findall("<Key>([^<]*)</Key>", text)

    def request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: bytes = b""
    ) -> tuple[int, str]:
        """What the server answers to `user`."""
        text = urlencode(sorted((query or {}).items()), quote_via=quote)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            host = f"127.0.0.1:{self.port}"
            headers = _signed(self.user, f"{method}\n{path}\n{text}\n", host, body)
            connection.request(method, f"{path}?{text}", body, headers)
            reply = connection.getresponse()
            return reply.status, reply.read().decode(errors="replace")
        finally:
            connection.close()


def _signed(user: S3User, request: str, host: str, body: bytes) -> dict[str, str]:
    """The headers of a request, with its signature (AWS Signature Version 4)."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{now[:8]}/{REGION}/s3/aws4_request"
    digest = hashlib.sha256(body).hexdigest()
    headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": now}
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical = f"{request}{lines}\n{names}\n{digest}"
    hashed = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{user.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashed}"
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={user.access_key}/{scope}, SignedHeaders={names},"
        f" Signature={hmac.new(key, text.encode(), 'sha256').hexdigest()}"
    )
    return headers


class _Ceph:
    """The programs, over a temporary folder. They end when their parent does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.processes: list[subprocess.Popen[bytes]] = []
        self._as = unprivileged("ceph")
        self._programs = {
            program: need(program, package=package)
            for program, package in [
                ("monmaptool", "ceph-base"), ("ceph", "ceph-common"), ("ceph-mon", "ceph-mon"),
                ("ceph-osd", "ceph-osd"), ("radosgw", "radosgw"), ("radosgw-admin", "ceph-common"),
                ("setpriv", "util-linux"),
            ]
        }  # fmt: skip

    def start(self) -> Radosgw:
        """Start all of it."""
        fsid, mon_v2, mon_v1 = str(uuid4()), free_port(), free_port()
        config = self.folder / "ceph.conf"
        # Debian 13 has a relative path built in, which holds in / only.
        [classes, *_] = [*Path("/usr/lib").glob("*/rados-classes"), "/usr/lib/rados-classes"]
        config.write_text(
            _CONFIG.format(
                fsid=fsid, folder=self.folder, mon_v2=mon_v2, mon_v1=mon_v1, port=self.port,
                classes=classes,
            )
        )  # fmt: skip
        config.chmod(0o644)
        keyring = self.folder / "keyring"
        keyring.write_text(
            "".join(map(_keyring_of, ("mon.", "client.admin", "client.rgw", "osd.0")))
        )
        if self._as:
            shutil.chown(keyring, self._as)
        for name in ("mon", "osd"):
            (self.folder / name).mkdir()
            if self._as:
                shutil.chown(self.folder / name, self._as)
        addresses = f"[v2:127.0.0.1:{mon_v2},v1:127.0.0.1:{mon_v1}]"
        self._run("monmaptool", "--create", "--addv", "a", addresses, "--fsid", fsid, "monmap")
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
        self._spawn("ceph-mon", "-f", "-i", "a")
        wait_until(lambda: self._try("ceph", "--connect-timeout", "5", "mon", "stat"))
        uuid = str(uuid4())
        self._run("ceph", "osd", "new", uuid)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", uuid)
        self._spawn("ceph-osd", "-f", "-i", "0")
        users = [S3User(secrets.token_hex(10), secrets.token_urlsafe(30)) for _ in range(2)]
        for number, user in enumerate(users):
            self._run(
                "radosgw-admin", "-n", "client.rgw", "user", "create",
                f"--uid=user{number}", f"--display-name=user{number}",
                f"--access-key={user.access_key}", f"--secret-key={user.secret_key}",
            )  # fmt: skip
        self._spawn("radosgw", "-f", "-n", "client.rgw")
        wait_until(self._answers)
        pids = [process.pid for process in reversed(self.processes)]
        return Radosgw(f"http://127.0.0.1:{self.port}", users[0], users[1], pids)

    def stop(self) -> None:
        """End all of it, at once."""
        for process in reversed(self.processes):
            process.send_signal(signal.SIGKILL)
            process.wait(30)

    def _answers(self) -> bool:
        assert self.processes[-1].poll() is None, self._log("radosgw")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().status < 500
        except OSError:
            return False
        finally:
            connection.close()

    def _spawn(self, program: str, *arguments: str) -> None:
        with (self.folder / f"{program}.log").open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    [self._programs["setpriv"], "--pdeathsig", "KILL", self._programs[program],
                     "-c", "ceph.conf", *arguments],
                    cwd=self.folder, user=self._as, env=_environment(),
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                )
            )  # fmt: skip

    def _try(self, program: str, *arguments: str) -> bool:
        return self._done(program, *arguments).returncode == 0

    def _run(self, program: str, *arguments: str) -> None:
        done = self._done(program, *arguments)
        assert done.returncode == 0, f"{program}: {done.stdout.decode(errors='replace')}"

    def _done(self, program: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        config = () if program == "monmaptool" else ("-c", "ceph.conf")
        return subprocess.run(
            [self._programs[program], *config, *arguments],
            cwd=self.folder, user=self._as, env=_environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=120, check=False,
        )  # fmt: skip

    def _log(self, program: str) -> str:
        return (self.folder / f"{program}.log").read_text(errors="replace")


def _keyring_of(name: str) -> str:
    """A new key, in the form of `ceph-authtool`."""
    key = b64encode(struct.pack("<hiih", 1, int(time.time()), 0, 16) + secrets.token_bytes(16))
    may = "".join(f'caps {what} = "allow *"\n' for what in ("mon", "osd", "mgr", "mds"))
    return f"[{name}]\nkey = {key.decode()}\n{may}"


def _environment() -> dict[str, str]:
    return {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "LANG": "C.UTF-8"}


@contextmanager
def radosgw() -> Iterator[Radosgw]:
    """A server of one's own."""
    with own_folder("ceph") as folder:
        ceph = _Ceph(folder)
        try:
            yield ceph.start()
        finally:
            ceph.stop()


@contextmanager
def shared_radosgw(folder: Path) -> Iterator[Radosgw]:
    """The server of all processes that give the same folder, as it takes a while to start.

    The first one starts it, and ends it when the others need it no more.
    """
    with ExitStack() as stack:
        users = stack.enter_context((folder / "radosgw.users").open("w"))
        state = folder / "radosgw.json"
        with (folder / "radosgw.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if state.exists():
                fcntl.flock(users, fcntl.LOCK_SH)
                found = json.loads(state.read_text())
                server = Radosgw(
                    found["endpoint"], S3User(**found["user"]), S3User(**found["other"]),
                    found["pids"],
                )  # fmt: skip
            else:
                server = stack.enter_context(radosgw())
                stack.callback(_wait_for_others, users, folder / "radosgw.lock", state)
                state.write_text(json.dumps(asdict(server)))
        yield server


def _wait_for_others(users: IO[str], lock_file: Path, state: Path) -> None:
    with lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state.unlink()  # who comes now starts another
    deadline = time.monotonic() + 500  # before pytest-timeout ends the test
    while time.monotonic() < deadline:
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return
