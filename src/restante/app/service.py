"""A running server: POP3, SMTP and LMTP over the same accounts and maildrops, in one loop."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from restante.accounts.chain import AsyncChain, Chain
from restante.app import parts
from restante.app.config import ConfigError, Loaded
from restante.app.debug_log import Choice, read_choice
from restante.app.first_start import read_secret
from restante.app.settings import ListenerSection, LmtpSection, Settings, SmtpSection
from restante.delivery.intake import Intake
from restante.delivery.lmtp import lmtp_protocol
from restante.delivery.recipients import Recipients
from restante.delivery.smtp import HeldOff, smtp_protocol
from restante.protocol.claims import PasswordClaim
from restante.server.server import Pop3Server

log = logging.getLogger("restante.app")

CHOICE_SECONDS = 1.0
"""How often the debug log's control file is looked at."""

CERTIFICATE_ROUNDS = 3
"""Certificates are looked at each time so many such looks have passed."""


class StartError(Exception):
    """Something can't be listened on; the text names it and its key."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address that is listened on. tls: as in the configuration. path: of a Unix socket."""

    protocol: str
    tls: str
    host: str = ""
    port: int = 0
    path: Path | None = None

    @property
    def address(self) -> str:
        """As people write it."""
        if self.path is not None:
            return str(self.path)
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class Service:
    """Everything that `restante serve` runs.

    reread: reads the configuration again, for `reload`.
    """

    def __init__(self, loaded: Loaded, reread: Callable[[], Loaded]) -> None:
        self.settings = settings = loaded.settings
        self._loaded = loaded
        self._reread = reread
        self.endpoints: list[Endpoint] = []
        self.accounts = parts.make_accounts(settings)
        self._store = parts.make_store(settings)
        self._tls = parts.make_tls(settings, client_certificates=True)
        self._mail_tls = parts.make_tls(settings, client_certificates=False)
        self.door = parts.make_door(settings)
        self.pop3 = self._make_pop3()
        self._executor = ThreadPoolExecutor(settings.pop3.max_threads, "restante-delivery")
        self._intakes: list[Intake] = []
        self._servers: list[asyncio.Server] = []
        self._watcher: asyncio.Task[None] | None = None
        self._choice = Choice()
        self._choice_stamp: tuple[int, int] | None = None
        self._chosen: Choice | None = None

    def _make_pop3(self) -> Pop3Server:
        """The POP3 server, which also decides logins for SMTP; perhaps without a listener."""
        settings, pop3 = self.settings, self.settings.pop3
        apart = {"host", "port", "tls", "tls_port", "listeners"}
        own = pop3.model_dump(exclude=apart | {"proxy_protocol", "xclient", "proxy_networks"})
        return Pop3Server(
            accounts=self.accounts,
            store=self._store,
            listeners=parts.make_listeners(settings),
            tls_settings=self._tls,
            door=self.door,
            kerberos=parts.make_kerberos(settings),
            oauth=parts.make_oauth(settings),
            secret=read_secret(settings),
            hostname=settings.server.hostname or None,
            drain_seconds=settings.server.drain_seconds,
            **own,
            **parts.login_settings(settings),
        )

    async def open(self) -> None:
        """Listen everywhere. Raises StartError; then nothing is listened on."""
        try:
            await self._open_pop3()
            await self._open_smtp(self.settings.smtp)
            await self._open_lmtp(self.settings.lmtp)
        except BaseException:
            await self.close()
            raise
        self._heed_choice()
        self._watcher = asyncio.get_running_loop().create_task(self._watch())

    async def _open_pop3(self) -> None:
        listeners = self.settings.pop3_listeners()
        try:
            await self.pop3.open()
        except OSError as error:
            key, section = _culprit(listeners)
            raise _start_error(key, section.host, section.port, error) from error
        for (_, section), (host, port) in zip(listeners, self.pop3.addresses, strict=True):
            self.endpoints.append(Endpoint("POP3", section.tls, host, port))

    async def _open_smtp(self, smtp: SmtpSection) -> None:
        if smtp.port == "off":
            return
        tls = self._mail_tls if smtp.tls != "none" else None
        factory = smtp_protocol(
            self._intake(smtp),
            tls=tls.context if tls else None,
            require_tls=smtp.tls == "starttls_required",
            authenticate=self._authenticate if smtp.auth else None,
        )
        host, port = await self._listen("smtp.port", factory, smtp.host, smtp.port)
        self.endpoints.append(Endpoint("SMTP", smtp.tls, host, port))

    async def _open_lmtp(self, lmtp: LmtpSection) -> None:
        if lmtp.port == "off" and lmtp.socket is None:
            return
        factory = lmtp_protocol(self._intake(lmtp))
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

    async def _listen(
        self, key: str, factory: Callable[[], asyncio.Protocol], host: str, port: int
    ) -> tuple[str, int]:
        try:
            server = await asyncio.get_running_loop().create_server(factory, host, port)
        except OSError as error:
            raise _start_error(key, host, port, error) from error
        self._servers.append(server)
        name = server.sockets[0].getsockname()
        return name[0], name[1]

    def _intake(self, section: SmtpSection | LmtpSection) -> Intake:
        delivery = self.settings.delivery
        recipients = Recipients(
            self.accounts,
            domains=delivery.domains,
            catch_all=delivery.catch_all,
            separator=delivery.separator,
            executor=self._executor,
        )
        intake = Intake(
            recipients=recipients,
            store=self._store,
            hostname=self.settings.server.hostname or socket.gethostname(),
            max_octets=delivery.size_limit,
            max_recipients=section.max_recipients,
            max_connections=section.max_connections,
            timeout=section.timeout,
            trace=delivery.trace,
            executor=self._executor,
        )
        self._intakes.append(intake)
        return intake

    async def _authenticate(self, name: str, password: str, address: str) -> bool:
        """A login by SMTP: the same accounts, and the same door."""
        claim = PasswordClaim(name, password, "SMTP")
        login = self.pop3.logins.login_of(name)
        wait = self.door.ask(address, login)
        if wait is None:
            raise HeldOff
        found = None
        try:
            await asyncio.sleep(wait)
            found = await self.pop3.logins.identify(claim, address, "smtp")
        except asyncio.CancelledError:
            self.door.failed(address, login, password.encode())
            raise
        except BaseException:
            self.door.undecided(address, login)
            raise
        if found is None:
            self.door.failed(address, login, password.encode())
            return False
        self.door.succeeded(address, login)
        if (work := self.pop3.logins.after(found[0], claim, found[1])) is not None:
            self.pop3.spawn(work)
        return True

    async def close(self) -> None:
        """Refuse what is new, finish what is in flight, end within `drain_seconds`."""
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None
        for server in self._servers:
            server.close()
        seconds = self.settings.server.drain_seconds
        ends: list[Awaitable[None]] = [intake.stop(seconds) for intake in self._intakes]
        ends.append(self.pop3.close())
        await asyncio.gather(*ends)
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._executor.shutdown)
        await loop.run_in_executor(None, self.door.close)
        for endpoint in self.endpoints:
            if endpoint.path is not None:
                endpoint.path.unlink(missing_ok=True)
        self.endpoints.clear()
        await parts.close_accounts(self.accounts)

    # While it runs

    def reload(self) -> None:
        """Take certificates, static accounts and the debug log's choice anew.

        What can't be used is logged, and the old goes on.
        """
        log.info("reloading")
        self._renew_certificates(always=True)
        try:
            fresh = self._reread()
            self._take_accounts(fresh.settings)
        except (ConfigError, ValueError) as error:
            log.error("the configuration can't be used, the old one goes on: %s", error)
        else:
            changed = _differences(self._loaded.settings, fresh.settings)
            if changed:
                log.warning("changed, but heeded only after a restart: %s", ", ".join(changed))
        self._choice_stamp = None
        self._heed_choice()

    def _take_accounts(self, settings: Settings) -> None:
        given = self.accounts
        for store in given.stores if isinstance(given, Chain | AsyncChain) else (given,):
            if isinstance(store, parts.ReplaceableAccounts):
                store.current = parts.make_static_accounts(settings)

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
        found = [tls for tls in (self._tls, self._mail_tls) if tls is not None]
        if not any(always or tls.changed() for tls in found):
            return
        try:
            for tls in found:
                tls.reload()
        except OSError as error:  # ssl.SSLError is one
            log.error("the new certificate can't be used, the old one goes on: %s", error)
        else:
            log.info("certificates loaded")

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
            self.pop3.transcript.choose(
                everything=self.settings.log.protocol or bool(chosen.everything),
                accounts=frozenset(chosen.accounts),
                addresses=frozenset(chosen.addresses),
            )


def describe(choice: Choice) -> str:
    """What is logged and until when, in words."""
    times = {f"account {name}": until for name, until in choice.accounts.items()}
    times |= {f"address {name}": until for name, until in choice.addresses.items()}
    if choice.everything:
        times["everything"] = choice.everything
    shown = (
        f"{what} until {time.strftime('%Y-%m-%d %H:%M', time.localtime(until))}"
        for what, until in times.items()
    )
    return ", ".join(shown) or "off"


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


_ADVICE = {
    errno.EADDRINUSE: "another program listens there; choose another port",
    errno.EACCES: "ports below 1024 need a privilege; see docs/operating.md",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


def _start_error(key: str, host: str, port: int, error: OSError) -> StartError:
    # asyncio wraps the system's error in a long text of its own.
    reason = _ADVICE.get(error.errno or 0) or error.strerror or str(error)
    return StartError(f"{key} = {port}: can't listen on {host}: {reason}")


def _differences(old: Settings, new: Settings) -> list[str]:
    """Keys that differ, static accounts left out."""
    found = []
    for section in type(old).model_fields:
        before, after = getattr(old, section), getattr(new, section)
        found += [
            f"{section}.{name}"
            for name in type(before).model_fields
            if name != "static" and getattr(before, name) != getattr(after, name)
        ]
    return found
