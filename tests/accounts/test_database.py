"""Accounts in the tables of a real PostgreSQL, managed from any node."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from importlib.resources import files
from itertools import count
from pathlib import Path

import pytest

from restante.accounts.account import Quota
from restante.accounts.contract import AccountError, AccountStore
from restante.accounts.database import DatabaseAccounts, ManagedDatabase
from restante.accounts.names import AccountExists, NoSuchAccount
from restante.accounts.rights import Rights
from restante.stores.postgres.schema import upgrade
from restante.testing.contracts import AccountStoreContract
from tests.conftest import Authority
from tests.needs import only_cpython
from tests.ports import free_port
from tests.postgres_server import PostgresServer, postgres

pytestmark = [only_cpython, pytest.mark.usefixtures("cheap_hashes")]

_numbers = count()


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[PostgresServer]:
    with postgres(authority.certificate.files()[0]) as running:
        yield running


def tables_in(server: PostgresServer) -> str:
    """A new schema with the tables; gives its name."""
    name = f"schema_{next(_numbers)}"
    steps = files("restante.stores.postgres").joinpath("steps")
    text = steps.joinpath("0002_accounts.sql").read_text("utf-8")
    server.execute(f"CREATE SCHEMA {name}", f"SET search_path TO {name}", text)
    return name


@pytest.fixture
def accounts(server: PostgresServer) -> DatabaseAccounts:
    return DatabaseAccounts(server.dsn, schema=tables_in(server))


@pytest.fixture
def managed(accounts: DatabaseAccounts) -> Iterator[ManagedDatabase]:
    with ManagedDatabase.opened(accounts) as opened:
        yield opened


class TestContract(AccountStoreContract):
    @pytest.fixture(autouse=True)
    def _schema(self, server: PostgresServer) -> None:
        self._dsn, self._name = server.dsn, tables_in(server)

    def make_store(self, folder: Path) -> AccountStore:
        made = DatabaseAccounts(self._dsn, schema=self._name)
        with ManagedDatabase.opened(made) as managed:
            for name in ("joe", "eve"):
                managed.add(name, "geheim")
            managed.disable("eve")
            managed.add("MÜLLER", "other", display_name="Ägidius")
        return made


def test_an_account_is_found_as_it_was_added(managed: ManagedDatabase) -> None:
    rights = Rights(
        protocols=frozenset({"pop3"}),
        networks=("192.0.2.0/24", "2001:db8::/32"),
        expires=4e9,
        master=True,
        quota=Quota(10**12, 5),
        expire_days=30,
    )
    added = managed.add(
        "Joe",
        "geheim",
        display_name="Joe Ö",
        email="Joe@example.org",
        maildrop="office",
        keep_secret=True,
        rights=rights,
    )
    found = managed.lookup("joe")
    assert found is not None
    assert replace(found, credentials=tuple(sorted(found.credentials))) == replace(
        added, credentials=tuple(sorted(added.credentials))
    )
    assert Rights.of(found) == rights
    managed.set_rights("joe", Rights())
    changed = managed.lookup("joe")
    assert changed is not None
    assert Rights.of(changed) == Rights()


def test_addresses_lead_to_accounts(managed: ManagedDatabase) -> None:
    managed.add("joe", "geheim", email="Joe@Example.org")
    accounts = managed._accounts

    async def look() -> list[str]:
        found = [
            await accounts.lookup_address(each)
            for each in ("joe@example.org", "JOE", "joe@other.example", "")
        ]
        await accounts.aclose()
        return [each.name if each else "" for each in found]

    assert asyncio.run(look()) == ["joe", "joe", "joe", ""]


def test_a_name_or_address_is_taken_once(managed: ManagedDatabase) -> None:
    managed.add("joe", "geheim", email="j@example.org")
    for name, email in (("JOE", ""), ("ann", "J@example.org")):
        with pytest.raises(AccountExists, match=name):
            managed.add(name, "geheim", email=email)
    assert [account.name for account in managed.list()] == ["joe"]


def test_accounts_are_listed_by_name_and_removed_with_their_credentials(
    managed: ManagedDatabase, server: PostgresServer
) -> None:
    for name in ("Cleo", "ann", "Bob"):
        managed.add(name, "geheim", keep_secret=True)
    assert [account.name for account in managed.list()] == ["ann", "Bob", "Cleo"]
    assert [len(account.credentials) for account in managed.list()] == [3, 3, 3]
    managed.remove("bob")
    assert [account.name for account in managed.list()] == ["ann", "Cleo"]
    managed.add("bob", "other")
    assert [len(account.credentials) for account in managed.list()] == [3, 2, 3]


def test_accounts_are_searched_a_page_at_a_time(
    managed: ManagedDatabase, accounts: DatabaseAccounts
) -> None:
    for number in range(12):
        managed.add(f"user{number:02}", "geheim", display_name="Zoë % of us", keep_secret=True)
    for store in (managed, accounts):
        found, total = store.search("ZOË %", 5, 3)
        assert ([each.name for each in found], total) == (["user05", "user06", "user07"], 12)
        assert [len(each.credentials) for each in found] == [3, 3, 3]
        assert store.search("", 10, 5)[0][-1].name == "user11"
        assert store.search("x_e", 0, 5) == ((), 0)


def test_a_search_finds_letters_beyond_ascii_in_both_cases(
    server: PostgresServer, managed: ManagedDatabase
) -> None:
    """Whatever the locale of the database: with `C` it knows the cases of ASCII only."""
    server.execute("CREATE DATABASE plain TEMPLATE template0 LOCALE 'C'")
    dsn = f"{server.dsn.removesuffix('/postgres')}/plain"
    asyncio.run(upgrade(dsn))
    with ManagedDatabase.opened(DatabaseAccounts(dsn)) as other:
        for store in (managed, other):
            for name, shown in {"MÜLLER": "Äpfel", "müßig": "", "ΟΔΟΣ": "", "жук": "İzmir"}.items():
                store.add(name, "geheim", display_name=shown)
            for text, name in {
                "müller": "MÜLLER", "MÜLLER": "MÜLLER", "äPFEL": "MÜLLER", "MÜß": "müßig",
                "οδος": "ΟΔΟΣ", "ЖУК": "жук", "İZ": "жук",
            }.items():  # fmt: skip
                assert [each.name for each in store.search(text, 0, 9)[0]] == [name]


def test_a_server_lists_them_on_a_thread_while_it_looks_others_up(
    managed: ManagedDatabase, accounts: DatabaseAccounts
) -> None:
    for name in ("joe", "ann"):
        managed.add(name, "geheim")

    async def both() -> list[str]:
        joe = await accounts.lookup("joe")
        listed = await asyncio.to_thread(accounts.list)
        assert await accounts.lookup("joe") == joe == listed[1]
        await accounts.aclose()
        return [account.name for account in listed]

    assert asyncio.run(both()) == ["ann", "joe"]


def test_nobody_to_change(managed: ManagedDatabase) -> None:
    for change in (managed.remove, managed.disable, managed.enable):
        with pytest.raises(NoSuchAccount, match="joe"):
            change("joe")
    with pytest.raises(NoSuchAccount, match="joe"):
        managed.set_password("joe", "x")
    assert managed.lookup("") is None


def test_app_passwords_are_made_used_and_revoked(
    managed: ManagedDatabase, accounts: DatabaseAccounts
) -> None:
    managed.add("joe", "geheim")
    managed.add_app_password("joe", "phone", "long and random 1")
    with pytest.raises(AccountExists, match="phone"):
        managed.add_app_password("joe", "phone", "long and random 2")
    (use,) = managed.app_passwords("joe")
    assert (use.name, use.used) == ("phone", None)

    async def used() -> None:
        await accounts.record_use("joe", "phone")
        await accounts.aclose()

    asyncio.run(used())
    (use,) = managed.app_passwords("joe")
    assert use.used is not None
    managed.set_password("joe", "new")
    assert [each.name for each in managed.app_passwords("joe")] == ["phone"]
    managed.remove_app_password("joe", "phone")
    with pytest.raises(NoSuchAccount, match="phone"):
        managed.remove_app_password("joe", "phone")


def test_a_better_hash_replaces_the_old(
    managed: ManagedDatabase, accounts: DatabaseAccounts
) -> None:
    managed.add("joe", credentials=["{PLAIN}geheim"])

    async def replaced() -> frozenset[str]:
        assert accounts.slowest_scheme() is not None  # nothing is known yet
        await accounts.replace_credential("joe", "{PLAIN}wrong", "{SHA512}x")
        assert await accounts.held_schemes() == {"PLAIN"}
        assert accounts.slowest_scheme() is None
        await accounts.replace_credential("joe", "{PLAIN}geheim", "{SHA512}x")
        held = await accounts.held_schemes()
        await accounts.aclose()
        return held

    assert asyncio.run(replaced()) == {"SHA512"}


def test_missing_tables_say_what_makes_them(server: PostgresServer) -> None:
    made = DatabaseAccounts(server.dsn, schema="nothing_here")
    with (
        ManagedDatabase.opened(made) as managed,
        pytest.raises(AccountError, match="run `restante db upgrade`"),
    ):
        managed.add("joe", "geheim")


def test_a_database_that_isnt_there() -> None:
    made = DatabaseAccounts(f"postgresql://x:geheim@127.0.0.1:{free_port()}/x", timeout=5)
    with ManagedDatabase.opened(made) as managed, pytest.raises(AccountError) as caught:
        managed.lookup("joe")
    assert "geheim" not in str(caught.value)
