"""NTLM (MS-NLMP), of version 2 only: a keyed digest of a fresh challenge proves the NT hash.

LM, NTLMv1 and NTLM2 session responses let anybody who sees one find the password in hours,
so they are refused, whatever they prove. No session key is agreed on, as nothing is signed
or sealed afterwards, and the peer's clock isn't looked at: the challenge is ours and new.
"""

from __future__ import annotations

import hmac
import re
import secrets
import struct
import time
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import md5

from restante.protocol.mechanisms import Channel
from restante.sasl.contract import (
    Exchange,
    MechanismContext,
    MechanismError,
    MechanismInfo,
    ask,
    credential_text,
)
from restante.sasl.md4 import nt_hash

SCHEMES = frozenset({"NT", "PLAIN"})

MAX_MESSAGE = 16 * 1024
"""Octets of a message. Those of Windows stay below one KiB; what a peer sends back of our
target information, and adds to it, never comes near."""

_SIGNATURE = b"NTLMSSP\0"
_NT_HASH = re.compile(r"[0-9A-Fa-f]{32}")
_MD5 = partial(md5, usedforsecurity=False)  # where policy bans MD5, NTLM was still asked for

# Flags (MS-NLMP §2.2.2.5)
_UNICODE = 0x00000001
_OEM = 0x00000002
_REQUEST_TARGET = 0x00000004
_NTLM = 0x00000200
_ANONYMOUS = 0x00000800
_TARGET_IS_SERVER = 0x00020000
_TARGET_INFO = 0x00800000
_ECHOED = 0xA2088000
"""Always sign, extended session security, 128 and 56 bits, on which some clients insist; and
version, without which some put the MIC elsewhere."""

# Attributes (MS-NLMP §2.2.2.1)
_END, _COMPUTER, _DOMAIN, _DNS_COMPUTER, _DNS_DOMAIN = range(5)
_FLAGS, _TIMESTAMP, _CHANNEL_BINDINGS = 6, 7, 10
_HAS_MIC = 0x2  # in the attribute of flags

_VERSION = b"\0\0\0\0\0\0\0\x0f"  # none in particular, but the revision that all have
_MIC = slice(72, 88)  # in the third message
_UNIX_EPOCH = 116_444_736_000_000_000  # in tenths of microseconds since 1601


@dataclass(frozen=True, slots=True)
class NtlmClaim:
    """A response to a challenge, keyed with the NT hash (MS-NLMP §3.3.2).

    identity: the name in upper case and the domain, as they go into the key.
    mic: the digest of all three `messages`, its own place zeroed; None when there is none.
    """

    name: str
    identity: bytes = field(repr=False)
    challenge: bytes = field(repr=False)
    response: bytes = field(repr=False)
    messages: bytes = field(default=b"", repr=False)
    mic: bytes | None = field(default=None, repr=False)
    mechanism: str = "NTLM"
    authzid: str = ""
    schemes: frozenset[str] = SCHEMES

    def holds_for(self, scheme: str, data: str) -> bool:
        # All is computed in any case, so that no time tells what is kept, and whether at all.
        hashed = nt_hash(data)
        sound = scheme != "NT" or _NT_HASH.fullmatch(data) is not None
        if scheme == "NT" and sound:
            hashed = bytes.fromhex(data)
        key = _hmac(hashed, self.identity)
        proof = _hmac(key, self.challenge + self.response[16:])
        mic = _hmac(_hmac(key, proof), self.messages)
        proven = hmac.compare_digest(proof, self.response[:16])
        whole = hmac.compare_digest(mic, mic if self.mic is None else self.mic)
        if not sound:
            raise ValueError("not an NT hash")
        return proven and whole


def ntlm(context: MechanismContext, initial: bytes | None) -> Exchange:
    """Three messages: what the peer can do, our challenge, its response.

    The account is the user name's, exactly as the peer gives it: `user`, or `user@domain`.
    The domain of `DOMAIN\\user` comes beside it and only goes into the digest.
    """
    negotiate = initial if initial is not None else (yield from ask(b""))
    nonce = secrets.token_bytes(8)
    flags = _agreed(negotiate)
    challenge = _challenge(flags, nonce, context.hostname)
    authenticate = yield from ask(challenge)
    fields, attributes, payload = _opened(authenticate)
    _check_binding(attributes, context.channel)
    user, domain = (_text(fields[at], flags) for at in (3, 2))
    identity = (_upper(user) + domain).encode("utf-16-le")
    claim = NtlmClaim(credential_text(user.encode()), identity, nonce, fields[1])
    if not int.from_bytes(attributes.get(_FLAGS, b""), "little") & _HAS_MIC:
        return claim
    if payload < _MIC.stop:
        raise _malformed()
    zeroed = authenticate[: _MIC.start] + bytes(16) + authenticate[_MIC.stop :]
    return replace(claim, messages=negotiate + challenge + zeroed, mic=authenticate[_MIC])


NTLM = MechanismInfo("NTLM", ntlm, schemes=SCHEMES)


def _malformed() -> MechanismError:
    return MechanismError("malformed response: not a sound NTLM message")


def _agreed(negotiate: bytes) -> int:
    """The flags of the challenge, by what the peer offers (MS-NLMP §2.2.1.1)."""
    _check_message(negotiate, 1, 16)
    offered: int = struct.unpack_from("<I", negotiate, 12)[0]
    charset = offered & _UNICODE or offered & _OEM
    if not charset or not offered & _NTLM:
        raise _malformed()
    return charset | _REQUEST_TARGET | _NTLM | _TARGET_IS_SERVER | _TARGET_INFO | offered & _ECHOED


def _challenge(flags: int, nonce: bytes, hostname: str) -> bytes:
    """The second message (MS-NLMP §2.2.1.2)."""
    label, _, domain = hostname.partition(".")
    short = label.upper()[:15]  # as long as a NetBIOS name can be
    target = short.encode("utf-16-le") if flags & _UNICODE else short.encode("ascii", "replace")
    now = time.time_ns() // 100 + _UNIX_EPOCH
    attributes = {
        _DOMAIN: short.encode("utf-16-le"),
        _COMPUTER: short.encode("utf-16-le"),
        _DNS_DOMAIN: domain.encode("utf-16-le"),
        _DNS_COMPUTER: hostname.encode("utf-16-le"),
        _TIMESTAMP: struct.pack("<Q", now),  # a peer that finds it sends a MIC
        _END: b"",
    }
    info = b"".join(struct.pack("<HH", kind, len(v)) + v for kind, v in attributes.items())
    start = 56
    head = _SIGNATURE + struct.pack("<IHHI", 2, len(target), len(target), start)
    head += struct.pack("<I8s8x", flags, nonce)
    head += struct.pack("<HHI", len(info), len(info), start + len(target))
    return head + _VERSION + target + info


def _opened(authenticate: bytes) -> tuple[list[bytes], dict[int, bytes], int]:
    """Of the third message: its six fields, its attributes, and where the fields begin.

    Raises MechanismError when it isn't NTLMv2's, or not sound (MS-NLMP §2.2.1.3).
    """
    _check_message(authenticate, 3, 64)
    fields = []
    payload = len(authenticate)
    for length, _, start in struct.iter_unpack("<HHI", authenticate[12:60]):
        if length and not 64 <= start <= len(authenticate) - length:
            raise _malformed()
        fields.append(authenticate[start : start + length])
        payload = min(payload, start) if length else payload
    _, response, _, user, _, _ = fields
    flags = struct.unpack_from("<I", authenticate, 60)[0]
    if flags & _ANONYMOUS or not user:
        raise MechanismError("anonymous login is not available")
    if len(response) <= 24:  # octets of an NTLMv1 response
        raise MechanismError("only version 2 of NTLM is available")
    if response[16:18] != b"\1\1":
        raise _malformed()
    return fields, _attributes(response[44:]), payload


def _check_message(message: bytes, kind: int, shortest: int) -> None:
    if not shortest <= len(message) <= MAX_MESSAGE:
        raise _malformed()
    if message[:12] != _SIGNATURE + struct.pack("<I", kind):
        raise _malformed()


def _attributes(data: bytes) -> dict[int, bytes]:
    """The attributes that the peer has signed. Raises MechanismError."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(data):
        kind, length = struct.unpack_from("<HH", data, at)
        at += 4 + length
        if kind in found or at > len(data):
            break
        if kind == _END:
            return found
        found[kind] = data[at - length : at]
    raise _malformed()


def _check_binding(attributes: dict[int, bytes], channel: Channel) -> None:
    """Refuse a peer that speaks TLS with somebody else (RFC 5929 §4, MS-NLMP §3.1.5.1.2).

    One that names no channel is content with any.
    """
    named = attributes.get(_CHANNEL_BINDINGS, b"")
    if not any(named):
        return
    certificate = channel.binding("tls-server-end-point")
    if certificate is not None:
        octets = b"tls-server-end-point:" + certificate
        # gss_channel_bindings_struct without addresses (RFC 2744 §3.11)
        ours = _MD5(struct.pack("<16xI", len(octets)) + octets).digest()
        if hmac.compare_digest(ours, named):
            return
    raise MechanismError("channel binding does not match")


def _text(octets: bytes, flags: int) -> str:
    """A name, in the character set that was agreed on; as OEM's, UTF-8 is expected."""
    try:
        return octets.decode("utf-16-le" if flags & _UNICODE else "utf-8")
    except UnicodeDecodeError:
        raise _malformed() from None


def _upper(name: str) -> str:
    """In upper case as Windows has it: no letter becomes two."""
    return "".join(upper if len(upper := letter.upper()) == 1 else letter for letter in name)


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, _MD5).digest()
