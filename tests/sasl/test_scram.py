"""SCRAM: the exchange, what it accepts as proof, and what it refuses."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import subprocess
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient

from restante.protocol.claims import Claim, SecretClaim
from restante.protocol.effects import FindKeys
from restante.protocol.mechanisms import NO_CHANNEL, Channel, MechanismInfo
from restante.sasl import scram
from restante.sasl.contract import MAX_PART, Challenge, MechanismContext, MechanismError
from restante.sasl.scram import (
    SCRAM_SHA_1,
    SCRAM_SHA_1_PLUS,
    SCRAM_SHA_256,
    SCRAM_SHA_256_PLUS,
    ScramClaim,
    ScramKeys,
    make,
)
from tests.needs import need

ALL = (SCRAM_SHA_1, SCRAM_SHA_256, SCRAM_SHA_1_PLUS, SCRAM_SHA_256_PLUS)
BINDINGS = {"tls-exporter": b"e" * 32, "tls-server-end-point": b"p" * 32}
SECRET = "pencil"


@dataclass(frozen=True)
class Bound:
    """A channel with bindings."""

    bindings: dict[str, bytes] = field(default_factory=lambda: dict(BINDINGS))

    def binding_types(self) -> tuple[str, ...]:
        return tuple(self.bindings)

    def binding(self, kind: str) -> bytes | None:
        return self.bindings.get(kind)

    def names(self) -> tuple[str, ...]:
        return ()


class Server:
    """The server's side of an exchange; `keys` is what every name is found to have."""

    def __init__(
        self, info: MechanismInfo, keys: ScramKeys | None = None, channel: Channel = NO_CHANNEL
    ) -> None:
        self.hash = "sha1" if "SHA-1" in info.name else "sha256"
        self.keys = keys or make(self.hash, SECRET, iterations=64)
        self.asked: list[FindKeys] = []
        self._info = info
        plus = {f"SCRAM-SHA-{size}-PLUS" for size in (1, 256)} if channel.binding_types() else ()
        self._context = MechanismContext("mail.example.org", channel, frozenset(plus))
        self._exchange: Generator[Any, Any, Claim] | None = None

    def step(self, response: bytes | None) -> bytes | ScramClaim:
        """The challenge that a response leads to, or the claim."""
        try:
            if self._exchange is None:
                self._exchange = self._info.begin(self._context, response)
                outcome = self._exchange.send(None)
            else:
                outcome = self._exchange.send(response)
            while isinstance(outcome, FindKeys):
                self.asked.append(outcome)
                outcome = self._exchange.send(self.keys)
        except StopIteration as end:
            claim: ScramClaim = end.value
            return claim
        assert isinstance(outcome, Challenge)
        return outcome.data

    def challenge(self, response: bytes | None) -> bytes:
        outcome = self.step(response)
        assert isinstance(outcome, bytes)
        return outcome

    def claim(self, response: bytes) -> ScramClaim:
        outcome = self.step(response)
        assert isinstance(outcome, ScramClaim)
        return outcome


@dataclass
class Client:
    """The client's side, by the letter of RFC 5802, with every part to be meddled with."""

    hash: str
    password: str = SECRET
    gs2: bytes = b"n,,"
    binding: bytes = b""
    bare: bytes = b"n=user,r=clientnonce"
    extensions: bytes = b""
    server_key: bytes = b""
    message: bytes = b""

    def first(self) -> bytes:
        return self.gs2 + self.bare

    def final(self, server_first: bytes, *, nonce: bytes | None = None) -> bytes:
        found = re.fullmatch(rb"r=([!-~]+),s=([A-Za-z0-9+/=]+),i=([0-9]+)", server_first)
        assert found is not None
        salt, rounds = base64.b64decode(found[2]), int(found[3])
        salted = hashlib.pbkdf2_hmac(self.hash, self.password.encode(), salt, rounds)
        client_key = hmac.digest(salted, b"Client Key", self.hash)
        self.server_key = hmac.digest(salted, b"Server Key", self.hash)
        bound = base64.b64encode(self.gs2 + self.binding)
        unproven = b"c=" + bound + b",r=" + (nonce or found[1]) + self.extensions
        self.message = b",".join((self.bare, server_first, unproven))
        stored_key = hashlib.new(self.hash, client_key).digest()
        signature = hmac.digest(stored_key, self.message, self.hash)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        return unproven + b",p=" + base64.b64encode(proof)

    def verify(self, server_final: bytes) -> None:
        assert server_final == b"v=" + base64.b64encode(
            hmac.digest(self.server_key, self.message, self.hash)
        )


def channel_for(info: MechanismInfo) -> tuple[Channel, bytes, bytes]:
    """A channel, and the header and octets of a client that does the best it can there."""
    if info.binds:
        return Bound(), b"p=tls-exporter,,", BINDINGS["tls-exporter"]
    return NO_CHANNEL, b"n,,", b""


# Vectors


def test_rfc_5802_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scram, "_nonce", lambda: b"3rfcNHYJY1ZVvWVs7j")
    keys = make("sha1", "pencil", salt=base64.b64decode("QSXCR+Q6sek8bf92"), iterations=4096)
    server = Server(SCRAM_SHA_1, keys)
    assert server.challenge(b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL") == (
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096"
    )
    final = b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
    assert server.challenge(final) == b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ="
    assert server.claim(b"").name == "user"


def test_rfc_7677_example(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scram, "_nonce", lambda: b"%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    server = Server(SCRAM_SHA_256, make("sha256", "pencil", salt=salt, iterations=4096))
    nonce = b"rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    assert server.challenge(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO") == (
        b"r=" + nonce + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    final = b"c=biws,r=" + nonce + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    assert server.challenge(final) == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    assert server.claim(b"").proven


# The exchange


@pytest.mark.parametrize("info", ALL, ids=lambda info: info.name)
@pytest.mark.parametrize("asks", [False, True], ids=["initial", "challenged"])
def test_whoever_knows_the_password_is_believed(info: MechanismInfo, asks: bool) -> None:
    channel, gs2, binding = channel_for(info)
    server = Server(info, channel=channel)
    client = Client(server.hash, gs2=gs2, binding=binding)
    if asks:
        assert server.step(None) == b""
    client.verify(server.challenge(client.final(server.challenge(client.first()))))
    claim = server.claim(b"")
    assert isinstance(claim, SecretClaim)
    assert (claim.name, claim.authzid, claim.mechanism) == ("user", "", info.name)
    assert claim.schemes == info.schemes
    assert claim.proven
    assert claim.holds_for("PLAIN", SECRET)
    assert claim.holds_for(info.name.removesuffix("-PLUS"), server.keys.format())
    assert [(e.name, e.scheme) for e in server.asked] == [("user", claim.scheme)]


@pytest.mark.parametrize("info", ALL, ids=lambda info: info.name)
def test_whoever_does_not_gets_no_signature(info: MechanismInfo) -> None:
    channel, gs2, binding = channel_for(info)
    server = Server(info, channel=channel)
    client = Client(server.hash, "pencils", gs2=gs2, binding=binding)
    claim = server.claim(client.final(server.challenge(client.first())))
    assert not claim.proven
    # Not even against what the client did know: the exchange went by other keys.
    assert not claim.holds_for("PLAIN", "pencils")
    assert not claim.holds_for("PLAIN", SECRET)
    assert not claim.holds_for(claim.scheme, server.keys.format())


@pytest.mark.parametrize(
    ("info", "other"), [(SCRAM_SHA_256, SCRAM_SHA_1), (SCRAM_SHA_1, SCRAM_SHA_256)]
)
def test_a_proof_is_held_against_what_the_account_holds(
    info: MechanismInfo, other: MechanismInfo
) -> None:
    """The keys of the exchange are one thing, what the account has when it is decided another."""
    server = Server(info)
    client = Client(server.hash)
    server.challenge(client.final(server.challenge(client.first())))
    claim = server.claim(b"")
    changed = make(server.hash, "new", iterations=64).format()
    for keys in (server.keys, replace(server.keys, password=SECRET)):
        claim = replace(claim, keys=keys)
        assert claim.holds_for("PLAIN", SECRET)
        assert not claim.holds_for("PLAIN", "new")
        assert not claim.holds_for(claim.scheme, changed)
        assert not claim.holds_for("CRAM-MD5", SECRET)
        foreign = Server(other).keys.format()
        assert not claim.holds_for(other.name, foreign)
        assert not claim.holds_for(claim.scheme, foreign)
        with pytest.raises(ValueError, match="not the keys"):
            claim.holds_for(claim.scheme, "damaged")


def test_the_mechanisms_say_when_they_are_of_use() -> None:
    for info in ALL:
        scheme = info.name.removesuffix("-PLUS")
        assert info.schemes == frozenset({scheme, "PLAIN"})
        assert info.binds == info.name.endswith("-PLUS")
        assert not info.plaintext
    held = frozenset({"SCRAM-SHA-256"})
    assert SCRAM_SHA_256.is_offered(False, NO_CHANNEL, held)
    assert not SCRAM_SHA_1.is_offered(True, NO_CHANNEL, held)
    assert not SCRAM_SHA_256_PLUS.is_offered(True, NO_CHANNEL, held)
    assert SCRAM_SHA_256_PLUS.is_offered(True, Bound(), held)


def test_nonces_are_never_the_same() -> None:
    firsts = {Server(SCRAM_SHA_256).challenge(b"n,,n=user,r=x") for _ in range(50)}
    nonces = {first.split(b",")[0] for first in firsts}
    assert len(nonces) == 50
    assert all(len(nonce) >= len("r=x") + 24 for nonce in nonces)


def test_a_replayed_response_is_refused() -> None:
    """The server's part of the nonce is new each time."""
    keys = make("sha256", SECRET, iterations=64)
    client, first = Client("sha256"), Server(SCRAM_SHA_256, keys)
    final = client.final(first.challenge(client.first()))
    first.challenge(final)
    again = Server(SCRAM_SHA_256, keys)
    again.challenge(client.first())
    with pytest.raises(MechanismError, match="nonce"):
        again.step(final)


@pytest.mark.parametrize("nonce", [b"clientnonce", b"x", b"other" * 10])
def test_another_nonce_is_refused_though_the_proof_covers_it(nonce: bytes) -> None:
    server, client = Server(SCRAM_SHA_256), Client("sha256")
    final = client.final(server.challenge(client.first()), nonce=nonce)
    with pytest.raises(MechanismError, match="nonce"):
        server.step(final)


def test_the_last_response_must_be_empty() -> None:
    server, client = Server(SCRAM_SHA_256), Client("sha256")
    server.challenge(client.final(server.challenge(client.first())))
    with pytest.raises(MechanismError):
        server.step(b"and another thing")


# Names


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (b"joe", "joe"),
        (b"a=2Cb=3Dc", "a,b=c"),
        (b"=3D2C", "=2C"),
        ("Jürgen Ö".encode(), "Jürgen Ö"),
        (b"x" * MAX_PART, "x" * MAX_PART),
        (b"=2C" * MAX_PART, "," * MAX_PART),
    ],
)
def test_names_come_out_of_their_escapes(sent: bytes, meant: str) -> None:
    server = Server(SCRAM_SHA_256)
    client = Client("sha256", gs2=b"n,a=" + sent + b",", bare=b"n=" + sent + b",r=abc")
    server.challenge(client.final(server.challenge(client.first())))
    claim = server.claim(b"")
    assert (claim.name, claim.authzid) == (meant, meant)
    assert claim.proven


@pytest.mark.parametrize(
    "name",
    [b"", b"a=b", b"a=2cb", b"a=", b"a=3", b"a=3d", b"a\0b", b"a\r\nb", b"\xff", b"x" * 1025],
)
@pytest.mark.parametrize("where", [b"n,,n=%b,r=abc", b"n,a=%b,n=user,r=abc"])
def test_malformed_names_are_refused(where: bytes, name: bytes) -> None:
    """A2"""
    with pytest.raises(MechanismError):
        Server(SCRAM_SHA_256).step(where % name)


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"n",
        b"n,,",
        b"n=user,r=abc",
        b"n,n=user,r=abc",
        b"x,,n=user,r=abc",
        b"N,,n=user,r=abc",
        b"n,,n=user",
        b"n,,r=abc,n=user",
        b"n,,n=user,r=",
        b"n,,n=user,r=a b",
        b"n,,n=user,r=a\x7f",
        b"n,,n=user,r=" + b"x" * 257,
        b"n,,m=must,n=user,r=abc",
        b"n,,n=user,r=abc,m=must",
        b"n,,n=user,r=abc,",
        b"n,,n=user,r=abc,x",
        b"n,,n=user,r=abc,x=",
        b"n,b=user,n=user,r=abc",
        b"p=,,n=user,r=abc",
        b"p=tls exporter,,n=user,r=abc",
        b"n,,n=user,r=abc,x=" + b"y" * 8192,
        b"n,,n=" + b"=" * 60_000,
        b"\xff\xfe",
    ],
)
def test_malformed_first_messages_are_refused(first: bytes) -> None:
    for info in (SCRAM_SHA_256, SCRAM_SHA_256_PLUS):
        with pytest.raises(MechanismError) as caught:
            Server(info, channel=Bound()).step(first)
        assert str(caught.value).isascii()


def test_unknown_optional_extensions_are_passed_over() -> None:
    """RFC 5802 §7: and the proof covers them."""
    server = Server(SCRAM_SHA_256)
    client = Client("sha256", bare=b"n=user,r=abc,x=one,y=two=2", extensions=b",z=three")
    server.challenge(client.final(server.challenge(client.first())))
    assert server.claim(b"").proven


@pytest.mark.parametrize(
    "spoil",
    [
        lambda final: b"",
        lambda final: final + b",x=y",
        lambda final: final[:-1] + b"*",
        lambda final: final + b"=",
        lambda final: final.partition(b",p=")[0],
        lambda final: final.replace(b"c=biws", b"c=b"),
        lambda final: final.replace(b"c=biws,", b""),
        lambda final: final.replace(b",p=", b",m=must,p="),
        lambda final: final.replace(b",p=", b",p=AAAA,p="),
        lambda final: final.replace(b",p=", b",\0=a,p="),
        lambda final: b" " + final,
        lambda final: final + b"\n",
        lambda final: final + b"A" * 9000,
    ],
)
def test_malformed_final_messages_are_refused(spoil: Any) -> None:
    server, client = Server(SCRAM_SHA_256), Client("sha256")
    final = client.final(server.challenge(client.first()))
    with pytest.raises(MechanismError):
        server.step(spoil(final))


@pytest.mark.parametrize("size", [0, 1, 20, 31, 33, 1000])
def test_a_proof_of_another_size_proves_nothing(size: int) -> None:
    server, client = Server(SCRAM_SHA_256), Client("sha256")
    final = client.final(server.challenge(client.first())).partition(b",p=")[0]
    proof = base64.b64encode(bytes(size)) or b"="
    try:
        claim = server.step(final + b",p=" + proof)
    except MechanismError:
        return
    assert isinstance(claim, ScramClaim)
    assert not claim.proven


# Channel binding


@pytest.mark.parametrize("kind", sorted(BINDINGS))
@pytest.mark.parametrize("info", [SCRAM_SHA_1_PLUS, SCRAM_SHA_256_PLUS])
def test_any_binding_that_the_channel_has_will_do(info: MechanismInfo, kind: str) -> None:
    server = Server(info, channel=Bound())
    client = Client(server.hash, gs2=f"p={kind},,".encode(), binding=BINDINGS[kind])
    server.challenge(client.final(server.challenge(client.first())))
    assert server.claim(b"").proven


@pytest.mark.parametrize("binding", [b"", b"e" * 31, b"p" * 32, b"e" * 33])
def test_a_wrong_binding_is_refused(binding: bytes) -> None:
    """Somebody stands in the middle: the proof is right, but made for another channel."""
    server = Server(SCRAM_SHA_256_PLUS, channel=Bound())
    client = Client("sha256", gs2=b"p=tls-exporter,,", binding=binding)
    final = client.final(server.challenge(client.first()))
    with pytest.raises(MechanismError, match="does not match"):
        server.step(final)


@pytest.mark.parametrize("said", [b"n,,", b"y,,", b"p=tls-exporter,a=user,"])
def test_the_header_is_repeated_under_the_proof(said: bytes) -> None:
    """Changed on the way, it no longer fits what the client has signed."""
    channel: Channel = Bound() if said.startswith(b"p") else NO_CHANNEL
    info = SCRAM_SHA_256_PLUS if said.startswith(b"p") else SCRAM_SHA_256
    server = Server(info, channel=channel)
    meant = {b"n,,": b"y,,", b"y,,": b"n,,"}.get(said, b"p=tls-exporter,,")
    client = Client("sha256", gs2=meant, binding=BINDINGS["tls-exporter"] * info.binds)
    final = client.final(server.challenge(said + client.bare))
    with pytest.raises(MechanismError, match="does not match"):
        server.step(final)


@pytest.mark.parametrize(
    "kind", ["tls-unique", "tls-exporter", "TLS-EXPORTER", "tls-server-end-point", "x"]
)
def test_a_binding_that_is_not_there_is_refused(kind: str) -> None:
    for channel in (NO_CHANNEL, Bound({}), Bound({"other": b"o"}), Bound({kind: b""})):
        with pytest.raises(MechanismError, match="not available"):
            Server(SCRAM_SHA_256_PLUS, channel=channel).step(f"p={kind},,n=user,r=abc".encode())


@pytest.mark.parametrize("flag", [b"n", b"y"])
def test_plus_without_a_binding_is_refused(flag: bytes) -> None:
    with pytest.raises(MechanismError, match="needs a channel binding"):
        Server(SCRAM_SHA_256_PLUS, channel=Bound()).step(flag + b",,n=user,r=abc")


def test_a_binding_without_plus_is_refused() -> None:
    with pytest.raises(MechanismError, match="-PLUS"):
        Server(SCRAM_SHA_256, channel=Bound()).step(b"p=tls-exporter,,n=user,r=abc")


def test_a_downgrade_is_noticed() -> None:
    """RFC 5802 §6: the client can bind, and was told that we can't."""
    with pytest.raises(MechanismError, match="downgraded"):
        Server(SCRAM_SHA_256, channel=Bound()).step(b"y,,n=user,r=abc")
    assert Server(SCRAM_SHA_256).challenge(b"y,,n=user,r=abc")
    alone = MechanismContext("mail.example.org", Bound(), frozenset({"SCRAM-SHA-256"}))
    assert isinstance(SCRAM_SHA_256.begin(alone, b"y,,n=user,r=abc").send(None), FindKeys)
    assert Server(SCRAM_SHA_256, channel=Bound()).challenge(b"n,,n=user,r=abc")


# scramp as a client


@pytest.mark.parametrize("info", ALL, ids=lambda info: info.name)
@pytest.mark.parametrize("password", ["pencil", " p q ", "I\u00adX", "пароль", "\u2168"])
def test_scramp_logs_in(info: MechanismInfo, password: str) -> None:
    binding = ("tls-server-end-point", BINDINGS["tls-server-end-point"]) if info.binds else None
    hash_name = "sha1" if "SHA-1" in info.name else "sha256"
    keys = make(hash_name, password, iterations=4096)
    server = Server(info, keys, Bound() if info.binds else NO_CHANNEL)
    client = ScramClient([info.name], "user", password, channel_binding=binding)
    client.set_server_first(server.challenge(client.get_client_first().encode()).decode())
    client.set_server_final(server.challenge(client.get_client_final().encode()).decode())
    assert server.claim(b"").holds_for("PLAIN", password)


# Keys


@pytest.mark.parametrize(
    ("hash_name", "data"),
    [
        (
            "sha256",
            "4096,gogIzNW0/EVzYWbXcftTOA==,d5IKQxtfP50LHZCCNih8Zk5rZb/W2ffSPnwSaXW7uJs=,"
            "P8H092i9WCrpqoZe5YMSR1IcrF+XMisE1LzglZ2TXmI=",
        ),
        (
            "sha1",
            "4096,sQ76hQ+jCKE62TtY63kdaw==,W6pSZzeufOe0e2/3zwFLfFEBlms=,"
            "aMA+RPahPEb7FXihK3KsBsrA64Q=",
        ),
    ],
)
def test_keys_that_dovecot_made(hash_name: str, data: str) -> None:
    keys = ScramKeys.parse(data)
    assert keys == make(hash_name, "secret", salt=keys.salt, iterations=keys.iterations)
    assert keys.format() == data


@pytest.mark.peer
@pytest.mark.parametrize(("scheme", "hash_name"), sorted(scram.HASHES.items()))
def test_dovecot_and_we_read_each_other_s_keys(scheme: str, hash_name: str) -> None:
    doveadm = need("doveadm", package="dovecot-core")
    made = subprocess.run(
        [doveadm, "pw", "-s", scheme, "-p", "sec ret"], capture_output=True, check=True, text=True
    )
    prefix, _, data = made.stdout.strip().partition("}")
    assert prefix == "{" + scheme
    theirs = ScramKeys.parse(data)
    assert theirs == make(hash_name, "sec ret", salt=theirs.salt, iterations=theirs.iterations)
    ours = f"{{{scheme}}}{make(hash_name, 'sec ret', iterations=4096).format()}"
    for password, status in (("sec ret", 0), ("secret", 1)):
        command = [doveadm, "pw", "-t", ours, "-p", password]
        checked = subprocess.run(command, capture_output=True, check=False)
        assert (checked.returncode != 0) == bool(status)


@pytest.mark.peer
@pytest.mark.parametrize(("scheme", "hash_name"), sorted(scram.HASHES.items()))
@pytest.mark.parametrize("password", ["secret", "I\u00adX", "\u2168\u00aa", "a\u00a0b", "אב"])
def test_gsasl_makes_the_same_keys(scheme: str, hash_name: str, password: str) -> None:
    """SASLprep included: GNU SASL has it from libidn."""
    gsasl = need("gsasl", package="gsasl")
    command = [gsasl, "--mkpasswd", "--mechanism", scheme, "--iteration-count", "4096"]
    command += ["--salt", "AAAAAAAAAAAAAAAAAAAAAA==", "--password", password]
    environment = {"LC_ALL": "C.UTF-8"}
    made = subprocess.run(command, capture_output=True, check=True, text=True, env=environment)
    keys = make(hash_name, password, salt=bytes(16), iterations=4096)
    assert made.stdout.strip() == f"{{{scheme}}}{keys.format()}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("I\u00adX", "IX"),  # the examples of RFC 4013 §3
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        ("a\u00a0b", "a b"),
    ],
)
def test_passwords_that_saslprep_makes_equal(one: str, other: str) -> None:
    salt = b"salt"
    first, second = (make("sha256", text, salt=salt, iterations=1) for text in (one, other))
    assert first == second


@pytest.mark.parametrize(
    "password", ["\u0007", "\u0627\u0031", "☕😀", "\ufb01\U0001f600", "\udcff", "a\u0627", ""]
)
def test_passwords_that_saslprep_forbids_are_taken_as_they_are(password: str) -> None:
    octets = password.encode("utf-8", "surrogateescape")
    keys = make("sha256", password, salt=b"salt", iterations=1)
    salted = hashlib.pbkdf2_hmac("sha256", octets, b"salt", 1)
    assert keys.server_key == hmac.digest(salted, b"Server Key", "sha256")


KEY = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "data",
    [
        "",
        ",,,",
        f"4096,c2FsdA==,{KEY}",
        f"4096,c2FsdA==,{KEY},{KEY},",
        f"0,c2FsdA==,{KEY},{KEY}",
        f"-1,c2FsdA==,{KEY},{KEY}",
        f"04096,c2FsdA==,{KEY},{KEY}",
        f"10000001,c2FsdA==,{KEY},{KEY}",
        f"999999999999,c2FsdA==,{KEY},{KEY}",
        f"4096,,{KEY},{KEY}",
        f"4096,====,{KEY},{KEY}",
        f"4096,c2Fsd,{KEY},{KEY}",
        f"4096,c2FsdA==,{KEY},AAAA",
        f"4096,c2FsdA==,AAAA,{KEY}",
        "4096,c2FsdA==,AAAA,AAAA",
        f"4096,c2FsdA==,{KEY},{KEY}\n",
    ],
)
def test_damaged_keys_are_refused(data: str) -> None:
    with pytest.raises(ValueError) as caught:
        ScramKeys.parse(data)
    assert KEY not in str(caught.value)


@given(st.text(st.characters(codec="utf-8")))
def test_no_text_makes_parse_fail_otherwise(data: str) -> None:
    try:
        keys = ScramKeys.parse(data)
    except ValueError:
        return
    assert ScramKeys.parse(keys.format()) == keys


@given(st.text(), st.integers(1, 50), st.binary(min_size=1, max_size=40))
def test_keys_survive_being_written(password: str, iterations: int, salt: bytes) -> None:
    if any("\ud800" <= c <= "\udfff" for c in password):
        return
    for hash_name in scram.HASHES.values():
        keys = make(hash_name, password, salt=salt, iterations=iterations)
        assert ScramKeys.parse(keys.format()) == keys


def test_nothing_secret_is_ever_shown() -> None:
    """A11"""
    server, client = Server(SCRAM_SHA_256), Client("sha256")
    final = client.final(server.challenge(client.first()))
    server.challenge(final)
    claim = replace(server.claim(b""), keys=replace(server.keys, password="geheim"))
    shown = repr(claim) + repr(claim.keys)
    assert "user" in shown
    for secret in ("geheim", repr(claim.keys.stored_key), repr(claim.proof), repr(claim.message)):
        assert secret not in shown


# Whatever a peer sends

NEARLY = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(b"n,", b"y,", b"p=tls-exporter,", b"a=x,", b",", b"n=user,", b"r=abc", b"m=x"),
                *(b"c=biws", b"p=AAAA", b"=2C", b"=3D", b"=", b"\0", b"\r\n", b"v=AAAA"),
            ]
        ),
        st.binary(max_size=8),
    ),
    max_size=8,
).map(b"".join)


@given(
    info=st.sampled_from(ALL),
    bound=st.booleans(),
    responses=st.lists(NEARLY, min_size=1, max_size=4),
)
def test_no_response_does_harm(info: MechanismInfo, bound: bool, responses: list[bytes]) -> None:
    """MechanismError, a challenge, or a claim that holds for nothing."""
    server = Server(info, KEYS[info.name], Bound() if bound else NO_CHANNEL)
    for response in responses:
        try:
            outcome = server.step(response)
        except MechanismError:
            return
        if isinstance(outcome, ScramClaim):
            assert not outcome.proven
            assert not outcome.holds_for("PLAIN", SECRET)
            return
        assert not outcome.startswith(b"v=")


KEYS = {
    info.name: make("sha1" if "SHA-1" in info.name else "sha256", SECRET, iterations=2)
    for info in ALL
}


@given(st.data())
def test_no_change_to_a_good_exchange_lets_anybody_in(data: st.DataObject) -> None:
    """One octet of either message is another than the client meant."""
    info = data.draw(st.sampled_from(ALL))
    channel, gs2, binding = channel_for(info)
    server = Server(info, KEYS[info.name], channel)
    client = Client(server.hash, gs2=gs2, binding=binding)
    first_is_changed = data.draw(st.booleans())
    try:
        first = client.first()
        server_first = server.challenge(_changed(first, data) if first_is_changed else first)
        final = client.final(server_first)
        outcome = server.step(final if first_is_changed else _changed(final, data))
    except (MechanismError, AssertionError):
        return
    # base64 has spare bits, so that another text may be the same octets.
    if isinstance(outcome, bytes):
        assert not first_is_changed
        return
    assert not outcome.proven


def _changed(message: bytes, data: st.DataObject) -> bytes:
    at = data.draw(st.integers(0, len(message) - 1))
    octet = data.draw(st.integers(0, 255).filter(lambda octet: octet != message[at]))
    return message[:at] + bytes([octet]) + message[at + 1 :]
