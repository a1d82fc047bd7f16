"""Three-method stores: what goes wrong in them, and what is remembered of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from io import BytesIO
from typing import Any

import pytest

from restante.accounts.contract import Account
from restante.calls import Caller
from restante.protocol.listing import MessageNumber
from restante.stores.contract import (
    CommitFailed,
    MaildropInUse,
    MaildropStore,
    MessageGone,
    MessageInfo,
    Store,
    StoreError,
)
from restante.stores.memory import MemoryStore
from restante.stores.simple import MOST_UNREADABLE, SimpleMaildrops, as_store
from restante.threads import WorkerThreads
from tests.stores.stores import ANNA, BEN, AsyncDictStore, DictStore, drained

ONE, TWO = MessageNumber(1), MessageNumber(2)


class Trouble(Exception):
    pass


def simple(store: MaildropStore, **settings: int) -> SimpleMaildrops:
    caller = Caller(WorkerThreads("store", 0, 2, idle_seconds=0.01), blocking=store.blocking)
    return SimpleMaildrops(store, caller, **settings)


def test_all_of_a_blocking_stores_work_is_done_on_threads() -> None:
    threads: set[str] = set()

    class Noting(DictStore):
        def read(self, account: Account, unique_id: str) -> Iterator[bytes]:
            threads.add(threading.current_thread().name)
            yield self.mail[account.name][unique_id]

        def list(self, account: Account) -> Iterator[MessageInfo]:
            threads.add(threading.current_thread().name)
            return super().list(account)

    store = Noting()
    store.put("anna", b"x\n")

    async def session() -> None:
        maildrop = await simple(store).open(ANNA)
        maildrop.close()

    asyncio.run(session())
    assert threads == {"restante-store"}


def test_octets_are_counted_once_and_remembered_within_bounds() -> None:
    store = DictStore()
    for _ in range(5):
        store.put("anna", b"x\n")

    async def sessions() -> None:
        adapter = simple(store, remembered=5)
        for _ in range(3):
            (await adapter.open(ANNA)).close()
        assert store.reads == 5
        store.put("ben", b"x\n")
        (await adapter.open(BEN)).close()
        assert len(adapter._facts) == 5
        (await adapter.open(ANNA)).close()
        assert store.reads > 6

    asyncio.run(sessions())


def test_octets_the_store_knows_are_believed() -> None:
    class Knowing(DictStore):
        def list(self, account: Account) -> Iterator[MessageInfo]:
            yield MessageInfo("a", 7)
            yield MessageInfo("b", 2**40)

    async def session() -> None:
        store = Knowing()
        maildrop = await simple(store).open(ANNA)
        assert list(maildrop.listing.octets) == [7, 2**40]
        assert store.reads == 0
        maildrop.close()

    asyncio.run(session())


def test_u2_u3_foreign_and_double_ids_are_mapped_and_mapped_back() -> None:
    asked: list[object] = []
    own_ids = ["grüße", "two words", "x" * 300, "twin", "twin"]

    class Foreign(MaildropStore):
        def list(self, account: Account) -> list[MessageInfo]:
            return [MessageInfo(own_id) for own_id in own_ids]

        def read(self, account: Account, unique_id: str) -> BytesIO:
            asked.append(unique_id)
            return BytesIO(b"x\n")

        def delete(self, account: Account, unique_ids: Sequence[str]) -> None:
            asked.append(unique_ids)

    async def session() -> None:
        maildrop = await simple(Foreign()).open(ANNA)
        assert len(set(maildrop.listing.unique_ids)) == 5
        asked.clear()
        for number in range(1, 6):
            await maildrop.fetch(MessageNumber(number))  # type: ignore[misc]
        assert asked == own_ids
        asked.clear()
        await maildrop.commit([MessageNumber(n) for n in (5, 4, 1)])  # type: ignore[misc]
        assert asked == [["twin", "grüße"]]
        maildrop.close()

    asyncio.run(session())


def test_what_list_raises_comes_through_and_leaves_no_lease() -> None:
    class Failing(DictStore):
        broken = True

        def list(self, account: Account) -> Iterator[MessageInfo]:
            if self.broken:
                raise Trouble
            return super().list(account)

    async def session() -> None:
        store = Failing()
        store.put("anna", b"x\n")
        adapter = simple(store)
        with pytest.raises(Trouble):
            await adapter.open(ANNA)
        store.broken = False
        (await adapter.open(ANNA)).close()

    asyncio.run(session())


def test_a_cancelled_open_leaves_no_lease() -> None:
    class Slow(DictStore):
        slow = True

        async def list(self, account: Account) -> list[MessageInfo]:  # type: ignore[override]
            while self.slow:
                await asyncio.sleep(0.01)
            return []

    async def session() -> None:
        store = Slow()
        adapter = simple(store)
        opening = asyncio.create_task(adapter.open(ANNA))
        await asyncio.sleep(0.02)
        with pytest.raises(MaildropInUse):
            await adapter.open(ANNA)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        store.slow = False
        (await adapter.open(ANNA)).close()

    asyncio.run(session())


def test_two_adapters_of_one_store_share_its_leases() -> None:
    async def session() -> None:
        store = DictStore()
        maildrop = await simple(store).open(ANNA)
        with pytest.raises(MaildropInUse):
            await simple(store).open(ANNA)
        (await simple(DictStore()).open(ANNA)).close()
        maildrop.close()

    asyncio.run(session())


def test_d4_a_message_that_goes_while_the_maildrop_is_opened_is_left_out() -> None:
    class Racing(DictStore):
        def read(self, account: Account, unique_id: str) -> Any:
            if unique_id == "letter 1":
                raise MessageGone(unique_id)
            return self.blocks() if unique_id == "letter 2" else b"x\n"

        def blocks(self) -> Iterator[bytes]:
            raise MessageGone("gone")
            yield b""

    async def session() -> None:
        store = Racing()
        for _ in range(3):
            store.put("anna", b"x\n")
        maildrop = await simple(store).open(ANNA)
        assert list(maildrop.listing.octets) == [3]
        assert (await maildrop.fetch(ONE)).source == b"x\n"  # type: ignore[misc]
        maildrop.close()

    asyncio.run(session())


class HalfDeleting(DictStore):
    error: Exception = Trouble("secret text")
    list_fails = False

    def list(self, account: Account) -> Iterator[MessageInfo]:
        if self.list_fails:
            raise Trouble
        return super().list(account)

    def delete(self, account: Account, unique_ids: Sequence[str]) -> None:
        super().delete(account, unique_ids[:1])
        raise self.error


@pytest.mark.parametrize(
    ("error", "list_fails", "remaining", "temporary"),
    [
        (Trouble("x"), False, 1, True),
        (Trouble("x"), True, 2, True),
        (StoreError("x", temporary=False), False, 1, False),
        (CommitFailed("x", 17), False, 17, True),
    ],
)
def test_d3_failing_to_delete_tells_what_remains(
    error: Exception, list_fails: bool, remaining: int, temporary: bool
) -> None:
    async def session() -> None:
        store = HalfDeleting()
        store.error = error
        for _ in range(3):
            store.put("anna", b"x\n")
        maildrop = await simple(store).open(ANNA)
        store.list_fails = list_fails
        with pytest.raises(CommitFailed) as caught:
            await maildrop.commit([ONE, TWO])  # type: ignore[misc]
        assert caught.value.remaining == remaining
        assert caught.value.temporary == temporary
        assert caught.value is error or caught.value.__cause__ is error
        maildrop.close()

    asyncio.run(session())


class Given(MaildropStore):
    """One message for each of `infos`, as `given` has it by its id."""

    blocking = False

    def __init__(self, infos: list[Any], given: Any) -> None:
        self.infos = infos
        self.given = given
        self.asked: list[Any] = []

    def list(self, account: Account) -> list[Any]:
        return self.infos

    def read(self, account: Account, unique_id: Any) -> Any:
        self.asked.append(unique_id)
        return self.given(unique_id)

    def delete(self, account: Account, unique_ids: Sequence[Any]) -> None:
        self.asked += unique_ids


MESSAGE = b"Subject: x\n\nbody\n"
OCTETS = len(MESSAGE) + 3


@pytest.mark.parametrize(
    "kind", [bytes, bytearray, memoryview, BytesIO, lambda m: [m], lambda m: iter([m])]
)
def test_a_message_may_be_given_in_any_form_of_bytes(kind: Any) -> None:
    async def session() -> None:
        maildrop = await simple(Given([MessageInfo("a")], lambda _: kind(MESSAGE))).open(ANNA)
        assert list(maildrop.listing.octets) == [OCTETS]
        content = await maildrop.fetch(ONE)  # type: ignore[misc]
        assert drained(content.source) == MESSAGE
        maildrop.close()

    asyncio.run(session())


@pytest.mark.parametrize("given", [None, "text", 5, {"a": b"x"}.__getitem__])
def test_what_is_no_message_is_named(given: Any) -> None:
    async def session() -> None:
        maildrop = await simple(Given([MessageInfo("a")], lambda _: given)).open(ANNA)
        assert len(maildrop.listing) == 1
        with pytest.raises(StoreError, match=rf"Given.read\('a'\) gives {type(given).__name__}"):
            await maildrop.fetch(ONE)  # type: ignore[misc]
        maildrop.close()

    asyncio.run(session())


def test_an_int_may_be_an_id_and_is_given_back_as_one() -> None:
    async def session() -> None:
        store = Given([MessageInfo(7), MessageInfo(8)], lambda _: MESSAGE)
        maildrop = await simple(store).open(ANNA)
        assert list(maildrop.listing.unique_ids) == ["7", "8"]
        await maildrop.commit([ONE])  # type: ignore[misc]
        assert store.asked == [7, 8, 7]
        maildrop.close()

    asyncio.run(session())


@pytest.mark.parametrize(
    ("info", "text"),
    [
        (MessageInfo(None), "unique_id=None; a str or an int"),  # type: ignore[arg-type]
        (MessageInfo(b"a"), "unique_id=b'a'; a str or an int"),  # type: ignore[arg-type]
        (MessageInfo(True), "unique_id=True; a str or an int"),
        ("abc", "list\\(\\) gives 'abc'; a MessageInfo"),
    ],
)
def test_what_is_no_id_is_refused_by_name(info: Any, text: str) -> None:
    async def session() -> None:
        with pytest.raises(StoreError, match=text):
            await simple(Given([info], lambda _: MESSAGE)).open(ANNA)

    asyncio.run(session())


@pytest.mark.parametrize("octets", [-5, 20.0, "20", True])
def test_octets_that_are_none_are_told_once_and_counted(
    octets: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def session() -> None:
        store = simple(Given([MessageInfo("letter", octets)], lambda _: MESSAGE))
        for _ in range(2):
            maildrop = await store.open(ANNA)
            assert list(maildrop.listing.octets) == [OCTETS]
            maildrop.close()

    asyncio.run(session())
    [record] = caplog.records
    assert f"'letter' of 'anna': list() says octets={octets!r}" in record.getMessage()


@pytest.mark.parametrize("kind", [bytes, BytesIO, lambda m: iter([m])])
def test_octets_that_are_wrong_are_told_once_it_is_known_and_right_from_then_on(
    kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """RETR sends what is there; a message that comes as bytes has the right facts at once."""

    async def session() -> None:
        store = simple(Given([MessageInfo("letter", 5)], lambda _: kind(MESSAGE)))
        maildrop = await store.open(ANNA)
        assert list(maildrop.listing.octets) == [5]
        for again in (False, True):
            content = await maildrop.fetch(ONE)  # type: ignore[misc]
            assert drained(content.source) == MESSAGE
            if again or kind is bytes:
                assert content.facts.octets == OCTETS
        maildrop.close()
        maildrop = await store.open(ANNA)
        assert list(maildrop.listing.octets) == [OCTETS]
        maildrop.close()

    asyncio.run(session())
    [record] = caplog.records
    assert f"'letter' of 'anna' was listed with octets=5 and has {OCTETS}" in record.getMessage()


def test_an_async_message_is_measured_while_it_is_read() -> None:
    class Knowing(AsyncDictStore):
        async def list(self, account: Account) -> list[MessageInfo]:
            return [MessageInfo(own_id, 5) for own_id, _ in await super().list(account)]

    async def session() -> None:
        store = Knowing()
        store.plain.put("anna", MESSAGE)
        adapter = simple(store)
        maildrop = await adapter.open(ANNA)
        content = await maildrop.fetch(ONE)  # type: ignore[misc]
        assert content.facts is None
        assert isinstance(content.source, AsyncIterator)
        assert b"".join([block async for block in content.source]) == MESSAGE
        maildrop.close()
        maildrop = await adapter.open(ANNA)
        assert list(maildrop.listing.octets) == [OCTETS]
        maildrop.close()

    asyncio.run(session())


@pytest.mark.parametrize(
    "error", [StoreError("not now"), KeyError("x"), Trouble("x"), SystemExit()]
)
def test_one_message_that_cannot_be_read_hides_no_other(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """Only MessageGone means gone; a KeyError is the application's own mistake."""

    def read(unique_id: str) -> bytes:
        if unique_id == "b":
            raise error
        return MESSAGE

    async def session() -> None:
        store = simple(Given([MessageInfo(each) for each in "abc"], read))
        maildrop = await store.open(ANNA)
        assert list(maildrop.listing.unique_ids) == ["a", "b", "c"]
        assert list(maildrop.listing.octets) == [OCTETS, 0, OCTETS]
        with pytest.raises(StoreError) as caught:
            await maildrop.fetch(TWO)  # type: ignore[misc]
        assert caught.value.temporary
        assert (await maildrop.fetch(ONE)).source == MESSAGE  # type: ignore[misc]
        maildrop.close()

    asyncio.run(session())
    assert "message 'b' of 'anna' can't be read" in caplog.text


def test_where_nothing_can_be_read_the_maildrop_is_not_opened() -> None:
    def read(unique_id: str) -> bytes:
        raise Trouble

    async def session() -> None:
        infos = [MessageInfo(f"{number}") for number in range(1000)]
        store = Given(infos, read)
        with pytest.raises(StoreError):
            await simple(store).open(ANNA)
        assert len(store.asked) == MOST_UNREADABLE + 1

    asyncio.run(session())


class TestAsStore:
    caller = Caller(WorkerThreads("store", 0, 1), blocking=True)

    def test_a_store_is_taken_as_it_is(self) -> None:
        store = MemoryStore()
        assert as_store(store, self.caller) is store

    def test_a_three_method_store_is_made_one_even_if_it_has_an_open_of_its_own(self) -> None:
        class WithOpen(DictStore):
            def open(self, path: str) -> None:
                raise AssertionError

        store = as_store(WithOpen(), self.caller)
        assert isinstance(store, SimpleMaildrops)

    @pytest.mark.parametrize(
        ("given", "text"),
        [
            (DictStore, "store is the class DictStore, .*did you mean DictStore"),
            (dict, "store is the class dict, and a store is an instance of a class that derives"),
            ({}, "store is {} of type dict, and a store is"),
            (None, "store is None of type NoneType, and a store is"),
        ],
    )
    def test_what_is_none_is_named(self, given: object, text: str) -> None:
        with pytest.raises(TypeError, match=text):
            as_store(given, self.caller)

    def test_a_store_that_takes_no_mail_says_so(self) -> None:
        store: Store = as_store(DictStore(), self.caller)
        with pytest.raises(StoreError, match="takes no mail"):
            store.receive(ANNA)
