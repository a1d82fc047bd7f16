"""SCRAM with clients that aren't ours: mpop and gsasl (GNU SASL; GnuTLS), scramp (OpenSSL)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import ssl
import subprocess
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from scramp import ScramClient

from restante import TlsSettings
from restante.protocol.effects import FindKeys
from restante.protocol.mechanisms import MechanismContext
from restante.sasl.contract import Challenge, MechanismError
from restante.sasl.scram import (
    HASHES,
    SCRAM_SHA_1,
    SCRAM_SHA_1_PLUS,
    SCRAM_SHA_256,
    SCRAM_SHA_256_PLUS,
    ScramClaim,
    make,
)
from restante.server.tls.channel import TlsChannel
from restante.server.tls.exporter import exporter
from tests.conftest import Authority
from tests.needs import need, only_cpython
from tests.peers.harness import NAME, PASSWORD, WAYS, Post, Visit, Way
from tests.peers.tools import Mpop
from tests.sasl.test_scram import Client as ScramPeer
from tests.server.conftest import LOOPS
from tests.server.kit import Client, serving

MESSAGE = b"Subject: one\n\n.\n"
INFOS = {i.name: i for i in (SCRAM_SHA_1, SCRAM_SHA_256, SCRAM_SHA_1_PLUS, SCRAM_SHA_256_PLUS)}


@pytest.fixture(params=LOOPS)
def loop_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Servers started by `start` run on this kind of event loop."""
    kind: str = request.param
    if kind == "uvloop":
        uvloop = pytest.importorskip("uvloop")
        monkeypatch.setattr(asyncio, "new_event_loop", uvloop.new_event_loop)
    return kind


# mpop


@pytest.mark.peer
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("login", ["scram-sha-1", "scram-sha-256"])
def test_mpop_fetches(login: str, way: Way, post: Post, tmp_path: Path) -> None:
    """Inside TLS, one that can bind to the channel does: it says so, and what says so without
    binding is taken for a victim of an attack (RFC 5802 §6)."""
    if way != "plain" and Mpop().binds():
        login += "-plus"
    post.put([MESSAGE])
    assert Mpop().fetch(Visit(post, tmp_path, way, login=login)) == [MESSAGE]
    assert f"AUTH {login.upper()}" in post.verbs


@pytest.mark.peer
@pytest.mark.parametrize("scheme", sorted(HASHES))
def test_mpop_fetches_where_only_keys_are_kept(
    scheme: str, authority: Authority, tmp_path: Path
) -> None:
    Mpop().require()
    credential = f"{{{scheme}}}{make(HASHES[scheme], PASSWORD).format()}"
    with Post(tmp_path, authority, credential=credential) as post:
        post.put([MESSAGE])
        visit = Visit(post, tmp_path, login=scheme.lower())
        assert Mpop().fetch(visit) == [MESSAGE]


@pytest.mark.peer
def test_mpop_is_refused_with_another_password(authority: Authority, tmp_path: Path) -> None:
    Mpop().require()
    with Post(tmp_path, authority, credential="{PLAIN}another") as post:
        post.put([MESSAGE])
        with pytest.raises(AssertionError, match="mpop: exit"):
            Mpop().fetch(Visit(post, tmp_path, login="scram-sha-256"))
        assert "RETR" not in post.verbs


# gsasl, which speaks IMAP: so the mechanism and the channel stand behind an IMAP greeting


class Outcome(NamedTuple):
    """What came of gsasl's visit: the header it sent, and the claim or what was refused."""

    header: bytes
    claim: ScramClaim | MechanismError | None
    output: str


class Imap:
    """As much of an IMAP server as gsasl needs to log in, with STARTTLS."""

    def __init__(self, settings: TlsSettings, offered: Sequence[str]) -> None:
        self.settings = settings
        self.offered = offered
        self.header = b""
        self.claim: ScramClaim | MechanismError | None = None
        self._channel: TlsChannel | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK ready\r\n")
        while line := (await reader.readline()).decode():
            tag, verb, *words = line.split()
            if verb == "CAPABILITY":
                tls = "" if self._channel else "STARTTLS "
                names = " ".join(f"AUTH={name}" for name in self.offered)
                writer.write(f"* CAPABILITY IMAP4rev1 {tls}{names}\r\n".encode())
            elif verb == "AUTHENTICATE" and not await self._log_in(reader, writer, *words):
                writer.write(f"{tag} NO\r\n".encode())
                break
            writer.write(f"{tag} OK\r\n".encode())
            if verb == "STARTTLS":
                await writer.start_tls(self.settings.context)
                self._channel = TlsChannel(writer.get_extra_info("ssl_object"), self.settings)
            elif verb == "LOGOUT":
                break
        await writer.drain()
        writer.close()

    async def _log_in(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mechanism: str, *_: str
    ) -> bool:
        assert self._channel is not None
        context = MechanismContext("localhost", self._channel)
        exchange: Generator[Any, Any, Any] = INFOS[mechanism].begin(context, None)
        keys = make(HASHES[mechanism.removesuffix("-PLUS")], PASSWORD, iterations=4096)
        answer: object = None
        try:
            while True:
                outcome = exchange.send(answer)
                if isinstance(outcome, FindKeys):
                    answer = keys
                    continue
                assert isinstance(outcome, Challenge)
                writer.write(b"+ " + base64.b64encode(outcome.data) + b"\r\n")
                answer = base64.b64decode(await reader.readline())
                self.header = self.header or answer
        except StopIteration as end:
            self.claim = end.value
        except MechanismError as error:
            self.claim = error
        return isinstance(self.claim, ScramClaim) and self.claim.holds_for("PLAIN", PASSWORD)


def gsasl(
    authority: Authority, mechanism: str, *options: str, offered: Sequence[str] = tuple(INFOS)
) -> Outcome:
    """Have gsasl log in by a mechanism, inside TLS."""
    program = need("gsasl", package="gsasl")

    async def visit() -> Outcome:
        imap = Imap(TlsSettings(authority.certificate), offered)
        server = await asyncio.start_server(imap.serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            command = [program, "--imap", "--starttls", "-d", "-m", mechanism, "-a", NAME]
            command += ["-p", PASSWORD, f"--connect=localhost:{port}", "--verbose"]
            command += [f"--x509-ca-file={authority.file}", *options]
            done = await asyncio.to_thread(
                subprocess.run, command, capture_output=True, timeout=30, input=b"", check=False
            )
        output = done.stdout + done.stderr
        return Outcome(imap.header, imap.claim, output.decode(errors="replace"))

    return asyncio.run(visit())


@pytest.mark.peer
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"])
def test_gsasl_binds_by_tls_exporter(mechanism: str, authority: Authority) -> None:
    """GnuTLS at its end of the connection, OpenSSL at ours."""
    header, claim, output = gsasl(authority, mechanism)
    assert header.startswith(b"p=tls-exporter,"), output
    assert isinstance(claim, ScramClaim), output
    assert claim.holds_for("PLAIN", PASSWORD)
    assert (claim.name, claim.mechanism) == (NAME, mechanism)


@pytest.mark.peer
def test_gsasl_is_refused_on_another_channel(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TlsChannel, "binding", lambda self, kind: bytes(32))
    _, claim, output = gsasl(authority, "SCRAM-SHA-256-PLUS")
    assert isinstance(claim, MechanismError), output
    assert "does not match" in str(claim)


@pytest.mark.peer
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_gsasl_without_binding(mechanism: str, authority: Authority) -> None:
    header, claim, output = gsasl(authority, mechanism, "--no-cb")
    assert header.startswith(b"n,"), output
    assert isinstance(claim, ScramClaim), output


# scramp, against a whole server


def base64_line(data: str | bytes) -> bytes:
    return base64.b64encode(data.encode() if isinstance(data, str) else data)


def log_in(client: Client, scramp: ScramClient, mechanism: str) -> bytes:
    """Have scramp log in; the reply. Raises ScramException if the server proves nothing."""
    client.send(b"AUTH %b %b\r\n" % (mechanism.encode(), base64_line(scramp.get_client_first())))
    if (reply := client.line()).startswith(b"-ERR"):
        return reply
    scramp.set_server_first(base64.b64decode(reply.removeprefix(b"+ ")).decode())
    client.send(base64_line(scramp.get_client_final()) + b"\r\n")
    if (reply := client.line()).startswith(b"-ERR"):
        return reply
    scramp.set_server_final(base64.b64decode(reply.removeprefix(b"+ ")).decode())
    client.send(b"\r\n")
    return client.line()


@contextlib.contextmanager
def connected(authority: Authority, tls: str, **settings: Any) -> Iterator[Client]:
    with serving([MESSAGE], tls=tls, certificate=authority.certificate, **settings) as server:
        trusting = authority.client_context()
        with Client(server.port, tls=trusting if tls == "implicit" else None) as client:
            if tls == "starttls":
                assert not any("-PLUS" in each for each in announced(client))
                client.start_tls(trusting)
            yield client


def announced(client: Client) -> list[str]:
    """The mechanisms in CAPA."""
    (line,) = (x for x in client.fetch("CAPA").decode().split("\r\n") if x.startswith("SASL "))
    return line.split()[1:]


def shown_to(client: Client) -> tuple[str, bytes]:
    """The binding that a client makes of the server's certificate."""
    assert isinstance(client.socket, ssl.SSLSocket)
    certificate = client.socket.getpeercert(binary_form=True)
    assert certificate is not None
    return "tls-server-end-point", hashlib.sha256(certificate).digest()


@pytest.mark.parametrize("tls", ["implicit", "starttls"])
@pytest.mark.parametrize("mechanism", sorted(INFOS))
def test_scramp_logs_in(mechanism: str, tls: str, authority: Authority, loop_kind: str) -> None:
    with connected(authority, tls) as client:
        assert mechanism in announced(client)
        binding = shown_to(client) if mechanism.endswith("-PLUS") else None
        scramp = ScramClient([mechanism], NAME, PASSWORD, channel_binding=binding)
        assert log_in(client, scramp, mechanism).startswith(b"+OK")
        assert client.fetch("RETR 1") == MESSAGE.replace(b"\n", b"\r\n")


def test_after_a_failure_the_session_goes_on(authority: Authority) -> None:
    plus = "SCRAM-SHA-256-PLUS"
    with connected(authority, "implicit") as client:
        binding = shown_to(client)
        wrong = ScramClient([plus], NAME, "wrong", channel_binding=binding)
        assert log_in(client, wrong, plus).startswith(b"-ERR [AUTH]")
        elsewhere = ScramClient([plus], NAME, PASSWORD, channel_binding=(binding[0], bytes(32)))
        assert log_in(client, elsewhere, plus) == b"-ERR channel binding does not match"
        fooled = ScramClient(["SCRAM-SHA-256"], NAME, PASSWORD, channel_binding=binding)
        assert log_in(client, fooled, "SCRAM-SHA-256").startswith(b"-ERR downgraded")
        right = ScramClient([plus], NAME, PASSWORD, channel_binding=binding)
        assert log_in(client, right, plus).startswith(b"+OK")


def test_an_unknown_name_looks_like_a_known_one(authority: Authority) -> None:
    seen = {}
    with connected(authority, "implicit") as client:
        for name in (NAME, "nobody"):
            firsts = set()
            for _ in range(2):
                client.send(b"AUTH SCRAM-SHA-256 %b\r\n" % base64_line(f"n,,n={name},r=abc"))
                first = base64.b64decode(client.line().removeprefix(b"+ ")).decode()
                nonce, *rest = first.split(",")
                firsts.add(tuple(rest))
                proof = base64.b64encode(bytes(32)).decode()
                client.send(base64_line(f"c=biws,{nonce},p={proof}") + b"\r\n")
                reply = client.line()
            ((salt, iterations),) = firsts
            seen[name] = (len(salt), iterations, reply)
    assert seen[NAME] == seen["nobody"]


# tls-exporter against a whole server


@only_cpython
@pytest.mark.parametrize("right", [True, False])
def test_a_client_binds_by_tls_exporter(right: bool, authority: Authority, loop_kind: str) -> None:
    """asyncio's end of a connection is one that a binding can be had of."""
    peer = ScramPeer("sha256", PASSWORD, gs2=b"p=tls-exporter,,", bare=b"n=joe,r=abc")

    async def visit(port: int) -> bytes:
        trusting = authority.client_context()
        reader, writer = await asyncio.open_connection("localhost", port, ssl=trusting)
        try:
            export = exporter()
            assert export is not None
            tls = writer.get_extra_info("ssl_object")
            peer.binding = export(tls, b"EXPORTER-Channel-Binding", 32) or b""
            if not right:
                peer.binding = bytes(32)
            await reader.readline()
            writer.write(b"AUTH SCRAM-SHA-256-PLUS %b\r\n" % base64_line(peer.first()))
            first = await reader.readline()
            writer.write(base64_line(peer.final(base64.b64decode(first[2:]))) + b"\r\n")
            reply = await reader.readline()
            if right:
                peer.verify(base64.b64decode(reply[2:]))
                writer.write(b"\r\n")
                reply = await reader.readline()
            return reply
        finally:
            writer.close()
            await writer.wait_closed()

    with serving([MESSAGE], tls="implicit", certificate=authority.certificate) as server:
        reply = asyncio.run(visit(server.port))
    assert reply.startswith(b"+OK" if right else b"-ERR channel binding does not match")
