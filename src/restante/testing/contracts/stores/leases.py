"""A maildrop is of one session at a time."""

from __future__ import annotations

import time

import pytest

from restante.stores.contract import LeaseLost, Maildrop, MaildropInUse
from restante.testing.contracts.stores.needs import needs
from restante.testing.contracts.under_test import BEN, StoreUnderTest


class LeaseTests:
    """Of what keeps two sessions apart."""

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

    # Leases of others

    @needs("tells_leases")
    def test_leases_that_are_held_are_told(self, store: StoreUnderTest) -> None:
        assert list(store.ask(store.store.leases)) == []
        store.close(store.open(BEN))
        maildrop = store.open()
        (held,) = store.ask(store.store.leases)
        assert (held.maildrop_name, held.holder) == ("anna", maildrop.lease.holder)
        store.close(maildrop)
        assert list(store.ask(store.store.leases)) == []

    @needs("tells_leases")
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
