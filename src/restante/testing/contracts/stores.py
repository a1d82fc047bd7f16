"""What every store of maildrops promises, whatever it keeps mail in."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest

from restante.accounts.account import Account, Quota
from restante.protocol.facts import measure
from restante.protocol.listing import valid_unique_id
from restante.protocol.stuffing import wire_blocks
from restante.stores.contract import (
    LeaseLost,
    Maildrop,
    MaildropInUse,
    MaildropStore,
    MessageGone,
    OverQuota,
    Store,
    StoreError,
    UniqueIdTaken,
)
from restante.testing.contracts.under_test import ANNA, BEN, Reading, Receiving, StoreUnderTest
from restante.testing.corpus import NASTY, wire_form

F = TypeVar("F", bound=Callable[..., object])

LARGE = b"Subject: large\r\n\r\n" + b"".join(b"line %d\r\n" % n for n in range(100_000))
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


def _needs(what: str) -> Callable[[F], F]:
    """For a test that only stores have which can do this."""

    def mark(test: F) -> F:
        test.needs = what  # type: ignore[attr-defined]
        return test

    return mark


class StoreContract:
    """Tests for a full store (`restante.Store`). Derive a class named `Test…`, write `make_store`.

    takes_mail: False for a store that has no `receive`. Tests of delivery then don't run, and
        `put` must be written.
    keeps_mail: False for a store that forgets its mail with its process. Otherwise
        `make_store` is called again with the same folder, and the mail must still be there.

    restores_mail: True for a store whose `restore` takes messages with their unique-ids.
    heeds_quotas: True for a store that has `usage` and `admit`, and heeds `Account.quota`.
    undeletes: True for a store that `undelete`s what was removed within the last minute, as
        `make_store` makes it.
    tells_leases: True for a store that has `leases` and `release`.

    Write `remove` too, and some more tests run: of messages that vanish behind a session's back.
    """

    takes_mail: ClassVar[bool] = True
    keeps_mail: ClassVar[bool] = True
    restores_mail: ClassVar[bool] = False
    heeds_quotas: ClassVar[bool] = False
    undeletes: ClassVar[bool] = False
    tells_leases: ClassVar[bool] = False

    # What an author writes

    def make_store(self, folder: Path) -> Store | MaildropStore:
        """The store under test, empty. folder: a new one, for whatever it keeps."""
        raise NotImplementedError("write make_store(self, folder): it gives the store")

    def put(self, store: Any, account: Account, message: bytes) -> Awaitable[None] | None:
        """Have a message in the account's maildrop, as it is; plain or async.

        By default it is delivered by the store's `receive`.
        """
        raise NotImplementedError("takes_mail is False: write put(self, store, account, message)")

    def remove(self, store: Any, account: Account, number: int) -> Awaitable[None] | None:
        """Remove the account's message at this place (1: the oldest), though a session has it."""

    def end(self, store: Any) -> Awaitable[None] | None:
        """Close a store when its test has ended; plain or async. By default nothing is done."""

    # How it works

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        can = {
            "takes_mail": cls.takes_mail,
            "keeps_mail": cls.keeps_mail,
            "restores_mail": cls.restores_mail,
            "heeds_quotas": cls.heeds_quotas,
            "undeletes": cls.undeletes,
            "tells_leases": cls.tells_leases,
            "remove": cls.remove is not StoreContract.remove,
        }
        for name in dir(cls):
            if not can.get(getattr(getattr(cls, name), "needs", ""), True):
                setattr(cls, name, None)  # which pytest doesn't collect

    def _make(self, folder: Path) -> StoreUnderTest:
        given = self.make_store(folder)
        if self.takes_mail and isinstance(given, MaildropStore):
            raise TypeError("a store of three methods is held to MaildropStoreContract")
        return StoreUnderTest(given, self._put, self.remove)

    def _put(self, store: StoreUnderTest, account: Account, message: bytes) -> object:
        if type(self).put is StoreContract.put and self.takes_mail:
            return store.deliver(message, account=account)
        return self.put(store.given, account, message)

    def _finish(self, store: StoreUnderTest) -> None:
        store.run(self.end(store.given))
        store.finish()

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[StoreUnderTest]:
        """The store under test."""
        folder = tmp_path / "store"
        folder.mkdir()
        made = self._make(folder)
        yield made
        self._finish(made)

    # A session's snapshot

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
        for text in texts:
            store.put(text)
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

    @_needs("remove")
    def test_numbers_do_not_shift_when_a_message_vanishes(self, store: StoreUnderTest) -> None:
        """RFC 1939 §5: message-numbers stand for the session."""
        for text in (b"one\n", b"two\n", b"three\n"):
            store.put(text)
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
        for text in (b"one\n", b"two\n"):
            store.put(text)
        maildrop = store.open()
        before = list(maildrop.listing.unique_ids), list(maildrop.listing.octets)
        store.commit(maildrop, 1)
        assert (list(maildrop.listing.unique_ids), list(maildrop.listing.octets)) == before
        store.close(maildrop)

    def test_a_thousand_messages(self, store: StoreUnderTest) -> None:
        for number in range(1000):
            store.put(b"message %d\r\n" % number)
        maildrop = store.open()
        assert len(maildrop.listing) == len(set(maildrop.listing.unique_ids)) == 1000
        assert maildrop.listing.total == sum(len(b"message %d\r\n" % n) for n in range(1000))
        assert store.read(maildrop, 1000) == b"message 999\r\n"
        store.close(maildrop)

    # Octets

    @pytest.mark.parametrize("name", NASTY)
    def test_a_message_comes_back_octet_for_octet(self, store: StoreUnderTest, name: str) -> None:
        """Size, content and facts of RETR, and what TOP needs; never less than was asked for."""
        message = NASTY[name]
        store.put(b"another\n")
        store.put(message)
        maildrop = store.open()
        wire = wire_form(message)
        assert maildrop.listing.octets[1] == len(wire)
        content = store.content(maildrop, 2)
        stored = store.drain(content)
        assert wire_form(stored) == wire
        assert content.facts is None or content.facts == measure([stored])
        for lines in (0, 1, 3, 10_000, 10**9):
            given = store.drain(store.content(maildrop, 2, lines))
            assert _top(given, lines) == _top(message, lines)
        store.close(maildrop)

    def test_the_total_is_that_of_all_messages(self, store: StoreUnderTest) -> None:
        for message in NASTY.values():
            store.put(message)
        maildrop = store.open()
        sizes = dict(zip(NASTY, maildrop.listing.octets, strict=True))
        assert sizes == {name: len(wire_form(message)) for name, message in NASTY.items()}
        assert maildrop.listing.total == sum(sizes.values())
        store.close(maildrop)

    def test_an_empty_message_is_one_empty_line(self, store: StoreUnderTest) -> None:
        """2 octets, in LIST, STAT and RETR alike: clients take 0 octets for a failure."""
        store.put(b"")
        maildrop = store.open()
        assert list(maildrop.listing.octets) == [2]
        content = store.content(maildrop, 1)
        assert content.facts is None or content.facts.octets == 2
        assert wire_form(store.drain(content)) == b"\r\n"
        store.close(maildrop)

    # Reading

    def test_a_message_is_the_same_each_time_it_is_read(self, store: StoreUnderTest) -> None:
        store.put(LARGE)
        maildrop = store.open()
        assert store.read(maildrop, 1) == store.read(maildrop, 1) == LARGE
        store.close(maildrop)

    def test_messages_may_be_read_in_any_order(self, store: StoreUnderTest) -> None:
        for number in range(1, 6):
            store.put(b"message %d\r\n" % number)
        maildrop = store.open()
        for number in (5, 1, 3, 3, 2, 4):
            assert store.read(maildrop, number) == b"message %d\r\n" % number
        store.close(maildrop)

    def test_two_messages_may_be_read_by_turns(self, store: StoreUnderTest) -> None:
        other = LARGE.replace(b"line", b"LINE")
        store.put(LARGE)
        store.put(other)
        maildrop = store.open()
        readings = [Reading(store, store.content(maildrop, n).source) for n in (1, 2)]
        read = [b"", b""]
        for _ in range(3):
            for at, reading in enumerate(readings):
                read[at] += reading.next()
        assert read[0] + readings[0].rest() == LARGE
        assert read[1] + readings[1].rest() == other
        store.close(maildrop)

    def test_a_message_that_is_read_by_halves_holds_nothing_up(self, store: StoreUnderTest) -> None:
        """As when a client leaves in the middle of RETR."""
        store.put(LARGE)
        maildrop = store.open()
        reading = Reading(store, store.content(maildrop, 1).source)
        reading.next()
        reading.close()
        assert store.read(maildrop, 1) == LARGE
        store.commit(maildrop, 1)
        store.close(maildrop)
        assert store.unique_ids() == []

    @_needs("remove")
    def test_no_torn_message_when_it_vanishes_while_it_is_read(self, store: StoreUnderTest) -> None:
        """The rest comes, or an error: the end of half a message would look like its end."""
        store.put(LARGE)
        maildrop = store.open()
        reading = Reading(store, store.content(maildrop, 1).source)
        begun = reading.next()
        store.remove(1)
        try:
            read = begun + reading.rest()
        except (StoreError, OSError):
            read = LARGE
        assert read == LARGE
        store.close(maildrop)

    def test_no_torn_message_when_its_session_removes_it(self, store: StoreUnderTest) -> None:
        store.put(LARGE)
        maildrop = store.open()
        reading = Reading(store, store.content(maildrop, 1).source)
        begun = reading.next()
        store.commit(maildrop, 1)
        try:
            read = begun + reading.rest()
        except (StoreError, OSError):
            read = LARGE
        assert read == LARGE
        store.close(maildrop)

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
        maildrop = store.open()
        store.commit(maildrop)
        store.close(maildrop)
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

    def test_commit_removes_all(self, store: StoreUnderTest) -> None:
        for number in range(300):
            store.put(b"message %d\n" % number)
        maildrop = store.open()
        store.commit(maildrop, *range(1, 301))
        store.close(maildrop)
        assert store.unique_ids() == []

    def test_committed_twice_is_removed_once(self, store: StoreUnderTest) -> None:
        for text in (b"one\n", b"two\n"):
            store.put(text)
        maildrop = store.open()
        last = list(maildrop.listing.unique_ids)[1]
        store.commit(maildrop, 1)
        store.commit(maildrop, 1)
        store.close(maildrop)
        assert store.unique_ids() == [last]

    @_needs("remove")
    def test_a_message_gone_already_counts_as_removed(self, store: StoreUnderTest) -> None:
        for text in (b"one\n", b"two\n"):
            store.put(text)
        maildrop = store.open()
        store.remove(1)
        store.commit(maildrop, 1, 2)
        store.commit(maildrop, 1, 2)
        store.close(maildrop)
        assert store.unique_ids() == []

    @_needs("remove")
    def test_a_vanished_message_is_said_to_be_gone(self, store: StoreUnderTest) -> None:
        for text in (b"one\n", b"two\n"):
            store.put(text)
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

    # Leases

    def test_the_lease_excludes_others_until_it_is_given_back(self, store: StoreUnderTest) -> None:
        """RFC 1939 §4: a session has exclusive access to its maildrop."""
        maildrop = store.open()
        for _ in range(2):
            with pytest.raises(MaildropInUse):
                store.open()
        store.close(maildrop)
        store.close(store.open())

    def test_the_lease_excludes_nobody_from_other_maildrops(self, store: StoreUnderTest) -> None:
        maildrop = store.open()
        store.close(store.open(BEN))
        store.close(maildrop)

    def test_close_may_be_repeated(self, store: StoreUnderTest) -> None:
        maildrop = store.open()
        store.close(maildrop)
        store.close(maildrop)
        again = store.open()
        store.close(maildrop)  # of a session that is over; another one has the lease
        with pytest.raises(MaildropInUse):
            store.open()
        store.close(again)

    def test_only_one_of_many_sessions_that_begin_together_gets_it(
        self, store: StoreUnderTest
    ) -> None:
        store.put(b"one\n")
        opened = store.at_once([store.opened() for _ in range(12)])
        holders = [each for each in opened if isinstance(each, Maildrop)]
        others = [each for each in opened if not isinstance(each, Maildrop)]
        assert len(holders) == 1
        assert [type(each) for each in others] == [MaildropInUse] * 11
        store.close(holders[0])
        store.close(store.open())

    def test_the_lease_says_what_it_is(self, store: StoreUnderTest) -> None:
        maildrop = store.open()
        lease = maildrop.lease
        assert isinstance(lease.holder, str)
        assert not lease.lost
        store.renew(maildrop)
        assert not lease.lost
        assert lease.expires is None or lease.expires > time.time()
        store.close(maildrop)

    def test_a_refused_session_leaves_the_holder_its_lease(self, store: StoreUnderTest) -> None:
        store.put(b"one\n")
        maildrop = store.open()
        with pytest.raises(MaildropInUse):
            store.open()
        assert not maildrop.lease.lost
        store.commit(maildrop, 1)
        store.close(maildrop)
        assert store.unique_ids() == []

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
            maildrop = store.open()
            store.commit(maildrop, len(ids))
            store.close(maildrop)

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

    @_needs("takes_mail")
    def test_mail_comes_in_by_several_at_once(self, store: StoreUnderTest) -> None:
        store.put(b"first\n")
        maildrop = store.open()
        told = store.at_once([store.deliver(b"more %d\r\n" % n) for n in range(40)])
        assert len(maildrop.listing) == 1
        store.commit(maildrop, 1)
        store.close(maildrop)
        after = store.open()
        assert sorted(after.listing.unique_ids) == sorted(map(str, told))
        found = {store.read(after, number) for number in range(1, 41)}
        assert found == {b"more %d\r\n" % number for number in range(40)}
        store.close(after)

    @_needs("takes_mail")
    def test_mail_for_several_maildrops_comes_in_at_once(self, store: StoreUnderTest) -> None:
        accounts = [Account(f"user{number}") for number in range(10)]
        store.at_once([store.deliver(b"x\n", account=each) for each in accounts for _ in range(2)])
        assert [len(store.unique_ids(each)) for each in accounts] == [2] * 10

    # Delivery

    @_needs("takes_mail")
    def test_the_unique_id_told_at_delivery_is_the_one_listed(self, store: StoreUnderTest) -> None:
        told = []
        for text in (b"one", b"two", b""):
            incoming = store.receive()
            incoming.write(text)
            told.append(incoming.commit())
        assert store.unique_ids() == told

    @_needs("takes_mail")
    def test_a_delivered_message_is_seen_after_commit_only(self, store: StoreUnderTest) -> None:
        incoming = store.receive()
        assert store.unique_ids() == []
        incoming.write(b"half a mess")
        assert store.unique_ids() == []
        incoming.write(b"age\r\n")
        incoming.prepare()
        assert store.unique_ids() == []
        incoming.commit()
        assert len(store.unique_ids()) == 1

    @_needs("takes_mail")
    def test_an_aborted_message_is_never_seen(self, store: StoreUnderTest) -> None:
        incoming = store.receive()
        incoming.write(b"half a mess")
        incoming.abort()
        incoming.abort()
        assert store.unique_ids() == []
        prepared = store.receive()
        prepared.write(b"all of it")
        prepared.prepare()
        prepared.abort()
        assert store.unique_ids() == []

    @_needs("takes_mail")
    def test_an_aborted_message_takes_nothing_more(self, store: StoreUnderTest) -> None:
        incoming = store.receive()
        incoming.abort()
        with pytest.raises(StoreError):
            incoming.write(b"more")
        with pytest.raises(StoreError):
            incoming.commit()
        assert store.unique_ids() == []

    @_needs("takes_mail")
    def test_abort_after_commit_is_harmless(self, store: StoreUnderTest) -> None:
        incoming = store.receive()
        incoming.write(b"one\r\n")
        incoming.commit()
        incoming.abort()
        assert len(store.unique_ids()) == 1

    @_needs("takes_mail")
    @pytest.mark.parametrize("size", [1, 7, 16_384])
    def test_blocks_may_end_anywhere(self, store: StoreUnderTest, size: int) -> None:
        """Between CR and LF too, and before a dot."""
        message = NASTY["mixed-line-ends"] + NASTY["dots-crlf"] + NASTY["lone-cr"] + b"end"
        incoming = store.receive()
        for at in range(0, len(message), size):
            incoming.write(message[at : at + size])
        incoming.commit()
        maildrop = store.open()
        assert list(maildrop.listing.octets) == [len(wire_form(message))]
        assert wire_form(store.read(maildrop, 1)) == wire_form(message)
        store.close(maildrop)

    @_needs("takes_mail")
    def test_all_copies_may_be_prepared_before_one_is_committed(
        self, store: StoreUnderTest
    ) -> None:
        """So that a full disk leaves nobody a copy, and the sender's second try doubles none."""
        both = [store.receive(ANNA), store.receive(BEN)]
        for incoming in both:
            incoming.write(b"for both\r\n")
        for incoming in both:
            incoming.prepare()
        assert store.unique_ids(ANNA) == store.unique_ids(BEN) == []
        for incoming in both:
            incoming.commit()
        assert len(store.unique_ids(ANNA)) == len(store.unique_ids(BEN)) == 1

    @_needs("takes_mail")
    def test_mail_reaches_the_maildrop_that_the_account_names(self, store: StoreUnderTest) -> None:
        anna = Account("anna", maildrop="office")
        store.run(store.deliver(b"for the office\r\n", account=anna))
        assert store.unique_ids(ANNA) == []
        assert len(store.unique_ids(anna)) == len(store.unique_ids(Account("office"))) == 1

    # Mail from another server

    @_needs("restores_mail")
    def test_a_restored_message_has_its_unique_id(self, store: StoreUnderTest) -> None:
        """Whatever RFC 1939 §7 allows: 1 to 70 characters from 0x21 to 0x7E."""
        ids = [
            *("1", "0000a1b54e2c9f01", "x" * 70, "~" * 70, "..", "../../etc/passwd", "%2F", "-rf"),
            *("1700000000.M1P1.host,S=12:2,S", "a,S=1", "A", "a", "!2,S", "\\", "'\"`$()"),
            "".join(map(chr, range(0x21, 0x5B))),
            "".join(map(chr, range(0x5B, 0x7F))),
        ]
        for number, unique_id in enumerate(ids):
            assert store.restore(b"message %d\r\n" % number, unique_id) == unique_id
        assert store.unique_ids() == ids
        store.put(b"new mail\r\n")
        maildrop = store.open()
        assert list(maildrop.listing.unique_ids)[:-1] == ids
        for number in range(len(ids)):
            assert store.read(maildrop, number + 1) == b"message %d\r\n" % number
        store.commit(maildrop, 2)
        store.close(maildrop)
        assert store.unique_ids()[:-1] == [ids[0], *ids[2:]]

    @_needs("restores_mail")
    @pytest.mark.parametrize("unique_id", ["", "x" * 71, "a b", "ä", "a\n", "\x7f"])
    def test_what_cannot_be_a_unique_id_is_refused(
        self, store: StoreUnderTest, unique_id: str
    ) -> None:
        with pytest.raises(StoreError):
            store.restore(b"x\r\n", unique_id)
        assert store.unique_ids() == []

    @_needs("restores_mail")
    def test_a_unique_id_stands_for_one_message(self, store: StoreUnderTest) -> None:
        store.restore(b"one\r\n", "first")
        store.put(b"two\r\n")
        taken = store.unique_ids()
        for unique_id in taken:
            with pytest.raises(UniqueIdTaken):
                store.restore(b"three\r\n", unique_id)
        assert store.unique_ids() == taken
        store.restore(b"one\r\n", "first", account=BEN)  # in another maildrop it is free
        assert store.unique_ids(BEN) == ["first"]

    @_needs("restores_mail")
    def test_what_was_removed_is_not_restored_by_accident(self, store: StoreUnderTest) -> None:
        store.restore(b"one\r\n", "first")
        maildrop = store.open()
        store.commit(maildrop, 1)
        store.close(maildrop)
        with pytest.raises(UniqueIdTaken):
            store.restore(b"one\r\n", "first")
        assert store.unique_ids() == []

    @_needs("restores_mail")
    def test_a_delivery_that_was_given_up_leaves_the_unique_id_free(
        self, store: StoreUnderTest
    ) -> None:
        incoming = Receiving(store, store.ask(store.store.restore, ANNA, "first"))
        incoming.write(b"half a mess")
        incoming.prepare()
        incoming.abort()
        assert store.restore(b"one\r\n", "first") == "first"

    @_needs("restores_mail")
    def test_restored_messages_have_their_times_and_their_order(
        self, store: StoreUnderTest
    ) -> None:
        store.restore(b"three\r\n", "c", arrived=1_700_000_000.25)
        store.restore(b"one\r\n", "a", arrived=1_500_000_000)
        store.restore(b"two\r\n", "b", arrived=1_500_000_000)  # some servers know seconds only
        store.put(b"new\r\n")
        maildrop = store.open()
        assert list(maildrop.listing.unique_ids)[:3] == ["a", "b", "c"]
        times = [store.call(maildrop, maildrop.arrived, number) for number in range(1, 5)]
        expected = [1_500_000_000, 1_500_000_000, 1_700_000_000.25]
        assert times[:3] == pytest.approx(expected, abs=0.001)
        assert abs(time.time() - times[3]) < 600
        store.close(maildrop)

    # Quotas

    @_needs("heeds_quotas")
    def test_usage_is_what_retr_would_send(self, store: StoreUnderTest) -> None:
        assert store.ask(store.store.usage, ANNA) == (0, 0)
        for message in NASTY.values():
            store.put(message)
        store.put(b"for ben\r\n", BEN)
        octets = sum(len(wire_form(message)) for message in NASTY.values())
        assert store.ask(store.store.usage, ANNA) == (len(NASTY), octets)
        maildrop = store.open()
        store.commit(maildrop, *range(2, len(NASTY) + 1))
        store.close(maildrop)
        rest = len(wire_form(next(iter(NASTY.values()))))
        assert store.ask(store.store.usage, ANNA) == (1, rest)

    @_needs("heeds_quotas")
    def test_a_full_maildrop_takes_nothing_until_there_is_room(self, store: StoreUnderTest) -> None:
        anna = Account("anna", quota=Quota(octets=30))
        for _ in range(3):
            store.run(store.deliver(b"12345678\r\n", account=anna))
        with pytest.raises(OverQuota) as refused:
            store.run(store.deliver(b"1\r\n", account=anna))
        assert (refused.value.never, refused.value.temporary) == (False, True)
        with pytest.raises(OverQuota):
            store.ask(store.store.admit, anna)
        assert len(store.unique_ids(anna)) == 3
        maildrop = store.open(anna)
        store.commit(maildrop, 1)
        store.close(maildrop)
        store.ask(store.store.admit, anna)
        store.ask(store.store.admit, anna, 10)
        with pytest.raises(OverQuota):
            store.ask(store.store.admit, anna, 11)
        store.run(store.deliver(b"12345678\r\n", account=anna))
        assert len(store.unique_ids(anna)) == 3
        store.run(store.deliver(b"1\r\n", account=BEN))  # another maildrop's quota is its own

    @_needs("heeds_quotas")
    def test_a_message_larger_than_the_quota_never_fits(self, store: StoreUnderTest) -> None:
        anna = Account("anna", quota=Quota(octets=30))
        with pytest.raises(OverQuota) as refused:
            store.run(store.deliver(b"x" * 40, account=anna))
        assert (refused.value.never, refused.value.temporary) == (True, False)
        with pytest.raises(OverQuota) as refused:
            store.ask(store.store.admit, anna, 40)
        assert refused.value.never
        assert store.unique_ids(anna) == []

    @_needs("heeds_quotas")
    def test_a_quota_of_messages(self, store: StoreUnderTest) -> None:
        anna = Account("anna", quota=Quota(messages=2))
        for _ in range(2):
            store.run(store.deliver(b"x\r\n", account=anna))
        with pytest.raises(OverQuota) as refused:
            store.run(store.deliver(b"x\r\n", account=anna))
        assert not refused.value.never
        assert len(store.unique_ids(anna)) == 2

    @_needs("heeds_quotas")
    def test_no_quota_is_no_limit(self, store: StoreUnderTest) -> None:
        anna = Account("anna", quota=Quota(octets=0, messages=0))
        store.ask(store.store.admit, anna, 2**40)
        store.run(store.deliver(b"x" * 1000, account=anna))

    @_needs("heeds_quotas")
    def test_what_was_given_up_takes_no_room(self, store: StoreUnderTest) -> None:
        anna = Account("anna", quota=Quota(octets=20, messages=1))
        incoming = store.receive(anna)
        incoming.write(b"12345678\r\n")
        incoming.prepare()
        incoming.abort()
        store.run(store.deliver(b"12345678\r\n", account=anna))

    @_needs("heeds_quotas")
    def test_deliveries_at_once_do_not_exceed_a_quota(self, store: StoreUnderTest) -> None:
        anna = Account("anna", quota=Quota(messages=5))
        told = store.at_once([store.deliver(b"%d\r\n" % n, account=anna) for n in range(20)])
        refused = [each for each in told if isinstance(each, BaseException)]
        assert {type(each) for each in refused} == {OverQuota}, refused
        assert len(store.unique_ids(anna)) == 20 - len(refused) <= 5

    # Messages that were removed

    @_needs("undeletes")
    def test_removed_messages_come_back_as_they_were(self, store: StoreUnderTest) -> None:
        for number in range(4):
            store.put(b"message %d\r\n" % number)
        before = store.unique_ids()
        assert store.ask(store.store.undelete, ANNA, 60) == 0
        maildrop = store.open()
        store.commit(maildrop, 1, 3)
        store.close(maildrop)
        assert store.ask(store.store.collect) == 0
        assert store.unique_ids() == [before[1], before[3]]
        resting = store.ask(store.store.removed, ANNA)
        assert {each.unique_id for each in resting} == {before[0], before[2]}
        assert all(abs(time.time() - each.removed) < 600 for each in resting)
        assert store.ask(store.store.removed, BEN) == []
        assert store.ask(store.store.undelete, BEN, 60) == 0
        assert store.ask(store.store.undelete, ANNA, 60) == 2
        assert store.ask(store.store.undelete, ANNA, 60) == 0
        assert list(store.ask(store.store.removed, ANNA)) == []
        maildrop = store.open()
        assert list(maildrop.listing.unique_ids) == before
        for number in range(4):
            assert store.read(maildrop, number + 1) == b"message %d\r\n" % number
        store.close(maildrop)

    @_needs("undeletes")
    def test_what_was_removed_earlier_stays_removed(self, store: StoreUnderTest) -> None:
        store.put(b"one\r\n")
        maildrop = store.open()
        store.commit(maildrop, 1)
        store.close(maildrop)
        assert store.ask(store.store.undelete, ANNA, -60) == 0
        assert store.unique_ids() == []

    @_needs("undeletes")
    def test_messages_come_back_while_a_session_reads(self, store: StoreUnderTest) -> None:
        for text in (b"one\r\n", b"two\r\n"):
            store.put(text)
        before = store.unique_ids()
        maildrop = store.open()
        store.commit(maildrop, 1)
        store.close(maildrop)
        maildrop = store.open()
        assert store.ask(store.store.undelete, ANNA, 60) == 1
        assert list(maildrop.listing.unique_ids) == before[1:]
        assert store.read(maildrop, 1) == b"two\r\n"
        store.close(maildrop)
        assert store.unique_ids() == before

    # Leases of others

    @_needs("tells_leases")
    def test_leases_that_are_held_are_told(self, store: StoreUnderTest) -> None:
        assert list(store.ask(store.store.leases)) == []
        store.close(store.open(BEN))
        maildrop = store.open()
        (held,) = store.ask(store.store.leases)
        assert (held.maildrop_name, held.holder) == ("anna", maildrop.lease.holder)
        store.close(maildrop)
        assert list(store.ask(store.store.leases)) == []

    @_needs("tells_leases")
    def test_a_lease_that_was_taken_away_removes_nothing(self, store: StoreUnderTest) -> None:
        store.put(b"one\r\n")
        assert store.ask(store.store.release, "anna") is False
        assert store.ask(store.store.release, "nobody") is False
        maildrop = store.open()
        assert store.ask(store.store.release, "anna") is True
        assert list(store.ask(store.store.leases)) == []
        another = store.open()
        with pytest.raises(LeaseLost):
            store.commit(maildrop, 1)
        store.close(maildrop)
        with pytest.raises(MaildropInUse):  # closing the one must not end the other's lease
            store.open()
        assert not another.lease.lost
        store.commit(another, 1)
        store.close(another)
        assert store.unique_ids() == []

    # A second start

    @_needs("keeps_mail")
    def test_mail_and_unique_ids_outlive_the_store(
        self, store: StoreUnderTest, tmp_path: Path
    ) -> None:
        for name in ("plain-crlf", "dots-lf", "empty"):
            store.put(NASTY[name])
        before = store.unique_ids()
        again = self._make(tmp_path / "store")
        maildrop = again.open()
        assert list(maildrop.listing.unique_ids) == before
        assert wire_form(again.read(maildrop, 2)) == wire_form(NASTY["dots-lf"])
        again.close(maildrop)
        self._finish(again)

    @_needs("keeps_mail")
    def test_what_was_removed_stays_removed(self, store: StoreUnderTest, tmp_path: Path) -> None:
        for text in (b"one\n", b"two\n"):
            store.put(text)
        maildrop = store.open()
        kept = list(maildrop.listing.unique_ids)[1:]
        store.commit(maildrop, 1)
        store.close(maildrop)
        again = self._make(tmp_path / "store")
        assert again.unique_ids() == kept
        self._finish(again)


class MaildropStoreContract(StoreContract):
    """Tests for a store of three methods (`restante.MaildropStore`).

    Write `make_store` and `put`. `remove` has a default: the store's own `list` and `delete`.
    """

    takes_mail: ClassVar[bool] = False

    async def remove(self, store: Any, account: Account, number: int) -> None:
        """Remove the account's message at this place (1: the oldest), though a session has it."""
        listed = await _awaited(store.list(account))
        await _awaited(store.delete(account, [list(listed)[number - 1][0]]))


async def _awaited(given: Any) -> Any:
    return await given if isinstance(given, Awaitable) else given


def _top(message: bytes, lines: int) -> bytes:
    return b"".join(wire_blocks([message], None, lines))
