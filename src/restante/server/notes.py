"""What a server notes of its sessions for observers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

from restante.protocol.errors import Pop3Error
from restante.protocol.listing import MessageNumber
from restante.stores.contract import MaildropInUse, OpenedTooSoon

Step: TypeAlias = Literal["login", "open", "fetch", "commit"]
"""What takes time in a session.

login: a claim is checked, the wait after a refusal included. open: the maildrop is opened for
the account that was proven. fetch: a message is found, and its first block read. commit: QUIT
removes messages and closes the maildrop.
"""

Outcome: TypeAlias = Literal["ok", "refused", "in use", "error"]
"""How a step ended. refused: the client was told no. in use: because another session has the
maildrop. error: something is wrong with the server."""


class Refused(Exception):
    """The error of a step that ended in a refusal: nothing was wrong with the server."""


class Notes:
    """What a session did since observers were told of it last.

    All observers are given the same notes, so none may change them. The lists are flat, which is
    quickest to write and to count; `each_answer`, `each_message` and `each_step` have them entry
    by entry.

    answers: three entries a command: its verb as the command table has it, "" for what is no
        command; whether the reply was `+OK`; the reply's octets, without the message that follows
        RETR's and TOP's.
    messages: two entries a message that was sent: its number, and TOP's lines, None for RETR.
    steps: three entries a step: `Step`, `Outcome`, seconds. Empty unless an observer is `timed`.
        One that a handler broke off isn't there.

    opened: when the client logged in, in seconds since 1970; None if it wasn't in this time.
    mechanism: by which it did: `USER`, `APOP` or SASL's.
    before_login: how many commands were answered before the one that logged in.
    last: the connection has ended: nothing follows, and `ClientSession.ended` says how.
    """

    __slots__ = ("answers", "before_login", "last", "mechanism", "messages", "opened", "steps")

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.messages: list[Any] = []
        self.steps: list[Any] = []
        self.opened: float | None = None
        self.mechanism = ""
        self.before_login = 0
        self.last = False

    def each_answer(self) -> Iterator[tuple[str, bool, int]]:
        """Verb, whether it was `+OK`, octets of each command that was answered, in order."""
        return zip(*[iter(self.answers)] * 3, strict=True)

    def each_message(self) -> Iterator[tuple[MessageNumber, int | None]]:
        """Number and TOP's lines, None for RETR, of each message that was sent, in order."""
        return zip(*[iter(self.messages)] * 2, strict=True)

    def each_step(self) -> Iterator[tuple[Step, Outcome, float]]:
        """Step, outcome and seconds of each step that has ended, in order."""
        return zip(*[iter(self.steps)] * 3, strict=True)


def outcome_of(error: Exception | None) -> Outcome:
    """How a step ended that failed with this error, if it failed."""
    match error:
        case None:
            return "ok"
        case MaildropInUse():
            return "in use"
        case Refused() | Pop3Error() | OpenedTooSoon():
            return "refused"
    return "error"
