"""Accounts of the system, or of whatever PAM's modules know; passwords checked by PAM."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from functools import partial
from importlib.util import find_spec

from restante.accounts import pam_helper
from restante.accounts.contract import Account, AccountError, AccountStore
from restante.accounts.names import is_valid_name
from restante.extras import missing
from restante.settings_fields import suggest_settings

log = logging.getLogger("restante.accounts")

CHECKS_PER_PROCESS = 1000
"""Checks after which a helper process is replaced: PAM's modules leak memory."""

MAX_PASSWORD = 511
"""Octets of a password that PAM can carry (PAM_MAX_RESP_SIZE, less the NUL)."""

SUCCESS = 0

_REFUSALS = {
    **{6: "", 7: "", 10: ""},  # denied, wrong password, unknown: nothing worth telling
    **{11: "too many tries", 12: "password expired", 13: "account expired"},
    **{16: "credentials expired", 27: "password expired"},
}
"""PAM's codes for a refusal; with any other code PAM can't tell."""


@suggest_settings
class PamAccounts(AccountStore):
    """Accounts that the PAM service `service` lets in, by `/etc/pam.d/<service>`.

    Passwords are checked in helper processes, since PAM's modules block, leak and crash.
    A yes needs both of PAM's phases, `auth` and `account`, and a module that asked for the
    password: accounts without one don't get in. What a refusal is to be delayed by (as
    pam_unix wants) is waited for here, and keeps no helper busy.

    A helper runs as the server does. pam_unix needs to read /etc/shadow: as root, or on
    Debian in the group `shadow`; elsewhere it can't tell. Modules that ask a service
    (pam_sss, pam_ldap, pam_winbind, pam_krb5) or read a file of their own (pam_userdb)
    need no such thing. Without a file for the service, PAM takes /etc/pam.d/other.

    Names are those of the system's users, except root's.

    any_name: names needn't be users of the system; then all are taken as they come, in
        the spelling that was logged in with, and `lookup` can't tell which exist.
    max_processes: helper processes, and so checks at the same time.
    timeout: seconds for a check, waiting for a free helper included; a helper that takes
        longer is killed.

    Raises ValueError for settings that can't be, and AccountError when python-pam is
    missing or PAM can't tell. Passwords are never remembered: PAM doesn't say when one
    has changed.
    """

    def __init__(
        self,
        service: str = "restante",
        *,
        any_name: bool = False,
        max_processes: int = 2,
        timeout: float = 30.0,
    ) -> None:
        if not service or not service.isprintable() or "/" in service:
            raise ValueError("PAM: service must be the name of a file in /etc/pam.d")
        if max_processes < 1 or timeout <= 0:
            raise ValueError("PAM: max_processes and timeout must be positive")
        if sys.implementation.name == "pypy":
            raise AccountError("PAM needs CPython: by PyPy python-pam can't answer PAM's questions")
        if find_spec("pam") is None:
            raise AccountError(missing("pam", "PAM", "python-pam", ModuleNotFoundError()))
        self._service = service
        self._any_name = any_name
        self._max_processes = max_processes
        self._timeout = timeout
        self._helpers: _Helpers | None = None

    def lookup(self, name: str) -> Account | None:
        """The account that `name` logs in to, or None."""
        if not is_valid_name(name) or not (self._any_name or _is_user(name)):
            return None
        # Without a version: what PAM would say may always have changed.
        return Account(name, check_password=partial(self._check, name), assumed=self._any_name)

    def lookup_address(self, address: str) -> Account | None:
        """The account whose name the address, or what is before its "@", is."""
        if self._any_name:
            return None
        return self.lookup(address) or self.lookup(address.rpartition("@")[0])

    async def check_decoy(self, name: str, password: str) -> None:
        """Take as long as a wrong password does, for an unknown name: PAM is asked.

        Not by that name: root's, or one that another store answers for, would have its failures
        counted by PAM, and could be locked.
        """
        await self._check(f"nobody-{secrets.token_hex(8)}", password)

    def slowest_scheme(self) -> str | None:
        """None: no hashes are kept here."""
        return None

    async def aclose(self) -> None:
        """End the helper processes. Harmless when repeated; a later check starts new ones."""
        helpers, self._helpers = self._helpers, None
        if helpers is not None and helpers.loop is asyncio.get_running_loop():
            await helpers.aclose()

    async def _check(self, name: str, password: str) -> bool:
        octets = password.encode("utf-8", "surrogateescape")
        if not 1 <= len(octets) <= MAX_PASSWORD or b"\0" in octets or not is_valid_name(name):
            return False
        request = b"\0".join((self._service.encode(), name.encode(), octets))
        begun = time.monotonic()
        code, delay = await self._ask(request)
        if code != SUCCESS:
            # From the beginning, so that it covers what the answer took, which may tell.
            passed = time.monotonic() - begun
            await asyncio.sleep(max(0.0, min(delay / 1e6, self._timeout) - passed))
        if code == SUCCESS:
            return True
        if code not in _REFUSALS:
            raise AccountError(f"PAM service {self._service!r} can't tell: code {code}")
        if _REFUSALS[code]:
            log.warning("PAM: login of %r refused: %s", name, _REFUSALS[code])
        return False

    async def _ask(self, request: bytes) -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        helpers = self._helpers
        if helpers is None or helpers.loop is not loop:
            if helpers is not None and not helpers.loop.is_closed():
                raise AccountError("PAM: in use by another event loop")
            helpers = self._helpers = _Helpers(loop, self._max_processes, self._timeout)
        # A client that leaves must not keep PAM from counting its failure.
        return await asyncio.shield(helpers.spawn(request))


def _is_user(name: str) -> bool:
    try:
        import pwd  # noqa: PLC0415 - not on every system
    except ImportError:
        raise AccountError("PAM: this system has none") from None
    try:
        user = pwd.getpwnam(name)
    except (KeyError, ValueError):
        return False
    # A name service may find it by another spelling, which would be another maildrop.
    return user.pw_name == name and user.pw_uid != 0


class _Helpers:
    """The helper processes of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int, timeout: float) -> None:
        self.loop = loop
        self._timeout = timeout
        self._slots = asyncio.Semaphore(limit)
        self._idle: list[_Helper] = []
        self._asking: set[asyncio.Task[tuple[int, int]]] = set()

    def spawn(self, request: bytes) -> asyncio.Task[tuple[int, int]]:
        """PAM's code and the delay that it wants. Raises AccountError."""
        task = self.loop.create_task(self._ask(request))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        return task

    async def _ask(self, request: bytes) -> tuple[int, int]:
        try:
            async with asyncio.timeout(self._timeout), self._slots:
                helper = self._kept() or await _Helper.start()
                try:
                    answer = await helper.ask(request)
                except BaseException:
                    await helper.end()
                    raise
                if helper.checks < CHECKS_PER_PROCESS:
                    self._idle.append(helper)
                else:
                    await helper.end()
                return answer
        except TimeoutError:
            raise AccountError("PAM: no answer in time") from None
        except (OSError, EOFError) as error:
            raise AccountError(f"PAM: no helper process: {error}") from None

    def _kept(self) -> _Helper | None:
        while self._idle:
            if (helper := self._idle.pop()).is_alive():
                return helper
        return None

    async def aclose(self) -> None:
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)
        while self._idle:
            await self._idle.pop().end()


class _Helper:
    """One helper process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.checks = 0

    @classmethod
    async def start(cls) -> _Helper:
        # In a session of its own: Ctrl-C is for the server, and what a module started can
        # be ended with it.
        command = (sys.executable, "-P", pam_helper.__file__)
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True
        )
        return cls(process)

    def is_alive(self) -> bool:
        return self._process.returncode is None

    async def ask(self, request: bytes) -> tuple[int, int]:
        """Raises OSError or EOFError when the process is gone."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.checks += 1
        self._process.stdin.write(pam_helper.LENGTH.pack(len(request)) + request)
        answer = await self._process.stdout.readexactly(pam_helper.ANSWER.size)
        code, delay = pam_helper.ANSWER.unpack(answer)
        return code, delay

    async def end(self) -> None:
        """Kill it, and whatever it started."""
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        await asyncio.shield(self._process.wait())
