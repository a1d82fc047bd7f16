"""A history in PostgreSQL: several nodes write and read it, and it costs none of them a session."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from restante.accounts.connections import Connection
from restante.delivery.envelope import Envelope
from restante.observing import (
    History,
    HistoryError,
    HistoryWriter,
    PostgresHistory,
    explain,
    history_postgres,
)
from restante.observing.history_place import TABLES, Bounds, Tables, packed
from restante.observing.history_records import LoginRefused
from restante.protocol.listing import Listing
from restante.stores.postgres import schema as steps_of
from restante.stores.postgres.database import Database
from tests.accounts.mysql_server import wait_until
from tests.conftest import Authority
from tests.needs import only_cpython
from tests.observing.history_kit import ANN, JOE, Kept, Watched, record
from tests.ports import free_port
from tests.postgres_server import PASSWORD, USER, PostgresServer, pgbouncer, postgres
from tests.stores.postgres.conftest import schema_in, upgraded
from tests.stores.postgres.test_round_trips import Relay

pytestmark = only_cpython

A, B = (f"170000000{n}.M1P1.host" for n in range(2))
MIB = 2**20


@pytest.fixture
def kept(server: PostgresServer, schema: str, tmp_path: Path) -> Iterator[Kept]:
    with closing(Kept(tmp_path, server, schema)) as made:
        yield made


@pytest.fixture
def own(authority: Authority, tmp_path: Path) -> Iterator[Kept]:
    """In a server that the test stops and starts."""
    with postgres(authority.certificate.files()[0]) as server:
        schema = upgraded(server, "restante")
        with closing(Kept(tmp_path, server, schema)) as made:
            yield made


# Nodes


def test_a_session_at_one_node_is_explained_at_another(kept: Kept, tmp_path: Path) -> None:
    with Watched(tmp_path, kept, node="a") as a, Watched(tmp_path, kept, node="b") as b:
        gone = a.put(A)
        a.put(B)
        a.session(JOE, fetch=(1, 2))
        gone.unlink()
        b.session(ANN, fetch=(1,), delete=(1,))
        found = explain(b.history, "joe")
        assert [each.kind for each in found.findings] == ["removed", "new client", "deleted"]
        first, second = found.clients
        assert first.address == JOE
        assert " on a: " in first.sessions[0]
        assert " on b: " in second.sessions[0]
        assert " node='b' " in found.findings[1].lines[0]
        (fetched_before,) = [line for line in found.findings[1].lines if "fetched before: " in line]
        assert f"peer={JOE} node='a' session=" in fetched_before
        (deleted,) = [line for line in found.findings[2].lines if "deleted: " in line]
        assert f"peer={ANN} node='b' unique_id=" in deleted
        assert found == explain(a.history, "joe")
        assert [each.node for each in a.history.sessions()] == ["b", "a"]


def test_a_single_node_is_not_named(kept: Kept, tmp_path: Path) -> None:
    with Watched(tmp_path, kept, node="somewhere") as watched:
        watched.put(A)
        watched.session(fetch=(1,))
        watched.session(fetch=(1,))
        assert "somewhere" not in watched.explained().text()


def test_polls_at_several_nodes_are_one_row(kept: Kept) -> None:
    writers = {node: kept.writer(node) for node in "abc"}
    begin = time.time()
    for number, node in enumerate("abacab"):
        writers[node].put_session(record([A], opened=begin + number))
        assert writers[node].flush(30)
    for writer in writers.values():
        writer.close()
    (row,) = kept.history().sessions()
    assert (row.times, row.node) == (6, "a, b, c")
    assert row.until == pytest.approx(begin + 5)


def test_only_so_many_nodes_are_named(kept: Kept) -> None:
    for number in range(10):
        writer = kept.writer(f"n{number}")
        writer.put_session(record([A]))
        writer.close()
    (row,) = kept.history().sessions()
    assert row.times == 10
    assert row.node == "n0, n1, n2, n3, n4, n5, n6, n7, …"


def test_nodes_that_write_at_once_have_one_chain_of_listings(kept: Kept) -> None:
    """Each listing is what had changed since the one before, whoever wrote that."""
    begin = time.time()

    def write(node: str) -> None:
        writer = kept.writer(node)
        for number in range(40):
            ids = [f"{node}-{n}" for n in range(number % 7 + 1)]
            account = f"joe{number % 3}"
            writer.put(record(ids, account=account, opened=begin, sent=(1,)))
            assert writer.flush(60)
        writer.close()
        assert writer.lost == 0

    threads = [threading.Thread(target=write, args=[node]) for node in "abc"]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    history = kept.history()
    assert len(history.sessions(limit=1000)) == 120
    for account in ("joe0", "joe1", "joe2"):
        listings = history.listings(account, limit=1000)
        assert len({each.number for each in listings}) == len(listings) > 3
        there: dict[str, int] = {}
        for listing in reversed(listings):
            for gone, _ in listing.gone or ():
                del there[gone]
            assert not there.keys() & dict(listing.come or ()).keys()
            there.update(listing.come or history.listed(listing).items())
            assert there == history.listed(listing)
            assert len(there) == listing.messages


def test_refusals_at_several_nodes_are_one_row(kept: Kept) -> None:
    now = time.time()
    for node in "aab":
        writer = kept.writer(node)
        for _ in range(2):
            writer.put(LoginRefused(now, "joe", JOE, "USER", "failed"))
        writer.put(LoginRefused(now - 4000, "ann", JOE, "USER", "failed"))
        writer.close()
    assert [each.times for each in kept.history().refusals(account="joe")] == [6]


# Bounds


def test_two_writers_keep_the_bound(kept: Kept) -> None:
    begin = time.time() - 86_400
    largest = 0

    def write(node: str) -> None:
        nonlocal largest
        writer = kept.writer(node, max_octets=MIB)
        with closing(kept.place()) as place:
            for number in range(1500):
                ids = [f"{number}-{n}-{'x' * 50}" for n in range(10)]
                name = f"account-{node}-{number % 200}"
                at = begin + number * 20
                writer.put(record(ids, account=name, opened=at, sent=tuple(range(1, 11))))
                writer.put(LoginRefused(at, f"n{number}", JOE, "USER", "failed"))
                if number % 150 == 149:
                    assert writer.flush(60)
                    largest = max(largest, place.octets())
            writer.close()
            assert writer.lost == 0

    threads = [threading.Thread(target=write, args=[node]) for node in "ab"]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert MIB // 2 < largest <= MIB
    history = kept.history()
    found = history.sessions(limit=10_000)
    assert found[0].since == pytest.approx(begin + 1499 * 20, abs=3000)
    assert 100 < len(found) < 3000
    newest = history.listings(found[0].account)[0]
    assert len(history.listed(newest)) == 10
    assert kept.place().octets() == weighed(kept)


def weighed(kept: Kept) -> int:
    """What the rows take, added up."""
    names = ("sessions", "listings", "deliveries", "refusals")
    sums = [f"(SELECT coalesce(sum(weight), 0) FROM {{{name}}})" for name in names]
    return int(kept.ask(f"SELECT {' + '.join(sums)}"))


def test_the_size_is_about_what_the_tables_take(kept: Kept) -> None:
    writer = kept.writer()
    begin = time.time() - 86_400
    for number in range(3000):
        ids = [f"17000{number:05}.M{n}P{n}.host.example.org" for n in range(number % 30 + 1)]
        notes = record(ids, account=f"account{number % 500}@example.org", opened=begin + number)
        notes.sent = [(n + 1, None) for n in range(len(ids))]
        notes.verbs = ["CAPA", "STLS", "CAPA", "AUTH", "STAT", "UIDL", *["RETR"] * len(ids), "QUIT"]
        writer.put(notes)
        writer.put(LoginRefused(begin, f"name{number}", JOE, "USER", "failed"))
        assert number % 1000 or writer.flush(60)
    writer.close()
    counted = kept.place().octets()
    names = ("sessions", "listings", "deliveries", "refusals")
    for name in names:
        kept.ask(f"VACUUM FULL {{{name}}}")
    sizes = " + ".join(f"pg_total_relation_size('{{{name}}}')" for name in names)
    taken = int(kept.ask(f"SELECT {sizes}"))
    assert 0.7 < counted / taken < 1.3


def test_what_keeps_only_the_newest_is_not_counted_twice(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restante.observing.history_place.MAX_REFUSALS", 50)
    writer = kept.writer()
    for number in range(300):
        writer.put(LoginRefused(time.time(), f"n{number}", JOE, "USER", "failed"))
    writer.close()
    assert kept.ask("SELECT count(*) FROM {refusals}") == "50"
    assert kept.place().octets() == weighed(kept) > 0


def fill(writer: HistoryWriter, numbers: range) -> None:
    """Sessions of fifty accounts, each with a message that came since the one before."""
    begin = time.time() - 3600
    for number in numbers:
        account = f"account{number % 50}"
        writer.put(record([f"u{number}"], account=account, opened=begin + number, sent=(1,)))
    assert writer.flush(60)


@pytest.mark.parametrize(
    "emptied",
    [
        ["sessions", "listings", "deliveries", "refusals", "counts"],
        ["sessions"],
        ["sessions", "listings", "deliveries", "refusals", "counts", "state"],
        ["state"],
    ],
    ids=["all but the state", "sessions", "all", "the state"],
)
def test_tables_may_be_emptied_at_any_time(kept: Kept, emptied: list[str]) -> None:
    """Near the bound even: what comes then is kept, and the bound still holds."""
    writer = kept.writer(max_octets=MIB)
    fill(writer, range(1300))
    assert kept.place().octets() > MIB * 5 // 8
    before = [] if emptied == ["state"] else kept.history().sessions(limit=5000)
    kept.ask(f"TRUNCATE {', '.join(f'{{{table}}}' for table in emptied)}")
    assert kept.place().octets() >= 0
    for turn in range(14, 22):
        fill(writer, range(turn * 100, turn * 100 + 100))
    if before:
        assert len(kept.history().sessions(limit=5000)) == 800
    fill(writer, range(2200, 4000))
    writer.close()
    assert writer.lost == 0
    assert MIB // 2 < weighed(kept) <= MIB
    found = kept.history().sessions(limit=5000)
    assert len({each.number for each in found}) == len(found) > 500
    assert found[0].session == max(found, key=lambda each: each.since).session


def test_the_size_is_counted_anew_when_what_is_old_is_removed(kept: Kept) -> None:
    """A row of polls has the last one's name and commands: it grows."""
    writer = kept.writer()
    begin = time.time()
    for turn, name in enumerate(["s", "another, far longer name"]):
        for number in range(50):
            poll = record([A], account=f"u{number}", opened=begin + turn)
            poll.session = name
            writer.put_session(poll)
        assert writer.flush(30)
    assert kept.place().octets() < weighed(kept)
    kept.ask("UPDATE {state} SET pruned = now() - interval '1 hour'")
    fill(writer, range(1))
    writer.close()
    assert kept.place().octets() == weighed(kept)


def test_a_sum_that_takes_too_long_costs_no_record(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_postgres, "_SUM", "SELECT 1 FROM pg_sleep(60)")
    kept.ask("UPDATE {state} SET pruned = now() - interval '1 hour'")
    writer = HistoryWriter(kept.place(timeout=5.0))
    writer.put(record([A]))
    writer.close()
    assert writer.lost == 0
    assert kept.place().octets() == weighed(kept) > 0


# A database that is away, slow, full, or as another version has it


def test_a_database_that_is_away_costs_no_session_and_is_told_of_once(
    own: Kept, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert own.server is not None
    with (
        Watched(tmp_path, own) as watched,
        caplog.at_level(logging.WARNING, "restante.observing"),
    ):
        watched.put(A)
        watched.session(fetch=(1,))
        own.server.stop()
        for _ in range(20):
            watched.session(fetch=(1,))
        assert watched.writer.lost == 20
        assert watched.writer.failing
        with pytest.raises(HistoryError, match="PostgreSQL: "):
            watched.history.sessions()
        own.server.start()
        watched.session(ANN, fetch=(1,))
        assert not watched.writer.failing
        assert [each.address for each in watched.history.sessions()] == [ANN, JOE]
    said = [each.getMessage() for each in caplog.records if each.name == "restante.observing"]
    assert len(said) == 2
    assert said[0].startswith("the history can't be written, mail is served without it: Postgre")
    assert said[1] == "the history goes on; 20 records were lost"


def test_a_database_that_does_not_answer_holds_up_neither_sessions_nor_the_end(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else has locked it, for as long as the test takes."""
    assert kept.server is not None
    monkeypatch.setattr(kept, "place", lambda node="a", place=kept.place: place(node, timeout=0.3))
    with Watched(tmp_path, kept) as watched, locked(kept):
        watched.put(A)
        for _ in range(5):
            watched.session(fetch=(1,))
        assert watched.writer.lost == 5
        watched.writer.close()


class locked:
    """The history's lock is held by a session of the database."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._place = PostgresHistory(kept.server.dsn, schema=kept.schema)  # type: ignore[union-attr]

    def __enter__(self) -> None:
        text = self._place.dialect.text("SELECT * FROM {state} FOR UPDATE")

        async def lock(database: Database) -> object:
            async def work(connection: Connection) -> None:
                await connection.execute("BEGIN")
                await connection.execute(text)

            return await database.use(work)

        self._place._plain.run(lock)

    def __exit__(self, *_: object) -> None:
        self._place.close()


def test_a_node_that_was_cut_off_while_it_wrote_keeps_the_others_waiting_for_seconds_only(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_postgres, "PAUSE_SECONDS", 0.5)
    inside, go_on = threading.Event(), threading.Event()
    cut_off = kept.place("a")

    async def add(tables: Tables) -> None:
        inside.set()
        go_on.wait(60)
        await tables.run("DELETE FROM {sessions}")

    problems: list[str] = []

    def write() -> None:
        try:
            cut_off.write(add, Bounds(MIB, 1.0))
        except HistoryError as error:
            problems.append(str(error))

    thread = threading.Thread(target=write)
    thread.start()
    assert inside.wait(60)
    writer = kept.writer("b")
    writer.put(record([A]))
    writer.close()
    assert writer.lost == 0
    go_on.set()
    thread.join(60)
    (problem,) = problems
    assert "idle-in-transaction timeout" in problem
    assert len(kept.history().sessions()) == 1


def test_what_may_have_been_written_is_not_written_again(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice there, it would be told as if the client had come twice."""
    writer = kept.writer()
    writer.put(record([A], sent=(1,)))
    assert writer.flush(30)
    commit = history_postgres._PostgresTables.commit

    async def without_answer(self: history_postgres._PostgresTables) -> None:
        await commit(self)
        self._connection.terminate()
        raise ConnectionResetError("the answer is lost")

    monkeypatch.setattr(history_postgres._PostgresTables, "commit", without_answer)
    writer.put(record([A, B], sent=(1,)))
    assert writer.flush(30)
    monkeypatch.undo()
    writer.close()
    assert writer.lost == 1
    assert len(kept.history().sessions()) == 2


def test_tables_that_are_not_there_yet_are_told_of_and_used_when_they_are(
    server: PostgresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A schema of the version before, with mail in it."""
    name = schema_in(tmp_path)
    known = list(steps_of.steps())
    with monkeypatch.context() as older:
        older.setattr(steps_of, "steps", lambda: known[:4])
        upgraded(server, name)
    server.execute(f"INSERT INTO {name}.maildrops (name) VALUES ('joe')")
    with closing(Kept(tmp_path, server, name)) as kept:
        writer = kept.writer()
        with caplog.at_level(logging.ERROR, "restante.observing"):
            writer.put(record([A]))
            assert writer.flush(30)
        assert writer.lost == 1
        assert "is number 4, and this version of Restante needs number" in caplog.text
        upgraded(server, name)
        writer.put(record([A]))
        writer.close()
        assert len(kept.history().sessions()) == 1
    assert server.ask(f"SELECT name FROM {name}.maildrops") == "joe"


def test_nobody_listens(tmp_path: Path) -> None:
    """As when a configuration is wrong: it is said when somebody asks."""
    place = PostgresHistory(f"postgresql://x@127.0.0.1:{free_port()}/x")
    with closing(place), pytest.raises(HistoryError, match="PostgreSQL"):
        place.octets()


def test_the_password_is_not_told(server: PostgresServer, schema: str) -> None:
    place = PostgresHistory(server.dsn, password="s3cret", schema=schema)
    with closing(place), pytest.raises(HistoryError) as caught:
        place.octets()
    assert "s3cret" not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_text_that_no_database_takes_costs_no_record(kept: Kept) -> None:
    writer = kept.writer()
    writer.put(LoginRefused(time.time(), "jo\0e \ud800 é 🙂", JOE, "USER", "failed"))
    writer.put(record([A]))
    writer.close()
    assert writer.lost == 0
    (refused,) = kept.history().refusals()
    assert refused.account == "jo\ufffde ? é 🙂"


def test_a_database_that_knows_the_cases_of_ascii_only(kept: Kept) -> None:
    assert kept.server is not None
    kept.server.execute("CREATE DATABASE ascii TEMPLATE template0 LOCALE 'C'")
    dsn = f"{kept.server.dsn.removesuffix('/postgres')}/ascii"
    asyncio.run(steps_of.upgrade(dsn, schema=kept.schema))
    place = kept.place(dsn=dsn)
    writer = HistoryWriter(place)
    envelope = Envelope(protocol="ESMTP", sender="Äpfel@example.com", peer="192.0.2.1")
    writer.deliveries.delivered(envelope, "MÜLLER@example.org", 10, A)
    writer.close()
    with History(place) as history:
        assert len(history.deliveries(search="ÄPFEL")) == 1
        assert len(history.deliveries(recipient="müller@example.org")) == 1


@pytest.mark.peer
def test_behind_pgbouncer(kept: Kept) -> None:
    """It gives each transaction another connection."""
    assert kept.server is not None
    with pgbouncer(kept.server) as port:
        dsn = f"postgresql://{USER}:x@127.0.0.1:{port}/postgres?sslmode=disable"
        places = [kept.place(node, dsn=dsn + "&statement_cache_size=0") for node in "ab"]

        writers = [HistoryWriter(place, days=10.0) for place in places]
        begin = time.time()
        for number in range(20):
            writer = writers[number % 2]
            writer.put(
                record([f"{n}" for n in range(number + 1)], opened=begin + number, sent=(1,))
            )
            assert writer.flush(30)
        for writer in writers:
            writer.close()
            assert writer.lost == 0
        with History(places[0]) as history:
            assert len(history.sessions()) == 20
            assert len(history.listings("joe")) == 20


# What it costs the database


def test_polls_change_a_row_in_its_page(kept: Kept) -> None:
    """No index is written for a poll that finds nothing new."""
    writer = kept.writer()
    begin = time.time()
    for number in range(400):
        writer.put_session(record([A], account=f"u{number}", opened=begin))
    for turn in range(20):
        assert writer.flush(30)
        for number in range(turn, 400, 20):
            writer.put_session(record([A], account=f"u{number}", opened=begin + 1))
    writer.close()
    counted = (
        f"SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables"
        f" WHERE schemaname = '{kept.schema}' AND relname = 'history_sessions'"
    )
    wait_until(lambda: kept.ask(counted).startswith("400|"))
    changed, in_place = map(int, kept.ask(counted).split("|"))
    assert in_place >= changed * 0.9


def batch(writer: HistoryWriter, begin: float) -> None:
    """Polls, sessions that found something new, deliveries and refusals, all in one transaction."""
    for number in range(40):
        writer.put_session(record([A], account=f"u{number}", opened=begin))
        ids = [A, f"{begin}"]
        writer.put(record(ids, account=f"v{number}", opened=begin, sent=(1,)))
        writer.put(LoginRefused(begin, f"w{number}", JOE, "USER", "failed"))
        envelope = Envelope(protocol="ESMTP", sender="ann@example.com", peer="192.0.2.1")
        writer.deliveries.delivered(envelope, f"v{number}@example.org", 10, f"{begin}")
    assert writer.flush(60)


@pytest.mark.asyncio
async def test_a_batch_takes_so_many_round_trips_however_large_it_is(kept: Kept) -> None:
    assert kept.server is not None
    begin = time.time()
    async with Relay(kept.server.port) as relay:
        user = f"{USER}:{quote(PASSWORD, safe='')}"
        dsn = f"postgresql://{user}@localhost:{relay.port}/postgres?sslmode=disable"
        writer = HistoryWriter(kept.place(dsn=dsn))

        same = Listing([A], [100])

        def polls(number: int) -> None:
            for each in range(number):
                poll = record([], account=f"u{each}", opened=begin)
                poll.listing = same
                writer.put_session(poll)
            assert writer.flush(60)

        taken = []
        for number in (150, 150, 1, 150):
            relay.trips = 0
            await asyncio.to_thread(polls, number)
            taken.append(relay.trips)

        def fetched(turn: int) -> None:
            for each in range(150):
                at = begin + turn
                writer.put(record([A, f"{turn}"], account=f"u{each}", opened=at, sent=(1,)))
            assert writer.flush(60)

        for turn in range(3):
            relay.trips = 0
            await asyncio.to_thread(fetched, turn)
            taken.append(relay.trips)
        for turn in range(3, 6):
            relay.trips = 0
            await asyncio.to_thread(batch, writer, begin + turn)
            taken.append(relay.trips)
        await asyncio.to_thread(writer.close)
    assert writer.lost == 0
    assert taken[2:4] == [7, 7]  # begin, lock, known?, add, counts, end, commit
    assert taken[6] == 9  # newest and earlier listings are asked for; listings, sessions added
    assert taken[-1] <= 15


def test_no_statement_of_a_batch_reads_a_whole_table(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the plans that PostgreSQL makes when there is much, whether it knows that or not."""
    kept.ask(
        """
        INSERT INTO {sessions} (number, session, account, maildrop, address, tls, mechanism,
            greeting, since, until, times, ended, commands, retrieved, deleted, octets, messages,
            listing, node)
        SELECT n, 's' || n, 'u' || n % 5000, 'u' || n % 5000, '10.0.0.' || n % 200, 1, 'USER', '',
            n, n, 1, 'QUIT', '{{}}', 0, 0, 0, 1, n, 'a' FROM generate_series(1, 80000) AS n;
        INSERT INTO {listings} (number, maildrop, at, session, digest, messages, octets, whole)
        SELECT n, 'u' || n % 5000, n, 's' || n, sha256(n::text::bytea), 1, 1, 'WHOLE'
        FROM generate_series(1, 80000) AS n;
        INSERT INTO {refusals} (number, since, until, times, account, address, mechanism, reason)
        SELECT n, n, n, 1, 'root', '10.0.0.' || n % 200, 'USER', 'failed'
        FROM generate_series(1, 20000) AS n;
        INSERT INTO {deliveries} (number, at, outcome, recipient, sender, octets, unique_id, peer,
            protocol, tls, queue_id, reason)
        SELECT n, n, 'delivered', '', '', 1, 'm' || n, '', '', '', '', ''
        FROM generate_series(1, 30000) AS n;
        UPDATE {state} SET sessions = 80000, listings = 80000, refusals = 20000,
            deliveries = 30000, octets = 1000000000
        """.replace("WHOLE", f"\\x{packed([(A, 1)]).hex()}")
    )
    asked: dict[str, tuple[Any, ...]] = {}
    tables = history_postgres._PostgresTables

    def noted(method: Any) -> Any:
        def wrapped(self: Tables, statement: str, *values: Any) -> Any:
            asked.setdefault(statement, values)
            return method(self, statement, *values)

        return wrapped

    for name in ("rows", "run"):
        monkeypatch.setattr(tables, name, noted(getattr(tables, name)))
    writer = kept.writer(max_octets=900_000_000)
    for turn in range(2):
        batch(writer, time.time() + turn)
    writer.close()
    assert writer.lost == 0
    assert len(asked) >= 16
    place = kept.place()
    for analyzed in (False, True):
        if analyzed:
            for table in TABLES:
                kept.ask(f"ANALYZE {{{table}}}")
        for statement, values in asked.items():
            [(plan,)] = place.rows(f"EXPLAIN (FORMAT JSON) {statement}", values)
            found = set(re.findall(r'"Seq Scan",[^}]*?"Relation Name": "(\w+)"', plan, re.DOTALL))
            # Refusals have a bound of their own. What removes thousands of rows may read others.
            few = {"history_state", "history_refusals"}
            assert found <= few or "DELETE" in statement, statement
