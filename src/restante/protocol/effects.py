"""Effects: what a session asks to be done for it. The core does none of it itself.

Each effect is answered with `Session.resume(result)`; its docstring says with what. An `Err`
as result always means: it could not be done, tell the client this.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from restante.protocol.claims import Claim
from restante.protocol.listing import MessageNumber
from restante.protocol.table import Command


class Effect:
    """Something to be done before the reply is known."""

    __slots__ = ()


# Not frozen: a frozen one takes three times as long to make.


@dataclass(slots=True)
class LogIn(Effect):
    """Decide a login, and lease and open the maildrop (RFC 1939 §4).

    Result: a pair of the account (any object) and the maildrop's `Listing`, or an `Err`. One
    with the code IN-USE is not counted as a failed login: the claim was right.
    """

    claim: Claim


@dataclass(slots=True)
class FindKeys(Effect):
    """Find what an account keeps for SCRAM, in the middle of an exchange (RFC 5802 §3).

    Result: a `restante.sasl.scram.ScramKeys`, or an `Err`. There is one for every name:
    for those without, one that looks as if there were, always the same.
    """

    name: str
    scheme: str


@dataclass(slots=True)
class Work(Effect):
    """Have a plain function called on a worker thread, in the middle of an exchange.

    Result: what it returns, or an `Err` if it raises.
    """

    function: Callable[[], object]


@dataclass(slots=True)
class BrokenOff(Effect):
    """An exchange ended before there was a claim: for the log. Result: None.

    reason: what the client is told.
    """

    mechanism: str
    reason: str


@dataclass(slots=True)
class Fetch(Effect):
    """Get a message. Result: an object with `source` and `facts`, or an `Err`.

    lines: None for RETR; for TOP, the lines of the body that are wanted. More may be given.
    """

    number: MessageNumber
    lines: int | None = None


@dataclass(slots=True)
class Delete(Effect):
    """DELE wants to mark a message, and somebody asked to be told. Result: None or an `Err`."""

    number: MessageNumber


@dataclass(slots=True)
class Reset(Effect):
    """RSET has taken the marks back, and somebody asked to be told. Result: None."""


@dataclass(slots=True)
class Commit(Effect):
    """UPDATE: remove these messages for good, then give the lease back (RFC 1939 §6).

    Result: None when all are durably gone, or an `Err`. Asked for at each QUIT after login,
    also when nothing is marked, so that the lease is free before the client reads `+OK`.
    """

    numbers: tuple[MessageNumber, ...]


@dataclass(slots=True)
class StartTls(Effect):
    """Send `+OK`, then do the TLS handshake. Result: None; a failed one ends the connection."""


@dataclass(slots=True)
class Introduce(Effect):
    """The peer is a proxy and says who its client is. Result: None, or an `Err`.

    attributes: XCLIENT's argument, as sent.
    """

    attributes: str


@dataclass(slots=True)
class CallHandler(Effect):
    """A command has a handler of the application's. Result: a reply.

    `Session.run(command, argument)` does what the built-in command does.
    """

    command: Command
    argument: str
