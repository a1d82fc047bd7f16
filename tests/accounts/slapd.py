"""A real slapd in a folder of its own, for tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from base64 import b64encode
from pathlib import Path

from tests.conftest import Authority
from tests.needs import missing, need

SUFFIX = "dc=example,dc=org"
SEARCHER = f"cn=searcher,{SUFFIX}"
SEARCHER_PASSWORD = "find them"

_SCHEMAS = Path("/etc/ldap/schema")
_MODULES = Path("/usr/lib/ldap")

_CONF = """
include {schemas}/core.schema
include {schemas}/cosine.schema
include {schemas}/inetorgperson.schema
modulepath {modules}
moduleload back_mdb
moduleload ppolicy
moduleload pw-sha2
pidfile {folder}/pid
TLSCACertificateFile {authority}
TLSCertificateFile {certificate}
TLSCertificateKeyFile {certificate}
database mdb
maxsize 10485760
suffix {suffix}
rootdn cn=root,{suffix}
rootpw root
directory {folder}/data
overlay ppolicy
ppolicy_default cn=policy,{suffix}
access to attrs=userPassword by dn.exact="{searcher}" read by anonymous auth by * none
access to * by dn.exact="{searcher}" read by * none
"""

_TREE = f"""
dn: {SUFFIX}
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: {SEARCHER}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: searcher
userPassword: {SEARCHER_PASSWORD}

dn: cn=policy,{SUFFIX}
objectClass: organizationalRole
objectClass: pwdPolicy
cn: policy
pwdAttribute: userPassword
pwdLockout: TRUE
pwdMaxFailure: 20

dn: ou=people,{SUFFIX}
objectClass: organizationalUnit
ou: people
"""


class Slapd:
    """A directory that is started and stopped by its process id; what it holds stays.

    ldap, ldaps, ldapi: its URLs.
    """

    def __init__(self, folder: Path, authority: Authority) -> None:
        self._program = need("slapd", package="slapd")
        self._modify = need("ldapmodify", package="ldap-utils")
        if not (_MODULES / "ppolicy.so").exists():
            missing("slapd's modules are not installed (Debian package slapd)")
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        (folder / "data").mkdir()
        conf = folder / "slapd.conf"
        conf.write_text(
            _CONF.format(
                schemas=_SCHEMAS,
                modules=_MODULES,
                folder=folder,
                authority=authority.file,
                certificate=authority.certificate.chain,
                suffix=SUFFIX,
                searcher=SEARCHER,
            )
        )
        ports = _free_ports(2)
        self.ldap, self.ldaps = (
            f"{scheme}://localhost:{port}"
            for scheme, port in zip(("ldap", "ldaps"), ports, strict=True)
        )
        self.ldapi = f"ldapi://{str(folder / 'socket').replace('/', '%2F')}"
        self.port = ports[0]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = subprocess.Popen(
            [
                *(self._program, "-d", "0", "-f", str(self._folder / "slapd.conf")),
                *("-h", f"{self.ldap} {self.ldaps} {self.ldapi}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 60
        while True:
            assert self._process.poll() is None, "slapd ended at once"
            try:
                socket.create_connection(("localhost", self.port), 1).close()
            except OSError:
                assert time.monotonic() < deadline, "slapd doesn't answer"
                time.sleep(0.02)
            else:
                return

    def fill(self) -> None:
        """Put in what is always there."""
        self.change(_TREE, "-a")

    def change(self, ldif: str, *options: str) -> None:
        """Apply changes, as the one who may do everything."""
        subprocess.run(
            [
                self._modify,
                "-x",
                "-H",
                self.ldapi,
                "-D",
                f"cn=root,{SUFFIX}",
                "-w",
                "root",
                *options,
            ],
            input=ldif.encode(),
            check=True,
            capture_output=True,
            timeout=30,
        )

    def person(self, uid: str, password: str, **attributes: str | list[str]) -> str:
        """Add a person below ou=people; gives the DN."""
        dn = f"uid={uid},ou=people,{SUFFIX}"
        lines = [f"dn: {dn}", "objectClass: inetOrgPerson", f"uid: {uid}"]
        lines.append(f"userPassword:: {b64encode(password.encode()).decode()}")
        attributes = {"cn": uid.title(), "sn": uid.title(), **attributes}
        for name, values in attributes.items():
            for value in [values] if isinstance(values, str) else values:
                lines.append(f"{name}: {value}")
        self.change("\n".join(lines) + "\n", "-a")
        return dn

    def policy(self, name: str, rules: str) -> str:
        """Add a password policy; gives the DN."""
        dn = f"cn={name},{SUFFIX}"
        head = f"dn: {dn}\nobjectClass: organizationalRole\nobjectClass: pwdPolicy\ncn: {name}\n"
        self.change(f"{head}pwdAttribute: userPassword\n{rules}\n", "-a")
        return dn

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it; SIGKILL: as by an accident."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None

    def freeze(self) -> None:
        """Let it answer nothing until `thaw`."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
