"""Certificates for tests: an authority, and certificates of it, good and bad."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Literal, Self, TypeAlias, get_args

from restante.extras import missing
from restante.server.tls.settings import Certificate

try:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError as error:
    _WHAT = "TLS in restante.testing"
    raise ImportError(missing("testing", _WHAT, "cryptography", error)) from error

CertificateKind: TypeAlias = Literal[
    "valid", "rsa", "ends-soon", "expired", "not-yet-valid", "wrong-name", "self-signed",
    "unknown-ca",
]  # fmt: skip
CERTIFICATE_KINDS: tuple[CertificateKind, ...] = get_args(CertificateKind)

_Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

RSA_BITS = 2048

NAMES = ("localhost", "127.0.0.1", "::1")
"""Whom a certificate of a server is for."""

WRONG_NAMES = ("wrong-name.invalid",)

DAY = timedelta(days=1)
WHEN = {
    "ends-soon": (-30 * DAY, DAY),
    "expired": (-30 * DAY, -DAY),
    "not-yet-valid": (DAY, 30 * DAY),
}
VALID = (-DAY, 30 * DAY)
"""From when to when a certificate is valid, counted from now: clocks differ."""


class Authority:
    """A certificate authority of its own, whose files are in a temporary folder.

    path: its certificate, a PEM file: what a client has to trust.

    Close it, or use it as a context manager; the files are then gone.
    """

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("Authority of a test")
        self._certificate = _signed(self._name, self._name, self._key, self._key, authority=True)
        self._folder = TemporaryDirectory(prefix="restante-testing-")
        self._made = 0
        self.path = self._write("authority", self._certificate)

    def ssl_context(self) -> ssl.SSLContext:
        """A client's context, which trusts this authority and nobody else, and checks names."""
        return ssl.create_default_context(cafile=self.path)

    def issue(self, kind: CertificateKind = "valid") -> Certificate:
        """A certificate for a server at localhost, with its key.

        kind: `valid`; `rsa`: valid, with an RSA key; `ends-soon`: valid for another day;
            `expired`, `not-yet-valid`; `wrong-name`: for another host; `self-signed`;
            `unknown-ca`: of an authority that nobody has heard of.
        Raises ValueError for another kind.
        """
        if kind not in CERTIFICATE_KINDS:
            allowed = ", ".join(CERTIFICATE_KINDS)
            raise ValueError(f"certificate={kind!r}: allowed are {allowed}")
        key: _Key = ec.generate_private_key(ec.SECP256R1())
        if kind == "rsa":
            key = rsa.generate_private_key(65537, RSA_BITS)
        names = WRONG_NAMES if kind == "wrong-name" else NAMES
        subject = _name(names[0])
        issuer = self._name
        signer: _Key = self._key
        if kind == "self-signed":
            issuer, signer = subject, key
        elif kind == "unknown-ca":
            issuer, signer = _name("Unknown authority"), ec.generate_private_key(ec.SECP256R1())
        when = WHEN.get(kind, VALID)
        made = _signed(subject, issuer, key, signer, when=when, dns=_alternatives(names))
        return Certificate(self._write(kind, made, key))

    def client_certificate(self, name: str) -> Certificate:
        """A certificate for a client, for EXTERNAL: its e-mail address or common name is `name`."""
        key = ec.generate_private_key(ec.SECP256R1())
        email: list[x509.GeneralName] = [x509.RFC822Name(name)] if "@" in name else []
        made = _signed(_name(name), self._name, key, self._key, dns=email, client=True)
        return Certificate(self._write("client", made, key))

    def close(self) -> None:
        """Remove the files. Harmless when repeated."""
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, name: str, made: x509.Certificate, key: _Key | None = None) -> Path:
        self._made += 1
        path = Path(self._folder.name) / f"{name}-{self._made}.pem"
        pem = made.public_bytes(Encoding.PEM)
        if key is not None:
            pem += key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(pem)
        return path


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternatives(names: Sequence[str]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _signed(
    subject: x509.Name,
    issuer: x509.Name,
    key: _Key,
    signer: _Key,
    *,
    when: tuple[timedelta, timedelta] = VALID,
    dns: Sequence[x509.GeneralName] = (),
    authority: bool = False,
    client: bool = False,
) -> x509.Certificate:
    """What RFC 5280 wants of a certificate, so that strict clients find no other fault."""
    now = datetime.now(UTC)
    transports = isinstance(key, rsa.RSAPrivateKey)
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=authority, crl_sign=authority,
        content_commitment=False, key_encipherment=transports, data_encipherment=False,
        key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    public = key.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + when[0])
        .not_valid_after(now + when[1])
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if dns:
        builder = builder.add_extension(x509.SubjectAlternativeName(dns), critical=False)
    if not authority:
        purpose = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    return builder.sign(signer, hashes.SHA256())
