"""Accounts in a real PostgreSQL."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from restante.accounts.contract import Account, AccountError
from restante.accounts.postgres import PostgresAccounts
from tests.accounts.sql_contract import BY_NAME, JOE, SCHEMA, Server, SqlContract
from tests.conftest import Authority
from tests.needs import only_cpython
from tests.postgres_server import PASSWORD, USER, PostgresServer, pgbouncer, postgres

pytestmark = only_cpython


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[PostgresServer]:
    with postgres(authority.certificate.files()[0]) as running:
        running.execute(*SCHEMA)
        yield running


class TestPostgres(SqlContract):
    missing_table = "nowhere.*42P01"
    sleep = "SELECT {name} AS name, pg_sleep(30)::text AS password"
    connections = (
        "SELECT count(*)::text AS name FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND {name} <> ''"
    )

    def accounts(self, server: Server, dsn: str = "", **given: Any) -> PostgresAccounts:
        return PostgresAccounts(dsn or server.dsn, **{"lookup": BY_NAME} | given)


@pytest.mark.asyncio
async def test_types_of_columns(server: PostgresServer) -> None:
    server.execute(
        "CREATE TYPE state AS ENUM ('yes', 'no')",
        "CREATE TABLE typed (name TEXT, password BYTEA, credentials TEXT[], disabled state,"
        " master BOOLEAN, protocols TEXT[], networks CIDR[], expires TIMESTAMPTZ)",
        "INSERT INTO typed VALUES ('joe', '{PLAIN}a', ARRAY['{PLAIN}b','$6$c'], 'yes', TRUE,"
        " ARRAY['pop3'], ARRAY['10.0.0.0/8', '2001:db8::/32']::CIDR[],"
        " '2023-11-15 00:13:20+02')",
    )
    store = PostgresAccounts(server.dsn, lookup="SELECT * FROM typed WHERE name = {name}")
    assert await store.lookup("joe") == Account(
        "joe",
        ("{PLAIN}a", "{PLAIN}b", "{CRYPT}$6$c"),
        disabled=True,
        master=True,
        protocols=frozenset({"pop3"}),
        networks=("10.0.0.0/8", "2001:db8::/32"),
        expires=1_700_000_000.0,
    )
    await store.aclose()
    for expression, expires in (
        ("TIMESTAMP '2023-11-14 22:13:20'", 1_700_000_000.0),
        ("1700000000", 1_700_000_000.0),
        ("DATE '2023-11-14'", 1_699_920_000.0),
        ("NULL::timestamptz", None),
    ):
        store = PostgresAccounts(
            server.dsn, lookup=f"SELECT {{name}} AS name, {expression} AS expires"
        )
        assert await store.lookup("joe") == Account("joe", expires=expires)
        await store.aclose()


@pytest.mark.asyncio
async def test_what_is_compared_with_a_number_needs_a_cast(server: PostgresServer) -> None:
    for cast, says in (("", "::text may help"), ("::text", r"integer = text.*42883")):
        text = f"SELECT name FROM users WHERE length(name) = {{name}}{cast}"
        store = PostgresAccounts(server.dsn, lookup=text)
        with pytest.raises(AccountError, match=says):
            await store.lookup("secret")
        await store.aclose()


@pytest.mark.asyncio
async def test_a_value_that_the_server_quotes_stays_there(server: PostgresServer) -> None:
    text = "SELECT name FROM users WHERE name = {name} AND password::int = 1"
    store = PostgresAccounts(server.dsn, lookup=text)
    with pytest.raises(AccountError, match="SQLSTATE 22P02") as caught:
        await store.lookup("joe@example.com")
    assert "geheim" not in str(caught.value)
    await store.aclose()


@pytest.mark.asyncio
async def test_tls(server: PostgresServer, authority: Authority) -> None:
    text = "SELECT {name} AS name, ssl AS master FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    trusted = f"?sslmode=verify-full&sslrootcert={authority.file}"
    for dsn, tls, encrypted in (
        (server.dsn + trusted, None, True),
        (server.dsn + "?sslmode=disable", None, False),
        (server.dsn, authority.client_context(), True),
    ):
        store = PostgresAccounts(dsn, lookup=text, tls=tls)
        assert await store.lookup("joe") == Account("joe", master=encrypted)
        await store.aclose()
    store = PostgresAccounts(server.dsn, lookup=text, tls=ssl.create_default_context())
    with pytest.raises(AccountError, match="certificate verify failed"):
        await store.lookup("joe")


@pytest.mark.asyncio
async def test_the_password_may_be_given_apart(server: PostgresServer) -> None:
    dsn = f"postgresql://{USER}@localhost:{server.port}/postgres"
    store = PostgresAccounts(dsn, lookup=BY_NAME, password=PASSWORD)
    assert await store.lookup("joe@example.com") == JOE
    await store.aclose()
    assert PASSWORD not in repr(store)


@pytest.mark.parametrize(
    "dsn",
    [
        "",
        "secret",
        "mysql://joe:secret@host/db",
        "postgresql://[joe:secret/db",
        "postgresql://joe:secret@host/db?statement_cache_size=many",
        "postgresql://joe:secret@host/db?statement_cache_size=-1",
    ],
)
def test_a_dsn_that_cant_be(dsn: str) -> None:
    with pytest.raises(ValueError, match=r"^dsn: not of the form") as caught:
        PostgresAccounts(dsn, lookup=BY_NAME)
    assert caught.value.__suppress_context__
    assert "secret" not in str(caught.value)


@pytest.mark.asyncio
async def test_a_host_that_isnt_there_is_named_with_its_key() -> None:
    store = PostgresAccounts("postgresql://u:hush@nowhere.invalid/d", lookup=BY_NAME)
    with pytest.raises(AccountError) as caught:
        await store.lookup("joe")
    said = str(caught.value)
    assert said.startswith("PostgreSQL: nowhere.invalid: ")
    assert said.endswith("; see the host in accounts.postgres.dsn (in a program, the argument dsn)")
    assert "hush" not in said


@pytest.mark.asyncio
async def test_a_dsn_that_the_driver_cant_take() -> None:
    store = PostgresAccounts("postgresql://joe:se/cret@host:x/db", lookup=BY_NAME)
    with pytest.raises(AccountError, match=r"^PostgreSQL: dsn: can't be understood$"):
        await store.lookup("joe")


@pytest.mark.asyncio
async def test_of_several_servers_one_that_does_not_answer_is_passed_over(
    server: PostgresServer,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        asked = f"127.0.0.1:{silent.getsockname()[1]}"
        dsn = server.dsn_at(f"{asked},localhost:1,localhost:{server.port}") + "?sslmode=disable"
        store = PostgresAccounts(dsn, lookup=BY_NAME, timeout=1.5)
        assert await store.lookup("joe@example.com") == JOE
        await store.aclose()
        silent.accept()[0].close()
        # The one that answered comes first from now on: nobody else is asked.
        assert await store.lookup("joe@example.com") == JOE
        silent.settimeout(0)
        with pytest.raises(BlockingIOError):
            silent.accept()
        await store.aclose()


@pytest.mark.asyncio
async def test_of_several_servers_each_is_said_to_fail(server: PostgresServer) -> None:
    dsn = server.dsn_at(f"localhost:1,localhost:{server.port}")
    store = PostgresAccounts(dsn + "?target_session_attrs=standby", lookup=BY_NAME)
    with pytest.raises(AccountError, match=r"localhost:1: .*refused|failed") as caught:
        await store.lookup("joe")
    assert f"localhost:{server.port}: not what target_session_attrs wants" in str(caught.value)
    assert PASSWORD not in str(caught.value)


class Counting(PostgresAccounts):
    """Counts the connections that it opens."""

    opened = 0

    async def _connect(self) -> Any:
        self.opened += 1
        return await super()._connect()


@pytest.mark.asyncio
@pytest.mark.peer
async def test_behind_a_pooler_no_statement_is_kept(server: PostgresServer) -> None:
    """PgBouncer gives each transaction any connection: what was prepared on another is gone."""
    with pgbouncer(server) as port:
        dsn = f"postgresql://{USER}:x@127.0.0.1:{port}/postgres?sslmode=disable"
        for option, least, most in (("&statement_cache_size=0", 1, 2), ("", 11, 40)):
            store = Counting(dsn + option, lookup=BY_NAME, max_connections=10, timeout=20.0)
            rounds = 0
            while rounds < 5 or store.opened < least:  # it is chance who is given which connection
                found = await asyncio.gather(*(store.lookup("joe@example.com") for _ in range(20)))
                assert found == [JOE] * 20
                rounds += 1
                assert rounds < 500
            assert store.opened <= most * rounds
            await store.aclose()
