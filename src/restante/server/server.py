"""Pop3Server: the component that an application embeds."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
import ssl
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from restante.accounts.contract import AccountStore, Closes
from restante.accounts.static import StaticAccounts
from restante.accounts.verify import Verifier
from restante.cores import usable_cores
from restante.guard.admission import Admission
from restante.guard.guard import Guard
from restante.guard.login_delay import LoginDelay
from restante.guard.settings import GuardSettings
from restante.protocol.commands import command_table
from restante.protocol.mechanisms import Channel
from restante.protocol.policy import TlsMode
from restante.protocol.replies import Err
from restante.protocol.states import BOTH, State
from restante.server.at_once import AtOnce
from restante.server.calls import Calls, call_on
from restante.server.connection import Connection
from restante.server.events import Dispatcher, Events, Handler
from restante.server.listen.listen import Listening, listen
from restante.server.listen.listener import Listener
from restante.server.logins import Logins
from restante.server.mechanisms import mechanisms
from restante.server.numbering import Numbering
from restante.server.runner import LoopThread
from restante.server.settings import Settings
from restante.server.tls.settings import Certificate, TlsSettings
from restante.server.transcript import Transcript
from restante.server.transport.readiness import Readiness, readiness
from restante.server.upkeep import Upkeep
from restante.stores.contract import MaildropStore, OpensMaildrops
from restante.stores.simple import SimpleMaildrops
from restante.threads import WorkerThreads

if TYPE_CHECKING:
    from restante.accounts.kerberos import Kerberos
    from restante.accounts.oauth import OAuth
    from restante.server.peer import Peer

F = TypeVar("F", bound=Handler)


class Pop3Server(Events):
    """A POP3 server over an application's own mail.

    accounts: who may log in: a mapping of names to passwords, or a store of accounts.
    store: where mail is: a `MaildropStore` of three methods, or one that opens maildrops.
    host, port, tls: where to listen and how; or `listeners` for more than one address.
    certificate: for TLS; `tls_settings` instead, for several certificates or client ones.
    case_insensitive: names in the mapping compare without regard to letter case.
    guard: what keeps attackers out; see `GuardSettings`.
    kerberos, oauth: for GSSAPI, and for OAUTHBEARER and XOAUTH2, which need one.
    secret: 32 octets, the same in all processes and after each start, so that SCRAM shows
        the same made-up keys for unknown names; without it they change with each start.
    settings: everything else; see `Settings`.

    Use it as a context manager or with `start` and `stop` from any thread, or with
    `serve` (or `open` and `close`) inside an event loop.
    """

    def __init__(
        self,
        *,
        accounts: AccountStore | Mapping[str, str],
        store: OpensMaildrops | MaildropStore,
        host: str = "127.0.0.1",
        port: int = 110,
        tls: TlsMode = "none",
        listeners: Sequence[Listener] | None = None,
        certificate: Certificate | None = None,
        tls_settings: TlsSettings | None = None,
        case_insensitive: bool = False,
        guard: Guard | GuardSettings | None = None,
        kerberos: Kerberos | None = None,
        oauth: OAuth | None = None,
        secret: bytes | None = None,
        **settings: Any,
    ) -> None:
        self.settings = Settings(**settings)
        self.listeners = [Listener(host, port, tls)] if listeners is None else list(listeners)
        if isinstance(accounts, Mapping):
            accounts = StaticAccounts(accounts, case_insensitive=case_insensitive)
        elif case_insensitive:
            raise ValueError("case_insensitive goes with a mapping; a store has its own way")
        self.accounts: AccountStore = accounts
        self.verifier = Verifier(accounts, remember=self.settings.remember_seconds)
        low, high = self.settings.min_threads, self.settings.max_threads
        self.workers = WorkerThreads("worker", low, high)
        self.storage = WorkerThreads("storage", low, high)
        self.hashing = WorkerThreads("hashing", 0, max(1, usable_cores() - 1), stand_back=True)
        self.store: OpensMaildrops = (
            store
            if isinstance(store, OpensMaildrops)
            else SimpleMaildrops(store, partial(call_on, self.storage))
        )
        self.calls = Calls(accounts, self.store, self.workers, self.storage)
        self.commands = command_table()
        self.mechanisms = mechanisms(self.settings, kerberos, oauth)
        self.asks: set[str] = set()
        """Effects that somebody listens to; see `Policy`."""
        self.events = Dispatcher(self, self.workers, self.asks)
        self.at_once = AtOnce(self)
        self.transcript = Transcript()
        self.guard = guard if isinstance(guard, Guard) else Guard(guard)
        self.login_delay = LoginDelay(self.settings.login_delay, burst=self.settings.login_burst)
        self.logins = Logins(
            accounts,
            self.calls,
            self.verifier,
            self.hashing,
            secret=secret or secrets.token_bytes(32),
            tokens=oauth,
            master_separator=self.settings.master_separator,
            upgrade=self.settings.upgrade_hashes,
            scram_iterations=self.settings.scram_iterations,
        )
        self.batch_size = self.settings.batch_size
        """Octets of a message that are read and written at a time."""
        self.hostname = self.settings.hostname or socket.gethostname() or "localhost"
        self.numbering = Numbering(self.hostname)
        self._oauth = oauth
        self.tls_settings = tls_settings
        if tls_settings is None and certificate is not None:
            self.tls_settings = TlsSettings(certificate)
        self._check_tls()
        if self.tls_settings is not None:
            self.tls_settings.add_name_hook(self._certificate_for)
        self.connections_elsewhere = 0
        """Open in other processes of the same server: they count for `max_connections`."""
        self._connections: set[Connection] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._listening: list[Listening] = []
        self._upkeep = Upkeep(self)
        self._readiness: Readiness | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._empty: asyncio.Event | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._thread: LoopThread | None = None
        self._accepting = False
        self._closed = asyncio.Event()

    def _check_tls(self) -> None:
        wanted = [each.tls for each in self.listeners if each.tls != "none"]
        if wanted and self.tls_settings is None:
            raise ValueError(f"tls={wanted[0]!r} needs certificate=Certificate(chain, key)")

    # What applications register

    def on(self, event: str) -> Callable[[F], F]:
        """Decorator: call the function at `event`; see `Events` for their names."""

        def register(handler: F) -> F:
            self.events.add(event, handler)
            return handler

        return register

    def command(
        self,
        verb: str,
        *,
        states: Sequence[State] | None = None,
        capability: str | None = None,
        secret: bool = False,
    ) -> Callable[[F], F]:
        """Decorator: let the function answer `verb`, in place of a built-in or as a new one.

        It is called with the session, the argument as text, and `default`, which does what
        the built-in command does and gives its reply. It returns a reply, text, or lines.
        states, capability, secret: for a new command, where it is answered, its line in CAPA,
        and whether its argument is kept out of the logs.
        """

        def register(handler: F) -> F:
            if verb in self.commands and states is None and capability is None:
                self.commands.replace(verb, handler, secret=secret)
            else:
                where = BOTH if states is None else frozenset(states)
                self.commands.add(verb, handler, states=where, capability=capability, secret=secret)
            return handler

        return register

    # Life

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each listener, while the server listens."""
        return [each.address for each in self.listeners if each.address is not None]

    @property
    def port(self) -> int:
        """The first listener's port, while the server listens."""
        return self.addresses[0][1]

    @property
    def sessions(self) -> int:
        """Connections that are open."""
        return len(self._connections)

    def start(self) -> None:
        """Listen, in a thread of the server's own; return once it does.

        Raises OSError when an address can't be had, RuntimeError when already started.
        """
        if self._loop is not None:
            raise RuntimeError("the server is started already")
        self._thread = LoopThread()
        try:
            self._thread.run(self.open())
        except BaseException:
            self._thread.stop()
            self._thread = None
            raise

    def stop(self) -> None:
        """Stop, from any thread: replies in flight are finished, within `drain_seconds`.

        Inside `serve` it only asks for the end; `serve` returns when it has come.
        """
        if self._thread is not None:
            self._thread.check_caller()
            thread, self._thread = self._thread, None
            thread.run(self.close())
            thread.stop()
        elif self._stopping is not None:
            self.call_soon(self._stopping.set)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def serve(self) -> None:
        """Listen and answer until `stop` is called or the task is cancelled."""
        await self.open()
        assert self._stopping is not None
        try:
            await self._stopping.wait()
        finally:
            await asyncio.shield(self.close())

    async def open(self) -> None:
        """Listen, in the running loop. Raises OSError when an address can't be had."""
        if self._loop is not None:
            raise RuntimeError("the server is started already")
        self._loop = asyncio.get_running_loop()
        self.numbering = Numbering(self.hostname)
        self._stopping = asyncio.Event()
        self._closed = asyncio.Event()
        self._accepting = True
        for threads in (self.workers, self.storage, self.hashing):
            threads.start()
        self._readiness = readiness(self._loop) if sys.platform != "win32" else None
        try:
            await self._upkeep.begin()
            for listener in self.listeners:
                context = self.tls_context() if listener.tls == "implicit" else None
                make = partial(Connection, self, listener)
                timeout = self.settings.handshake_timeout
                knock = partial(self._knock, listener)
                server = await listen(
                    listener, make, knock, self._readiness, tls=context, handshake_seconds=timeout
                )
                self._listening.append(server)
            self._upkeep.set_policies()
        except BaseException:
            self._accepting = False
            await self._shut()
            await self._end()
            raise
        self._sweeper = self._loop.create_task(self._upkeep.run())
        await self.events.tell("start")

    async def close(self) -> None:
        """Stop listening, finish replies in flight, end all sessions. Harmless when repeated."""
        if self._loop is None:
            return
        if not self._accepting:
            await self._closed.wait()
            return
        self._accepting = False
        for server in self._listening:
            server.close()
        for connection in list(self._connections):
            connection.request_close()
        if self._connections:
            self._empty = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), self.settings.drain_seconds)
        await self._shut()
        await self.events.tell("stop")
        await self._end()

    async def _end(self) -> None:
        assert self._loop is not None
        assert self._stopping is not None
        await self._loop.run_in_executor(None, self.workers.stop)
        self._loop = None
        self._stopping.set()
        self._closed.set()

    async def _shut(self) -> None:
        for connection in list(self._connections):
            connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for server in self._listening:
            server.close()
        self._listening.clear()
        await asyncio.sleep(0)  # connections cut just now hear of it
        # They still give their leases back.
        limit = time.monotonic() + 5.0
        while self._tasks and time.monotonic() < limit:
            await asyncio.wait(list(self._tasks), timeout=limit - time.monotonic())
        if self._readiness is not None:
            self._readiness.close()
        for listener in self.listeners:
            listener.address = None
        for each in (self.accounts, self._oauth):
            if isinstance(each, Closes):
                await each.aclose()
        assert self._loop is not None
        for threads in (self.storage, self.hashing):
            await self._loop.run_in_executor(None, threads.stop)

    # What connections ask for

    def tls_context(self) -> ssl.SSLContext:
        """The context for a new handshake."""
        assert self.tls_settings is not None
        return self.tls_settings.context

    def _certificate_for(self, name: str | None) -> ssl.SSLContext | None:
        """What the handlers of `certificate` say; None when they fail, or have nothing to say."""
        try:
            answers = self.events.ask_in_place("certificate", name)
        except Exception as error:
            self.spawn(self._report_certificate(error))
            return None
        return next((each for each in answers if isinstance(each, ssl.SSLContext)), None)

    async def _report_certificate(self, error: Exception) -> None:
        await self.events.report(error, None, "in the handler of certificate")

    def channel_of(self, peer: Peer) -> Channel:
        """What TLS says of a connection."""
        return peer.channel(self.tls_settings, self.settings.external_names)

    @property
    def connections(self) -> list[Connection]:
        """Those that are open."""
        return list(self._connections)

    def _knock(self, listener: Listener, address: str) -> Admission | None:
        """Count a client in before its handshake; None: it is turned away."""
        admission = Admission(self.guard, address)
        if listener.hears_xclient(address):  # it comes in for its clients, one by one
            return admission
        return admission if admission.begin() is None else None

    def admit(self, connection: Connection) -> Err | None:
        """Count a new connection in, or say why not."""
        refusal = None
        if not self._accepting:
            refusal = Err("server is stopping", "SYS/TEMP")
        elif self.sessions + self.connections_elsewhere >= self.settings.max_connections:
            refusal = Err("too many connections: try again later", "SYS/TEMP")
        elif not connection.session.proxy:
            refusal = connection.admission.begin()
        self._connections.add(connection)
        return refusal

    def forget(self, connection: Connection) -> None:
        """A connection has ended."""
        connection.admission.end()
        self._connections.discard(connection)
        if not self._connections and self._empty is not None:
            self._empty.set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Have something done that outlives its connection; `close` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self.give_way()
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def give_way(self) -> None:
        """A task was made: let it run before connections are looked after again."""
        if self._readiness is not None:
            self._readiness.give_way()

    def call_soon(self, function: Callable[[], object]) -> None:
        """Have `function` called on the event loop. From any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(function)
