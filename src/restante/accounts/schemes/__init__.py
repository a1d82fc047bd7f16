"""How secrets are kept: a table of schemes. A credential is written `{SCHEME}data`."""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Iterable
from functools import cache, lru_cache, partial
from hashlib import scrypt
from importlib.util import find_spec
from typing import TYPE_CHECKING

from restante.accounts.account import AccountError
from restante.accounts.schemes.crypts import CRYPT_SCHEMES, scheme_of_crypt
from restante.accounts.schemes.digests import DIGEST_SCHEMES
from restante.accounts.schemes.scheme import (
    ALIASES,
    Scheme,
    always,
    never,
    octets_of,
    respell,
    split_suffix,
)
from restante.extras import missing

if TYPE_CHECKING:
    from argon2 import PasswordHasher

__all__ = [
    "SCHEMES",
    "Scheme",
    "default_scheme",
    "hash_password",
    "is_slow",
    "needs_rehash",
    "slowest",
    "split_credential",
    "verify",
]


def _plain_matches(data: str, password: str) -> bool:
    return hmac.compare_digest(octets_of(data), octets_of(password))


# The costs OWASP's password storage advice gives for 16 MiB: several checks side by side
# still fit into a small machine.
_SCRYPT_COSTS = (14, 8, 5)
_SCRYPT_MEMORY = 256 * 1024 * 1024
_MAX_SCRYPT_WORK = 1 << 23  # N·r·p; a check takes some two seconds
_SCRYPT_DATA = re.compile(
    r"\$ln=(\d{1,2}),r=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)"
)


def _scrypt(password: str, salt: bytes, costs: tuple[int, int, int], size: int = 32) -> bytes:
    ln, r, p = costs
    octets = octets_of(password)
    return scrypt(octets, salt=salt, n=1 << ln, r=r, p=p, maxmem=_SCRYPT_MEMORY, dklen=size)


def _scrypt_make(password: str) -> str:
    salt = secrets.token_bytes(16)
    ln, r, p = _SCRYPT_COSTS
    hashed = _scrypt(password, salt, _SCRYPT_COSTS)
    ends = "$".join(b64encode(part).decode().rstrip("=") for part in (salt, hashed))
    return f"$ln={ln},r={r},p={p}${ends}"


def _scrypt_read(data: str) -> tuple[tuple[int, int, int], bytes, bytes]:
    found = _SCRYPT_DATA.fullmatch(data)
    if found is None:
        raise ValueError("not a scrypt hash")
    ln, r, p, salt, hashed = found.groups()
    return (int(ln), int(r), int(p)), b64decode(salt + "=="), b64decode(hashed + "==")


def _scrypt_matches(data: str, password: str) -> bool:
    costs, salt, hashed = _scrypt_read(data)
    if len(hashed) < 16:  # cut short, it would match too much
        raise ValueError("not a whole scrypt hash")
    if _scrypt_work(costs) > _MAX_SCRYPT_WORK:
        raise ValueError("scrypt costs out of range")
    return hmac.compare_digest(_scrypt(password, salt, costs, len(hashed)), hashed)


def _scrypt_work(costs: tuple[int, int, int]) -> int:
    ln, r, p = costs
    return (r * p) << ln


def _scrypt_outdated(data: str) -> bool:
    return _scrypt_work(_scrypt_read(data)[0]) < _scrypt_work(_SCRYPT_COSTS)


@cache
def _argon2() -> tuple[PasswordHasher, type[Exception]]:
    """The hasher, and what it raises when a password doesn't match."""
    try:
        from argon2 import PasswordHasher  # noqa: PLC0415 - an extra, loaded when needed
        from argon2.exceptions import VerificationError  # noqa: PLC0415
    except ImportError as error:
        raise AccountError(missing("argon2", "Argon2", "argon2-cffi", error)) from None
    # One lane: several would take all processors for one login, and others' mail would wait.
    return PasswordHasher(parallelism=1), VerificationError


_ARGON2_DATA = re.compile(
    r"\$argon2(id|i)(?:\$v=[0-9]{2})?\$m=([0-9]{1,8}),t=([0-9]{1,8}),p=([0-9]{1,2})\$[^\0]*"
)
_MAX_ARGON2_MEMORY = 1024 * 1024  # KiB
_MAX_ARGON2_WORK = 4 * _MAX_ARGON2_MEMORY  # memory times passes; some four seconds


def _argon2_read(data: str, kind: str) -> tuple[int, int]:
    """Memory in KiB, and that times passes."""
    found = _ARGON2_DATA.fullmatch(data)
    if found is None or found[1] != kind:
        raise ValueError("not an Argon2 hash of this kind")
    memory = int(found[2])
    work = memory * int(found[3])
    if memory > _MAX_ARGON2_MEMORY or work > _MAX_ARGON2_WORK:
        raise ValueError("Argon2 costs out of range")
    return memory, work


def _argon2_make(password: str) -> str:
    return _argon2()[0].hash(octets_of(password))


def _argon2i_make(password: str) -> str:
    hasher = _argon2()[0]
    from argon2 import PasswordHasher, Type  # noqa: PLC0415 - it is there, as the line above tells

    costs = hasher.time_cost, hasher.memory_cost, hasher.parallelism
    return PasswordHasher(*costs, type=Type.I).hash(octets_of(password))


def _argon2_matches(kind: str, data: str, password: str) -> bool:
    hasher, mismatch = _argon2()
    _argon2_read(data, kind)
    try:
        return hasher.verify(data, octets_of(password))
    except mismatch as error:
        if "allocation" in str(error):  # Argon2's word for it is no exception of its own
            raise MemoryError from None
        return False


def _argon2_outdated(data: str) -> bool:
    hasher = _argon2()[0]
    memory, work = _argon2_read(data, "id")
    return memory < hasher.memory_cost or work < hasher.memory_cost * hasher.time_cost


SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("ARGON2ID", True, _argon2_make, partial(_argon2_matches, "id"), _argon2_outdated),
        Scheme("SCRYPT", True, _scrypt_make, _scrypt_matches, _scrypt_outdated),
        Scheme("ARGON2I", True, _argon2i_make, partial(_argon2_matches, "i"), always),
        *CRYPT_SCHEMES,
        *DIGEST_SCHEMES,
        Scheme("PLAIN", False, str, _plain_matches, never),
    )
}
"""By name, the most preferred first; of the slow ones, also roughly the slowest first."""

_AS_WRITTEN = frozenset({"ARGON2ID", "SCRYPT", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-1"})
"""Schemes that need no respelling when they are written like this; most credentials are."""

_CREDENTIAL = re.compile(r"\{([A-Za-z0-9._-]+)\}(.*)", re.DOTALL)


@lru_cache(1024)  # each login by a quick scheme comes by here
def split_credential(credential: str) -> tuple[str, str]:
    """Scheme name, in upper case, and data; the name is empty when there is none.

    Whatever Dovecot writes for the same comes out the same: `{CLEARTEXT}x` and `{PLAIN.B64}eA==`
    as `{PLAIN}x`, `{SSHA.HEX}…` in base64, `{CRYPT}$6$…` as SHA512-CRYPT. What can't be read
    so keeps its name and data as they are, which is then no scheme's, or damaged.
    """
    end = credential.find("}")
    if credential[1:end] in _AS_WRITTEN and credential[0] == "{":
        return credential[1:end], credential[end + 1 :]
    found = _CREDENTIAL.fullmatch(credential)
    if found is None:
        return "", credential
    written, data = found[1].upper(), found[2]
    name, spelling = split_suffix(written)
    name = ALIASES.get(name, name)
    scheme = SCHEMES.get(name)
    if scheme is None:
        return written, data
    if spelling is not None:
        try:
            data = respell(data, spelling, scheme.spelling)
        except ValueError:
            return written, data
    return (scheme_of_crypt(data) or name if name == "CRYPT" else name), data


@cache
def default_scheme() -> str:
    """`ARGON2ID` where argon2-cffi is installed, else `SCRYPT`."""
    return "ARGON2ID" if find_spec("argon2") else "SCRYPT"


def slowest(names: Iterable[str]) -> str | None:
    """The slowest to check of the schemes `names`; None when all are quick."""
    held = set(names)
    return next((each.name for each in SCHEMES.values() if each.slow and each.name in held), None)


def is_slow(credential: str) -> bool:
    """Whether checking `credential` takes the time and memory of a password hash."""
    scheme = SCHEMES.get(split_credential(credential)[0])
    return scheme is not None and scheme.slow


def hash_password(password: str, scheme: str | None = None) -> str:
    """A new credential for `password`, in `scheme` or the default one.

    Raises ValueError for an empty password or one with NUL, an unknown scheme, one that
    makes no new credentials, or one that can't keep this password; AccountError when the
    scheme's library is missing.
    """
    name = scheme or default_scheme()
    if not password or "\0" in password:
        raise ValueError("a password can't be empty, or hold NUL")
    if name not in SCHEMES:
        raise ValueError(f"unknown password scheme {name!r}: known are {', '.join(SCHEMES)}")
    make = SCHEMES[name].make
    if make is None:
        raise ValueError(f"{{{name}}} has no salt: what is kept is checked, but no more is made")
    return f"{{{name}}}{make(password)}"


def verify(credential: str, password: str) -> bool:
    """Whether `password` is the one that `credential` keeps.

    An unknown scheme, no scheme, damaged data, costs out of range, an empty password and one
    with NUL are a no. Raises AccountError when the scheme's library is missing, or memory:
    that is the operator's to know.
    """
    name, data = split_credential(credential)
    scheme = SCHEMES.get(name)
    # To HMAC and crypt(3) a password with NUL at its end is the same as one without.
    if scheme is None or not password or "\0" in password:
        return False
    try:
        return scheme.matches(data, password) is True
    except (ValueError, TypeError, OverflowError):  # costs out of all range are the last two
        return False
    except MemoryError:
        raise AccountError(f"not enough memory to check a {{{name}}} credential") from None


def needs_rehash(credential: str) -> bool:
    """Whether a new credential of the default scheme would be better than `credential`.

    So it is for weaker schemes, and for lower costs than would be chosen now. What a
    challenge-response mechanism needs (PLAIN, CRAM-MD5, SCRAM, NT) is left as it is.
    """
    name, data = split_credential(credential)
    try:
        return name in SCHEMES and SCHEMES[name].outdated(data)
    except ValueError:
        return False
