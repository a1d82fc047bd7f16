"""A maildrop's room is bounded."""

from __future__ import annotations

import pytest

from restante.accounts.account import Account, Quota
from restante.stores.contract import OverQuota
from restante.testing.contracts.stores.needs import needs
from restante.testing.contracts.under_test import ANNA, BEN, StoreUnderTest
from restante.testing.corpus import NASTY, wire_form


@needs("heeds_quotas")
class QuotaTests:
    """Of `Store.usage`, `Store.admit` and `OverQuota`."""

    def test_usage_is_what_retr_would_send(self, store: StoreUnderTest) -> None:
        assert store.ask(store.store.usage, ANNA) == (0, 0)
        store.put_all(*NASTY.values())
        store.put(b"for ben\r\n", BEN)
        octets = sum(len(wire_form(message)) for message in NASTY.values())
        assert store.ask(store.store.usage, ANNA) == (len(NASTY), octets)
        store.session_that_removes(*range(2, len(NASTY) + 1))
        rest = len(wire_form(next(iter(NASTY.values()))))
        assert store.ask(store.store.usage, ANNA) == (1, rest)

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
        store.session_that_removes(1, account=anna)
        store.ask(store.store.admit, anna)
        store.ask(store.store.admit, anna, 10)
        with pytest.raises(OverQuota):
            store.ask(store.store.admit, anna, 11)
        store.run(store.deliver(b"12345678\r\n", account=anna))
        assert len(store.unique_ids(anna)) == 3
        store.run(store.deliver(b"1\r\n", account=BEN))  # another maildrop's quota is its own

    def test_a_message_larger_than_the_quota_never_fits(self, store: StoreUnderTest) -> None:
        anna = Account("anna", quota=Quota(octets=30))
        with pytest.raises(OverQuota) as refused:
            store.run(store.deliver(b"x" * 40, account=anna))
        assert (refused.value.never, refused.value.temporary) == (True, False)
        with pytest.raises(OverQuota) as refused:
            store.ask(store.store.admit, anna, 40)
        assert refused.value.never
        assert store.unique_ids(anna) == []

    def test_a_quota_of_messages(self, store: StoreUnderTest) -> None:
        anna = Account("anna", quota=Quota(messages=2))
        for _ in range(2):
            store.run(store.deliver(b"x\r\n", account=anna))
        with pytest.raises(OverQuota) as refused:
            store.run(store.deliver(b"x\r\n", account=anna))
        assert not refused.value.never
        assert len(store.unique_ids(anna)) == 2

    def test_no_quota_is_no_limit(self, store: StoreUnderTest) -> None:
        anna = Account("anna", quota=Quota(octets=0, messages=0))
        store.ask(store.store.admit, anna, 2**40)
        store.run(store.deliver(b"x" * 1000, account=anna))

    def test_what_was_given_up_takes_no_room(self, store: StoreUnderTest) -> None:
        anna = Account("anna", quota=Quota(octets=20, messages=1))
        incoming = store.receive(anna)
        incoming.write(b"12345678\r\n")
        incoming.prepare()
        incoming.abort()
        store.run(store.deliver(b"12345678\r\n", account=anna))

    def test_deliveries_at_once_do_not_exceed_a_quota(self, store: StoreUnderTest) -> None:
        anna = Account("anna", quota=Quota(messages=5))
        told = store.at_once([store.deliver(b"%d\r\n" % n, account=anna) for n in range(20)])
        refused = [each for each in told if isinstance(each, BaseException)]
        assert {type(each) for each in refused} == {OverQuota}, refused
        assert len(store.unique_ids(anna)) == 20 - len(refused) <= 5
