"""Accounts in a real MariaDB."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from restante.accounts.contract import Account, AccountError
from restante.accounts.mysql import MysqlAccounts
from tests.accounts.mysql_server import PASSWORD, USER, MysqlServer, mysql
from tests.accounts.sql_contract import BY_NAME, JOE, SCHEMA, Server, SqlContract
from tests.conftest import Authority


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[MysqlServer]:
    with mysql(authority.certificate.files()[0]) as running:
        running.execute(*SCHEMA)
        yield running


class TestMysql(SqlContract):
    missing_table = "nowhere.*1146"
    sleep = "SELECT {name} AS name, SLEEP(30) AS password"
    connections = (
        "SELECT CAST(COUNT(*) AS CHAR) AS name FROM information_schema.processlist"
        " WHERE {name} <> ''"
    )

    def accounts(self, server: Server, dsn: str = "", **given: Any) -> MysqlAccounts:
        return MysqlAccounts(dsn or server.dsn, **{"lookup": BY_NAME} | given)


@pytest.mark.asyncio
async def test_types_of_columns(server: MysqlServer) -> None:
    server.execute(
        "CREATE TABLE typed (name VARCHAR(99) COLLATE utf8mb4_bin, password VARBINARY(99),"
        " credentials TEXT, disabled BIT(1), master ENUM('Y', 'N'), protocols SET('pop3', 'imap'),"
        " networks TEXT, expires TIMESTAMP)",
        "SET time_zone = '+02:00'",
        "INSERT INTO typed VALUES ('joe', '{PLAIN}a', '{PLAIN}b\\n$6$c', b'1', 'Y', 'pop3,imap',"
        " '10.0.0.0/8', '2023-11-15 00:13:20')",
    )
    store = MysqlAccounts(server.dsn, lookup="SELECT * FROM typed WHERE name = {name}")
    assert await store.lookup("joe") == Account(
        "joe",
        ("{PLAIN}a", "{PLAIN}b", "{CRYPT}$6$c"),
        disabled=True,
        master=True,
        protocols=frozenset({"pop3", "imap"}),
        networks=("10.0.0.0/8",),
        expires=1_700_000_000.0,
    )
    await store.aclose()
    for expression, expires in (
        ("TIMESTAMP '2023-11-14 22:13:20'", 1_700_000_000.0),
        ("1700000000", 1_700_000_000.0),
        ("1700000000.0", 1_700_000_000.0),
        ("DATE '2023-11-14'", 1_699_920_000.0),
        ("NULL", None),
    ):
        store = MysqlAccounts(
            server.dsn, lookup=f"SELECT {{name}} AS name, {expression} AS expires"
        )
        assert await store.lookup("joe") == Account("joe", expires=expires)
        await store.aclose()


@pytest.mark.asyncio
async def test_a_date_that_is_none_is_refused(server: MysqlServer) -> None:
    server.execute(
        "SET sql_mode = ''", "CREATE TABLE dates (name VARCHAR(99), expires DATETIME)",
        "INSERT INTO dates VALUES ('joe', '0000-00-00 00:00:00')",
    )  # fmt: skip
    store = MysqlAccounts(server.dsn, lookup="SELECT * FROM dates WHERE name = {name}")
    with pytest.raises(AccountError, match="column 'expires'"):
        await store.lookup("joe")
    await store.aclose()


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["NO_BACKSLASH_ESCAPES", "ANSI_QUOTES", ""])
async def test_names_are_names_in_every_mode_of_the_server(server: MysqlServer, mode: str) -> None:
    server.execute(f"SET GLOBAL sql_mode = '{mode}'")
    try:
        store = MysqlAccounts(server.dsn, lookup="SELECT {name} AS name", case_insensitive=False)
        for name in ("\\' OR 1=1#", "x\\", '"', "\u00bf'", "'", "%s", "\U0001f511"):
            assert await store.lookup(name) == Account(name)
        await store.aclose()
    finally:
        server.execute("SET GLOBAL sql_mode = DEFAULT")


@pytest.mark.asyncio
async def test_whose_maildrop_it_is_the_row_says(server: MysqlServer) -> None:
    """The collation takes `jöe` for `joe`; the maildrop is one and the same."""
    server.execute(
        "CREATE TABLE folded (name VARCHAR(99) COLLATE utf8mb4_unicode_ci)",
        "INSERT INTO folded VALUES ('joe')",
    )
    store = MysqlAccounts(server.dsn, lookup="SELECT name FROM folded WHERE name = {name}")
    assert await store.lookup("jöe") == Account("joe")
    assert await store.lookup("JOE") == Account("joe")
    await store.aclose()


@pytest.mark.asyncio
async def test_a_table_in_another_character_set(server: MysqlServer) -> None:
    server.execute(
        "CREATE TABLE western (name VARCHAR(99)) CHARACTER SET latin1",
        "INSERT INTO western VALUES ('jöe')",
    )
    store = MysqlAccounts(server.dsn, lookup="SELECT name FROM western WHERE name = {name}")
    assert await store.lookup("jöe") == Account("jöe")
    with pytest.raises(AccountError, match="Illegal mix of collations"):
        await store.lookup("日本")
    await store.aclose()


@pytest.mark.asyncio
async def test_a_warning_of_the_server_shows_no_value(server: MysqlServer) -> None:
    """Warnings are errors here, and the driver would make one of them."""
    text = "SELECT name FROM users WHERE name = {name} AND password + 0 = 0"
    store = MysqlAccounts(server.dsn, lookup=text)
    assert await store.lookup("joe@example.com") == Account("joe@example.com")
    await store.aclose()


@pytest.mark.asyncio
async def test_tls(server: MysqlServer, authority: Authority) -> None:
    text = (
        "SELECT {name} AS name, variable_value <> '' AS master"
        " FROM information_schema.session_status WHERE variable_name = 'Ssl_cipher'"
    )
    trusted = f"?sslmode=verify-full&sslrootcert={authority.file}"
    for dsn, tls, encrypted in (
        (server.dsn, None, False),
        (server.dsn + "?sslmode=disable", None, False),
        (server.dsn + "?sslmode=require", None, True),
        (server.dsn + trusted, None, True),
        (server.dsn, authority.client_context(), True),
    ):
        store = MysqlAccounts(dsn, lookup=text, tls=tls)
        assert await store.lookup("joe") == Account("joe", master=encrypted)
        await store.aclose()
    store = MysqlAccounts(server.dsn + "?sslmode=verify-full", lookup=text)
    with pytest.raises(AccountError, match="certificate verify failed"):
        await store.lookup("joe")


@pytest.mark.asyncio
async def test_a_server_without_tls_isnt_told_the_password(server: MysqlServer) -> None:
    store = MysqlAccounts(server.dsn + "?sslmode=require", lookup=BY_NAME)
    server.stop()
    server.tls = False
    server.start()
    try:
        with pytest.raises(AccountError, match="the server offers no TLS"):
            await store.lookup("joe@example.com")
    finally:
        server.stop()
        server.tls = True
        server.start()
    assert await store.lookup("joe@example.com") == JOE
    await store.aclose()


@pytest.mark.asyncio
async def test_a_unix_socket_and_a_password_apart(server: MysqlServer) -> None:
    dsn = f"mariadb://{USER}@localhost/mail?unix_socket={server.socket}"
    store = MysqlAccounts(dsn, lookup=BY_NAME, password=PASSWORD)
    assert await store.lookup("joe@example.com") == JOE
    await store.aclose()
    assert PASSWORD not in repr(store)


@pytest.mark.parametrize(
    ("dsn", "says"),
    [
        ("", "not of the form"),
        ("secret", "not of the form"),
        ("postgresql://joe:secret@host/db", "not of the form"),
        ("mysql://host/db", "not of the form"),
        ("mysql://joe:se/cret@host/db", "not of the form"),
        ("mysql://joe:s@host:secret/db", "not of the form"),
        ("mysql://[joe:secret/db", "not of the form"),
        ("mysql://joe:secret@host/db?ssl=on", "unknown option 'ssl'"),
        ("mysql://joe:secret@host/db?sslmode=prefer", "sslmode is one of"),
        ("mysql://joe:secret@host/db?sslrootcert=/x", "goes with sslmode=verify-full"),
        ("mysql://joe:secret@host/db?sslmode=verify-full&sslrootcert=/nowhere", "'/nowhere'"),
    ],
)
def test_a_dsn_that_cant_be(dsn: str, says: str) -> None:
    with pytest.raises(ValueError, match=f"^dsn: .*{says}") as caught:
        MysqlAccounts(dsn, lookup=BY_NAME)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert "secret" not in str(caught.value)


def test_tls_without_verification_is_only_what_was_asked_for() -> None:
    store = MysqlAccounts("mysql://joe@host/db?sslmode=verify-full", lookup=BY_NAME)
    assert store._tls is not None
    assert store._tls.verify_mode is ssl.CERT_REQUIRED
    assert store._tls.check_hostname
