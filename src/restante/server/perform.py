"""Effects performed: the session's wishes meet accounts, maildrops and handlers."""

from __future__ import annotations

import logging
from collections.abc import Coroutine, Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from restante.accounts.contract import Account, AccountError
from restante.protocol.effects import (
    BrokenOff,
    CallHandler,
    Commit,
    Delete,
    Effect,
    Fetch,
    FindKeys,
    Introduce,
    LogIn,
    Reset,
    Work,
)
from restante.protocol.errors import Pop3Error, ProtocolError
from restante.protocol.facts import measure
from restante.protocol.listing import Listing
from restante.protocol.replies import Body, Continue, Err, MultiLine, Ok, Prepared, Reply, Silent
from restante.protocol.session import Steps
from restante.server.events import default_for
from restante.server.listen.xclient import introduce, parse_xclient
from restante.server.login import Login, break_off
from restante.server.sending import begun
from restante.stores.contract import (
    CommitFailed,
    Content,
    Maildrop,
    MaildropInUse,
    MessageGone,
    StoreError,
)

if TYPE_CHECKING:
    from restante.guard.admission import Admission
    from restante.server.connection import Connection

log = logging.getLogger("restante.server")
access_log = logging.getLogger("restante.access")

IN_USE = Err("maildrop is in use by another session", "IN-USE")
TRY_LATER = Err("temporary failure: try again later", "SYS/TEMP")
NEEDS_OPERATOR = Err("the server's operator must look into this", "SYS/PERM")
GONE = Err("message was removed from elsewhere")


class Performer:
    """Performs the effects of one connection, and holds its maildrop."""

    __slots__ = ("_connection", "_server", "maildrop")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._server = connection.server
        self.maildrop: Maildrop | None = None

    @property
    def admission(self) -> Admission:
        """What the connection owes the guard."""
        return self._connection.admission

    def perform(self, effect: Effect) -> Coroutine[Any, Any, object]:
        """The work that gives the effect's result. Exceptions are for `failure`."""
        match effect:
            case Fetch():
                return self._fetch(effect)
            case LogIn():
                return self._log_in(effect)
            case Commit():
                return self._commit(effect)
            case BrokenOff():
                return self._break_off(effect)
            case FindKeys():
                return Login(self._connection).find_keys(effect)
            case Work():
                return self._server.calls.on_worker(effect.function)
            case Delete():
                return self._delete(effect)
            case Reset():
                return self._server.events.tell("reset", self._connection.client)
            case Introduce():
                return self._introduce(effect.attributes)
            case CallHandler():
                return self._call_handler(effect)
        raise AssertionError(f"not performed here: {effect}")

    async def failure(self, error: Exception) -> Err:
        """What the peer is told of an exception, after those who should know were told."""
        match error:
            case Pop3Error():
                return Err(error.text, error.code)
            case ProtocolError():
                return Err(error.text, values=error.values)
            case MaildropInUse():
                return IN_USE
            case MessageGone():
                return GONE
        reference = await self._server.events.report(
            error, self._connection.client, f"in session {self._connection.id}"
        )
        if isinstance(error, CommitFailed):
            code = "SYS/TEMP" if error.temporary else "SYS/PERM"
            values = {"count": error.remaining, "reference": reference}
            return Err("{count} deleted messages not removed (ref {reference})", code, values)
        if isinstance(error, StoreError):
            return TRY_LATER if error.temporary else NEEDS_OPERATOR
        if isinstance(error, AccountError):
            return TRY_LATER
        values = {"reference": reference}
        return Err("internal error (ref {reference})", "SYS/TEMP", values)

    # The maildrop

    async def _log_in(self, effect: LogIn) -> object:
        account = await Login(self._connection).authenticate(effect.claim)
        if isinstance(account, Err):
            return account
        opened = await self._open(account)
        return opened if isinstance(opened, Err) else (account, opened)

    async def _open(self, account: Account) -> object:
        admission = self._connection.admission
        if (refusal := admission.enter(account.name)) is not None:
            return refusal
        try:
            return await self._open_for(account)
        finally:
            if self.maildrop is None:
                admission.step_back()

    async def _open_for(self, account: Account) -> object:
        maildrop = await self._server.calls.store(self._server.store.open, account)
        self.maildrop = maildrop
        if self._connection.lost:
            # The client left while we waited: that is no login.
            await self.release()
            return TRY_LATER
        try:
            await self._announce_maildrop(account, maildrop)
        except BaseException:
            await self.release()
            raise
        return self.opened(account, maildrop)

    def opened(self, account: Account, maildrop: Maildrop) -> Listing:
        """Hold an opened maildrop from here on, and log the login."""
        self.maildrop = maildrop
        self._connection.admission.settle()
        self._server.login_delay.count(account.name)
        access_log.info(
            "login: account=%r peer=%s tls=%s messages=%d octets=%d session=%s",
            account.name,
            self._connection.address[0] or "unix",
            "yes" if self._connection.session.tls else "no",
            len(maildrop.listing),
            maildrop.listing.total,
            self._connection.id,
        )
        return maildrop.listing

    async def _announce_maildrop(self, account: Account, maildrop: Maildrop) -> None:
        if not self._server.events.heard("mailbox_info"):
            return
        session = self._connection.session
        session.account, session.listing = account, maildrop.listing
        try:
            await self._server.events.ask("mailbox_info", self._connection.client)
        except BaseException:
            session.forget_maildrop()
            raise

    # Messages

    async def _fetch(self, effect: Fetch) -> Content:
        if self._server.events.heard("retrieve"):
            client = self._connection.client
            for answer in await self._server.events.ask("retrieve", client, effect.number):
                if isinstance(answer, bytes | bytearray):
                    return Content(bytes(answer), measure([bytes(answer)]))
        assert self.maildrop is not None
        call = self._server.calls.store
        content: Content = await call(self.maildrop.fetch, effect.number)
        return Content(await begun(content.source, call), content.facts)

    async def _delete(self, effect: Delete) -> Err | None:
        client = self._connection.client
        for answer in await self._server.events.ask("delete", client, effect.number):
            if answer is False:
                return Err("message may not be deleted")
        return None

    async def _commit(self, effect: Commit) -> None:
        maildrop = self.maildrop
        assert maildrop is not None
        try:
            if effect.numbers:
                await self._server.calls.store(maildrop.commit, effect.numbers)
                name = self._connection.session.account.name
                access_log.info(
                    "deleted: account=%r messages=%d session=%s",
                    name, len(effect.numbers), self._connection.id,
                )  # fmt: skip
        finally:
            await self._release_or_report()

    async def _release_or_report(self) -> None:
        """Close the maildrop; whether that goes well says nothing of what was removed."""
        try:
            await self.release()
        except Exception as error:
            await self._server.events.report(error, self._connection.client, "closing a maildrop")

    async def release(self) -> None:
        """Close the maildrop, which gives its lease back. Harmless when repeated."""
        with suppress(Exception):  # tried again on a thread, and told then
            if self._server.at_once.close(self):
                return
        maildrop, self.maildrop = self.maildrop, None
        if maildrop is not None:
            await self._server.calls.store(maildrop.close)

    async def give_back(self) -> None:
        """Release what is still held when a session has ended: marked messages stay."""
        if self.maildrop is not None:
            self._log_discarded()
            await self._release_or_report()

    def give_back_at_once(self) -> bool:
        """The same in place, if that is quick, so that the next session may begin.

        Whether nothing is held any more. If it is, `give_back` tries again, and tells.
        """
        held = self.maildrop is not None
        try:
            given = self._server.at_once.close(self)
        except Exception:
            return False
        if held and given:
            self._log_discarded()
        return given

    def _log_discarded(self) -> None:
        if discarded := len(self._connection.session.deleted):
            log.info("session %s: %d deletions discarded, no QUIT", self._connection.id, discarded)

    # Proxies and handlers

    async def _break_off(self, effect: BrokenOff) -> None:
        break_off(self.admission, effect)

    async def _introduce(self, attributes: str) -> Err | None:
        try:
            said = parse_xclient(attributes)
        except ValueError as error:
            return Err(str(error))
        return introduce(self._connection, said)

    async def _call_handler(self, effect: CallHandler) -> Reply:
        handler = effect.command.handler
        assert handler is not None

        async def run_default(argument: str = effect.argument) -> Reply:
            steps = self._connection.session.run(effect.command, argument.encode("utf-8"))
            return await self._drive(steps) if isinstance(steps, Generator) else steps

        default = default_for(handler, run_default)
        client = self._connection.client
        answer = await self._server.events.call(handler, client, effect.argument, default)
        reply = as_reply(answer)
        if not isinstance(reply, Prepared):
            # What can't be encoded is the handler's error, and must not cost the connection.
            self._connection.session.wording.encode(reply)
        return reply

    async def _drive(self, steps: Steps) -> Reply:
        """Run a command's steps to their reply, within a handler's call of `default`."""
        result: object = None
        while True:
            try:
                outcome = steps.send(result)
            except StopIteration as end:
                return cast(Reply, end.value)
            if isinstance(outcome, Continue):
                result = await self._connection.ask_peer(outcome)
            else:
                result = await self._connection.perform(outcome)


def as_reply(answer: object) -> Reply:
    """What a command's handler returned, as a reply. Raises TypeError for what can't be one."""
    match answer:
        case Ok() | Err() | MultiLine() | Prepared() | Body() | Silent():
            return answer
        case None:
            return Ok()
        case str():
            return Ok("{text}", {"text": answer})
        case list() | tuple():
            return MultiLine("", [str(line) for line in answer])
    raise TypeError(
        f"a command's handler returned {type(answer).__name__};"
        " it may return a reply (Ok, Err, MultiLine …), text, a list of lines, or None"
    )
