"""The contract for stores finds what breaks it, and tells authors what they forgot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from restante.accounts.contract import Account
from restante.protocol.listing import Listing, UniqueId
from restante.stores.contract import MessageInfo, Source, Store
from restante.stores.memory import MemoryIncoming, MemoryMaildrop, MemoryStore
from restante.testing.contracts import MaildropStoreContract, StoreContract
from restante.testing.corpus import wire_form
from tests.stores.stores import ANNA, DictStore, drained


class NoSnapshot(MemoryStore):
    """What a session sees changes while it lasts."""

    def open(self, account: Account) -> MemoryMaildrop:
        opened = super().open(account)
        store, name = self, account.maildrop_name

        class Live(MemoryMaildrop):
            @property
            def listing(self) -> Listing:
                kept = store.messages(name)
                return Listing(list(kept), [len(wire_form(each)) for each in kept.values()])

            @listing.setter
            def listing(self, value: Listing) -> None: ...

        return Live(self, name, opened._hold, {})


class SeveralSessions(MemoryStore):
    def open(self, account: Account) -> MemoryMaildrop:
        opened = super().open(account)
        opened.close()
        return opened


class CountsStoredOctets(DictStore):
    def list(self, account: Account) -> Iterator[MessageInfo]:
        for own_id, message in self.mail.get(account.name, {}).items():
            yield MessageInfo(own_id, len(message))


class TakesOffTheLastLine(DictStore):
    def read(self, account: Account, unique_id: str) -> bytes:
        return drained(super().read(account, unique_id))[:-3]


class OneMaildropForAll(DictStore):
    def list(self, account: Account) -> Iterator[MessageInfo]:
        return super().list(ANNA)

    def read(self, account: Account, unique_id: str) -> Source:
        return super().read(ANNA, unique_id)


class ForgetsToDelete(DictStore):
    def delete(self, account: Account, unique_ids: Sequence[str]) -> None:
        super().delete(account, unique_ids[1:])


class UsesIdsAgain(DictStore):
    def put(self, name: str, message: bytes) -> None:
        self.count = len(self.mail.get(name, {}))
        super().put(name, message)


class NewestFirst(DictStore):
    def list(self, account: Account) -> Iterator[MessageInfo]:
        return iter([*super().list(account)][::-1])


class EndsWhenItVanishes(DictStore):
    """Half a message looks whole."""

    def read(self, account: Account, unique_id: str) -> Iterator[bytes]:
        message = self.mail[account.name][unique_id]
        for at in range(0, len(message), 1000):
            if unique_id not in self.mail[account.name]:
                return
            yield message[at : at + 1000]


class ShowsTooEarly(MemoryStore):
    def receive(self, account: Account) -> MemoryIncoming:
        self.add(account.maildrop_name, b"too early")
        return super().receive(account)


class NamesAnotherId(MemoryStore):
    def receive(self, account: Account) -> MemoryIncoming:
        class Other(MemoryIncoming):
            def commit(self) -> UniqueId:
                super().commit()
                return UniqueId("another")

        return Other(self, account)


class OfFullStores(StoreContract):
    keeps_mail = False


class OfThreeMethods(MaildropStoreContract):
    keeps_mail = False

    def put(self, store: DictStore, account: Account, message: bytes) -> None:
        store.put(account.name, message)


C = StoreContract


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (NoSnapshot, C.test_new_mail_waits_for_the_next_session),
        (NoSnapshot, C.test_the_listing_stays_when_messages_were_committed),
        (SeveralSessions, C.test_the_lease_excludes_others_until_it_is_given_back),
        (SeveralSessions, C.test_only_one_of_many_sessions_that_begin_together_gets_it),
        (CountsStoredOctets, C.test_the_total_is_that_of_all_messages),
        (TakesOffTheLastLine, C.test_messages_may_be_read_in_any_order),
        (OneMaildropForAll, C.test_maildrops_are_separate),
        (ForgetsToDelete, C.test_commit_removes_these_and_no_others),
        (UsesIdsAgain, C.test_unique_ids_stay_and_are_never_used_again),
        (NewestFirst, C.test_messages_are_listed_from_the_oldest_to_the_newest),
        (EndsWhenItVanishes, C.test_no_torn_message_when_its_session_removes_it),
        (ShowsTooEarly, C.test_a_delivered_message_is_seen_after_commit_only),
        (NamesAnotherId, C.test_the_unique_id_told_at_delivery_is_the_one_listed),
    ],
    ids=lambda each: each.__name__.removeprefix("test_"),
)
def test_a_store_that_breaks_the_contract_is_found(
    broken: type, test: Callable[..., None], tmp_path: Path
) -> None:
    suite = OfFullStores() if issubclass(broken, Store) else OfThreeMethods()
    suite.make_store = lambda folder: broken()  # type: ignore[method-assign]
    store = suite._make(tmp_path)
    try:
        with pytest.raises((AssertionError, pytest.fail.Exception)):
            test(suite, store)
    finally:
        store.finish()


def names_of(suite: type) -> set[str]:
    return {each for each in dir(suite) if each.startswith("test_") and getattr(suite, each)}


def test_a_store_without_delivery_says_so_in_one_line_and_those_tests_are_not_there() -> None:
    class Neither(StoreContract):
        takes_mail = False
        keeps_mail = False

    assert len(names_of(StoreContract)) >= 45
    dropped = names_of(StoreContract) - names_of(Neither)
    assert "test_an_aborted_message_is_never_seen" in dropped
    assert "test_what_was_removed_stays_removed" in dropped
    assert "test_a_vanished_message_is_said_to_be_gone" in dropped
    assert "test_commit_removes_these_and_no_others" not in dropped


def test_what_an_author_forgets_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotImplementedError, match="write make_store"):
        StoreContract()._make(tmp_path)

    class WithoutPut(MaildropStoreContract):
        def make_store(self, folder: Path) -> DictStore:
            return DictStore()

    store = WithoutPut()._make(tmp_path)
    with pytest.raises(NotImplementedError, match="write put"):
        store.put(b"x")
    store.finish()

    class Wrong(StoreContract):
        def make_store(self, folder: Path) -> DictStore:
            return DictStore()

    with pytest.raises(TypeError, match="MaildropStoreContract"):
        Wrong()._make(tmp_path)
