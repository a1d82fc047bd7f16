"""The store in PostgreSQL, beyond the contract."""

from __future__ import annotations

import asyncio
import poplib
import random
import time
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import pytest_asyncio

from restante import ClientSession, Pop3Server, StaticAccounts
from restante.accounts.account import Account, Quota
from restante.calls import Caller
from restante.delivery.deliver import Delivery, Outcome, Recipient
from restante.delivery.envelope import Envelope
from restante.protocol.listing import MessageNumber
from restante.stores import (
    BlobDamaged,
    BlobMissing,
    FolderBlobs,
    LeaseLost,
    MaildropInUse,
    OpenedTooSoon,
    OverQuota,
    PostgresStore,
    StoreError,
)
from restante.stores.drafts import BLOCK
from restante.stores.postgres import statements
from restante.stores.postgres import store as module
from restante.stores.postgres.bodies import key_of
from restante.stores.postgres.store import PostgresLease, PostgresMaildrop
from restante.stores.room import DAY
from restante.threads import WorkerThreads
from tests.needs import only_cpython
from tests.pop3 import log_in as log_in_by_poplib
from tests.postgres_server import PostgresServer

pytestmark = [only_cpython, pytest.mark.asyncio]

ANNA, BEN, EVE = Account("anna"), Account("ben"), Account("eve")
ONE = MessageNumber(1)
ENVELOPE = Envelope(protocol="ESMTP")


@pytest.fixture
def make(server: PostgresServer, schema: str) -> Callable[..., PostgresStore]:
    """A node's store; each has connections of its own."""

    def made(**settings: Any) -> PostgresStore:
        return PostgresStore(server.dsn, schema=schema, **settings)

    return made


@pytest_asyncio.fixture
async def store(make: Callable[..., PostgresStore]) -> AsyncIterator[PostgresStore]:
    made = make()
    yield made
    await made.aclose()


async def deliver(store: PostgresStore, message: bytes, account: Account = ANNA) -> str:
    incoming = store.receive(account)
    incoming.write(message)
    return await incoming.commit()


async def ids(store: PostgresStore, account: Account = ANNA) -> list[str]:
    maildrop = await store.look(account)
    return list(maildrop.listing.unique_ids)


async def read(store: PostgresStore, number: int = 1, lines: int | None = None) -> bytes:
    maildrop = await store.look(ANNA)
    content = await maildrop.fetch(MessageNumber(number), lines)
    if isinstance(content.source, bytes):
        return content.source
    assert isinstance(content.source, AsyncIterator)
    return b"".join([block async for block in content.source])


async def renew(maildrop: PostgresMaildrop) -> None:
    assert isinstance(maildrop.lease, PostgresLease)
    await maildrop.lease.renew()


class Sql:
    """What stands in the tables, and changes that no store makes."""

    def __init__(self, store: PostgresStore) -> None:
        self._database = store.database

    async def __call__(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self._database.rows(statement, *arguments)]

    async def count(self, table: str) -> int:
        [(count,)] = await self(f"SELECT count(*) FROM {{schema}}.{table}")
        return int(count)

    async def expire(self) -> None:
        """Let all leases be over."""
        await self("UPDATE {schema}.maildrops SET expires = now() - interval '1 second'")

    async def age(self) -> None:
        """Let a month pass since all that was done."""
        await self("UPDATE {schema}.messages SET removed = removed - interval '1 month'")
        await self("UPDATE {schema}.bodies SET used = used - interval '1 month'")


@pytest.fixture
def sql(store: PostgresStore) -> Sql:
    return Sql(store)


class TestLeases:
    async def test_one_that_has_expired_is_taken_over_and_the_first_session_removes_nothing(
        self, store: PostgresStore, make: Callable[..., PostgresStore], sql: Sql
    ) -> None:
        await deliver(store, b"one\r\n")
        first = await store.open(ANNA)
        elsewhere = make(node="other")
        with pytest.raises(MaildropInUse, match=r"in use by pid \d+ on"):
            await elsewhere.open(ANNA)
        await sql.expire()
        second = await elsewhere.open(ANNA)
        assert " on other, session " in second.lease.holder
        with pytest.raises(LeaseLost):
            await renew(first)
        with pytest.raises(LeaseLost):
            await first.commit([ONE])
        await first.close()
        with pytest.raises(MaildropInUse):  # closing the first has not given the second's back
            await store.open(ANNA)
        await second.commit([ONE])
        await second.close()
        assert await ids(store) == []
        await elsewhere.aclose()

    async def test_a_commit_finds_out_by_itself_that_the_lease_was_lost(
        self, store: PostgresStore, sql: Sql
    ) -> None:
        await deliver(store, b"one\r\n")
        first = await store.open(ANNA)
        await sql.expire()
        second = await store.open(ANNA)
        await second.close()
        with pytest.raises(LeaseLost, match="nothing is removed"):
            await first.commit([ONE])
        assert first.lease.lost
        assert len(await ids(store)) == 1

    async def test_one_that_has_expired_and_that_nobody_took_still_holds(
        self, store: PostgresStore, sql: Sql
    ) -> None:
        await deliver(store, b"one\r\n")
        maildrop = await store.open(ANNA)
        await sql.expire()
        await maildrop.commit([ONE])
        await renew(maildrop)
        with pytest.raises(MaildropInUse):
            await store.open(ANNA)
        await maildrop.close()

    async def test_two_nodes_with_one_name_keep_each_other_out(
        self, make: Callable[..., PostgresStore]
    ) -> None:
        one, two = make(node="mail"), make(node="mail")
        await deliver(one, b"one\r\n")
        held = await one.open(ANNA)
        with pytest.raises(MaildropInUse):
            await two.open(ANNA)
        assert await two.release("anna")
        taken = await two.open(ANNA)
        with pytest.raises(LeaseLost):
            await held.commit([ONE])
        await held.close()
        with pytest.raises(MaildropInUse):
            await one.open(ANNA)
        await taken.commit([ONE])
        await taken.close()
        await one.aclose()
        await two.aclose()

    async def test_a_node_whose_clock_is_wrong_takes_nothing_over(
        self, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        maildrop = await store.open(ANNA)
        monkeypatch.setattr(time, "time", lambda: 4e9)
        with pytest.raises(MaildropInUse):
            await store.open(ANNA)
        await maildrop.close()

    async def test_a_listing_is_not_older_than_the_lease(
        self, store: PostgresStore, make: Callable[..., PostgresStore], sql: Sql
    ) -> None:
        """The session before may remove its messages while the next one waits for the row."""
        await deliver(store, b"one\r\n")
        kept = await deliver(store, b"two\r\n")
        first = await store.open(ANNA)
        await sql.expire()
        other = make()
        connection = await store.database._connect()
        async with connection.transaction():
            await connection.execute(
                store.database.text("SELECT 1 FROM {schema}.maildrops FOR UPDATE")
            )
            # Both wait for the row, and the first one to ask is the first one to get it.
            commit = asyncio.create_task(first.commit([ONE]))
            await _waiting(sql, 1)
            second = asyncio.create_task(other.open(ANNA))
            await _waiting(sql, 2)
        await commit
        assert list((await second).listing.unique_ids) == [kept]
        await connection.close()
        await other.aclose()

    async def test_whoever_asks_again_for_want_of_an_answer_has_its_lease(
        self, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "token_hex", lambda octets: "the same")
        await store.open(ANNA)
        maildrop = await store.open(ANNA)
        await maildrop.commit([])
        await maildrop.close()

    async def test_a_login_delay_holds_on_all_nodes(
        self, store: PostgresStore, make: Callable[..., PostgresStore], sql: Sql
    ) -> None:
        one, two = make(login_delay=600), make(login_delay=600)
        held = await one.open(ANNA)
        with pytest.raises(OpenedTooSoon) as caught:
            await two.open(ANNA)
        assert 590 < caught.value.seconds <= 600
        await held.close()
        for node in one, two, one:
            with pytest.raises(OpenedTooSoon) as caught:
                await node.open(ANNA)
            assert 590 < caught.value.seconds <= 600, "a refusal costs no delay"
        await (await two.open(BEN)).close()
        await sql("UPDATE {schema}.maildrops SET opened = opened - interval '601 seconds'")
        held = await two.open(ANNA)
        await sql("UPDATE {schema}.maildrops SET opened = opened - interval '601 seconds'")
        with pytest.raises(MaildropInUse):
            await one.open(ANNA)
        await held.close()
        await (await one.open(ANNA)).close()
        await (await store.open(ANNA)).close()  # which has no delay
        await one.aclose()
        await two.aclose()

    async def test_a_session_that_steps_back_costs_no_delay(
        self, make: Callable[..., PostgresStore], sql: Sql
    ) -> None:
        node = make(login_delay=600, login_burst=2)
        for _ in range(3):
            await (await node.open(ANNA)).step_back()
        assert await node.leases() == []
        await (await node.open(ANNA)).close()
        for _ in range(2):
            maildrop = await node.open(ANNA)
            await maildrop.step_back()
            await maildrop.step_back()
        held = await node.open(ANNA)
        await maildrop.step_back()  # one that is over changes nothing
        await held.close()
        await held.step_back()
        with pytest.raises(OpenedTooSoon):
            await node.open(ANNA)
        await node.aclose()

    async def test_a_login_that_a_handler_refuses_costs_no_delay(
        self, make: Callable[..., PostgresStore]
    ) -> None:
        """RFC 2449 §8.1.1: the delay is between logins, and there was none."""
        store = make(login_delay=600)
        server = Pop3Server(
            port=0, accounts=StaticAccounts({"anna": "geheim"}), store=store, login_delay=600
        )
        welcome = [False, False, True, True]

        @server.on("mailbox_info")
        def look(session: ClientSession) -> bool:
            return welcome.pop(0)

        def log_in() -> str:
            try:
                log_in_by_poplib("127.0.0.1", server.port, "anna", "geheim").quit()
            except poplib.error_proto as error:
                return str(error)
            return "in"

        async with server:
            for _ in range(2):
                assert "login refused" in await asyncio.to_thread(log_in)
            assert await asyncio.to_thread(log_in) == "in"
            assert "[LOGIN-DELAY]" in await asyncio.to_thread(log_in)
        await store.aclose()

    async def test_a_time_that_no_login_can_have_made_keeps_nobody_out(
        self, make: Callable[..., PostgresStore], sql: Sql
    ) -> None:
        """LOGIN-DELAY has become shorter since, or a clock was wrong."""
        node = make(login_delay=600)
        await (await node.open(ANNA)).close()
        await sql("UPDATE {schema}.maildrops SET opened = now() + interval '1 year'")
        held = await node.open(ANNA)
        await sql("UPDATE {schema}.maildrops SET opened = now() + interval '1 year'")
        with pytest.raises(MaildropInUse):
            await node.open(ANNA)
        await held.close()
        await (await node.open(ANNA)).close()
        with pytest.raises(OpenedTooSoon) as caught:
            await node.open(ANNA)
        assert 590 < caught.value.seconds <= 600
        await node.aclose()

    async def test_some_logins_are_free_at_first(
        self, make: Callable[..., PostgresStore], sql: Sql
    ) -> None:
        node = make(login_delay=600, login_burst=3)
        for _ in range(3):
            await (await node.open(ANNA)).close()
        with pytest.raises(OpenedTooSoon) as caught:
            await node.open(ANNA)
        assert 590 < caught.value.seconds <= 600
        await sql("UPDATE {schema}.maildrops SET opened = opened - interval '601 seconds'")
        await (await node.open(ANNA)).close()
        with pytest.raises(OpenedTooSoon):
            await node.open(ANNA)
        await node.aclose()

    async def test_who_asks_again_for_want_of_an_answer_has_logged_in_once(
        self, store: PostgresStore, make: Callable[..., PostgresStore]
    ) -> None:
        node = make(login_delay=600)
        await (await store.open(ANNA)).close()
        for _ in range(2):
            row = await node._row(
                statements.OPEN, "anna", "this session", 60.0, 600.0, 1, None, None
            )
            assert row["lease"] is not None
        row = await node._row(statements.OPEN, "anna", "another", 60.0, 600.0, 1, None, None)
        assert row["lease"] is None
        assert 590 < row["wait"] <= 600
        await node.aclose()

    async def test_snapshots_exclude_nobody_and_remove_once(
        self, make: Callable[..., PostgresStore], sql: Sql
    ) -> None:
        store = make(leases="snapshot")
        for text in (b"one\r\n", b"two\r\n"):
            await deliver(store, text)
        first, second = await store.open(ANNA), await store.open(ANNA)
        assert list(first.listing.unique_ids) == list(second.listing.unique_ids)
        await renew(first)
        await first.commit([ONE])
        await second.commit([ONE, MessageNumber(2)])
        for maildrop in (first, second):
            await maildrop.close()
            assert maildrop.lease.lost
        assert await ids(store) == []
        assert await store.usage(ANNA) == (0, 0)
        assert len(await store.removed(ANNA)) == 2
        await store.aclose()


async def _waiting(sql: Sql, count: int) -> None:
    """Wait until so many sessions wait for a lock."""
    async with asyncio.timeout(60):
        while True:
            [(waiting,)] = await sql(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                " AND query LIKE '%{schema}.maildrops%'"
            )
            if waiting == count:
                return
            await asyncio.sleep(0.01)


async def commit_to(store: PostgresStore, message: bytes, *accounts: Account) -> list[Outcome]:
    threads = WorkerThreads("test", 0, 2)
    recipients = [Recipient(account.name, account) for account in accounts]
    delivery = Delivery(store, recipients, ENVELOPE, call=Caller(threads), together=True)
    await delivery.write(message)
    outcomes = await delivery.commit()
    await asyncio.to_thread(threads.stop)
    return outcomes


class TestDelivery:
    async def test_all_recipients_have_it_by_one_transaction_and_one_body(
        self, store: PostgresStore, sql: Sql
    ) -> None:
        outcomes = await commit_to(store, b"for all\r\n", ANNA, BEN, EVE)
        told = [[outcome.unique_id] for outcome in outcomes]
        assert told == [await ids(store, account) for account in (ANNA, BEN, EVE)]
        assert await sql.count("bodies") == 1
        [(transactions,)] = await sql("SELECT count(DISTINCT xmin::text) FROM {schema}.messages")
        assert transactions == 1

    async def test_one_who_has_no_room_keeps_it_from_all_that_smtp_has_one_reply_for(
        self, store: PostgresStore
    ) -> None:
        full = Account("full", quota=Quota(messages=1))
        await deliver(store, b"one\r\n", full)
        incomings = [store.receive(ANNA), store.receive(full)]
        for incoming in incomings:
            incoming.write(b"two\r\n")
        none, over = await store.commit(incomings, together=True)
        assert none is None
        assert isinstance(over, OverQuota)
        assert await ids(store) == []

    async def test_by_lmtp_each_recipient_stands_alone(self, store: PostgresStore) -> None:
        full = Account("full", quota=Quota(octets=20))
        incomings = [store.receive(full), store.receive(ANNA), store.receive(BEN)]
        for incoming in incomings:
            incoming.write(b"more than twenty octets\r\n")
        over, *told = await store.commit(incomings, together=False)
        assert isinstance(over, OverQuota)
        assert over.never
        assert [[each] for each in told] == [await ids(store), await ids(store, BEN)]
        assert await ids(store, full) == []

    async def test_asked_again_for_want_of_an_answer_it_is_there_once(
        self, store: PostgresStore
    ) -> None:
        first, again = store.receive(ANNA), store.receive(ANNA)
        again.unique_id = first.unique_id
        for incoming in (first, again):
            incoming.write(b"one\r\n")
            await incoming.commit()
        assert await ids(store) == [first.unique_id]
        assert await store.usage(ANNA) == (1, 5)

    async def test_what_never_came_to_its_end_leaves_a_body_that_is_collected(
        self, store: PostgresStore, sql: Sql
    ) -> None:
        incoming = store.receive(ANNA)
        incoming.write(b"one\r\n")
        await incoming.prepare()
        await store.collect()
        assert await sql.count("bodies") == 1
        await sql.age()
        await store.collect()
        assert await sql.count("bodies") == await sql.count("blocks") == 0
        await incoming.commit()  # it was late, and puts its body once more
        assert await read(store) == b"one\r\n"

    async def test_a_body_that_was_given_up_meanwhile_leaves_no_blob(
        self, make: Callable[..., PostgresStore], tmp_path: Path
    ) -> None:
        store = make(bodies=FolderBlobs(tmp_path / "bodies"))
        incoming = store.receive(ANNA)
        incoming.write(b"one\r\n")
        await incoming.prepare()
        await Sql(store)("UPDATE {schema}.bodies SET state = 'doomed'")
        await Sql(store)("DELETE FROM {schema}.bodies")
        await incoming.commit()
        assert await read(store) == b"one\r\n"
        assert len([each for each in (tmp_path / "bodies").rglob("*-*") if each.is_file()]) == 1
        await store.aclose()

    async def test_of_several_bodies_only_those_that_were_given_up_lose_their_blobs(
        self, store: PostgresStore, sql: Sql
    ) -> None:
        """Another delivery may have found the others meanwhile."""
        incomings = [store.receive(ANNA), store.receive(ANNA)]
        for number, incoming in enumerate(incomings):
            incoming.write(b"%d\r\n" % number)
            await incoming.prepare()
        removed: list[str] = []
        remove = store.bodies.remove

        async def told(key: str) -> None:
            removed.append(key)
            await remove(key)

        store.bodies.remove = told  # type: ignore[method-assign]
        doomed = incomings[0].put
        await sql("UPDATE {schema}.bodies SET state = 'doomed' WHERE id = $1", incomings[0].body)
        await store.commit(incomings, together=True)
        assert removed == [doomed]
        assert await read(store, 1) == b"0\r\n"
        assert await read(store, 2) == b"1\r\n"

    async def test_a_body_that_another_has_begun_to_put_is_put_in_the_same_encoding(
        self, store: PostgresStore, sql: Sql
    ) -> None:
        text = b"the same line again and again\r\n" * 1000
        begun = store.receive(ANNA)
        begun.write(text)
        await begun.prepare()
        begun.abort()
        await sql("DELETE FROM {schema}.blocks")
        await deliver(store, text)
        assert await read(store) == text

    async def test_deliveries_of_one_body_while_it_is_collected_lose_nothing(
        self, make: Callable[..., PostgresStore], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "GRACE_SECONDS", 0.0)
        monkeypatch.setattr(module, "REPEAT_SECONDS", 0.0)
        nodes = [make(undelete_days=0), make(undelete_days=0)]

        async def collect() -> None:
            for _ in range(15):
                await nodes[0].collect()

        async def come_and_go(node: PostgresStore, account: Account) -> None:
            for _ in range(15):
                unique_id = await deliver(node, b"the same\r\n", account)
                maildrop = await node.open(account)
                assert list(maildrop.listing.unique_ids) == [unique_id]
                assert (await maildrop.fetch(ONE)).source == b"the same\r\n"
                await maildrop.commit([ONE])
                await maildrop.close()

        await asyncio.gather(
            collect(), *(come_and_go(node, Account(f"u{n}")) for n, node in enumerate(nodes * 3))
        )
        for node in nodes:
            await node.aclose()


class TestReading:
    async def test_a_large_message_is_streamed_and_its_beginning_is_cheap(
        self, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        head = b"Subject: large\r\n\r\n"
        body = b"".join(b"%064x\r\n" % (n * 0x9E3779B97F4A7C15) for n in range(300_000))
        await deliver(store, head + body)
        asked: list[int] = []
        read_blob = store.bodies.read

        def counted(key: str, start: int = 0, end: int | None = None) -> Any:
            asked.append((end or 10**9) - start)
            return read_blob(key, start, end)

        monkeypatch.setattr(store.bodies, "read", counted)
        maildrop = await store.look(ANNA)
        content = await maildrop.fetch(ONE, 0)
        assert (await anext(content.source)).startswith(head)  # type: ignore[arg-type]
        await content.source.aclose()  # type: ignore[union-attr]
        assert sum(asked) < 300_000
        tracemalloc = pytest.importorskip("tracemalloc", reason="only CPython counts memory so")
        tracemalloc.start()
        size = 0
        content = await maildrop.fetch(ONE)
        async for block in content.source:  # type: ignore[union-attr]
            size += len(block)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert size == len(head + body) == maildrop.listing.octets[0]
        assert peak < 6 * 1024 * 1024 < size

    @pytest.mark.parametrize("size", [10, 10 * BLOCK])
    async def test_a_damaged_body_is_never_sent_as_whole(
        self, store: PostgresStore, sql: Sql, size: int
    ) -> None:
        # What can't be compressed has no checksum but ours.
        await deliver(store, random.Random(1).randbytes(size))
        await sql("UPDATE {schema}.blocks SET octets = set_byte(octets, 5, 0)")
        with pytest.raises(BlobDamaged):
            await read(store)
        await sql("DELETE FROM {schema}.blocks")
        with pytest.raises(BlobMissing):
            await read(store)

    async def test_blocks_of_bodies(self, store: PostgresStore, sql: Sql) -> None:
        """Any part of one, with block borders within it and at its ends."""
        text = bytes(n % 251 for n in range(3 * BLOCK))
        await sql(
            "INSERT INTO {schema}.bodies (digest, octets, stored_octets, encoding, header_end,"
            " needs_stuffing) VALUES (sha256('x'), 1, 1, 'identity', 1, FALSE)"
        )
        [(number,)] = await sql("SELECT id FROM {schema}.bodies")
        key = key_of(number, sha256(b"x").digest(), "identity")
        await store.bodies.put(key, BytesIO(text), len(text))
        await store.bodies.put(key, BytesIO(text), len(text))
        for start, end in [
            *((0, None), (0, 0), (5, 9), (BLOCK - 1, BLOCK + 1), (BLOCK, 2 * BLOCK)),
            *((BLOCK, None), (3 * BLOCK, None), (3 * BLOCK - 1, 9 * BLOCK)),
        ]:
            blocks = [block async for block in store.bodies.read(key, start, end)]
            assert b"".join(blocks) == text[start:end]
        with pytest.raises(ValueError, match="1 octets too early"):
            await store.bodies.put(key, BytesIO(b"x"), 2)
        await store.bodies.remove(key)
        with pytest.raises(BlobMissing):
            await anext(store.bodies.read(key))


class TestCollecting:
    async def test_removed_messages_are_forgotten_in_time_and_bodies_with_the_last_one(
        self, store: PostgresStore, sql: Sql
    ) -> None:
        await commit_to(store, b"for both\r\n", ANNA, BEN)
        pinned = store.restore(ANNA, "pinned")
        pinned.write(b"for both\r\n")
        await pinned.commit()
        for account, numbers in ((ANNA, [ONE, MessageNumber(2)]), (BEN, [ONE])):
            maildrop = await store.open(account)
            await maildrop.commit(numbers)
            await maildrop.close()
            await store.collect()
            if account is ANNA:
                await sql.age()
                assert await store.collect() == 2
        assert await sql.count("bodies") == 1
        assert await store.undelete(BEN, DAY) == 1
        await store.remove(BEN, (await ids(store, BEN))[0])
        await sql.age()
        assert await store.collect() == 1
        assert await sql.count("bodies") == await sql.count("blocks") == 0
        again = store.restore(ANNA, "pinned")
        again.write(b"another one\r\n")
        with pytest.raises(StoreError, match="has, or had"):
            await again.commit()

    async def test_what_a_collector_that_died_left_is_taken_up(
        self, store: PostgresStore, sql: Sql
    ) -> None:
        incoming = store.receive(ANNA)
        incoming.write(b"one\r\n")
        await incoming.prepare()
        incoming.abort()
        await sql("UPDATE {schema}.bodies SET state = 'doomed'")
        assert await store.collect() == 0
        assert await sql.count("bodies") == 0

    async def test_blobs_elsewhere_are_removed(
        self, make: Callable[..., PostgresStore], tmp_path: Path
    ) -> None:
        store = make(bodies=FolderBlobs(tmp_path / "bodies"), undelete_days=0)
        await store.prepare()
        for number in range(20):
            await store.remove(ANNA, await deliver(store, b"%d\r\n" % number))
        await Sql(store).age()
        assert await store.collect() == 20
        assert not [each for each in (tmp_path / "bodies").rglob("*-*") if each.is_file()]
        await store.aclose()


class Broken(FolderBlobs):
    """Takes nothing, or takes for ever."""

    waits = False

    async def put(self, key: str, source: BinaryIO, octets: int) -> None:
        if self.waits:
            await asyncio.Event().wait()
        raise StoreError("full")


async def test_bodies_that_cannot_be_put_are_no_delivery(
    make: Callable[..., PostgresStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = Broken(tmp_path / "bodies")
    store = make(bodies=bodies)
    with pytest.raises(StoreError, match="full"):
        await deliver(store, b"one\r\n")
    bodies.waits = True
    monkeypatch.setattr(module, "PUT_SECONDS", 0.1)
    with pytest.raises(StoreError, match="wasn't stored within"):
        await deliver(store, b"one\r\n")
    assert await ids(store) == []
    await store.aclose()


async def test_one_store_in_several_event_loops(store: PostgresStore) -> None:
    async def elsewhere() -> None:
        await deliver(store, b"1\r\n")
        await store.aclose()

    await deliver(store, b"0\r\n")
    await asyncio.to_thread(asyncio.run, elsewhere())
    assert len(await ids(store)) == 2
