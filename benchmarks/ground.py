"""What all servers under measurement share: maildrops, accounts, certificate, core."""

from __future__ import annotations

import os
import pwd
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

from benchmarks.processes import stop

START_SECONDS = 30.0

Started: TypeAlias = tuple[subprocess.Popen[bytes], tuple[int, int]]
"""A server's process, and its ports: in the clear, and for TLS, 0 if it has none."""


class Unavailable(Exception):
    """A server that can't be measured here, and why."""


@dataclass(frozen=True)
class Ground:
    """What servers are given.

    accounts: passwords, as they are or as `{SCHEME}hash`, by name. core: the one that servers
    are held to, if any. workers: processes that serve. connections: how many are wanted at
    once; 0 leaves each server's own limit. own: the folder above what servers keep for themselves.
    """

    folder: Path
    maildrops: Path
    accounts: Mapping[str, str]
    core: int | None
    workers: int = 1
    own: Path | None = None
    connections: int = 0

    def folder_for(self, peer: str) -> Path:
        """What a server keeps its configuration and logs in."""
        folder = (self.own or self.folder) / peer
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def certificate(self) -> Path:
        return self.folder / "certificate.pem"

    @property
    def key(self) -> Path:
        return self.folder / "key.pem"


def make_certificate(ground: Ground) -> None:
    """A self-signed ECDSA certificate for localhost."""
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    ground.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    ground.key.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    ground.key.chmod(0o600)


def mail_user() -> tuple[int, int]:
    """Whose the mail is: the one who measures; root's place is taken by nobody, as Dovecot
    refuses to serve root's mail."""
    if os.getuid() != 0:
        return os.getuid(), os.getgid()
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def wait_for_ready(process: subprocess.Popen[bytes], ready: Path, log: Path) -> str:
    """What a server that was just started has written to `ready`. Raises Unavailable."""
    limit = time.monotonic() + START_SECONDS
    while not (ready.exists() and (text := ready.read_text()).endswith("\n")):
        if process.poll() is not None or time.monotonic() > limit:
            stop(process)
            raise Unavailable(f"it didn't start: {log.read_text()[-2000:]}")
        time.sleep(0.02)
    return text
