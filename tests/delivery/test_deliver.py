"""One message, several maildrops: written and made durable for all, then committed to all."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from restante.accounts.contract import Account
from restante.calls import Caller, OnThread
from restante.delivery import Delivery, DeliveryObserver, Envelope, Outcome, Recipient
from restante.delivery.recipients import FULL
from restante.stores.contract import Incoming, OverQuota, StoreError
from restante.stores.maildir.store import Maildir
from restante.threads import WorkerThreads
from tests.answers import done
from tests.delivery.helpers import SECRET_FAULT, FakeStore

pytestmark = pytest.mark.asyncio

JOE = Recipient("joe@example.org", Account("joe"))
ANN = Recipient("ann@example.org", Account("ann"))
EVE = Recipient("eve@example.org", Account("eve"))
ENVELOPE = Envelope(protocol="ESMTP", sender="a@b", queue_id="q1")


@pytest.fixture
def call() -> Iterator[Caller]:
    threads = WorkerThreads("test", 0, 2)
    yield Caller(threads, blocking=True)
    threads.stop()


class Told(DeliveryObserver):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[tuple[object, ...]] = []

    def delivered(self, envelope: Envelope, recipient: str, octets: int, unique_id: str) -> None:
        self.lines.append(("delivered", recipient, octets, bool(unique_id)))

    def not_delivered(
        self, envelope: Envelope, recipient: str, octets: int, reason: str, kept: str
    ) -> None:
        self.lines.append(("not delivered", recipient, octets, reason, kept))

    def refused(self, envelope: Envelope, recipient: str, reply: str) -> None:
        self.lines.append(("refused", recipient, reply))


async def deliver(delivery: Delivery, *blocks: bytes) -> list[Outcome]:
    for block in blocks:
        await delivery.write(block)
    return await delivery.commit()


async def test_everything_is_durable_before_anything_is_committed(call: Caller) -> None:
    store, told = FakeStore(), Told()
    delivery = Delivery(store, [JOE, ANN], ENVELOPE, call=call, observer=told)
    outcomes = await deliver(delivery, b"one\r\n", b"two\r\n")
    assert store.mail("joe") == store.mail("ann") == [b"one\r\ntwo\r\n"]
    assert [outcome.recipient for outcome in outcomes] == [JOE, ANN]
    assert all(outcome.unique_id and outcome.taken for outcome in outcomes)
    assert store.events[-4:] == ["joe prepare", "ann prepare", "joe commit", "ann commit"]
    assert told.lines == [
        ("delivered", "joe@example.org", 10, True),
        ("delivered", "ann@example.org", 10, True),
    ]


STEPS = ["joe_receive", "ann_receive", "joe_write", "ann_write", "joe_prepare", "ann_prepare"]


@pytest.mark.parametrize("step", [*STEPS, "joe_commit"])
@pytest.mark.parametrize("error", [SECRET_FAULT, OSError("no space"), SystemExit("bug")])
async def test_together_nobody_has_it_when_one_fails(
    step: str, error: BaseException, tmp_path: Path, call: Caller
) -> None:
    """However often the sender tries again, nobody gets a second copy."""
    store, told = FakeStore(**{step: error}), Told()
    for _ in range(3):
        delivery = Delivery(
            store, [JOE, ANN], ENVELOPE, call=call, together=True, spool=tmp_path, observer=told
        )
        outcomes = await deliver(delivery, b"one\r\n", b"two\r\n")
        assert not any(outcome.taken for outcome in outcomes)
        assert [bool(outcome.reason) for outcome in outcomes].count(True) == 1
    assert store.mail("joe") == store.mail("ann") == []
    assert list(tmp_path.iterdir()) == []
    assert [line[0] for line in told.lines] == ["not delivered"] * 6


NO_ROOM = OverQuota("over quota: 9 of 10 octets used", never=False)


@pytest.mark.parametrize("step", [*STEPS, "joe_commit"])
@pytest.mark.parametrize("together", [True, False])
async def test_a_maildrop_without_room_is_told_as_a_refusal(
    step: str, together: bool, call: Caller
) -> None:
    store, told = FakeStore(**{step: NO_ROOM}), Told()
    delivery = Delivery(store, [JOE, ANN], ENVELOPE, call=call, together=together, observer=told)
    await deliver(delivery, b"one\r\n", b"two\r\n")
    whose, other = (JOE, ANN) if step.startswith("joe") else (ANN, JOE)
    lines = {line[1]: line for line in told.lines}
    assert lines[whose.address] == ("refused", whose.address, str(FULL))
    assert lines[other.address][0] == ("refused" if together else "delivered")


async def test_a_failure_beside_a_full_maildrop_is_told_as_one(call: Caller) -> None:
    store, told = FakeStore(joe_commit=NO_ROOM, ann_commit=SECRET_FAULT), Told()
    delivery = Delivery(store, [JOE, ANN], ENVELOPE, call=call, observer=told)
    await deliver(delivery, b"one\r\n")
    assert [line[:2] for line in told.lines] == [
        ("refused", "joe@example.org"),
        ("not delivered", "ann@example.org"),
    ]


async def test_together_a_late_failure_is_kept_for_the_operator(
    tmp_path: Path, call: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    """The sender is told that all is well: trying again would double the others' copies."""
    store, told, spool = FakeStore(ann_commit=SECRET_FAULT), Told(), tmp_path / "spool"
    delivery = Delivery(
        store,
        [JOE, ANN, EVE],
        ENVELOPE,
        call=call,
        together=True,
        trace=True,
        spool=spool,
        observer=told,
    )
    outcomes = await deliver(delivery, b"x" * 300_000, b"\r\n")
    assert [outcome.unique_id is not None for outcome in outcomes] == [True, False, True]
    assert all(outcome.taken for outcome in outcomes)
    (kept,) = spool.iterdir()
    assert outcomes[1].kept == kept
    assert kept.read_bytes().startswith(b"Return-Path: <a@b>\r\nDelivered-To: ann@example.org\r\n")
    assert kept.read_bytes().endswith(b"\r\n" + b"x" * 300_000 + b"\r\n")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert spool.stat().st_mode & 0o777 == 0o700
    assert told.lines[1] == (
        *("not delivered", "ann@example.org", 300_002),
        *("disk /dev/secret is full", str(kept)),
    )
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert all(word in record.getMessage() for word in ("ann@example.org", "q1", str(kept)))


async def test_without_a_spool_a_late_failure_is_told_to_the_sender(
    tmp_path: Path, call: Caller
) -> None:
    """Nobody loses the message."""
    (tmp_path / "file").write_bytes(b"")
    for spool in (None, tmp_path / "file"):
        store = FakeStore(ann_commit=SECRET_FAULT)
        delivery = Delivery(store, [JOE, ANN], ENVELOPE, call=call, together=True, spool=spool)
        outcomes = await deliver(delivery, b"x\r\n")
        assert [outcome.taken for outcome in outcomes] == [True, False]
        assert store.mail("joe") == [b"x\r\n"]


@pytest.mark.parametrize("step", [*STEPS[::2], "joe_commit"])
async def test_apart_the_others_get_theirs(step: str, tmp_path: Path, call: Caller) -> None:
    store = FakeStore(**{step: SECRET_FAULT})
    delivery = Delivery(store, [JOE, ANN], ENVELOPE, call=call, spool=tmp_path)
    outcomes = await deliver(delivery, b"x\r\n")
    assert [outcome.taken for outcome in outcomes] == [False, True]
    assert store.mail("joe") == []
    assert store.mail("ann") == [b"x\r\n"]
    assert list(tmp_path.iterdir()) == []


async def test_recipients_of_one_maildrop_share_one_copy(call: Caller) -> None:
    store = FakeStore()
    alias = Recipient("joseph@example.org", Account("joseph", maildrop="joe"))
    outcomes = await deliver(Delivery(store, [JOE, alias], ENVELOPE, call=call), b"x\r\n")
    assert store.mail("joe") == [b"x\r\n"]
    assert outcomes[0].unique_id == outcomes[1].unique_id is not None


async def test_abort_leaves_nothing_and_nothing_comes_after_it(call: Caller) -> None:
    store = FakeStore()
    delivery = Delivery(store, [JOE], ENVELOPE, call=call)
    await delivery.write(b"x")
    await delivery.abort()
    await delivery.abort()
    assert [outcome.unique_id for outcome in await deliver(delivery, b"y")] == [None]
    assert store.mail("joe") == []


async def test_trace_lines_come_before_the_message_and_can_not_be_injected(call: Caller) -> None:
    store = FakeStore()
    envelope = Envelope(
        protocol="ESMTPS",
        sender="a@b",
        helo="evil\r\nBcc: x",
        peer="192.0.2.1",
        hostname="mail.example.org",
    )
    delivery = Delivery(store, [JOE, ANN], envelope, call=call, trace=True)
    await deliver(delivery, b"Subject: x\r\n")
    (message,) = store.mail("ann")
    lines = message.split(b"\r\n")
    assert lines[0] == b"Return-Path: <a@b>"
    assert lines[1] == b"Delivered-To: ann@example.org"
    assert lines[2] == b"Received: from evil??Bcc: x ([192.0.2.1])"
    assert lines[3].startswith(b"\tby mail.example.org with ESMTPS; ")
    assert lines[4:] == [b"Subject: x", b""]


async def test_an_incoming_that_fails_to_abort_disturbs_nobody(call: Caller) -> None:
    delivery = Delivery(FakeStore(joe_abort=StoreError("no")), [JOE], ENVELOPE, call=call)
    await delivery.write(b"x")
    await delivery.abort()


class OtherWays(FakeStore):
    """A store that is async, or leaves work to threads."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def receive(self, account: Account) -> Any:
        return self.answer(self._receive, account)

    def _receive(self, account: Account) -> Incoming:
        return _OtherWays(self, super().receive(account))

    def answer(self, function: Callable[..., Any], *args: object) -> Any:
        if self.way == "threads":
            return OnThread(function, *args)

        async def work() -> Any:
            return function(*args)

        return work()


class _OtherWays(Incoming):
    def __init__(self, store: OtherWays, incoming: Incoming) -> None:
        self._store, self._incoming = store, incoming

    def write(self, block: bytes) -> Any:
        return self._store.answer(self._incoming.write, block)

    def prepare(self) -> Any:
        return self._store.answer(self._incoming.prepare)

    def commit(self) -> Any:
        return self._store.answer(self._incoming.commit)

    def abort(self) -> Any:
        return self._store.answer(self._incoming.abort)


@pytest.mark.parametrize("way", ["async", "threads"])
@pytest.mark.parametrize("blocking", [False, True])
async def test_stores_that_are_async_or_leave_work_to_threads(way: str, blocking: bool) -> None:
    threads = WorkerThreads("test", 0, 2)
    store = OtherWays(way)
    call = Caller(threads, blocking=blocking)
    outcomes = await deliver(Delivery(store, [JOE, ANN], ENVELOPE, call=call), b"x\r\n", b"y\r\n")
    threads.stop()
    assert all(outcome.unique_id for outcome in outcomes)
    assert store.mail("joe") == store.mail("ann") == [b"x\r\ny\r\n"]


async def test_an_observer_that_fails_changes_nothing(
    call: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(DeliveryObserver):
        def delivered(self, *args: object) -> None:
            raise SystemExit

    store = FakeStore()
    delivery = Delivery(store, [JOE], ENVELOPE, call=call, observer=Failing())
    (outcome,) = await deliver(delivery, b"x\r\n")
    assert outcome.taken
    assert "observer" in caplog.text


async def test_a_maildir_that_is_full_at_one_recipient(tmp_path: Path, call: Caller) -> None:
    """The other one's new/ is empty after each of several tries, and so are both tmp/."""
    store = Maildir(tmp_path)
    done(done(store.open(ANN.account)).close())
    new = tmp_path / "ann" / "new"
    new.rmdir()
    new.write_bytes(b"in the way")
    for _ in range(3):
        delivery = Delivery(store, [ANN, JOE], ENVELOPE, call=call, together=True)
        outcomes = await deliver(delivery, b"x" * 1000)
        assert not any(outcome.taken for outcome in outcomes)
    assert list(tmp_path.glob("*/new/*")) == list(tmp_path.glob("*/tmp/*")) == []
