"""Performs effects: has backends, maildrops and handlers do what a session asks for.

There is one way to perform an effect: the coroutine that `Performer.perform` gives. Whoever
drives it begins it in place. What needs no waiting is done when that call returns; the rest is
a task's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Generator
from math import inf
from time import monotonic, time
from typing import Any, Protocol, cast

from restante.accounts.contract import Account, AccountError
from restante.accounts.names import is_valid_name
from restante.accounts.verify import acts_as_itself
from restante.calls import Caller, in_own_context
from restante.guard.admission import TOO_MANY_TRIES, Admission, too_soon
from restante.protocol.claims import Claim
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
    StartTls,
    Work,
)
from restante.protocol.errors import Pop3Error, ProtocolError
from restante.protocol.facts import measure
from restante.protocol.listing import Listing, MessageNumber
from restante.protocol.replies import Body, Continue, Err, MultiLine, Ok, Prepared, Reply, Silent
from restante.protocol.session import Session, Steps
from restante.protocol.table import Command
from restante.server.client import ClientSession
from restante.server.context import Context
from restante.server.hooks import account_of, default_for
from restante.server.login import refuse, take_turn
from restante.server.notes import Outcome, Refused, Step, outcome_of
from restante.server.peer import Peer
from restante.server.sending import with_first_block
from restante.stores.contract import (
    CommitFailed,
    Content,
    LeaseLost,
    Maildrop,
    MaildropInUse,
    MessageGone,
    OpenedTooSoon,
    StoreError,
)

log = logging.getLogger("restante.server")

IN_USE = Err("maildrop is in use by another session", "IN-USE")
TRY_LATER = Err("temporary failure: try again later", "SYS/TEMP")
NEEDS_OPERATOR = Err("the server's operator must look into this", "SYS/PERM")
GONE = Err("message was removed from elsewhere")
LOST = Err("the maildrop was taken over by another session: nothing was removed", "SYS/TEMP")
LOGIN_FAILED = Err("authentication failed", "AUTH")

RETRY_SECONDS = 1.0
"""How soon a lease that couldn't be renewed is tried again."""


class NotAdmitted(Pop3Error):
    """A proven account may not begin a session now. reply: why, for the client."""

    def __init__(self, reply: Err) -> None:
        super().__init__(reply.text, reply.code)
        self.reply = reply


class Wire(Protocol):
    """What performing needs of the connection itself."""

    lost: bool

    @property
    def has_left(self) -> bool:
        """The client says no more, or nothing can be said to it."""

    async def ask_client(self, challenge: Continue) -> bytes:
        """Send a challenge and wait for the response."""

    async def start_tls(self) -> None:
        """Do the handshake of STLS. Raises ConnectionError, and the connection ends."""

    async def stays(self, seconds: float) -> bool:
        """Wait so many seconds, or until the client leaves. True if it is still there."""

    def introduce(self, attributes: str) -> Err | None:
        """Take a proxy's word, given by XCLIENT, for who its client is."""


class Performer:
    """Performs the effects of one connection, and holds its maildrop.

    admission: what the guard counts for the connection.
    """

    __slots__ = (
        "_account",
        "_call",
        "_client",
        "_context",
        "_login",
        "_login_step",
        "_peer",
        "_renew_at",
        "_session",
        "_wire",
        "admission",
        "fetched",
        "maildrop",
    )  # fmt: skip

    admission: Admission
    _call: Caller  # how the maildrop's methods are called
    _account: Account | None  # who is let in, while the login goes on
    _login: str  # whose login it is; "" for ANONYMOUS

    def __init__(
        self,
        context: Context,
        session: Session,
        client: ClientSession,
        peer: Peer,
        wire: Wire,
    ) -> None:
        self._context = context
        self._session = session
        self._client = client
        self._peer = peer
        self._wire = wire
        self.maildrop: Maildrop | None = None
        self._renew_at = inf  # when the maildrop's lease is to be renewed, in seconds since 1970
        self.fetched = MessageNumber(0)  # the message that was asked for last
        self._login_step: list[Any] | None = None  # while a login goes on, if anybody watches steps

    async def perform(self, effect: Effect) -> object:
        """Perform an effect, and give its result. A failure is the `Err` the client is told.

        A handler may have several performed at once, or break one off.
        """
        try:
            if not self._context.observers.steps or (step := STEPS.get(type(effect))) is None:
                return await PERFORM[type(effect)](self, effect)
            going: list[Any] = [step, monotonic()]
            if step == "login":
                self._login_step = going
            work = PERFORM[type(effect)](self, effect)
            if self._context.observers.traced:
                work = in_own_context(self._traced(work, going))
            try:
                result = await work
            except Exception as error:
                self._note_step(going, outcome_of(error))
                raise
            finally:
                self._login_step = None
            if (notes := self._client.notes) is not None:
                steps, outcome = notes.steps, "refused" if type(result) is Err else "ok"
                steps += (going[0], outcome, monotonic() - going[1])
            return result
        except Exception as error:
            if isinstance(error, ConnectionError) and self._wire.has_left:
                raise
            return await self.failure(error)

    def _note_step(self, going: list[Any], outcome: Outcome) -> None:
        if (notes := self._client.notes) is not None:
            steps = notes.steps
            steps += (going[0], outcome, monotonic() - going[1])

    async def _traced(self, work: Coroutine[Any, Any, object], going: list[Any]) -> object:
        """Do the work of a step, and tell who watches steps as they happen."""
        self._tell_begun(going)
        try:
            result = await work
        except Exception as error:
            self._tell_done(going, error)
            raise
        except BaseException:
            self._tell_done(going, Refused("broken off"))
            raise
        self._tell_done(going, Refused(result.text) if type(result) is Err else None)
        return result

    def _tell_begun(self, going: list[Any]) -> None:
        if (tell := self._context.observers.step_begun) is not None:
            tell(self._client, going[0])

    def _tell_done(self, going: list[Any], error: Exception | None) -> None:
        if (tell := self._context.observers.step_done) is not None:
            tell(self._client, going[0], monotonic() - going[1], error)

    async def failure(self, error: Exception) -> Err:
        """What the client is told of an exception, after those who should know were told."""
        match error:
            case NotAdmitted():
                return error.reply
            case Pop3Error():
                return Err(error.text, error.code)
            case ProtocolError():
                return Err(error.text, values=error.values)
            case MaildropInUse():
                return IN_USE
            case OpenedTooSoon():
                return too_soon(error.seconds)
            case MessageGone():
                return GONE
            case LeaseLost():
                text = "session %s has lost its lease, so nothing was removed: %s"
                log.warning(text, self._client.id, error)
                return LOST
        reference = await self._context.hooks.report(
            error, self._client, f"in session {self._client.id}"
        )
        if isinstance(error, CommitFailed):
            code = "SYS/TEMP" if error.temporary else "SYS/PERM"
            values = {"count": error.remaining, "reference": reference}
            return Err("{count} deleted messages not removed (ref {reference})", code, values)
        if isinstance(error, StoreError):
            return TRY_LATER if error.temporary else NEEDS_OPERATOR
        if isinstance(error, AccountError):
            return TRY_LATER
        return Err("internal error (ref {reference})", "SYS/TEMP", {"reference": reference})

    # Logging in

    async def _log_in(self, effect: LogIn) -> tuple[Account, Listing] | Err:
        context, peer, claim = self._context, self._peer, effect.claim
        login = context.backend.login_name(claim.name)
        wait = self.admission.ask(login)
        if wait != 0 and not await self._waited(claim, wait):
            return TOO_MANY_TRIES
        begun = monotonic()
        refusal = LOGIN_FAILED
        self._account = None
        self._login = "" if claim.mechanism == "ANONYMOUS" else login
        peer.admit, peer.has_room = self._admit, self._has_room
        peer.goes_first = self.admission.goes_first
        try:
            if context.hooks.authenticate:
                maildrop = await self._opened_by_handlers(claim)
            else:
                maildrop = await context.backend.log_in(claim, peer)
            if maildrop is not None:
                return await self._welcome(claim, maildrop)
        except Pop3Error as error:
            if self._account is not None:
                raise
            refusal = Err(error.text, error.code)
        except BaseException:
            self.admission.undecided()
            raise
        finally:
            peer.admit = _too_late
            if self.maildrop is None:
                self.admission.step_back()
        if (tell := context.observers.refused) is not None:
            tell(self._client, claim, "failed")
        await refuse(context, self.admission, claim, begun)
        return refusal

    async def _waited(self, claim: Claim, wait: float | None) -> bool:
        """Wait until a login may be looked at. False: it is held off."""
        observers = self._context.observers
        if wait is not None and (tell := observers.delayed) is not None:
            tell(self._client, wait)
        if await take_turn(self._context, wait, self._wire.stays):
            return True
        if (tell := observers.refused) is not None:
            tell(self._client, claim, "held off")
        return False

    async def _opened_by_handlers(self, claim: Claim) -> Maildrop | None:
        """The maildrop that the handlers of `authenticate` open; None when they refuse."""
        account = await self._authenticated(claim)
        if account is None:
            return None
        self._peer.admit(account)
        return await self._context.backend.open(account)

    async def _authenticated(self, claim: Claim) -> Account | None:
        """Whom the handlers of `authenticate` let in. Every one of them must say yes."""
        backend, peer = self._context.backend, self._peer

        async def ask_accounts() -> Account | None:
            return await backend.authenticate(claim, peer)

        account: Account | None = None
        for hook in self._context.hooks.authenticate:
            default = default_for(hook.handler, ask_accounts)
            answer = account_of(await hook(self._client, claim, default))
            if isinstance(answer, Account):
                account = answer
            elif not answer:
                return None
            elif account is None:
                account = await self._taken_for(claim)
        return None if account is None or account.disabled else account

    async def _taken_for(self, claim: Claim) -> Account | None:
        """Whom a handler's plain yes lets in: whom the client says it is, and nobody else."""
        backend = self._context.backend
        account = await backend.lookup(claim.name)
        if account is None and is_valid_name(claim.name):
            account = Account(claim.name)
        if account is None or not acts_as_itself(account, claim):
            return None
        return account if backend.is_welcome(account, self._peer) else None

    def _has_room(self, account: Account) -> bool:
        return self.admission.has_room(account.name)

    def _admit(self, account: Account) -> None:
        """The claim was proven: see whether the account may begin a session now."""
        if self._account is not None:
            return
        self._account = account
        if (going := self._login_step) is not None:
            if self._context.observers.traced:
                self._tell_done(going, None)
            self._note_step(going, "ok")
            going[:] = "open", monotonic()
            if self._context.observers.traced:
                self._tell_begun(going)
        self.admission.proven(self._login)
        refusal = self.admission.enter(account.name)
        if refusal is not None:
            raise NotAdmitted(refusal)

    async def _welcome(self, claim: Claim, maildrop: Maildrop) -> tuple[Account, Listing] | Err:
        """Begin the session that a login has opened."""
        session, context = self._session, self._context
        self.maildrop = maildrop
        self._call = context.call_blocking if maildrop.blocking else context.call_quick
        if maildrop.lease.expires is not None:
            self._plan_renewal(maildrop.lease.expires)
        try:
            account = self._account
            if account is None:
                account = maildrop.account or Account(claim.name)
                self._peer.admit(account)
            if self._wire.lost:  # the client left while we waited: that is no login
                await self.release(begun=False)
                return TRY_LATER
            session.account, session.listing = account, maildrop.listing
            if context.hooks.mailbox_info:
                await context.hooks.ask("mailbox_info", self._client)
        except BaseException:
            session.forget_maildrop()
            await self.release(begun=False)
            raise
        self.admission.settled()
        if (notes := self._client.notes) is not None:
            notes.opened, notes.mechanism = time(), claim.mechanism
            notes.before_login = len(notes.answers) // 3
        if (tell := context.observers.opened) is not None:
            tell(self._client, claim.mechanism)
        return account, maildrop.listing

    def _plan_renewal(self, expires: float) -> None:
        """Renew a lease when half of its time has gone."""
        now = time()
        self._renew_at = now + (expires - now) / 2

    @property
    def must_renew(self) -> bool:
        """Whether it is time to `renew`."""
        return self.maildrop is not None and time() >= self._renew_at

    async def renew(self) -> None:
        """Renew the maildrop's lease. A session that has lost it can't commit any more."""
        self._renew_at = inf
        maildrop = self.maildrop
        if maildrop is None:
            return
        try:
            await self._call(maildrop.lease.renew)
        except LeaseLost as error:
            log.warning("session %s: the lease was lost: %s", self._client.id, error)
        except Exception as error:
            await self._context.hooks.report(error, self._client, "renewing a lease")
            self._renew_at = time() + RETRY_SECONDS
        else:
            if maildrop.lease.expires is not None:
                self._plan_renewal(maildrop.lease.expires)

    async def _find_keys(self, effect: FindKeys) -> object:
        """What SCRAM wants to know of an account, at the same pace."""
        context = self._context
        wait = self.admission.ask(context.backend.login_name(effect.name))
        if wait != 0 and not await take_turn(context, wait, self._wire.stays):
            return TOO_MANY_TRIES
        self._peer.goes_first = self.admission.goes_first
        try:
            return await context.backend.keys(effect.name, effect.scheme, self._peer)
        except BaseException:
            self.admission.undecided()
            raise

    async def _break_off(self, effect: BrokenOff) -> None:
        self.admission.failed(None)  # what the exchange was told has to be paid for
        if (tell := self._context.observers.broken_off) is not None:
            tell(self._client, effect.mechanism, effect.reason)

    async def _work(self, effect: Work) -> object:
        return await self._context.call_worker(effect.function)

    # Messages

    async def _fetch(self, effect: Fetch) -> Content:
        maildrop = self.maildrop
        assert maildrop is not None
        self.fetched = effect.number
        hooks = self._context.hooks
        if hooks.retrieve:
            instead = await hooks.replacement("retrieve", self._client, effect.number)
            if instead is not None:
                return Content(instead, measure([instead]))
        content = await self._call(maildrop.fetch, effect.number, effect.lines)
        if type(content) is not Content:
            kind = type(content).__name__
            raise TypeError(f"a maildrop's fetch returned {kind}: it must return Content")
        if type(content.source) is bytes:
            return content
        return Content(await with_first_block(content.source, self._call), content.facts)

    async def _delete(self, effect: Delete) -> None:
        await self._context.hooks.ask("delete", self._client, effect.number)

    async def _reset(self, effect: Reset) -> None:
        await self._context.hooks.tell("reset", self._client)

    async def _commit(self, effect: Commit) -> None:
        maildrop, numbers = self.maildrop, effect.numbers
        assert maildrop is not None
        try:
            if numbers:
                if maildrop.lease.lost:
                    raise LeaseLost(f"the lease of {maildrop.lease.holder} has ended")
                await self._call(maildrop.commit, numbers)
                self._client.removed = len(numbers)
                if (tell := self._context.observers.committed) is not None:
                    tell(self._client, numbers)
        finally:
            await self.release()

    async def release(self, *, begun: bool = True) -> None:
        """Close the maildrop, which gives its lease back. Harmless when repeated.

        begun: whether the session has begun, so that its login counts for LOGIN-DELAY.

        Whether that goes well says nothing of what was removed, so a failure is only reported.
        """
        maildrop = self.maildrop
        if maildrop is None:
            return
        try:
            self.maildrop = None
            await self._call(maildrop.close if begun else maildrop.step_back)
        except Exception as error:
            await self._context.hooks.report(error, self._client, "closing a maildrop")

    # Proxies and handlers

    async def _introduce(self, effect: Introduce) -> Err | None:
        return self._wire.introduce(effect.attributes)

    async def _start_tls(self, effect: StartTls) -> None:
        await self._wire.start_tls()

    async def _call_handler(self, effect: CallHandler) -> Reply:
        handler = effect.command.handler
        assert handler is not None

        async def run_default(argument: str = effect.argument) -> Reply:
            steps = self._session.run(effect.command, argument.encode("utf-8"))
            return await self.drive(steps) if isinstance(steps, Generator) else steps

        default = default_for(handler, run_default)
        hooks = self._context.hooks
        answer = await hooks.call_command(handler, self._client, effect.argument, default)
        reply = as_reply(answer, effect.command)
        if not isinstance(reply, Prepared | Body):
            # What can't be encoded is the handler's error, and must not cost the connection.
            self._session.wording.encode(reply)
        return reply

    async def drive(self, steps: Steps) -> Reply:
        """Run a command's steps to their reply, within a handler's call of `default`."""
        result: object = None
        while True:
            try:
                outcome = steps.send(result)
            except StopIteration as end:
                return cast(Reply, end.value)
            if isinstance(outcome, Continue):
                result = await self._wire.ask_client(outcome)
            else:
                result = await self.perform(outcome)


Way = Callable[[Performer, Any], Coroutine[Any, Any, object]]

PERFORM: dict[type[Effect], Way] = {
    LogIn: Performer._log_in,
    FindKeys: Performer._find_keys,
    BrokenOff: Performer._break_off,
    Work: Performer._work,
    Fetch: Performer._fetch,
    Delete: Performer._delete,
    Reset: Performer._reset,
    Commit: Performer._commit,
    StartTls: Performer._start_tls,
    Introduce: Performer._introduce,
    CallHandler: Performer._call_handler,
}


STEPS: dict[type[Effect], Step] = {LogIn: "login", Fetch: "fetch", Commit: "commit"}
"""What observers are told of, by effect."""


def _too_late(account: Account) -> None:
    """What `Peer.admit` is between logins: it does nothing."""


def as_reply(answer: object, command: Command) -> Reply:
    """What a command's handler returned, as a reply. Raises TypeError for what can't be one.

    Nothing is an answer only for a command of the application's own: POP3's have a reply.
    """
    match answer:
        case Ok() | Err() | MultiLine() | Prepared() | Body() | Silent():
            return answer
        case None if not command.built_in:
            return Ok()
        case str():
            return Ok("{text}", {"text": answer})
        case list() if all(isinstance(line, str) for line in answer):
            return MultiLine("", answer)
    missing = " (is a 'return' missing before default()?)" if answer is None else ""
    raise TypeError(
        f"the handler of {command.verb} returned {type(answer).__name__}{missing}; it may return"
        " a reply (Ok, Err, MultiLine …), text, or a list of text lines"
    )
