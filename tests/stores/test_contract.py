"""What every store of maildrops promises, whatever it keeps mail in."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from restante.protocol.facts import measure
from restante.protocol.listing import valid_unique_id
from restante.protocol.stuffing import wire_blocks
from restante.stores.contract import (
    LeaseLost,
    Maildrop,
    MaildropInUse,
    MessageGone,
    Store,
    StoreError,
)
from tests.corpus import NASTY, wire_form
from tests.stores.backends import ANNA, BACKENDS, BEN, Backend


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    made = BACKENDS[request.param](tmp_path)
    yield made
    made.end()


def test_it_is_a_store(backend: Backend) -> None:
    assert isinstance(backend.store, Store)
    maildrop = backend.open()
    assert isinstance(maildrop, Maildrop)
    backend.close(maildrop)


def test_an_account_without_mail_has_an_empty_maildrop(backend: Backend) -> None:
    maildrop = backend.open()
    assert len(maildrop.listing) == 0
    assert maildrop.listing.total == 0
    backend.commit(maildrop)
    backend.close(maildrop)


def test_messages_come_back_octet_for_octet_in_wire_form(backend: Backend) -> None:
    for message in NASTY.values():
        backend.put(message)
    maildrop = backend.open()
    assert len(maildrop.listing) == len(NASTY)
    for number, (name, message) in enumerate(NASTY.items(), 1):
        assert wire_form(backend.read(maildrop, number)) == wire_form(message), name
    backend.close(maildrop)


def test_f5_octets_are_those_of_the_wire_form(backend: Backend) -> None:
    for message in NASTY.values():
        backend.put(message)
    maildrop = backend.open()
    sizes = dict(zip(NASTY, maildrop.listing.octets, strict=True))
    assert sizes == {name: len(wire_form(message)) for name, message in NASTY.items()}
    assert maildrop.listing.total == sum(sizes.values())
    backend.close(maildrop)


def test_facts_are_those_of_the_stored_bytes(backend: Backend) -> None:
    for message in NASTY.values():
        backend.put(message)
    maildrop = backend.open()
    for number in range(1, len(NASTY) + 1):
        content = backend.content(maildrop, number)
        assert content.facts == measure([backend.drain(content)])
    backend.close(maildrop)


def test_d1_numbers_do_not_shift_and_new_mail_waits(backend: Backend) -> None:
    for text in (b"one\n", b"two\n", b"three\n"):
        backend.put(text)
    maildrop = backend.open()
    before = list(maildrop.listing.unique_ids)
    backend.put(b"four\n")
    backend.remove(1)
    assert list(maildrop.listing.unique_ids) == before
    assert wire_form(backend.read(maildrop, 3)) == b"three\r\n"
    assert wire_form(backend.read(maildrop, 2)) == b"two\r\n"
    backend.close(maildrop)
    after = backend.open()
    assert list(after.listing.unique_ids)[:2] == before[1:]
    assert wire_form(backend.read(after, 3)) == b"four\r\n"
    backend.close(after)


def test_d2_d5_nothing_is_removed_without_commit(backend: Backend) -> None:
    backend.put(b"one\n")
    before = backend.ids()
    maildrop = backend.open()
    backend.read(maildrop, 1)
    backend.close(maildrop)
    assert backend.ids() == before


def test_commit_removes_these_and_no_others(backend: Backend) -> None:
    for number in range(6):
        backend.put(b"message %d\n" % number)
    maildrop = backend.open()
    ids = list(maildrop.listing.unique_ids)
    backend.put(b"late\n")
    backend.commit(maildrop, 2, 5, 6)
    backend.close(maildrop)
    after = backend.open()
    assert list(after.listing.unique_ids)[:3] == [ids[0], ids[2], ids[3]]
    assert [wire_form(backend.read(after, n)) for n in range(1, 5)] == [
        b"message 0\r\n",
        b"message 2\r\n",
        b"message 3\r\n",
        b"late\r\n",
    ]
    assert len(after.listing) == 4
    backend.close(after)


def test_d4_a_message_gone_already_counts_as_removed(backend: Backend) -> None:
    for text in (b"one\n", b"two\n"):
        backend.put(text)
    maildrop = backend.open()
    backend.remove(1)
    backend.commit(maildrop, 1, 2)
    backend.commit(maildrop, 1, 2)
    backend.close(maildrop)
    assert backend.ids() == []


def test_d4_a_vanished_message_is_said_to_be_gone(backend: Backend) -> None:
    for text in (b"one\n", b"two\n"):
        backend.put(text)
    maildrop = backend.open()
    backend.remove(1)
    with pytest.raises(MessageGone):
        backend.content(maildrop, 1)
    assert wire_form(backend.read(maildrop, 2)) == b"two\r\n"
    backend.close(maildrop)
    assert len(backend.ids()) == 1


def test_l1_the_lease_excludes_others_until_it_is_given_back(backend: Backend) -> None:
    maildrop = backend.open()
    for _ in range(2):
        with pytest.raises(MaildropInUse):
            backend.open()
    backend.close(backend.open(BEN))
    backend.close(maildrop)
    backend.close(maildrop)
    again = backend.open()
    backend.close(maildrop)  # repeated, and of a session that is over
    with pytest.raises(MaildropInUse):
        backend.open()
    backend.close(again)


def test_nothing_is_removed_after_close(backend: Backend) -> None:
    backend.put(b"one\n")
    maildrop = backend.open()
    backend.close(maildrop)
    assert maildrop.lease.lost
    with pytest.raises(LeaseLost):
        backend.commit(maildrop, 1)
    assert len(backend.ids()) == 1


def test_the_lease_says_who_holds_it(backend: Backend) -> None:
    maildrop = backend.open()
    assert maildrop.lease.holder.startswith(f"pid {os.getpid()}")
    expires = maildrop.lease.expires
    assert expires is None or expires > time.time()
    assert not maildrop.lease.lost
    backend.run(maildrop.lease.renew())
    assert not maildrop.lease.lost
    backend.close(maildrop)


def test_top_gets_what_it_needs(backend: Backend) -> None:
    """A store may give more than the lines that were asked for, never less."""
    for message in NASTY.values():
        backend.put(message)
    maildrop = backend.open()
    for number, (name, message) in enumerate(NASTY.items(), 1):
        for lines in (0, 1, 3, 10_000, 10**9):
            content = backend.content(maildrop, number, lines)
            given = backend.drain(content)
            assert top(given, lines) == top(message, lines), (name, lines)
    backend.close(maildrop)


def top(message: bytes, lines: int) -> bytes:
    return b"".join(wire_blocks([message], None, lines))


def test_an_empty_message_is_one_empty_line(backend: Backend) -> None:
    """2 octets, in LIST, STAT and RETR alike: clients take 0 octets for a failure."""
    backend.put(b"")
    maildrop = backend.open()
    assert list(maildrop.listing.octets) == [2]
    content = backend.content(maildrop, 1)
    assert content.facts is None or content.facts.octets == 2
    assert wire_form(backend.drain(content)) == b"\r\n"
    backend.close(maildrop)


def test_u1_unique_ids_stay_and_are_never_used_again(backend: Backend) -> None:
    seen: set[str] = set()
    for number in range(5):
        backend.put(b"the same text\n")
        backend.put(b"the same text\n")
        ids = backend.ids()
        assert ids == backend.ids()
        assert len(set(ids)) == len(ids) == number + 2
        assert all(valid_unique_id(unique_id) for unique_id in ids)
        new = set(ids) - seen
        assert len(new) == 2
        seen |= new
        maildrop = backend.open()
        backend.commit(maildrop, len(ids))
        backend.close(maildrop)


def test_maildrops_are_separate(backend: Backend) -> None:
    backend.put(b"for anna\n", ANNA)
    backend.put(b"for ben\n", BEN)
    maildrop = backend.open(BEN)
    assert len(maildrop.listing) == 1
    assert wire_form(backend.read(maildrop, 1)) == b"for ben\r\n"
    backend.commit(maildrop, 1)
    backend.close(maildrop)
    assert len(backend.ids(ANNA)) == 1
    assert backend.ids(BEN) == []


def test_mail_comes_in_from_several_threads_while_a_session_reads(backend: Backend) -> None:
    backend.put(b"first\n")
    maildrop = backend.open()
    one_at_a_time = threading.Lock()

    def deliver() -> None:
        for _ in range(10):
            if not backend.takes_mail:
                with one_at_a_time:
                    backend.put(b"more\n")
                continue
            incoming = backend.receive()
            incoming.write(b"more")
            incoming.prepare()
            incoming.commit()

    threads = [threading.Thread(target=deliver) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert wire_form(backend.read(maildrop, 1)) == b"first\r\n"
    backend.commit(maildrop, 1)
    for thread in threads:
        thread.join()
    backend.close(maildrop)
    ids = backend.ids()
    assert len(ids) == len(set(ids)) == 40


@pytest.mark.parametrize("name", ["memory", "maildir", "sqlite"])
class TestIncoming:
    def test_the_unique_id_told_at_delivery_is_the_one_listed(
        self, name: str, tmp_path: Path
    ) -> None:
        backend = BACKENDS[name](tmp_path)
        told = []
        for text in (b"one", b"two", b""):
            incoming = backend.receive()
            incoming.write(text)
            told.append(incoming.commit())
        assert backend.ids() == told

    def test_nothing_is_seen_before_commit_and_nothing_after_abort(
        self, name: str, tmp_path: Path
    ) -> None:
        backend = BACKENDS[name](tmp_path)
        incoming = backend.receive()
        incoming.write(b"half a mess")
        assert backend.ids() == []
        incoming.abort()
        incoming.abort()
        assert backend.ids() == []
        with pytest.raises(StoreError):
            incoming.write(b"age")
        with pytest.raises(StoreError):
            incoming.commit()
        prepared = backend.receive()
        prepared.write(b"all of it")
        prepared.prepare()
        assert backend.ids() == []
        prepared.abort()
        assert backend.ids() == []
        done = backend.receive()
        done.commit()
        done.abort()
        assert len(backend.ids()) == 1
