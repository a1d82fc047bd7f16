"""What a session needs to know of a SASL mechanism: its steps ask the client and end in a claim.

The mechanisms themselves are in `restante.sasl`, one in each file.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from restante.protocol.claims import Claim
from restante.protocol.effects import Effect
from restante.protocol.replies import Continue

Exchange: TypeAlias = Generator[Continue | Effect, Any, Claim]
"""One exchange with one peer (RFC 4422 §3), read from top to bottom.

It yields a challenge and gets the client's response, decoded from base64. Or it yields an
effect and gets its result. It returns the claim, which others decide. It raises ValueError for
a malformed response; the client is told its text (of an application's, if it is a MechanismError).
"""


class Channel(Protocol):
    """What TLS says of a connection, for mechanisms that need it."""

    def binding_types(self) -> tuple[str, ...]:
        """The channel bindings that can be had here, the strongest first (RFC 5056)."""

    def binding(self, kind: str) -> bytes | None:
        """The octets of one of them, or None."""

    def names(self) -> tuple[str, ...]:
        """The names that the client's verified certificate stands for; none without one."""


class NoChannel:
    """A connection in the clear."""

    __slots__ = ()

    def binding_types(self) -> tuple[str, ...]:
        return ()

    def binding(self, kind: str) -> bytes | None:
        return None

    def names(self) -> tuple[str, ...]:
        return ()


NO_CHANNEL = NoChannel()


@dataclass(frozen=True, slots=True)
class MechanismContext:
    """What a mechanism is told of the session.

    hostname: this server's name, as challenges show it.
    offered: the mechanisms that this session was offered.
    """

    hostname: str
    channel: Channel = NO_CHANNEL
    offered: frozenset[str] = frozenset()


Begin: TypeAlias = Callable[[MechanismContext, bytes | None], Exchange]
"""Begins an exchange; the second argument is the client's initial response, if it sent one."""


@dataclass(frozen=True, slots=True)
class MechanismInfo:
    """A mechanism, and when it can be used.

    name: as announced, in upper case.
    plaintext: the client sends its secret as it is, so the connection must protect it.
    schemes: it works only for accounts that hold a credential in one of these schemes;
        None: for any.
    binds: it needs a channel binding. certificate: it needs the client's certificate.
    """

    name: str
    begin: Begin
    plaintext: bool = False
    schemes: frozenset[str] | None = None
    binds: bool = False
    certificate: bool = False

    def is_offered(self, secure: bool, channel: Channel, held: frozenset[str]) -> bool:
        """Whether it can be used now.

        secure: a password may be sent as it is. held: the schemes that accounts hold.
        """
        if self.plaintext and not secure:
            return False
        if self.schemes is not None and not self.schemes & held:
            return False
        if self.binds and not channel.binding_types():
            return False
        return not self.certificate or bool(channel.names())
