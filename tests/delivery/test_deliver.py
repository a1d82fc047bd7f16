"""One message, several maildrops: written to all, then committed to all."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from restante.accounts.contract import Account
from restante.delivery import Delivery, Recipient, Trace
from restante.stores.contract import StoreError
from tests.delivery.helpers import SECRET_FAULT, FakeStore

JOE = Recipient("joe@example.org", Account("joe"))
ANN = Recipient("ann@example.org", Account("ann"))


def test_everything_is_written_before_anything_is_committed() -> None:
    store = FakeStore()
    delivery = Delivery(store, [JOE, ANN])
    delivery.write(b"one\r\n")
    outcomes = delivery.commit(b"two\r\n")
    assert store.mail("joe") == store.mail("ann") == [b"one\r\ntwo\r\n"]
    assert [outcome.recipient for outcome in outcomes] == [JOE, ANN]
    assert all(outcome.unique_id for outcome in outcomes)
    assert [event for event in store.events if "commit" in event] == store.events[-2:]


@pytest.mark.parametrize("step", ["ann_receive", "ann_write", "joe_commit", "joe_write"])
@pytest.mark.parametrize("error", [SECRET_FAULT, OSError("no space"), SystemExit("bug")])
def test_together_nobody_has_it_when_one_fails(step: str, error: BaseException) -> None:
    store = FakeStore(**{step: error})
    delivery = Delivery(store, [JOE, ANN], together=True)
    delivery.write(b"one\r\n")
    outcomes = delivery.commit(b"two\r\n")
    assert store.mail("joe") == store.mail("ann") == []
    assert [outcome.unique_id for outcome in outcomes] == [None, None]
    assert [bool(outcome.reference) for outcome in outcomes].count(True) == 1


def test_together_a_late_commit_failure_is_told_truthfully() -> None:
    store = FakeStore(ann_commit=SECRET_FAULT)
    outcomes = Delivery(store, [JOE, ANN], together=True).commit(b"x\r\n")
    assert [outcome.unique_id is not None for outcome in outcomes] == [True, False]
    assert store.mail("joe") == [b"x\r\n"]


def test_apart_the_others_get_theirs() -> None:
    store = FakeStore(joe_write=SECRET_FAULT)
    outcomes = Delivery(store, [JOE, ANN]).commit(b"x\r\n")
    assert [outcome.unique_id is not None for outcome in outcomes] == [False, True]
    assert store.mail("joe") == []
    assert store.mail("ann") == [b"x\r\n"]


def test_recipients_of_one_maildrop_share_one_copy() -> None:
    store = FakeStore()
    alias = Recipient("joseph@example.org", Account("joseph", maildrop="joe"))
    outcomes = Delivery(store, [JOE, alias]).commit(b"x\r\n")
    assert store.mail("joe") == [b"x\r\n"]
    assert outcomes[0].unique_id == outcomes[1].unique_id is not None


def test_abort_leaves_nothing_and_nothing_comes_after_it() -> None:
    store = FakeStore()
    delivery = Delivery(store, [JOE])
    delivery.write(b"x")
    delivery.abort()
    delivery.abort()
    delivery.write(b"y")
    assert [outcome.unique_id for outcome in delivery.commit()] == [None]
    assert store.mail("joe") == []


def test_abort_waits_for_a_write_on_another_thread() -> None:
    store = FakeStore()
    store.gate.clear()
    delivery = Delivery(store, [JOE])
    writer = threading.Thread(target=delivery.write, args=(b"x",))
    writer.start()
    threading.Timer(0.05, store.gate.set).start()
    delivery.abort()
    writer.join()
    assert [outcome.unique_id for outcome in delivery.commit()] == [None]


def test_trace_lines_come_before_the_message_and_can_not_be_injected() -> None:
    store = FakeStore()
    trace = Trace("a@b", "evil\r\nBcc: x", "[192.0.2.1]", "mail.example.org", "ESMTPS")
    Delivery(store, [JOE, ANN], trace=trace).commit(b"Subject: x\r\n")
    (message,) = store.mail("ann")
    lines = message.split(b"\r\n")
    assert lines[0] == b"Return-Path: <a@b>"
    assert lines[1] == b"Delivered-To: ann@example.org"
    assert lines[2] == b"Received: from evil??Bcc: x ([192.0.2.1])"
    assert lines[3].startswith(b"\tby mail.example.org with ESMTPS; ")
    assert lines[4:] == [b"Subject: x", b""]


def test_an_incoming_that_fails_to_abort_disturbs_nobody() -> None:
    class Stubborn(FakeStore):
        def receive(self, account: Account) -> Any:
            incoming = super().receive(account)

            def abort() -> None:
                raise StoreError("no")

            incoming.abort = abort  # type: ignore[method-assign]
            return incoming

    delivery = Delivery(Stubborn(), [JOE])
    delivery.write(b"x")
    delivery.abort()
