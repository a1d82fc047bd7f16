"""What a session asks to be done for it. The core does none of it itself.

Each effect is answered with `Session.resume(result)`; the docstring says with what. An
`Err` as result always means: it could not be done, tell the peer this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from restante.protocol.claims import Claim
from restante.protocol.listing import MessageNumber

if TYPE_CHECKING:
    from restante.protocol.commands import CommandSpec


class Effect:
    """Something to be done before the reply is known."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Authenticate(Effect):
    """Decide a login. Result: the account (any object), or an `Err`."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class FindKeys(Effect):
    """Find what an account keeps for SCRAM, in the middle of an exchange (RFC 5802 §3).

    Result: a `restante.sasl.scram.ScramKeys`, or an `Err`. There is one for every name:
    for those without, one that looks as if there were, always the same.
    """

    name: str
    scheme: str


@dataclass(frozen=True, slots=True)
class Work(Effect):
    """Have a plain function called on a worker thread, in the middle of an exchange.

    Result: what it returns, or an `Err` if it raises.
    """

    function: Callable[[], object]


@dataclass(frozen=True, slots=True)
class BrokenOff(Effect):
    """An exchange ended before there was a claim: for the log. Result: None.

    reason: what the peer is told.
    """

    mechanism: str
    reason: str


@dataclass(frozen=True, slots=True)
class OpenMaildrop(Effect):
    """Lease and open the maildrop of the account just authenticated.

    Result: its `Listing`, or an `Err`.
    """

    account: object


@dataclass(slots=True)  # not frozen, which would cost half a microsecond a message
class Fetch(Effect):
    """Get a message. Result: an object with `source` and `facts`, or an `Err`.

    top_lines: None for RETR; for TOP, the body lines that are wanted.
    """

    number: MessageNumber
    top_lines: int | None = None


@dataclass(frozen=True, slots=True)
class Delete(Effect):
    """DELE wants to mark a message, and somebody asked to be told. Result: None or an `Err`."""

    number: MessageNumber


@dataclass(frozen=True, slots=True)
class Reset(Effect):
    """RSET has taken the marks back, and somebody asked to be told. Result: None."""


@dataclass(frozen=True, slots=True)
class Commit(Effect):
    """UPDATE: remove these messages for good, then give the lease back (RFC 1939 §6).

    Result: None when all are durably gone, or an `Err`. Asked for even when nothing is
    marked, so that the lease is free before the client reads `+OK`.
    """

    numbers: tuple[MessageNumber, ...]


@dataclass(frozen=True, slots=True)
class StartTls(Effect):
    """Send `+OK`, then do the TLS handshake. Result: None; a failed one ends the connection."""


@dataclass(frozen=True, slots=True)
class Introduce(Effect):
    """The peer is a proxy and says who its client is. Result: None, or an `Err`.

    attributes: XCLIENT's argument, as sent.
    """

    attributes: str


@dataclass(frozen=True, slots=True)
class CallHandler(Effect):
    """A command has a handler of the application's. Result: a reply."""

    spec: CommandSpec
    argument: str
