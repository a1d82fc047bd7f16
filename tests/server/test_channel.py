"""Channel bindings, and the names in certificates: what both ends of TLS must agree on."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import hmac
import logging
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import NameOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st

from restante import Certificate, TlsSettings
from restante.defaults import NAME_KINDS
from restante.server.tls import exporter as tls_exporter
from restante.server.tls.certificates import end_point, first_certificate, principal_names
from restante.server.tls.channel import MAX_NAMES, TlsChannel
from tests.conftest import Authority
from tests.needs import only_cpython

LABEL = b"EXPORTER-Channel-Binding"


def connect(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends of a connection in memory, after the handshake."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    at_server = server.wrap_bio(to_server, to_client, server_side=True)
    at_client = client.wrap_bio(to_client, to_server, server_hostname=name)
    for end in (at_client, at_server) * 3:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return at_server, at_client


@pytest.fixture(scope="module")
def settings(authority: Authority) -> TlsSettings:
    return TlsSettings(authority.certificate)


@pytest.fixture
def trusting(authority: Authority) -> ssl.SSLContext:
    return authority.client_context()


# tls-exporter


def exported(tls: ssl.SSLObject) -> bytes:
    """What another end of the connection gets: by the same way, for want of another."""
    export = tls_exporter.exporter()
    assert export is not None
    octets = export(tls, LABEL, 32)
    assert octets is not None
    return octets


@only_cpython
def test_both_ends_export_the_same(settings: TlsSettings, trusting: ssl.SSLContext) -> None:
    bindings = set()
    for _ in range(5):
        server, client = connect(settings.context, trusting)
        binding = TlsChannel(server).binding("tls-exporter")
        assert binding == exported(client)
        assert len(binding) == 32
        bindings.add(binding)
    assert len(bindings) == 5


@only_cpython
def test_it_is_what_rfc_8446_says(
    settings: TlsSettings, trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    """Worked out in Python from the secret that OpenSSL writes to its key log (§7.5)."""
    trusting.keylog_filename = str(tmp_path / "keys")
    server, _ = connect(settings.context, trusting)
    cipher = server.cipher()
    assert cipher is not None
    name = "sha384" if cipher[0].endswith("SHA384") else "sha256"
    lines = (tmp_path / "keys").read_text().splitlines()
    (secret,) = (line.split()[2] for line in lines if line.startswith("EXPORTER_SECRET"))
    nothing = hashlib.new(name, b"").digest()
    derived = _expand(name, bytes.fromhex(secret), LABEL, nothing, len(nothing))
    expected = _expand(name, derived, b"exporter", nothing, 32)
    assert TlsChannel(server).binding("tls-exporter") == expected


def _expand(name: str, secret: bytes, label: bytes, context: bytes, size: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446 §7.1), for no more than one block."""
    label = b"tls13 " + label
    info = size.to_bytes(2, "big") + bytes([len(label)]) + label + bytes([len(context)]) + context
    return hmac.digest(secret, info + b"\x01", name)[:size]


def test_only_tls_1_3_has_it(settings: TlsSettings, trusting: ssl.SSLContext) -> None:
    trusting.maximum_version = ssl.TLSVersion.TLSv1_2
    server, _ = connect(settings.context, trusting)
    channel = TlsChannel(server, settings)
    assert channel.binding_types() == ("tls-server-end-point",)
    assert channel.binding("tls-exporter") is None


def test_tls_unique_is_never_given(settings: TlsSettings, trusting: ssl.SSLContext) -> None:
    trusting.maximum_version = ssl.TLSVersion.TLSv1_2
    server, _ = connect(settings.context, trusting)
    assert server.get_channel_binding("tls-unique")
    channel = TlsChannel(server, settings)
    for kind in ("tls-unique", "", "TLS-EXPORTER", "tls-server-end-point "):
        assert channel.binding(kind) is None


@only_cpython
def test_the_strongest_comes_first(settings: TlsSettings, trusting: ssl.SSLContext) -> None:
    server, _ = connect(settings.context, trusting)
    assert TlsChannel(server, settings).binding_types() == ("tls-exporter", "tls-server-end-point")


@pytest.fixture
def afresh() -> Iterator[None]:
    """The trial is made once more, and again after the test."""
    tls_exporter.exporter.cache_clear()
    yield
    tls_exporter.exporter.cache_clear()


def _fails(*_: object) -> None:
    raise OSError("no such thing")


@pytest.mark.parametrize(
    ("name", "replacement"),
    [
        ("KNOWN_PYTHONS", ((3, 7), (3, 10))),
        ("KNOWN_PYTHONS", ((4, 0), (4, 1))),
        ("_library", _fails),
        ("_library", object),
        ("_connected", _fails),
        ("_connected", lambda: (object(), object())),
    ],
)
def test_a_doubt_switches_it_off(
    name: str,
    replacement: object,
    afresh: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(tls_exporter, name, replacement)
    with caplog.at_level(logging.INFO, "restante.server"):
        assert tls_exporter.exporter() is None
        assert tls_exporter.exporter() is None
    assert [r.message.partition(":")[0] for r in caplog.records] == ["TLS"]


def test_without_it_the_other_binding_is_left(
    afresh: None,
    monkeypatch: pytest.MonkeyPatch,
    settings: TlsSettings,
    trusting: ssl.SSLContext,
) -> None:
    monkeypatch.setattr(tls_exporter, "_exporter", _fails)
    server, _ = connect(settings.context, trusting)
    assert TlsChannel(server, settings).binding_types() == ("tls-server-end-point",)
    assert TlsChannel(server).binding_types() == ()
    assert TlsChannel(server).binding("tls-exporter") is None


@pytest.mark.parametrize(
    "export",
    [
        lambda tls, label, size: None,
        lambda tls, label, size: b"always the same",
        lambda tls, label, size: repr((tls, label)).encode(),
    ],
)
def test_ends_that_disagree_switch_it_off(
    export: Callable[..., Any], afresh: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls_exporter, "_exporter", lambda: export)
    assert tls_exporter.exporter() is None


@only_cpython
def test_nothing_is_exported_from_anything_else(
    settings: TlsSettings, trusting: ssl.SSLContext
) -> None:
    """No memory is looked at but a connection's own, and none before it has its keys."""
    export: Callable[..., bytes | None] | None = tls_exporter.exporter()
    assert export is not None

    class _SSLSocket:
        context = None

    class Lookalike:
        _sslobj = _SSLSocket()

        def version(self) -> str:
            return "TLSv1.3"

    begun = settings.context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    for thing in (object(), None, Lookalike(), begun):
        assert export(thing, LABEL, 32) is None


# tls-server-end-point


def issued(ca: trustme.CA, folder: Path, *names: str) -> Certificate:
    path = folder / f"{names[0]}.pem"
    ca.issue_cert(*names).private_key_and_cert_chain_pem.write_to_path(path)
    return Certificate(path)


def expected(client: ssl.SSLObject) -> bytes:
    """What the client makes of the certificate that it was shown; trustme signs by SHA-256."""
    shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return hashlib.sha256(shown).digest()


def test_each_server_name_has_its_own(tmp_path: Path) -> None:
    ca = trustme.CA()
    trusting = ssl.create_default_context()
    ca.configure_trust(trusting)
    settings = TlsSettings(
        issued(ca, tmp_path, "localhost"),
        by_name={"two.example.org": issued(ca, tmp_path, "two.example.org")},
    )
    seen = set()
    for name in ("localhost", "two.example.org", "localhost"):
        server, client = connect(settings.context, trusting, name)
        binding = TlsChannel(server, settings).binding("tls-server-end-point")
        assert binding == expected(client)
        seen.add(binding)
    assert len(seen) == 2


def test_a_reload_changes_later_connections_only(tmp_path: Path) -> None:
    ca = trustme.CA()
    trusting = ssl.create_default_context()
    ca.configure_trust(trusting)
    settings = TlsSettings(issued(ca, tmp_path, "localhost"))
    server, client = connect(settings.context, trusting)
    before = TlsChannel(server, settings)
    issued(ca, tmp_path, "localhost")
    settings.reload()
    assert before.binding("tls-server-end-point") == expected(client)
    server, later = connect(settings.context, trusting)
    after = TlsChannel(server, settings).binding("tls-server-end-point")
    assert after == expected(later) != expected(client)


@only_cpython
def test_a_name_hook_s_certificate_is_unknown(tmp_path: Path) -> None:
    ca = trustme.CA()
    trusting = ssl.create_default_context()
    ca.configure_trust(trusting)
    other = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issued(ca, tmp_path, "other").load_into(other)
    hooked = {"other": other}
    settings = TlsSettings(
        issued(ca, tmp_path, "localhost"), name_hook=lambda n: hooked.get(n or "")
    )
    server, _ = connect(settings.context, trusting, "other")
    assert TlsChannel(server, settings).binding_types() == ("tls-exporter",)
    server, _ = connect(settings.context, trusting)
    assert "tls-server-end-point" in TlsChannel(server, settings).binding_types()


RSA = rsa.generate_private_key(65537, 2048)
Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def certificate(
    key: Key,
    algorithm: Any,
    *,
    names: list[x509.GeneralName] | None = None,
    subject: x509.Name | None = None,
    pss: bool = False,
) -> x509.Certificate:
    """A certificate signed by itself."""
    now = datetime.datetime.now(datetime.UTC)
    subject = subject or x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    scheme = padding.PSS(padding.MGF1(algorithm), 20) if pss else None
    return builder.sign(key, algorithm, rsa_padding=scheme)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(
    ("key", "algorithm", "pss", "name"),
    [
        (RSA, hashes.SHA224(), False, "sha224"),
        (RSA, hashes.SHA256(), False, "sha256"),
        (RSA, hashes.SHA384(), False, "sha384"),
        (RSA, hashes.SHA512(), False, "sha512"),
        (RSA, hashes.SHA224(), True, "sha224"),
        (RSA, hashes.SHA256(), True, "sha256"),
        (RSA, hashes.SHA384(), True, "sha384"),
        (RSA, hashes.SHA512(), True, "sha512"),
        (ec.generate_private_key(ec.SECP256R1()), hashes.SHA256(), False, "sha256"),
        (ec.generate_private_key(ec.SECP384R1()), hashes.SHA384(), False, "sha384"),
        (ec.generate_private_key(ec.SECP521R1()), hashes.SHA512(), False, "sha512"),
        (ec.generate_private_key(ec.SECP256R1()), hashes.SHA224(), False, "sha224"),
        (ed25519.Ed25519PrivateKey.generate(), None, False, None),
        (RSA, hashes.SHA3_256(), False, None),
    ],
)
def test_the_hash_is_that_of_the_signature(
    key: Key, algorithm: Any, pss: bool, name: str | None
) -> None:
    """RFC 5929 §4.1; without one hash, there is no binding."""
    made = der(certificate(key, algorithm, pss=pss))
    assert end_point(made) == (hashlib.new(name, made).digest() if name else None)


@pytest.mark.parametrize("oid", ["2a864886f70d010104", "2a864886f70d010105", "2a8648ce3d0401"])
def test_weak_hashes_give_way_to_sha_256(oid: str) -> None:
    """MD5 and SHA-1, as few libraries still sign by them: written into a certificate."""
    old = bytes.fromhex("2a864886f70d01010b")
    sound = der(certificate(RSA, hashes.SHA256()))
    new = bytes.fromhex(oid)
    if len(new) == len(old):
        weak = sound.replace(old, new)
    else:
        signed = b"\x30\x03\x02\x01\x01"
        algorithm = b"\x30\x09\x06\x07" + new
        signature = b"\x03\x02\x00\x00"
        body = signed + algorithm + signature
        weak = b"\x30" + bytes([len(body)]) + body
    assert end_point(weak) == hashlib.sha256(weak).digest()


def test_pss_without_a_hash_means_sha_1_and_so_sha_256() -> None:
    oid = bytes.fromhex("2a864886f70d01010a")
    for parameters in (b"", b"\x30\x00", b"\x30\x05\xa2\x03\x02\x01\x20"):
        algorithm = b"\x06\x09" + oid + parameters
        body = b"\x30\x03\x02\x01\x01\x30" + bytes([len(algorithm)]) + algorithm + b"\x03\x02\0\0"
        made = b"\x30" + bytes([len(body)]) + body
        assert end_point(made) == hashlib.sha256(made).digest()


SAMPLE = certificate(RSA, hashes.SHA256())
PEM = SAMPLE.public_bytes(serialization.Encoding.PEM).decode()


def test_the_first_certificate_of_a_chain_is_the_server_s() -> None:
    other = certificate(RSA, hashes.SHA512()).public_bytes(serialization.Encoding.PEM).decode()
    key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    for text in (
        PEM,
        PEM + other,
        key + PEM + other,
        f"issuer=x\n{PEM.replace(chr(10), chr(13) + chr(10))}",
    ):
        assert first_certificate(text) == der(SAMPLE)


@pytest.mark.parametrize(
    "text",
    [
        "",
        PEM[:100],
        PEM.replace("CERTIFICATE", "TRUSTED CERTIFICATE") + PEM,
        PEM.replace("MII", "M*I", 1).replace("END CERTIFICATE", "END"),
        "-----BEGIN CERTIFICATE-----\nA\n-----END CERTIFICATE-----\n",
    ],
    ids=["empty", "cut", "trusted", "not base64", "not DER"],
)
def test_no_certificate_no_binding(text: str) -> None:
    assert first_certificate(text) is None


@given(st.binary())
def test_no_octets_do_harm(octets: bytes) -> None:
    assert end_point(octets) in (None, hashlib.sha256(octets).digest())
    principal_names(octets)
    first_certificate(octets.decode("latin-1"))


UPN = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")


def upn(text: str) -> x509.OtherName:
    octets = text.encode()
    return x509.OtherName(UPN, b"\x0c" + bytes([len(octets)]) + octets)


NAMED = certificate(
    RSA,
    hashes.SHA256(),
    subject=x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "example"),
            x509.NameAttribute(NameOID.COMMON_NAME, "joe"),
            x509.NameAttribute(NameOID.EMAIL_ADDRESS, "old@example.org"),
        ]
    ),
    names=[
        x509.DNSName("joe.example.org"),
        x509.RFC822Name("joe@example.org"),
        upn("joe@AD.example.org"),
        x509.OtherName(ObjectIdentifier("1.2.3.4"), b"\x0c\x04evil"),
        x509.RFC822Name("other@example.org"),
        x509.UniformResourceIdentifier("https://example.org/evil"),
    ],
)


@given(st.integers(0, len(der(NAMED)) - 1), st.integers(0, 255))
def test_no_damaged_certificate_does_harm(at: int, octet: int) -> None:
    damaged = bytearray(der(NAMED))
    damaged[at] = octet
    principal_names(bytes(damaged))
    end_point(bytes(damaged))
    principal_names(bytes(damaged[:at]))
    end_point(bytes(damaged[:at]))


# Names


class Admission:
    """A client with a certificate, to a server that asks for one."""

    def __init__(self, folder: Path, authority: Authority, shown: x509.Certificate) -> None:
        ca = folder / "ca.pem"
        ca.write_bytes(shown.public_bytes(serialization.Encoding.PEM))
        key = RSA.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        (folder / "client.pem").write_bytes(key + ca.read_bytes())
        self.client = authority.client_context()
        self.client.load_cert_chain(folder / "client.pem")
        self.settings = TlsSettings(authority.certificate, client_certificates="ask", client_ca=ca)

    def channel(self, *kinds: str) -> TlsChannel:
        server, _ = connect(self.settings.context, self.client)
        return TlsChannel(server, self.settings, external_names=kinds)


@pytest.mark.parametrize(
    ("kinds", "names"),
    [
        (("email",), ("joe@example.org", "other@example.org", "old@example.org")),
        (("cn",), ("joe",)),
        (("dns",), ("joe.example.org",)),
        (("upn",), ("joe@AD.example.org",)),
        (("cn", "dns"), ("joe", "joe.example.org")),
        (("dns", "cn"), ("joe.example.org", "joe")),
        ((), ()),
    ],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_names_come_in_the_order_asked_for(
    kinds: tuple[str, ...],
    names: tuple[str, ...],
    version: ssl.TLSVersion,
    tmp_path: Path,
    authority: Authority,
) -> None:
    admission = Admission(tmp_path, authority, NAMED)
    admission.client.maximum_version = version
    assert admission.channel(*kinds).names() == names


def test_by_default_they_are_the_address_and_the_common_name(
    tmp_path: Path, authority: Authority
) -> None:
    admission = Admission(tmp_path, authority, NAMED)
    server, _ = connect(admission.settings.context, admission.client)
    assert TlsChannel(server).names()[-1] == "joe"
    assert TlsChannel(server).names()[0] == "joe@example.org"


def test_no_certificate_no_names(tmp_path: Path, authority: Authority) -> None:
    admission = Admission(tmp_path, authority, NAMED)
    server, _ = connect(admission.settings.context, authority.client_context())
    assert TlsChannel(server, external_names=NAME_KINDS).names() == ()


def test_a_certificate_that_nobody_asked_for_has_no_names(
    tmp_path: Path, authority: Authority, settings: TlsSettings
) -> None:
    admission = Admission(tmp_path, authority, NAMED)
    server, _ = connect(settings.context, admission.client)
    assert TlsChannel(server, external_names=NAME_KINDS).names() == ()


def test_names_that_are_none_are_left_out(tmp_path: Path, authority: Authority) -> None:
    """Whoever signs certificates may not mind what is in them."""
    spoilt = ["joe\0@evil.example", "joe\r\nAUTH", "x" * 1100, "", "good"]
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, "joe")]
    names = [upn(name[:100]) for name in spoilt]
    names += [upn(f"n{number}") for number in range(30)]
    shown = certificate(RSA, hashes.SHA256(), subject=x509.Name(attributes), names=list(names))
    found = Admission(tmp_path, authority, shown).channel("upn", "cn").names()
    assert "good" in found
    assert not any(set(name) & set("\0\r\n") for name in found)
    assert len(found) == MAX_NAMES


def test_a_certificate_that_python_can_t_read_has_no_names(settings: TlsSettings) -> None:
    """Nor has a connection before its handshake: both are a ValueError there."""
    begun = settings.context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    with pytest.raises(ValueError):
        begun.getpeercert()
    channel = TlsChannel(begun)
    assert channel.names() == ()
    assert channel.binding_types() == ()


# On real transports


@only_cpython
def test_on_a_loop_s_own_tls(
    loop_kind: str, settings: TlsSettings, authority: Authority, trusting: ssl.SSLContext
) -> None:
    """Implicit TLS, by each kind of event loop."""

    async def admission() -> None:
        accepted: asyncio.Future[ssl.SSLObject] = asyncio.get_running_loop().create_future()

        async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            accepted.set_result(writer.get_extra_info("ssl_object"))
            await reader.read()
            writer.close()

        server = await asyncio.start_server(meet, "127.0.0.1", 0, ssl=settings.context)
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=trusting, server_hostname="localhost"
        )
        try:
            channel = TlsChannel(await accepted, settings)
            client: ssl.SSLObject = writer.get_extra_info("ssl_object")
            assert channel.binding_types() == ("tls-exporter", "tls-server-end-point")
            assert channel.binding("tls-exporter") == exported(client)
            assert channel.binding("tls-server-end-point") == expected(client)
        finally:
            writer.close()
            await writer.wait_closed()
            server.close()
            await server.wait_closed()

    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(admission(), 30))
    finally:
        loop.close()
