"""GSSAPI (RFC 4752): login by a Kerberos ticket. There is no security layer: use TLS.

The Kerberos library is behind `Acceptor`. Its methods run on a worker thread, because they
read the keytab and the replay cache.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any, Protocol, TypeVar

from restante.protocol.claims import IdentityClaim
from restante.protocol.effects import Effect, Work
from restante.sasl.contract import (
    Challenge,
    Exchange,
    MechanismContext,
    MechanismError,
    MechanismInfo,
    ask,
    credential_text,
)

MAX_TOKEN = 64 * 1024
"""Octets of a token. The largest tickets, of people in a thousand groups, have 48 KiB."""

MAX_ROUNDS = 4
"""Tokens that establish a context. Kerberos needs one."""

NO_LAYER = b"\1\0\0\0"
"""The security layers that are offered: none, and so a buffer size of 0."""

_T = TypeVar("_T")


class Acceptor(Protocol):
    """The server's side of one security context (RFC 2743 §2.2).

    Its methods may block. They raise MechanismError for what is the peer's fault, and any
    other exception for what is not.
    """

    def step(self, token: bytes) -> tuple[bool, bytes]:
        """Take the peer's token. Whether the context stands, and a token for the peer; empty
        when there is none."""

    def names(self) -> tuple[str, ...]:
        """All names that the peer may go by once the context stands, at least one."""

    def wrap(self, message: bytes) -> bytes:
        """A token that carries `message` with proof of integrity."""

    def unwrap(self, token: bytes) -> bytes:
        """The message that the peer's token carries."""


def gssapi(make_acceptor: Callable[[], Acceptor]) -> MechanismInfo:
    """The mechanism. make_acceptor: makes an `Acceptor`; it may block as the methods do."""
    return MechanismInfo("GSSAPI", partial(_exchange, make_acceptor))


def _exchange(
    make_acceptor: Callable[[], Acceptor], context: MechanismContext, initial: bytes | None
) -> Exchange:
    """Establish a context, then agree on the security layer (RFC 4752 §3.2)."""
    token = initial if initial is not None else (yield from ask(b""))
    acceptor = yield from _establish(make_acceptor, _sound(token))
    names = yield from _work(acceptor.names)
    offer = yield from _work(partial(acceptor.wrap, NO_LAYER))
    chosen = yield from ask(offer)
    choice = yield from _work(partial(acceptor.unwrap, _sound(chosen)))
    # The size after the choice should be 0, but Java's clients used to give their buffer's.
    if choice[:1] != NO_LAYER[:1] or len(choice) < len(NO_LAYER):
        raise MechanismError("malformed response: no security layer is available")
    authzid = credential_text(choice[4:]) if len(choice) > 4 else ""
    if authzid in names:
        return IdentityClaim((authzid,), "GSSAPI")
    return IdentityClaim(names, "GSSAPI", authzid)


def _establish(
    make_acceptor: Callable[[], Acceptor], token: bytes
) -> Generator[Challenge | Effect, Any, Acceptor]:
    acceptor = yield from _work(make_acceptor)
    for _ in range(MAX_ROUNDS):
        complete, answer = yield from _work(partial(acceptor.step, token))
        if not complete:
            token = _sound((yield from ask(answer)))
        elif answer and (yield from ask(answer)):
            raise MechanismError("malformed response: nothing was asked for")
        else:
            return acceptor
    raise MechanismError("malformed response: too many tokens")


def _sound(token: bytes) -> bytes:
    if not 0 < len(token) <= MAX_TOKEN:
        raise MechanismError("malformed response: not a token")
    return token


def _work(function: Callable[[], _T]) -> Generator[Challenge | Effect, Any, _T]:
    """What `function` returns, called on a worker thread.

    What it raises would end the exchange as a failure of ours, so a MechanismError comes
    back as a value.
    """

    def attempt() -> _T | MechanismError:
        try:
            return function()
        except MechanismError as refusal:
            return refusal

    result: _T | MechanismError = yield Work(attempt)
    if isinstance(result, MechanismError):
        raise result
    return result
