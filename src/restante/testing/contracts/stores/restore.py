"""Mail from another server keeps its unique-ids, its times and its order."""

from __future__ import annotations

import time

import pytest

from restante.stores.contract import StoreError, UniqueIdTaken
from restante.testing.contracts.stores.needs import needs
from restante.testing.contracts.under_test import ANNA, BEN, Receiving, StoreUnderTest


@needs("restores_mail")
class RestoreTests:
    """Of `Store.restore`."""

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

    @pytest.mark.parametrize("unique_id", ["", "x" * 71, "a b", "ä", "a\n", "\x7f"])
    def test_what_cannot_be_a_unique_id_is_refused(
        self, store: StoreUnderTest, unique_id: str
    ) -> None:
        with pytest.raises(StoreError):
            store.restore(b"x\r\n", unique_id)
        assert store.unique_ids() == []

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

    def test_what_was_removed_is_not_restored_by_accident(self, store: StoreUnderTest) -> None:
        store.restore(b"one\r\n", "first")
        store.session_that_removes(1)
        with pytest.raises(UniqueIdTaken):
            store.restore(b"one\r\n", "first")
        assert store.unique_ids() == []

    def test_a_delivery_that_was_given_up_leaves_the_unique_id_free(
        self, store: StoreUnderTest
    ) -> None:
        incoming = Receiving(store, store.ask(store.store.restore, ANNA, "first"))
        incoming.write(b"half a mess")
        incoming.prepare()
        incoming.abort()
        assert store.restore(b"one\r\n", "first") == "first"

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
