"""Accounts by way of PAM: real stacks of real modules, which also hang and crash."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import poplib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from restante import MemoryStore, Pop3Server
from restante.accounts import pam, pam_helper
from restante.accounts.contract import Account, AccountError
from restante.accounts.pam import PamAccounts
from tests.needs import need, only_cpython

pytestmark = only_cpython

SERVICES = Path("/etc/pam.d")
numbers = itertools.count()

MakeService = Callable[[str], str]


@pytest.fixture(scope="module")
def userdb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of pam_userdb's: daemon has the password "geheim", alias " blanks ü "."""
    file = tmp_path_factory.mktemp("userdb") / "users.db"
    script = 'tie %h, "DB_File", shift, O_RDWR|O_CREAT, 0600, $DB_HASH or die; %h = @ARGV'
    people = ["daemon", "geheim", "bin", "anders", "alias", " blanks ü "]
    command = [need("perl", package="perl"), "-MDB_File", "-MFcntl", "-e", script, str(file)]
    subprocess.run([*command, *people], check=True, timeout=20)
    return file


@pytest.fixture
def service(userdb: Path) -> Iterator[MakeService]:
    """Makes a PAM service of the given lines; `USERDB` stands for the module of that database."""
    if os.geteuid() != 0 or not SERVICES.is_dir():
        pytest.skip("only root can add a service to PAM")
    made: list[Path] = []

    def make(lines: str) -> str:
        file = SERVICES / f"restante-test-{os.getpid()}-{next(numbers)}"
        made.append(file)
        file.write_text(
            lines.replace("USERDB", f"pam_userdb.so crypt=none db={userdb.with_suffix('')}")
        )
        return file.name

    yield make
    for file in made:
        file.unlink()


PLAIN = "auth required USERDB\naccount required pam_permit.so\n"


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """Makes a service that does this in its first module, before the password is asked for."""

    def make(text: str) -> str:
        file = tmp_path / "script"
        file.write_text(f"#!/bin/sh\ncd {tmp_path}\n{text}\n")
        file.chmod(0o755)
        return f"auth required pam_exec.so quiet {file}\n{PLAIN}"

    return make


@asynccontextmanager
async def opened(name: str, **settings: Any) -> AsyncIterator[PamAccounts]:
    accounts = PamAccounts(name, **settings)
    try:
        yield accounts
    finally:
        await accounts.aclose()


async def right(accounts: PamAccounts, name: str, password: str) -> bool:
    account = accounts.lookup(name)
    assert isinstance(account, Account)
    assert account.check_password is not None
    answer = account.check_password(password)
    assert isinstance(answer, Awaitable)
    return await answer


@pytest.mark.asyncio
async def test_who_gets_in(service: MakeService) -> None:
    async with opened(service(PLAIN), any_name=True) as accounts:
        assert await right(accounts, "daemon", "geheim") is True
        assert await right(accounts, "alias", " blanks ü ") is True
        for wrong in ("", "Geheim", "geheim ", "anders", "geheim\0", "x" * 5000, "\udcff"):
            assert await right(accounts, "daemon", wrong) is False
        assert await right(accounts, "nobody", "geheim") is False
        assert await right(accounts, "daemon' --", "geheim") is False


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("code", "told"),
    [
        *(("perm_denied", ""), ("user_unknown", ""), ("auth_err", ""), ("maxtries", "too many")),
        *(("acct_expired", "account expired"), ("new_authtok_reqd", "password expired")),
        *(("cred_expired", "credentials expired"), ("authtok_expired", "password expired")),
    ],
)
async def test_the_account_phase_can_say_no(
    service: MakeService, caplog: pytest.LogCaptureFixture, code: str, told: str
) -> None:
    name = service(f"auth required USERDB\naccount required pam_debug.so acct={code}\n")
    async with opened(name) as accounts:
        with caplog.at_level(logging.WARNING):
            assert await right(accounts, "daemon", "geheim") is False
    assert told in caplog.text
    assert bool(told) == bool(caplog.text)
    assert "geheim" not in caplog.text


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "lines",
    [
        "auth required pam_debug.so auth=authinfo_unavail\n",
        "auth required pam_debug.so auth=cred_insufficient\n",
        "auth required pam_debug.so auth=system_err\n",
        "auth required pam_debug.so auth=abort\n",
        "auth required USERDB\naccount required pam_debug.so acct=service_err\n",
        "auth required pam_no_such_module.so\n",
        "auth required pam_permit.so\naccount required pam_permit.so\n",  # nobody asked
        "auth required pam_debug.so\naccount required pam_debug.so\n",
    ],
)
async def test_what_is_no_answer(service: MakeService, lines: str) -> None:
    async with opened(service(lines)) as accounts:
        with pytest.raises(AccountError, match="can't tell"):
            await right(accounts, "daemon", "geheim")


def test_accounts_without_a_password_stay_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """pam_unix, set up with nullok as on Debian, lets everybody in unless told otherwise."""
    seen: list[int] = []

    class Authenticator:
        code = 7

        def pam_authenticate(self, handle: object, flags: int) -> int:
            seen.append(flags)
            return self.code

        def pam_set_item(self, handle: object, kind: int, value: object) -> None: ...

        def authenticate(self, *words: bytes, resetcreds: bool) -> bool:
            assert words == (b"nobody", b"x", b"restante")
            return self.pam_authenticate(None, 0) == 0

    monkeypatch.setitem(sys.modules, "pam", SimpleNamespace(PamAuthenticator=Authenticator))
    assert pam_helper.check(b"restante", b"nobody", b"x") == (7, 0)
    assert seen[0] & 1  # PAM_DISALLOW_NULL_AUTHTOK


@pytest.mark.asyncio
async def test_a_helper_that_crashes_is_replaced(
    service: MakeService, script: Callable[[str], str], tmp_path: Path
) -> None:
    async with opened(service(script("test -e well || kill -9 $PPID"))) as accounts:
        with pytest.raises(AccountError, match="helper"):
            await right(accounts, "daemon", "geheim")
        (tmp_path / "well").touch()
        assert await right(accounts, "daemon", "geheim") is True


@pytest.mark.asyncio
async def test_a_helper_that_dies_meanwhile_is_not_missed(
    service: MakeService, script: Callable[[str], str], tmp_path: Path
) -> None:
    name = service(script("echo $PPID > pid"))
    async with opened(name, max_processes=1) as accounts:
        assert await right(accounts, "daemon", "geheim") is True
        helper = int((tmp_path / "pid").read_text())
        os.kill(helper, 9)
        while Path(f"/proc/{helper}").exists():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert await right(accounts, "daemon", "geheim") is True


@pytest.mark.asyncio
async def test_a_helper_that_hangs_is_killed(
    service: MakeService, script: Callable[[str], str], tmp_path: Path
) -> None:
    name = service(script("echo $PPID > pid; test -e well || sleep 20"))
    async with opened(name, timeout=1.0, max_processes=1) as accounts:
        begun = time.monotonic()
        with pytest.raises(AccountError, match="in time"):
            await right(accounts, "daemon", "geheim")
        assert time.monotonic() - begun < 5
        assert not Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}").exists()
        (tmp_path / "well").touch()
        assert await right(accounts, "daemon", "geheim") is True


@pytest.mark.asyncio
async def test_no_more_helpers_than_allowed(
    service: MakeService, script: Callable[[str], str], tmp_path: Path
) -> None:
    name = service(script("echo $PPID >> pids; echo noise; sleep 0.05"))
    async with opened(name, max_processes=2) as accounts:
        passwords = ["geheim", "falsch"] * 5
        checks = (right(accounts, "daemon", password) for password in passwords)
        assert await asyncio.gather(*checks) == [True, False] * 5
        pids = set((tmp_path / "pids").read_text().split())
        assert len(pids) == 2
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.asyncio
async def test_helpers_are_replaced_in_time(
    service: MakeService,
    script: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pam, "CHECKS_PER_PROCESS", 2)
    async with opened(service(script("echo $PPID >> pids"))) as accounts:
        for _ in range(4):
            assert await right(accounts, "daemon", "geheim") is True
    pids = (tmp_path / "pids").read_text().split()
    assert pids[0] == pids[1] != pids[2] == pids[3]


@pytest.mark.asyncio
async def test_refusals_are_delayed_without_keeping_a_helper_busy(service: MakeService) -> None:
    name = service(f"auth required pam_faildelay.so delay=1000000\n{PLAIN}")
    async with opened(name, max_processes=1) as accounts:
        await right(accounts, "daemon", "geheim")
        begun = time.monotonic()
        wrong = [asyncio.ensure_future(right(accounts, "daemon", "falsch")) for _ in range(20)]
        await asyncio.sleep(0)
        assert await right(accounts, "daemon", "geheim") is True  # in turn, after them all
        assert not all(each.done() for each in wrong)
        assert not any(await asyncio.gather(*wrong))
        assert time.monotonic() - begun >= 0.5  # PAM varies it by a half


@pytest.mark.asyncio
async def test_who_leaves_is_counted_all_the_same(
    service: MakeService, script: Callable[[str], str], tmp_path: Path
) -> None:
    name = service(script("sleep 0.2; echo $PAM_USER >> tries"))
    async with opened(name) as accounts:
        check = asyncio.create_task(right(accounts, "daemon", "falsch"))
        await asyncio.sleep(0.05)
        check.cancel()
        await asyncio.gather(check, return_exceptions=True)
        deadline = time.monotonic() + 10
        while not (tmp_path / "tries").exists():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


@pytest.mark.asyncio
async def test_unknown_names_cost_what_a_wrong_password_costs(
    service: MakeService, script: Callable[[str], str], tmp_path: Path
) -> None:
    async with opened(service(script("echo $PAM_USER >> tries"))) as accounts:
        assert accounts.lookup("no-such-user") is None
        await accounts.check_decoy("no-such-user", "geheim")
        assert (tmp_path / "tries").read_text().startswith("nobody-")
        assert accounts.slowest_scheme() is None


def test_one_event_loop_after_another(service: MakeService) -> None:
    accounts = PamAccounts(service(PLAIN))

    async def check() -> None:
        assert await right(accounts, "daemon", "geheim") is True
        await accounts.aclose()
        await accounts.aclose()

    asyncio.run(check())
    asyncio.run(check())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_client_logs_in(service: MakeService, monkeypatch: pytest.MonkeyPatch, loop: str) -> None:
    if loop == "uvloop":
        uvloop = pytest.importorskip("uvloop", reason="only where uvloop can be installed")
        monkeypatch.setattr(asyncio, "new_event_loop", uvloop.new_event_loop)
    accounts = PamAccounts(service(PLAIN))
    server = Pop3Server(accounts=accounts, store=MemoryStore(), port=0, failure_delay=0.0)
    with server:
        client = poplib.POP3("127.0.0.1", server.port, timeout=20)
        try:
            for name, password in (("daemon", "falsch"), ("no-such-user", "geheim")):
                client.user(name)
                with pytest.raises(poplib.error_proto, match="AUTH"):
                    client.pass_(password)
            client.user("daemon")
            assert client.pass_("geheim").startswith(b"+OK")
        finally:
            client.close()


def test_whose_names_they_are() -> None:
    accounts = PamAccounts()
    daemon = accounts.lookup("daemon")
    assert daemon is not None
    assert (daemon.name, daemon.credentials) == ("daemon", ())
    assert not daemon.version
    assert not daemon.assumed
    for name in ("root", "no-such-user", "DAEMON", "", "daemon\0", "daemon\n", "x" * 300, "\udcff"):
        assert accounts.lookup(name) is None
    for address in ("daemon", "daemon@example.org"):
        assert (found := accounts.lookup_address(address)) is not None
        assert found.name == "daemon"
    assert accounts.lookup_address("root@example.org") is None
    anybody = PamAccounts(any_name=True)
    somebody = anybody.lookup("no-such-user")
    assert somebody is not None
    assert somebody.assumed
    assert anybody.lookup_address("no-such-user") is None


def test_a_system_without_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pwd", None)
    with pytest.raises(AccountError, match="has none"):
        PamAccounts().lookup("daemon")


@pytest.mark.parametrize(
    "wrong",
    [
        *({"service": name} for name in ("", "../login", "a\0b", "a\nb")),
        {"max_processes": 0},
        {"timeout": 0},
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="PAM"):
        PamAccounts(**wrong)


def test_a_missing_library_is_an_error_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pam, "find_spec", lambda name: None)
    with pytest.raises(AccountError, match=r"restante\[pam\]"):
        PamAccounts()


def test_where_it_can_t_work_that_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "implementation", SimpleNamespace(name="pypy"))
    with pytest.raises(AccountError, match="PAM needs CPython"):
        PamAccounts("login")
