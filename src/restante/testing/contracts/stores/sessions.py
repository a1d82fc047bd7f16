"""What a session sees of a maildrop and removes of it, whatever happens meanwhile."""

from __future__ import annotations

from itertools import islice

import pytest

from restante.accounts.account import Account
from restante.protocol.listing import valid_unique_id
from restante.stores.contract import (
    LeaseLost,
    Maildrop,
    MaildropStore,
    MessageGone,
    Store,
    StoreError,
)
from restante.testing.contracts.stores.needs import needs
from restante.testing.contracts.stores.reading import LARGE
from restante.testing.contracts.under_test import ANNA, BEN, Reading, StoreUnderTest
from restante.testing.corpus import NASTY, wire_form

ODD_NAMES = [
    "../anna",
    "a/b",
    "..",
    "a\0b",
    "a\nb",
    "x" * 300,
    "Ünïcode",
    "anna ",
    " anna",
    "%",
    "*",
]


class SessionTests:
    """Of a session from its beginning to QUIT."""

    def test_it_is_a_store(self, store: StoreUnderTest) -> None:
        assert isinstance(store.given, Store | MaildropStore)
        maildrop = store.open()
        assert isinstance(maildrop, Maildrop)
        store.close(maildrop)

    def test_an_account_without_mail_has_an_empty_maildrop(self, store: StoreUnderTest) -> None:
        maildrop = store.open()
        assert len(maildrop.listing) == 0
        assert maildrop.listing.total == 0
        store.commit(maildrop)
        store.close(maildrop)

    def test_messages_are_listed_from_the_oldest_to_the_newest(self, store: StoreUnderTest) -> None:
        texts = [b"message %d\r\n" % number for number in range(1, 13)]
        store.put_all(*texts)
        maildrop = store.open()
        assert [store.read(maildrop, number) for number in range(1, 13)] == texts
        store.close(maildrop)

    def test_new_mail_waits_for_the_next_session(self, store: StoreUnderTest) -> None:
        store.put(b"one\n")
        maildrop = store.open()
        before = list(maildrop.listing.unique_ids)
        store.put(b"two\n")
        assert len(maildrop.listing) == 1
        assert list(maildrop.listing.unique_ids) == before
        store.close(maildrop)
        after = store.unique_ids()
        assert after[:1] == before
        assert len(after) == 2

    @needs("remove")
    def test_numbers_do_not_shift_when_a_message_vanishes(self, store: StoreUnderTest) -> None:
        """RFC 1939 §5: message-numbers stand for the session."""
        store.put_all(b"one\n", b"two\n", b"three\n")
        maildrop = store.open()
        before = list(maildrop.listing.unique_ids)
        store.put(b"four\n")
        store.remove(1)
        assert list(maildrop.listing.unique_ids) == before
        assert wire_form(store.read(maildrop, 3)) == b"three\r\n"
        assert wire_form(store.read(maildrop, 2)) == b"two\r\n"
        store.close(maildrop)
        after = store.open()
        assert list(after.listing.unique_ids)[:2] == before[1:]
        assert wire_form(store.read(after, 3)) == b"four\r\n"
        store.close(after)

    def test_the_listing_stays_when_messages_were_committed(self, store: StoreUnderTest) -> None:
        store.put_all(b"one\n", b"two\n")
        maildrop = store.open()
        before = list(maildrop.listing.unique_ids), list(maildrop.listing.octets)
        store.commit(maildrop, 1)
        assert (list(maildrop.listing.unique_ids), list(maildrop.listing.octets)) == before
        store.close(maildrop)

    def test_many_messages(self, store: StoreUnderTest) -> None:
        store.put_all(*(b"message %d\r\n" % number for number in range(400)))
        maildrop = store.open()
        assert len(maildrop.listing) == len(set(maildrop.listing.unique_ids)) == 400
        assert maildrop.listing.total == sum(len(b"message %d\r\n" % n) for n in range(400))
        assert store.read(maildrop, 400) == b"message 399\r\n"
        store.commit(maildrop, *range(1, 401))
        store.close(maildrop)
        assert store.unique_ids() == []

    # Deletion

    def test_nothing_is_removed_without_commit(self, store: StoreUnderTest) -> None:
        """RFC 1939 §6: a session that ends otherwise removes nothing."""
        store.put(b"one\n")
        before = store.unique_ids()
        maildrop = store.open()
        store.read(maildrop, 1)
        store.close(maildrop)
        assert store.unique_ids() == before

    def test_commit_of_nothing_removes_nothing(self, store: StoreUnderTest) -> None:
        store.put(b"one\n")
        store.session_that_removes()
        assert len(store.unique_ids()) == 1

    def test_commit_removes_these_and_no_others(self, store: StoreUnderTest) -> None:
        for number in range(6):
            store.put(b"message %d\r\n" % number)
        maildrop = store.open()
        ids = list(maildrop.listing.unique_ids)
        store.put(b"late\r\n")
        store.commit(maildrop, 2, 5, 6)
        store.close(maildrop)
        after = store.open()
        assert list(after.listing.unique_ids)[:3] == [ids[0], ids[2], ids[3]]
        assert [store.read(after, number) for number in range(1, 5)] == [
            b"message 0\r\n",
            b"message 2\r\n",
            b"message 3\r\n",
            b"late\r\n",
        ]
        assert len(after.listing) == 4
        store.close(after)

    def test_committed_twice_is_removed_once(self, store: StoreUnderTest) -> None:
        store.put_all(b"one\n", b"two\n")
        maildrop = store.open()
        last = list(maildrop.listing.unique_ids)[1]
        store.commit(maildrop, 1)
        store.commit(maildrop, 1)
        store.close(maildrop)
        assert store.unique_ids() == [last]

    @needs("remove")
    def test_a_message_gone_already_counts_as_removed(self, store: StoreUnderTest) -> None:
        store.put_all(b"one\n", b"two\n")
        maildrop = store.open()
        store.remove(1)
        store.commit(maildrop, 1, 2)
        store.commit(maildrop, 1, 2)
        store.close(maildrop)
        assert store.unique_ids() == []

    @needs("remove")
    def test_a_vanished_message_is_said_to_be_gone(self, store: StoreUnderTest) -> None:
        store.put_all(b"one\n", b"two\n")
        maildrop = store.open()
        store.remove(1)
        with pytest.raises(MessageGone):
            store.read(maildrop, 1)
        assert wire_form(store.read(maildrop, 2)) == b"two\r\n"
        store.close(maildrop)
        assert len(store.unique_ids()) == 1

    def test_nothing_is_removed_after_close(self, store: StoreUnderTest) -> None:
        store.put(b"one\n")
        maildrop = store.open()
        store.close(maildrop)
        assert maildrop.lease.lost
        with pytest.raises(LeaseLost):
            store.commit(maildrop, 1)
        assert len(store.unique_ids()) == 1

    # Unique-ids

    def test_unique_ids_stay_and_are_never_used_again(self, store: StoreUnderTest) -> None:
        """RFC 1939 §7, with messages that are the same text."""
        seen: set[str] = set()
        for number in range(5):
            store.put(b"the same text\n")
            store.put(b"the same text\n")
            ids = store.unique_ids()
            assert ids == store.unique_ids()
            assert len(set(ids)) == len(ids) == number + 2
            new = set(ids) - seen
            assert len(new) == 2
            seen |= new
            store.session_that_removes(len(ids))

    def test_unique_ids_are_such_as_the_rfc_allows(self, store: StoreUnderTest) -> None:
        """RFC 1939 §7: 1 to 70 characters from 0x21 to 0x7E."""
        for message in islice(NASTY.values(), 10):
            store.put(message)
        assert all(valid_unique_id(each) for each in store.unique_ids())

    # Maildrops

    def test_maildrops_are_separate(self, store: StoreUnderTest) -> None:
        store.put(b"for anna\n", ANNA)
        store.put(b"for ben\n", BEN)
        maildrop = store.open(BEN)
        assert len(maildrop.listing) == 1
        assert wire_form(store.read(maildrop, 1)) == b"for ben\r\n"
        store.commit(maildrop, 1)
        store.close(maildrop)
        assert len(store.unique_ids(ANNA)) == 1
        assert store.unique_ids(BEN) == []

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_an_odd_name_is_a_maildrop_of_its_own_or_none(
        self, store: StoreUnderTest, name: str
    ) -> None:
        """A store may refuse it, but never open another maildrop."""
        store.put(b"for anna\n", ANNA)
        try:
            maildrop = store.open(Account(name))
        except StoreError:
            return
        assert len(maildrop.listing) == 0
        store.close(maildrop)
        assert len(store.unique_ids(ANNA)) == 1

    # Mail that comes in meanwhile

    def test_mail_comes_in_while_a_session_reads_and_removes(self, store: StoreUnderTest) -> None:
        store.put(b"first\n")
        store.put(LARGE)
        maildrop = store.open()
        reading = Reading(store, store.content(maildrop, 2).source)
        read = reading.next()
        for _ in range(5):
            store.put(b"more\n")
        assert wire_form(store.read(maildrop, 1)) == b"first\r\n"
        store.commit(maildrop, 1)
        for _ in range(5):
            store.put(b"more\n")
        assert read + reading.rest() == LARGE
        store.close(maildrop)
        ids = store.unique_ids()
        assert len(ids) == len(set(ids)) == 11
