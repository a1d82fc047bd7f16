"""The servers under measurement: how each is found, set up, started and stopped."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.client import wait_for_greeting
from benchmarks.corpus import PASSWORD
from benchmarks.processes import free_port, start, stop

START_SECONDS = 20.0


class Unavailable(Exception):
    """A server that can't be measured here, and why."""


@dataclass(frozen=True)
class Running:
    """A server that has been started. pid: the root of its tree of processes."""

    name: str
    pid: int
    port: int
    tls_port: int


@dataclass(frozen=True)
class Ground:
    """What all servers share. core: the one they are held to, if any."""

    folder: Path
    maildrops: Path
    names: tuple[str, ...]
    core: int | None

    @property
    def certificate(self) -> Path:
        return self.folder / "certificate.pem"

    @property
    def key(self) -> Path:
        return self.folder / "key.pem"


@dataclass(frozen=True)
class Peer:
    """A server that can be measured. program: what must be installed."""

    name: str
    about: str


PEERS = (
    Peer("dovecot", "Dovecot tuned for speed"),
    Peer("dovecot-alone", "the same, but a process for each session"),
    Peer("dovecot-default", "Dovecot as Debian configures it"),
    Peer("restante-uvloop", "Restante on uvloop"),
    Peer("restante-asyncio", "Restante on the standard event loop"),
)


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


@contextmanager
def running(peer: str, ground: Ground) -> Iterator[Running]:
    """Start a server; stop it at the end. Raises Unavailable."""
    folder = ground.folder / peer
    folder.mkdir(exist_ok=True)
    log = folder / "errors.log"
    if peer.startswith("dovecot"):
        ports = (free_port(), free_port())
        process = _start_dovecot(peer, ground, folder, ports, log)
    else:
        process, ports = _start_restante(peer, ground, folder, log)
    try:
        wait_for_greeting(ports[0], log)
        yield Running(peer, process.pid, *ports)
    finally:
        stop(process)


# Restante


_RUN = "import sys; {hide}from restante.app.entry import main; main()"
_HIDE_UVLOOP = "sys.modules['uvloop'] = None; "

_SERVE = """
[server]
data = "{folder}/data"
[pop3]
port = 0
tls_port = 0
[smtp]
port = "off"
[lmtp]
port = "off"
[tls]
certificate = "{certificate}"
key = "{key}"
[maildrops]
root = "{maildrops}"
[log]
file = "{folder}/access.log"
[accounts]
kind = "static"
[accounts.static]
"""


def _start_restante(
    peer: str, ground: Ground, folder: Path, log: Path
) -> tuple[subprocess.Popen[bytes], tuple[int, int]]:
    """`restante serve` as it comes: only places, ports and accounts are configured."""
    loop = peer.removeprefix("restante-")
    if loop == "uvloop" and importlib.util.find_spec("uvloop") is None:
        raise Unavailable("uvloop is not installed")
    config, ready = folder / "restante.toml", folder / "ready.json"
    text = _SERVE.format(
        folder=folder,
        certificate=ground.certificate,
        key=ground.key,
        maildrops=ground.maildrops,
    )
    config.write_text(text + "".join(f'{name} = "{PASSWORD}"\n' for name in ground.names))
    config.chmod(0o600)
    program = _RUN.format(hide="" if loop == "uvloop" else _HIDE_UVLOOP)
    arguments = ("serve", "--config", config, "--ready-file", ready)
    process = start((sys.executable, "-c", program, *arguments), ground.core, log)
    limit = time.monotonic() + START_SECONDS
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > limit:
            stop(process)
            raise Unavailable(f"it didn't start: {log.read_text()[-2000:]}")
        time.sleep(0.02)
    ports = {each["tls"]: each["port"] for each in json.loads(ready.read_text())["listening"]}
    return process, (ports["starttls"], ports["implicit"])


# Dovecot

_COMMON = """
protocols = pop3
listen = 127.0.0.1
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
ssl = yes
ssl_cert = <{certificate}
ssl_key = <{key}
disable_plaintext_auth = no
auth_mechanisms = plain
mail_location = maildir:{maildrops}/%u
mail_max_userip_connections = 100000
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/users
  override_fields = userdb_uid={uid} userdb_gid={gid} userdb_home={maildrops}/%u
}}
userdb {{
  driver = prefetch
}}
default_internal_user = {internal}
default_internal_group = {internal_group}
default_login_user = {login}
{chroot}
"""

_LISTEN = """
  inet_listener pop3 {{
    port = {ports[0]}
  }}
  inet_listener pop3s {{
    port = {ports[1]}
    ssl = yes
  }}
"""

_DEFAULT = (
    """
service pop3-login {{"""
    + _LISTEN
    + """}}
service pop3 {{
  process_limit = 3000
}}
"""
)

_TUNED = (
    """
auth_cache_size = 64M
auth_cache_ttl = 1 hour
maildir_very_dirty_syncs = yes
pop3_no_flag_updates = yes
service pop3-login {{
  service_count = 0
  process_min_avail = {cores}
  process_limit = {cores}
  client_limit = 5000
"""
    + _LISTEN
    + """}}
service pop3 {{
  service_count = 0
  process_min_avail = {spare}
  process_limit = 3000
  client_limit = {shared}
}}
service anvil {{
  client_limit = 20000
}}
service auth {{
  client_limit = 20000
}}
"""
)


def _start_dovecot(
    peer: str, ground: Ground, folder: Path, ports: tuple[int, int], log: Path
) -> subprocess.Popen[bytes]:
    program = shutil.which("dovecot") or shutil.which("dovecot", path="/usr/sbin")
    if program is None:
        raise Unavailable("dovecot is not installed")
    for sub in ("run", "state"):
        (folder / sub).mkdir(exist_ok=True)
    users = folder / "users"
    users.write_text("".join(f"{name}:{PASSWORD}\n" for name in ground.names))
    uid, gid = mail_user()
    mine = pwd.getpwuid(os.getuid()).pw_name
    root = os.getuid() == 0
    shared = 1 if peer == "dovecot-alone" else 1000
    text = _COMMON + (_DEFAULT if peer == "dovecot-default" else _TUNED)
    config = folder / "dovecot.conf"
    services = ("anvil", "stats", "pop3-login", "imap-urlauth-login")
    config.write_text(
        text.format(
            folder=folder,
            certificate=ground.certificate,
            key=ground.key,
            maildrops=ground.maildrops,
            uid=uid,
            gid=gid,
            internal="dovecot" if root else mine,
            internal_group="dovecot" if root else gid,
            login="dovenull" if root else mine,
            chroot="" if root else "\n".join(f"service {s} {{\nchroot =\n}}" for s in services),
            ports=ports,
            cores=1 if ground.core is not None else os.cpu_count() or 1,
            spare=max(1, 8 // shared),
            shared=shared,
        )
    )
    return start((program, "-F", "-c", config), ground.core, log)


def mail_user() -> tuple[int, int]:
    """Whose the mail is: the one who measures; root's place is taken by nobody, as Dovecot
    refuses to serve root's mail."""
    if os.getuid() != 0:
        return os.getuid(), os.getgid()
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def versions() -> dict[str, str]:
    """What is installed, by name."""
    import restante  # noqa: PLC0415

    found = {"python": sys.version.split()[0], "restante": restante.__version__}
    if importlib.util.find_spec("uvloop"):
        found["uvloop"] = importlib.metadata.version("uvloop")
    program = shutil.which("dovecot") or shutil.which("dovecot", path="/usr/sbin")
    if program:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        found["dovecot"] = said.stdout.split()[0]
    return found
