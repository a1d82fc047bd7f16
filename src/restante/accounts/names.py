"""Names and addresses: which may be given to accounts, and which are the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Self
from unicodedata import category, normalize

MAX_NAME = 255
"""Characters of an account's name, maildrop or address; RFC 4616 §2 has clients send as much."""

MAX_PASSWORD = 255
"""Octets of a password that can be set: what every mechanism must carry (RFC 4616 §2)."""

REMEMBERED = 10_000
"""Names that need not be looked at letter by letter again, some 5 MB at most."""

# Controls, surrogates, and the separators of lines and paragraphs.
_UNFIT = {"Cc", "Cs", "Zl", "Zp"}


class AccountExists(ValueError):
    """The name or the address belongs to an account already."""


class NoSuchAccount(ValueError):
    """There is no account of that name."""


@dataclass(frozen=True, slots=True)
class Matching:
    """How a store compares names and finds the account of an address.

    Names compare in NFC, and in lower case if `case_insensitive`, as RFC 8265 §3.3 says; what
    follows the last "@" of a name is a domain, and compares by its `domain_key`.

    domains: keys of the domains whose mail the accounts get; see `of`. Empty: of any domain.
    """

    case_insensitive: bool
    domains: frozenset[str] = frozenset()

    @classmethod
    def of(cls, case_insensitive: bool, domains: Iterable[str] = ()) -> Self:
        """With `domains` as people write them."""
        return cls(case_insensitive, frozenset(map(domain_key, domains)))

    def key(self, name: str) -> str:
        """The same for names that are the same."""
        return name_key(name, self.case_insensitive)

    def local_key(self, address: str) -> str | None:
        """The key of the name that `address` stands for by its local part alone.

        None when its domain is not one of ours.
        """
        local, at, domain = address.rpartition("@")
        if at and (not self.domains or domain_key(domain) in self.domains):
            return self.key(local)
        return None


def name_key(name: str, case_insensitive: bool = True) -> str:
    """The same for all names that are the same to a store which heeds case, or doesn't."""
    return (_key if len(name) <= MAX_NAME else _make_key)(name, case_insensitive)


def _make_key(name: str, case_insensitive: bool) -> str:
    local, at, domain = normalize("NFC", name).rpartition("@")
    if not at:
        local, domain = domain, ""
    if case_insensitive:
        local = normalize("NFC", local.lower())
    return local + at + (domain_key(domain) if domain else "")


_key = lru_cache(REMEMBERED)(_make_key)


def domain_key(domain: str) -> str:
    """The same for all spellings of one domain, A-labels and U-labels alike (IDNA 2008).

    It is the domain in lower case, with A-labels. A name that IDNA doesn't allow has its lower
    case for a key, and so has every domain that isn't ASCII where the library idna is missing.
    """
    if domain.isascii():
        return domain.lower()
    lower = normalize("NFC", normalize("NFC", domain).lower())
    try:
        from idna import IDNAError, encode  # noqa: PLC0415 - an extra, loaded when needed
    except ImportError:
        return lower
    try:
        # UTS 46 maps what people type, such as capitals and full stops of other scripts.
        return encode(lower[:MAX_NAME], uts46=True).decode() + lower[MAX_NAME:]
    except IDNAError:
        return lower


def spellings(key: str) -> tuple[str, ...]:
    """A name's key as others may have stored it: with U-labels, if it has any, and as it is."""
    local, at, domain = key.rpartition("@")
    if not at or "xn--" not in domain:
        return (key,)
    try:
        from idna import IDNAError, decode  # noqa: PLC0415 - an extra, loaded when needed
    except ImportError:
        return (key,)
    try:
        return local + at + decode(domain), key
    except IDNAError:
        return (key,)


def is_valid_name(name: str) -> bool:
    """Whether an account may have this name: 1 to 255 characters, none of them a control
    character or a separator of lines, no white space at either end.
    """
    return 1 <= len(name) <= MAX_NAME and _is_valid(name)


@lru_cache(REMEMBERED)
def _is_valid(name: str) -> bool:
    return name == name.strip() and not any(category(each) in _UNFIT for each in name)


def check_name(name: str, what: str = "name") -> str:
    """`name` in NFC. Raises ValueError, naming `what` it is, unless it is a valid name."""
    if not is_valid_name(name):
        raise ValueError(
            f"{what} {name[:80]!r}: 1 to {MAX_NAME} characters, no control characters, "
            "no white space at the ends"
        )
    return normalize("NFC", name)


def check_address(address: str) -> str:
    """`address` in NFC, or "" for none. Raises ValueError unless it is `local@domain`."""
    if not address:
        return ""
    local, _, domain = address.rpartition("@")
    if not local or not domain:
        raise ValueError(f"e-mail address {address[:80]!r}: not of the form local@domain")
    return check_name(address, "e-mail address")


def check_password(password: str) -> str:
    """`password`, if clients can send it. Raises ValueError, which doesn't quote it, if not."""
    if not password:
        raise ValueError("password: can't be empty")
    try:
        size = len(password.encode())
    except UnicodeEncodeError:
        raise ValueError("password: not Unicode text") from None
    if size > MAX_PASSWORD:
        raise ValueError(f"password: more than {MAX_PASSWORD} octets")
    if any(character in password for character in "\r\n\0"):
        raise ValueError("password: can't hold CR, LF or NUL")
    return password
