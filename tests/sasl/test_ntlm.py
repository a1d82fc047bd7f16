"""NTLM: what the server makes of a peer's messages, and what it holds against a hash."""

from __future__ import annotations

import hmac
import secrets
import struct
from dataclasses import dataclass
from hashlib import md5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.mechanisms import Channel, MechanismContext, NoChannel
from restante.sasl.contract import MAX_PART, Challenge, Exchange, MechanismError
from restante.sasl.md4 import nt_hash
from restante.sasl.ntlm import MAX_MESSAGE, NTLM, NtlmClaim

UNICODE, OEM, NTLM_FLAG, ANONYMOUS, VERSION = 0x1, 0x2, 0x200, 0x800, 0x02000000
USUAL = 0xA2888205
PASSWORD = "Pässwort"
TARGET_INFO = 0x00800000
BINDING = b"the certificate's hash"


class Tls(NoChannel):
    def binding(self, kind: str) -> bytes | None:
        return BINDING if kind == "tls-server-end-point" else None


class TlsWithoutBinding(NoChannel):
    """As for certificates that RFC 5929 knows no hash for."""


def hmac_md5(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, md5).digest()


def binding_hash(octets: bytes) -> bytes:
    prefixed = b"tls-server-end-point:" + octets
    return md5(bytes(16) + struct.pack("<I", len(prefixed)) + prefixed).digest()


def negotiate(flags: int = USUAL) -> bytes:
    return b"NTLMSSP\0" + struct.pack("<II", 1, flags) + bytes(16)


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("<HH", kind, len(value)) + value


def field_of(message: bytes, at: int) -> bytes:
    length, _, start = struct.unpack_from("<HHI", message, at)
    return message[start : start + length]


@dataclass
class Peer:
    """A client of NTLMv2. mic: it sends one, as Windows does."""

    user: str = "joe"
    domain: str = "Domain"
    password: str = PASSWORD
    mic: bool = True
    flags: int = USUAL
    extra: bytes = b""
    upper: str = ""

    def authenticate(self, challenge: bytes) -> bytes:
        agreed = struct.unpack_from("<I", challenge, 20)[0]
        charset = "utf-16-le" if agreed & UNICODE else "utf-8"
        info = field_of(challenge, 40)[:-4] + self.extra
        if self.mic:
            info += attribute(6, struct.pack("<I", 2))
        blob = b"\1\1" + bytes(14) + secrets.token_bytes(8) + bytes(4) + info + bytes(8)
        identity = (self.upper or self.user.upper()) + self.domain
        key = hmac_md5(nt_hash(self.password), identity.encode("utf-16-le"))
        proof = hmac_md5(key, challenge[24:32] + blob)
        message = third_message(
            proof + blob, self.domain.encode(charset), self.user.encode(charset), flags=agreed
        )
        if not self.mic:
            return message
        session_key = hmac_md5(key, proof)
        mic = hmac_md5(session_key, negotiate(self.flags) + challenge + message)
        return message[:72] + mic + message[88:]


def third_message(
    response: bytes, domain: bytes, user: bytes, *, flags: int = USUAL, start: int = 88
) -> bytes:
    head, payload = b"NTLMSSP\0\3\0\0\0", b""
    for part in (bytes(24), response, domain, user, b"", b""):
        head += struct.pack("<HHI", len(part), len(part), start + len(payload))
        payload += part
    return head + struct.pack("<I", flags) + bytes(start - 64) + payload


def begin(
    flags: int = USUAL, channel: Channel | None = None, hostname: str = "mail.example.org"
) -> tuple[Exchange, bytes]:
    """An exchange up to the server's challenge."""
    exchange = NTLM.begin(MechanismContext(hostname, channel or NoChannel()), negotiate(flags))
    challenge = next(exchange)
    assert isinstance(challenge, Challenge)
    return exchange, challenge.data


def end(exchange: Exchange, response: bytes) -> NtlmClaim:
    with pytest.raises(StopIteration) as stop:
        exchange.send(response)
    claim = stop.value.value
    assert isinstance(claim, NtlmClaim)
    return claim


def outcome(exchange: Exchange, response: bytes) -> NtlmClaim | str:
    """The claim, or the text of the refusal. Anything else fails the test."""
    try:
        exchange.send(response)
    except MechanismError as error:
        return str(error)
    except StopIteration as stop:
        claim = stop.value
    assert isinstance(claim, NtlmClaim)
    return claim


def log_in(peer: Peer, channel: Channel | None = None) -> NtlmClaim:
    exchange, challenge = begin(peer.flags, channel)
    return end(exchange, peer.authenticate(challenge))


def proves(claim: NtlmClaim, password: str = PASSWORD) -> bool:
    """Whether the proof holds, asked of both schemes, which must agree."""
    answers = {
        claim.holds_for("PLAIN", password),
        claim.holds_for("NT", nt_hash(password).hex()),
        claim.holds_for("NT", nt_hash(password).hex().upper()),
    }
    assert len(answers) == 1
    return answers.pop()


# What the server says


def test_without_an_initial_response_the_first_challenge_is_empty() -> None:
    exchange = NTLM.begin(MechanismContext("mail.example.org"), None)
    assert next(exchange) == Challenge(b"")
    challenge = exchange.send(negotiate())
    assert isinstance(challenge, Challenge)
    assert challenge.data.startswith(b"NTLMSSP\0\2\0\0\0")


def test_the_challenge_names_the_server_and_is_new_each_time() -> None:
    challenges = [begin()[1] for _ in range(50)]
    assert len({challenge[24:32] for challenge in challenges}) == 50
    info = field_of(challenges[0], 40)
    assert attribute(3, "mail.example.org".encode("utf-16-le")) in info
    assert attribute(1, "MAIL".encode("utf-16-le")) in info
    assert b"\7\0\10\0" in info  # the time, which makes Windows send a MIC
    assert info.endswith(bytes(4))
    assert field_of(challenges[0], 12) == "MAIL".encode("utf-16-le")


@pytest.mark.parametrize(
    ("offered", "agreed", "target"),
    [
        (UNICODE | OEM | NTLM_FLAG, UNICODE, "MAIL".encode("utf-16-le")),
        (OEM | NTLM_FLAG, OEM, b"MAIL"),
    ],
)
def test_unicode_when_it_is_offered(offered: int, agreed: int, target: bytes) -> None:
    _, challenge = begin(offered)
    flags = struct.unpack_from("<I", challenge, 20)[0]
    assert flags & (UNICODE | OEM) == agreed
    assert flags & NTLM_FLAG
    assert flags & TARGET_INFO
    assert field_of(challenge, 12) == target


def test_nothing_is_promised_that_is_not_done() -> None:
    """Signing, sealing, session keys and LM keys, whatever is offered."""
    _, challenge = begin(0xFFFFFFFF)
    assert struct.unpack_from("<I", challenge, 20)[0] & 0x400000F0 == 0


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_any_hostname_makes_a_challenge(hostname: str) -> None:
    for flags in (USUAL, OEM | NTLM_FLAG):
        exchange, challenge = begin(flags, hostname=hostname)
        peer = Peer(flags=flags)
        assert proves(end(exchange, peer.authenticate(challenge)))


# What proves a password


@pytest.mark.parametrize("mic", [True, False])
@pytest.mark.parametrize("domain", ["", "Domain", "Ünternehmen"])
@pytest.mark.parametrize("user", ["joe", "Joe", "joe@example.org", "zoë", "straße", "J 𝒥"])
def test_a_right_password_is_proven_and_a_wrong_one_is_not(
    user: str, domain: str, mic: bool
) -> None:
    upper = user.upper() if "ß" not in user else "STRAßE"  # as Windows has it
    claim = log_in(Peer(user, domain, mic=mic, upper=upper))
    assert (claim.name, claim.mechanism, claim.authzid) == (user, "NTLM", "")
    assert (claim.mic is not None) == mic
    assert proves(claim)
    assert not proves(claim, "Pässwort ")
    assert not proves(claim, "")


def test_oem() -> None:
    """curl offers no UNICODE; what it sends for a name is UTF-8."""
    claim = log_in(Peer("zoë", flags=OEM | NTLM_FLAG, mic=False))
    assert claim.name == "zoë"
    assert proves(claim)


def test_the_example_of_the_specification(monkeypatch: pytest.MonkeyPatch) -> None:
    """MS-NLMP §4.2.4: its challenge, its AUTHENTICATE_MESSAGE, its password."""
    monkeypatch.setattr(secrets, "token_bytes", lambda size: bytes.fromhex("0123456789abcdef"))
    exchange, _ = begin(0xE2888233)
    message = bytes.fromhex(
        "4e544c4d53535000030000001800180 06c00000054005400840000000c000c00"
        "48000000080008005400000010001000 5c00000010001000d8000000358288e2"
        "0501280a0000000f44006f006d006100 69006e00550073006500720043004f00"
        "4d005000550054004500520086c35097 ac9cec102554764a57cccc19aaaaaaaa"
        "aaaaaaaa68cd0ab851e51c96aabc927b ebef6a1c010100000000000000000000"
        "00000000aaaaaaaaaaaaaaaa00000000 02000c0044006f006d00610069006e00"
        "01000c00530065007200760065007200 0000000000000000c5dad2544fc97990"
        "94ce1ce90bc9d03e".replace(" ", "")
    )
    claim = end(exchange, message)
    assert claim.name == "User"
    assert claim.identity == "USERDomain".encode("utf-16-le")
    assert claim.response[:16].hex() == "68cd0ab851e51c96aabc927bebef6a1c"
    assert proves(claim, "Password")
    assert not proves(claim, "password")


def test_the_domain_and_the_name_are_proven_too() -> None:
    exchange, challenge = begin()
    message = Peer(mic=False).authenticate(challenge)
    for name in ("joe", "Domain"):
        octets = name.encode("utf-16-le")
        changed = message.replace(octets, octets[:-2] + b"x\0")
        assert changed != message
        again, _ = begin()
        claim = end(again, changed)
        assert not proves(claim)
    exchange.close()


@pytest.mark.parametrize("data", ["", "00", "g" * 32, "0" * 33, " " + "0" * 31, "0" * 31 + "\n"])
def test_a_damaged_hash_is_said_to_be_damaged(data: str) -> None:
    with pytest.raises(ValueError, match="not an NT hash"):
        log_in(Peer()).holds_for("NT", data)


def test_a_claim_keeps_what_it_was_given_to_itself() -> None:
    assert repr(log_in(Peer())) == (
        f"NtlmClaim(name='joe', mechanism='NTLM', authzid='', schemes={frozenset({'NT', 'PLAIN'})})"
    )


def test_what_announcing_must_know() -> None:
    assert NTLM.name == "NTLM"
    assert not NTLM.plaintext
    for held, offered in [({"NT"}, True), ({"PLAIN"}, True), ({"ARGON2ID"}, False)]:
        assert NTLM.is_offered(False, NoChannel(), frozenset(held)) is offered


# What is refused


def test_a_replayed_response_proves_nothing() -> None:
    exchange, challenge = begin()
    message = Peer().authenticate(challenge)
    assert proves(end(exchange, message))
    assert not proves(end(begin()[0], message))


@given(st.data())
def test_with_a_mic_no_octet_can_be_changed(data: st.DataObject) -> None:
    exchange, challenge = begin()
    message = bytearray(Peer().authenticate(challenge))
    at = data.draw(st.integers(0, len(message) - 1))
    message[at] ^= data.draw(st.integers(1, 255))
    claim = outcome(exchange, bytes(message))
    assert isinstance(claim, str) or not proves(claim)


def test_with_a_mic_the_first_two_messages_are_proven_too() -> None:
    exchange = NTLM.begin(MechanismContext("mail.example.org"), negotiate(USUAL & ~VERSION))
    challenge = next(exchange)
    assert isinstance(challenge, Challenge)
    assert not proves(end(exchange, Peer(flags=USUAL).authenticate(challenge.data)))


def test_a_mic_that_was_promised_must_be_there() -> None:
    exchange, challenge = begin()
    peer = Peer(mic=False, extra=attribute(6, struct.pack("<I", 2)))
    message = peer.authenticate(challenge)
    assert not proves(end(exchange, message))  # in its place there are zeros
    exchange, _ = begin()
    response, user = field_of(message, 20), "joe".encode("utf-16-le")
    with pytest.raises(MechanismError, match=r"^malformed response: not a sound NTLM message$"):
        exchange.send(third_message(response, b"", user, start=72))


@pytest.mark.parametrize(
    "response", [b"", bytes(24), b"x" * 24, b"\1\1" + bytes(14)], ids=["none", "v1", "v1x", "short"]
)
def test_only_version_2_is_taken(response: bytes) -> None:
    """LM and NTLMv1, and NTLM2 session, whose responses have 24 octets."""
    exchange, _ = begin()
    with pytest.raises(MechanismError, match=r"^only version 2 of NTLM is available$"):
        exchange.send(third_message(response, b"", "joe".encode("utf-16-le")))


@pytest.mark.parametrize(
    ("user", "flags"), [(b"", USUAL), (b"j\0o\0e\0", USUAL | ANONYMOUS), (b"", USUAL | ANONYMOUS)]
)
@pytest.mark.parametrize("response", [b"", bytes(24), bytes(100)])
def test_nobody_is_anonymous(user: bytes, flags: int, response: bytes) -> None:
    exchange, _ = begin()
    with pytest.raises(MechanismError, match=r"^anonymous login is not available$"):
        exchange.send(third_message(response, b"", user, flags=flags))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"NTLMSSP\0",
        negotiate()[:15],
        negotiate().replace(b"SSP\0", b"SSPX"),
        b"NTLMSSP\0\2" + negotiate()[9:],
        negotiate(USUAL & ~UNICODE),
        negotiate(USUAL & ~NTLM_FLAG),
        negotiate() + bytes(MAX_MESSAGE),
    ],
)
def test_malformed_first_messages(message: bytes) -> None:
    exchange = NTLM.begin(MechanismContext("mail.example.org"), message)
    with pytest.raises(MechanismError, match=r"^malformed response: not a sound NTLM message$"):
        next(exchange)


def damaged(message: bytes) -> list[bytes]:
    """Third messages with one thing wrong with each."""
    response, user = field_of(message, 20), "joe".encode("utf-16-le")
    blob = response[16:]
    broken = [
        message[:63],
        b"NTLMSSP\0\1" + message[9:],
        b"X" + message[1:],
        message[:-1],
        message + bytes(MAX_MESSAGE),
    ]
    for at in (12, 20, 28, 36):
        length = message[at : at + 2]
        for start in (0, 63, len(message), 0xFFFFFFFF):
            broken.append(message[: at + 4] + struct.pack("<I", start) + message[at + 8 :])
        too_long = struct.pack("<H", struct.unpack("<H", length)[0] + 0x7000)
        broken.append(message[:at] + too_long + message[at + 2 :])
    for changed in (
        b"\2\1" + blob[2:],
        b"\1\2" + blob[2:],
        blob[:28],
        blob[:30],
        blob[:28] + attribute(2, b"x"),
        blob[:28] + attribute(2, b"x") * 2 + bytes(4),
        blob[:28] + struct.pack("<HH", 2, 100) + bytes(4),
        blob[:28] + struct.pack("<HH", 0, 1),
    ):
        broken.append(third_message(response[:16] + changed, b"", user))
    broken.append(third_message(response, b"\0\xd8", user))
    broken.append(third_message(response, b"", b"\0\xd8"))
    broken.append(third_message(response, b"", b"joe"))
    return broken


def test_malformed_third_messages() -> None:
    for message in damaged(Peer(mic=False).authenticate(begin()[1])):
        exchange, _ = begin()
        with pytest.raises(MechanismError, match=r"^malformed response: not a sound NTLM message$"):
            exchange.send(message)


@pytest.mark.parametrize("user", ["jo\0e", "joe\r\n", "\n", "x" * (MAX_PART + 1)])
def test_names_that_could_break_something_are_refused(user: str) -> None:
    """A2"""
    exchange, challenge = begin()
    with pytest.raises(MechanismError, match=r"^malformed response: .*name or password"):
        exchange.send(Peer(user).authenticate(challenge))


# Channel bindings


def test_a_channel_binding_is_checked_when_there_is_one() -> None:
    right = attribute(10, binding_hash(BINDING))
    none = attribute(10, bytes(16))
    for extra in (right, none, b""):
        assert proves(log_in(Peer(extra=extra), Tls()))
    assert proves(log_in(Peer(extra=none)))


@pytest.mark.parametrize(
    ("extra", "channel"),
    [
        (attribute(10, binding_hash(b"another's")), Tls()),
        (attribute(10, binding_hash(BINDING)[:15]), Tls()),
        (attribute(10, binding_hash(BINDING)), NoChannel()),
        (attribute(10, binding_hash(BINDING)), TlsWithoutBinding()),
    ],
)
def test_a_wrong_channel_binding_is_refused(extra: bytes, channel: Channel) -> None:
    """A peer that sees another certificate speaks with somebody in the middle."""
    exchange, challenge = begin(channel=channel)
    with pytest.raises(MechanismError, match=r"^channel binding does not match$"):
        exchange.send(Peer(extra=extra).authenticate(challenge))


# Whatever comes


@given(st.binary(max_size=200), st.booleans())
def test_any_first_message(octets: bytes, signed: bool) -> None:
    message = b"NTLMSSP\0\1\0\0\0" + octets if signed else octets
    try:
        challenge = next(NTLM.begin(MechanismContext("mail.example.org"), message))
    except MechanismError:
        return
    assert isinstance(challenge, Challenge)
    assert len(challenge.data) < 512


@given(st.binary(max_size=300), st.sampled_from([USUAL, OEM | NTLM_FLAG]))
def test_any_third_message(octets: bytes, flags: int) -> None:
    for message in (octets, b"NTLMSSP\0\3\0\0\0" + octets):
        assert isinstance(outcome(begin(flags)[0], message), str)


@given(st.binary(max_size=300), st.binary(max_size=40), st.binary(max_size=40), st.booleans())
def test_any_fields(response: bytes, domain: bytes, user: bytes, oem: bool) -> None:
    flags = OEM | NTLM_FLAG if oem else USUAL
    claim = outcome(begin(flags)[0], third_message(response, domain, user))
    assert isinstance(claim, str) or not proves(claim)


@given(st.binary(max_size=200))
def test_any_attributes(octets: bytes) -> None:
    response = bytes(16) + b"\1\1" + bytes(26) + octets
    claim = outcome(begin()[0], third_message(response, b"", "joe".encode("utf-16-le")))
    assert isinstance(claim, str) or not proves(claim)
