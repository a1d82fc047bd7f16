"""A listener whose peers are proxies, with a protocol that echoes in the place of POP3."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from restante import Account, ClientSession, Listener, Pop3Server, StaticAccounts
from restante.accounts.schemes import hash_password
from restante.server.listen import accept as accepting
from restante.server.listen import proxy_listener as proxied
from restante.server.listen.proxied import Proxied, ProxiedChannel
from restante.server.listen.proxy_listener import ProxiedListener
from restante.server.listen.proxy_protocol import Header
from restante.server.runner import LoopThread
from restante.server.transport.readiness import readiness
from tests.conftest import Authority
from tests.server.kit import NAME, PASSWORD, Client, serving, until

V1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 51423 110\r\n"
V2 = (
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"
    + bytes([192, 0, 2, 7, 198, 51, 100, 1])
    + struct.pack("!HH", 51423, 110)
)
HEADER = Header(source=("192.0.2.7", 51423), destination=("198.51.100.1", 110))


class Echo(asyncio.Protocol):
    """Greets, then gives back what comes."""

    def __init__(self, echoes: Echoes, proxied: Proxied) -> None:
        self.echoes = echoes
        self.proxied = proxied

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        assert self.proxied.peer == self.transport.get_extra_info("peername")
        self.echoes.made.append(self.proxied.header)
        self.echoes.open.add(self)
        self.transport.write(b"hello\r\n")

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.echoes.open.discard(self)


class Echoes:
    """A proxied listener in a loop of its own; `made` has the header of each connection."""

    def __init__(self, networks: tuple[str, ...], host: str, **settings: Any) -> None:
        self.made: list[Header] = []
        self.open: set[Echo] = set()
        self.listener = Listener(host, 0, proxy_protocol=True, proxy_networks=networks)
        self.thread = LoopThread()
        self.thread.run(self._open(settings))
        self.ports = [each.getsockname()[1] for each in self.proxied.sockets]
        self.port = self.ports[0]

    def make(self, proxied: Proxied | None, _: object) -> Echo:
        assert proxied is not None
        return Echo(self, proxied)

    async def _open(self, settings: dict[str, Any]) -> None:
        self.readiness = readiness(asyncio.get_running_loop())
        self.proxied = ProxiedListener(
            self.listener, self.make, readiness=self.readiness, **settings
        )
        await self.proxied.start()

    async def _close(self) -> None:
        self.proxied.close()
        self.proxied.close()
        for each in list(self.open):
            each.transport.abort()

    async def _forget(self) -> None:
        self.readiness.close()

    def close(self) -> None:
        self.thread.run(self._close())

    def stop(self) -> None:
        self.close()
        until(lambda: not self.open)
        self.thread.end(self._forget)
        self.thread.join()


@contextlib.contextmanager
def echoing(
    *networks: str, host: str = "127.0.0.1", authority: Authority | None = None, **settings: Any
) -> Iterator[Echoes]:
    if authority is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.certificate.load_into(context)
        settings["tls"] = context
    echoes = Echoes(networks or ("127.0.0.0/8",), host, **settings)
    try:
        yield echoes
    finally:
        echoes.stop()


def open_sockets() -> int:
    links = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            links.append(str(each.readlink()))
    return sum(link.startswith("socket:") for link in links)


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="only where /proc tells of open sockets"
)


def knock(port: int, data: bytes = b"") -> Client:
    """A connection that has sent `data` in one segment, and read nothing."""
    client = Client(port, greet=False)
    with contextlib.suppress(ConnectionError):  # cut off already
        client.send(data)
    return client


# What comes through


@pytest.mark.parametrize("wire", [V1, V2])
def test_what_follows_the_header_is_the_clients(wire: bytes, loop_kind: str) -> None:
    with echoing() as echoes:
        with knock(echoes.port, wire + b"CAPA\r\n") as client:
            assert [client.line(), client.line()] == [b"hello", b"CAPA"]
            assert client.ask("QUIT") == b"QUIT"
        with knock(echoes.port, wire) as client:
            assert client.line() == b"hello"
        assert echoes.made == [HEADER, HEADER]


@pytest.mark.parametrize("wire", [V1, V2])
def test_a_header_in_single_octets(wire: bytes, loop_kind: str) -> None:
    with echoing() as echoes, Client(echoes.port, greet=False) as client:
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for octet in wire:
            assert not echoes.made
            client.send(bytes([octet]))
            time.sleep(0.001)
        assert client.line() == b"hello"
        assert client.ask("CAPA") == b"CAPA"
        assert echoes.made == [HEADER]


@pytest.mark.parametrize("wire", [V1, V2])
def test_a_header_and_a_client_hello_in_one_segment(
    wire: bytes, authority: Authority, loop_kind: str
) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = authority.client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with (
        echoing(authority=authority) as echoes,
        knock(echoes.port, wire + outgoing.read()) as client,
    ):

        def finish(step: Any) -> Any:
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    client.send(outgoing.read())
                    incoming.write(client.socket.recv(65536))

        finish(tls.do_handshake)
        tls.write(b"CAPA\r\n")
        client.send(outgoing.read())
        said = b""
        while len(said) < 13:
            said += finish(tls.read)
        assert said == b"hello\r\nCAPA\r\n"
        assert echoes.made == [HEADER]


def test_a_header_and_then_tls(authority: Authority, loop_kind: str) -> None:
    with echoing(authority=authority) as echoes, knock(echoes.port, V2) as client:
        client.wrap(authority.client_context())
        assert client.line() == b"hello"
        assert client.ask("CAPA") == b"CAPA"


def test_each_address_of_a_host_is_listened_on(loop_kind: str) -> None:
    with echoing("127.0.0.1", "::1", host="localhost") as echoes:
        for each in echoes.proxied.sockets:
            with socket.create_connection(each.getsockname()[:2], 15) as client:
                client.sendall(V1)
                assert client.recv(7) == b"hello\r\n"


# What doesn't


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


def test_others_than_proxies_are_cut_off(loop_kind: str, caplog: pytest.LogCaptureFixture) -> None:
    with echoing("192.0.2.0/24") as echoes:
        for _ in range(5):
            with knock(echoes.port, V1 + b"CAPA\r\n") as client:
                assert client.is_cut()
        assert len(complaints(caplog)) == 1
        assert "cut off 127.0.0.1, which is not in proxy_networks" in complaints(caplog)[0]
        echoes.proxied._quiet_until = 0.0
        with knock(echoes.port) as client:
            assert client.is_cut()
        until(lambda: len(complaints(caplog)) == 2)
        assert complaints(caplog)[1].endswith("(and 4 more)")
        assert not echoes.made


@pytest.mark.parametrize(
    "wire", [b"CAPA\r\n", b"\x16\x03\x01\x02\x00\x01", b"PROXY nonsense\r\n", V2[:15] + b"\xff"]
)
def test_a_connection_without_a_header_is_cut_off(
    wire: bytes, loop_kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with echoing() as echoes:
        with knock(echoes.port, wire) as client:
            if wire == V2[:15] + b"\xff":
                client.shut_writing()
            assert client.is_cut()
        until(lambda: complaints(caplog))
        assert "cut off 127.0.0.1: " in complaints(caplog)[0]
        with knock(echoes.port, V1) as client:
            assert client.line() == b"hello"
        assert echoes.made == [HEADER]


@pytest.mark.parametrize("wire", [b"", V1[:-1], V2[:20]])
def test_a_header_that_never_comes(
    wire: bytes, loop_kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxied, "HEADER_SECONDS", 0.05)
    with echoing() as echoes, knock(echoes.port, wire) as client:
        assert client.is_cut()
        assert not echoes.made
        assert not echoes.proxied._waiting


def test_a_mere_knock_is_not_worth_a_line(loop_kind: str, caplog: pytest.LogCaptureFixture) -> None:
    with echoing() as echoes:
        knock(echoes.port).close()
        knock(echoes.port).reset()
        with knock(echoes.port, V1) as client:
            assert client.line() == b"hello"
        until(lambda: not echoes.proxied._waiting)
    assert not complaints(caplog)


@pytest.mark.parametrize("hello", [b"CAPA\r\n" * 5, b"\x16\x03\x01\x00", b""])
@needs_proc
def test_a_failed_handshake_ends_that_connection_only(
    hello: bytes, authority: Authority, loop_kind: str
) -> None:
    with echoing(authority=authority, handshake_seconds=0.3) as echoes:
        before = open_sockets()
        with knock(echoes.port, V1 + hello) as client, contextlib.suppress(ConnectionError):
            client.rest()
        until(lambda: open_sockets() == before)
        assert not echoes.made
        with knock(echoes.port, V1) as client:
            assert client.wrap(authority.client_context()).line() == b"hello"


def test_a_connection_that_cannot_be_made_is_closed(
    loop_kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with echoing() as echoes:

        def fail(*_: object) -> Echo:
            raise ZeroDivisionError

        monkeypatch.setattr(echoes.proxied, "_make_connection", fail)
        with knock(echoes.port, V1) as client:
            assert client.is_cut()
        until(lambda: "ZeroDivisionError" in caplog.text)


# Bounds


def test_waiting_connections_are_bounded(loop_kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxied, "MAX_WAITING", 2)
    monkeypatch.setattr(accepting, "RETRY_SECONDS", 0.05)
    with echoing() as echoes, knock(echoes.port) as one, knock(echoes.port):
        until(lambda: len(echoes.proxied._waiting) == 2)
        with knock(echoes.port, V1) as three:
            three.socket.settimeout(0.2)
            with pytest.raises(TimeoutError):
                three.line()
            three.socket.settimeout(15)
            one.send(V1)
            assert one.line() == b"hello"
            assert three.line() == b"hello"


def test_many_at_once(loop_kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "ACCEPT_AT_ONCE", 3)
    with echoing() as echoes, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(knock(echoes.port)) for _ in range(40)]
        for client in clients:
            client.send(V1)
        assert [client.line() for client in clients] == [b"hello"] * 40


def test_a_system_out_of_descriptors_is_not_asked_all_the_time(
    loop_kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(accepting, "RETRY_SECONDS", 0.05)
    asked = 0
    accept = socket.socket._accept  # type: ignore[attr-defined]

    def out_of_files(self: socket.socket) -> Any:
        nonlocal asked
        asked += 1
        if asked <= 4:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return accept(self)

    with echoing() as echoes:
        monkeypatch.setattr(socket.socket, "_accept", out_of_files)
        begun = time.monotonic()
        with knock(echoes.port, V1) as client:
            assert client.line() == b"hello"
        assert time.monotonic() - begun >= 0.15
        assert len(complaints(caplog)) == 1
        assert "no connection can be accepted" in complaints(caplog)[0]


# Life


@needs_proc
def test_nothing_is_left_after_the_end(authority: Authority, loop_kind: str) -> None:
    with contextlib.ExitStack() as clients, echoing(authority=authority) as echoes:
        before = open_sockets()
        waiting = [clients.enter_context(knock(echoes.port, wire)) for wire in (b"", V1[:9])]
        shaking = clients.enter_context(knock(echoes.port, V1 + b"\x16\x03\x01"))
        until(lambda: len(echoes.proxied._waiting) == 2 and echoes.proxied._shaking)
        echoes.close()
        assert not echoes.proxied._waiting
        assert not echoes.proxied._shaking
        for client in (*waiting, shaking):
            assert client.is_cut()
        with pytest.raises(ConnectionRefusedError):
            knock(echoes.port)
        # Three clients of ours are open, the socket that listened isn't.
        until(lambda: open_sockets() == before + 3 - 1)


def test_closing_while_it_rests(loop_kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxied, "MAX_WAITING", 0)
    with echoing() as echoes, knock(echoes.port, V1) as client:
        until(lambda: echoes.proxied._retry)
        echoes.close()
        assert client.is_cut()


def test_connections_outlive_the_listener(loop_kind: str) -> None:
    """As those of a server that is finishing its replies do."""
    with echoing() as echoes, knock(echoes.port, V1) as client:
        assert client.line() == b"hello"
        echoes.thread.run(_close(echoes.proxied))
        assert client.ask("STAT") == b"STAT"


async def _nothing() -> None: ...


async def _close(listener: ProxiedListener) -> None:
    listener.close()


@needs_proc
def test_an_address_that_is_taken(loop_kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        thread = LoopThread()
        listener = Listener(
            port=taken.getsockname()[1], proxy_protocol=True, proxy_networks=["127.0.0.1"]
        )
        proxied_listener = ProxiedListener(listener, cast(Any, None), readiness=cast(Any, None))
        before = open_sockets()
        try:
            with pytest.raises(OSError):
                thread.run(proxied_listener.start())
            assert open_sockets() == before
        finally:
            thread.end(_nothing)
            thread.join()


def test_sockets_take_no_part_in_other_programs(loop_kind: str) -> None:
    with echoing() as echoes:
        assert not any(os.get_inheritable(each.fileno()) for each in echoes.proxied.sockets)


# What a proxy says of its client


@pytest.mark.parametrize(
    ("peer", "header", "host", "local"),
    [
        ("127.0.0.1", Header(local=True), "127.0.0.1", True),
        ("127.0.0.1", Header(source=("192.0.2.7", 1)), "192.0.2.7", False),
        ("127.0.0.1", Header(source=("127.0.0.9", 1)), "127.0.0.9", True),
        ("192.0.2.1", Header(source=("127.0.0.9", 1)), "127.0.0.9", False),
        ("127.0.0.1", Header(), "127.0.0.1", False),
        ("192.0.2.1", Header(local=True), "192.0.2.1", False),
    ],
)
def test_who_the_client_is_and_whether_a_network_lies_between(
    peer: str, header: Header, host: str, local: bool
) -> None:
    proxied_connection = Proxied((peer, 2), header)
    assert proxied_connection.client[0] == host
    assert proxied_connection.is_local == local


def test_only_a_verified_certificate_s_name_counts() -> None:
    verified = Header(tls=True, client_verified=True, common_name="joe")
    assert ProxiedChannel(verified).names() == ("joe",)
    assert ProxiedChannel(verified, external_names=("email",)).names() == ()
    for header in (Header(tls=True), Header(tls=True, client_verified=True)):
        assert ProxiedChannel(header).names() == ()
    assert ProxiedChannel(Header(tls=True, common_name="joe")).names() == ()


def test_a_channel_through_a_proxy_cannot_be_bound_to() -> None:
    channel = ProxiedChannel(Header(tls=True))
    assert channel.binding_types() == ()
    assert channel.binding("tls-server-end-point") is None


# Settings of a listener


def test_which_peers_are_proxies() -> None:
    networks = ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]
    listener = Listener(proxy_protocol=True, proxy_networks=networks)
    for host in ("10.1.2.3", "192.0.2.1", "::ffff:10.1.2.3", "2001:db8::1"):
        assert listener.is_proxy(host), host
    for host in ("11.1.2.3", "192.0.2.2", "::ffff:11.1.2.3", "2001:db9::1", "::1", "", "pop"):
        assert not listener.is_proxy(host), host
    assert not Listener().is_proxy("127.0.0.1")


@pytest.mark.parametrize("name", ["proxy_protocol", "xclient"])
def test_proxies_must_be_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} needs proxy_networks"):
        Listener(**cast(Any, {name: True}))


@pytest.mark.parametrize("network", ["10.0.0.1/8", "proxy.example.org", "10.0.0.0/33", ""])
def test_malformed_networks(network: str) -> None:
    with pytest.raises(ValueError, match="proxy_networks"):
        Listener(proxy_networks=[network])


def test_one_text_is_no_list_of_networks() -> None:
    with pytest.raises(ValueError, match="proxy_networks"):
        Listener(proxy_networks="10.0.0.1")


# In a server


def proxied_server(**settings: Any) -> contextlib.AbstractContextManager[Pop3Server]:
    tls = settings.pop("tls", "none")
    proxies = ["127.0.0.1"]
    listener = Listener(port=0, tls=tls, proxy_protocol=True, proxy_networks=proxies)
    return serving(listeners=[listener], **settings)


def header_with_tls(client: int = 1, name: bytes = b"") -> bytes:
    """Version 2: TLS has ended at the proxy, perhaps with a verified certificate."""
    facts = struct.pack("!BL", client, 0)
    if name:
        facts += struct.pack("!BH", 0x22, len(name)) + name
    body = V2[16:] + struct.pack("!BH", 0x20, len(facts)) + facts
    return V2[:14] + struct.pack("!H", len(body)) + body


def greeted(port: int, wire: bytes) -> Client:
    client = knock(port, wire)
    assert client.line().startswith(b"+OK ")
    return client


def test_a_session_is_the_client_s(loop_kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "restante")
    with proxied_server() as server:
        seen: list[tuple[str, int]] = []

        @server.on("accept_connection")
        async def accept(session: ClientSession) -> None:
            seen.append((session.peer_ip, session.peer_port))

        with greeted(server.port, V1.replace(b"192.0.2.7", b"127.0.0.9")) as client:
            client.log_in()
        with greeted(server.port, V2[:12] + b"\x20\x00\x00\x00") as client:
            client.log_in()
        assert seen[0] == ("127.0.0.9", 51423)
        assert seen[1][0] == "127.0.0.1"
    assert "login: account='joe' peer=127.0.0.9 tls=no" in caplog.text


@pytest.mark.parametrize("wire", [V1, V2, b"PROXY UNKNOWN\r\n"])
def test_a_password_that_crossed_a_network_needs_tls(wire: bytes, loop_kind: str) -> None:
    """However near the proxy is, the client is far, or might be."""
    with proxied_server() as server, greeted(server.port, wire) as client:
        assert client.ask("USER joe").startswith(b"-ERR password not accepted without TLS")


def test_tls_that_ended_at_the_proxy_protects_a_password(
    authority: Authority, loop_kind: str
) -> None:
    settings: dict[str, Any] = {"tls": "starttls_required", "certificate": authority.certificate}
    with proxied_server(**settings) as server:
        with greeted(server.port, header_with_tls()) as client:
            assert b"STLS" not in client.fetch("CAPA")
            client.log_in()
        with greeted(server.port, V2) as client:
            assert client.ask("USER joe") == b"-ERR TLS needed first: send STLS"


@pytest.mark.parametrize("bits", [0x01, 0x03])
def test_only_a_verified_certificate_logs_in(bits: int, loop_kind: str) -> None:
    with proxied_server() as server:
        with greeted(server.port, header_with_tls(bits, NAME.encode())) as client:
            status = client.ask("AUTH EXTERNAL =")
        assert status.startswith(b"+OK" if bits == 0x03 else b"-ERR")


def test_nothing_is_bound_to_tls_with_the_proxy(authority: Authority, loop_kind: str) -> None:
    """The client has another TLS, in which this binding would mean nothing."""
    keys = hash_password(PASSWORD, "SCRAM-SHA-256")
    settings: dict[str, Any] = {"tls": "implicit", "certificate": authority.certificate}
    accounts = StaticAccounts([Account(NAME, (keys,))])
    with proxied_server(accounts=accounts, **settings) as server:
        for wire, bound in ((header_with_tls(), False), (V2, True)):
            with knock(server.port, wire) as client:
                client.wrap(authority.client_context()).line()
                capabilities = client.fetch("CAPA")
            assert b"SCRAM-SHA-256" in capabilities
            assert (b"SCRAM-SHA-256-PLUS" in capabilities) == bound


@needs_proc
def test_a_server_that_stops_leaves_no_proxy_waiting(loop_kind: str) -> None:
    before = open_sockets()
    with proxied_server() as server, knock(server.port, V1[:9]) as client:
        server.stop()
        assert client.is_cut()
    assert open_sockets() == before
