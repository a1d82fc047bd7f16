"""The check: a client downloads nothing again, or the report says what and why."""

from __future__ import annotations

import pytest

from restante.accounts.contract import Account
from restante.migration.report import AccountReport, Trouble
from restante.stores import SqliteStore, Store, StoreError
from tests.migration.kit import ListedSource, Mail, check, move, nasty, remove


def outcome(source: ListedSource, store: Store, *, bodies: bool = False) -> AccountReport:
    (account,) = check(source, store, bodies=bodies).accounts
    return account


def deliver(store: Store, octets: bytes) -> str:
    assert isinstance(store, SqliteStore)
    incoming = store.receive(Account("joe"))
    incoming.write(octets)
    return incoming.commit()


@pytest.fixture
def store(tmp_path: object) -> SqliteStore:
    return SqliteStore(f"{tmp_path}/mail.sqlite")


@pytest.mark.parametrize("bodies", [False, True])
def test_what_was_moved_is_the_same(store: Store, bodies: bool) -> None:
    source = ListedSource(joe=nasty())
    move(source, store)
    source.fetched.clear()
    account = outcome(source, store, bodies=bodies)
    assert account.is_well
    assert account.messages == len(nasty())
    assert len(source.fetched) == (len(nasty()) if bodies else 0)


def test_a_missing_message_differs(store: Store) -> None:
    source = ListedSource(joe=[Mail("a"), Mail("b")])
    move(source, store)
    remove(store, "b")
    assert outcome(source, store).differs == [Trouble("b", "it isn't at the destination")]


def test_other_octets_differ(store: Store) -> None:
    source = ListedSource(joe=[Mail("a", b"123\r\n")])
    move(source, store)
    source.mail["joe"][0].octets = b"1234\r\n"
    reason = "it has 6 octets at the source and 5 at the destination"
    assert outcome(source, store).differs == [Trouble("a", reason)]


def test_another_body_of_the_same_length_is_found_when_bodies_are_read(store: Store) -> None:
    source = ListedSource(joe=[Mail("a", b"123\r\n")])
    move(source, store)
    source.mail["joe"][0].octets = b"321\r\n"
    assert outcome(source, store).is_well
    reason = "its octets are others than at the source"
    assert outcome(source, store, bodies=True).differs == [Trouble("a", reason)]


def test_another_order_differs(store: Store) -> None:
    source = ListedSource(joe=[Mail("a"), Mail("b"), Mail("c")])
    move(source, store)
    source.mail["joe"].append(source.mail["joe"].pop(0))
    reason = "it comes after another that it preceded at the source"
    (trouble,) = outcome(source, store).differs
    assert trouble == Trouble("a", reason)


def test_what_only_the_destination_has_differs_unless_it_is_seen_to_be_new_mail(
    store: Store,
) -> None:
    source = ListedSource(joe=[Mail("a", b"old\r\n")])
    move(source, store)
    new = deliver(store, b"new\r\n")
    account = outcome(source, store)
    assert account.differs == [Trouble(new, "only the destination has it")]
    assert account.more == 1
    account = outcome(source, store, bodies=True)
    assert (account.is_well, account.more) == (True, 1)


def test_a_message_that_is_there_twice_differs(store: Store) -> None:
    source = ListedSource(joe=[Mail("a", b"old\r\n")])
    move(source, store)
    again = deliver(store, b"old\r\n")
    reason = "the source has it with another unique-id"
    assert outcome(source, store, bodies=True).differs == [Trouble(again, reason)]


def test_a_message_that_can_not_be_read_is_not_taken_to_be_the_same(store: Store) -> None:
    source = ListedSource(joe=[Mail("a", b"1\r\n")])
    move(source, store)
    source.mail["joe"][0].octets = StoreError("the disk is bad")
    source.mail["joe"][0].listed = 3
    (trouble,) = outcome(source, store, bodies=True).differs
    assert trouble == Trouble("a", "it can't be read: the disk is bad")
