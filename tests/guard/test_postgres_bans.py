"""The ban store in PostgreSQL: nodes that share it, and a database that is away."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from importlib import import_module
from typing import Any

import pytest

from restante.guard.admission import BANNED, REFUSED
from restante.guard.ban_store import Ban, BanStoreError, Failure, News
from restante.guard.guard import Guard
from restante.guard.postgres_bans import PostgresBanStore
from tests.accounts.mysql_server import wait_until
from tests.conftest import Authority
from tests.guard.kit import HERE, THERE, arrive, fail, is_open, owner
from tests.guard.test_ban_store import NEVER, House
from tests.guard.test_guard import banned
from tests.needs import only_cpython
from tests.ports import free_port
from tests.postgres_server import PostgresServer, pgbouncer, postgres
from tests.stores.postgres.conftest import upgraded

pytestmark = [only_cpython, pytest.mark.peer]


@pytest.fixture
def own(authority: Authority) -> Iterator[PostgresServer]:
    """One that the test stops and starts."""
    with postgres(authority.certificate.files()[0]) as running:
        upgraded(running, "restante")
        yield running


async def connect(server: PostgresServer) -> Any:
    return await import_module("asyncpg").connect(server.dsn)


def close(runner: asyncio.Runner, connection: Any) -> None:
    runner.run(connection.close())


def failures(guard: Guard) -> dict[str, int]:
    return {each.kind: each.failures for each in guard.throttled()}


def test_guards_go_on_without_the_database_and_catch_up_when_it_is_back(
    own: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        closing(House(lambda: PostgresBanStore(own.dsn, timeout=30))) as house,
        caplog.at_level(logging.INFO, "restante.access"),
    ):
        one, two = house.open(), house.open()
        owner(one)
        for _ in range(3):
            fail(one, HERE, "joe", None)
        house.share()
        own.stop()
        house.share()
        assert caplog.text.count("The ban store can't be used") == len(house.guards)
        assert "PostgreSQL: " in caplog.text
        for _ in range(3):  # what was known still holds, and what happens is counted
            fail(one, HERE, "joe", None)
            fail(two, HERE, "joe", None)
        assert failures(one) == failures(two) == {"address": 6, "account": 6}
        assert is_open(two, THERE, "joe")
        one.ban("203.0.113.9")
        assert arrive(two, "203.0.113.9") is None
        house.share()
        own.start()
        house.share()
        assert caplog.text.count("The ban store can be used again") == len(house.guards)
        assert arrive(two, "203.0.113.9") == REFUSED
        assert failures(one)["address"] == failures(two)["address"] == 9


def test_numbers_that_are_committed_late_are_not_missed(
    server: PostgresServer, schema: str
) -> None:
    with ExitStack() as stack:
        first, second, reader = (
            stack.enter_context(closing(PostgresBanStore(server.dsn, schema=schema, timeout=60)))
            for _ in range(3)
        )
        first.exchange(News({HERE: Ban(HERE, 1, None)}), NEVER)
        reader.exchange(News(), NEVER)
        other = stack.enter_context(asyncio.Runner())
        connection, watcher = [other.run(connect(server)) for _ in range(2)]
        for each in (connection, watcher):
            stack.callback(close, other, each)
        other.run(connection.execute(f'BEGIN; SELECT FROM "{schema}".bans FOR UPDATE'))

        def write(store: PostgresBanStore, address: str) -> threading.Thread:
            news = News({address: Ban(address, 2, None)}, failures=[Failure(address, "joe", 2)])
            thread = threading.Thread(target=store.exchange, args=(news, NEVER))
            thread.start()
            return thread

        def waiting(count: int) -> bool:
            found = other.run(
                watcher.fetchval(
                    "SELECT count(*) FROM pg_stat_activity"
                    " WHERE wait_event_type = 'Lock' AND query LIKE $1",
                    f"%{schema}%",
                )
            )
            return bool(found == count)

        # The first one has its numbers, and can't commit. The second one gets later ones.
        threads = [write(first, HERE)]
        wait_until(lambda: waiting(1))
        threads.append(write(second, THERE))
        wait_until(lambda: waiting(2))
        heard = [reader.exchange(News(), NEVER)]
        other.run(connection.execute("ROLLBACK"))
        for thread in threads:
            thread.join()
        heard.append(reader.exchange(News(), NEVER))
        assert {address for news in heard for address in news.bans} == {HERE, THERE}
        assert [each.address for news in heard for each in news.failures] == [HERE, THERE]


def test_a_database_that_was_restored_from_a_copy_is_read_anew(
    server: PostgresServer, schema: str
) -> None:
    with (
        closing(PostgresBanStore(server.dsn, schema=schema, timeout=60)) as one,
        closing(PostgresBanStore(server.dsn, schema=schema, timeout=60)) as two,
    ):
        for number in range(3):
            one.exchange(News({HERE: Ban(HERE, number, None)}), NEVER)
        two.exchange(News(), NEVER)
        server.execute(f"TRUNCATE {schema}.bans; UPDATE {schema}.guard_numbers SET bans = 0")
        one.exchange(News({THERE: Ban(THERE, 9, None)}), NEVER)
        assert [*two.exchange(News(), NEVER).bans] == [THERE]


def test_it_works_through_pgbouncer(server: PostgresServer, schema: str) -> None:
    with pgbouncer(server) as port:
        dsn = f"postgresql://restante@127.0.0.1:{port}/postgres?statement_cache_size=0"
        with closing(House(lambda: PostgresBanStore(dsn, schema=schema, timeout=60))) as house:
            one, two = house.open(), house.open()
            banned(one, house.clock)
            house.share()
            assert arrive(two, HERE) == BANNED


def test_tables_that_are_not_there_are_told(server: PostgresServer) -> None:
    with closing(PostgresBanStore(server.dsn, schema="nothing")) as store:
        for _ in range(2):
            with pytest.raises(BanStoreError, match="run `restante db upgrade`"):
                store.exchange(News(), NEVER)


def test_a_database_that_is_not_there_is_told() -> None:
    store = PostgresBanStore(f"postgresql://restante:secret@127.0.0.1:{free_port()}/postgres")
    with pytest.raises(BanStoreError, match=r"^PostgreSQL: ") as caught:
        store.exchange(News(), NEVER)
    assert "secret" not in str(caught.value)
    store.close()
