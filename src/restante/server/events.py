"""The server's events: what an application can hear of, and decide."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Coroutine
from secrets import token_hex
from ssl import SSLContext
from typing import TYPE_CHECKING, Any

from restante.accounts.contract import Account
from restante.contained import contained
from restante.protocol.claims import Claim
from restante.protocol.listing import MessageNumber
from restante.threads import WorkerThreads, call_and_lend

if TYPE_CHECKING:
    from restante.server.client import ClientSession

log = logging.getLogger("restante.server")

Handler = Callable[..., Any]


class Events:
    """Base of `Pop3Server`: override a method, or register a function with `on("…")`.

    Either may be plain, and then runs on a worker thread, or `async`. In the methods'
    names `on_` is put before the event's name. An exception in a handler costs the
    command it was called for, never the server, and reaches `server_error`.
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
        self, session: ClientSession, claim: Claim, default: Callable[[], Account | None]
    ) -> Any:
        """Credentials were received. Return True or an `Account` to let the client in.

        Anything else, None included, is a refusal, and so is an exception. `default()`
        asks the server's accounts and gives an `Account` or None.
        """

    def on_mailbox_info(self, session: ClientSession) -> Any:
        """A maildrop was opened after login; `session.mailbox` tells of it.

        Raise `Pop3Error` to refuse the login after all.
        """

    def on_retrieve(self, session: ClientSession, number: MessageNumber) -> Any:
        """A message is about to be sent for RETR or TOP.

        Raise `Pop3Error` to refuse, return bytes to send those instead.
        """

    def on_delete(self, session: ClientSession, number: MessageNumber) -> Any:
        """DELE is about to mark a message. Return False or raise `Pop3Error` to refuse."""

    def on_reset(self, session: ClientSession) -> Any:
        """RSET has taken back all marks."""

    def on_receive_command(self, session: ClientSession, line: str) -> Any:
        """A line was received. Secrets have been replaced by `****`."""

    def on_send_response(self, session: ClientSession, line: str) -> Any:
        """A reply is about to be sent; its first line, without the line end."""

    def on_server_error(self, session: ClientSession | None, error: Exception) -> Any:
        """Something went wrong in a handler, a store or the server itself."""


EVENTS = tuple(name.removeprefix("on_") for name in vars(Events) if name.startswith("on_"))


class Dispatcher:
    """Knows who listens to what, and calls them.

    owner: the server, whose overridden methods come before registered functions.
    """

    def __init__(self, owner: Events, threads: WorkerThreads, asks: set[str]) -> None:
        self._threads = threads
        self.watches_commands = False
        """Whether each command and reply is told to somebody."""
        self._asks = asks
        self._handlers: dict[str, list[Handler]] = {event: [] for event in EVENTS}
        for event in EVENTS:
            name = f"on_{event}"
            if getattr(type(owner), name) is not getattr(Events, name):
                self.add(event, getattr(owner, name))

    def add(self, event: str, handler: Handler) -> None:
        """Have `handler` called at `event`. Raises ValueError for an unknown event."""
        if event not in self._handlers:
            raise ValueError(f"there is no event {event!r}; there are: {', '.join(EVENTS)}")
        self._handlers[event].append(handler)
        if event in ("receive_command", "send_response"):
            self.watches_commands = True
        if event in ("delete", "reset"):
            self._asks.add(event)

    def heard(self, event: str) -> bool:
        """Whether anybody listens."""
        return bool(self._handlers[event])

    def listeners(self, event: str) -> tuple[Handler, ...]:
        """Those who listen, in the order in which they are called."""
        return tuple(self._handlers[event])

    async def ask(self, event: str, *args: Any) -> list[Any]:
        """Call all handlers, in order; give what they returned. Their exceptions come through."""
        return [await self.call(handler, *args) for handler in self.listeners(event)]

    def ask_in_place(self, event: str, *args: Any) -> list[Any]:
        """The same for an event whose handlers are plain and run where they are called."""
        with contained:
            return [handler(*args) for handler in self.listeners(event)]

    async def call(self, handler: Handler, *args: Any) -> Any:
        """Call one function: awaited if it is async, else on a worker thread."""
        with contained:
            if is_async(handler):
                return await handler(*args)
            result = await self._threads.run(handler, *args)
            return await result if inspect.isawaitable(result) else result

    async def tell(self, event: str, *args: Any) -> None:
        """Call all handlers; what they return or raise changes nothing for the caller."""
        for handler in self.listeners(event):
            try:
                await self.call(handler, *args)
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


def is_async(function: Handler) -> bool:
    """Whether calling `function` gives something to await; sees through callable objects."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - the question is whether it is async
    )


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
