"""The formats of crypt(3), as in /etc/shadow: bcrypt, SHA-crypt, MD5-crypt.

Each hash begins with what it is: `$2y$`, `$6$`, `$5$`, `$1$`. Dovecot's `{CRYPT}` takes any.
DES-crypt, which heeds eight characters of a password, is not among them.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterator
from functools import cache, partial
from importlib import import_module
from typing import Any

from restante.accounts.account import AccountError
from restante.accounts.schemes.scheme import Scheme, always, octets_of
from restante.extras import missing

BCRYPT_COST = 10
"""Of new hashes: a tenth of a second, about as long as Argon2id takes. Dovecot makes 5."""

MAX_BCRYPT_COST = 15
"""A check of that cost takes some three seconds; each further one twice as long."""

BCRYPT_OCTETS = 72
"""bcrypt heeds no more of a password."""

SHA_ROUNDS = 100_000
"""Of new hashes. crypt(3), and Dovecot with it, makes 5,000."""

MAX_SHA_ROUNDS = 1_000_000
"""A check of these takes a second or two."""

MAX_CRYPT_PASSWORD = 255
"""Octets. The work of SHA-crypt grows with them; no mechanism must carry more (RFC 4616 §2)."""

_MAX_DATA = 256

_BCRYPT_DATA = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}")

BY_PREFIX = {
    "$2a$": "BLF-CRYPT",
    "$2b$": "BLF-CRYPT",
    "$2y$": "BLF-CRYPT",
    "$6$": "SHA512-CRYPT",
    "$5$": "SHA256-CRYPT",
    "$1$": "MD5-CRYPT",
}
"""What a hash is, by how it begins."""

_HANDLERS = {
    "MD5-CRYPT": "md5_crypt",
    "SHA256-CRYPT": "sha256_crypt",
    "SHA512-CRYPT": "sha512_crypt",
}


def scheme_of_crypt(data: str) -> str | None:
    """The scheme of a hash in one of crypt(3)'s formats; None when it is none we know."""
    return next((name for prefix, name in BY_PREFIX.items() if data.startswith(prefix)), None)


@cache
def _bcrypt() -> Any:
    return _library("bcrypt", "BLF-CRYPT", "bcrypt")


@cache
def _handler(scheme: str) -> Any:
    """libpass's handler of a format; it is imported by the name of the library it continues."""
    return getattr(_library("passlib.hash", scheme, "libpass"), _HANDLERS[scheme])


def _library(module: str, scheme: str, library: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        raise AccountError(missing("crypt", f"{{{scheme}}}", library, error)) from None


def _octets(password: str) -> bytes:
    octets = octets_of(password)
    if len(octets) > MAX_CRYPT_PASSWORD:
        raise ValueError(f"crypt takes up to {MAX_CRYPT_PASSWORD} octets")
    return octets


def _bcrypt_make(password: str) -> str:
    octets = _octets(password)
    if len(octets) > BCRYPT_OCTETS:
        raise ValueError(f"{{BLF-CRYPT}} can't keep more than {BCRYPT_OCTETS} octets")
    library = _bcrypt()
    made: bytes = library.hashpw(octets, library.gensalt(BCRYPT_COST))
    return "$2y$" + made.decode("ascii").removeprefix("$2b$")  # the same, known to all


def _bcrypt_matches(data: str, password: str) -> bool:
    found = _BCRYPT_DATA.fullmatch(data)
    if found is None or not 4 <= int(found[1]) <= MAX_BCRYPT_COST:
        raise ValueError("not a bcrypt hash, or of a cost out of range")
    kept = data.encode("ascii")
    # What is beyond was ignored when the hash was made, by Dovecot and PHP for example.
    return hmac.compare_digest(_bcrypt().hashpw(_octets(password)[:BCRYPT_OCTETS], kept), kept)


def _library_matches(scheme: str, data: str, password: str) -> bool:
    octets = _octets(password)
    handler = _handler(scheme)
    if len(data) > _MAX_DATA:
        raise ValueError("not a hash of crypt")
    parsed = handler.from_string(data)
    if parsed.checksum is None:
        raise ValueError("a hash without its end")
    if getattr(parsed, "rounds", 0) > MAX_SHA_ROUNDS:
        raise ValueError("rounds out of range")
    matched: bool = handler.verify(octets, data)
    return matched


def _crypt_matches(data: str, password: str) -> bool:
    """As the hash itself says."""
    match scheme_of_crypt(data):
        case None:
            raise ValueError("not a hash of crypt")
        case "BLF-CRYPT":
            return _bcrypt_matches(data, password)
        case scheme:
            return _library_matches(scheme, data, password)


def _sha_make(scheme: str, password: str) -> str:
    octets = _octets(password)
    made: str = _handler(scheme).using(rounds=SHA_ROUNDS).hash(octets)
    return made


def _md5_make(password: str) -> str:
    octets = _octets(password)
    made: str = _handler("MD5-CRYPT").hash(octets)
    return made


def _crypt_schemes() -> Iterator[Scheme]:
    yield Scheme("BLF-CRYPT", True, _bcrypt_make, _bcrypt_matches, always)
    yield Scheme("CRYPT", True, _bcrypt_make, _crypt_matches, always)
    for name in ("SHA512-CRYPT", "SHA256-CRYPT"):
        # Dovecot leaves these to crypt(3), which goes by the hash, whatever it is labelled.
        yield Scheme(name, True, partial(_sha_make, name), _crypt_matches, always)
    yield Scheme("MD5-CRYPT", True, _md5_make, partial(_library_matches, "MD5-CRYPT"), always)


CRYPT_SCHEMES = tuple(_crypt_schemes())
"""The most preferred first."""
