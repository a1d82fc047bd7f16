"""The store in PostgreSQL, with its steps in random orders: what the model promises, it keeps.

Three nodes are three stores in one event loop. Each waits before everything that it sends to the
database or to the place of its bodies. A schedule says, at random, which of these requests is done
next; which node crashes, or hears nothing though its request is done, now or later; which lease
expires; what becomes old. In between the tables are held against what clients were told.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Any, BinaryIO

import pytest

from restante.accounts.contract import Account
from restante.protocol.listing import MessageNumber
from restante.stores import PostgresStore
from restante.stores.blobs.contract import BlobMissing, Blobs
from restante.stores.contract import MaildropInUse, MessageGone, StoreError
from restante.stores.postgres import statements
from restante.stores.postgres.bodies import body_of
from tests.needs import only_cpython
from tests.postgres_server import PostgresServer

pytestmark = only_cpython

asyncpg: Any = pytest.importorskip("asyncpg", reason="only CPython has asyncpg here")

SCHEDULES = int(os.environ.get("RESTANTE_SCHEDULES", "8"))
STEPS = 150
NODES = 3
NAMES = ("ann", "bob")
BODIES = [f"Subject: {n}\r\n\r\nThe body of message {n}.\r\n".encode() for n in range(3)]
TABLES = ("maildrops", "messages", "bodies", "blocks")
DAY = 86_400.0
HANGS = 60.0
"""After so many seconds something is wrong with the test itself."""


class Broken(AssertionError):
    """A promise is broken."""


class SharedBlobs(Blobs):
    """What all nodes see. It keeps what it was given, at once."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    async def put(self, key: str, source: BinaryIO, octets: int) -> None:
        source.seek(0)
        self.kept.setdefault(key, source.read(octets))

    async def read(
        self, key: str, start: int = 0, end: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        if key not in self.kept:
            raise BlobMissing(key)
        yield self.kept[key][start:end]

    async def remove(self, key: str) -> None:
        self.kept.pop(key, None)


@dataclass(eq=False)
class Request:
    """What a node has sent, and not heard of.

    what: the statement's name, or what is done with a blob. do: do it. body, unique_ids: what it
    is about. is_lasting: it may be done when the node has crashed.
    """

    what: str
    do: Callable[[], Awaitable[Any]]
    answer: asyncio.Future[Any]
    arguments: tuple[Any, ...]
    is_lasting: bool

    @property
    def unique_ids(self) -> set[str]:
        at = {"COMMIT": 2, "DELIVER": 2}.get(self.what)
        return set() if at is None else set(self.arguments[at])


class Wire:
    """A connection of a node: what is sent waits until the schedule lets it through."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._held: Any = None

    async def fetch(self, text: str, *arguments: Any) -> Any:
        house, held = self._node.house, self._held
        name = house.names.get(text, text)

        async def do() -> Any:
            return await (held or house.pool).fetch(text, *arguments)

        return await self._node.ask(name, do, arguments, is_lasting=held is None)

    async def fetchval(self, text: str, *arguments: Any) -> Any:
        [[value]] = await self.fetch(text, *arguments)
        return value

    async def execute(self, text: str) -> Any:
        return await self.fetch(text)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[None, None]:
        """What is done in it is taken back when the node crashes before its end."""
        async with self._node.house.pool.acquire() as held, held.transaction():
            self._held = held
            try:
                yield
            finally:
                self._held = None

    async def close(self) -> None:
        """Nothing is open."""

    def terminate(self) -> None:
        """Nothing is open."""


class WiredBlobs(Blobs):
    """The place for bodies, as a node has it."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def put(self, key: str, source: BinaryIO, octets: int) -> None:
        source.seek(0)
        kept = source.read(octets)

        async def put() -> None:
            self._node.house.blobs.kept.setdefault(key, kept)

        await self._node.ask("put", put, (key,))

    async def read(
        self, key: str, start: int = 0, end: int | None = None
    ) -> AsyncGenerator[bytes, None]:
        async for block in self._node.house.blobs.read(key, start, end):
            yield block

    async def remove(self, key: str) -> None:
        await self._node.ask("remove", lambda: self._node.house.blobs.remove(key), (key,))


class Node:
    """A node: a store, and what it is at."""

    def __init__(self, house: House, number: int) -> None:
        self.house = house
        self.number = number
        self.waiting: list[Request] = []
        self.task: asyncio.Task[None] | None = None
        self.doing = ""
        self.start()

    def start(self) -> None:
        """Start, or start again after a crash."""
        self.waiting.clear()
        self.task = None
        self.store = self.house.store(WiredBlobs(self))

        async def connect() -> Wire:
            return Wire(self)

        self.store.database._connections._connect = connect

    def begin(self, doing: str, work: Coroutine[None, None, None]) -> None:
        self.doing = doing
        self.task = asyncio.ensure_future(work)
        self.task.add_done_callback(lambda _: self.house.moved.set())

    async def ask(
        self,
        what: str,
        do: Callable[[], Awaitable[Any]],
        arguments: tuple[Any, ...],
        *,
        is_lasting: bool = True,
    ) -> Any:
        answer = asyncio.get_running_loop().create_future()
        request = Request(what, do, answer, arguments, is_lasting)
        self.waiting.append(request)
        self.house.moved.set()
        try:
            return await answer
        except asyncio.CancelledError:
            # A crash; or one of a group has failed, and the others are given up.
            if request in self.waiting:
                self.waiting.remove(request)
                if is_lasting:
                    self.house.late.append(request)
            raise

    @property
    def is_idle(self) -> bool:
        return self.task is None or self.task.done()


@dataclass
class Ledger:
    """What clients know: unique-ids, each with its maildrop and its octets.

    tried: of each delivery that was begun. accepted: answered 250. asked: a client has asked to
    remove them. gone: that was answered +OK.
    """

    octets: dict[str, bytes] = field(default_factory=dict)
    maildrop: dict[str, str] = field(default_factory=dict)
    tried: list[set[str]] = field(default_factory=list)
    accepted: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)


class House:
    """Three nodes, one database, one place for bodies, and a schedule."""

    def __init__(self, server: PostgresServer, pool: Any, schema: str, seed: int) -> None:
        self._server, self.pool, self._schema = server, pool, schema
        self.random = Random(seed)
        self.moved = asyncio.Event()
        self.blobs = SharedBlobs()
        self.ledger = Ledger()
        self.late: list[Request] = []
        self.trace: list[str] = []
        self.holders: dict[int, int | None] = {}
        self.operator = self.store(self.blobs)
        self.nodes = [Node(self, number) for number in range(1, NODES + 1)]
        self.names = {
            self.operator.database.text(text): name
            for name, text in vars(statements).items()
            if name.isupper() and isinstance(text, str)
        }

    def store(self, bodies: Blobs) -> PostgresStore:
        return PostgresStore(self._server.dsn, schema=self._schema, bodies=bodies, timeout=600)

    async def sql(self, text: str, *arguments: Any) -> Any:
        return await self.pool.fetch(text.replace("{schema}", self._schema), *arguments)

    # What nodes do

    async def session(self, node: Node, random: Random, name: str) -> None:
        """A client reads, marks some or none, and says QUIT."""
        ledger, gone = self.ledger, set(self.ledger.gone)
        expected = self.there(name)
        try:
            maildrop = await node.store.open(Account(name))
        except MaildropInUse:
            return
        seen = list(maildrop.listing.unique_ids)
        if back := set(seen) & gone & ledger.gone:
            raise Broken(f"listed, though its deletion was answered +OK: {back}")
        if missing := expected & self.there(name) - set(seen):
            raise Broken(f"not listed, though it was answered 250: {missing}")
        if seen and random.random() < 0.5:
            number = MessageNumber(random.randrange(len(seen)) + 1)
            try:
                content = await maildrop.fetch(number)
                if content.source != ledger.octets[seen[number - 1]]:
                    raise Broken("RETR gives another message")
            except MessageGone:
                if seen[number - 1] not in ledger.asked:
                    raise Broken("RETR finds no message that nobody has removed") from None
        if random.random() < 0.3:
            await maildrop._hold.renew()
        numbers = [MessageNumber(n + 1) for n in range(len(seen)) if random.random() < 0.6]
        marked = {seen[number - 1] for number in numbers}
        ledger.asked |= marked
        try:
            await maildrop.commit(numbers)
            ledger.gone |= marked
        except StoreError:
            await maildrop.close()
            raise
        await maildrop.close()

    def there(self, name: str) -> set[str]:
        """What a session must find."""
        ledger = self.ledger
        return {each for each in ledger.accepted - ledger.asked if ledger.maildrop[each] == name}

    async def delivery(self, node: Node, random: Random) -> None:
        """One message for some recipients; or, as when mail is moved, several messages."""
        ledger = self.ledger
        several = random.random() < 0.3
        octets = random.choice(BODIES)
        incomings = []
        for name in random.sample(NAMES, random.randint(1, len(NAMES))):
            octets = random.choice(BODIES) if several else octets
            incoming = node.store.receive(Account(name))
            incoming.write(octets)
            incomings.append(incoming)
            ledger.octets[incoming.unique_id] = octets
            ledger.maildrop[incoming.unique_id] = name
        unique_ids: set[str] = {each.unique_id for each in incomings}
        ledger.tried.append(unique_ids)
        try:
            for incoming in incomings:
                await incoming.prepare()
            results = await node.store.commit(incomings, True)
        finally:
            for incoming in incomings:
                incoming.abort()
        if unique_ids != set(results):
            raise Broken(f"not delivered: {results}")
        ledger.accepted |= unique_ids

    async def collector(self, node: Node) -> None:
        await node.store.collect()

    # The schedule

    async def run(self, steps: int) -> None:
        """A schedule of so many steps; then all that is left is tidied up."""
        try:
            for _ in range(steps):
                await self.step()
                await self.settle()
                await self.check()
            await self.tidy_up()
        except AssertionError as error:
            raise Broken("\n".join([str(error), *self.trace])) from error
        finally:
            for node in self.nodes:
                await self.crash(node)
            await self.operator.aclose()

    async def settle(self) -> None:
        """Wait until each node is idle, or waits for an answer."""
        async with asyncio.timeout(HANGS):
            while not all(node.is_idle or node.waiting for node in self.nodes):
                await self.moved.wait()
                self.moved.clear()
        for node in self.nodes:
            if node.task is not None and node.task.done():
                task, node.task = node.task, None
                if error := task.exception():
                    if not isinstance(error, StoreError):
                        raise error
                    self.note(node, f"{node.doing} fails: {type(error).__name__}")
                else:
                    self.note(node, f"{node.doing} ends")

    def note(self, node: Node | None, what: str) -> None:
        number = len(self.trace) + 1
        self.trace.append(f"{number:4}. {f'node {node.number}' if node else '':7} {what}")

    async def step(self) -> None:
        random = self.random
        waiting = [(node, each) for node in self.nodes for each in node.waiting]
        idle = [node for node in self.nodes if node.is_idle]
        roll = random.random()
        if idle and (roll < 0.3 or not waiting):
            self.begin(random.choice(idle))
        elif waiting and roll < 0.82:
            await self.let_through(*random.choice(waiting))
        elif waiting and roll < 0.86 and len({node for node, _ in waiting}) > 1:
            await self.let_through_together(waiting)
        elif waiting and roll < 0.9:
            await self.lose(*random.choice(waiting))
        elif self.late and roll < 0.94:
            await self.arrive(random.choice(self.late))
        elif roll < 0.96:
            node = random.choice(self.nodes)
            if not node.is_idle:
                self.note(node, f"crashes in {node.doing}")
                await self.crash(node)
        elif roll < 0.97:
            await self.undelete(random.choice(NAMES))
        else:
            await self.time_passes()

    def begin(self, node: Node) -> None:
        random = self.random
        own = Random(random.random())
        match random.choices(["session", "delivery", "collector"], [3, 4, 2])[0]:
            case "session":
                name = random.choice(NAMES)
                node.begin(f"session of {name}", self.session(node, own, name))
            case "delivery":
                node.begin("delivery", self.delivery(node, own))
            case _:
                node.begin("collector", self.collector(node))
        self.note(node, f"{node.doing} begins")

    async def let_through(self, node: Node, request: Request) -> None:
        self.note(node, request.what)
        node.waiting.remove(request)
        await self.do(request, self.look_at_leases)

    async def do(
        self, request: Request, then: Callable[[Request, Any], None] = lambda *_: None
    ) -> None:
        """Do it, and answer."""
        try:
            result = await request.do()
        except asyncpg.PostgresError as error:
            request.answer.set_exception(error)
        else:
            then(request, result)
            if not request.answer.done():  # given up meanwhile
                request.answer.set_result(result)

    def look_at_leases(self, request: Request, result: Any) -> None:
        """Whose lease it is, as the database goes from one statement to the next."""
        holders = self.holders
        match request.what, result:
            case "OPEN", [row] if row["lease"] is not None:
                if row["lease"] <= (holders.get(-row["id"]) or 0):
                    raise Broken("a lease has the number of an earlier one")
                holders[row["id"]] = holders[-row["id"]] = row["lease"]
            case "RELEASE", [_]:
                self.is_own(request, "ended")
                holders[request.arguments[0]] = None
            case (("COMMIT" | "RENEW"), [_]):
                self.is_own(request, "used")

    def is_own(self, request: Request, what: str) -> None:
        maildrop, lease = request.arguments[:2]
        if self.holders.get(maildrop) != lease:
            raise Broken(f"{request.what}: lease {lease} was {what}, which isn't the session's")

    async def let_through_together(self, waiting: list[tuple[Node, Request]]) -> None:
        """Requests of several nodes at the same time: what then happens is the database's."""
        chosen = dict(waiting)
        self.note(None, "together: " + ", ".join(each.what for each in chosen.values()))
        for node, request in chosen.items():
            node.waiting.remove(request)
        await asyncio.gather(*map(self.do, chosen.values()))
        # Which of them was first nobody knows: what the tables say is taken for it.
        for row in await self.sql("SELECT id, lease, holder FROM {schema}.maildrops"):
            self.holders[row["id"]] = row["lease"] if row["holder"] else None
            self.holders[-row["id"]] = row["lease"]

    async def lose(self, node: Node, request: Request) -> None:
        """The node hears nothing; its request is done now, later, or never."""
        node.waiting.remove(request)
        how = self.random.choice(["done", "late", "never done"])
        self.note(node, f"{request.what}: hears nothing, {how}")
        if how == "done":
            with suppress(asyncpg.PostgresError):
                self.look_at_leases(request, await request.do())
        elif how == "late" and request.is_lasting:
            self.late.append(request)
        lost = StoreError if request.what in {"put", "remove"} else ConnectionResetError
        request.answer.set_exception(lost("the connection is lost"))

    async def arrive(self, request: Request) -> None:
        self.late.remove(request)
        if self.random.random() < 0.3:
            self.note(None, f"lost: {request.what}")
            return
        self.note(None, f"late: {request.what}")
        try:
            self.look_at_leases(request, await request.do())
        except asyncpg.PostgresError as error:
            self.note(None, f"refused: {type(error).__name__}")

    async def crash(self, node: Node) -> None:
        """What it has sent may be done later all the same."""
        if node.task is not None and not node.task.done():
            node.task.cancel()
            await asyncio.gather(node.task, return_exceptions=True)
        await node.store.aclose()
        node.start()

    def on_their_way(self) -> list[Request]:
        return [*self.late, *(each for node in self.nodes for each in node.waiting)]

    async def undelete(self, name: str) -> None:
        count = await self.operator.undelete(Account(name), 7 * DAY)
        self.note(None, f"undelete for {name}: {count}")
        rows = await self.sql("SELECT unique_id FROM {schema}.messages WHERE removed IS NULL")
        back = {row["unique_id"] for row in rows}
        # A QUIT that is on its way may remove them again.
        again = {each for request in self.on_their_way() for each in request.unique_ids}
        self.ledger.gone -= back
        self.ledger.asked -= back - again

    async def time_passes(self) -> None:
        what = self.random.choice(["expires", "used", "removed", "release"])
        self.note(None, f"time passes: {what}")
        if what == "expires":
            await self.sql("UPDATE {schema}.maildrops SET expires = now() WHERE holder IS NOT NULL")
        elif what == "used":
            # A put ends within the grace.
            puts = [
                body_of(each.arguments[0]) for each in self.on_their_way() if each.what == "put"
            ]
            await self.sql(
                "UPDATE {schema}.bodies SET used = used - interval '2 hours' WHERE id <> ALL($1)",
                puts,
            )
        elif what == "removed":
            # A row outlives the requests that could insert it again.
            unique_ids = [each for request in self.on_their_way() for each in request.unique_ids]
            await self.sql(
                "UPDATE {schema}.messages SET removed = removed - interval '8 days'"
                " WHERE removed IS NOT NULL AND unique_id <> ALL($1)",
                unique_ids,
            )
        else:
            name = self.random.choice(NAMES)
            if await self.operator.release(name):
                [row] = await self.sql("SELECT id FROM {schema}.maildrops WHERE name = $1", name)
                self.holders[row["id"]] = None

    # The promises

    async def check(self) -> None:
        """Hold the tables against what clients were told."""
        ledger = self.ledger
        rows = await self.sql(
            "SELECT d.name, m.unique_id, m.removed IS NOT NULL AS removed, b.id, b.digest,"
            " b.state, b.encoding FROM {schema}.messages m JOIN {schema}.maildrops d"
            " ON d.id = m.maildrop LEFT JOIN {schema}.bodies b ON b.id = m.body"
        )
        there = {row["unique_id"]: row for row in rows}
        for unique_id, row in there.items():
            octets = ledger.octets[unique_id]
            if row["name"] != ledger.maildrop[unique_id]:
                raise Broken("a message is in another maildrop")
            if row["state"] != "stored" or row["digest"] != sha256(octets).digest():
                raise Broken(f"a message has the body {dict(row)}")
            kept = [each for key, each in self.blobs.kept.items() if body_of(key) == row["id"]]
            if kept != [octets]:
                raise Broken(f"a message's blob is missing: body {row['id']}")
            if row["removed"] and unique_id not in ledger.asked:
                raise Broken("a message was removed that nobody asked to be")
            if not row["removed"] and unique_id in ledger.gone:
                raise Broken("what was answered +OK for its deletion is there again")
        if lost := ledger.accepted - ledger.asked - set(there):
            raise Broken(f"what was answered 250 is not there: {lost}")
        for unique_ids in ledger.tried:
            found = unique_ids & set(there)
            if found and found | ledger.asked < unique_ids:
                raise Broken("a delivery is there for some of its recipients")
        rows = await self.sql(
            "SELECT d.name, d.messages, d.octets, count(m.maildrop) AS real_messages,"
            " coalesce(sum(m.octets), 0) AS real_octets FROM {schema}.maildrops d"
            " LEFT JOIN {schema}.messages m ON m.maildrop = d.id AND m.removed IS NULL"
            " GROUP BY d.id"
        )
        for row in rows:
            if (row["messages"], row["octets"]) != (row["real_messages"], row["real_octets"]):
                raise Broken(f"usage is wrong: {dict(row)}")

    async def tidy_up(self) -> None:
        """From every state one can be reached in which nothing is left over."""
        self.note(None, "all nodes crash; all that is late arrives; time passes")
        for node in self.nodes:
            await self.crash(node)
        while self.late:
            await self.arrive(self.late[0])
            await self.check()
        await self.sql("UPDATE {schema}.messages SET removed = removed - interval '8 days'")
        await self.sql("UPDATE {schema}.bodies SET used = used - interval '2 hours'")
        await self.sql("UPDATE {schema}.maildrops SET expires = now()")
        await self.operator.collect()
        await self.check()
        rows = await self.sql(
            "SELECT b.id, count(m.body) AS messages FROM {schema}.bodies b"
            " LEFT JOIN {schema}.messages m ON m.body = b.id GROUP BY b.id"
        )
        if unused := [row["id"] for row in rows if not row["messages"]]:
            raise Broken(f"never tidied up: bodies {unused} have no message")
        bodies = {row["id"] for row in rows}
        if left := [key for key in self.blobs.kept if body_of(key) not in bodies]:
            raise Broken(f"never tidied up: blobs {left} have no row")
        for name in NAMES:
            maildrop = await self.operator.open(Account(name))
            if not self.there(name) <= set(maildrop.listing.unique_ids):
                raise Broken("what was answered 250 is not listed")
            for number, unique_id in enumerate(maildrop.listing.unique_ids, 1):
                content = await maildrop.fetch(MessageNumber(number))
                assert content.source == self.ledger.octets[unique_id]
            await maildrop.close()


async def run(server: PostgresServer, schema: str, seeds: range) -> str:
    """What happened in all of these schedules."""
    traces = []
    async with asyncpg.create_pool(server.dsn, min_size=1, max_size=2 * NODES + 1) as pool:
        for seed in seeds:
            tables = ", ".join(f"{schema}.{each}" for each in TABLES)
            await pool.execute(f"TRUNCATE {tables} RESTART IDENTITY")
            house = House(server, pool, schema, seed)
            try:
                await house.run(STEPS)
            except Broken as broken:
                raise Broken(f"seed {seed}: {broken}") from broken
            traces += house.trace
    return "\n".join(traces)


@pytest.mark.slow
def test_no_promise_is_broken_by_random_orders(server: PostgresServer, schema: str) -> None:
    first = int(os.environ.get("RESTANTE_FIRST_SCHEDULE", "0"))
    happened = asyncio.run(run(server, schema, range(first, first + SCHEDULES)))
    for what in ("session of ann ends", "delivery ends", "collector ends", "crashes in", "late: "):
        assert what in happened


BREAKS = {
    "number_raised_by_open": ("OPEN", "lease = lease + 1", "lease = lease"),
    "messages_looked_for": ("DOOM", "NOT EXISTS", "EXISTS"),
    "forgetting_marks_bodies": ("FORGET", "unused = TRUE", "unused = unused"),
}
"""For some guards of the model: the statement that has it, and how it is taken away."""


@pytest.mark.slow
@pytest.mark.parametrize("guard", BREAKS)
def test_a_store_without_a_guard_is_found_out(
    server: PostgresServer, schema: str, monkeypatch: pytest.MonkeyPatch, guard: str
) -> None:
    name, text, instead = BREAKS[guard]
    statement: str = getattr(statements, name)
    assert text in statement
    monkeypatch.setattr(statements, name, statement.replace(text, instead))
    with pytest.raises(Broken):
        asyncio.run(run(server, schema, range(60)))


class StuckBlobs(SharedBlobs):
    """Nothing can be removed."""

    async def remove(self, key: str) -> None:
        raise StoreError("read-only")


def test_a_blob_that_cannot_be_removed_is_an_error_of_the_store(
    server: PostgresServer, schema: str
) -> None:
    async def collect() -> None:
        store = PostgresStore(server.dsn, schema=schema, bodies=StuckBlobs())
        try:
            incoming = store.receive(Account("ann"))
            incoming.write(BODIES[0])
            await incoming.prepare()
            incoming.abort()
            await store.database.rows(
                "UPDATE {schema}.bodies SET used = used - interval '2 hours' RETURNING id"
            )
            await store.collect()
        finally:
            await store.aclose()

    with pytest.raises(StoreError, match="read-only"):
        asyncio.run(collect())
