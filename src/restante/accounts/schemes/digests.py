"""Schemes that need no library: PBKDF2, digests, and what challenge-response mechanisms keep."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator

from restante.accounts.schemes.scheme import Scheme, always, never, octets_of, unhex
from restante.sasl.md4 import nt_hash
from restante.sasl.md5_state import hmac_states
from restante.sasl.scram import HASHES, ScramKeys
from restante.sasl.scram import make as make_keys

_SALT_SIZE = 16

PBKDF2_ROUNDS = 300_000
"""Of new ones: they take about as long as Argon2id does. Dovecot makes 5,000."""

MAX_PBKDF2_ROUNDS = 4_000_000
"""A check of these takes some two seconds."""

_PBKDF2_DATA = re.compile(r"\$1\$([!-#%-~]{1,64})\$([0-9]{1,7})\$([0-9a-fA-F]{40})")


def _unsalted(name: str, algorithm: str) -> Scheme:
    """A bare digest: the same for all who have the same password, so no new ones."""
    size = hashlib.new(algorithm).digest_size

    def matches(data: str, password: str) -> bool:
        kept = unhex(data) if len(data) == 2 * size else b64decode(data, validate=True)
        made = hashlib.new(algorithm, octets_of(password)).digest()
        return hmac.compare_digest(kept, made)

    return Scheme(name, False, None, matches, always, "base64")


def _salted(name: str, algorithm: str) -> Scheme:
    """A digest of the password and a salt, followed by the salt (as in LDAP)."""
    size = hashlib.new(algorithm).digest_size

    def make(password: str) -> str:
        salt = secrets.token_bytes(_SALT_SIZE)
        return b64encode(
            hashlib.new(algorithm, octets_of(password) + salt).digest() + salt
        ).decode()

    def matches(data: str, password: str) -> bool:
        kept = b64decode(data, validate=True)
        digest, salt = kept[:size], kept[size:]
        if not salt:  # cut short
            raise ValueError("not a whole digest with its salt")
        made = hashlib.new(algorithm, octets_of(password) + salt).digest()
        return hmac.compare_digest(digest, made)

    return Scheme(name, False, make, matches, always, "base64")


def _pbkdf2_make(password: str) -> str:
    salt = secrets.token_urlsafe(_SALT_SIZE)
    return f"$1${salt}${PBKDF2_ROUNDS}${_pbkdf2(password, salt, PBKDF2_ROUNDS).hex()}"


def _pbkdf2(password: str, salt: str, rounds: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha1", octets_of(password), salt.encode("ascii"), rounds)


def _pbkdf2_matches(data: str, password: str) -> bool:
    found = _PBKDF2_DATA.fullmatch(data)
    if found is None:
        raise ValueError("not a PBKDF2 hash")
    salt, rounds, kept = found.groups()
    if not 1 <= int(rounds) <= MAX_PBKDF2_ROUNDS:
        raise ValueError("PBKDF2 rounds out of range")
    return hmac.compare_digest(unhex(kept), _pbkdf2(password, salt, int(rounds)))


def _scram(name: str) -> Scheme:
    """Keys for SCRAM (RFC 5802 §3); a password can be checked against them, too."""
    hash_name = HASHES[name]

    def make(password: str) -> str:
        return make_keys(hash_name, password).format()

    def matches(data: str, password: str) -> bool:
        kept = ScramKeys.parse(data)
        if kept.iterations > MAX_PBKDF2_ROUNDS:
            raise ValueError("SCRAM iterations out of range")
        made = make_keys(hash_name, password, salt=kept.salt, iterations=kept.iterations)
        return hmac.compare_digest(kept.stored_key, made.stored_key)

    return Scheme(name, True, make, matches, never)


def _keyed(name: str, digest: Callable[[str], bytes]) -> Scheme:
    """What `digest` makes of a password, which serves a mechanism as the password itself does."""

    def matches(data: str, password: str) -> bool:
        return hmac.compare_digest(unhex(data), digest(password))

    return Scheme(name, False, lambda password: digest(password).hex(), matches, never, "hex")


def _pbkdf2_and_digests() -> Iterator[Scheme]:
    yield Scheme("PBKDF2", True, _pbkdf2_make, _pbkdf2_matches, always)
    yield from map(_scram, ("SCRAM-SHA-256", "SCRAM-SHA-1"))
    for name, algorithm in (("SSHA512", "sha512"), ("SSHA256", "sha256"), ("SSHA", "sha1")):
        yield _salted(name, algorithm)
    for name, algorithm in (("SHA512", "sha512"), ("SHA256", "sha256"), ("SHA", "sha1")):
        yield _unsalted(name, algorithm)
    yield _keyed("CRAM-MD5", lambda password: hmac_states(octets_of(password)))
    yield _keyed("NT", nt_hash)


DIGEST_SCHEMES = tuple(_pbkdf2_and_digests())
"""The most preferred first."""
