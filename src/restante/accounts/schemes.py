"""How secrets are kept: a table of schemes. A credential is written `{SCHEME}data`."""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import scrypt
from importlib.util import find_spec
from typing import TYPE_CHECKING

from restante.accounts.contract import AccountError

if TYPE_CHECKING:
    from argon2 import PasswordHasher


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to keep a secret. `data` is what follows `{NAME}`.

    slow: a check is made to cost time and memory, so it belongs on a worker thread.
    make: data for a password. matches: whether a password is the one that `data` keeps;
        ValueError means that `data` is damaged. outdated: whether `make` would now
        choose other costs.
    """

    name: str
    slow: bool
    make: Callable[[str], str]
    matches: Callable[[str, str], bool]
    outdated: Callable[[str], bool]


def _octets(password: str) -> bytes:
    return password.encode("utf-8", "surrogateescape")


def _plain_matches(data: str, password: str) -> bool:
    return hmac.compare_digest(_octets(data), _octets(password))


# The costs OWASP's password storage advice gives for 16 MiB: several checks side by side
# still fit into a small machine.
_SCRYPT_COSTS = (14, 8, 5)
_SCRYPT_MEMORY = 256 * 1024 * 1024
_SCRYPT_DATA = re.compile(
    r"\$ln=(\d{1,2}),r=(\d{1,3}),p=(\d{1,3})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)"
)


def _scrypt(password: str, salt: bytes, costs: tuple[int, int, int], size: int = 32) -> bytes:
    ln, r, p = costs
    octets = _octets(password)
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
    return hmac.compare_digest(_scrypt(password, salt, costs, len(hashed)), hashed)


def _scrypt_outdated(data: str) -> bool:
    return _scrypt_read(data)[0] != _SCRYPT_COSTS


@cache
def _argon2() -> tuple[PasswordHasher, type[Exception]]:
    """The hasher, and what it raises when a password doesn't match."""
    try:
        from argon2 import PasswordHasher  # noqa: PLC0415 - an extra, loaded when needed
        from argon2.exceptions import VerificationError  # noqa: PLC0415
    except ImportError:
        raise AccountError(
            "{ARGON2ID} credentials need argon2-cffi: pip install 'restante[argon2]'"
        ) from None
    return PasswordHasher(), VerificationError


def _argon2_make(password: str) -> str:
    return _argon2()[0].hash(_octets(password))


def _argon2_matches(data: str, password: str) -> bool:
    hasher, mismatch = _argon2()
    if not data.startswith("$argon2id$"):
        raise ValueError("not an Argon2id hash")
    try:
        return hasher.verify(data, _octets(password))
    except mismatch:
        return False


def _argon2_outdated(data: str) -> bool:
    return _argon2()[0].check_needs_rehash(data)


SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("ARGON2ID", True, _argon2_make, _argon2_matches, _argon2_outdated),
        Scheme("SCRYPT", True, _scrypt_make, _scrypt_matches, _scrypt_outdated),
        Scheme("PLAIN", False, str, _plain_matches, lambda data: False),
    )
}
"""By name, the most preferred first."""

_CREDENTIAL = re.compile(r"\{([A-Za-z0-9._-]+)\}(.*)", re.DOTALL)


def split_credential(credential: str) -> tuple[str, str]:
    """Scheme name, in upper case, and data; the name is empty when there is none."""
    found = _CREDENTIAL.fullmatch(credential)
    return (found[1].upper(), found[2]) if found else ("", credential)


@cache
def default_scheme() -> str:
    """`ARGON2ID` where argon2-cffi is installed, else `SCRYPT`."""
    return "ARGON2ID" if find_spec("argon2") else "SCRYPT"


def slowest(names: Iterable[str]) -> str | None:
    """The first of the schemes `names` that is slow to check; None when all are quick."""
    return next((name for name in names if SCHEMES[name].slow), None)


def is_slow(credential: str) -> bool:
    """Whether checking `credential` takes the time and memory of a password hash."""
    scheme = SCHEMES.get(split_credential(credential)[0])
    return scheme is not None and scheme.slow


def hash_password(password: str, scheme: str | None = None) -> str:
    """A new credential for `password`, in `scheme` or the default one.

    Raises ValueError for an empty password or an unknown scheme, AccountError when the
    scheme's library is missing.
    """
    name = scheme or default_scheme()
    if not password:
        raise ValueError("a password can't be empty")
    if name not in SCHEMES:
        raise ValueError(f"unknown password scheme {name!r}: known are {', '.join(SCHEMES)}")
    return f"{{{name}}}{SCHEMES[name].make(password)}"


def verify(credential: str, password: str) -> bool:
    """Whether `password` is the one that `credential` keeps.

    An unknown scheme, no scheme, damaged data and an empty password are a no. Raises
    AccountError when the scheme's library is missing: that is the operator's to know.
    """
    name, data = split_credential(credential)
    scheme = SCHEMES.get(name)
    if scheme is None or not password:
        return False
    try:
        return scheme.matches(data, password) is True
    except (ValueError, TypeError, OverflowError):  # costs out of all range are the last two
        return False


def needs_rehash(credential: str) -> bool:
    """Whether `credential` was made with other costs than its scheme would choose now."""
    name, data = split_credential(credential)
    try:
        return name in SCHEMES and SCHEMES[name].outdated(data)
    except ValueError:
        return False
