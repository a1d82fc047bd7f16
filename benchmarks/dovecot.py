"""Dovecot, 2.3 or 2.4: how it is set up and started."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from benchmarks.ground import Ground, Unavailable, mail_user
from benchmarks.processes import free_port, start

_COMMON = """
protocols = pop3
listen = 127.0.0.1
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/dovecot.log
ssl = yes
auth_mechanisms = plain
mail_max_userip_connections = 100000
default_internal_user = {internal}
default_internal_group = {internal_group}
default_login_user = {login}
{chroot}
"""

_COMMON_23 = """
ssl_cert = <{certificate}
ssl_key = <{key}
disable_plaintext_auth = no
mail_location = maildir:{maildrops}/%u
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/users
  override_fields = userdb_uid={uid} userdb_gid={gid} userdb_home={maildrops}/%u
}}
userdb {{
  driver = prefetch
}}
"""

_START_24 = "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n"

_COMMON_24 = """
ssl_server_cert_file = {certificate}
ssl_server_key_file = {key}
auth_allow_cleartext = yes
mail_driver = maildir
mail_path = {maildrops}/%{{user}}
passdb passwd-file {{
  passwd_file_path = {folder}/users
  default_password_scheme = PLAIN
  fields {{
    userdb_uid = {uid}
    userdb_gid = {gid}
    userdb_home = {maildrops}/%{{user}}
  }}
}}
userdb prefetch {{
}}
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
default_vsz_limit = {unlimited}
auth_cache_size = 64M
auth_cache_ttl = 1 hour
maildir_very_dirty_syncs = yes
pop3_no_flag_updates = yes
service pop3-login {{
  {served} = {unlimited}
  process_min_avail = {cores}
  process_limit = {cores}
  client_limit = 5000
"""
    + _LISTEN
    + """}}
service pop3 {{
  {served} = {unlimited}
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


def find() -> str | None:
    """The program, if there is one."""
    return shutil.which("dovecot") or shutil.which("dovecot", path="/usr/sbin")


def version(program: str) -> tuple[int, ...]:
    """Which it is. From 2.4 on the configuration is another language."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return tuple(map(int, said.stdout.split()[0].split(".")[:2]))


def start_dovecot(
    peer: str, ground: Ground, folder: Path, log: Path
) -> tuple[subprocess.Popen[bytes], tuple[int, int]]:
    """Tuned for speed, unless the peer's name says otherwise. Raises Unavailable."""
    program = find()
    if program is None:
        raise Unavailable("it is not installed (Debian: dovecot-pop3d)")
    ports = (free_port(), free_port())
    for sub in ("run", "state"):
        (folder / sub).mkdir(exist_ok=True)
    users = folder / "users"
    users.write_text("".join(f"{name}:{word}\n" for name, word in ground.accounts.items()))
    uid, gid = mail_user()
    mine = pwd.getpwuid(os.getuid()).pw_name
    root = os.getuid() == 0
    shared = 1 if peer == "dovecot-alone" else 1000
    is_24 = version(program) >= (2, 4)
    text = _START_24 + _COMMON + _COMMON_24 if is_24 else _COMMON + _COMMON_23
    text += _DEFAULT if peer == "dovecot-default" else _TUNED
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
            served="restart_request_count" if is_24 else "service_count",
            unlimited="unlimited" if is_24 else 0,
            ports=ports,
            cores=ground.workers,
            spare=max(ground.workers, 8 // shared),
            shared=shared,
        )
    )
    return start((program, "-F", "-c", config), ground.core, log), ports
