"""What a SASL mechanism is: bytes in, challenges out, a claim at the end (RFC 4422).

A mechanism is made for one exchange and does no I/O. `step` gets the peer's response,
decoded from base64, and gives the next challenge or the finished claim; who may log in
is decided elsewhere, by what the claim is held against.

What mechanisms to come need has its place here:

* a challenge that depends on the account (SCRAM's salt), or on a decision (the error
  challenge of RFC 7628): a third kind of `Step` that asks for it. `Step` is a closed
  union, so the type checker then shows each place that has to answer it;
* data that goes with success (SCRAM's server signature): POP3 has no room for it in
  `+OK`, so it is a last `Challenge` with an empty response (RFC 5034 §4), then the claim;
* any number of rounds (GSSAPI): `step` already has them;
* channel binding, realms, keys: fields of `MechanismContext`;
* proofs of another kind: a claim class, beside those in `restante.protocol.claims`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from restante.protocol.claims import Claim
from restante.protocol.limits import MAX_LINE
from restante.protocol.replies import Continue as Challenge

Step: TypeAlias = Challenge | Claim

MAX_PART = MAX_LINE
"""Octets of a name or password: no more than USER and PASS could carry."""

__all__ = [
    "MAX_PART",
    "Challenge",
    "Mechanism",
    "MechanismContext",
    "MechanismError",
    "MechanismInfo",
    "Step",
    "credential_text",
]


class MechanismError(ValueError):
    """The response is malformed. The text may be shown to the peer: it quotes nothing."""


class Mechanism(Protocol):
    """One exchange with one peer."""

    def step(self, response: bytes | None) -> Step:
        """Take the peer's response; None means that it sent no initial one.

        Raises MechanismError for a malformed response; the exchange is then over.
        """


@dataclass(frozen=True, slots=True)
class MechanismContext:
    """What mechanisms know of their surroundings.

    hostname: this server's name, as challenges show it.
    """

    hostname: str


@dataclass(frozen=True, slots=True)
class MechanismInfo:
    """A mechanism in the registry.

    name: as announced, in upper case.
    make: begins an exchange.
    plaintext: the peer sends its password as it is, so the connection must protect it.
    needs_secret: works only for accounts that hold a `{PLAIN}` secret.
    """

    name: str
    make: Callable[[MechanismContext], Mechanism]
    plaintext: bool
    needs_secret: bool


def credential_text(part: bytes) -> str:
    """A name or password of the peer's, as text.

    Raises MechanismError when it is empty or overlong, is not UTF-8, or holds CR, LF or
    NUL, which could end a line or a string in whatever it is handed to.
    """
    if not part:
        raise MechanismError("malformed response: empty name or password")
    if len(part) > MAX_PART:
        raise MechanismError("malformed response: name or password too long")
    if any(octet in part for octet in b"\r\n\0"):
        raise MechanismError("malformed response: CR, LF or NUL in name or password")
    try:
        return part.decode("utf-8")
    except UnicodeDecodeError:
        raise MechanismError("malformed response: not UTF-8") from None
