"""The PROXY protocol's header: what a proxy says of the client it passes on.

Both versions of HAProxy's proxy-protocol.txt, sans-IO. Whoever reads does this:

    data = b""
    while wanted := missing(data):
        data += read(wanted)    # no more: what follows the header is the client's
    header = parse(data)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Any, TypeAlias

MAX_V1 = 107
"""Octets of a header in version 1, its line end included (section 2.1)."""

MAX_V2 = 4096
"""Octets of a header in version 2. It may have 65,551; proxies send addresses, the names
of a cipher and a certificate, and 128 octets of an id."""

MAX_UNIQUE_ID = 128
"""Octets of the id that a proxy gives a connection (section 2.2.5)."""

_SIGNATURE_V1 = b"PROXY "
_SIGNATURE_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED_V2 = len(_SIGNATURE_V2) + 4
_ADDRESS_V2 = {0x00: 0, 0x11: 12, 0x21: 36, 0x31: 216}
"""Octets of the addresses by family: none known, IPv4, IPv6, Unix; all of them streams."""

_ALPN, _AUTHORITY, _CRC32C, _UNIQUE_ID, _SSL = 0x01, 0x02, 0x03, 0x05, 0x20
_SSL_VERSION, _SSL_CN, _SSL_CIPHER = 0x21, 0x22, 0x23
_KNOWN = frozenset({_ALPN, _AUTHORITY, _CRC32C, _UNIQUE_ID, _SSL})
_KNOWN_OF_SSL = frozenset({_SSL_VERSION, _SSL_CN, _SSL_CIPHER})
_CLIENT_SSL, _CLIENT_CERTIFICATE = 0x01, 0x06

Address: TypeAlias = tuple[str, int]


class ProxyError(Exception):
    """This is no header of the PROXY protocol, or it isn't for us."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a proxy says of a connection.

    local: the proxy speaks for itself (a health check): the connection's own addresses hold.
    source, destination: the client's host and port, and those it connected to. None when the
        proxy can't tell, so that nobody knows who the client is, and when it is `local`.
    tls: the client speaks TLS with the proxy. tls_version, cipher: as the proxy calls them.
    client_verified: the client gave the proxy a certificate that has been verified.
    common_name: that certificate's; "" without a verified one.
    authority: the host name that the client asked for (SNI).
    alpn, unique_id: as sent.
    """

    local: bool = False
    source: Address | None = None
    destination: Address | None = None
    tls: bool = False
    tls_version: str = ""
    cipher: str = ""
    client_verified: bool = False
    common_name: str = ""
    authority: str = ""
    alpn: bytes = b""
    unique_id: bytes = b""


def missing(data: bytes) -> int:
    """Octets that certainly are still to come of the header that `data` begins; 0 at its end.

    Raises ProxyError as soon as `data` can't become a header.
    """
    if data.startswith(_SIGNATURE_V1):
        return _missing_v1(data)
    if data.startswith(_SIGNATURE_V2):
        return _missing_v2(data)
    if _SIGNATURE_V1.startswith(data) or _SIGNATURE_V2.startswith(data):
        # No header is shorter than this signature.
        return len(_SIGNATURE_V2) - len(data)
    raise ProxyError("no header of the PROXY protocol")


def parse(data: bytes) -> Header:
    """A whole header, and nothing but that. Raises ProxyError."""
    if missing(data):
        raise ProxyError("header is incomplete")
    if data.startswith(_SIGNATURE_V1):
        return _parse_v1(data)
    return _parse_v2(data)


def _missing_v1(data: bytes) -> int:
    if data.endswith(b"\r\n") and len(data) <= MAX_V1:
        return 0
    if b"\n" in data or len(data) >= MAX_V1:
        raise ProxyError("version 1: line without a proper end")
    if len(data) < len(_SIGNATURE_V2):
        return len(_SIGNATURE_V2) - len(data)
    if data.endswith(b"\r"):
        return 1
    # A blank and a character for each field to come, then the line's end.
    fields = 5 - data.count(b" ") if data.startswith(b"PROXY TCP") else 0
    return min(2 * max(fields, 0) + 2, MAX_V1 - len(data))


def _parse_v1(data: bytes) -> Header:
    line = data[:-2]
    if b"\r" in line or b"\n" in line:
        raise ProxyError("version 1: line without a proper end")
    words = line.split(b" ")
    if words[1] == b"UNKNOWN":  # whatever follows (section 2.1)
        return Header()
    if words[1] not in (b"TCP4", b"TCP6") or len(words) != 6:
        raise ProxyError("version 1: malformed line")
    _, family, source, destination, source_port, destination_port = words
    return Header(
        source=(_host_v1(family, source), _port_v1(source_port)),
        destination=(_host_v1(family, destination), _port_v1(destination_port)),
    )


def _host_v1(family: bytes, word: bytes) -> str:
    try:
        if family == b"TCP4":
            return str(IPv4Address(word.decode("ascii")))
        address = IPv6Address(word.decode("ascii"))
    except (AddressValueError, UnicodeDecodeError):
        raise ProxyError("version 1: malformed address") from None
    if address.scope_id is not None:
        raise ProxyError("version 1: malformed address")
    return _host_v6(address)


def _host_v6(address: IPv6Address) -> str:
    """One client, one name: an IPv4 address is never shown as an IPv6 one."""
    return str(address.ipv4_mapped or address)


def _port_v1(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or (word[:1] == b"0" and word != b"0"):
        raise ProxyError("version 1: malformed port")
    port = int(word)
    if port > 65535:
        raise ProxyError("version 1: malformed port")
    return port


def _missing_v2(data: bytes) -> int:
    if len(data) < _FIXED_V2:
        return _FIXED_V2 - len(data)
    if data[12] not in (0x20, 0x21):
        raise ProxyError("version 2: unknown version or command")
    size = _FIXED_V2 + int.from_bytes(data[14:16], "big")
    if size > MAX_V2:
        raise ProxyError(f"version 2: header of {size} octets, allowed are {MAX_V2}")
    if len(data) > size:
        raise ProxyError("version 2: more than a header")
    return size - len(data)


def _parse_v2(data: bytes) -> Header:
    if data[12] == 0x20:  # LOCAL: the rest says nothing (section 2.2)
        return Header(local=True)
    family = data[13]
    if family not in _ADDRESS_V2:
        raise ProxyError("version 2: unknown family, or no stream")
    if family == 0x00:
        return Header()  # where addresses end is unknown here, so nothing more is
    end = _FIXED_V2 + _ADDRESS_V2[family]
    if len(data) < end:
        raise ProxyError("version 2: no room for the addresses")
    facts = _facts(data, end)
    if family != 0x31:
        facts["source"], facts["destination"] = _addresses_v2(data[_FIXED_V2:end])
    return Header(**facts)


def _addresses_v2(data: bytes) -> tuple[Address, Address]:
    octets = (len(data) - 4) // 2
    hosts = [
        str(IPv4Address(each)) if octets == 4 else _host_v6(IPv6Address(each))
        for each in (data[:octets], data[octets : 2 * octets])
    ]
    ports = [int.from_bytes(each, "big") for each in (data[-4:-2], data[-2:])]
    return (hosts[0], ports[0]), (hosts[1], ports[1])


def _facts(data: bytes, start: int) -> dict[str, Any]:
    """The `Header` fields that type-length-value vectors say, from `start` to the end."""
    found: dict[int, bytes] = {}
    for kind, at, value in _vectors(data, start):
        if kind in _KNOWN:
            _add(found, kind, value)
        if kind == _CRC32C:
            _check_crc(data, at, value)
    if len(found.get(_UNIQUE_ID, b"")) > MAX_UNIQUE_ID:
        raise ProxyError(f"version 2: id of more than {MAX_UNIQUE_ID} octets")
    facts = _facts_of_tls(found[_SSL]) if _SSL in found else {}
    facts["authority"] = _text(found.get(_AUTHORITY, b""))
    facts["alpn"] = found.get(_ALPN, b"")
    facts["unique_id"] = found.get(_UNIQUE_ID, b"")
    return facts


def _facts_of_tls(data: bytes) -> dict[str, Any]:
    """PP2_TYPE_SSL: a set of bits, the result of verification, and vectors (section 2.2.6)."""
    if len(data) < 5:
        raise ProxyError("version 2: malformed facts of TLS")
    if not data[0] & _CLIENT_SSL:
        return {}
    # Some proxies report success for a certificate that nobody gave.
    verified = bool(data[0] & _CLIENT_CERTIFICATE) and not any(data[1:5])
    found: dict[int, bytes] = {}
    for kind, _, value in _vectors(data, 5):
        if kind in _KNOWN_OF_SSL:
            _add(found, kind, value)
    return {
        "tls": True,
        "tls_version": _text(found.get(_SSL_VERSION, b"")),
        "cipher": _text(found.get(_SSL_CIPHER, b"")),
        "client_verified": verified,
        "common_name": _text(found.get(_SSL_CN, b"")) if verified else "",
    }


def _vectors(data: bytes, at: int) -> Iterator[tuple[int, int, bytes]]:
    """Type, position of the value, and value of each vector from `at` to the end."""
    while at < len(data):
        start = at + 3
        at = start + int.from_bytes(data[start - 2 : start], "big")
        if start > len(data) or at > len(data):
            raise ProxyError("version 2: truncated vector")
        yield data[start - 3], start, data[start:at]


def _add(found: dict[int, bytes], kind: int, value: bytes) -> None:
    if kind in found:
        raise ProxyError(f"version 2: type {kind:#04x} comes twice")
    found[kind] = value


def _text(value: bytes) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise ProxyError("version 2: text is not UTF-8") from None
    if not text.isprintable():
        raise ProxyError("version 2: control characters in a text")
    return text


def _check_crc(data: bytes, at: int, value: bytes) -> None:
    """The checksum is of the header with zeros in the checksum's place (section 2.2.3)."""
    if len(value) != 4 or crc32c(data[:at] + bytes(4) + data[at + 4 :]) != int.from_bytes(value):
        raise ProxyError("version 2: wrong checksum")


def crc32c(data: bytes) -> int:
    """Castagnoli's CRC (RFC 9260 appendix A), which `zlib` doesn't have."""
    table = _crc_table()
    crc = 0xFFFFFFFF
    for octet in data:
        crc = crc >> 8 ^ table[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFFFFFF


@cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for octet in range(256):
        crc = octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)
