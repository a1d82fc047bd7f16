"""A certificate to try things out with: signed by itself, trusted by nobody."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from restante.app.files import make_private_folder, write_file

DAYS = 365
_COMMON_NAME = 64  # characters, RFC 5280 appendix A.1 (ub-common-name)


def make_certificate(
    certificate: Path,
    key: Path,
    names: Sequence[str] = ("localhost",),
    *,
    days: float = DAYS,
    replace: bool = False,
) -> None:
    """Write an ECDSA P-256 certificate for `names` and this machine's own addresses.

    names: host names and IP addresses; 127.0.0.1 and ::1 are always added.
    Raises FileExistsError, before anything is written, when a file is there and isn't to
    be replaced; ValueError for what can't be a name.
    """
    for path in (certificate, key):
        if path.exists() and not replace:
            raise FileExistsError(f"{path} exists")
        make_private_folder(path.parent)
    private = ec.generate_private_key(ec.SECP256R1())
    signed = _sign(private, _alternatives(names), days)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_file(key, pem, mode=0o600, replace=replace)
    write_file(certificate, signed.public_bytes(Encoding.PEM), mode=0o644, replace=replace)


def _alternatives(names: Sequence[str]) -> list[x509.GeneralName]:
    found: dict[str, x509.GeneralName] = {}
    for name in (*names, "127.0.0.1", "::1"):
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            found[_dns_name(name)] = x509.DNSName(_dns_name(name))
        else:
            found[str(address)] = x509.IPAddress(address)
    return list(found.values())


def _dns_name(name: str) -> str:
    star, dot, rest = name.partition(".")
    prefix, host = ("*.", rest) if star == "*" and dot else ("", name)
    try:
        encoded = host.encode("idna").decode("ascii").lower()
    except UnicodeError:
        encoded = ""
    if not encoded:
        raise ValueError(f"{name!r} is neither a host name nor an IP address")
    return prefix + encoded


def _sign(
    key: ec.EllipticCurvePrivateKey, names: list[x509.GeneralName], days: float
) -> x509.Certificate:
    first = str(names[0].value)[:_COMMON_NAME]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, first)])
    now = datetime.now(UTC)
    usage = x509.KeyUsage(
        digital_signature=True, key_cert_sign=True,
        content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))  # clocks differ
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        # Its own authority, so that a client can be told to trust just this one.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
