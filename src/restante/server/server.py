"""Pop3Server: the component that an application embeds."""

from __future__ import annotations

import asyncio
import logging
import secrets
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Never, Self, Unpack, overload

from restante.accounts.contract import Account, AccountStore
from restante.accounts.given import as_accounts
from restante.accounts.hashing import Hashing
from restante.calls import Caller
from restante.cores import usable_cores
from restante.guard.admission import Admission
from restante.guard.guard import Guard
from restante.guard.login_delay import LoginDelay
from restante.guard.settings import GuardSettings
from restante.networks import own_host_name
from restante.protocol.commands import command_table
from restante.protocol.policy import Policy, TlsMode
from restante.protocol.states import BOTH, State
from restante.server.backend import Backend, StandardBackend, as_backend
from restante.server.client import ClientSession
from restante.server.connection import Connection
from restante.server.context import Context
from restante.server.debug_log import DebugLog
from restante.server.hooks import (
    AnyHandler,
    AuthenticateHandler,
    CertificateHandler,
    CommandHandler,
    DeleteHandler,
    ErrorHandler,
    Event,
    Events,
    Hooks,
    LifeHandler,
    LineHandler,
    LineVeto,
    RetrieveHandler,
    SessionHandler,
    SessionVeto,
    check_event,
    check_handler,
)
from restante.server.listen.listen import Listening, listen
from restante.server.listen.listener import Listener
from restante.server.live import Live
from restante.server.mechanisms import mechanisms
from restante.server.numbering import Numbering
from restante.server.observer import AccessLog, Observer, Observers
from restante.server.runner import LoopThread
from restante.server.settings import Settings, SettingsGiven
from restante.server.tls.settings import A_CERTIFICATE, Certificate, TlsSettings
from restante.server.transport.readiness import Readiness, readiness
from restante.server.transport.transport import MakeTransport, SocketTransport
from restante.settings_fields import check_keywords, keywords
from restante.stores.contract import MaildropStore, Store
from restante.stores.simple import as_store
from restante.threads import WorkerThreads

if TYPE_CHECKING:  # extras, which are loaded when they are used
    from restante.accounts.kerberos import Kerberos
    from restante.accounts.oauth import OAuth

log = logging.getLogger("restante.server")

SECRET_OCTETS = 32

_MAKE_ONE = "make one by secrets.token_bytes(32), and keep it"

_NEEDED = "a server needs accounts and a store, or a backend"

WITHOUT_DELAYS = GuardSettings(delay_first=0, ban_seconds=0)
"""The guard of a server that is given `for_tests`."""

SWEEP_SECONDS = 1.0
"""How often time limits are looked at, and what changes while the server runs."""


class Pop3Server(Events):
    """A POP3 server over an application's own mail.

    accounts: who may log in: a mapping of names to passwords, or an `AccountStore`.
    store: where mail is: a `MaildropStore` of three methods, or a `Store` that opens maildrops.
    backend: takes the place of both, for a server that logs in somewhere else; see `Backend`.
    host, port, tls: where to listen and how; or `listeners` for more than one address.
    certificate: for TLS; `tls_settings` instead, for several certificates or client ones.
    case_insensitive: names in the mapping compare without regard to letter case.
    guard: what keeps attackers out; see `GuardSettings`.
    for_tests: of an application: wrong passwords are answered at once, and nobody is delayed
        or banned for them.
    kerberos, oauth: for GSSAPI, and for OAUTHBEARER and XOAUTH2, which need one.
    secret: 32 octets, the same in all processes and after each start, so that SCRAM shows
        the same made-up keys for unknown names; without it they change with each start.
    settings: everything else, by name; see `Settings`.

    Use it as a context manager or with `start` and `stop` from any thread, or with
    `serve` (or `open` and `close`) inside an event loop.

    Raises TypeError and ValueError for what can't be used, and OSError or ssl.SSLError for a
    certificate that can't be read.
    """

    _schemes_told = True
    """Whether the accounts answered when they were last asked for their schemes."""

    def __init__(
        self,
        *,
        accounts: AccountStore | Mapping[str, str | Account] | None = None,
        store: Store | MaildropStore | None = None,
        backend: Backend | None = None,
        host: str | None = None,
        port: int | None = None,
        tls: TlsMode | None = None,
        listeners: Sequence[Listener] | None = None,
        certificate: Certificate | None = None,
        tls_settings: TlsSettings | None = None,
        case_insensitive: bool = False,
        guard: Guard | GuardSettings | None = None,
        for_tests: bool = False,
        kerberos: Kerberos | None = None,
        oauth: OAuth | None = None,
        secret: bytes | None = None,
        **settings: Unpack[SettingsGiven],
    ) -> None:
        check_keywords(type(self), settings, [*keywords(Pop3Server), *keywords(Settings)])
        self.settings = Settings(**settings)
        if _flag("for_tests", for_tests):
            if guard is not None:
                raise ValueError("for_tests takes the place of guard: give one or the other")
            guard = WITHOUT_DELAYS
            self.settings = replace(self.settings, failure_delay=0)
        self.listeners = _listeners(listeners, host, port, tls)
        self.commands = command_table()
        self._tls = _tls_settings(certificate, tls_settings, self.listeners)
        if self._tls is not None:
            self._tls.add_name_hook(self._certificate_for)
        low, high = self.settings.min_threads, self.settings.max_threads
        self._workers = WorkerThreads("worker", low, high)
        self._storage = WorkerThreads("storage", low, high)
        hashing = self.settings.hashing_threads or max(1, usable_cores() - 1)
        self._hashing = WorkerThreads("hashing", 0, hashing, stand_back=True)
        self._hooks = Hooks(self, self._workers)
        self.observers = Observers(AccessLog())
        """Who watches the sessions; see `observe`."""
        self.dropped: Counter[str] = Counter()
        """Clients that were dropped before their TLS handshake, by the text that they would have
        been told in the clear. No observer is told of them: they have no session."""
        self.debug_log = DebugLog(self.observers)
        """Logs the dialogues that are chosen."""
        self._live = Live(self.settings.max_connections)
        self._guard = _guard(guard)
        delay = LoginDelay(self.settings.login_delay, burst=self.settings.login_burst)
        self._call_blocking = Caller(self._storage)
        self._call_quick = Caller(self._storage, blocking=False)
        _check_issuers(kerberos, oauth)
        secret = _secret(secret)
        if backend is None:
            accounts = _accounts(accounts, _flag("case_insensitive", case_insensitive))
            backend = self._standard_backend(accounts, store, oauth, secret)
        elif accounts is not None or store is not None:
            raise TypeError("backend takes the place of accounts and store: give one or the other")
        self.context = Context(
            settings=self.settings,
            backend=as_backend(backend),
            guard=self._guard,
            login_delay=delay,
            hooks=self._hooks,
            observers=self.observers,
            live=self._live,
            numbering=Numbering(self._hostname),
            tls=self._tls,
            call_blocking=self._call_blocking,
            call_quick=self._call_quick,
            call_worker=Caller(self._workers),
            call_soon=self._call_soon,
        )
        """What connections need of the server."""
        self.make_transport: MakeTransport = SocketTransport
        """Makes the transport of each connection; set before the start. The test kit's fails."""
        self.mechanisms = mechanisms(self.settings, kerberos, oauth)
        self._schemes: frozenset[str] = frozenset()
        self._listening: list[Listening] = []
        self._readiness: Readiness | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[Any] | None = None
        self._thread: LoopThread | None = None
        self._closed = asyncio.Event()

    @property
    def _hostname(self) -> str:
        return self.settings.hostname or own_host_name()

    def _standard_backend(
        self,
        accounts: AccountStore,
        store: Store | MaildropStore | None,
        oauth: OAuth | None,
        secret: bytes,
    ) -> StandardBackend:
        if store is None:
            raise TypeError(f"store is missing: {_NEEDED}")
        plain = isinstance(store, MaildropStore) and not store.blocking
        opened = as_store(store, self._call_quick if plain else self._call_blocking)
        settings = self.settings
        return StandardBackend(
            accounts,
            opened,
            call_accounts=Caller(self._workers, blocking=accounts.blocking),
            call_store=self._call_blocking if opened.blocking else self._call_quick,
            call_worker=Caller(self._workers),
            hashing=Hashing(self._hashing),
            secret=secret,
            spawn=self._live.spawn,
            tokens=oauth,
            master_separator=settings.master_separator,
            upgrade=settings.upgrade_hashes,
            remember_seconds=settings.remember_seconds,
            scram_iterations=settings.scram_iterations,
        )

    # What applications register

    @overload
    def on(self, event: Literal["start", "stop"]) -> Callable[[LifeHandler], LifeHandler]: ...

    @overload
    def on(
        self, event: Literal["certificate"]
    ) -> Callable[[CertificateHandler], CertificateHandler]: ...

    @overload
    def on(
        self, event: Literal["authenticate"]
    ) -> Callable[[AuthenticateHandler], AuthenticateHandler]: ...

    @overload
    def on(
        self, event: Literal["accept_connection", "mailbox_info"]
    ) -> Callable[[SessionVeto], SessionVeto]: ...

    @overload
    def on(self, event: Literal["delete"]) -> Callable[[DeleteHandler], DeleteHandler]: ...

    @overload
    def on(self, event: Literal["retrieve"]) -> Callable[[RetrieveHandler], RetrieveHandler]: ...

    @overload
    def on(self, event: Literal["receive_command"]) -> Callable[[LineVeto], LineVeto]: ...

    @overload
    def on(
        self, event: Literal["close_connection", "reset"]
    ) -> Callable[[SessionHandler], SessionHandler]: ...

    @overload
    def on(self, event: Literal["send_response"]) -> Callable[[LineHandler], LineHandler]: ...

    @overload
    def on(self, event: Literal["server_error"]) -> Callable[[ErrorHandler], ErrorHandler]: ...

    @overload
    def on(self, event: Event) -> Callable[[AnyHandler], AnyHandler]: ...

    def on(self, event: Event, *handlers: object) -> Callable[[AnyHandler], AnyHandler]:
        """Decorator: call the function at `event`; see `Events` for their names.

        Raises ValueError for an unknown event, TypeError for what can't be a handler.
        """
        check_event(event)
        if handlers:
            raise TypeError(
                f'on("{event}", …) takes the event alone, as it is a decorator: write'
                f' @server.on("{event}") above the function, or server.on("{event}")(function)'
            )

        def register(handler: AnyHandler) -> AnyHandler:
            self._hooks.add(event, handler)
            return handler

        return register

    def command(
        self,
        verb: str,
        *handlers: Never,
        states: Sequence[State] | None = None,
        capability: str | None = None,
        secret: bool = False,
    ) -> Callable[[CommandHandler], CommandHandler]:
        """Decorator: let the function answer `verb`, in place of a built-in or as a new one.

        It is called with the session, the argument as text, and `default`, which does what
        the built-in command does and gives its reply. It returns a reply, text, or lines.
        states, capability, secret: for a new command, where it is answered, its line in CAPA,
        and whether its argument is kept out of the logs.

        Raises ValueError for a name that can't be a command's and for states or a capability
        of a built-in command, TypeError for what can't be a handler.
        """
        if not isinstance(verb, str):
            raise TypeError(f'command({verb!r}): give the command\'s name, as in command("STAT")')
        if handlers:
            raise TypeError(
                f'command("{verb}", …) takes no function, as it is a decorator: write'
                f' @server.command("{verb}") above the function, or'
                f' server.command("{verb}")(function)'
            )

        def register(handler: CommandHandler) -> CommandHandler:
            check_handler(handler, f"the handler of {verb}", ("session", "argument", "default"))
            if verb in self.commands and states is None and capability is None:
                self.commands.replace(verb, handler, secret=secret)
            else:
                where = BOTH if states is None else _states(states)
                self.commands.add(verb, handler, states=where, capability=capability, secret=secret)
            return handler

        return register

    def observe(self, observer: Observer) -> None:
        """Have `observer` told what happens in all sessions. Raises TypeError for what is none."""
        self.observers.add(observer)

    # Life

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each listener, while the server listens."""
        return [each.address for each in self.listeners if each.address is not None]

    @property
    def port(self) -> int:
        """The first listener's port. Raises RuntimeError unless the server listens."""
        if not self.addresses:
            raise RuntimeError("the server isn't started, so it has no port yet")
        return self.addresses[0][1]

    @property
    def sessions(self) -> int:
        """How many connections are open."""
        return len(self._live.connections)

    @property
    def clients(self) -> list[ClientSession]:
        """The connections that are open."""
        return [connection.client for connection in list(self._live.connections)]

    def start(self) -> None:
        """Listen, in a thread of the server's own; return once it does.

        Raises OSError when an address can't be had, RuntimeError when already started.
        """
        if self._loop is not None:
            raise RuntimeError("the server is started already")
        if self._thread is not None:
            self._thread.join()  # of a server that was stopped by a handler
        self._thread = LoopThread()
        try:
            self._thread.run(self.open())
        except BaseException:
            self._thread.end(_nothing)
            self._thread.join()
            self._thread = None
            raise

    def stop(self) -> None:
        """Stop, from any thread: sessions and replies in flight are finished.

        That takes `finish_seconds` and `drain_seconds` at most.
        After `start` it returns when the server has stopped. Inside `serve`, after `open`, and
        in a handler, which the server would wait for, it only asks for the end.
        """
        thread = self._thread
        if thread is None:
            if self._stopping is not None:
                self._call_soon(self._stopping.set)
            return
        thread.end(self.close)
        if thread.is_current() or self._workers.is_current() or self._storage.is_current():
            return
        thread.join()
        self._thread = None

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
        try:
            await self._closed.wait()
        finally:
            await asyncio.shield(self.close())

    async def open(self) -> None:
        """Listen, in the running loop. Raises OSError when an address can't be had."""
        if self._loop is not None:
            raise RuntimeError("the server is started already")
        self._loop = loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        self._closed = asyncio.Event()
        for threads in (self._workers, self._storage, self._hashing):
            threads.start()
        self._readiness = readiness(loop) if sys.platform != "win32" else None
        self._live.open(self._readiness)
        try:
            self._schemes = await self.context.backend.held_schemes()
            await self._storage.run(self._guard.refresh)
            self._set_policies()
            for listener in self.listeners:
                await self._listen(listener)
            self._set_policies()  # the port of implicit TLS may be known only now
        except BaseException:
            self._live.accepting = False
            await self._shut()
            await self._end()
            raise
        self._sweeper = loop.create_task(self._sweep())
        await self._hooks.tell("start")

    async def _listen(self, listener: Listener) -> None:
        context = self._tls.context if self._tls and listener.tls == "implicit" else None
        try:
            server = await listen(
                listener,
                partial(Connection, self.context, listener),
                partial(self._arrive, listener),
                self._readiness,
                tls=context,
                handshake_seconds=self.settings.handshake_timeout,
                make_transport=self.make_transport,
            )
        except OSError as error:
            where = f"{listener.host or 'all addresses'} port {listener.port}"
            raise type(error)(
                error.errno, f"can't listen on {where}: {error.strerror or error}"
            ) from error
        self._listening.append(server)

    async def close(self) -> None:
        """Stop listening, finish replies in flight, end all sessions. Harmless when repeated.

        Raises RuntimeError in another event loop than the server's, and in a handler, for
        which it would wait; `stop` may be called in both.
        """
        if self._loop is None:
            return
        if self._loop is not asyncio.get_running_loop():
            raise RuntimeError("the server runs in another event loop: call stop() instead")
        task = asyncio.current_task()
        if task is self._closing or self._live.runs(task):
            raise RuntimeError("close() would wait for this very handler: call stop() instead")
        if not self._live.accepting:
            await self._closed.wait()
            return
        self._live.accepting = False
        self._closing = task
        for server in self._listening:
            server.close()
        await self._live.finish(self.settings.finish_seconds)
        await self._live.drain(self.settings.drain_seconds)
        await self._shut()
        await self._hooks.tell("stop")
        await self._end()

    async def _shut(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for server in self._listening:
            server.close()
        self._listening.clear()
        await self._live.end()
        if self._readiness is not None:
            self._readiness.close()
        for listener in self.listeners:
            listener.address = None
        try:
            await self.context.backend.close()
        except Exception as error:
            await self._hooks.report(error, None, "closing the backend")
        for threads in (self._storage, self._hashing):
            await asyncio.get_running_loop().run_in_executor(None, threads.stop)

    async def _end(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, self._workers.stop)
        self._loop = self._closing = None
        self._closed.set()

    def _call_soon(self, function: Callable[[], object]) -> None:
        """Have `function` called on the event loop. From any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(function)

    # While it runs

    async def _sweep(self) -> None:
        refreshing: asyncio.Task[None] | None = None
        stopping = self._stopping
        assert stopping is not None
        while not stopping.is_set():
            try:
                async with asyncio.timeout(SWEEP_SECONDS):
                    await stopping.wait()
            except TimeoutError:
                pass
            now = time.monotonic()
            crowded = self._guard.is_filling
            for connection in list(self._live.connections):
                try:
                    connection.check_time(now, crowded=crowded)
                except Exception as error:
                    client = connection.client
                    where = f"looking after session {client.id}"
                    self._live.spawn(self._hooks.report(error, client, where))
            if refreshing is None or refreshing.done():
                # Not waited for: time limits hold while all worker threads are busy.
                refreshing = self._live.spawn(self._refresh())
        asyncio.get_running_loop().create_task(self.close())

    async def _refresh(self) -> None:
        try:
            held = await self.context.backend.held_schemes()
        except Exception as error:
            if self._schemes_told:
                where = "asking the accounts for their schemes"
                await self._hooks.report(error, None, where)
            self._schemes_told = False
        else:
            if not self._schemes_told:
                log.info("The accounts tell their schemes again")
            self._schemes_told = True
            if held != self._schemes:
                self._schemes = held
                self._set_policies()
        await self._storage.run(self._guard.refresh)

    def _set_policies(self) -> None:
        """Give each listener what its sessions may do from now on."""
        settings = self.settings
        implicit = [each.address for each in self.listeners if each.tls == "implicit"]
        tls_port = implicit[0][1] if implicit and implicit[0] else None
        for listener in self.listeners:
            listener.policy = Policy(
                commands=self.commands,
                mechanisms=self.mechanisms.by_name,
                hostname=self._hostname,
                tls=listener.tls,
                tls_port=tls_port,
                plaintext=settings.allow_plaintext,
                use_auth=settings.use_auth,
                held_schemes=self._schemes,
                expire_days=settings.expire_days,
                expire_user_days=settings.expire_user_days,
                login_delay=settings.login_delay,
                utf8=settings.utf8,
                utf8_headers=settings.utf8_headers,
                asks=self._hooks.asked,
            )

    def _arrive(self, listener: Listener, address: str) -> Admission | None:
        """Count a client in before its TLS handshake; None: it is turned away."""
        admission = Admission(self._guard, self.context.login_delay, address)
        if listener.hears_xclient(address):  # it comes in for its clients, one by one
            return admission
        refusal = admission.arrive()
        if refusal is None:
            return admission
        self.dropped[refusal.text] += 1
        return None

    def _certificate_for(self, name: str | None) -> ssl.SSLContext | None:
        """What the handlers of `certificate` say; None when they fail, or have nothing to say."""
        try:
            return self._hooks.certificate_for(name)
        except Exception as error:
            self._live.spawn(self._report(error))
            return None

    async def _report(self, error: Exception) -> None:
        await self._hooks.report(error, None, "in the handler of certificate")


async def _nothing() -> None:
    pass


def _flag(name: str, given: bool) -> bool:
    if not isinstance(given, bool):
        raise TypeError(f"{name}={given!r}: allowed is true or false")
    return given


def _accounts(
    given: AccountStore | Mapping[str, str | Account] | None, case_insensitive: bool
) -> AccountStore:
    if given is None:
        raise TypeError(f"accounts are missing: {_NEEDED}")
    if case_insensitive and not isinstance(given, Mapping):
        raise ValueError("case_insensitive goes with a mapping; a store has its own way")
    return as_accounts(given, case_insensitive=case_insensitive)


def _listeners(
    given: Sequence[Listener] | None, host: str | None, port: int | None, tls: TlsMode | None
) -> list[Listener]:
    """Listeners of this server's own, made from what it was given."""
    if given is None:
        return [
            Listener(
                "127.0.0.1" if host is None else host,
                110 if port is None else port,
                "none" if tls is None else tls,
            )
        ]
    if (host, port, tls) != (None, None, None):
        raise ValueError("host, port and tls say where to listen, and so do listeners: give either")
    if not isinstance(given, list | tuple):
        raise TypeError(f"listeners={given!r}: give a list of restante.Listener")
    if not given:
        raise ValueError("listeners=[]: at least one is needed")
    for each in given:
        if not isinstance(each, Listener):
            raise TypeError(f"listeners: {each!r} is no restante.Listener")
    return [copy(each) for each in given]


def _tls_settings(
    certificate: Certificate | None, given: TlsSettings | None, listeners: Sequence[Listener]
) -> TlsSettings | None:
    if certificate is not None and not isinstance(certificate, Certificate):
        raise TypeError(f"certificate={certificate!r}: {A_CERTIFICATE}")
    if given is not None and not isinstance(given, TlsSettings):
        raise TypeError(f"tls_settings={given!r}: give restante.TlsSettings(certificate)")
    if given is not None and certificate is not None:
        raise ValueError("tls_settings has a certificate in it: give one or the other")
    if given is None and certificate is not None:
        given = TlsSettings(certificate)
    wanted = [each.tls for each in listeners if each.tls != "none"]
    if wanted and given is None:
        raise ValueError(f"tls={wanted[0]!r} needs certificate=Certificate(chain, key)")
    return given


def _guard(given: Guard | GuardSettings | None) -> Guard:
    if isinstance(given, Guard):
        return given
    if not isinstance(given, GuardSettings | None):
        raise TypeError(f"guard={given!r}: give restante.GuardSettings(…) or a restante.Guard(…)")
    return Guard(given)


def _secret(given: bytes | None) -> bytes:
    if given is None:
        return secrets.token_bytes(SECRET_OCTETS)
    if not isinstance(given, bytes):
        kind = type(given).__name__
        raise TypeError(f"secret: {kind} was given, and bytes are expected: {_MAKE_ONE}")
    if len(given) < SECRET_OCTETS:
        raise ValueError(f"secret: {len(given)} octets were given, and 32 are needed: {_MAKE_ONE}")
    return given


def _states(given: Sequence[State]) -> frozenset[State]:
    if not isinstance(given, list | tuple | set | frozenset) or not given:
        raise TypeError(f"states={given!r}: give a list of restante.State")
    for each in given:
        if not isinstance(each, State):
            raise TypeError(f"states: {each!r} is no restante.State")
    return frozenset(given)


def _check_issuers(kerberos: Kerberos | None, oauth: OAuth | None) -> None:
    # Each is only loaded where one is given.
    if kerberos is not None:
        from restante.accounts.kerberos import Kerberos  # noqa: PLC0415

        if not isinstance(kerberos, Kerberos):
            raise TypeError(f"kerberos={kerberos!r}: give restante.Kerberos(keytab)")
    if oauth is not None:
        from restante.accounts.oauth import OAuth  # noqa: PLC0415

        if not isinstance(oauth, OAuth):
            raise TypeError(f"oauth={oauth!r}: give restante.OAuth(issuer=…)")
