"""Mail comes in: all of a message or nothing of it."""

from __future__ import annotations

import pytest

from restante.accounts.account import Account
from restante.stores.contract import StoreError
from restante.testing.contracts.stores.needs import needs
from restante.testing.contracts.under_test import ANNA, BEN, StoreUnderTest
from restante.testing.corpus import NASTY, wire_form


@needs("takes_mail")
class DeliveryTests:
    """Of `Store.receive`."""

    def test_the_unique_id_told_at_delivery_is_the_one_listed(self, store: StoreUnderTest) -> None:
        told = []
        for text in (b"one", b"two", b""):
            incoming = store.receive()
            incoming.write(text)
            told.append(incoming.commit())
        assert store.unique_ids() == told

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

    def test_an_aborted_message_takes_nothing_more(self, store: StoreUnderTest) -> None:
        incoming = store.receive()
        incoming.abort()
        with pytest.raises(StoreError):
            incoming.write(b"more")
        with pytest.raises(StoreError):
            incoming.commit()
        assert store.unique_ids() == []

    def test_abort_after_commit_is_harmless(self, store: StoreUnderTest) -> None:
        incoming = store.receive()
        incoming.write(b"one\r\n")
        incoming.commit()
        incoming.abort()
        assert len(store.unique_ids()) == 1

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

    def test_mail_reaches_the_maildrop_that_the_account_names(self, store: StoreUnderTest) -> None:
        anna = Account("anna", maildrop="office")
        store.run(store.deliver(b"for the office\r\n", account=anna))
        assert store.unique_ids(ANNA) == []
        assert len(store.unique_ids(anna)) == len(store.unique_ids(Account("office"))) == 1

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

    def test_mail_for_several_maildrops_comes_in_at_once(self, store: StoreUnderTest) -> None:
        accounts = [Account(f"user{number}") for number in range(10)]
        store.at_once([store.deliver(b"x\n", account=each) for each in accounts for _ in range(2)])
        assert [len(store.unique_ids(each)) for each in accounts] == [2] * 10
