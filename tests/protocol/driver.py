"""Drives a session as a server does, with every effect performed in memory."""

from __future__ import annotations

from dataclasses import dataclass

from restante.accounts.contract import Account
from restante.accounts.static import StaticAccounts
from restante.accounts.verify import Verifier
from restante.protocol.claims import Claim
from restante.protocol.commands import command_table
from restante.protocol.effects import (
    BrokenOff,
    CallHandler,
    Commit,
    Delete,
    Effect,
    Fetch,
    LogIn,
    Reset,
    StartTls,
)
from restante.protocol.errors import LineTooLong
from restante.protocol.policy import Policy
from restante.protocol.replies import Body, Err, Ok, Reply, Silent
from restante.protocol.session import Session
from restante.protocol.stuffing import wire_blocks
from restante.stores.contract import Content, Maildrop, MaildropInUse, MessageGone
from restante.stores.memory import MemoryStore
from tests.protocol.mechanisms import BASIC_MECHANISMS

TIMESTAMP = b"<1.2@restante.test>"


def policy_for(accounts: StaticAccounts) -> Policy:
    """What a server with these accounts would allow by default."""
    return Policy(
        command_table(),
        mechanisms=BASIC_MECHANISMS,
        hostname="restante.test",
        held_schemes=accounts.held_schemes(),
    )


@dataclass(frozen=True)
class Exchange:
    """A line that was answered, and all that was sent for it.

    line: None where a line had no end.
    """

    line: bytes | None
    reply: Reply
    wire: bytes


class Driver:
    """One client's session.

    exchanges: what was said, in order. accepted: the claim that let the client in.
    lines_wanted: what the fetches asked for.
    """

    def __init__(
        self,
        store: MemoryStore,
        accounts: StaticAccounts,
        policy: Policy | None = None,
        *,
        trusted: bool = True,
        tls: bool = False,
    ) -> None:
        self.store = store
        self.accounts = accounts
        self.policy = policy_for(accounts) if policy is None else policy
        timestamp = TIMESTAMP if self.policy.offers_apop() else None
        self.session = Session(self.policy, tls=tls, trusted=trusted, timestamp=timestamp)
        self.exchanges: list[Exchange] = []
        self.accepted: Claim | None = None
        self.effects: list[Effect] = []
        self.committed = False
        self.lines_wanted: list[int | None] = []
        self._verifier = Verifier(accounts)
        self._maildrop: Maildrop | None = None

    def feed(self, data: bytes) -> bytes:
        """Bytes from the client; gives what the server sends for them."""
        session, answered = self.session, len(self.exchanges)
        session.feed(data)
        try:
            while (line := session.take_line()) is not None:
                outcome = session.receive(line)
                while isinstance(outcome, Effect):
                    outcome = session.resume(self._perform(outcome))
                self._say(line, outcome)
        except LineTooLong as error:
            self._say(None, session.give_up(error))
        return b"".join(each.wire for each in self.exchanges[answered:])

    def disconnect(self) -> None:
        """The connection ends, however it does."""
        if self._maildrop is not None:
            self._maildrop.close()
            self._maildrop = None

    def _say(self, line: bytes | None, reply: Reply) -> None:
        wire = self.session.wording.encode(reply)
        if isinstance(reply, Silent):
            wire = self.session.wording.encode(Ok("begin TLS"))
        if isinstance(reply, Body):
            content: Content = reply.content
            assert isinstance(content.source, bytes)
            blocks = [content.source[:10], content.source[10:]]
            wire += b"".join(wire_blocks(blocks, content.facts, reply.top_lines, reply.downgrade))
        self.exchanges.append(Exchange(line, reply, wire))

    def _perform(self, effect: Effect) -> object:
        self.effects.append(effect)
        match effect:
            case LogIn(claim):
                account = self.accounts.lookup(claim.name)
                if account is None or not self._verifier.check(account, claim):
                    return Err("authentication failed", "AUTH")
                self.accepted = claim
                return self._open(account)
            case Fetch(number, lines):
                assert self._maildrop is not None
                self.lines_wanted.append(lines)
                try:
                    return self._maildrop.fetch(number)
                except MessageGone:
                    return Err("message was removed from elsewhere")
            case Commit(numbers):
                assert self._maildrop is not None
                self._maildrop.commit(numbers)
                self.committed = True
                self.disconnect()
                return None
            case Delete() | Reset() | StartTls() | BrokenOff():
                return None
            case CallHandler():
                return Ok("handled")
        raise AssertionError(effect)

    def _open(self, account: Account) -> object:
        try:
            self._maildrop = self.store.open(account)
        except MaildropInUse:
            return Err("maildrop is in use by another session", "IN-USE")
        return account, self._maildrop.listing
