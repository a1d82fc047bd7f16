"""SCRAM (RFC 5802, RFC 7677): both sides prove that they know the password; none sends it.

With -PLUS the proof covers the TLS channel too (RFC 5056, RFC 5929, RFC 9266), so that
nobody in the middle can pass it on.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import stringprep
from base64 import b64decode, b64encode
from binascii import Error
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from unicodedata import ucd_3_2_0

from restante.defaults import SCRAM_ITERATIONS
from restante.protocol.effects import FindKeys
from restante.sasl.contract import (
    Exchange,
    MechanismContext,
    MechanismError,
    MechanismInfo,
    ask,
    credential_text,
)

MAX_ITERATIONS = 10_000_000
"""More than any client would go along with."""

SALT_OCTETS = 16

HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}
"""hashlib's name for each scheme's hash."""

_MAX_MESSAGE = 8 * 1024
"""Octets: room for two names of MAX_PART, each comma of them escaped."""

# Not RFC 5802's whole grammar: what would be ignored needn't be well-formed UTF-8. `m=`
# stands for an extension that must be understood, and none is.
_EXTENSIONS = rb"(?:,(?![mp]=)[A-Za-z]=[^,\0]+)*"
_NONCE = rb"[!-+\--~]"
_CLIENT_FIRST = re.compile(
    rb"(?P<gs2>(?P<flag>[ny]|p=(?P<binding>[A-Za-z0-9.-]{1,64})),(?:a=(?P<authzid>[^,]+))?,)"
    rb"(?P<bare>n=(?P<name>[^,]+),r=(?P<nonce>" + _NONCE + rb"{1,256})" + _EXTENSIONS + rb")"
)
_CLIENT_FINAL = re.compile(
    rb"(?P<unproven>c=(?P<binding>[A-Za-z0-9+/=]+),r=(?P<nonce>"
    + _NONCE
    + rb"+)"
    + _EXTENSIONS
    + rb"),p=(?P<proof>[A-Za-z0-9+/=]+)"
)
_SASL_NAME = re.compile(rb"(?:[^=,]|=2C|=3D)+")

_KEYS = re.compile(r"([1-9][0-9]{0,7}),([A-Za-z0-9+/=]+),([A-Za-z0-9+/=]+),([A-Za-z0-9+/=]+)")


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What a server keeps for SCRAM (RFC 5802 §3): enough to check a proof, and to give its own.

    password: what the keys were made from, where the account keeps that.
    """

    salt: bytes = field(repr=False)
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    password: str | None = field(default=None, repr=False, compare=False)

    @classmethod
    def parse(cls, data: str) -> ScramKeys:
        """Keys from what follows `{SCRAM-…}`: iterations, salt, stored key, server key.

        Raises ValueError, which quotes nothing, for anything else.
        """
        found = _KEYS.fullmatch(data)
        if found is None:
            raise ValueError("not the keys of SCRAM")
        salt, stored_key, server_key = (
            b64decode(part, validate=True) for part in found.groups()[1:]
        )
        iterations = int(found[1])
        if iterations > MAX_ITERATIONS or not salt:
            raise ValueError("not the keys of SCRAM: iterations or salt out of range")
        if len(stored_key) not in (20, 32) or len(server_key) != len(stored_key):
            raise ValueError("not the keys of SCRAM: cut short, or of an unknown hash")
        return cls(salt, iterations, stored_key, server_key)

    def without_secret(self) -> ScramKeys:
        """Keys that look the same to a peer, and that no proof fits."""
        size = len(self.stored_key)
        return ScramKeys(
            self.salt, self.iterations, secrets.token_bytes(size), secrets.token_bytes(size)
        )

    def format(self) -> str:
        """The keys as `parse` reads them; without `password`."""
        parts = (self.salt, self.stored_key, self.server_key)
        return ",".join([str(self.iterations), *(b64encode(part).decode() for part in parts)])


def make(
    hash_name: str,
    password: str,
    *,
    salt: bytes | None = None,
    iterations: int = SCRAM_ITERATIONS,
) -> ScramKeys:
    """Keys for a password. Takes milliseconds, by the number of iterations.

    hash_name: `sha1` or `sha256`. salt: a random one unless given.
    """
    salt = secrets.token_bytes(SALT_OCTETS) if salt is None else salt
    salted = hashlib.pbkdf2_hmac(hash_name, _prepared(password), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", hash_name)
    stored_key = hashlib.new(hash_name, client_key).digest()
    return ScramKeys(salt, iterations, stored_key, hmac.digest(salted, b"Server Key", hash_name))


def _prepared(password: str) -> bytes:
    """The password as PBKDF2 gets it: by SASLprep, or as it is where that forbids it.

    Clients that don't know SASLprep can then still log in, and the others couldn't anyway.
    """
    with suppress(ValueError):
        password = _saslprep(password)
    return password.encode("utf-8", "surrogateescape")


_PROHIBITED = (
    stringprep.in_table_a1,  # unassigned: RFC 4013 §2.5 for what is kept
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def _saslprep(text: str) -> str:
    """RFC 4013, by its Unicode 3.2. Raises ValueError for what it forbids."""
    mapped = (
        " " if stringprep.in_table_c12(c) else c for c in text if not stringprep.in_table_b1(c)
    )
    prepared = ucd_3_2_0.normalize("NFKC", "".join(mapped))
    if not prepared or any(forbids(c) for c in prepared for forbids in _PROHIBITED):
        raise ValueError("forbidden by SASLprep")
    if any(map(stringprep.in_table_d1, prepared)):  # written from right to left: RFC 3454 §6
        ends = stringprep.in_table_d1(prepared[0]) and stringprep.in_table_d1(prepared[-1])
        if not ends or any(map(stringprep.in_table_d2, prepared)):
            raise ValueError("forbidden by SASLprep")
    return prepared


def _proves(hash_name: str, stored_key: bytes, message: bytes, proof: bytes) -> bool:
    """Whether `proof` was made by somebody who can make `stored_key` (RFC 5802 §3)."""
    signature = hmac.digest(stored_key, message, hash_name)
    if len(proof) != len(signature):
        return False
    client_key = bytes(one ^ other for one, other in zip(proof, signature, strict=True))
    return hmac.compare_digest(hashlib.new(hash_name, client_key).digest(), stored_key)


@dataclass(frozen=True, slots=True)
class ScramClaim:
    """A proof, the messages that it covers, and the keys that the exchange went by.

    scheme: `SCRAM-SHA-1` or `SCRAM-SHA-256`.
    """

    name: str
    authzid: str
    mechanism: str
    scheme: str
    keys: ScramKeys = field(repr=False)
    message: bytes = field(repr=False)
    proof: bytes = field(repr=False)

    @property
    def schemes(self) -> frozenset[str]:
        """The schemes of credentials that the proof can be held against."""
        return frozenset({self.scheme, "PLAIN"})

    @property
    def proven(self) -> bool:
        """Whether the proof was made with the password behind the keys of the exchange."""
        return _proves(HASHES[self.scheme], self.keys.stored_key, self.message, self.proof)

    def holds_for(self, scheme: str, data: str) -> bool:
        """Whether the proof was made with the secret that a credential `{scheme}data` keeps.

        A proof that doesn't fit the exchange's keys is refused at once, whoever has an
        account. Compared in constant time. Raises ValueError when `data` is damaged.
        """
        if not self.proven or scheme not in self.schemes:
            return False
        if scheme != "PLAIN":
            stored_key = ScramKeys.parse(data).stored_key
        elif self.keys.password is not None:
            known, held = (t.encode("utf-8", "surrogateescape") for t in (self.keys.password, data))
            return hmac.compare_digest(known, held)
        else:
            salt, iterations = self.keys.salt, self.keys.iterations
            stored_key = make(
                HASHES[self.scheme], data, salt=salt, iterations=iterations
            ).stored_key
        return _proves(HASHES[self.scheme], stored_key, self.message, self.proof)


def _begin(scheme: str, binds: bool, context: MechanismContext, initial: bytes | None) -> Exchange:
    """Two messages each way, and an empty response to the last (RFC 5802 §5, RFC 5034 §4)."""
    first = _matched(_CLIENT_FIRST, initial if initial is not None else (yield from ask(b"")))
    bound = first["gs2"] + _binding(scheme, first["flag"], first["binding"], binds, context)
    authzid = _text(first["authzid"]) if first["authzid"] else ""
    name = _text(first["name"])

    keys: ScramKeys = yield FindKeys(name, scheme)
    nonce = first["nonce"] + _nonce()
    server_first = b"r=%b,s=%b,i=%d" % (nonce, b64encode(keys.salt), keys.iterations)
    final = _matched(_CLIENT_FINAL, (yield from ask(server_first)))
    if not hmac.compare_digest(final["nonce"], nonce):
        raise MechanismError("the nonce is not the one of this exchange")
    if not hmac.compare_digest(_decoded(final["binding"]), bound):
        raise MechanismError("channel binding does not match")
    message = b",".join((first["bare"], server_first, final["unproven"]))
    mechanism = scheme + "-PLUS" * binds
    claim = ScramClaim(name, authzid, mechanism, scheme, keys, message, _decoded(final["proof"]))
    if claim.proven:  # only who knows the password gets to see that we know it too
        signature = hmac.digest(keys.server_key, message, HASHES[scheme])
        if (yield from ask(b"v=" + b64encode(signature))):
            raise MechanismError("malformed response: nothing is left to be said")
    return claim


def _binding(
    scheme: str, flag: bytes, kind: bytes | None, binds: bool, context: MechanismContext
) -> bytes:
    """The octets of the channel binding that the client says it uses (RFC 5802 §6)."""
    if kind is None:
        if binds:
            raise MechanismError("this mechanism needs a channel binding")
        if flag == b"y" and f"{scheme}-PLUS" in context.offered:
            # It believes that we can't, though -PLUS was announced: somebody took that out.
            raise MechanismError("downgraded: this server does offer channel binding")
        return b""
    if not binds:
        raise MechanismError("a channel binding needs a mechanism with -PLUS")
    name = kind.decode()
    octets = context.channel.binding(name) if name in context.channel.binding_types() else None
    if not octets:
        raise MechanismError("this type of channel binding is not available")
    return octets


def _nonce() -> bytes:
    return secrets.token_urlsafe(18).encode()


def _matched(pattern: re.Pattern[bytes], message: bytes) -> re.Match[bytes]:
    found = pattern.fullmatch(message) if len(message) <= _MAX_MESSAGE else None
    if found is None:
        raise MechanismError("malformed response: not a message of SCRAM")
    return found


def _text(name: bytes) -> str:
    """A name out of its escapes (RFC 5802 §5.1)."""
    if not _SASL_NAME.fullmatch(name):
        raise MechanismError("malformed response: = and , in names are written =3D and =2C")
    return credential_text(name.replace(b"=2C", b",").replace(b"=3D", b"="))


def _decoded(part: bytes) -> bytes:
    try:
        return b64decode(part, validate=True)
    except Error:
        raise MechanismError("malformed response: not base64 within SCRAM") from None


def _mechanism(scheme: str, binds: bool) -> MechanismInfo:
    return MechanismInfo(
        scheme + "-PLUS" * binds,
        partial(_begin, scheme, binds),
        schemes=frozenset({scheme, "PLAIN"}),
        binds=binds,
    )


SCRAM_SHA_1 = _mechanism("SCRAM-SHA-1", False)
SCRAM_SHA_256 = _mechanism("SCRAM-SHA-256", False)
SCRAM_SHA_1_PLUS = _mechanism("SCRAM-SHA-1", True)
SCRAM_SHA_256_PLUS = _mechanism("SCRAM-SHA-256", True)
