"""S3's settings, the library behind it, and what it costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from restante.stores import S3Blobs
from tests.needs import only_cpython
from tests.stores.blobs.radosgw import Radosgw

pytestmark = only_cpython


@pytest.fixture(scope="module")
def bucket(radosgw: Radosgw) -> str:
    return radosgw.make_bucket()


def run(server: Radosgw, bucket: str, script: str, **environment: str) -> Any:
    """What a script of its own process prints; it has a function `blobs` that gives a new one."""
    settings = {
        "endpoint": server.endpoint,
        "access_key": server.user.access_key,
        "secret_key": server.user.secret_key,
        "timeout": 5.0,
    }
    done = subprocess.run(
        [sys.executable, "-c", PROLOGUE + script, bucket, json.dumps(settings)],
        env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


PROLOGUE = """
import asyncio, json, os, resource, sys
from io import BytesIO, RawIOBase
from restante.stores import S3Blobs, StoreError
bucket, settings = sys.argv[1], json.loads(sys.argv[2])

def blobs(**others):
    return S3Blobs(bucket, **(settings | others))

async def put_and_read(blobs, key):
    await blobs.put(key, BytesIO(b"body"), 4)
    return b"".join([block async for block in blobs.read(key)]).decode()
"""


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"bucket": ""}, "bucket ''"),
        ({"bucket": "a/b"}, "bucket 'a/b'"),
        ({"bucket": "..."}, r"bucket '\.\.\.'"),
        ({"endpoint": "s3.example.org"}, "allowed is http://HOST"),
        ({"endpoint": "ftp://s3.example.org"}, "allowed is http://HOST"),
        ({"endpoint": "https://s3.example.org/bucket"}, "allowed is http://HOST"),
        ({"endpoint": "https://s3.example.org?x=y"}, "allowed is http://HOST"),
        ({"endpoint": "https://s3.example.org:99999"}, "allowed is http://HOST"),
        ({"endpoint": "https://"}, "allowed is http://HOST"),
        ({"region": ""}, "region ''"),
        ({"region": "us east"}, "region 'us east'"),
        ({"prefix": "../up"}, r"prefix '\.\./up/'"),
        ({"prefix": "/mail"}, "prefix '/mail/'"),
        ({"prefix": "a//b"}, "prefix 'a//b/'"),
        ({"prefix": "a b"}, "prefix 'a b/'"),
        ({"access_key": "key"}, "allowed are both or neither"),
        ({"secret_key": "geheim"}, "allowed are both or neither"),
        ({"access_key": "", "secret_key": ""}, "must not be empty"),
        ({"timeout": 0}, "timeout 0"),
        ({"timeout": -1}, "timeout -1"),
        ({"timeout": float("nan")}, "timeout nan"),
        ({"timeout": 1e9}, "timeout 1"),
        ({"ca_file": "/nowhere/ca.pem"}, "ca_file '/nowhere/ca.pem': No such file"),
    ],
)
def test_what_is_wrong_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        S3Blobs(**({"bucket": "mail"} | settings))


def test_a_password_in_the_endpoint_is_refused_and_not_shown() -> None:
    with pytest.raises(ValueError, match="endpoint with a user's name") as caught:
        S3Blobs("mail", endpoint="https://anna:geheim@s3.example.org")
    assert "geheim" not in str(caught.value)


def test_a_file_without_certificates_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ValueError, match="ca_file: it has no certificates"):
        S3Blobs("mail", endpoint="https://localhost", ca_file=tmp_path / "ca.pem")


@pytest.mark.parametrize("prefix", ["", "mail", "mail/", "a/b.c/d-e_f"])
def test_prefixes_end_with_a_slash(prefix: str) -> None:
    assert S3Blobs("mail", prefix=prefix).prefix == (prefix.rstrip("/") + "/" if prefix else "")


def test_a_slash_after_the_endpoint_is_no_matter() -> None:
    blobs = S3Blobs("mail", endpoint="https://s3.example.org:8443/")
    assert blobs.endpoint == "https://s3.example.org:8443"


def test_keys_may_come_from_the_environment(radosgw: Radosgw, bucket: str) -> None:
    script = """
print(json.dumps(asyncio.run(put_and_read(blobs(access_key=None, secret_key=None), "env"))))
"""
    environment = {
        "AWS_ACCESS_KEY_ID": radosgw.user.access_key,
        "AWS_SECRET_ACCESS_KEY": radosgw.user.secret_key,
    }
    assert run(radosgw, bucket, script, **environment) == "body"


def test_the_extra_is_named_where_the_library_is_missing() -> None:
    script = """
import sys
sys.modules["obstore"] = None
from restante.stores import FolderBlobs, S3Blobs
try:
    S3Blobs("mail")
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "S3Blobs needs obstore: pip install 'restante[s3]'\n"


def test_the_library_is_loaded_by_those_who_need_it_only() -> None:
    script = (
        "import sys; from restante.stores import CachedBlobs, FolderBlobs, S3Blobs;"
        " print('obstore' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "False\n"


def test_it_may_be_made_before_a_fork_and_used_after(radosgw: Radosgw, bucket: str) -> None:
    script = """
made = blobs()
results = []
for number in range(2):
    reader, writer = os.pipe()
    if not os.fork():
        os.write(writer, asyncio.run(put_and_read(made, f"fork-{number}")).encode())
        os._exit(0)
    os.close(writer)
    results.append(os.read(reader, 100).decode())
    os.wait()
print(json.dumps(results))
"""
    assert run(radosgw, bucket, script) == ["body", "body"]


def test_it_refuses_what_would_hang_after_a_fork(radosgw: Radosgw, bucket: str) -> None:
    script = """
made = blobs()
asyncio.run(put_and_read(made, "before"))
reader, writer = os.pipe()
if not os.fork():
    try:
        asyncio.run(put_and_read(blobs(), "after"))
    except StoreError as error:
        os.write(writer, str(error).encode())
    os._exit(0)
os.close(writer)
told = os.read(reader, 1000).decode()
os.wait()
print(json.dumps(told))
"""
    told = run(radosgw, bucket, script)
    assert told == "S3 was used before this process forked, so that it can't use it"


def test_event_loops_may_share_it(radosgw: Radosgw, bucket: str) -> None:
    script = """
async def many(made, number):
    return await asyncio.gather(*(put_and_read(made, f"{number}-{n}") for n in range(30)))

made = blobs()
runs = [asyncio.run, asyncio.run]
if UVLOOP:
    import uvloop
    runs.append(uvloop.run)
found = [run(many(made, number)) for number, run in enumerate(runs)]
print(json.dumps(found == [["body"] * 30] * len(runs)))
"""
    assert run(radosgw, bucket, f"UVLOOP = {find_spec('uvloop') is not None}\n{script}")


def test_memory_is_bounded_whatever_the_size(radosgw: Radosgw, bucket: str) -> None:
    script = """
class Source(RawIOBase):
    at = 0
    def seek(self, at, whence=0):
        self.at = at
    def read(self, size):
        size = min(size, OCTETS - self.at)
        self.at += size
        return os.urandom(size)

OCTETS = 160 * 2**20

async def all_of_it():
    made = blobs()
    await put_and_read(made, "small")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await made.put("huge", Source(), OCTETS)
    octets = 0
    async for block in made.read("huge"):
        octets += len(block)
    assert octets == OCTETS
    await made.remove("huge")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

print(asyncio.run(all_of_it()))
"""
    assert run(radosgw, bucket, script) < 80 * 1024  # KB
