"""What an attacker tries, and what mustn't come of it."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scramp import ScramClient

from restante.accounts.chain import Chain
from restante.accounts.contract import Account, AppPassword
from restante.accounts.oauth import OAuth
from restante.accounts.pam import PamAccounts
from restante.accounts.passwd_file import PasswdFile
from restante.accounts.rights import Rights
from restante.accounts.schemes import hash_password
from restante.accounts.sqlite import SqliteAccounts
from restante.accounts.static import StaticAccounts
from restante.accounts.verify import Verifier
from restante.app.config.load import read
from restante.app.service import Service
from restante.delivery import HeldOff
from restante.guard.guard import Guard
from restante.guard.settings import GuardSettings
from restante.protocol.claims import PasswordClaim
from restante.sasl import scram
from restante.sasl.contract import Challenge, MechanismContext
from restante.sasl.scram import ScramClaim, make
from restante.server.backend import StandardBackend
from restante.server.listen.listener import Listener
from restante.server.settings import Settings
from restante.threads import WorkerThreads
from tests.conftest import Authority
from tests.guard.kit import fail, is_open
from tests.needs import only_cpython
from tests.server.backends import backend_over, peer_at
from tests.server.kit import NAME, PASSWORD, Client, serving, until

STRICT = GuardSettings(shared_networks=())
HERE = "192.0.2.7"


def scram_login(client: Client, password: str, name: str = NAME) -> bytes:
    """The server's answer to a proof made with that password."""
    peer = ScramClient(["SCRAM-SHA-256"], name, password)
    first = b64encode(peer.get_client_first().encode()).decode()
    answer = client.ask(f"AUTH SCRAM-SHA-256 {first}")
    if not answer.startswith(b"+ "):
        return answer
    peer.set_server_first(b64decode(answer[2:]).decode())
    return client.ask(b64encode(peer.get_client_final().encode()))


class TestScram:
    ACCOUNTS = (Account(NAME, (hash_password(PASSWORD, "SCRAM-SHA-256"),)),)

    def test_who_is_held_off_learns_nothing_of_a_guess(self) -> None:
        """Whether a proof is right mustn't be told by one who doesn't look at it."""
        guard = GuardSettings(
            free_failures=1, delay_first=1.5, delay_max=1.5, account_delay_max=3600
        )
        with serving(accounts=StaticAccounts(self.ACCOUNTS), guard=guard) as server:
            for guess in ("one", "two"):
                with Client(server.port) as client:
                    client.ask(f"USER {NAME}")
                    assert client.ask(f"PASS {guess}").startswith(b"-ERR [AUTH]")
            answers = set()
            for guess in ("wrong", PASSWORD, "wrong", PASSWORD):
                with Client(server.port) as client:
                    answers.add(scram_login(client, guess))
        assert answers == {b"-ERR [SYS/TEMP] too many login attempts: try again later"}

    def test_exchanges_broken_off_are_failures(self) -> None:
        """Keys are derived for each of them, and mustn't be had for nothing."""
        accounts = StaticAccounts([Account(NAME, (f"{{PLAIN}}{PASSWORD}",))])
        guard = replace(STRICT, delay_first=0, ban_after=5)
        with serving(accounts=accounts, guard=guard) as server:
            for _ in range(5):
                with Client(server.port) as client:
                    assert client.ask("AUTH SCRAM-SHA-256 biwsbj1qb2Uscj14").startswith(b"+ ")
                    assert client.ask("*").startswith(b"-ERR")
            with Client(server.port, greet=False) as client:
                assert b"too many failed logins" in client.line()

    def test_one_connection_doesnt_go_on_breaking_off(self) -> None:
        guard = GuardSettings(delay_first=0)
        with serving(guard=guard) as server, Client(server.port) as client:
            for _ in range(10):
                client.ask("AUTH SCRAM-SHA-256 biwsbj1qb2Uscj14")
                assert client.ask("*") == b"-ERR authentication cancelled"
            assert client.rest() == b""

    def test_a_login_derives_no_keys_on_the_event_loop(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An account that keeps its password beside keys is known by the keys."""
        keys = make("sha256", PASSWORD, iterations=4096)
        account = Account(NAME, (f"{{PLAIN}}{PASSWORD}", f"{{SCRAM-SHA-256}}{keys.format()}"))
        peer = ScramClient(["SCRAM-SHA-256"], NAME, PASSWORD)
        exchange = scram.SCRAM_SHA_256.begin(
            MechanismContext("localhost"), peer.get_client_first().encode()
        )
        exchange.send(None)
        server_first = exchange.send(keys)
        assert isinstance(server_first, Challenge)
        peer.set_server_first(server_first.data.decode())
        exchange.send(peer.get_client_final().encode())
        with pytest.raises(StopIteration) as end:
            exchange.send(b"")
        claim: ScramClaim = end.value.value
        monkeypatch.setattr(scram, "make", lambda *_, **__: pytest.fail("keys were derived"))
        assert Verifier(StaticAccounts([account])).check(account, claim)


# Writing after a login


def slow_accounts(path: Path) -> SqliteAccounts:
    accounts = SqliteAccounts(path)
    accounts.add(NAME, credentials=[hash_password(PASSWORD, "SSHA")])
    accounts.add_app_password(NAME, "phone", "app-one")
    return accounts


@pytest.mark.parametrize("password", [PASSWORD, "app-one"], ids=["upgrade", "last use"])
@pytest.mark.parametrize("chained", [False, True])
def test_nobody_waits_for_what_a_login_writes(password: str, chained: bool, tmp_path: Path) -> None:
    path = tmp_path / "accounts.sqlite"
    with slow_accounts(path) as sqlite:
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        other.execute("BEGIN IMMEDIATE")
        accounts = Chain([StaticAccounts({"ann": "x"}), sqlite]) if chained else sqlite
        try:
            with serving(accounts=accounts) as server:
                begun = time.monotonic()
                with Client(server.port) as client:
                    client.log_in(NAME, password)
                    client.ask("NOOP")
                with Client(server.port) as client:
                    client.ask(f"USER {NAME}")
                    assert client.ask("PASS wrong").startswith(b"-ERR")
                # For five seconds the database is waited for.
                assert time.monotonic() - begun < 5, "the event loop waited for the database"
                other.execute("ROLLBACK")
                held = {"ARGON2ID"} if password == PASSWORD else {"SSHA"}
                until(lambda: sqlite.held_schemes() == held)
                used = password == "app-one"
                until(lambda: (sqlite.app_passwords(NAME)[0].used is not None) == used)
        finally:
            other.close()


@contextmanager
def logins_over(accounts: Any, **settings: Any) -> Iterator[StandardBackend]:
    threads = WorkerThreads("test", 0, 2)
    threads.start()
    try:
        yield backend_over(accounts, threads, **settings)
    finally:
        threads.stop()


@pytest.mark.parametrize("authzid", ["", "joe"])
def test_what_a_master_does_as_another_is_noted_as_its_own(authzid: str, tmp_path: Path) -> None:
    """Both have the same password without salt: one's upgrade mustn't touch the other's."""
    same = "{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="  # of "password"
    with SqliteAccounts(tmp_path / "a") as accounts:
        accounts.add("root", credentials=[same], rights=Rights(master=True))
        accounts.add_app_password("root", "phone", "app-one")
        accounts.add("joe", credentials=[same])
        accounts.add_app_password("joe", "phone", "app-two")

        async def act(password: str) -> None:
            name = "root" if authzid else "joe*root"
            claim = PasswordClaim(name, password, "PLAIN", authzid)
            account = await logins.authenticate(claim, peer_at(HERE))
            assert account is not None
            assert account.name == "joe"
            for work in begun:
                await work
            begun.clear()

        begun: list[Coroutine[Any, Any, None]] = []
        with logins_over(accounts, master_separator="*", spawn=begun.append) as logins:
            asyncio.run(act("password"))
            asyncio.run(act("app-one"))
        joe = accounts.lookup("joe")
        assert joe is not None
        assert joe.credentials == (same,)
        assert accounts.app_passwords("joe")[0].used is None
        assert accounts.app_passwords("root")[0].used is not None


# Remembered passwords

SLOW = replace(Account(NAME), credentials=(hash_password(PASSWORD, "SCRYPT"),))


@pytest.mark.parametrize(
    "change",
    [
        replace(SLOW, credentials=(hash_password("new", "SCRYPT"),)),
        replace(SLOW, credentials=()),
        replace(SLOW, disabled=True),
        replace(SLOW, expires=1.0),
        replace(SLOW, protocols=frozenset({"smtp"})),
        replace(SLOW, networks=("198.51.100.0/24",)),
    ],
)
@pytest.mark.parametrize("app_password", [False, True])
def test_a_remembered_password_is_as_good_as_its_account(
    change: Account, app_password: bool
) -> None:
    before, after, password = SLOW, change, PASSWORD
    if app_password:
        more = (AppPassword("phone", hash_password("app-one", "SSHA512")),)
        before, password = replace(before, app_passwords=more), "app-one"
        if change.credentials == SLOW.credentials:
            after = replace(after, app_passwords=more)  # else it is revoked with the change
    accounts = StaticAccounts([before])
    claim = PasswordClaim(NAME, password)
    with logins_over(accounts) as logins:
        assert asyncio.run(logins.identify(claim, peer_at(HERE))) is not None
        assert asyncio.run(logins.identify(claim, peer_at(HERE))) is not None
        accounts.remove(NAME)
        accounts.add(after)
        assert asyncio.run(logins.identify(claim, peer_at(HERE))) is None


# By SMTP the same guard


@contextmanager
def service(tmp_path: Path, text: str = "") -> Iterator[Service]:
    file = tmp_path / "restante.toml"
    off = "[pop3]\nport = 'off'\ntls_port = 'off'\n"
    file.write_text(f"{off}[guard]\nshared_networks = []\n{text}")
    (tmp_path / "data").mkdir(exist_ok=True)
    with SqliteAccounts(tmp_path / "data" / "accounts.sqlite") as accounts:
        accounts.add(NAME, PASSWORD)
        accounts.add_app_password(NAME, "phone", "app-one")
    made = Service(read(file, environ={}), lambda: read(file, environ={}))
    try:
        yield made
    finally:
        made._threads.stop()
        made.guard.close()


async def opened(made: Service, *tries: tuple[str, str]) -> list[bool | None]:
    """Whether each password lets in from its address; None: it isn't looked at."""
    await made.pop3.open()
    answers: list[bool | None] = []
    try:
        for password, address in tries:
            try:
                answers.append(await made._authenticate(NAME, password, address))
            except HeldOff:
                answers.append(None)
    finally:
        await made.pop3.close()
    return answers


def test_smtp_turns_away_whom_the_guard_does(tmp_path: Path) -> None:
    with service(tmp_path, "deny_networks = ['198.51.100.0/24']\n") as made:
        made.guard.ban("203.0.113.5")
        tries = [(PASSWORD, HERE), (PASSWORD, "198.51.100.9"), (PASSWORD, "203.0.113.5")]
        assert asyncio.run(opened(made, *tries)) == [True, None, None]


def test_smtp_notes_the_use_of_an_app_password(tmp_path: Path) -> None:
    with service(tmp_path) as made:
        assert asyncio.run(opened(made, ("app-one", HERE), ("wrong", HERE))) == [True, False]
    with SqliteAccounts(tmp_path / "data" / "accounts.sqlite") as accounts:
        assert accounts.app_passwords(NAME)[0].used is not None


# Settings that would let in the wrong ones, or nobody


@pytest.mark.parametrize("separator", ["@", ".", "x", "7", " "])
def test_a_separator_that_names_have_is_none(separator: str) -> None:
    with pytest.raises(ValueError, match="master_separator"):
        Settings(master_separator=separator)


def test_kinds_of_names_that_no_certificate_has() -> None:
    with pytest.raises(ValueError, match="external_names='phone'"):
        Settings(external_names=("cn", "phone"))


# An application's yes


@pytest.mark.parametrize(
    ("response", "welcome"),
    [
        (b"\0joe\0x", True),
        (b"joe\0joe\0x", True),
        (b"\0new\0x", True),
        (b"ann\0joe\0x", False),
        (b"\0 joe\0x", False),
        (b"\0old\0x", False),
        (b"\0far\0x", False),
    ],
)
def test_a_plain_yes_lets_in_whom_the_peer_says_it_is(response: bytes, welcome: bool) -> None:
    accounts = StaticAccounts(
        [Account("joe"), Account("old", expires=1.0), Account("far", networks=("192.0.2.0/24",))]
    )
    with serving(accounts=accounts) as server:
        server.on("authenticate")(lambda *_: True)
        with Client(server.port) as client:
            answer = client.ask(b"AUTH PLAIN " + b64encode(response))
    assert answer.startswith(b"+OK" if welcome else b"-ERR [AUTH]")


def test_a_token_without_a_name_is_nobody_s_for_a_plain_yes() -> None:
    oauth = OAuth(issuer="https://id.example", audience="mail", jwks_file="nowhere")
    with serving(oauth=oauth) as server:
        server.on("authenticate")(lambda *_: True)
        with Client(server.port) as client:
            response = b64encode(b"n,,\1auth=Bearer x\1\1")
            assert client.ask(b"AUTH OAUTHBEARER " + response).startswith(b"+ ")
            assert client.ask("AQ==").startswith(b"-ERR [AUTH]")


# A proxy's word


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ("ADDR=192.0.2.7 CLIENT-TRANSPORT=insecure", False),
        ("CLIENT-TRANSPORT=insecure", False),
        ("ADDR=127.0.0.1 CLIENT-TRANSPORT=insecure", True),
        ("ADDR=192.0.2.7 CLIENT-TRANSPORT=TLS", True),
    ],
)
def test_a_password_that_crossed_a_network_in_the_clear_is_refused(said: str, heard: bool) -> None:
    """Though it comes from a proxy on this machine."""
    listener = Listener(port=0, xclient=True, proxy_networks=["127.0.0.1"])
    with serving(listeners=[listener]) as server, Client(server.port) as client:
        assert client.ask(f"XCLIENT {said}").startswith(b"+OK")
        assert client.ask(f"USER {NAME}").startswith(b"+OK" if heard else b"-ERR password not")


# Connections that never become one


@pytest.mark.skipif(sys.platform == "win32", reason="only where sockets can be watched")
@pytest.mark.parametrize("behind_a_proxy", [False, True])
def test_handshakes_count_as_connections(
    behind_a_proxy: bool, authority: Authority, loop_kind: str
) -> None:
    """Whoever opens connections and says nothing must not have more of them than others."""
    listener = Listener(port=0, tls="implicit")
    wire, address = b"", "127.0.0.1"
    if behind_a_proxy:
        listener = Listener(
            port=0, tls="implicit", proxy_protocol=True, proxy_networks=["127.0.0.1"]
        )
        wire, address = f"PROXY TCP4 {HERE} 127.0.0.1 1 995\r\n".encode(), HERE
    guard = replace(STRICT, max_connections_per_address=3)
    trusting = authority.client_context()

    def knock() -> Client:
        client = Client(server.port, greet=False)
        client.send(wire)
        return client

    with (
        serving(guard=guard, listeners=[listener], certificate=authority.certificate) as server,
        ExitStack() as held,
    ):
        for _ in range(2):
            held.enter_context(knock())
        with knock() as third:
            third.wrap(trusting)
            assert third.line().startswith(b"+OK")
            with knock() as fourth:
                assert fourth.is_cut()
            third.log_in()
        held.close()
        until(lambda: len(server.context.guard.limits) == 0)
        with knock() as again:
            assert again.wrap(trusting).line().startswith(b"+OK")
        server.context.guard.ban(address)
        with knock() as banned:
            assert banned.is_cut()


# One account by many names


@pytest.mark.parametrize(
    "names",
    [
        ("joe", "JOE", "Jo\u00e9", "j\u200boe", "\uff4a\uff4f\uff45", "j oe"),
        ("jose\u0301", "jos\u00e9", "JOSE"),
    ],
)
def test_the_guard_counts_names_that_some_store_takes_for_one(names: tuple[str, ...]) -> None:
    guard = Guard(GuardSettings(shared_networks=(), account_delay_max=3600))
    for number in range(5):
        address = f"192.0.2.{number}"
        assert fail(guard, address, names[number % len(names)], b"%d" % number) == 0
    for name in names:
        assert not is_open(guard, "198.51.100.1", name)
    assert is_open(guard, "198.51.100.1", "ann")


def test_domains_that_dont_count_win_no_tries(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("joe:{PLAIN}secret\n")
    accounts = Chain([StaticAccounts({}), PasswdFile(file, username_format="%n")])
    with logins_over(accounts, master_separator="*") as logins:
        asyncio.run(logins.held_schemes())
        salts = set()
        for name in ("joe", "joe@one.example", "JOE@two.example", "x*joe@three.example"):
            assert logins.login_name(name) == "joe"
            assert asyncio.run(logins.identify(PasswordClaim("joe@any", "secret"), peer_at(HERE)))
        for name in ("nobody", "nobody@one.example", "nobody@two.example"):
            salts.add(asyncio.run(logins.keys(name, "SCRAM-SHA-256", peer_at("127.0.0.1"))).salt)
    assert len(salts) == 1


@only_cpython
@pytest.mark.skipif(sys.platform == "win32", reason="only where there is PAM")
def test_whom_pam_isnt_asked_about_it_counts_no_failures_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    async def check(self: PamAccounts, name: str, password: str) -> bool:
        asked.append(name)
        return True

    monkeypatch.setattr(PamAccounts, "_check", check)
    accounts = Chain([StaticAccounts({"daemon": "x"}), PamAccounts()])
    with logins_over(accounts) as logins:
        for name in ("root", "daemon", "no-such-user"):
            assert asyncio.run(logins.identify(PasswordClaim(name, "wrong"), peer_at(HERE))) is None
        assert len(asked) == 3
        assert not {"root", "daemon"} & {*asked}
