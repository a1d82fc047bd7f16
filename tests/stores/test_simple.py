"""Three-method stores: what goes wrong in them, and what is remembered of them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import Any

import pytest

from restante.accounts.contract import Account
from restante.protocol.listing import MessageNumber
from restante.stores.contract import (
    CommitFailed,
    MaildropInUse,
    MaildropStore,
    MessageGone,
    MessageInfo,
    StoreError,
)
from restante.stores.simple import SimpleMaildrops
from tests.stores.backends import ANNA, BEN, DictStore

ONE, TWO = MessageNumber(1), MessageNumber(2)


class Trouble(Exception):
    pass


def test_the_injected_call_is_used_for_all_of_the_stores_work() -> None:
    threads: set[str] = set()

    class Noting(DictStore):
        def read(self, account: Account, unique_id: str) -> Iterator[bytes]:
            threads.add(threading.current_thread().name)
            yield self.mail[account.name][unique_id]

        def list(self, account: Account) -> Iterator[MessageInfo]:
            threads.add(threading.current_thread().name)
            return super().list(account)

    async def call(function: Callable[..., Any], *args: Any) -> Any:
        result: list[Any] = []
        thread = threading.Thread(target=lambda: result.append(function(*args)), name="storage")
        thread.start()
        await asyncio.to_thread(thread.join)
        return result[0]

    store = Noting()
    store.put("anna", b"x\n")

    async def session() -> None:
        maildrop = await SimpleMaildrops(store, call).open(ANNA)
        maildrop.close()

    asyncio.run(session())
    assert threads == {"storage"}


def test_octets_are_counted_once_and_remembered_within_bounds() -> None:
    store = DictStore()
    for _ in range(5):
        store.put("anna", b"x\n")

    async def sessions() -> None:
        adapter = SimpleMaildrops(store, remembered=5)
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
        maildrop = await SimpleMaildrops(store).open(ANNA)
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
        maildrop = await SimpleMaildrops(Foreign()).open(ANNA)
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


@pytest.mark.parametrize("place", ["list", "read", "generator"])
def test_what_the_store_raises_comes_through_and_leaves_no_lease(place: str) -> None:
    class Failing(DictStore):
        broken = True

        def list(self, account: Account) -> Iterator[MessageInfo]:
            if self.broken and place == "list":
                raise Trouble
            return super().list(account)

        def read(self, account: Account, unique_id: str) -> Any:
            if self.broken and place == "read":
                raise Trouble
            return self.blocks() if self.broken else b"x\n"

        def blocks(self) -> Iterator[bytes]:
            yield b"x"
            raise Trouble

    async def session() -> None:
        store = Failing()
        store.put("anna", b"x\n")
        adapter = SimpleMaildrops(store)
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
        adapter = SimpleMaildrops(store)
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
        maildrop = await SimpleMaildrops(store).open(ANNA)
        with pytest.raises(MaildropInUse):
            await SimpleMaildrops(store).open(ANNA)
        (await SimpleMaildrops(DictStore()).open(ANNA)).close()
        maildrop.close()

    asyncio.run(session())


def test_d4_a_message_that_goes_while_the_maildrop_is_opened_is_left_out() -> None:
    class Racing(DictStore):
        def read(self, account: Account, unique_id: str) -> Any:
            if unique_id == "letter 1":
                raise KeyError(unique_id)
            return self.blocks() if unique_id == "letter 2" else b"x\n"

        def blocks(self) -> Iterator[bytes]:
            raise MessageGone("gone")
            yield b""

    async def session() -> None:
        store = Racing()
        for _ in range(3):
            store.put("anna", b"x\n")
        maildrop = await SimpleMaildrops(store).open(ANNA)
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
        maildrop = await SimpleMaildrops(store).open(ANNA)
        store.list_fails = list_fails
        with pytest.raises(CommitFailed) as caught:
            await maildrop.commit([ONE, TWO])  # type: ignore[misc]
        assert caught.value.remaining == remaining
        assert caught.value.temporary == temporary
        assert caught.value is error or caught.value.__cause__ is error
        maildrop.close()

    asyncio.run(session())
