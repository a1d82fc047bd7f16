"""What must be read from a certificate itself, because Python's `ssl` doesn't tell it."""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

_PEM = re.compile(r"-----BEGIN ((?:X509 |TRUSTED )?CERTIFICATE)-----.+?-----END \1-----", re.DOTALL)

_SEQUENCE, _OCTETS, _OID, _UTF8 = 0x30, 0x04, 0x06, 0x0C
_UTC_TIME = 0x17
_TAGGED_0, _TAGGED_3 = 0xA0, 0xA3

# Object identifiers, as their octets.
_RSA = bytes.fromhex("2a864886f70d0101")
_RSA_PSS = _RSA + b"\x0a"
_ECDSA = bytes.fromhex("2a8648ce3d04")
_SHA_2 = bytes.fromhex("6086480165030402")
_ALTERNATIVE_NAMES = bytes.fromhex("551d11")
_PRINCIPAL_NAME = bytes.fromhex("2b060104018237140203")

_SIGNATURE_HASHES = {
    _RSA + b"\x04": "sha256",  # MD5 and SHA-1, which are not to be used (RFC 5929 §4.1)
    _RSA + b"\x05": "sha256",
    _RSA + b"\x0b": "sha256",
    _RSA + b"\x0c": "sha384",
    _RSA + b"\x0d": "sha512",
    _RSA + b"\x0e": "sha224",
    _ECDSA + b"\x01": "sha256",
    _ECDSA + b"\x03\x01": "sha224",
    _ECDSA + b"\x03\x02": "sha256",
    _ECDSA + b"\x03\x03": "sha384",
    _ECDSA + b"\x03\x04": "sha512",
}
_PSS_HASHES = {
    _SHA_2 + b"\x01": "sha256",
    _SHA_2 + b"\x02": "sha384",
    _SHA_2 + b"\x03": "sha512",
    _SHA_2 + b"\x04": "sha224",
}


def first_certificate(pem: str) -> bytes | None:
    """The first certificate in a chain's file, DER: the one that is a server's own.

    None if there is none, or it comes with what OpenSSL calls trust settings.
    """
    found = _PEM.search(pem)
    if found is None or found[1] != "CERTIFICATE":
        return None
    try:
        return ssl.PEM_cert_to_DER_cert(found[0])
    except ValueError:
        return None


def end_point(certificate: bytes) -> bytes | None:
    """The channel binding `tls-server-end-point` of a certificate, DER (RFC 5929 §4.1).

    None when its signature has no hash of its own (Ed25519), or one that isn't known here.
    """
    try:
        name = _signature_hash(certificate)
    except ValueError:
        return None
    return hashlib.new(name, certificate).digest() if name is not None else None


def expires(certificate: bytes) -> float:
    """When a certificate, DER, expires, in seconds since 1970; 0.0 if that can't be read."""
    try:
        signed = _first(_content(certificate, _SEQUENCE), _SEQUENCE)
        # RFC 5280 §4.1: version (which may be missing), number, algorithm, issuer, validity
        parts = [each for each in _elements(signed) if each[0] != _TAGGED_0]
        tag, text = list(_elements(parts[3][1]))[1]
        form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
        at = datetime.strptime(text.decode("ascii"), form).replace(tzinfo=UTC)
    except (ValueError, IndexError):
        return 0.0
    return at.timestamp()


def principal_names(certificate: bytes) -> list[str]:
    """The user principal names (UPN) among a certificate's alternative names.

    None of them when the certificate is damaged: it is one that OpenSSL has verified.
    """
    try:
        return list(_principal_names(certificate))
    except ValueError:
        return []


def _signature_hash(certificate: bytes) -> str | None:
    _signed, algorithm, *_ = _elements(_content(certificate, _SEQUENCE))
    oid, *parameters = _elements(algorithm[1])
    if oid[1] != _RSA_PSS:
        return _SIGNATURE_HASHES.get(oid[1])
    # RFC 4055 §3.1: the hash is the parameter [0]; left out, it is SHA-1.
    for tag, content in _elements(parameters[0][1]) if parameters else ():
        if tag == _TAGGED_0:
            return _PSS_HASHES.get(_first(_content(content, _SEQUENCE), _OID))
    return "sha256"


def _principal_names(certificate: bytes) -> Iterator[str]:
    for tag, general in _elements(_alternative_names(certificate)):
        if tag != _TAGGED_0:  # otherName: an identifier, and what that says it is
            continue
        oid, value, *_ = _elements(general)
        if oid == (_OID, _PRINCIPAL_NAME) and value[0] == _TAGGED_0:
            yield _content(value[1], _UTF8).decode()


def _alternative_names(certificate: bytes) -> bytes:
    """The content of subjectAltName (RFC 5280 §4.2.1.6); nothing if there is none."""
    signed = _first(_content(certificate, _SEQUENCE), _SEQUENCE)
    for tag, tagged in _elements(signed):
        if tag != _TAGGED_3:
            continue
        for _, extension in _elements(_content(tagged, _SEQUENCE)):
            oid, *_, value = _elements(extension)
            if oid == (_OID, _ALTERNATIVE_NAMES) and value[0] == _OCTETS:
                return _content(value[1], _SEQUENCE)
    return b""


def _content(der: bytes, tag: int) -> bytes:
    """The content of the only element, which has this tag."""
    (element,) = _elements(der)
    if element[0] != tag:
        raise ValueError("another element than expected")
    return element[1]


def _first(der: bytes, tag: int) -> bytes:
    """The content of the first element, which has this tag."""
    found, content = next(_elements(der), (None, b""))
    if found != tag:
        raise ValueError("another element than expected")
    return content


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements that stand one after the other: tag and content. Raises ValueError."""
    while der:
        if len(der) < 2:
            raise ValueError("cut short")
        start, size = 2, der[1]
        if size & 0x80:
            start += size & 0x7F
            size = int.from_bytes(der[2:start], "big")
        if start + size > len(der):
            raise ValueError("cut short")
        yield der[0], der[start : start + size]
        der = der[start + size :]
