"""A Kerberos realm of one's own: MIT's KDC, run in a folder, on a free port of loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Self

from tests.needs import need

PACKAGE = "krb5-kdc"
ADMIN_PACKAGE = "krb5-admin-server"

_KRB5_CONF = """\
[libdefaults]
 default_realm = {realm}
 dns_lookup_realm = false
 dns_lookup_kdc = false
 dns_canonicalize_hostname = false
 rdns = false
 udp_preference_limit = 1
 clockskew = {clockskew}
[realms]
 {realm} = {{
  kdc = 127.0.0.1:{port}
 }}
[domain_realm]
 localhost = {realm}
"""

_KDC_CONF = """\
[kdcdefaults]
 kdc_listen = ""
 kdc_tcp_listen = 127.0.0.1:{port}
[realms]
 {realm} = {{
  database_name = {folder}/principal
  key_stash_file = {folder}/stash
  acl_file = {folder}/acl
  supported_enctypes = aes256-cts:normal
 }}
[logging]
 default = FILE:{folder}/log
"""


class Realm:
    """A realm with no principals but its own. Entered, its KDC runs.

    clockskew: seconds that clocks may differ by.
    """

    def __init__(self, folder: Path, name: str = "EXAMPLE.ORG", *, clockskew: int = 300) -> None:
        self.folder = folder
        self.name = name
        self.port = _free_port()
        texts = {
            "realm": name, "port": self.port, "folder": folder, "clockskew": clockskew,
        }  # fmt: skip
        (folder / "krb5.conf").write_text(_KRB5_CONF.format_map(texts))
        (folder / "kdc.conf").write_text(_KDC_CONF.format_map(texts))
        self.env = {
            "KRB5_CONFIG": str(folder / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(folder / "kdc.conf"),
            "KRB5CCNAME": f"FILE:{folder / 'ccache'}",
            "KRB5RCACHEDIR": str(folder),
        }
        self._kdc: subprocess.Popen[bytes] | None = None
        self._logins = count()

    def __enter__(self) -> Self:
        self._run(need("kdb5_util", package=PACKAGE), "create", "-s", "-P", "master")
        command = [need("krb5kdc", package=PACKAGE), "-n", "-P", str(self.folder / "pid")]
        self._kdc = subprocess.Popen(
            command, env=self._environment(), stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
        )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._kdc is not None
        self._kdc.terminate()
        self._kdc.wait(10)

    def add(self, principal: str, password: str | None = None) -> None:
        """Add a principal, with a random key when there is no password."""
        self._administer(
            "addprinc", *(["-randkey"] if password is None else ["-pw", password]), principal
        )

    def keytab(self, *principals: str, name: str = "keytab") -> Path:
        """A keytab with the keys of these principals."""
        path = self.folder / name
        self._administer("ktadd", "-norandkey", "-k", str(path), *principals)
        return path

    def log_in(self, principal: str, password: str, *options: str) -> Path:
        """Get a ticket-granting ticket; the file with it, which no other login writes into."""
        path = self.folder / f"ccache-{next(self._logins)}"
        kinit = need("kinit", package="krb5-user")
        self._run(kinit, "-c", str(path), *options, principal, given=password + "\n")
        return path

    def change_key(self, principal: str) -> None:
        """Give a principal a new key, so that keytabs hold an old one."""
        self._administer("cpw", "-randkey", principal)

    def _administer(self, *words: str) -> None:
        self._run(need("kadmin.local", package=ADMIN_PACKAGE), *words)

    def _run(self, *argv: str, given: str = "") -> None:
        done = subprocess.run(
            argv,
            env=self._environment(),
            input=given.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{argv}: {done.stdout.decode(errors='replace')}"

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "LANG": "C"} | self.env

    def _wait(self) -> None:
        """Until the KDC listens."""
        assert self._kdc is not None
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 5).close()
            except ConnectionRefusedError:
                log = self.folder / "log"
                assert self._kdc.poll() is None, log.read_text() if log.exists() else "no log"
                assert time.monotonic() < deadline
                time.sleep(0.01)
            else:
                return


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Environment variables that the Kerberos library of this process sees for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
