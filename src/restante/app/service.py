"""A running server: POP3, SMTP and LMTP over the same accounts and maildrops, in one loop."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, fields, replace
from functools import partial
from itertools import chain
from typing import Any

from restante.accounts.chain import Chain
from restante.app import build
from restante.app.accounts import (
    ReplaceableAccounts,
    close_accounts,
    make_accounts,
    make_static_accounts,
)
from restante.app.collecting import keep_collecting
from restante.app.config.load import Loaded
from restante.app.config.problem import ConfigError
from restante.app.config.settings import ListenerSection, LmtpSection, Settings, SmtpSection
from restante.app.debug_log import Choice, describe, read_choice
from restante.app.dialogues import RecentDialogues
from restante.app.errors import StartError
from restante.app.first_start import read_secret
from restante.app.guard import make_guard
from restante.app.health import Health
from restante.app.history import FLUSH_SECONDS, make_history
from restante.app.logs import write_anew
from restante.app.maildrops import make_store
from restante.app.metrics import PULL_SECONDS
from restante.app.processes.listen_sockets import (
    MAIL_BACKLOG,
    Endpoint,
    Given,
    start_error,
)
from restante.app.tls import make_all_tls
from restante.app.tracing import make_provider
from restante.calls import Caller
from restante.cores import usable_cores
from restante.delivery.connection import HeldOff, lmtp_protocol, smtp_protocol
from restante.delivery.intake import Intake
from restante.delivery.observer import AccessLog, DeliveryObserver, DeliveryObservers
from restante.delivery.recipients import Recipients
from restante.networks import own_host_name
from restante.observing.metrics import Metrics
from restante.observing.store_errors import StoreErrors
from restante.observing.tracing import Tracing
from restante.server import login
from restante.server.listen.listener import Listener
from restante.server.server import Pop3Server
from restante.server.tls.settings import TlsSettings
from restante.stores.contract import StoreError
from restante.threads import WorkerThreads

log = logging.getLogger("restante.app")

CHOICE_SECONDS = 1.0
"""How often the debug log's control file is looked at."""

CERTIFICATE_ROUNDS = 3
"""Certificates are looked at each time so many such looks have passed."""


_KEEP: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
"""Leaves a Unix socket's file to whoever made it."""


class Service:
    """Everything that `restante serve` runs.

    reread: reads the configuration again, for `reload`. given: what a worker process has from
        its supervisor.
    """

    def __init__(
        self, loaded: Loaded, reread: Callable[[], Loaded], given: Given | None = None
    ) -> None:
        self.settings = settings = loaded.settings
        self._loaded = loaded
        self._reread = reread
        self._given = given
        self.endpoints: list[Endpoint] = []
        self.accounts = make_accounts(settings)
        self._store = make_store(settings)
        if given is None:
            self._tls, self._mail_tls = make_all_tls(settings)
            self.guard = make_guard(settings)
        else:
            self._tls, self._mail_tls = given.tls, given.mail_tls
            self.guard = make_guard(settings, key=given.key, writer=given.writer)
        self.pop3 = self._make_pop3()
        self.store_errors = StoreErrors(self.pop3)
        self.metrics: Metrics | None = None
        if settings.metrics.is_wanted:
            self.metrics = self._make_metrics()
        self.tracing: Tracing | None = None
        if settings.tracing.enabled:
            self._provider = make_provider()
            self.tracing = Tracing(self.pop3, provider=self._provider)
        self.reloads = 0
        """How often the configuration was read again."""
        self.is_stopping = False
        """Whether it was told to stop."""
        mail_observers: list[DeliveryObserver] = [AccessLog(), self.store_errors.deliveries]
        mail_observers += [
            each.deliveries for each in (self.metrics, self.tracing) if each is not None
        ]
        self._history = make_history(settings)
        if self._history is not None:
            self.pop3.observe(self._history.sessions)
            mail_observers.append(self._history.deliveries)
        self._mail_observer = DeliveryObservers(*mail_observers)
        self._threads = WorkerThreads("delivery", 0, settings.pop3.max_threads)
        self._call_store = Caller(self._threads, blocking=self._store.blocking)
        self.intakes: dict[str, Intake] = {}
        self._servers: list[asyncio.Server] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._choice = Choice()
        self._choice_stamp: tuple[int, int] | None = None
        self._chosen: Choice | None = None
        self.dialogues: RecentDialogues | None = None
        """What the debug log has written lately; None: there is no console that asks for it."""

    def _make_pop3(self) -> Pop3Server:
        """The POP3 server, which also decides logins for SMTP; perhaps without a listener."""
        settings = self.settings
        listeners = build.make_listeners(settings)
        if self._given is not None:
            for listener, sockets in zip(listeners, self._given.sockets("POP3"), strict=True):
                listener.sockets = sockets
        own = asdict(build.server_settings(settings))
        if self._given is not None:  # hashing leaves one core of the machine to the others
            own["hashing_threads"] = max(1, (usable_cores() - 1) // self._given.workers)
        server = Pop3Server(
            accounts=self.accounts,
            store=self._store,
            listeners=listeners or [Listener()],
            tls_settings=self._tls,
            guard=self.guard,
            kerberos=build.make_kerberos(settings),
            oauth=build.make_oauth(settings),
            secret=read_secret(settings),
            **own,
        )
        if not listeners:
            server.listeners.clear()
        return server

    def _make_metrics(self) -> Metrics:
        metrics = Metrics(
            self.pop3,
            values=self._given.values if self._given else None,
            store_errors=self.store_errors,
        )
        for name in ("smtp", "lmtp"):
            metrics.gauge("restante_mail_connections_open", partial(self._connections, name), name)
        return metrics

    def _connections(self, intake: str) -> int:
        return self.intakes[intake].connections if intake in self.intakes else 0

    async def _pull(self, metrics: Metrics) -> None:
        while True:
            metrics.pull()
            await asyncio.sleep(PULL_SECONDS)

    async def open(self) -> None:
        """See that mail can be kept, then listen everywhere. Raises StartError; then nothing is
        listened on."""
        try:
            await self._prepare_store()
            await (self._open_pop3() if self._given is None else self.pop3.open())
            await self._open_smtp(self.settings.smtp)
            await self._open_lmtp(self.settings.lmtp)
        except BaseException:
            await self.close()
            raise
        if self.settings.console.port != "off":
            self.dialogues = RecentDialogues()
        self._heed_choice()
        loop = asyncio.get_running_loop()
        self._watchers.append(loop.create_task(self._watch()))
        if self.metrics is not None:
            health = Health(
                self._store, self._call_store, self.pop3, self.metrics.values,
                partial(self.store_errors.note, "check"),
            )  # fmt: skip
            await health.look()
            self._watchers.append(loop.create_task(health.watch()))
            self._watchers.append(loop.create_task(self._pull(self.metrics)))
        minutes = self.settings.store.collect_minutes
        if minutes != "off" and (self._given is None or self._given.number == 0):
            work = keep_collecting(
                self._store, self._call_store, self.accounts, self.settings, minutes,
                failed=partial(self.store_errors.note, "collect"),
            )  # fmt: skip
            self._watchers.append(loop.create_task(work))

    async def _prepare_store(self) -> None:
        """In each process by itself: what it opens must not be shared by a fork."""
        try:
            await self._call_store(self._store.prepare)
        except StoreError as error:
            raise StartError(f"the mail can't be kept: {error}") from error

    async def _open_pop3(self) -> None:
        listeners = self.settings.pop3_listeners()
        try:
            await self.pop3.open()
        except OSError as error:
            key, section = _culprit(listeners)
            raise start_error(key, section.host, section.port, error) from error
        for (_, section), (host, port) in zip(listeners, self.pop3.addresses, strict=True):
            self.endpoints.append(Endpoint("POP3", section.tls, host, port))

    async def _open_smtp(self, smtp: SmtpSection) -> None:
        if smtp.port == "off":
            return
        tls = self._mail_tls if smtp.tls != "none" else None
        factory = smtp_protocol(
            self._intake("smtp", smtp),
            tls=tls.context if tls else None,
            require_tls=smtp.tls == "starttls_required",
            authenticate=self._authenticate if smtp.auth else None,
        )
        if self._given is not None:
            await self._listen_given("SMTP", factory)
            return
        host, port = await self._listen("smtp.port", factory, smtp.host, smtp.port)
        self.endpoints.append(Endpoint("SMTP", smtp.tls, host, port))

    async def _open_lmtp(self, lmtp: LmtpSection) -> None:
        if lmtp.port == "off" and lmtp.socket is None:
            return
        factory = lmtp_protocol(self._intake("lmtp", lmtp))
        if self._given is not None:
            await self._listen_given("LMTP", factory)
            return
        if lmtp.port != "off":
            host, port = await self._listen("lmtp.port", factory, lmtp.host, lmtp.port)
            self.endpoints.append(Endpoint("LMTP", "none", host, port))
        if lmtp.socket is not None:
            try:
                server = await asyncio.get_running_loop().create_unix_server(factory, lmtp.socket)
            except (OSError, NotImplementedError) as error:
                raise StartError(f"lmtp.socket = {lmtp.socket}: can't listen: {error}") from error
            self._servers.append(server)
            # Whoever may deliver is in the socket's group, or may enter its folder.
            lmtp.socket.chmod(0o660)
            self.endpoints.append(Endpoint("LMTP", "none", path=lmtp.socket))

    async def _listen_given(self, protocol: str, factory: Callable[[], asyncio.Protocol]) -> None:
        assert self._given is not None
        loop = asyncio.get_running_loop()
        for listening in chain.from_iterable(self._given.sockets(protocol)):
            server = (
                await loop.create_server(factory, sock=listening, backlog=MAIL_BACKLOG)
                if listening.family in (socket.AF_INET, socket.AF_INET6)
                else await loop.create_unix_server(
                    factory, sock=listening, backlog=MAIL_BACKLOG, **_KEEP
                )
            )
            self._servers.append(server)

    async def _listen(
        self, key: str, factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> tuple[str, int]:
        try:
            server = await asyncio.get_running_loop().create_server(factory, host, port)
        except OSError as error:
            raise start_error(key, host, port, error) from error
        self._servers.append(server)
        name = server.sockets[0].getsockname()
        return name[0], name[1]

    def _intake(self, name: str, section: SmtpSection | LmtpSection) -> Intake:
        delivery = self.settings.delivery
        recipients = Recipients(
            self.accounts,
            domains=delivery.domains,
            catch_all=delivery.catch_all,
            separator=delivery.separator,
            threads=self._threads,
        )
        intake = Intake(
            recipients=recipients,
            store=self._store,
            hostname=self.settings.server.hostname or own_host_name(),
            max_octets=delivery.size_limit,
            max_recipients=section.max_recipients,
            max_connections=section.max_connections,
            timeout=section.timeout,
            trace=delivery.trace,
            spool=self.settings.spool_folder,
            threads=self._threads,
            observer=self._mail_observer,
        )
        self.intakes[name] = intake
        return intake

    async def _authenticate(self, name: str, password: str, address: str) -> bool:
        """A login by SMTP: the same accounts, and the same guard."""
        try:
            return await login.log_in_by_smtp(self.pop3.context, name, password, address)
        except login.HeldOff:
            raise HeldOff from None

    async def flush_history(self) -> bool:
        """Have what was noted so far written into the history.

        False if that takes too long, or the last records couldn't be written.
        """
        history = self._history
        if history is None:
            return True
        loop = asyncio.get_running_loop()
        done = await loop.run_in_executor(None, history.flush, FLUSH_SECONDS)
        return done and not history.failing

    async def give_notice(self) -> None:
        """Go on for `server.notice_seconds`, while `/readyz` says that the end is near."""
        self.is_stopping = True
        await asyncio.sleep(self.settings.server.notice_seconds)

    async def close(self) -> None:
        """Refuse what is new, finish what is in flight, and end.

        Sessions may go on for `finish_seconds`, and replies in flight for `drain_seconds` more.
        """
        self.is_stopping = True
        for task in self._watchers:
            task.cancel()
        self._watchers.clear()
        if self.dialogues is not None:
            self.dialogues.close()
            self.dialogues = None
        for server in self._servers:
            server.close()
        seconds = self.settings.server.drain_seconds
        ends: list[Awaitable[None]] = [intake.stop(seconds) for intake in self.intakes.values()]
        ends.append(self.pop3.close())
        await asyncio.gather(*ends)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._threads.stop)
        await loop.run_in_executor(None, self.guard.close)
        if self._history is not None:
            await loop.run_in_executor(None, self._history.close)
        if self.metrics is not None:
            self.metrics.pull()
        for endpoint in self.endpoints:
            if endpoint.path is not None:
                endpoint.path.unlink(missing_ok=True)
        self.endpoints.clear()
        if self.tracing is not None:
            await loop.run_in_executor(None, self._provider.shutdown)
        await close_accounts(self.accounts)
        await self._store.aclose()

    # While it runs

    def reload(self) -> None:
        """Take certificates, static accounts and the debug log's choice anew.

        What can't be used is logged, and the old goes on.
        """
        log.info("reloading")
        self.take(read_again(self._loaded, self._reread))
        log.info("reloaded")

    def take(self, fresh: Loaded | None) -> None:
        """The same with a configuration that was read; None: it can't be used."""
        self.reloads += 1
        self._renew_certificates(always=True)
        if fresh is not None:
            self._take_accounts(fresh.settings)
        self._choice_stamp = None
        self._heed_choice()

    def _take_accounts(self, settings: Settings) -> None:
        given = self.accounts
        for store in given.stores if isinstance(given, Chain) else (given,):
            if isinstance(store, ReplaceableAccounts):
                store.current = make_static_accounts(settings)

    async def _watch(self) -> None:
        rounds = 0
        while True:
            await asyncio.sleep(CHOICE_SECONDS)
            rounds += 1
            try:
                self._heed_choice()
                if rounds % CERTIFICATE_ROUNDS == 0:
                    self._renew_certificates()
            except Exception:
                log.exception("watching files failed")

    def _renew_certificates(self, *, always: bool = False) -> None:
        renew_certificates([self._tls, self._mail_tls], always=always)

    def _heed_choice(self) -> None:
        """Log the dialogues that the control file asks for, as long as it does."""
        path = self.settings.debug_log_file
        stamp = None
        with suppress(OSError):
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
        if stamp is None or stamp != self._choice_stamp:
            self._choice_stamp = stamp
            try:
                self._choice = read_choice(path)
            except (OSError, ValueError) as error:
                log.error("%s can't be used, what was chosen before goes on: %s", path, error)
        chosen = self._choice.at(time.time())
        if chosen != self._chosen:
            if chosen or self._chosen:
                log.info("debug log: %s", describe(chosen))
            self._chosen = chosen
            self.pop3.debug_log.choose(
                everything=self.settings.log.protocol or bool(chosen.everything),
                accounts=frozenset(chosen.accounts),
                addresses=frozenset(chosen.addresses),
            )


def read_again(loaded: Loaded, reread: Callable[[], Loaded]) -> Loaded | None:
    """The configuration as it is now; None if it can't be used. What has changed is logged."""
    try:
        fresh = reread()
        make_static_accounts(fresh.settings)
    except (ConfigError, ValueError) as error:
        log.error("the configuration can't be used, the old one goes on: %s", error)
        return None
    if changed := _differences(loaded.settings, fresh.settings):
        log.warning("changed, but heeded only after a restart: %s", ", ".join(changed))
    return fresh


def with_static_accounts(loaded: Loaded, settings: Settings) -> Loaded:
    """A configuration with the static accounts of another one: all that `reload` heeds of it."""
    accounts = replace(loaded.settings.accounts, static=settings.accounts.static)
    return replace(loaded, settings=replace(loaded.settings, accounts=accounts))


def renew_certificates(contexts: Sequence[TlsSettings | None], *, always: bool) -> None:
    """Load certificates that have changed, or all. What can't be used is logged."""
    found = [tls for tls in contexts if tls is not None]
    if not any(always or tls.changed() for tls in found):
        return
    if always:  # somebody wants to know
        write_anew()
    try:
        for tls in found:
            tls.reload()
    except OSError as error:  # ssl.SSLError is one
        log.error("the new certificate can't be used, the old one goes on: %s", error)
    else:
        write_anew()
        log.info("certificates loaded")


def _culprit(listeners: list[tuple[str, ListenerSection]]) -> tuple[str, ListenerSection]:
    """Which listener can't be had: found out by trying, as the error doesn't tell."""
    for key, section in listeners:
        family = socket.AF_INET6 if ":" in section.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((section.host, section.port))
            except OSError:
                return key, section
    return listeners[0]


def _differences(old: Settings, new: Settings) -> list[str]:
    """Keys that differ, static accounts left out."""
    return [
        f"{section.name}.{each.name}"
        for section in fields(old)
        for each in fields(getattr(old, section.name))
        if each.name != "static"
        and getattr(getattr(old, section.name), each.name)
        != getattr(getattr(new, section.name), each.name)
    ]
