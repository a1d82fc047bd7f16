"""Claims: what a login asserts, to be held against an account's credentials.

The protocol makes them (USER and PASS, APOP) and so do SASL mechanisms; whoever knows
the accounts decides. A claim never shows its secret when printed.
"""

from __future__ import annotations

import hmac
from abc import abstractmethod
from dataclasses import dataclass, field
from hashlib import md5
from typing import Protocol, TypeAlias, runtime_checkable


@dataclass(frozen=True, slots=True)
class PasswordClaim:
    """The peer sent a name and a password, in the clear or inside TLS.

    authzid: the identity to act as (RFC 4616 §2); empty means the name's own.
    """

    name: str
    password: str = field(repr=False)
    mechanism: str = "USER"
    authzid: str = ""


@runtime_checkable
class SecretClaim(Protocol):
    """The peer proved that it knows a secret which it did not send."""

    @property
    def name(self) -> str:
        """The account's name, as the peer gave it."""

    @property
    def mechanism(self) -> str:
        """`APOP`, or the SASL mechanism's name."""

    @abstractmethod
    def holds_for(self, secret: bytes) -> bool:
        """Whether the proof was made with `secret`; compared in constant time."""


@dataclass(frozen=True, slots=True)
class ApopClaim:
    """APOP's digest: MD5 of the greeting's timestamp and the secret (RFC 1939 §7)."""

    name: str
    timestamp: bytes = field(repr=False)
    digest: str = field(repr=False)
    mechanism: str = "APOP"

    def holds_for(self, secret: bytes) -> bool:
        expected = md5(self.timestamp + secret, usedforsecurity=False).hexdigest()
        return hmac.compare_digest(expected.encode(), self.digest.encode())


Claim: TypeAlias = PasswordClaim | SecretClaim
