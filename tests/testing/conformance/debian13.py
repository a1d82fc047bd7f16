"""POP3 servers of Debian 13 in a system of their own, which scripts/pop3-servers makes.

A server runs in namespaces of its own: on a copy of that system in which nothing stays, with
this machine's network. What is needed to start it is a script in the folder /srv there.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Authority
from tests.ports import free_port

SYSTEM = "RESTANTE_POP3_SERVERS"
"""The variable that names the folder of scripts/pop3-servers."""

NAME, PASSWORD = "joe", "secret"

PATIENCE = 30.0

ENTER = """
set -e
mount -t tmpfs tmpfs "$2/layers"
mkdir "$2/layers/upper" "$2/layers/work" "$2/layers/root"
root=$2/layers/root
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/layers/upper,workdir=$2/layers/work" "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --bind "$2/srv" "$root/srv"
mount --bind "$2/srv/var-mail" "$root/var/mail"
exec chroot "$root" sh -eu /srv/start
"""


@dataclass(frozen=True)
class Packaged:
    """One of the servers.

    package: whose version it has. start: the script that becomes the server. `{port}` and
    `{imap}` in it are where it listens, `{name}` and `{password}` the account; /srv has
    server.pem and var-mail.
    """

    package: str
    start: str


@dataclass(frozen=True)
class Running:
    """port, imap: of POP3 and of IMAP, where it has that. folder: what is /srv for the server.
    pid: of a process in its namespaces."""

    port: int
    imap: int
    folder: Path
    pid: int


def system() -> Path:
    """The folder of the system. Skips the test where it can't be used."""
    folder = Path(os.environ.get(SYSTEM, ""))
    if not (folder / "var/packages").is_dir():
        pytest.skip(f"only where {SYSTEM} names the folder of scripts/pop3-servers")
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root can start a server in namespaces of its own")
    return folder


def version_of(package: str) -> str:
    """The version of a package that the system has."""
    (file,) = (system() / "var/packages").glob(f"{package}_*.deb")
    said = subprocess.run(
        ["dpkg-deb", "-f", file, "Version"], capture_output=True, text=True, check=True
    )
    return said.stdout.strip()


@contextmanager
def running(server: Packaged, folder: Path, authority: Authority) -> Iterator[Running]:
    """That server, for the account NAME; it listens."""
    where, port, imap = system(), free_port(), free_port()
    shared = folder / "srv"
    (shared / "var-mail").mkdir(parents=True)
    (folder / "layers").mkdir()
    shared.chmod(0o755)
    shutil.copy(authority.certificate.chain, shared / "server.pem")
    start = server.start
    for name, value in {"port": port, "imap": imap, "name": NAME, "password": PASSWORD}.items():
        start = start.replace("{" + name + "}", str(value))
    (shared / "start").write_text(f"export PATH=/usr/sbin:/usr/bin:/sbin:/bin\n{start}")
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation=private",
             "sh", "-c", ENTER, "sh", where, folder],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={"LANG": "C.UTF-8"},
        )  # fmt: skip
    try:
        wait_until_it_answers(process, port, folder / "out")
        yield Running(port, imap, shared, _children(process)[0])
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the first process of the namespace, and with it all there. What changes its user
    outlives unshare, whatever --kill-child says."""
    for child in _children(process) if process.poll() is None else ():
        os.kill(child, signal.SIGKILL)
    process.wait()


def _children(process: subprocess.Popen[bytes]) -> list[int]:
    return [*map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())]


def wait_until_it_answers(
    process: subprocess.Popen[bytes], port: int, said: Path | None = None
) -> None:
    """said: a file with what it says of itself."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
                if client.recv(3) == b"+OK":
                    client.sendall(b"QUIT\r\n")
                    client.recv(100)
                    return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > until:
            why = "" if said is None else said.read_text("utf-8", "replace")
            raise AssertionError(f"it doesn't start:\n{why}")
        time.sleep(0.05)


ACCOUNT = """
echo "{name}:{password}" | chpasswd
install -o {name} -g mail -m 660 /dev/null /var/mail/{name}
chgrp mail /var/mail
chmod 3777 /var/mail
"""

MAILDIR = """
mkdir -p /srv/mail/new /srv/mail/cur /srv/mail/tmp
chown -R {name}:mail /srv/mail
"""

INETD = """
exec couriertcpd -address=127.0.0.1 -maxprocs=100 -maxperip=100 -nodnslookup {port} """

POPA3D = Packaged("popa3d", ACCOUNT + INETD + "/usr/sbin/popa3d")

MAILUTILS = Packaged(
    "mailutils-pop3d",
    ACCOUNT
    + """
cp /srv/server.pem /etc/server.pem
chmod 600 /etc/server.pem
cat >/etc/mailutils.conf <<END
logging { syslog no; }
mailbox { mail-spool /var/mail; mailbox-type mbox; }
server 127.0.0.1:{port} {
  tls-mode ondemand;
  tls { ssl-certificate-file /etc/server.pem; ssl-key-file /etc/server.pem; }
}
END
exec pop3d --daemon=100 --foreground
""",
)

SOLID = Packaged("solid-pop3d", ACCOUNT + INETD + "/usr/sbin/solid-pop3d")

COURIER = Packaged(
    "courier-pop",
    ACCOUNT
    + MAILDIR
    + """
mkdir -p /run/courier/authdaemon
chown courier:courier /run/courier /run/courier/authdaemon
sed -i 's/^authmodulelist=.*/authmodulelist="authuserdb"/' /etc/courier/authdaemonrc
printf '{name}\tuid=65533|gid=8|home=/srv|mail=/srv/mail|systempw=%s\n' \
    "$(openssl passwd -6 {password})" >/etc/courier/userdb
chmod 600 /etc/courier/userdb
makeuserdb
authdaemond start
cp /srv/server.pem /etc/courier/pop3d.pem
chown courier /etc/courier/pop3d.pem
set -a +u
. /etc/courier/pop3d-ssl
. /etc/courier/pop3d
unset TLS_DHPARAMS
install -o courier -g courier -m 600 /dev/null $TLS_CACHEFILE
"""
    + INETD
    + "/usr/lib/courier/courier/courierpop3login /usr/lib/courier/courier/courierpop3d Maildir",
)

CYRUS = Packaged(
    "cyrus-pop3d",
    """
usermod -g mail cyrus
chown -R cyrus:mail /var/lib/cyrus /var/spool/cyrus /var/spool/sieve
install -d -o cyrus -g mail /run/cyrus /run/cyrus/socket
cyrus makedirs
sed -i /^popminpoll/d /etc/imapd.conf
cat >>/etc/imapd.conf <<END
tls_server_cert: /etc/cyrus.pem
tls_server_key: /etc/cyrus.pem
sasl_mech_list: PLAIN LOGIN CRAM-MD5
servername: localhost
allowstarttls: on
popminpoll: 0
END
install -o cyrus -m 600 /srv/server.pem /etc/cyrus.pem
echo {password} | saslpasswd2 -p -c -u localhost {name}
chown cyrus /etc/sasldb2
cat >/etc/cyrus.conf <<END
START { recover cmd="/usr/sbin/cyrus ctl_cyrusdb -r" }
SERVICES {
  imap cmd="imapd" listen="127.0.0.1:{imap}" prefork=0
  pop3 cmd="pop3d" listen="127.0.0.1:{port}" prefork=0
}
EVENTS { checkpoint cmd="/usr/sbin/cyrus ctl_cyrusdb -c" period=30 }
END
exec cyrmaster
""",
)

DOVECOT = Packaged(
    "dovecot-pop3d",
    ACCOUNT
    + MAILDIR
    + """
cp /srv/server.pem /etc/dovecot.pem
cat >/etc/dovecot/dovecot.conf <<END
dovecot_config_version = 2.4.0
dovecot_storage_version = 2.4.0
protocols = pop3
listen = 127.0.0.1
log_path = /dev/stderr
mail_driver = maildir
mail_path = /srv/mail
pop3_lock_session = yes
auth_failure_delay = 0
auth_mechanisms = plain login cram-md5 apop
auth_allow_cleartext = yes
ssl = yes
ssl_server_cert_file = /etc/dovecot.pem
ssl_server_key_file = /etc/dovecot.pem
first_valid_uid = 1
first_valid_gid = 1
service pop3-login {
  inet_listener pop3 {
    port = {port}
  }
  inet_listener pop3s {
    port = 0
  }
}
passdb static {
  password = {PLAIN}{password}
}
userdb static {
  fields {
    uid = 65533
    gid = 8
    home = /srv/mail
  }
}
END
exec dovecot -F
""",
)
