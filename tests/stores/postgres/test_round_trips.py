"""What a session costs the database, counted on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from random import Random
from typing import cast

import pytest
import pytest_asyncio

from restante.accounts.account import Account
from restante.accounts.database import DatabaseAccounts
from restante.accounts.rights import Rights
from restante.protocol.claims import PasswordClaim
from restante.protocol.listing import MessageNumber
from restante.stores import Content, PostgresStore
from restante.stores.drafts import BLOCK
from restante.threads import WorkerThreads
from tests.needs import only_cpython
from tests.postgres_server import PASSWORD, USER, PostgresServer
from tests.server.backends import backend_over, peer_at

pytestmark = [only_cpython, pytest.mark.asyncio]

ANNA, BEN = Account("anna"), Account("ben")
ONE = MessageNumber(1)
_NO_LINE_END = bytes.maketrans(b"\r\n", b"xy")


class Relay:
    """Stands before the server, and counts the requests: octets that follow an answer."""

    def __init__(self, port: int) -> None:
        self.trips = 0
        self.port = 0
        self._to = port
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Relay:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *given: object) -> None:
        self._server.close()
        await asyncio.gather(*self._tasks)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("localhost", self._to)
        answered = True

        async def up() -> None:
            nonlocal answered
            while data := await reader.read(65536):
                self.trips += answered
                answered = False
                up_writer.write(data)
            up_writer.close()

        async def down() -> None:
            nonlocal answered
            while data := await up_reader.read(65536):
                answered = True
                writer.write(data)
            writer.close()

        for work in (up(), down()):
            task = asyncio.create_task(work)
            self._tasks.add(task)

    def since(self) -> int:
        """Round trips since this was asked before."""
        trips, self.trips = self.trips, 0
        return trips


@pytest_asyncio.fixture
async def relay(server: PostgresServer) -> AsyncIterator[Relay]:
    async with Relay(server.port) as made:
        yield made


@pytest_asyncio.fixture
async def store(relay: Relay, schema: str) -> AsyncIterator[PostgresStore]:
    dsn = f"postgresql://{USER}@127.0.0.1:{relay.port}/postgres?sslmode=disable"
    made = PostgresStore(dsn, password=PASSWORD, schema=schema, max_connections=1)
    yield made
    await made.aclose()


async def deliver(store: PostgresStore, message: bytes, account: Account = ANNA) -> None:
    incoming = store.receive(account)
    incoming.write(message)
    await incoming.commit()


async def session(store: PostgresStore, *, removes: bool = False) -> None:
    """All that a session may do, so that all statements are prepared once."""
    maildrop = await store.open(ANNA)
    if len(maildrop.listing):
        await maildrop.fetch(ONE)
        if removes:
            await maildrop.commit([ONE])
    await maildrop.close()


@pytest.mark.parametrize("messages", [2, 500])
async def test_a_session(store: PostgresStore, relay: Relay, messages: int) -> None:
    for number in range(messages):
        await deliver(store, b"%d\r\n" % number)
    await session(store, removes=True)
    relay.since()

    maildrop = await store.open(ANNA)
    assert relay.since() == 1, "lease and listing"
    await maildrop.close()
    assert relay.since() == 1, "a poll costs two"

    maildrop = await store.open(ANNA)
    relay.since()
    await maildrop.fetch(ONE)
    assert relay.since() == 1, "a small message, its body included"
    await maildrop.lease.renew()  # type: ignore[misc]
    assert relay.since() <= 2
    await maildrop.commit([MessageNumber(n) for n in range(1, messages)])
    assert relay.since() == 1, "QUIT is one transaction, whatever it removes"
    await maildrop.close()
    await maildrop.close()
    assert relay.since() == 1


async def test_a_poll_with_accounts_in_the_same_database(
    store: PostgresStore, relay: Relay
) -> None:
    dsn = f"postgresql://{USER}@127.0.0.1:{relay.port}/postgres?sslmode=disable"
    accounts = DatabaseAccounts(
        dsn, password=PASSWORD, schema=store.database.schema, max_connections=1
    )
    await accounts.change(
        accounts.tables.add(
            "anna",
            None,
            credentials=("{PLAIN}geheim",),
            display_name="",
            email="",
            maildrop=None,
            keep_secret=False,
            rights=Rights(),
        )
    )
    await deliver(store, b"one\r\n")
    await session(store)
    threads = WorkerThreads("test", 0, 2)
    threads.start()
    backend = backend_over(accounts, threads, store, upgrade=False)
    claim, peer = PasswordClaim("anna", "geheim", "USER"), peer_at("192.0.2.7")
    await accounts.lookup("nobody")  # this statement is prepared by now, as the others are
    try:
        for trips, why in ((3, "account, maildrop, lease"), (2, "the account is unchanged")):
            relay.since()
            maildrop = await backend.log_in(claim, peer)
            assert maildrop is not None
            assert len(maildrop.listing) == 1
            await maildrop.close()  # type: ignore[misc]
            assert relay.since() == trips, why
    finally:
        await backend.close()
        await asyncio.to_thread(threads.stop)


async def test_a_large_message(store: PostgresStore, relay: Relay) -> None:
    numbers = Random(5)  # what can't be compressed lies as it is
    lines = [numbers.randbytes(70).translate(_NO_LINE_END) for _ in range(5 * BLOCK // 2 // 72)]
    message = b"Subject: large\r\n\r\n" + b"\r\n".join(lines) + b"\r\n"
    await deliver(store, message)
    maildrop = await store.open(ANNA)
    assert await whole(await maildrop.fetch(ONE)) == message
    relay.since()

    content = await maildrop.fetch(ONE)
    assert relay.since() == 1
    assert await whole(content) == message
    assert relay.since() == 2, "its second block, and its third"

    top = await maildrop.fetch(ONE, 3)
    blocks = cast("AsyncGenerator[bytes, None]", top.source)
    first = await anext(blocks)
    assert relay.since() == 1
    assert len(first) < 1000, "TOP asks for little"
    second = await anext(blocks)
    assert relay.since() == 1, "more is asked for if more is wanted"
    assert message.startswith(first + second)
    await blocks.aclose()


async def whole(content: Content) -> bytes:
    return b"".join([block async for block in cast("AsyncGenerator[bytes, None]", content.source)])


async def test_a_delivery(store: PostgresStore, relay: Relay) -> None:
    await deliver(store, b"one\r\n")
    relay.since()
    await deliver(store, b"two\r\n")
    assert relay.since() == 4, "look for the body, a row for it, its octets, the message"
    await deliver(store, b"two\r\n")
    assert relay.since() == 2, "of a body that is there"
    incomings = [store.receive(Account(f"user{number}")) for number in range(50)]
    for incoming in incomings:
        incoming.write(b"two\r\n")
        await incoming.prepare()
    relay.since()
    await store.commit(incomings, together=True)
    assert relay.since() <= 4, "one transaction for all; these maildrops were new"
