"""Claims: what a client says to log in. A backend compares it with an account's credentials.

USER and PASS, APOP and the SASL mechanisms make claims; whoever knows the accounts decides
them. A claim never shows its secret when it is printed.
"""

from __future__ import annotations

import hmac
from abc import abstractmethod
from dataclasses import dataclass, field
from hashlib import md5
from typing import Protocol, TypeAlias, runtime_checkable


@dataclass(frozen=True, slots=True)
class PasswordClaim:
    """The client sent a name and a password, in the clear or inside TLS.

    authzid: the identity to act as (RFC 4616 §2); empty means the name's own.
    """

    name: str
    password: str = field(repr=False)
    mechanism: str = "USER"
    authzid: str = ""


@runtime_checkable
class SecretClaim(Protocol):
    """The client has shown that it knows a secret, without sending it."""

    @property
    def name(self) -> str:
        """The account's name, as the client gave it."""

    @property
    def mechanism(self) -> str:
        """`APOP`, or the SASL mechanism's name."""

    @property
    def authzid(self) -> str:
        """The identity to act as; empty means the name's own."""

    @property
    def schemes(self) -> frozenset[str]:
        """The schemes of credentials that the proof can be held against."""

    @abstractmethod
    def holds_for(self, scheme: str, data: str) -> bool:
        """Whether the proof was made with the secret that a credential `{scheme}data` keeps.

        Compared in constant time. Raises ValueError when `data` is damaged.
        """


@dataclass(frozen=True, slots=True)
class ApopClaim:
    """APOP's digest: MD5 of the greeting's timestamp and the secret (RFC 1939 §7)."""

    name: str
    timestamp: bytes = field(repr=False)
    digest: str = field(repr=False)
    mechanism: str = "APOP"
    authzid: str = ""
    schemes: frozenset[str] = frozenset({"PLAIN"})

    def holds_for(self, scheme: str, data: str) -> bool:
        secret = data.encode("utf-8", "surrogateescape")
        expected = md5(self.timestamp + secret, usedforsecurity=False).hexdigest()
        return hmac.compare_digest(expected.encode(), self.digest.encode())


@dataclass(frozen=True, slots=True)
class TokenClaim:
    """The client sent a bearer token (RFC 6750), which its issuer has to confirm.

    name: whose token the client says it is; may be empty, because the token says it.
    refusal: the challenge that a refused client gets before the reply (RFC 7628 §3.2.3).
    """

    name: str
    token: str = field(repr=False)
    mechanism: str
    refusal: bytes
    authzid: str = ""


@dataclass(frozen=True, slots=True)
class IdentityClaim:
    """The client has proven already who it is: by its certificate, or by its Kerberos ticket.

    names: all names that the proof is for. The first that has an account counts.
    Only mechanisms that have checked the proof may make one.
    """

    names: tuple[str, ...]
    mechanism: str
    authzid: str = ""

    @property
    def name(self) -> str:
        """The first of the names."""
        return self.names[0]


Claim: TypeAlias = PasswordClaim | SecretClaim | TokenClaim | IdentityClaim
