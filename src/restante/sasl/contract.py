"""What mechanisms share: the contract, and how names and passwords in responses are read.

A mechanism is a function that begins an exchange: a generator that yields challenges and
effects, and returns the claim. It does no I/O, and doesn't decide who may log in.
`restante.protocol.mechanisms` says all of it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from restante.protocol.effects import Effect, Work
from restante.protocol.limits import MAX_LINE
from restante.protocol.mechanisms import Channel, Exchange, MechanismContext, MechanismInfo
from restante.protocol.replies import Continue as Challenge

MAX_PART = MAX_LINE
"""Octets of a name or password: no more than USER and PASS could carry."""

__all__ = [
    "MAX_PART",
    "Challenge",
    "Channel",
    "Exchange",
    "MechanismContext",
    "MechanismError",
    "MechanismInfo",
    "Work",
    "ask",
    "credential_text",
]


class MechanismError(ValueError):
    """The response is malformed. The text may be shown to the peer: it quotes nothing."""


def ask(challenge: bytes) -> Generator[Challenge | Effect, Any, bytes]:
    """Within an exchange, `yield from ask(…)`: the peer's response to a challenge."""
    response: bytes = yield Challenge(challenge)
    return response


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
