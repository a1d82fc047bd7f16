"""A database that isn't there, is full, slow or read-only: errors that pass, and nothing lost."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from restante.accounts.account import Account
from restante.protocol.listing import MessageNumber
from restante.stores import PostgresStore, StoreError
from tests.conftest import Authority
from tests.needs import missing, only_cpython
from tests.postgres_server import PASSWORD, USER, PostgresServer, pgbouncer, postgres
from tests.stores.postgres.conftest import upgraded

pytestmark = [only_cpython, pytest.mark.asyncio]

ANNA = Account("anna")
ONE = MessageNumber(1)


@pytest.fixture(scope="module")
def own(authority: Authority) -> Iterator[PostgresServer]:
    """One that tests stop and start."""
    with postgres(authority.certificate.files()[0]) as running:
        upgraded(running, "restante")
        yield running


@pytest_asyncio.fixture
async def store(own: PostgresServer) -> AsyncIterator[PostgresStore]:
    made = PostgresStore(own.dsn, timeout=20.0)
    yield made
    await made.database.rows("TRUNCATE {schema}.maildrops, {schema}.bodies CASCADE")
    await made.aclose()


async def deliver(store: PostgresStore, message: bytes) -> str:
    incoming = store.receive(ANNA)
    incoming.write(message)
    return await incoming.commit()


async def restart(server: PostgresServer) -> None:
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)


async def test_sessions_go_on_after_a_restart(own: PostgresServer, store: PostgresStore) -> None:
    for number in range(3):
        await deliver(store, b"%d\r\n" % number)
    maildrop = await store.open(ANNA)
    await asyncio.gather(*(store.usage(ANNA) for _ in range(5)))  # several connections
    await asyncio.to_thread(own.stop)
    for work in (maildrop.fetch(ONE), maildrop.commit([ONE]), store.check(), store.open(ANNA)):
        with pytest.raises(StoreError, match="PostgreSQL: ") as caught:
            await work
        assert caught.value.temporary
    incoming = store.receive(ANNA)
    incoming.write(b"late\r\n")
    with pytest.raises(StoreError):
        await incoming.commit()
    await asyncio.to_thread(own.start)
    assert (await maildrop.fetch(ONE)).source == b"0\r\n"
    await maildrop.commit([ONE])
    await maildrop.close()
    assert (await store.usage(ANNA)).messages == 2


async def test_connections_that_broke_while_idle_cost_nothing(
    own: PostgresServer, store: PostgresStore
) -> None:
    unique_id = await deliver(store, b"one\r\n")
    await asyncio.gather(*(store.usage(ANNA) for _ in range(5)))
    await restart(own)
    maildrop = await store.open(ANNA)
    assert list(maildrop.listing.unique_ids) == [unique_id]
    await restart(own)
    await maildrop.commit([ONE])
    await restart(own)
    await maildrop.close()
    await restart(own)
    await deliver(store, b"two\r\n")
    assert (await store.usage(ANNA)).messages == 1


async def test_an_answer_that_is_too_late(own: PostgresServer, store: PostgresStore) -> None:
    await deliver(store, b"one\r\n")
    hasty = PostgresStore(own.dsn, timeout=0.3)
    await hasty.check()
    connection = await store.database._connect()
    async with connection.transaction():
        await connection.execute("SELECT 1 FROM restante.maildrops FOR UPDATE")
        with pytest.raises(StoreError, match=r"no answer within 0\.3 seconds") as caught:
            await hasty.open(ANNA)
        assert caught.value.temporary
        await hasty.aclose()
    await connection.close()
    await (await store.open(ANNA)).close()  # nobody holds the lease that was asked for


async def test_no_connection_is_free(own: PostgresServer, store: PostgresStore) -> None:
    own.execute("CREATE ROLE few LOGIN PASSWORD 'x' CONNECTION LIMIT 1",
                "GRANT USAGE ON SCHEMA restante TO few",
                "GRANT ALL ON ALL TABLES IN SCHEMA restante TO few")  # fmt: skip
    dsn = f"postgresql://few:x@localhost:{own.port}/postgres"
    first, second = PostgresStore(dsn), PostgresStore(dsn)
    await first.check()
    with pytest.raises(StoreError, match=r"too many connections.*53300") as caught:
        await second.check()
    assert caught.value.temporary
    await first.aclose()
    for _ in range(500):  # the server notices in a moment
        try:
            await second.check()
        except StoreError:
            await asyncio.sleep(0.01)
    await second.check()
    await second.aclose()
    own.execute("DROP OWNED BY few", "DROP ROLE few")


async def test_a_database_that_is_only_read(own: PostgresServer, store: PostgresStore) -> None:
    await deliver(store, b"one\r\n")
    maildrop = await store.look(ANNA)
    own.execute("ALTER DATABASE postgres SET default_transaction_read_only = on")
    await store.aclose()
    with pytest.raises(StoreError, match=r"read-only transaction.*25006"):
        await store.open(ANNA)
    with pytest.raises(StoreError, match=r"read-only transaction.*25006") as caught:
        await deliver(store, b"two\r\n")
    assert caught.value.temporary
    assert (await maildrop.fetch(ONE)).source == b"one\r\n"
    own.execute("SET default_transaction_read_only = off",
                "ALTER DATABASE postgres RESET default_transaction_read_only")  # fmt: skip
    await (await store.open(ANNA)).close()  # by a new connection, as the old ones refuse
    await deliver(store, b"two\r\n")


async def test_a_disk_that_is_full(own: PostgresServer, store: PostgresStore) -> None:
    if os.geteuid() != 0:
        missing("only root can mount a small file system")
    await deliver(store, b"one\r\n")
    small = own.folder / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"only where file systems can be mounted: {error.stderr.decode()}")
    shutil.chown(small, "postgres")
    try:
        own.execute(f"CREATE TABLESPACE small LOCATION '{small}'",
                    "ALTER TABLE restante.blocks SET TABLESPACE small")  # fmt: skip
        large = random.Random(1).randbytes(3_000_000).hex().encode()
        with pytest.raises(StoreError, match="53100") as caught:
            await deliver(store, large)
        assert caught.value.temporary
        maildrop = await store.open(ANNA)
        assert len(maildrop.listing) == 1
        assert (await maildrop.fetch(ONE)).source == b"one\r\n"
        await maildrop.close()
        subprocess.run(["mount", "-o", "remount,size=20m", small], check=True)
        await deliver(store, large)
        assert (await store.usage(ANNA)).messages == 2
    finally:
        own.execute("ALTER TABLE restante.blocks SET TABLESPACE pg_default",
                    "DROP TABLESPACE IF EXISTS small")  # fmt: skip
        subprocess.run(["umount", small], check=True)


async def test_rights_that_are_missing(own: PostgresServer, store: PostgresStore) -> None:
    own.execute("CREATE ROLE nobody LOGIN PASSWORD 'x'", "GRANT USAGE ON SCHEMA restante TO nobody",
                "GRANT SELECT ON ALL TABLES IN SCHEMA restante TO nobody")  # fmt: skip
    poor = PostgresStore(f"postgresql://nobody:x@localhost:{own.port}/postgres")
    await poor.check()
    with pytest.raises(StoreError, match=r"permission denied for table maildrops.*42501"):
        await poor.open(ANNA)
    await poor.aclose()
    own.execute("REVOKE ALL ON ALL TABLES IN SCHEMA restante FROM nobody")
    for says in "permission denied for table steps", "permission denied for schema restante":
        poorer = PostgresStore(f"postgresql://nobody:x@localhost:{own.port}/postgres")
        with pytest.raises(StoreError, match=rf"{says}.*42501"):
            await poorer.prepare()
        await poorer.aclose()
        own.execute("REVOKE ALL ON SCHEMA restante FROM nobody")
    own.execute("DROP OWNED BY nobody", "DROP ROLE nobody")


async def test_a_dsn_that_leads_nowhere(own: PostgresServer) -> None:
    port = urlsplit(own.dsn).port
    for dsn, says in (
        (f"postgresql://{USER}:wrong@localhost:{port}/postgres", "password authentication failed"),
        (f"postgresql://{USER}:x@localhost:1/postgres", "Connect call failed|refused"),
        (own.dsn.replace("/postgres", "/other").replace("/otherql", "/postgresql"), "3D000"),
        (
            f"postgresql://{USER}:x@nowhere.invalid:99/postgres",
            r"PostgreSQL: nowhere\.invalid:99: .*; see the host in store\.postgres\.dsn",
        ),
    ):
        store = PostgresStore(dsn)
        with pytest.raises(StoreError, match=says) as caught:
            await store.check()
        assert PASSWORD not in str(caught.value)
        assert caught.value.temporary
    with pytest.raises(ValueError, match=r"^dsn: not of the form"):
        PostgresStore("mysql://localhost/mail")


async def test_a_password_that_was_forgotten(
    own: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is no wrong one: the error says where it belongs."""
    monkeypatch.setenv("HOME", str(tmp_path))
    dsn = f"postgresql://{USER}@localhost:{own.port}/postgres"

    async def said(**given: str) -> str:
        store = PostgresStore(**({"dsn": dsn} | given))  # type: ignore[arg-type]
        with pytest.raises(StoreError) as caught:
            await store.check()
        await store.aclose()
        return str(caught.value)

    assert await said() == (
        f'PostgreSQL: password authentication failed for user "{USER}" (SQLSTATE 28P01); no'
        " password was given: set store.postgres.password or, in the environment,"
        " RESTANTE_STORE__POSTGRES__PASSWORD (in a program, the argument password)"
    )
    wrong = f'PostgreSQL: password authentication failed for user "{USER}" (SQLSTATE 28P01)'
    assert await said(password="wrong") == wrong
    assert await said(dsn=dsn.replace("@", ":wrong@")) == wrong
    assert await said(dsn=f"{dsn}?password=wrong") == wrong
    monkeypatch.setenv("PGPASSWORD", "wrong")
    assert await said() == wrong


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b"])
async def test_a_name_that_postgresql_cannot_hold(store: PostgresStore, name: str) -> None:
    with pytest.raises(StoreError, match="can't store"):
        await store.open(Account(name))


@pytest.mark.peer
async def test_behind_pgbouncer(own: PostgresServer, store: PostgresStore) -> None:
    """It gives each transaction another connection."""
    with pgbouncer(own) as port:
        dsn = f"postgresql://{USER}:x@127.0.0.1:{port}/postgres?sslmode=disable"
        pooled = PostgresStore(dsn + "&statement_cache_size=0", max_connections=8, timeout=30.0)

        async def work(number: int) -> None:
            account = Account(f"user{number}")
            text = bytes([97 + number]) * 300_000  # several blocks, by one transaction
            for turn in range(5):
                incoming = pooled.receive(account)
                incoming.write(b"%d\r\n" % turn + text)
                await incoming.commit()
                maildrop = await pooled.open(account)
                content = await maildrop.fetch(ONE)
                size = 0
                async for block in content.source:  # type: ignore[union-attr]
                    size += len(block)
                assert size == 3 + 300_000 + 2
                await maildrop.commit([ONE])
                await maildrop.close()

        await asyncio.gather(*(work(number) for number in range(10)))
        assert list(await pooled.leases()) == []
        await pooled.collect()
        await pooled.aclose()
