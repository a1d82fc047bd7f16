"""The PROXY protocol's header, held against the specification and another implementation."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from socket import SOCK_STREAM

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from proxyprotocol.result import ProxyResult, ProxyResultIPv4, ProxyResultIPv6, ProxyResultUnix
from proxyprotocol.tlv import ProxyProtocolSSLTLV, ProxyProtocolTLV
from proxyprotocol.v1 import ProxyProtocolV1
from proxyprotocol.v2 import ProxyProtocolV2

from restante.server.listen.proxy_protocol import (
    MAX_V1,
    MAX_V2,
    Header,
    ProxyError,
    crc32c,
    missing,
    parse,
)

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
IPV4 = bytes([192, 0, 2, 7, 198, 51, 100, 1]) + struct.pack("!HH", 51423, 110)
IPV6 = IPv6Address("2001:db8::7").packed + IPv6Address("2001:db8::1").packed + IPV4[8:]
UNIX = b"/run/client".ljust(108, b"\0") + b"/run/proxy".ljust(108, b"\0")


def v2(body: bytes, family: int = 0x11, command: int = 0x21) -> bytes:
    return SIGNATURE + bytes([command, family]) + struct.pack("!H", len(body)) + body


def vector(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def of_tls(client: int, verify: int, *vectors: bytes) -> bytes:
    return vector(0x20, struct.pack("!BL", client, verify) + b"".join(vectors))


def with_crc(header: bytes) -> bytes:
    """The header with a checksum at its end."""
    longer = v2(header[16:] + vector(0x03, bytes(4)), header[13], header[12])
    return longer[:-4] + struct.pack("!L", crc32c(longer))


def read(stream: bytes) -> tuple[Header, bytes]:
    """Read as a server does; the header, and what is left for the client's protocol."""
    taken = 0
    while wanted := missing(stream[:taken]):
        if taken == len(stream):
            raise EOFError
        taken = min(taken + wanted, len(stream))
    return parse(stream[:taken]), stream[taken:]


# Version 1


@pytest.mark.parametrize(
    ("line", "source", "destination"),
    [
        (
            "TCP4 192.0.2.7 198.51.100.1 51423 110",
            ("192.0.2.7", 51423),
            ("198.51.100.1", 110),
        ),
        ("TCP4 0.0.0.0 0.0.0.0 0 0", ("0.0.0.0", 0), ("0.0.0.0", 0)),
        ("TCP4 1.1.1.1 1.1.1.1 1 1", ("1.1.1.1", 1), ("1.1.1.1", 1)),
        ("TCP6 2001:DB8::7 ::1 65535 995", ("2001:db8::7", 65535), ("::1", 995)),
        ("TCP6 :: :: 1 1", ("::", 1), ("::", 1)),
        (
            "TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
            " ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535",
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535),
        ),
        ("TCP6 ::ffff:192.0.2.7 ::1 1 2", ("192.0.2.7", 1), ("::1", 2)),
        ("UNKNOWN", None, None),
        ("UNKNOWN and whatever follows it", None, None),
        ("UNKNOWN " + "f" * 91, None, None),
    ],
)
def test_version_1(
    line: str, source: tuple[str, int] | None, destination: tuple[str, int] | None
) -> None:
    wire = f"PROXY {line}\r\n".encode()
    assert len(wire) <= MAX_V1
    expected = Header(source=source, destination=destination)
    assert read(wire + b"USER joe\r\n") == (expected, b"USER joe\r\n")


@pytest.mark.parametrize(
    "wire",
    [
        b"USER joe\r\n",
        b"proxy TCP4 192.0.2.7 198.51.100.1 51423 110\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 51423 110\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 51423\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 51423 110 \r\n",
        b"PROXY TCP4  192.0.2.7 198.51.100.1 51423 110\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 51423 110\r\r\n",
        b"PROXY TCP4 192.0.2.007 198.51.100.1 51423 110\r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.1 51423 110\r\n",
        b"PROXY TCP4 2001:db8::7 ::1 51423 110\r\n",
        b"PROXY TCP4 localhost 198.51.100.1 51423 110\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 110\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 110\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 +1 110\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 01 110\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 1_0 110\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 \xb2 110\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1  110\r\n",
        b"PROXY TCP6 192.0.2.7 198.51.100.1 51423 110\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 51423 110\r\n",
        b"PROXY TCP6 \xff::1 ::1 51423 110\r\n",
        b"PROXY UDP4 192.0.2.7 198.51.100.1 51423 110\r\n",
        b"PROXY UNKNOWNS\r\n",
        b"PROXY UNKNOWN a\nb\r\n",
        b"PROXY UNKNOWN a\rb\r\n",
        b"PROXY \r\nUSER joe\r\n",
        b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n",
        b"PROXY TCP4 " + b"1" * 200,
        b"PROXY" * 10,
    ],
)
def test_version_1_malformed(wire: bytes) -> None:
    with pytest.raises(ProxyError):
        read(wire)


@pytest.mark.parametrize(
    "wire", [b"", b"P", b"PROXY", b"PROXY TCP4 192.0.2.7 198.51.100.1 51423 110\r", SIGNATURE]
)
def test_half_a_header_is_none(wire: bytes) -> None:
    assert missing(wire)
    with pytest.raises(ProxyError):
        parse(wire)


# Version 2


def test_version_2_addresses() -> None:
    ipv4 = Header(source=("192.0.2.7", 51423), destination=("198.51.100.1", 110))
    assert read(v2(IPV4) + b"CAPA\r\n") == (ipv4, b"CAPA\r\n")
    ipv6 = Header(source=("2001:db8::7", 51423), destination=("2001:db8::1", 110))
    assert read(v2(IPV6, 0x21)) == (ipv6, b"")
    mapped = IPv6Address("::ffff:192.0.2.7").packed + IPV6[16:]
    assert parse(v2(mapped, 0x21)).source == ("192.0.2.7", 51423)
    assert parse(v2(UNIX, 0x31)) == Header()
    assert parse(v2(b"", 0x00)) == Header()
    assert parse(v2(b"whatever", 0x00)) == Header()


@pytest.mark.parametrize("family", [0x00, 0x11, 0x12, 0xFF])
@pytest.mark.parametrize("body", [b"", IPV4, b"\xff" * 7])
def test_a_health_check_says_nothing_else(family: int, body: bytes) -> None:
    assert read(v2(body, family, 0x20) + b"QUIT\r\n") == (Header(local=True), b"QUIT\r\n")


def test_facts_of_tls() -> None:
    vectors = (
        vector(0x21, b"TLSv1.3"),
        vector(0x22, "jörg@example.org".encode()),
        vector(0x23, b"TLS_AES_256_GCM_SHA384"),
        vector(0x24, b"SHA256"),
        vector(0x25, b"EC256"),
    )
    header = parse(
        v2(
            IPV4
            + vector(0x01, b"pop3")
            + vector(0x02, b"pop.example.org")
            + vector(0x04, bytes(9))
            + vector(0x04, b"")
            + vector(0x05, b"id-1")
            + of_tls(0x03, 0, *vectors)
            + vector(0xE0, b"somebody's own")
        )
    )
    assert header == Header(
        source=("192.0.2.7", 51423),
        destination=("198.51.100.1", 110),
        tls=True,
        tls_version="TLSv1.3",
        cipher="TLS_AES_256_GCM_SHA384",
        client_verified=True,
        common_name="jörg@example.org",
        authority="pop.example.org",
        alpn=b"pop3",
        unique_id=b"id-1",
    )


@pytest.mark.parametrize(
    ("client", "verify", "tls", "verified"),
    [
        (0x01, 0, True, False),  # no certificate, though nothing went wrong with it
        (0x03, 0, True, True),
        (0x05, 0, True, True),  # given when the resumed TLS session began
        (0x03, 1, True, False),
        (0x03, 0x01000000, True, False),
        (0x06, 0, False, False),  # a certificate without TLS is nonsense
        (0x00, 0, False, False),
    ],
)
def test_only_a_certificate_that_was_given_and_verified_counts(
    client: int, verify: int, tls: bool, verified: bool
) -> None:
    header = parse(v2(IPV4 + of_tls(client, verify, vector(0x22, b"joe"))))
    assert (header.tls, header.client_verified) == (tls, verified)
    assert header.common_name == ("joe" if verified else "")


def test_checksum() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # the customary check value
    right = with_crc(v2(IPV4 + vector(0x02, b"pop.example.org")))
    assert parse(right).authority == "pop.example.org"
    kind = len(right) - 7  # another kind of vector is no checksum
    for at in set(range(16, len(right))) - {kind}:
        wrong = bytearray(right)
        wrong[at] ^= 0x40
        with pytest.raises(ProxyError):
            parse(bytes(wrong))
    with pytest.raises(ProxyError, match="checksum"):
        parse(v2(IPV4 + vector(0x03, b"\0\0\0")))


@pytest.mark.parametrize(
    "wire",
    [
        v2(IPV4[:-1]),
        v2(IPV4, 0x21),
        v2(IPV6, 0x31),
        v2(IPV4, 0x12),
        v2(IPV4, 0x10),
        v2(IPV4, 0x41),
        v2(IPV4, command=0x22),
        v2(IPV4, command=0x11),
        v2(IPV4 + b"\x01"),
        v2(IPV4 + b"\x01\x00"),
        v2(IPV4 + b"\x01\x00\x05abcd"),
        v2(IPV4 + vector(0x02, b"\xff")),
        v2(IPV4 + vector(0x02, b"a\r\nb")),
        v2(IPV4 + 2 * vector(0x02, b"a")),
        v2(IPV4 + vector(0x05, b"x" * 129)),
        v2(IPV4 + vector(0x20, b"\x01\x00\x00\x00")),
        v2(IPV4 + 2 * of_tls(1, 0)),
        v2(IPV4 + of_tls(1, 0, b"\x22\x00")),
        v2(IPV4 + of_tls(3, 0, vector(0x22, b"joe"), vector(0x22, b"root"))),
        v2(IPV4 + of_tls(3, 0, vector(0x22, b"joe\0"))),
        v2(IPV4 + vector(0x04, bytes(MAX_V2))),
        SIGNATURE[:-1] + b"\r" + v2(IPV4)[12:],
    ],
)
def test_version_2_malformed(wire: bytes) -> None:
    with pytest.raises(ProxyError):
        read(wire)


def test_the_largest_header() -> None:
    room = MAX_V2 - 16 - len(IPV4) - 3
    assert len(v2(IPV4 + vector(0x04, bytes(room)))) == MAX_V2
    assert read(v2(IPV4 + vector(0x04, bytes(room))))[0].source == ("192.0.2.7", 51423)
    with pytest.raises(ProxyError, match="allowed are"):
        missing(v2(IPV4 + vector(0x04, bytes(room + 1)))[:16])


def test_a_header_and_more_is_no_header() -> None:
    for wire in (v2(IPV4), b"PROXY UNKNOWN\r\n"):
        with pytest.raises(ProxyError):
            parse(wire + b"X")


# Properties

addresses = st.one_of(
    st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)),
    st.tuples(st.ip_addresses(v=6), st.ip_addresses(v=6)),
)
ports = st.integers(0, 65535)
texts = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), max_size=60)
ascii_texts = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=30)


@st.composite
def results(draw: st.DrawFn) -> ProxyResult:
    """What the other implementation packs."""
    tlv = ProxyProtocolTLV(
        alpn=draw(st.binary(max_size=10)),
        authority=draw(texts),
        unique_id=draw(st.binary(max_size=128)),
        ssl=ProxyProtocolSSLTLV(
            has_ssl=draw(st.booleans()),
            has_cert_conn=draw(st.booleans()),
            has_cert_sess=draw(st.booleans()),
            verified=draw(st.booleans()),
            version=draw(ascii_texts),
            cn=draw(texts),
            cipher=draw(ascii_texts),
        ),
        auto_crc32c=True,
    )
    source, destination = draw(addresses)
    one, two = draw(ports), draw(ports)
    if isinstance(source, IPv4Address):
        assert isinstance(destination, IPv4Address)
        return ProxyResultIPv4((source, one), (destination, two), protocol=SOCK_STREAM, tlv=tlv)
    if draw(st.integers(0, 4)) == 0:
        return ProxyResultUnix("/a", "/b", protocol=SOCK_STREAM, tlv=tlv)
    assert isinstance(source, IPv6Address)
    assert isinstance(destination, IPv6Address)
    return ProxyResultIPv6((source, one), (destination, two), protocol=SOCK_STREAM, tlv=tlv)


def host(address: IPv4Address | IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def expected_of(result: ProxyResult, *, facts: bool) -> Header:
    """The header that this result stands for."""
    ends: list[tuple[str, int] | None] = [None, None]
    if isinstance(result, ProxyResultIPv4 | ProxyResultIPv6):
        ends = [(host(each[0]), each[1]) for each in (result.source, result.dest)]
    if not facts:
        return Header(source=ends[0], destination=ends[1])
    tls = result.tlv.ssl
    verified = tls.has_ssl and tls.verified and (tls.has_cert_conn or tls.has_cert_sess)
    return Header(
        source=ends[0],
        destination=ends[1],
        tls=tls.has_ssl,
        tls_version=(tls.version if tls.has_ssl else "") or "",
        cipher=(tls.cipher if tls.has_ssl else "") or "",
        client_verified=verified,
        common_name=(tls.cn if verified else "") or "",
        authority=result.tlv.authority or "",
        alpn=result.tlv.alpn or b"",
        unique_id=result.tlv.unique_id,
    )


@given(results(), st.binary(max_size=40))
def test_another_implementation_s_headers(result: ProxyResult, payload: bytes) -> None:
    wire = ProxyProtocolV2().pack(result)
    # Theirs leaves the checksum out where the package for it isn't installed; ours is checked.
    for each in (wire, with_crc(wire) if b"\x03\x00\x04" not in wire else wire):
        assert read(each + payload) == (expected_of(result, facts=True), payload)
    if isinstance(result, ProxyResultIPv4 | ProxyResultIPv6):
        wire = ProxyProtocolV1().pack(result)
        assert read(wire + payload) == (expected_of(result, facts=False), payload)


@given(addresses, ports, ports)
def test_another_implementation_understands_the_same(
    ends: tuple[IPv4Address | IPv6Address, ...], one: int, two: int
) -> None:
    kind = "TCP4" if isinstance(ends[0], IPv4Address) else "TCP6"
    line = f"PROXY {kind} {ends[0]} {ends[1]} {one} {two}\r\n".encode()
    result = ProxyProtocolV1().unpack(line)
    assert parse(line) == expected_of(result, facts=False)


@given(
    st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=300).map(lambda tail: b"PROXY " + tail),
        st.binary(max_size=300).map(lambda tail: b"PROXY TCP4 " + tail),
        st.binary(max_size=300).map(lambda tail: SIGNATURE + tail),
        st.builds(
            v2,
            st.binary(max_size=300),
            st.sampled_from([0x00, 0x11, 0x21, 0x31]),
            st.sampled_from([0x20, 0x21]),
        ),
        st.binary(max_size=300).map(lambda tail: v2(IPV4 + of_tls(7, 0, tail))),
        st.binary(max_size=300).map(lambda tail: v2(IPV4 + tail)),
    )
)
@example(b"")
@example(b"PROXY \r\n")
def test_whatever_comes_is_a_header_or_refused(stream: bytes) -> None:
    try:
        header, rest = read(stream)
    except (ProxyError, EOFError):
        return
    assert stream.endswith(rest)
    assert isinstance(header, Header)
    assert not header.common_name or header.client_verified
    assert not header.client_verified or header.tls
    assert header.source is None or not header.local


@given(st.one_of(st.just(v2(IPV4)), st.just(b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n")), st.data())
def test_however_it_is_cut_nothing_of_the_client_s_is_read(
    wire: bytes, data: st.DataObject
) -> None:
    taken = b""
    while wanted := missing(taken):
        assert wanted <= len(wire) - len(taken)
        taken = wire[: len(taken) + data.draw(st.integers(1, wanted))]
    assert taken == wire
