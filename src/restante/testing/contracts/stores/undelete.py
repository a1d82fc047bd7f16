"""Messages that were removed rest for a while and can come back."""

from __future__ import annotations

import time

from restante.testing.contracts.stores.needs import needs
from restante.testing.contracts.under_test import ANNA, BEN, StoreUnderTest


@needs("undeletes")
class UndeleteTests:
    """Of `Store.undelete`, `Store.removed` and `Store.collect`."""

    def test_removed_messages_come_back_as_they_were(self, store: StoreUnderTest) -> None:
        for number in range(4):
            store.put(b"message %d\r\n" % number)
        before = store.unique_ids()
        assert store.ask(store.store.undelete, ANNA, 60) == 0
        store.session_that_removes(1, 3)
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

    def test_what_was_removed_earlier_stays_removed(self, store: StoreUnderTest) -> None:
        store.put(b"one\r\n")
        store.session_that_removes(1)
        assert store.ask(store.store.undelete, ANNA, -60) == 0
        assert store.unique_ids() == []

    def test_messages_come_back_while_a_session_reads(self, store: StoreUnderTest) -> None:
        store.put_all(b"one\r\n", b"two\r\n")
        before = store.unique_ids()
        store.session_that_removes(1)
        maildrop = store.open()
        assert store.ask(store.store.undelete, ANNA, 60) == 1
        assert list(maildrop.listing.unique_ids) == before[1:]
        assert store.read(maildrop, 1) == b"two\r\n"
        store.close(maildrop)
        assert store.unique_ids() == before
