"""Real proxies before us: haproxy, nginx and Dovecot. The log must show who the client is."""

from __future__ import annotations

import contextlib
import http.server
import logging
import poplib
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme

from restante import ClientSession, Listener, Pop3Server
from tests.conftest import Authority
from tests.needs import missing, need
from tests.peers.dovecot import dovecot
from tests.peers.harness import WAYS, Way
from tests.ports import free_port
from tests.server.kit import NAME, PASSWORD, serving, until

pytestmark = pytest.mark.peer

CLIENT = "127.0.0.9"
PROXY = "127.0.0.1"
MODULES = Path("/usr/lib/nginx/modules")


class Pop(poplib.POP3):
    """poplib, from an address that isn't the proxy's."""

    def _create_socket(self, timeout: float) -> socket.socket:
        return _connection(self.port)


class PopTls(poplib.POP3_SSL):
    """The same, inside TLS."""

    context: ssl.SSLContext

    def _create_socket(self, timeout: float) -> socket.socket:
        return self.context.wrap_socket(_connection(self.port), server_hostname=self.host)


def _connection(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 30, source_address=(CLIENT, 0))


@contextlib.contextmanager
def visiting(port: int, way: Way = "plain", tls: ssl.SSLContext | None = None) -> Iterator[Any]:
    """A client of the proxy, closed in any case."""
    pop = PopTls("localhost", port, context=tls) if way == "implicit" else Pop("localhost", port)
    try:
        if way == "starttls":
            assert tls is not None
            pop.stls(tls)
        yield pop
    finally:
        pop.close()


def log_in(pop: poplib.POP3) -> None:
    pop.user(NAME)
    pop.pass_(PASSWORD)
    assert pop.stat() == (1, 3)
    assert pop.quit().startswith(b"+OK")


@contextlib.contextmanager
def behind_proxies(authority: Authority, **listener: Any) -> Iterator[Pop3Server]:
    listeners = [Listener(port=0, proxy_networks=[PROXY], **listener)]
    with serving([b"x\n"], listeners=listeners, certificate=authority.certificate) as server:
        yield server


@pytest.fixture
def logins(caplog: pytest.LogCaptureFixture) -> Any:
    """A function that gives for each login so far its peer, and whether it was inside TLS."""
    caplog.set_level(logging.INFO, "restante")

    def found() -> list[tuple[str, str]]:
        pattern = re.compile(r"login: account='joe' peer=(\S+) tls=(\S+)")
        told = [match.groups() for each in caplog.messages if (match := pattern.match(each))]
        return [(peer, "no" if version == "no" else "yes") for peer, version in told]

    return found


@contextlib.contextmanager
def running(argv: Sequence[str | Path], port: int, log: Path) -> Iterator[None]:
    """A proxy in the foreground, as a child of ours, once it listens."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(word) for word in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
    try:
        deadline = time.monotonic() + 20
        while not _listens(port):
            assert process.poll() is None, log.read_text("utf-8", "replace")
            assert time.monotonic() < deadline, log.read_text("utf-8", "replace")
            time.sleep(0.02)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def _listens(port: int) -> bool:
    """Whether somebody listens there, without a connection that the proxy would pass on.

    With SO_REUSEADDR, as proxies have it, a port is refused only while somebody listens: not when
    it is bound and `listen` is still to come, and the proxy isn't kept from it by this either.
    """
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind(("127.0.0.1", port))
    except OSError:
        return True
    else:
        return False
    finally:
        probe.close()


# haproxy

HAPROXY = """
global
  ssl-default-bind-options ssl-min-ver TLSv1.2
  stats socket {folder}/stats
defaults
  mode tcp
  timeout connect 20s
  timeout client 20s
  timeout server 20s
frontend pop3
  bind 127.0.0.1:{port} {bind}
  unique-id-format %rt-%pid
  default_backend restante
backend restante
  server one 127.0.0.1:{server_port} {options}
"""


@contextlib.contextmanager
def haproxy(folder: Path, server: Pop3Server, options: str, bind: str = "") -> Iterator[int]:
    """haproxy before the server; its port."""
    program = need("haproxy", package="haproxy")
    port = free_port()
    config = folder / "haproxy.cfg"
    config.write_text(
        HAPROXY.format(
            folder=folder, port=port, bind=bind, server_port=server.port, options=options
        )
    )
    with running([program, "-db", "-f", config], port, folder / "haproxy.log"):
        yield port


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("options", ["send-proxy", "send-proxy-v2"])
def test_haproxy_passes_everything_on(
    options: str, way: Way, authority: Authority, tmp_path: Path, logins: Any
) -> None:
    tls = {"plain": "none", "starttls": "starttls_required", "implicit": "implicit"}[way]
    with (
        behind_proxies(authority, proxy_protocol=True, tls=tls) as server,
        haproxy(tmp_path, server, options) as port,
        visiting(port, way, authority.client_context()) as pop,
    ):
        log_in(pop)
    assert logins() == [(CLIENT, "no" if way == "plain" else "yes")]


FACTS = (
    "send-proxy-v2-ssl-cn proxy-v2-options ssl,cert-cn,ssl-cipher,cert-sig,cert-key,authority,"
    "crc32c,unique-id"
)


def test_haproxy_ends_tls(authority: Authority, tmp_path: Path, logins: Any) -> None:
    """A password may be sent where TLS is required, as the client's end is inside TLS."""
    bind = f"ssl crt {authority.certificate.chain}"
    with behind_proxies(authority, proxy_protocol=True, tls="starttls_required") as server:
        with (
            haproxy(tmp_path, server, FACTS, bind) as port,
            visiting(port, "implicit", authority.client_context()) as pop,
        ):
            assert "STLS" not in pop.capa()
            log_in(pop)
        with haproxy(tmp_path, server, FACTS) as port, visiting(port) as pop:
            assert "STLS" in pop.capa()
            with pytest.raises(poplib.error_proto, match="STLS"):
                pop.user(NAME)
    assert logins() == [(CLIENT, "yes")]


def test_a_certificate_that_haproxy_verified(
    authority: Authority, tmp_path: Path, logins: Any
) -> None:
    ca, other = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "clients.pem")
    bind = (
        f"ssl crt {authority.certificate.chain} ca-file {tmp_path}/clients.pem"
        " verify optional crt-ignore-err all ca-ignore-err all"
    )

    def context(issuer: trustme.CA | None) -> ssl.SSLContext:
        made = authority.client_context()
        if issuer is not None:
            issuer.issue_cert("joe.example.org", common_name=NAME).configure_cert(made)
        return made

    with (
        behind_proxies(authority, proxy_protocol=True) as server,
        haproxy(tmp_path, server, FACTS, bind) as port,
    ):
        with visiting(port, "implicit", context(ca)) as pop:
            assert "EXTERNAL" in pop.capa()["SASL"]
            assert pop._shortcmd("AUTH EXTERNAL =").startswith(b"+OK")
        for stranger in (other, None):
            with visiting(port, "implicit", context(stranger)) as pop:
                assert "EXTERNAL" not in pop.capa()["SASL"]
                with pytest.raises(poplib.error_proto):
                    pop._shortcmd("AUTH EXTERNAL =")
    assert logins() == [(CLIENT, "yes")]


@pytest.mark.parametrize("options", ["send-proxy", "send-proxy-v2"])
def test_health_checks_of_haproxy(
    options: str, authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[str] = []
    with behind_proxies(authority, proxy_protocol=True) as server:

        @server.on("accept_connection")
        async def accept(session: ClientSession) -> None:
            seen.append(session.peer_ip)

        with haproxy(tmp_path, server, f"{options} check inter 20ms"):
            until(lambda: len(seen) >= 3)
        until(lambda: server.sessions == 0)
    assert set(seen) == {PROXY}
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


def test_others_than_haproxy_are_cut_off(authority: Authority) -> None:
    with (
        behind_proxies(authority, proxy_protocol=True) as server,
        _connection(server.port) as client,
    ):
        client.sendall(f"PROXY TCP4 {PROXY} {PROXY} 1 1\r\nCAPA\r\n".encode())
        with contextlib.suppress(ConnectionError):
            assert client.recv(1) == b""


# nginx

NGINX = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
load_module {module};
events {{}}
"""

NGINX_STREAM = """
stream {{
  server {{
    listen 127.0.0.1:{port};
    proxy_pass 127.0.0.1:{server_port};
    proxy_protocol on;
  }}
}}
"""

NGINX_MAIL = """
mail {{
  auth_http 127.0.0.1:{auth_port}/;
  server {{
    listen 127.0.0.1:{port};
    protocol pop3;
    proxy_protocol on;
  }}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, kind: str, text: str, **values: object) -> Iterator[int]:
    program = need("nginx", package="nginx-core")
    module = MODULES / f"ngx_{kind}_module.so"
    if not module.exists():
        missing(f"{module.name} is not installed (Debian package libnginx-mod-{kind})")
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text((NGINX + text).format(folder=folder, module=module, port=port, **values))
    argv: list[str | Path] = [program, "-p", folder, "-e", "stderr", "-c", config]
    with running(argv, port, folder / "nginx.log"):
        yield port


@pytest.mark.parametrize("way", WAYS)
def test_nginx_passes_everything_on(
    way: Way, authority: Authority, tmp_path: Path, logins: Any
) -> None:
    tls = {"plain": "none", "starttls": "starttls_required", "implicit": "implicit"}[way]
    with (
        behind_proxies(authority, proxy_protocol=True, tls=tls) as server,
        nginx(tmp_path, "stream", NGINX_STREAM, server_port=server.port) as port,
        visiting(port, way, authority.client_context()) as pop,
    ):
        log_in(pop)
    assert logins() == [(CLIENT, "no" if way == "plain" else "yes")]


@contextlib.contextmanager
def answering(server_port: int) -> Iterator[int]:
    """The service that nginx asks where a user's mail is; its port."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            for name, value in (
                ("Auth-Status", "OK"),
                ("Auth-Server", "127.0.0.1"),
                ("Auth-Port", str(server_port)),
            ):
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as answers:
        thread = threading.Thread(target=answers.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield answers.server_port
        finally:
            answers.shutdown()
            thread.join()


def test_nginx_logs_in_for_its_client(authority: Authority, tmp_path: Path, logins: Any) -> None:
    with (
        behind_proxies(authority, proxy_protocol=True) as server,
        answering(server.port) as auth_port,
        nginx(tmp_path, "mail", NGINX_MAIL, auth_port=auth_port) as port,
        visiting(port) as pop,
    ):
        log_in(pop)
    assert logins() == [(CLIENT, "no")]


# Dovecot

BOTH = """
protocols = pop3
ssl = no
ssl_client_ca_file = {ca}
login_trusted_networks =
service pop3-login {{
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
"""

DOVECOT_23 = """
disable_plaintext_auth = no
passdb {{
  driver = static
  args = proxy=y host=127.0.0.1 port={server_port} nopassword=y {option}
}}
"""

DOVECOT_24 = """
auth_allow_cleartext = yes
passdb static {{
  fields {{
    proxy = y
    nopassword = y
    host = 127.0.0.1
    port = {server_port}
    {option}
  }}
}}
"""


@contextlib.contextmanager
def dovecot_before(server: Pop3Server, authority: Authority, option: str = "") -> Iterator[int]:
    """Dovecot as a proxy before the server; its port."""
    port = free_port()
    with dovecot(
        BOTH,
        dovecot_23=DOVECOT_23,
        dovecot_24=DOVECOT_24,
        ca=authority.file,
        port=port,
        server_port=server.port,
        option=option,
    ):
        yield port


@pytest.mark.parametrize(
    ("tls", "option"),
    [("none", ""), ("starttls_required", "starttls=any-cert"), ("implicit", "ssl=any-cert")],
)
def test_dovecot_says_by_xclient_who_its_client_is(
    tls: str, option: str, authority: Authority, logins: Any
) -> None:
    with (
        behind_proxies(authority, xclient=True, tls=tls) as server,
        dovecot_before(server, authority, option) as port,
    ):
        for password in ("wrong", PASSWORD):
            with visiting(port) as pop:
                pop.user(NAME)
                if password == PASSWORD:
                    pop.pass_(password)
                    assert pop.stat() == (1, 3)
                    pop.quit()
                else:
                    with pytest.raises(poplib.error_proto):
                        pop.pass_(password)
    assert logins() == [(CLIENT, "no" if tls == "none" else "yes")]


def test_dovecot_says_nothing_where_nobody_would_listen(authority: Authority, logins: Any) -> None:
    with (
        serving([b"x\n"], listeners=[Listener(port=0)]) as server,
        dovecot_before(server, authority) as port,
        visiting(port) as pop,
    ):
        log_in(pop)
    assert logins() == [(PROXY, "no")]
