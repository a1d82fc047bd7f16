"""A maildrop is opened again only for an account that is in the database as it was."""

from __future__ import annotations

import asyncio
import poplib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from restante import Pop3Server
from restante.accounts.account import Account, Quota
from restante.accounts.database import DatabaseAccounts, ManagedDatabase
from restante.accounts.rights import Rights
from restante.stores import AccountChanged, MaildropInUse, PostgresStore
from tests.needs import only_cpython
from tests.postgres_server import PostgresServer

pytestmark = [only_cpython, pytest.mark.asyncio]

SECRET = ("{PLAIN}geheim",)

Change = Callable[[ManagedDatabase], object]


@pytest_asyncio.fixture
async def store(server: PostgresServer, schema: str) -> AsyncIterator[PostgresStore]:
    made = PostgresStore(server.dsn, schema=schema, max_connections=2)
    yield made
    await made.aclose()


@pytest_asyncio.fixture
async def accounts(server: PostgresServer, schema: str) -> AsyncIterator[DatabaseAccounts]:
    made = DatabaseAccounts(server.dsn, schema=schema, max_connections=2)
    yield made
    await made.aclose()


async def manage(accounts: DatabaseAccounts, change: Change) -> None:
    """Change accounts as `restante user` does: in another program, or on a thread."""

    def work() -> None:
        with ManagedDatabase.opened(accounts) as managed:
            change(managed)

    await asyncio.to_thread(work)


async def found(accounts: DatabaseAccounts) -> Account:
    account = await accounts.lookup("anna")
    assert account is not None
    return account


async def deliver(store: PostgresStore, account: Account) -> None:
    incoming = store.receive(account)
    incoming.write(b"one\r\n")
    await incoming.commit()


async def test_an_unchanged_account_opens_its_maildrop(
    store: PostgresStore, accounts: DatabaseAccounts
) -> None:
    await manage(accounts, lambda managed: managed.add("Anna", credentials=SECRET))
    account = await found(accounts)
    for messages in range(2):
        maildrop = await store.open_unchanged(account)
        assert len(maildrop.listing) == messages
        with pytest.raises(MaildropInUse):
            await store.open_unchanged(account)
        await maildrop.close()
        await deliver(store, account)


@pytest.mark.parametrize(
    "change",
    [
        lambda managed: managed.set_password("anna", "another"),
        lambda managed: managed.add_app_password("anna", "phone", "x" * 20),
        lambda managed: managed.remove_app_password("anna", "tablet"),
        lambda managed: managed.disable("anna"),
        lambda managed: managed.set_rights("anna", Rights(quota=Quota(5))),
        lambda managed: managed.set_rights("anna", Rights(networks=("192.0.2.0/24",))),
        lambda managed: managed.remove("anna"),
        lambda managed: (managed.remove("anna"), managed.add("anna", credentials=SECRET)),
    ],
    ids=[
        *("password", "app password", "revoked", "disabled"),
        *("quota", "networks", "removed", "another"),
    ],
)
@pytest.mark.parametrize("leases", ["exclusive", "snapshot"])
async def test_a_change_is_seen(
    server: PostgresServer, schema: str, accounts: DatabaseAccounts, change: Change, leases: str
) -> None:
    def prepare(managed: ManagedDatabase) -> None:
        managed.add("anna", credentials=SECRET)
        managed.add_app_password("anna", "tablet", "y" * 20)

    await manage(accounts, prepare)
    account = await found(accounts)
    store = PostgresStore(server.dsn, schema=schema, leases=leases)  # type: ignore[arg-type]
    try:
        await (await store.open_unchanged(account)).close()
        holding = await store.open(account)
        await manage(accounts, change)
        with pytest.raises(AccountChanged):  # and not that somebody holds it
            await store.open_unchanged(account)
        await holding.close()
        with pytest.raises(AccountChanged):
            await store.open_unchanged(account)
        assert await store.leases() == []
        again = await accounts.lookup("anna")
        if again is not None:
            await (await store.open_unchanged(again)).close()
    finally:
        await store.aclose()


async def test_a_change_by_hand_is_seen_and_a_use_is_none(
    server: PostgresServer, schema: str, store: PostgresStore, accounts: DatabaseAccounts
) -> None:
    def prepare(managed: ManagedDatabase) -> None:
        managed.add("anna", credentials=SECRET)
        managed.add_app_password("anna", "phone", "y" * 20)

    await manage(accounts, prepare)
    account = await found(accounts)
    await accounts.record_use("anna", "phone")
    await (await store.open_unchanged(account)).close()
    server.execute(f"UPDATE {schema}.credentials SET credential = '{{PLAIN}}x' WHERE app = ''")
    with pytest.raises(AccountChanged):
        await store.open_unchanged(account)


async def test_a_change_counts_at_once_on_every_node(
    server: PostgresServer, schema: str, accounts: DatabaseAccounts
) -> None:
    await manage(accounts, lambda managed: managed.add("anna", credentials=SECRET))

    async with node(server, schema) as one, node(server, schema) as two:

        async def polls(password: str) -> set[str]:
            """What three polls are told, at one node and the other."""
            return {await asyncio.to_thread(poll, each, password) for each in (one, two, one)}

        assert await polls("geheim") == {"0 messages"}
        await manage(accounts, lambda managed: managed.add_app_password("anna", "phone", "p" * 20))
        assert await polls("geheim") == {"0 messages"}
        assert await polls("p" * 20) == {"0 messages"}
        await manage(accounts, lambda managed: managed.remove_app_password("anna", "phone"))
        assert await polls("p" * 20) == {"-ERR [AUTH] authentication failed"}
        assert await polls("geheim") == {"0 messages"}
        await manage(accounts, lambda managed: managed.disable("anna"))
        assert await polls("geheim") == {"-ERR [AUTH] authentication failed"}
        await manage(accounts, lambda managed: managed.enable("anna"))
        assert await polls("geheim") == {"0 messages"}


async def test_a_database_that_is_only_read_tells_no_old_password(
    server: PostgresServer, schema: str, accounts: DatabaseAccounts
) -> None:
    """One that was changed since this node saw it is answered like any wrong one."""
    role = f"r{schema}"
    server.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'",
                   f"GRANT USAGE ON SCHEMA {schema} TO {role}",
                   f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role}")  # fmt: skip
    await manage(accounts, lambda managed: managed.add("anna", credentials=("{PLAIN}old",)))
    dsn = f"postgresql://{role}:x@localhost:{server.port}/postgres"
    async with node(server, schema, dsn) as one:

        async def polls(password: str) -> str:
            return await asyncio.to_thread(poll, one, password)

        assert await polls("old") == "0 messages"
        await manage(accounts, lambda managed: managed.set_password("anna", "new"))
        assert await polls("new") == "0 messages"
        server.execute(f"ALTER ROLE {role} SET default_transaction_read_only = on",
                       "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                       f" WHERE usename = '{role}'")  # fmt: skip
        assert await polls("wrong") == "-ERR [AUTH] authentication failed"
        assert await polls("old") == "-ERR [AUTH] authentication failed"
        assert (await polls("new")).startswith("-ERR [SYS/TEMP] ")


@asynccontextmanager
async def node(
    server: PostgresServer, schema: str, dsn: str | None = None
) -> AsyncIterator[Pop3Server]:
    dsn = dsn or server.dsn
    store = PostgresStore(dsn, schema=schema)
    try:
        async with Pop3Server(
            port=0,
            accounts=DatabaseAccounts(dsn, schema=schema),
            store=store,
            upgrade_hashes=False,
            failure_delay=0.0,
        ) as running:
            yield running
    finally:
        await store.aclose()


def poll(node: Pop3Server, password: str) -> str:
    """What a client is told that looks for mail."""
    client = poplib.POP3("127.0.0.1", node.port, timeout=30)
    try:
        client.user("anna")
        client.pass_(password)
        return f"{client.stat()[0]} messages"
    except poplib.error_proto as error:
        return str(error.args[0], "ascii")
    finally:
        client.quit()


async def test_accounts_of_other_tables_are_never_believed(
    server: PostgresServer, store: PostgresStore, accounts: DatabaseAccounts, schema: str
) -> None:
    await manage(accounts, lambda managed: managed.add("anna", credentials=SECRET))
    with pytest.raises(AccountChanged):
        await store.open_unchanged(Account("anna"))
    other = DatabaseAccounts(f"{server.dsn}?application_name=other", schema=schema)
    try:
        with pytest.raises(AccountChanged):
            await store.open_unchanged(await found(other))
    finally:
        await other.aclose()
