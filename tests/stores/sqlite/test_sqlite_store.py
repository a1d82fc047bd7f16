"""The store in one SQLite file, beyond the contract."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from restante import Pop3Server
from restante.accounts.contract import Account
from restante.protocol.listing import MessageNumber
from restante.stores import LeaseLost, MaildropInUse, MessageGone, SqliteStore, StoreError
from restante.stores.contract import UniqueIdTaken
from restante.stores.drafts import BLOCK
from restante.stores.room import DAY
from restante.stores.sqlite import store as module
from restante.stores.sqlite.store import ORPHAN_SECONDS, SqliteMaildrop
from tests.server.kit import Client
from tests.stores.maildir.kit import python
from tests.stores.stores import drained

ANNA, BEN = Account("anna"), Account("ben")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    made = SqliteStore(tmp_path / "mail.sqlite")
    yield made
    made.close()


def deliver(store: SqliteStore, message: bytes, account: Account = ANNA) -> str:
    incoming = store.receive(account)
    for at in range(0, len(message), 50_000):
        incoming.write(message[at : at + 50_000])
    return incoming.commit()


def ids(store: SqliteStore, account: Account = ANNA) -> list[str]:
    maildrop = store.open(account)
    maildrop.close()
    return list(maildrop.listing.unique_ids)


def read(maildrop: SqliteMaildrop, number: int) -> bytes:
    return drained(maildrop.fetch(MessageNumber(number)).source)


def rows(store: SqliteStore, table: str) -> int:
    database = sqlite3.connect(store.path)
    [(count,)] = database.execute(f"SELECT count(*) FROM {table}").fetchall()
    database.close()
    return int(count)


class Clock:
    """The store's time, which tests move."""

    def __init__(self) -> None:
        self.now = time.time()

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


class TestLeases:
    def test_one_that_was_not_renewed_is_taken_over_and_the_first_session_removes_nothing(
        self, store: SqliteStore, clock: Clock, tmp_path: Path
    ) -> None:
        deliver(store, b"one\r\n")
        first = store.open(ANNA)
        elsewhere = SqliteStore(tmp_path / "mail.sqlite")  # another process's
        with pytest.raises(MaildropInUse):
            elsewhere.open(ANNA)
        clock.now += module.LEASE_SECONDS + 1
        second = elsewhere.open(ANNA)
        with pytest.raises(LeaseLost):
            first.lease.renew()
        assert first.lease.lost
        with pytest.raises(LeaseLost):
            first.commit([MessageNumber(1)])
        first.close()
        with pytest.raises(MaildropInUse):  # closing the first has not given the second's back
            store.open(ANNA)
        second.commit([MessageNumber(1)])
        second.close()
        assert ids(store) == []
        elsewhere.close()

    def test_a_commit_finds_out_by_itself_that_the_lease_was_lost(
        self, store: SqliteStore, clock: Clock
    ) -> None:
        deliver(store, b"one\r\n")
        first = store.open(ANNA)
        clock.now += module.LEASE_SECONDS + 1
        store.open(ANNA).close()
        with pytest.raises(LeaseLost):
            first.commit([MessageNumber(1)])
        assert len(ids(store)) == 1

    def test_one_that_is_renewed_stays(self, store: SqliteStore, clock: Clock) -> None:
        first = store.open(ANNA)
        for _ in range(5):
            clock.now += module.LEASE_SECONDS / 2
            first.lease.renew()
        with pytest.raises(MaildropInUse):
            store.open(ANNA)
        first.close()

    def test_a_process_that_died_on_this_machine_holds_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "mail.sqlite"
        code = (
            "import os, sys; from restante import Account; from restante.stores import SqliteStore;"
            "SqliteStore(sys.argv[1]).open(Account('anna')); os._exit(0)"
        )
        with python(code, path) as process:
            assert process.wait(60) == 0
        store = SqliteStore(path)
        store.open(ANNA).close()
        store.close()


class TestRemoved:
    def test_it_can_be_had_back_with_its_unique_id_and_place(self, store: SqliteStore) -> None:
        before = [deliver(store, b"%d\r\n" % number) for number in range(3)]
        maildrop = store.open(ANNA)
        maildrop.commit([MessageNumber(1), MessageNumber(3)])
        maildrop.close()
        assert ids(store) == [before[1]]
        assert store.undelete(BEN, 3600) == 0
        assert store.undelete(ANNA, 3600) == 2
        assert ids(store) == before

    def test_after_a_time_it_is_forgotten_and_its_body_with_it(
        self, store: SqliteStore, clock: Clock
    ) -> None:
        deliver(store, b"kept\r\n")
        deliver(store, b"removed\r\n")
        maildrop = store.open(ANNA)
        maildrop.commit([MessageNumber(2)])
        maildrop.close()
        assert store.collect() == 0
        clock.now += 8 * DAY
        assert store.collect() == 1
        assert store.undelete(ANNA, 100 * DAY) == 0
        assert (rows(store, "messages"), rows(store, "bodies"), rows(store, "blocks")) == (1, 1, 1)

    def test_a_restored_one_is_forgotten_but_not_its_unique_id(
        self, store: SqliteStore, clock: Clock
    ) -> None:
        def restore() -> None:
            incoming = store.restore(ANNA, "first")
            incoming.write(b"one\r\n")
            incoming.commit()

        restore()
        maildrop = store.open(ANNA)
        maildrop.commit([MessageNumber(1)])
        maildrop.close()
        clock.now += 8 * DAY
        assert store.collect() == 1
        assert (rows(store, "messages"), rows(store, "bodies")) == (0, 0)
        with pytest.raises(UniqueIdTaken):
            restore()
        assert ids(store) == []

    def test_unique_ids_of_a_file_of_the_first_schema_are_kept(
        self, store: SqliteStore, clock: Clock
    ) -> None:
        unique_id = deliver(store, b"one\r\n")
        store.close()
        database = sqlite3.connect(store.path)
        database.executescript("DROP TABLE restored; PRAGMA user_version = 1")
        database.close()
        maildrop = store.open(ANNA)
        maildrop.commit([MessageNumber(1)])
        maildrop.close()
        clock.now += 8 * DAY
        assert store.collect() == 1
        incoming = store.restore(ANNA, unique_id)
        incoming.write(b"one\r\n")
        with pytest.raises(UniqueIdTaken):
            incoming.commit()

    def test_a_body_whose_delivery_is_under_way_is_not_collected(
        self, store: SqliteStore, clock: Clock
    ) -> None:
        incoming = store.receive(ANNA)
        incoming.write(b"late\r\n")
        incoming.prepare()
        clock.now += ORPHAN_SECONDS / 2
        store.collect()
        assert rows(store, "bodies") == 1
        clock.now += ORPHAN_SECONDS
        store.collect()
        assert rows(store, "bodies") == 0
        incoming.commit()  # it has kept what it was given
        maildrop = store.open(ANNA)
        assert read(maildrop, 1) == b"late\r\n"
        maildrop.close()


def test_equal_bodies_are_stored_once(store: SqliteStore) -> None:
    message = b"Subject: same\r\n\r\n" + b"x" * 100_000 + b"\r\n"
    told = [deliver(store, message, account) for account in (ANNA, BEN, ANNA)]
    assert len(set(told)) == 3
    assert (rows(store, "messages"), rows(store, "bodies")) == (3, 1)
    maildrop = store.open(ANNA)
    maildrop.commit([MessageNumber(1)])
    assert read(maildrop, 2) == message
    maildrop.close()


def test_a_large_message_is_read_block_by_block(store: SqliteStore) -> None:
    line = b"." + b"y" * 997 + b"\n"
    deliver(store, line * 3000)
    maildrop = store.open(ANNA)
    content = maildrop.fetch(MessageNumber(1))
    assert not isinstance(content.source, bytes)
    blocks = list(content.source)  # type: ignore[arg-type]
    assert max(map(len, blocks)) == BLOCK
    assert b"".join(blocks) == line.replace(b"\n", b"\r\n") * 3000
    assert content.facts is not None
    assert content.facts.octets == maildrop.listing.octets[0] == 3000 * 1000
    maildrop.close()


def test_what_another_process_removes_is_gone(store: SqliteStore) -> None:
    unique_id = deliver(store, b"one\r\n")
    maildrop = store.open(ANNA)
    store.remove(ANNA, unique_id)
    with pytest.raises(MessageGone):
        maildrop.fetch(MessageNumber(1))
    maildrop.close()


def test_a_file_of_a_newer_version_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    newer, other = tmp_path / "newer.sqlite", tmp_path / "other.sqlite"
    store = SqliteStore(newer)
    deliver(store, b"x")
    store.close()
    database = sqlite3.connect(newer)
    database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(StoreError, match="number 99"):
        SqliteStore(newer).open(ANNA)
    other.write_bytes(b"no database at all" * 1000)
    with pytest.raises(StoreError, match="not a database"):
        SqliteStore(other).open(ANNA)
    with pytest.raises(ValueError, match="undelete_days=-1"):
        SqliteStore(newer, undelete_days=-1)


def test_messages_are_read_while_another_process_writes(store: SqliteStore) -> None:
    deliver(store, b"one\r\n")
    maildrop = store.open(ANNA)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waiting = threading.Thread(target=deliver, args=(store, b"two\r\n"))
    waiting.start()
    try:
        assert read(maildrop, 1) == b"one\r\n"
        assert waiting.is_alive()
    finally:
        other.execute("COMMIT")
        other.close()
        waiting.join()
    maildrop.close()
    assert len(ids(store)) == 2


def test_a_file_that_was_put_in_its_place_is_the_one_that_is_used(
    store: SqliteStore, tmp_path: Path
) -> None:
    deliver(store, b"old\r\n")
    backup = SqliteStore(tmp_path / "backup.sqlite")
    kept = [deliver(backup, b"kept\r\n") for _ in range(2)]
    backup.close()
    for end in ("-wal", "-shm"):
        Path(f"{store.path}{end}").unlink(missing_ok=True)
    backup.path.replace(store.path)
    assert ids(store) == kept


def test_a_name_that_is_no_unicode_is_an_error_of_the_store(store: SqliteStore) -> None:
    with pytest.raises(StoreError):
        store.open(Account("\udc80"))


def test_a_server_over_it(store: SqliteStore) -> None:
    large = b"".join(b"line %d\r\n" % number for number in range(100_000))
    deliver(store, b"Subject: small\n\n.dot\n")
    deliver(store, large)
    with Pop3Server(port=0, accounts={"anna": "secret"}, store=store) as server:
        with Client(server.port) as client:
            client.ask("USER anna")
            assert client.ask("PASS secret").startswith(b"+OK")
            assert client.ask("STAT") == b"+OK 2 %d" % (24 + len(large))
            assert client.fetch("RETR 2") == large
            assert client.fetch("TOP 1 0") == b"Subject: small\r\n\r\n"
            client.ask("DELE 1")
            assert client.ask("QUIT").startswith(b"+OK")
        assert len(ids(store)) == 1


def test_a_maildrop_is_looked_at_while_a_session_has_it(store: SqliteStore) -> None:
    deliver(store, b"one\r\n")
    session = store.open(ANNA)
    looked = store.look(ANNA)
    assert read(looked, 1) == b"one\r\n"
    with pytest.raises(LeaseLost):
        looked.commit([MessageNumber(1)])
    looked.close()
    session.commit([MessageNumber(1)])
    session.close()
    assert store.look(ANNA).listing.count == 0
    assert store.look(BEN).listing.count == 0


def test_the_file_is_seen_to_be_usable(store: SqliteStore) -> None:
    store.prepare()
    store.check()
    store.close()
    store.path.write_bytes(b"no database, but a text of some length" * 100)
    with pytest.raises(StoreError, match="not a database"):
        store.check()
    with pytest.raises(StoreError, match="not a database"):
        store.prepare()


def test_it_tells_when_a_message_arrived(store: SqliteStore) -> None:
    before = time.time()
    deliver(store, b"x")
    maildrop = store.look(ANNA)
    assert before <= maildrop.arrived(MessageNumber(1)) <= time.time()
