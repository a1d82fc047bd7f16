"""MailServer: a POP3 server for a test, with a recording of what its clients did."""

from __future__ import annotations

import asyncio
import sys
import warnings
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from secrets import token_hex
from threading import main_thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, Unpack, get_args
from weakref import WeakMethod, finalize

from restante.accounts.account import Account
from restante.server.listen.listener import Listener
from restante.server.runner import LoopThread
from restante.server.server import Pop3Server
from restante.server.settings import Settings, SettingsGiven
from restante.server.tls.settings import Certificate, ClientCertificates, TlsSettings
from restante.settings_fields import check_keywords, keywords
from restante.testing.account import TIMEOUT, Accounts, MailAccount, WatchedStore
from restante.testing.changes import Changes
from restante.testing.faults import Fault, Faults
from restante.testing.recording import RawTap, RecordedSession, Recorder, report
from restante.testing.wire import wiring_of

if TYPE_CHECKING:  # loaded when they are used
    from restante.accounts.kerberos import Kerberos
    from restante.accounts.oauth import OAuth
    from restante.testing.authority import Authority, CertificateKind
    from restante.testing.issuer import Issuer
    from restante.testing.smtp import Delivered, SmtpListener

PlainTls: TypeAlias = Literal["none", "starttls", "starttls_required"]
PLAIN_TLS: tuple[PlainTls, ...] = get_args(PlainTls)

PACKAGE = str(Path(__file__).parent)

DRAIN_SECONDS = 0.5
"""How long a server that is closed lets replies in flight take."""

BARRIER_SECONDS = 5.0
"""How long is waited for an event loop that is busy before what is known so far is shown."""

TURNS = 4
"""Turns of an event loop after which what has reached the server is dealt with."""

_WITHOUT_TLS = 'the server has no TLS: give certificate="valid"'

_NOT_STARTED = "the server isn't started: use it as a context manager, or call start()"


class MailServer:
    """A POP3 server on 127.0.0.1 for a test, with mail in memory. Records what clients do.

    accounts: names and passwords; more by `account`.
    certificate: speak TLS, on `tls_port` and by STLS, with a certificate of that kind by the
        server's own authority `ca`: `valid`, `rsa`, `ends-soon`, `expired`,
        `not-yet-valid`, `wrong-name`, `self-signed`, `unknown-ca`; or a `restante.Certificate`.
        It needs `cryptography`, of the extra `testing`. None: no TLS.
    tls: what `port` says of STLS: `starttls` offers it (the default with a certificate),
        `starttls_required` lets nobody log in without, `none` hasn't got it.
    client_certificates: `none`, `ask` or `require` them, for EXTERNAL; see `ca`.
    smtp: take in mail for the accounts by SMTP, on `smtp_port`.
    oauth: offer OAUTHBEARER and XOAUTH2 for the tokens of `issuer`; it needs the extra `oauth`.
        Or a `restante.OAuth`.
    kerberos: a `restante.Kerberos`, for GSSAPI.
    any_login: every name is an account's, with any password, and gets mail. What is before an
        "@" says whose maildrop it is. Or a function, which is called with each account that is
        made so, before it is used. SCRAM, CRAM-MD5 and APOP, which prove that a client knows a
        certain password, are not offered then.
    record_secrets: show passwords in the recordings, too.
    faults: what goes wrong from the beginning; see `fault`.
    host, port, tls_port, smtp_port: where to listen; 0: the system chooses a port.
    settings: of `restante.Settings`, such as `mechanisms`, `ntlm`, `use_auth`.

    Use it as a context manager, plain or async, or call `start` and `close`. It runs on a thread
    of its own in each case, so that a client may wait for it. Nobody is delayed or banned for
    wrong passwords.

    Raises TypeError and ValueError for what can't be used, ImportError where an extra is missing.
    """

    def __init__(
        self,
        *,
        accounts: Mapping[str, str] | None = None,
        certificate: CertificateKind | Certificate | None = None,
        tls: PlainTls | None = None,
        client_certificates: ClientCertificates = "none",
        smtp: bool = False,
        oauth: OAuth | bool = False,
        kerberos: Kerberos | None = None,
        any_login: bool | Callable[[MailAccount], object] = False,
        record_secrets: bool = False,
        faults: Sequence[Fault | str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        tls_port: int = 0,
        smtp_port: int = 0,
        **settings: Unpack[SettingsGiven],
    ) -> None:
        check_keywords(type(self), settings, [*keywords(MailServer), *keywords(Settings)])
        _check_accounts(accounts)
        _check_flags(smtp=smtp, record_secrets=record_secrets)
        if isinstance(faults, str) or not isinstance(faults, Sequence):
            raise TypeError(f"faults={faults!r}: a list of faults, or of their texts")
        if not isinstance(any_login, bool) and not callable(any_login):
            raise TypeError(f"any_login={any_login!r}: True, False, or a function that is called")
        self._where = _caller()
        self._changes = Changes()
        self._accounts = Accounts()
        self._store = WatchedStore(self._changes)
        self._handles: dict[str, MailAccount] = {}
        self._ca: Authority | None = None
        self._issuer: Issuer | None = None
        self._smtp: SmtpListener | None = None
        secrets = None if record_secrets else partial(_passwords, self._handles)
        self._recorder = Recorder(self._changes.tell, secrets)
        self._faults = Faults(*faults, on_fired=self._recorder.fired)
        self._fails = False
        if any_login:
            self._accounts.make = _unless_gone(WeakMethod(self._make_account), any_login)
        self._running = _Running()
        self._addresses: list[tuple[str, int]] = []
        listeners = _listeners(host, port, tls_port, tls, secure=certificate is not None)
        with ExitStack() as stack:
            tls_settings = self._tls_settings(certificate, client_certificates, stack)
            self._pop3 = Pop3Server(
                accounts=self._accounts,
                store=self._faults.wrap_store(self._store),
                listeners=listeners,
                tls_settings=tls_settings,
                oauth=self._oauth(oauth, stack),
                kerberos=kerberos,
                for_tests=True,
                **_with_defaults(settings),
            )
            self._pop3.observe(self._recorder)
            wiring_of(self._pop3).taps.append(RawTap(self._recorder))
            if faults:
                self._fail()
            if smtp:
                from restante.testing.smtp import SmtpListener  # noqa: PLC0415

                self._smtp = SmtpListener(
                    self._pop3,
                    self._accounts,
                    self._store,
                    tls=None if tls_settings is None else tls_settings.context,
                    host=host,
                    port=smtp_port,
                    changed=self._changes.tell,
                )
            elif smtp_port:
                raise ValueError(f"smtp_port={smtp_port!r} needs smtp=True")
            for name, password in (accounts or {}).items():
                self.account(name, password)
            self._running.held = stack.pop_all()
        self._end = finalize(self, _abandoned, self._running, self._where)

    def _tls_settings(
        self,
        given: CertificateKind | Certificate | None,
        client_certificates: ClientCertificates,
        stack: ExitStack,
    ) -> TlsSettings | None:
        if given is None:
            if client_certificates != "none":
                raise ValueError(
                    f"client_certificates={client_certificates!r} needs a certificate of the"
                    ' server: give certificate="valid"'
                )
            return None
        if isinstance(given, Certificate) and client_certificates == "none":
            return TlsSettings(given)
        from restante.testing.authority import Authority  # noqa: PLC0415 - needs an extra

        self._ca = stack.enter_context(Authority())
        own = given if isinstance(given, Certificate) else self._ca.issue(given)
        return TlsSettings(
            own,
            client_certificates=client_certificates,
            client_ca=None if client_certificates == "none" else self._ca.path,
        )

    def _oauth(self, given: OAuth | bool, stack: ExitStack) -> OAuth | None:
        if not isinstance(given, bool):
            return given
        if not given:
            return None
        from restante.accounts.oauth import OAuth  # noqa: PLC0415 - these need an extra
        from restante.testing.issuer import AUDIENCE, Issuer  # noqa: PLC0415

        self._issuer = Issuer(kinds=("P-256",))
        stack.callback(self._issuer.stop)
        return OAuth(issuer=self._issuer.url, audience=AUDIENCE)

    # Accounts and mail

    def account(self, name: str, password: str = "secret", **fields: Any) -> MailAccount:  # noqa: S107
        """A new account with an empty maildrop, also while the server runs.

        fields: of `restante.Account`, such as `email` or `disabled`.
        Raises ValueError for a name that is taken or can't be one.
        """
        if not isinstance(password, str):
            raise TypeError(f"password={password!r}: give a text")
        account = Account(name, ("{PLAIN}" + password,), **fields)
        self._accounts.add(account)
        made = MailAccount(account, password, self._store, self._changes)
        self._handles[name] = made
        return made

    def _make_account(self, told: bool | Callable[[MailAccount], object], name: str) -> None:
        maildrop = (name.partition("@")[0] or name).lower()
        made = self.account(name, token_hex(16), maildrop=maildrop, check_password=_is_right)
        if callable(told):
            told(made)

    @property
    def accounts(self) -> dict[str, MailAccount]:
        """The accounts by name."""
        return dict(self._handles)

    # What goes wrong

    def fault(self, *faults: Fault | str) -> None:
        """Have faults of `restante.testing.faults` happen from now on, in connections to come.

        Each is a fault, or its text. What has happened is in the recordings.
        Raises FaultError for one that can't be, or that excludes another; then none is added.
        """
        self.faults.add(*faults)

    @property
    def faults(self) -> Faults:
        """The server's faults, to be removed or counted."""
        self._fail()
        return self._faults

    def _fail(self) -> None:
        """Let faults take part. Where there are none, nobody is asked."""
        if not self._fails:
            self._fails = True
            self._faults.attach(self._pop3)

    # Where it is

    @property
    def pop3(self) -> Pop3Server:
        """The server itself, for handlers of events and commands; see the embedding guide."""
        return self._pop3

    @property
    def host(self) -> str:
        """The address that it listens on."""
        return self._address(0)[0]

    @property
    def port(self) -> int:
        """The port of POP3. It stays known when the server is closed."""
        return self._address(0)[1]

    @property
    def tls_port(self) -> int:
        """The port where TLS begins at once (POP3S)."""
        if len(self._pop3.listeners) == 1:
            raise RuntimeError(f"tls_port: {_WITHOUT_TLS}")
        return self._address(1)[1]

    @property
    def smtp_port(self) -> int:
        """The port of SMTP."""
        if self._smtp is None:
            raise RuntimeError("smtp_port: the server has no SMTP: give smtp=True")
        if self._smtp.address is None:
            raise RuntimeError(_NOT_STARTED)
        return self._smtp.address[1]

    def _address(self, index: int) -> tuple[str, int]:
        if not self._addresses:
            raise RuntimeError(_NOT_STARTED)
        return self._addresses[index]

    @property
    def ca(self) -> Authority:
        """The authority of the certificate: `path` of its PEM file, `ssl_context()` for a client,
        `client_certificate(name)` for EXTERNAL."""
        if self._ca is None:
            raise RuntimeError(
                'ca: the server has no authority of its own: give certificate="valid"'
            )
        return self._ca

    @property
    def issuer(self) -> Issuer:
        """The issuer of tokens, of a server with `oauth=True`."""
        if self._issuer is None:
            raise RuntimeError("issuer: the server has none: give oauth=True")
        return self._issuer

    # What clients did

    @property
    def sessions(self) -> list[RecordedSession]:
        """The sessions of all clients so far, in the order in which they connected.

        What the server has answered is in them. A client that has just gone away without QUIT
        may not have been noticed yet: see `wait_for`.
        """
        self._catch_up()
        return self._recorder.sessions

    @property
    def delivered(self) -> list[Delivered]:
        """What came in by SMTP, a row for each recipient."""
        if self._smtp is None:
            raise RuntimeError("delivered: the server has no SMTP: give smtp=True")
        return list(self._smtp.deliveries.all)

    def forget(self) -> None:
        """Forget the sessions that are over. `wait_for` counts from here."""
        self._catch_up()
        self._recorder.clear()

    def wait_for(self, n_sessions: int = 1, timeout: float = TIMEOUT) -> list[RecordedSession]:
        """Wait until that many sessions have ended, and give all sessions so far.

        Raises TimeoutError after `timeout` seconds, with what clients did until then.
        """
        if not self._changes.wait(partial(self._have_ended, n_sessions), timeout):
            raise self._too_few(n_sessions, timeout)
        return self.sessions

    async def wait_for_async(
        self,
        n_sessions: int = 1,
        timeout: float = TIMEOUT,  # noqa: ASYNC109
    ) -> list[RecordedSession]:
        """The same in a coroutine: the event loop, and a client in it, goes on meanwhile."""
        if not await self._changes.wait_async(partial(self._have_ended, n_sessions), timeout):
            raise self._too_few(n_sessions, timeout)
        return self.sessions

    def wait_until(self, condition: Callable[[], object], timeout: float = TIMEOUT) -> None:
        """Wait until `condition()` is true. It is asked whenever something has happened.

        Raises TimeoutError after `timeout` seconds, with what clients did until then.
        """
        if not self._changes.wait(condition, timeout):
            raise self._in_vain(f"after {timeout:g} seconds the condition doesn't hold")

    def report(self) -> str:
        """The dialogues of the sessions, for people, bounded in length."""
        return report(self.sessions)

    def _have_ended(self, wanted: int) -> bool:
        return self._recorder.ended >= wanted

    def _too_few(self, wanted: int, timeout: float) -> TimeoutError:
        ended = self._recorder.ended
        return self._in_vain(f"after {timeout:g} seconds, {ended} of {wanted} sessions have ended")

    def _in_vain(self, what: str) -> TimeoutError:
        return TimeoutError(f"{what}\n{self.report()}")

    def _catch_up(self) -> None:
        """Let the server deal with all that has reached it."""
        loop = self._running.loop
        if loop is None or loop.is_current():
            return
        with suppress(TimeoutError):  # it is busy: what is known so far has to do
            loop.run(_some_turns(), BARRIER_SECONDS)

    # Life

    def start(self) -> Self:
        """Listen. Raises OSError when a port can't be had, RuntimeError when it is started.

        A server that was closed can be started again, on the same ports, with its mail and its
        recordings.
        """
        if self._running.loop is not None:
            raise RuntimeError("the server is started already")
        for listener, (_, port) in zip(self._pop3.listeners, self._addresses, strict=False):
            listener.port = port
        loop = LoopThread()
        try:
            loop.run(self._open())
        except BaseException:
            loop.end(partial(_close, self._pop3, self._smtp))
            loop.join()
            raise
        self._running.began(loop, partial(_close, self._pop3, self._smtp))
        return self

    async def _open(self) -> None:
        if self._issuer is not None and not self._issuer.is_running:
            self._issuer.start()
        await self._pop3.open()
        self._addresses = self._pop3.addresses
        if self._smtp is not None:
            await self._smtp.open()

    def stop(self) -> None:
        """Go down, and cut the connections that are open. Files and mail stay for `start`."""
        self._running.stop()

    def close(self) -> None:
        """Go down for good: threads, sockets and files are gone. Harmless when repeated."""
        self._end.detach()
        self._running.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        made = hasattr(self, "_addresses")  # a test's report shows one that was refused, too
        where = f"{self.host}:{self.port}" if made and self._addresses else "not started"
        return f"<MailServer {where}>"


class _Running:
    """What a server has open, apart from the server, so that it can be closed after its end."""

    def __init__(self) -> None:
        self.held = ExitStack()
        self.loop: LoopThread | None = None
        self._close: Callable[[], Coroutine[Any, Any, None]] | None = None

    def began(self, loop: LoopThread, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.loop, self._close = loop, close

    def stop(self) -> None:
        loop, self.loop = self.loop, None
        if loop is None or self._close is None:
            return
        loop.end(self._close)
        if not loop.is_current():
            loop.join()

    def close(self) -> None:
        try:
            self.stop()
        finally:
            self.held.close()


def _abandoned(running: _Running, where: tuple[str, int]) -> None:
    """A server has come to nothing that nobody closed."""
    was_open = running.loop is not None
    if main_thread().is_alive():
        running.close()
    else:  # the program ends, and with it the thread: there is only this to be tidied up
        running.held.close()
    if was_open:
        file, line = where
        text = f"a MailServer made at {file}:{line} was not closed: use `with`, or call close()"
        warnings.warn_explicit(text, ResourceWarning, file, line)


def _unless_gone(
    make: WeakMethod[Callable[[bool | Callable[[MailAccount], object], str], None]],
    told: bool | Callable[[MailAccount], object],
) -> Callable[[str], None]:
    """Makes accounts, without keeping the server from its end."""

    def make_account(name: str) -> None:
        if (method := make()) is not None:
            method(told, name)

    return make_account


def _caller() -> tuple[str, int]:
    """File and line from which this package was called."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


async def _some_turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def _close(pop3: Pop3Server, smtp: SmtpListener | None) -> None:
    if smtp is not None:
        await smtp.close(DRAIN_SECONDS)
    await pop3.close()


def _check_accounts(accounts: object) -> None:
    if accounts is None:
        return
    if not isinstance(accounts, Mapping):
        raise TypeError(f'accounts={accounts!r}: names and passwords, as {{"joe": "secret"}}')
    for name, password in accounts.items():
        if not isinstance(name, str) or not isinstance(password, str):
            raise TypeError(f"accounts: {name!r} and its password have to be texts")


def _check_flags(**given: object) -> None:
    for name, value in given.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name}={value!r}: True or False")


def _is_right(password: str) -> bool:
    return True


def _passwords(accounts: Mapping[str, MailAccount]) -> list[str]:
    # Longer ones first: one may be a part of another.
    found = {each.password for each in list(accounts.values()) if each.password}
    return sorted(found, key=len, reverse=True)


def _listeners(
    host: str, port: int, tls_port: int, tls: PlainTls | None, *, secure: bool
) -> list[Listener]:
    if tls is None:
        tls = "starttls" if secure else "none"
    if tls not in PLAIN_TLS:
        raise ValueError(f"tls={tls!r}: allowed are {', '.join(PLAIN_TLS)}; see also tls_port")
    if not secure and (tls != "none" or tls_port):
        given = f"tls_port={tls_port!r}" if tls_port else f"tls={tls!r}"
        raise ValueError(f'{given} needs a certificate: give certificate="valid"')
    plain = Listener(host, port, tls)
    return [plain, Listener(host, tls_port, "implicit")] if secure else [plain]


def _with_defaults(settings: SettingsGiven) -> SettingsGiven:
    """The settings of a server that begins and ends quickly."""
    quick: SettingsGiven = {
        "min_threads": 0,
        "max_threads": 8,
        "hostname": "localhost",
        "drain_seconds": DRAIN_SECONDS,
        "short_idle": True,
    }
    return quick | settings
