"""Who gets in, and as whom: accounts' rights, masters, app passwords, others who are asked."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any, Literal

import pytest

from restante.accounts.contract import Account, AccountError, AccountStore, AppPassword, Found
from restante.accounts.schemes import hash_password
from restante.accounts.static import StaticAccounts
from restante.accounts.verify import Proof, Verifier
from restante.guard.settings import GuardSettings
from restante.protocol.claims import Claim, IdentityClaim, PasswordClaim, TokenClaim
from restante.sasl.scram import ScramKeys
from restante.threads import WorkerThreads
from tests.server.backends import backend_over, peer_at
from tests.server.kit import Client, serving

HERE = "192.0.2.7"
JOE = Account("joe", ("{PLAIN}geheim",))
MASTER = Account("root", ("{PLAIN}allmacht",), master=True)


class Issuer:
    """Vouches for tokens that are names."""

    async def identify(self, token: str) -> str | None:
        if token == "down":
            raise AccountError("unreachable")
        return token if token.islower() else None


class House:
    """A backend over some accounts, with a clock of its own."""

    def __init__(self, *accounts: Account, separator: str = "") -> None:
        self.store = StaticAccounts(accounts)
        self.now = 1000.0
        self.threads = WorkerThreads("test", 0, 2)
        self.backend = backend_over(
            self.store,
            self.threads,
            tokens=Issuer(),
            master_separator=separator,
            clock=lambda: self.now,
        )
        self.verifier = self.backend.verifier

    def let_in(
        self, claim: Claim, address: str = HERE, protocol: Literal["pop3", "smtp"] = "pop3"
    ) -> str | None:
        """The name of the account that the claim lets in."""

        async def run() -> str | None:
            try:
                found = await self.backend.identify(claim, peer_at(address, protocol))
            finally:
                await asyncio.to_thread(self.threads.stop)
            return None if found is None else found[0].name

        self.threads.start()
        return asyncio.run(run())


def password(name: str, text: str, authzid: str = "") -> PasswordClaim:
    return PasswordClaim(name, text, "PLAIN", authzid)


def token(text: str, name: str = "") -> TokenClaim:
    return TokenClaim(name, text, "OAUTHBEARER", b"{}")


@pytest.mark.parametrize(
    ("account", "address", "protocol", "welcome"),
    [
        (JOE, HERE, "pop3", True),
        (replace(JOE, disabled=True), HERE, "pop3", False),
        (replace(JOE, protocols=frozenset({"pop3"})), HERE, "pop3", True),
        (replace(JOE, protocols=frozenset({"smtp"})), HERE, "pop3", False),
        (replace(JOE, protocols=frozenset({"smtp"})), HERE, "smtp", True),
        (replace(JOE, protocols=frozenset()), HERE, "pop3", False),
        (replace(JOE, networks=("192.0.2.0/24",)), HERE, "pop3", True),
        (replace(JOE, networks=("192.0.2.0/24",)), "::ffff:192.0.2.7", "pop3", True),
        (replace(JOE, networks=("198.51.100.0/24", "2001:db8::/32")), HERE, "pop3", False),
        (replace(JOE, networks=("2001:db8::/32",)), "2001:db8::1", "pop3", True),
        (replace(JOE, networks=("192.0.2.0/24",)), "", "pop3", False),
        (replace(JOE, expires=1000.5), HERE, "pop3", True),
        (replace(JOE, expires=1000.0), HERE, "pop3", False),
    ],
)
@pytest.mark.parametrize(
    "claim",
    [
        password("joe", "geheim"),
        IdentityClaim(("joe",), "EXTERNAL"),
        IdentityClaim(("joe@elsewhere", "joe"), "GSSAPI"),
        token("joe"),
        token("joe", "joe"),
    ],
    ids=lambda claim: claim.mechanism,
)
def test_an_account_has_its_rights_whatever_the_mechanism(
    account: Account,
    address: str,
    protocol: Literal["pop3", "smtp"],
    welcome: bool,
    claim: Claim,
) -> None:
    assert House(account).let_in(claim, address, protocol) == ("joe" if welcome else None)


@pytest.mark.parametrize(
    "claim",
    [
        password("joe", "falsch"),
        password("ann", "geheim"),
        password("joe", ""),
        IdentityClaim(("ann",), "EXTERNAL"),
        token("JOE"),
        token("ann"),
        token("joe", "ann"),
        token("joe", "root"),
        token("root", "joe"),
        password("joe", "geheim", authzid="root"),
        password("joe", "geheim", authzid="ann"),
        IdentityClaim(("joe",), "EXTERNAL", authzid="root"),
        password("joe*root", "allmacht"),
    ],
)
def test_everything_else_lets_nobody_in(claim: Claim) -> None:
    """A10. Nobody is a master who isn't called one, and no separator is heeded unasked."""
    assert House(JOE, replace(MASTER, master=False)).let_in(claim) is None


def test_an_issuer_that_cant_be_asked_is_no_refusal() -> None:
    with pytest.raises(AccountError):
        House(JOE).let_in(token("down"))


class TestMasters:
    @pytest.mark.parametrize(
        "claim",
        [
            password("root", "allmacht", authzid="joe"),
            password("joe*root", "allmacht"),
            IdentityClaim(("root",), "GSSAPI", authzid="joe"),
        ],
    )
    def test_a_master_acts_as_another(self, claim: Claim) -> None:
        assert House(JOE, MASTER, separator="*").let_in(claim) == "joe"

    @pytest.mark.parametrize(
        "claim",
        [
            password("joe*root", "geheim"),
            password("root*joe", "geheim"),
            password("root", "allmacht", authzid="nobody"),
            password("*root", "allmacht"),
            password("joe*", "geheim"),
        ],
    )
    def test_with_its_own_password_and_as_somebody_who_exists(self, claim: Claim) -> None:
        assert House(JOE, MASTER, separator="*").let_in(claim) is None

    def test_a_master_is_somebody_too(self) -> None:
        house = House(JOE, MASTER, separator="*")
        assert house.let_in(password("root", "allmacht")) == "root"
        assert house.let_in(password("root*root", "allmacht")) == "root"

    def test_not_into_a_disabled_account_nor_from_a_wrong_place(self) -> None:
        disabled = House(replace(JOE, disabled=True), MASTER)
        assert disabled.let_in(password("root", "allmacht", authzid="joe")) is None
        elsewhere = House(JOE, replace(MASTER, networks=("10.0.0.0/8",)))
        assert elsewhere.let_in(password("root", "allmacht", authzid="joe")) is None

    def test_it_is_logged_who_acts_as_whom(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", "restante.access")
        House(JOE, MASTER).let_in(password("root", "allmacht", authzid="joe"))
        assert "master: account='root' acts as='joe' peer=192.0.2.7" in caplog.text


class TestAppPasswords:
    PHONE = replace(JOE, app_passwords=(AppPassword("phone", "{PLAIN}app-one"),))

    def test_each_lets_in(self) -> None:
        house = House(self.PHONE)
        assert house.let_in(password("joe", "geheim")) == "joe"
        assert house.let_in(password("joe", "app-one")) == "joe"
        assert house.let_in(password("joe", "phone")) is None

    def test_the_proof_names_it(self) -> None:
        proof = House(self.PHONE).verifier.prove(self.PHONE, password("joe", "app-one"))
        assert isinstance(proof, Proof)
        assert proof.app_password == "phone"

    def test_revoked_it_is_wrong_at_once(self) -> None:
        slow = replace(self.PHONE, credentials=(hash_password("geheim", "SCRYPT"),))
        verifier = Verifier()
        assert verifier.check(slow, password("joe", "app-one"))
        assert not verifier.check(replace(slow, app_passwords=()), password("joe", "app-one"))


class TestOthersWhoAreAsked:
    """Directories and the system say themselves whether a password is right."""

    def house(self, check: Callable[[str], bool | Awaitable[bool]], version: str = "") -> House:
        return House(Account("joe", check_password=check, version=version))

    def test_plain_or_async(self) -> None:
        async def later(text: str) -> bool:
            return text == "geheim"

        for check in (lambda text: text == "geheim", later):
            assert self.house(check).let_in(password("joe", "geheim")) == "joe"
            assert self.house(check).let_in(password("joe", "falsch")) is None

    @pytest.mark.parametrize("answer", [None, 1, "yes", [True]])
    def test_only_an_explicit_yes_counts(self, answer: object) -> None:
        """A10"""
        assert self.house(lambda text: answer).let_in(password("joe", "x")) is None  # type: ignore[arg-type,return-value]

    def test_an_empty_password_is_never_passed_on(self) -> None:
        assert self.house(lambda text: True).let_in(password("joe", "")) is None

    def test_the_other_s_failure_is_no_refusal(self) -> None:
        def check(text: str) -> bool:
            raise AccountError("directory is down")

        with pytest.raises(AccountError):
            self.house(check).let_in(password("joe", "x"))

    def test_a_yes_is_remembered_until_the_account_changes(self) -> None:
        asked = []

        def check(text: str) -> bool:
            asked.append(text)
            return text == "geheim"

        house = self.house(check, version="1")
        for _ in range(2):
            assert house.let_in(password("joe", "geheim")) == "joe"
        assert asked == ["geheim"]
        for _ in range(2):
            assert house.let_in(password("joe", "falsch")) is None
        assert asked == ["geheim", "falsch", "falsch"]
        house.store.remove("joe")
        house.store.add(Account("joe", check_password=check, version="2"))
        assert house.let_in(password("joe", "geheim")) == "joe"
        assert asked[-1] == "geheim"


class Upgradable(AccountStore):
    """One account, whose credential can be replaced and whose app passwords are counted."""

    blocking = False
    upgrades = True

    upgrades = True

    def __init__(self, credential: str) -> None:
        app = AppPassword("phone", "{PLAIN}app-one")
        self.account = Account("joe", (credential,), app_passwords=(app,))
        self.used: list[tuple[str, str]] = []

    def lookup(self, name: str) -> Found:
        return self.account if name == "joe" else None

    def replace_credential(self, name: str, old: str, new: str) -> None:
        assert (name, old) == ("joe", self.account.credentials[0])
        self.account = replace(self.account, credentials=(new,))

    def record_use(self, name: str, app_password: str) -> None:
        self.used.append((name, app_password))


async def log_in(store: Upgradable, claim: PasswordClaim, *, upgrade: bool = True) -> None:
    threads = WorkerThreads("test", 0, 2)
    threads.start()
    try:
        begun: list[Coroutine[Any, Any, None]] = []
        backend = backend_over(store, threads, upgrade=upgrade, spawn=begun.append)
        assert await backend.authenticate(claim, peer_at(HERE)) is not None
        for work in begun:
            await work
    finally:
        await asyncio.to_thread(threads.stop)


class TestAfterwards:
    def test_an_outdated_hash_is_replaced(self) -> None:
        store = Upgradable(hash_password("geheim", "SHA512-CRYPT"))
        asyncio.run(log_in(store, password("joe", "geheim"), upgrade=False))
        assert store.account.credentials[0].startswith("{SHA512-CRYPT}")
        asyncio.run(log_in(store, password("joe", "geheim")))
        assert store.account.credentials[0].startswith("{ARGON2ID}")
        kept = store.account
        asyncio.run(log_in(store, password("joe", "geheim")))
        assert store.account is kept

    def test_the_use_of_an_app_password_is_recorded_and_replaces_nothing(self) -> None:
        store = Upgradable("{PLAIN}geheim")
        asyncio.run(log_in(store, password("joe", "app-one")))
        assert store.used == [("joe", "phone")]
        assert store.account.credentials == ("{PLAIN}geheim",)


def test_why_an_exchange_ended_before_there_was_a_claim_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "restante.access")
    with serving() as server, Client(server.port) as client:
        assert client.ask("AUTH PLAIN bm9uc2Vuc2U=").startswith(b"-ERR malformed response")
        assert client.log_in()
    said = r"login broken off: peer=127\.0\.0\.1 mechanism=PLAIN session=[0-9a-f]+-1: malformed"
    assert re.search(f"{said} response: PLAIN takes three parts", caplog.text)


@pytest.mark.parametrize(
    "account",
    [
        replace(JOE, disabled=True),
        replace(JOE, expires=1.0),
        replace(JOE, networks=("198.51.100.0/24",)),
        replace(JOE, protocols=frozenset({"smtp"})),
    ],
)
def test_scram_says_nothing_of_the_password_of_who_may_not_log_in(account: Account) -> None:
    """Salt and iterations are as ever, but even the right password gets no signature."""
    right = asyncio.run(keys_of(JOE))
    barred = asyncio.run(keys_of(account))
    assert (barred.salt, barred.iterations) == (right.salt, right.iterations)
    assert barred.stored_key != right.stored_key
    assert barred.server_key != right.server_key
    assert barred.password is None


async def keys_of(account: Account) -> ScramKeys:
    house = House(account)
    house.threads.start()
    try:
        await house.backend.held_schemes()
        return await house.backend.keys("joe", "SCRAM-SHA-256", peer_at(HERE))
    finally:
        await asyncio.to_thread(house.threads.stop)


def test_the_anonymous_can_delete_nothing_and_make_no_address_known() -> None:
    accounts = StaticAccounts([Account("public", ("{PLAIN}geheim",))])
    with (
        serving({"public": [b"for all\r\n"]}, accounts=accounts, anonymous="public") as server,
        Client(server.port) as client,
    ):
        assert client.ask("AUTH ANONYMOUS =").startswith(b"+OK")
        assert client.ask("DELE 1") == b"-ERR messages of this maildrop can't be deleted"
        assert client.ask("STAT") == b"+OK 1 9"
        client.ask("QUIT")
    with (
        serving({"public": [b"for all\r\n"]}, accounts=accounts) as server,
        Client(server.port) as client,
    ):
        client.log_in("public", "geheim")
        assert client.ask("DELE 1").startswith(b"+OK")


def test_strangers_who_are_silent_make_room_while_places_are_short(
    quick_sweep: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restante.server.connection.STRANGER_SECONDS", 0.5)
    with serving(guard=GuardSettings(max_before_login=1)) as server, Client(server.port) as joe:
        joe.log_in()
        with Client(server.port) as stranger:
            assert stranger.is_cut()
        assert joe.ask("NOOP") == b"+OK"
