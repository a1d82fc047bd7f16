"""Hooks: what an application can hear of, refuse, or decide.

Each hook belongs to one of four kinds:

- `TOLD` hooks hear of something. What they return or raise changes nothing.
- `VETO` hooks are asked before something happens. One refuses by returning False or raising
  `Pop3Error`, whose text the client is told. None and True let it happen.
- `REPLACE` hooks may refuse in the same way, or return what is used instead.
- `DECIDE` hooks answer in place of the server.

An answer of any other kind is an error: it is logged, `server_error` is told, and the command
that the hook was called for is answered with `-ERR [SYS/TEMP]`.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from secrets import token_hex
from ssl import SSLContext
from typing import Any, Final, Literal, NamedTuple, Protocol, TypeAlias, TypeVar, get_args

from restante.accounts.contract import Account
from restante.calls import Caller, check_arguments, is_async
from restante.contained import call_contained
from restante.protocol.claims import Claim
from restante.protocol.errors import Pop3Error
from restante.protocol.listing import MessageNumber
from restante.protocol.replies import Err, Reply
from restante.server.client import ClientSession
from restante.threads import WorkerThreads, call_and_lend

log = logging.getLogger("restante.server")

Handler: TypeAlias = Callable[..., Any]

Event: TypeAlias = Literal[
    "start",
    "stop",
    "accept_connection",
    "close_connection",
    "certificate",
    "authenticate",
    "mailbox_info",
    "retrieve",
    "delete",
    "reset",
    "receive_command",
    "send_response",
    "server_error",
]

EACH_COMMAND: Final = ("receive_command", "send_response")
"""Hooks that are called for every command, so that a change of threads for each would be dear."""


class Events:
    """Base of `Pop3Server`: override a method, or register a function with `on("…")`.

    Either may be plain, and then runs on a worker thread, or `async`. (A plain function for
    `receive_command` or `send_response` is called on the event loop once it has proved quick.)
    In the methods' names `on_` is put before the event's name. An exception in a handler costs
    the command it was called for, never the server, and reaches `server_error`.
    """

    def on_start(self) -> Any:
        """The server listens."""

    def on_stop(self) -> Any:
        """The server has stopped listening and all sessions have ended."""

    def on_accept_connection(self, session: ClientSession) -> Any:
        """A client has connected. Return False or raise `Pop3Error` to turn it away."""

    def on_close_connection(self, session: ClientSession) -> Any:
        """A connection has ended, however it did."""

    def on_certificate(self, server_name: str | None) -> SSLContext | None:
        """A TLS client asks for `server_name`: return a context to use for it, or None.

        Called on the event loop in the middle of the handshake: plain, and quick.
        """

    def on_authenticate(
        self, session: ClientSession, claim: Claim, default: Callable[[], Any]
    ) -> Any:
        """Credentials were received. Return True or an `Account` to let the client in.

        None and False are a refusal, and so is an exception. `default()` asks the server's
        accounts and gives an `Account` or None. Without an override it is what decides.
        """
        return default()

    def on_mailbox_info(self, session: ClientSession) -> Any:
        """A maildrop was opened after login; `session.mailbox` tells of it.

        Return False or raise `Pop3Error` to refuse the login after all.
        """

    def on_retrieve(self, session: ClientSession, number: MessageNumber) -> Any:
        """A message is about to be sent for RETR or TOP.

        Return False or raise `Pop3Error` to refuse, return bytes to send those instead.
        """

    def on_delete(self, session: ClientSession, number: MessageNumber) -> Any:
        """DELE is about to mark a message. Return False or raise `Pop3Error` to refuse."""

    def on_reset(self, session: ClientSession) -> Any:
        """RSET has taken back all marks."""

    def on_receive_command(self, session: ClientSession, line: str) -> Any:
        """A line was received, and is about to be obeyed. Secrets are shown as `****`.

        Return False or raise `Pop3Error` to refuse the command.
        """

    def on_send_response(self, session: ClientSession, line: str) -> Any:
        """A reply is about to be sent; its first line, without the line end."""

    def on_server_error(self, session: ClientSession | None, error: Exception) -> Any:
        """Something went wrong in a handler, a store or the server itself."""


EVENTS: tuple[Event, ...] = get_args(Event)


# What type checkers are told of handlers: of the functions given to `Pop3Server.on` and
# `Pop3Server.command`, plain or async.

A = TypeVar("A")
R_co = TypeVar("R_co", covariant=True)

Either: TypeAlias = A | Awaitable[A]
"""What a handler gives: an answer if it is plain, something to await for it if it is async."""

Veto: TypeAlias = bool | None
Bytes: TypeAlias = bytes | bytearray | memoryview
Answered: TypeAlias = Reply | str | list[str] | None
"""What a command's handler may answer."""

LetIn: TypeAlias = Account | bool | None


class CommandDefault(Protocol[R_co]):
    """Does what the built-in command does. argument: instead of the client's."""

    def __call__(self, argument: str = ..., /) -> R_co: ...


Default: TypeAlias = CommandDefault[Reply]
"""The `default` of a command's plain handler."""

AsyncDefault: TypeAlias = CommandDefault[Awaitable[Reply]]
"""The `default` of a command's async handler."""

LifeHandler = TypeVar("LifeHandler", bound=Callable[[], object])
CertificateHandler = TypeVar("CertificateHandler", bound=Callable[[str | None], SSLContext | None])
AuthenticateHandler = TypeVar(
    "AuthenticateHandler",
    bound=Callable[[ClientSession, Claim, Callable[[], Account | None]], LetIn]
    | Callable[[ClientSession, Claim, Callable[[], Awaitable[Account | None]]], Awaitable[LetIn]],
)
SessionVeto = TypeVar("SessionVeto", bound=Callable[[ClientSession], Either[Veto]])
DeleteHandler = TypeVar(
    "DeleteHandler", bound=Callable[[ClientSession, MessageNumber], Either[Veto]]
)
RetrieveHandler = TypeVar(
    "RetrieveHandler", bound=Callable[[ClientSession, MessageNumber], Either[Veto | Bytes]]
)
LineVeto = TypeVar("LineVeto", bound=Callable[[ClientSession, str], Either[Veto]])
SessionHandler = TypeVar("SessionHandler", bound=Callable[[ClientSession], object])
LineHandler = TypeVar("LineHandler", bound=Callable[[ClientSession, str], object])
ErrorHandler = TypeVar("ErrorHandler", bound=Callable[[ClientSession | None, Exception], object])
AnyHandler = TypeVar("AnyHandler", bound=Handler)
CommandHandler = TypeVar(
    "CommandHandler",
    bound=Callable[[ClientSession, str, Default], Answered]
    | Callable[[ClientSession, str, AsyncDefault], Awaitable[Answered]],
)

ARGUMENTS = {
    event: tuple(inspect.signature(getattr(Events, f"on_{event}")).parameters)[1:]
    for event in EVENTS
}
"""The names of the arguments that the handlers of each event are called with."""

REFUSALS = {
    "accept_connection": Err("connection refused"),
    "mailbox_info": Err("login refused"),
    "retrieve": Err("message may not be retrieved"),
    "delete": Err("message may not be deleted"),
    "receive_command": Err("command refused"),
}
"""What the client is told when a handler has returned False."""


class Hook(NamedTuple):
    """One handler of an event. caller: how it is called."""

    handler: Handler
    caller: Caller

    async def __call__(self, *args: Any) -> Any:
        """Call the handler. Raises nothing but Exceptions."""
        return await self.caller(self.handler, *args)


class Hooks:
    """The handlers of one server, by event. Each event's name is an attribute.

    owner: the server, whose overridden methods come before registered functions.
    threads: where plain handlers run.
    """

    accept_connection: tuple[Hook, ...]
    close_connection: tuple[Hook, ...]
    authenticate: tuple[Hook, ...]
    mailbox_info: tuple[Hook, ...]
    retrieve: tuple[Hook, ...]
    send_response: tuple[Hook, ...]

    def __init__(self, owner: Events, threads: WorkerThreads) -> None:
        self._threads = threads
        self._call_command = Caller(threads)
        for event in EVENTS:
            setattr(self, event, ())
        self.asked: set[str] = set()
        """The events that somebody listens to; see `Policy.asks`."""
        self.each_command = False
        """Whether some handler is called for each command."""
        for event in EVENTS:
            method = f"on_{event}"
            if getattr(type(owner), method) is not getattr(Events, method):
                self.add(event, getattr(owner, method))

    def add(self, event: Event, handler: Handler) -> None:
        """Have `handler` called at `event`. Raises ValueError, TypeError."""
        check_event(event)
        check_handler(handler, f"the handler of {event}", ARGUMENTS[event])
        if event == "certificate" and is_async(handler):
            raise TypeError("the handler of certificate must be plain: a handshake can't wait")
        caller = Caller(self._threads, probation=event in EACH_COMMAND)
        setattr(self, event, (*getattr(self, event), Hook(handler, caller)))
        self.asked.add(event)
        self.each_command = self.each_command or event in EACH_COMMAND

    def of(self, event: Event) -> tuple[Hook, ...]:
        """The handlers of an event, in the order in which they are called."""
        hooks: tuple[Hook, ...] = getattr(self, event)
        return hooks

    async def call_command(self, handler: Handler, *args: Any) -> Any:
        """Call a command's handler. Raises nothing but Exceptions."""
        return await self._call_command(handler, *args)

    async def ask(self, event: Event, *args: Any) -> None:
        """Ask the handlers of a `VETO` hook. Raises Pop3Error when one refuses."""
        for hook in self.of(event):
            answer = await hook(*args)
            if answer is False:
                raise Pop3Error(REFUSALS[event].text)
            if answer is not None and answer is not True:
                raise wrong_answer(event, answer, "None, True or False")

    async def ask_each(self, event: Event, *args: Any) -> None:
        """As `ask`, but an exception other than Pop3Error is reported, and changes nothing.

        For a hook that mostly watches, and is called for every command. An answer of a wrong
        kind may be meant as a refusal, so it is one. Raises Pop3Error.
        """
        where = f"in the handler of {event}"
        for hook in self.of(event):
            try:
                answer = await hook(*args)
            except Pop3Error:
                raise
            except Exception as error:
                await self.report(error, None, where)
                continue
            if answer is False:
                raise Pop3Error(REFUSALS[event].text)
            if answer is not None and answer is not True:
                wrong = wrong_answer(event, answer, "None, True or False")
                reference = await self.report(wrong, None, where)
                raise Pop3Error(f"internal error (ref {reference})", "SYS/TEMP")

    async def replacement(self, event: Event, *args: Any) -> bytes | None:
        """Ask the handlers of a `REPLACE` hook; the first replacement. Raises Pop3Error."""
        found: bytes | None = None
        for hook in self.of(event):
            answer = await hook(*args)
            if answer is False:
                raise Pop3Error(REFUSALS[event].text)
            if isinstance(answer, bytes | bytearray | memoryview):
                found = bytes(answer) if found is None else found
            elif answer is not None and answer is not True:
                raise wrong_answer(event, answer, "bytes, None, True or False")
        return found

    def certificate_for(self, name: str | None) -> SSLContext | None:
        """What the handlers of `certificate` say, which are plain and called in place."""
        for hook in self.of("certificate"):
            answer = call_contained(hook.handler, name)
            if isinstance(answer, SSLContext):
                return answer
            if answer is not None:
                raise wrong_answer("certificate", answer, "an ssl.SSLContext or None")
        return None

    async def tell(self, event: Event, *args: Any) -> None:
        """Call the handlers of a `TOLD` hook."""
        for hook in self.of(event):
            try:
                await hook(*args)
            except Exception as error:
                if event == "server_error":
                    log.exception("the handler of server_error failed")
                else:
                    await self.report(error, None, f"in the handler of {event}")

    async def report(self, error: Exception, session: ClientSession | None, where: str) -> str:
        """Log an error and tell `server_error`. Gives the reference that the log shows."""
        reference = token_hex(4)
        log.error("error %s (ref %s)", where, reference, exc_info=error)
        await self.tell("server_error", session, error)
        return reference


def check_handler(handler: Handler, what: str, arguments: Sequence[str]) -> None:
    """Raise TypeError for what can't be a handler.

    what: which one it would be. arguments: the names of those that it will be called with.
    """
    if not callable(handler):
        raise TypeError(f"{what} must be a function, not {handler!r}")
    if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
        raise TypeError(f"{what} is a generator ('yield' in it): a call would run none of it")
    check_arguments(handler, what, arguments)


def check_event(event: object) -> None:
    """Raise ValueError for what is no event's name."""
    if event not in EVENTS:
        raise ValueError(f"there is no event {event!r}; there are: {', '.join(EVENTS)}")


def wrong_answer(event: str, answer: object, allowed: str) -> TypeError:
    """The error for an answer of the wrong kind."""
    kind = type(answer).__name__
    return TypeError(f"a handler of {event} returned {kind}; it may return {allowed}")


def default_for(
    handler: Handler, work: Callable[..., Coroutine[Any, Any, Any]]
) -> Callable[..., Any]:
    """`work` as `handler` can call it: to be awaited, or waiting on its worker thread."""
    if is_async(handler):
        return work
    loop = asyncio.get_running_loop()

    def call(*args: Any) -> Any:
        return call_and_lend(loop, work(*args))

    return call


def account_of(answer: object) -> Account | bool:
    """What a handler of `authenticate` has decided. Raises TypeError for any other answer."""
    if isinstance(answer, Account | bool):
        return answer
    if answer is None:
        return False
    raise wrong_answer("authenticate", answer, "True, an Account, False or None")
