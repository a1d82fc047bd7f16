"""LDAP messages as bytes (RFC 4511), without I/O: those needed for a search and a bind.

Also filters (RFC 4515), and values put into filters and names.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

MAX_MESSAGE = 1024 * 1024
"""Octets of one message: some attributes of a person, none of them a photograph."""

BIND_RESPONSE, SEARCH_ENTRY, SEARCH_DONE, SEARCH_REFERENCE = 0x61, 0x64, 0x65, 0x73
EXTENDED_RESPONSE = 0x78

SUCCESS, SIZE_LIMIT_EXCEEDED, NO_SUCH_OBJECT = 0, 4, 32
INAPPROPRIATE_AUTHENTICATION, INVALID_CREDENTIALS = 48, 49

SCOPES = {"base": 0, "onelevel": 1, "subtree": 2}

_INTEGER, _OCTETS, _ENUMERATED, _BOOLEAN, _SEQUENCE = 0x02, 0x04, 0x0A, 0x01, 0x30
_CONTROLS, _REFERRAL = 0xA0, 0xA3
_BIND, _UNBIND, _SEARCH, _EXTENDED = 0x60, 0x42, 0x63, 0x77
_START_TLS = b"1.3.6.1.4.1.1466.20037"
_PASSWORD_POLICY = b"1.3.6.1.4.1.42.2.27.8.5.1"


class WireError(ValueError):
    """The octets are no LDAP message, or one that wasn't expected."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its id, which operation it is, and what that holds."""

    id: int
    tag: int
    content: bytes = field(repr=False)
    controls: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry that was found. attributes: values by lower-case name."""

    dn: str
    attributes: dict[str, tuple[bytes, ...]] = field(repr=False)


def bind_request(dn: str, password: str) -> bytes:
    """A simple bind, asking for what the directory's password policy has to say.

    Raises ValueError without a DN or a password: such a bind "succeeds" and proves
    nothing (RFC 4513 §5.1.2).
    """
    secret = password.encode("utf-8", "surrogateescape")
    if not dn or not secret:
        raise ValueError("a bind needs a DN and a password")
    asked = _node(_SEQUENCE, _node(_OCTETS, _PASSWORD_POLICY))
    who = _number(_INTEGER, 3) + _text(dn) + _node(0x80, secret)
    return _node(_BIND, who) + _node(_CONTROLS, asked)


def unbind_request() -> bytes:
    """The end of a connection."""
    return _node(_UNBIND, b"")


def start_tls_request() -> bytes:
    """StartTLS (RFC 4511 §4.14)."""
    return _node(_EXTENDED, _node(0x80, _START_TLS))


def search_request(
    base: str,
    scope: str,
    filter_octets: bytes,
    attributes: Sequence[str],
    *,
    limit: int,
    seconds: int,
) -> bytes:
    """A search for at most `limit` entries that takes at most `seconds` (RFC 4511 §4.5.1)."""
    return _node(
        _SEARCH,
        _text(base)
        + _number(_ENUMERATED, SCOPES[scope])
        + _number(_ENUMERATED, 0)  # aliases aren't followed
        + _number(_INTEGER, limit)
        + _number(_INTEGER, seconds)
        + _node(_BOOLEAN, b"\0")
        + filter_octets
        + _node(_SEQUENCE, b"".join(map(_text, attributes))),
    )


def message(number: int, request: bytes) -> bytes:
    """A request as it goes on the wire, with the id that its answers will bear."""
    return _node(_SEQUENCE, _number(_INTEGER, number) + request)


def take_message(buffer: bytearray) -> Message | None:
    """Take the first message out of `buffer`; None when it isn't whole yet. Raises WireError."""
    try:
        start, end = _extent(buffer, 0, MAX_MESSAGE)
    except IndexError:
        return None
    if buffer[0] != _SEQUENCE:
        raise WireError("not an LDAP message")
    if len(buffer) < end:
        return None
    parts = _nodes(bytes(buffer[start:end]))
    del buffer[:end]
    if len(parts) < 2 or parts[0][0] != _INTEGER:
        raise WireError("not an LDAP message")
    controls = b"".join(content for tag, content in parts[2:] if tag == _CONTROLS)
    return Message(_integer(parts[0][1]), *parts[1], controls)


def result_of(answer: Message) -> tuple[int, str]:
    """Result code and diagnostic message of an answer (RFC 4511 §4.1.9). Raises WireError."""
    parts = _nodes(answer.content)
    if [tag for tag, _ in parts[:3]] != [_ENUMERATED, _OCTETS, _OCTETS]:
        raise WireError("not an LDAP result")
    code = _integer(parts[0][1])
    if code == SUCCESS and any(tag == _REFERRAL for tag, _ in parts[3:]):
        raise WireError("success elsewhere")
    return code, parts[2][1].decode("utf-8", "replace")


def entry_of(answer: Message) -> Entry:
    """The entry in an answer to a search. Raises WireError."""
    parts = _nodes(answer.content)
    if [tag for tag, _ in parts] != [_OCTETS, _SEQUENCE]:
        raise WireError("not an LDAP entry")
    attributes = {}
    for _, content in _nodes(parts[1][1]):
        description = _nodes(content)
        if len(description) != 2:
            raise WireError("not an LDAP attribute")
        name = _decoded(description[0][1]).lower()
        attributes[name] = tuple(value for _, value in _nodes(description[1][1]))
    return Entry(_decoded(parts[0][1]), attributes)


POLICY_ERRORS = (
    *("password expired", "account locked", "password must be changed"),
    *("password may not be changed", "old password wanted", "password too weak"),
    *("password too short", "password too young", "password used before"),
)


def policy_of(answer: Message) -> str:
    """Why the directory's password policy refuses a bind; "" if it doesn't.

    A grace login is what an expired password is given to be changed by, so it counts as
    expired. Raises WireError.
    """
    for tag, content in _nodes(_control(answer, _PASSWORD_POLICY)):
        if tag == 0x81:
            error = _integer(content)
            return POLICY_ERRORS[error] if 0 <= error < len(POLICY_ERRORS) else "password policy"
        if tag == 0xA0 and content[:1] == b"\x81":
            return POLICY_ERRORS[0]
    return ""


def _control(answer: Message, oid: bytes) -> bytes:
    """What the sequence in the control of that name holds; nothing if there is none."""
    for _, control in _nodes(answer.controls):
        parts = _nodes(control)
        if len(parts) > 1 and parts[0] == (_OCTETS, oid) and parts[-1][0] == _OCTETS:
            return b"".join(content for _, content in _nodes(parts[-1][1]))
    return b""


# Text that becomes part of a filter or a name

_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._@")


def escaped(value: str) -> str:
    """`value` as it may stand in a filter (RFC 4515 §3) and in a DN (RFC 4514 §2.4) alike.

    Both take any octet as a backslash and two digits, so all but the plainest are.
    """
    octets = value.encode("utf-8", "surrogateescape")
    return "".join(chr(each) if each in _SAFE else f"\\{each:02x}" for each in octets)


_ITEM = re.compile(
    r"(?P<name>[A-Za-z0-9.;-]*)(?P<dn>:dn)?(?::(?P<rule>[A-Za-z0-9.-]+))?"
    r"(?P<kind>:=|~=|>=|<=|=)(?P<value>[^()]*)"
)
_KINDS = {"=": 0xA3, ">=": 0xA5, "<=": 0xA6, "~=": 0xA8}
_LISTS = {"&": 0xA0, "|": 0xA1, "!": 0xA2}


def compile_filter(text: str) -> bytes:
    """A filter in its text form (RFC 4515), as a search sends it. Raises ValueError."""
    octets, end = _filter(text, 0)
    if end != len(text):
        raise ValueError(f"LDAP filter: {text[end : end + 20]!r} follows its end")
    return octets


def _filter(text: str, at: int) -> tuple[bytes, int]:
    if text[at : at + 1] != "(":
        raise ValueError(f"LDAP filter: '(' expected at {text[at : at + 20]!r}")
    kind = _LISTS.get(text[at + 1 : at + 2])
    if kind is None:
        end = text.find(")", at)
        octets = _item(text[at + 1 : end if end >= 0 else len(text)])
    else:
        parts, end = [], at + 2
        while text[end : end + 1] == "(":
            part, end = _filter(text, end)
            parts.append(part)
        if not parts or (kind == _LISTS["!"] and len(parts) > 1):
            raise ValueError(f"LDAP filter: parts missing or too many at {text[at : at + 20]!r}")
        octets = _node(kind, b"".join(parts))
    if end < 0 or text[end : end + 1] != ")":
        raise ValueError(f"LDAP filter: ')' missing at {text[at : at + 20]!r}")
    return octets, end + 1


def _item(text: str) -> bytes:
    found = _ITEM.fullmatch(text)
    if found is None:
        raise ValueError(f"LDAP filter: {text[:40]!r} is no comparison")
    name, dn, rule, kind, value = found.group("name", "dn", "rule", "kind", "value")
    if kind == ":=":
        return _extensible(name, rule or "", value, bool(dn))
    if not name or dn or rule:
        raise ValueError(f"LDAP filter: {text[:40]!r} is no comparison")
    if kind != "=" or "*" not in value:
        return _node(_KINDS[kind], _text(name) + _node(_OCTETS, _value(value)))
    if value == "*":
        return _node(0x87, name.encode())
    return _node(0xA4, _text(name) + _node(_SEQUENCE, _pieces(value)))


def _extensible(name: str, rule: str, value: str, dn: bool) -> bytes:
    if not name and not rule:
        raise ValueError("LDAP filter: ':=' needs an attribute or a rule")
    octets = _node(0x81, rule.encode()) if rule else b""
    octets += _node(0x82, name.encode()) if name else b""
    octets += _node(0x83, _value(value))
    return _node(0xA9, octets + (_node(0x84, b"\xff") if dn else b""))


def _pieces(value: str) -> bytes:
    """The parts of `value` between asterisks: an initial one, any, and a final one."""
    first, *middle, last = map(_value, value.split("*"))
    octets = _node(0x80, first) if first else b""
    octets += b"".join(_node(0x81, piece) for piece in middle if piece)
    return octets + (_node(0x82, last) if last else b"")


def _value(text: str) -> bytes:
    if re.search(r"\\(?![0-9A-Fa-f]{2})", text):
        raise ValueError("LDAP filter: a backslash must be followed by two hexadecimal digits")
    octets = text.encode("utf-8", "surrogateescape")
    return re.sub(rb"\\(..)", lambda found: bytes.fromhex(found[1].decode()), octets)


# BER, as far as LDAP has it: definite lengths, tags of one octet (RFC 4511 §5.1)


def _node(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def _text(text: str) -> bytes:
    return _node(_OCTETS, text.encode("utf-8", "surrogateescape"))


def _number(tag: int, number: int) -> bytes:
    return _node(tag, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def _extent(octets: bytes | bytearray, at: int, limit: int) -> tuple[int, int]:
    """Where the content of the node at `at` begins and ends. IndexError: its head isn't whole."""
    size, start = octets[at + 1], at + 2
    if size >= 0x80:
        count = size & 0x7F
        if not 1 <= count <= 4:
            raise WireError("length of an indefinite or unreasonable form")
        octets[start + count - 1]  # all there?
        size, start = int.from_bytes(octets[start : start + count], "big"), start + count
    if size > limit:
        raise WireError("too long")
    return start, start + size


def _nodes(octets: bytes) -> list[tuple[int, bytes]]:
    """Tag and content of each node that `octets` consist of. Raises WireError."""
    nodes, at = [], 0
    while at < len(octets):
        try:
            start, end = _extent(octets, at, len(octets))
        except IndexError:
            raise WireError("cut short") from None
        if end > len(octets):
            raise WireError("cut short")
        nodes.append((octets[at], octets[start:end]))
        at = end
    return nodes


def _integer(octets: bytes) -> int:
    if not 1 <= len(octets) <= 4:
        raise WireError("integer too long")
    return int.from_bytes(octets, "big", signed=True)


def _decoded(octets: bytes) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        raise WireError("not UTF-8") from None
