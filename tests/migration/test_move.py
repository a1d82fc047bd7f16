"""Moving mail: what arrives, in which order, what is told when something can't be moved."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import pytest

from restante.accounts.contract import Account
from restante.migration.contract import SourceLost
from restante.migration.move import MOST_FAILURES, Migration
from restante.migration.report import AccountReport, Trouble
from restante.stores import (
    MaildropInUse,
    MemoryStore,
    MessageGone,
    OverQuota,
    SqliteStore,
    Store,
    StoreError,
)
from tests.migration.kit import (
    ListedMaildrop,
    ListedSource,
    Mail,
    as_sent,
    check,
    found,
    move,
    nasty,
    remove,
    shown,
    times,
)


def only(report: object) -> AccountReport:
    (account,) = report.accounts  # type: ignore[attr-defined]
    assert isinstance(account, AccountReport)
    return account


def test_every_message_arrives_as_it_was_sent_in_the_order_of_the_source(store: Store) -> None:
    mail = nasty()
    report = move(ListedSource(joe=mail), store)
    assert shown(store) == as_sent(mail)
    assert report.is_well
    assert (report.total("moved"), report.total("messages")) == (len(mail), len(mail))
    assert report.total("moved_octets") == sum(len(octets) for _, octets in as_sent(mail))


def test_the_order_is_kept_where_messages_arrived_in_another(store: Store) -> None:
    mail = [Mail("c", b"3\r\n", 300.0), Mail("a", b"1\r\n", 100.0), Mail("b", b"2\r\n", 200.0)]
    assert move(ListedSource(joe=mail), store).is_well
    assert [unique_id for unique_id, _ in shown(store)] == ["c", "a", "b"]


def test_a_message_keeps_the_time_when_it_arrived(store: Store) -> None:
    move(ListedSource(joe=[Mail("a", arrived=1_600_000_000.25)]), store)
    assert times(store) == [pytest.approx(1_600_000_000.25, abs=0.001)]


def test_a_second_run_moves_only_what_has_come_since(store: Store) -> None:
    source = ListedSource(joe=nasty())
    move(source, store)
    source.mail["joe"].append(Mail("new", b"new\r\n", 1_800_000_000.0))
    source.fetched.clear()
    report = move(source, store)
    assert source.fetched == ["new"]
    assert shown(store) == as_sent(source.mail["joe"])
    assert (only(report).moved, only(report).there) == (1, len(nasty()))


def test_what_a_client_has_removed_since_does_not_come_back(store: Store) -> None:
    source = ListedSource(joe=[Mail("a", b"1\r\n", 1.0), Mail("b", b"2\r\n", 2.0)])
    move(source, store)
    remove(store, "a")
    report = move(source, store)
    assert shown(store) == [("b", b"2\r\n")]
    assert report.is_well
    assert (only(report).removed, only(report).there, only(report).moved) == (1, 1, 0)


def test_accounts_are_moved_at_the_same_time_as_many_as_are_allowed() -> None:
    names = [f"user{number}" for number in range(9)]
    source = ListedSource(**{name: [Mail("a"), Mail("b")] for name in names})

    store = MemoryStore()
    report = asyncio.run(Migration(source, store, found(*names), parallel=3).move(names))
    assert report.is_well
    assert [account.account for account in report.accounts] == names
    assert 1 < source.most_open <= 3
    assert source.open_now == 0


def test_what_the_source_s_server_has_not_seen_waits_for_the_last_run(store: Store) -> None:
    class Waiting(ListedMaildrop):
        waiting = frozenset({"b"})

    source = ListedSource(joe=[Mail("a", b"1\r\n"), Mail("b", b"2\r\n")])

    async def open_(account: str, call: object) -> ListedMaildrop:
        return Waiting(source, source.mail[account])

    source.open = open_  # type: ignore[method-assign]
    report = move(source, store)
    assert (report.is_well, only(report).moved, only(report).waiting) == (True, 1, 1)
    assert [each.unique_id for each in check(source, store).accounts[0].differs] == ["b"]
    report = move(source, store, last=True)
    assert (only(report).moved, only(report).there, only(report).waiting) == (1, 1, 0)
    assert check(source, store).is_well


def test_a_message_that_vanished_meanwhile_is_no_failure(store: Store) -> None:
    mail = [Mail("a", b"1\r\n"), Mail("b", MessageGone("gone")), Mail("c", b"3\r\n")]
    report = move(ListedSource(joe=mail), store)
    assert report.is_well
    assert only(report).vanished == 1
    assert [unique_id for unique_id, _ in shown(store)] == ["a", "c"]


def test_a_message_that_grew_is_moved_as_it_is_now(store: Store) -> None:
    mail = Mail("a", b"It has grown.\r\n")
    mail.listed = 3
    report = move(ListedSource(joe=[mail]), store)
    assert only(report).other_octets == [Trouble("a", "the source lists 3 octets, and 15 came")]
    assert not report.is_well
    assert shown(store) == [("a", b"It has grown.\r\n")]


def test_another_length_is_told_after_an_interruption_too(store: Store) -> None:
    mail = [Mail("a", b"It has grown.\r\n"), Mail("b", SourceLost("the line is dead"))]
    mail[0].listed = 3
    report = move(ListedSource(joe=mail), store, tries=2)
    assert [each.unique_id for each in only(report).other_octets] == ["a"]


def test_a_message_that_comes_cut_is_asked_for_twice_and_then_told(store: Store) -> None:
    mail = [Mail("a", b"cut\r\n"), Mail("b", b"2\r\n")]
    mail[0].listed = 1000
    source = ListedSource(joe=mail)
    report = move(source, store)
    assert only(report).failed == [Trouble("a", "only 5 of 1000 listed octets came")]
    assert source.fetched == ["a", "a", "b"]
    assert shown(store) == [("b", b"2\r\n")]
    mail[0].listed = None
    assert move(source, store).is_well
    assert sorted(shown(store)) == [("a", b"cut\r\n"), ("b", b"2\r\n")]


def test_a_message_that_can_not_be_read_is_told_and_the_others_are_moved(store: Store) -> None:
    mail = [Mail("a", b"1\r\n"), Mail("b", StoreError("the disk is bad")), Mail("c", b"3\r\n")]
    report = move(ListedSource(joe=mail), store)
    assert not report.is_well
    assert only(report).failed == [Trouble("b", "the disk is bad")]
    assert [unique_id for unique_id, _ in shown(store)] == ["a", "c"]


def test_a_message_over_the_limit_is_told_whether_the_source_says_so_or_not(store: Store) -> None:
    lies = Mail("b", b"x" * 200 + b"\r\n")
    lies.listed = 10
    mail = [Mail("a", b"x" * 200 + b"\r\n"), lies, Mail("c", b"3\r\n")]
    source = ListedSource(joe=mail)
    report = move(source, store, max_octets=100)
    reason = "it has more than 100 octets"
    assert only(report).failed == [Trouble("a", reason), Trouble("b", reason)]
    assert source.fetched == ["b", "c"]
    assert shown(store) == [("c", b"3\r\n")]


@pytest.mark.parametrize("trouble", [MaildropInUse("in use"), SourceLost("the line is dead")])
def test_a_maildrop_that_can_not_be_had_now_is_tried_again(
    store: Store, trouble: StoreError
) -> None:
    source = ListedSource(joe=[Mail("a", b"1\r\n")])
    source.trouble = [trouble, trouble]
    report = move(source, store)
    assert report.is_well
    assert only(report).tries == 3
    assert shown(store) == [("a", b"1\r\n")]


def test_a_maildrop_that_stays_in_use_is_told(store: Store) -> None:
    source = ListedSource(joe=[Mail("a")], ann=[Mail("a", b"1\r\n")])
    source.trouble = [MaildropInUse("in use")] * 3
    report = move(source, store, "joe", "ann", tries=3, parallel=1)
    joe, ann = report.accounts
    assert (joe.error, joe.tries, joe.is_well) == ("in use", 3, False)
    assert ann.is_well


def test_a_source_that_is_lost_half_way_goes_on_where_it_was(store: Store) -> None:
    lost = Mail("b", SourceLost("the line is dead"))
    source = ListedSource(joe=[Mail("a", b"1\r\n"), lost, Mail("c", b"3\r\n")])

    class Repaired(ListedMaildrop):
        def close(self) -> None:
            lost.octets = b"2\r\n"
            super().close()

    async def open_(account: str, call: object) -> ListedMaildrop:
        return Repaired(source, source.mail[account])

    source.open = open_  # type: ignore[method-assign]
    report = move(source, store)
    assert report.is_well
    assert only(report).tries == 2
    assert source.fetched == ["a", "b", "b", "c"]
    assert [unique_id for unique_id, _ in shown(store)] == ["a", "b", "c"]


@pytest.mark.parametrize("end", ["source", "destination"])
def test_an_account_that_one_end_does_not_have_is_told_at_once(store: Store, end: str) -> None:
    source = ListedSource(ben=[Mail("a")])
    name = "joe" if end == "source" else "ben"
    report = move(source, store, name)
    assert only(report).error == f"the {end} has no such account"
    assert only(report).tries == 1


class Refusing(SqliteStore):
    """Refuses messages."""

    error: Exception = StoreError("no")

    def restore(
        self, account: Account, unique_id: str, *, arrived: float | None = None
    ) -> NoReturn:
        raise self.error


@pytest.fixture
def refusing(tmp_path: object) -> Refusing:
    return Refusing(f"{tmp_path}/refusing.sqlite")


def test_a_full_destination_ends_an_account_and_says_what_is_missing(refusing: Refusing) -> None:
    refusing.error = OverQuota("joe has no room for 3 octets")
    source = ListedSource(joe=[Mail("a"), Mail("b")])
    report = move(source, refusing)
    assert only(report).error == "joe has no room for 3 octets; messages that are not moved: 2"
    assert source.fetched == ["a"]
    assert not report.is_well


def test_a_message_that_no_quota_can_hold_is_told_and_the_others_are_tried(
    refusing: Refusing,
) -> None:
    refusing.error = OverQuota("larger than the quota", never=True)
    report = move(ListedSource(joe=[Mail("a"), Mail("b")]), refusing)
    assert [trouble.unique_id for trouble in only(report).failed] == ["a", "b"]


def test_an_account_is_given_up_when_nothing_can_be_moved(refusing: Refusing) -> None:
    refusing.error = StoreError("the disk is full")
    mail = [Mail(f"id{number}") for number in range(100)]
    source = ListedSource(joe=mail)
    report = move(source, refusing, tries=2)
    assert (
        only(report).error
        == f"the disk is full; messages that are not moved: {101 - MOST_FAILURES}"
    )
    assert len(source.fetched) == 2 * MOST_FAILURES


def test_a_fault_in_a_store_ends_its_account_only(
    refusing: Refusing, caplog: pytest.LogCaptureFixture
) -> None:
    source = ListedSource(joe=[Mail("a", KeyError("a mistake"))], ann=[])
    report = move(source, refusing, "joe", "ann")
    joe, ann = report.accounts
    assert joe.error == "KeyError: 'a mistake'"
    assert ann.is_well
    assert "account 'joe'" in caplog.text


def test_an_account_that_is_named_twice_is_moved_once(store: Store) -> None:
    report = move(ListedSource(joe=[Mail("a")]), store, "joe", "joe")
    assert len(report.accounts) == 1


def test_nothing_is_removed_from_the_source(store: Store) -> None:
    source = ListedSource(joe=[Mail("a")])
    move(source, store)
    assert check(source, store, bodies=True).is_well
    assert len(source.mail["joe"]) == 1


@pytest.mark.parametrize("name", ["parallel", "max_octets", "tries"])
def test_wrong_arguments_are_refused(store: Store, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=0: allowed is 1 or more"):
        move(ListedSource(), store, **{name: 0})
