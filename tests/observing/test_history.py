"""The history: what is written of sessions and deliveries, within its bounds, at nobody's cost."""

from __future__ import annotations

import logging
import poplib
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from restante import ClientSession, Observer
from restante.delivery.envelope import Envelope
from restante.observing import (
    HistoryError,
    HistoryWriter,
    history_place,
    history_postgres,
    history_writer,
)
from restante.observing.history_observers import MOST_VERBS
from restante.observing.history_records import LoginRefused
from restante.server import Notes
from tests.observing.history_kit import ANN, JOE, PASSWORD, Kept, Watched, record
from tests.server.kit import until

A, B, C = (f"170000000{n}.M1P1.host" for n in range(3))
MIB = 2**20


# What is written


def test_a_session_is_one_row(watched: Watched) -> None:
    watched.put(A)
    watched.put(B)
    begun = time.time()
    watched.session(fetch=(1, 2), delete=(1,))
    (found,) = watched.history.sessions()
    assert (found.account, found.maildrop, found.address) == ("joe", "joe", JOE)
    assert (found.tls, found.mechanism, found.greeting) == (False, "USER", "USER PASS")
    assert (found.retrieved, found.deleted, found.octets, found.messages) == (2, 1, 200, 2)
    assert (found.times, found.ended) == (1, "QUIT")
    assert begun <= found.since <= found.until <= time.time()
    assert found.commands == {"USER": 1, "PASS": 1, "UIDL": 1, "RETR": 2, "DELE": 1, "QUIT": 1}
    assert watched.history.session(found.session) == found
    assert [each.unique_id for each in watched.history.retrieved(found.number)] == [A, B]


def test_polls_that_find_nothing_new_are_one_row(watched: Watched) -> None:
    watched.put(A)
    for _ in range(4):
        watched.session()
    watched.session(ANN)
    one, two = reversed(watched.history.sessions())
    assert (one.address, one.times) == (JOE, 4)
    assert (two.address, two.times) == (ANN, 1)
    watched.put(B)
    watched.session()
    assert [each.times for each in watched.history.sessions(address=JOE)] == [1, 4]


def test_a_slow_poll_is_one_with_the_quick_one_before_it(watched: Watched) -> None:
    """Though the writer is told of it in parts: before the login, after it, and at the end."""
    watched.put(A)
    watched.session()
    parts = parts_of(watched)
    client = watched.connect()
    client.user("joe")
    until(lambda: len(parts) == 1)
    client.pass_(PASSWORD)
    client.uidl()
    until(lambda: len(parts) >= 2)
    client.quit()
    watched.written()
    (found,) = watched.history.sessions()
    assert (found.times, found.greeting) == (2, "USER PASS")
    assert found.commands == {"USER": 1, "PASS": 1, "UIDL": 1, "QUIT": 1}


def parts_of(watched: Watched) -> list[Notes]:
    """The parts in which observers are told of sessions from now on."""
    parts: list[Notes] = []

    class Parts(Observer):
        def noted(self, session: ClientSession, notes: Notes) -> None:
            parts.append(notes)

    watched.server.observe(Parts())
    return parts


def test_polls_are_one_row_before_and_after_it_is_written(watched: Watched) -> None:
    """What repeats is only counted, whether its row is in the file yet or not."""
    watched.put(A)
    for written in (False, True):
        for _ in range(3):
            client = watched.login()
            client.stat()
            client.quit()
        if not written:
            watched.written()
    watched.written()
    (row,) = watched.history.sessions()
    assert (row.times, row.commands) == (6, {"USER": 1, "PASS": 1, "STAT": 1, "QUIT": 1})
    assert sum(watched.history.rates(60).counts["sessions"]) == 6


def test_polls_whose_row_is_gone_have_another(watched: Watched) -> None:
    watched.session()
    watched.kept.ask("DELETE FROM {sessions}")
    watched.session()
    watched.session()
    (row,) = watched.history.sessions()
    assert row.times == 2


def test_a_session_of_many_commands(watched: Watched) -> None:
    """Commands are told by the hundred; the row has all of them."""
    client = watched.login()
    for _ in range(250):
        client.noop()
    client.quit()
    watched.written()
    (row,) = watched.history.sessions()
    assert row.commands == {"USER": 1, "PASS": 1, "NOOP": 250, "QUIT": 1}
    assert row.greeting == "USER PASS"


def test_polls_of_very_many_commands_take_no_more_memory_than_others(watched: Watched) -> None:
    """A client that pipelines them is told of in one go. Its polls are one row all the same."""
    for _ in range(2):
        client = watched.login()
        client.sock.sendall(b"NOOP\r\n" * 3000)
        for _ in range(3000):
            client.file.readline()
        client.quit()
        watched.written()
    (row,) = watched.history.sessions()
    assert row.commands == {"USER": 1, "PASS": 1, "NOOP": 3000, "QUIT": 1}
    assert row.times == 2
    (poll,) = watched.writer._polls.values()
    assert len(poll.verbs) == MOST_VERBS
    assert poll.verbs is poll.first.verbs


def test_many_commands_before_the_login_are_counted(watched: Watched) -> None:
    parts = parts_of(watched)
    client = watched.connect()
    client.sock.sendall(b"CAPA\r\n" * 150)
    for _ in range(150):
        while client.file.readline() != b".\r\n":
            pass
    until(lambda: parts)
    client.user("joe")
    client.pass_(PASSWORD)
    client.quit()
    watched.written()
    (row,) = watched.history.sessions()
    assert row.commands == {"CAPA": 150, "USER": 1, "PASS": 1, "QUIT": 1}


def test_what_a_client_asks_of_auth_is_no_login(watched: Watched) -> None:
    client = watched.connect()
    client.capa()
    client.sock.sendall(b"AUTH\r\n")
    while client.file.readline() != b".\r\n":
        pass
    client.user("joe")
    client.pass_(PASSWORD)
    client.uidl()
    client.quit()
    watched.written()
    (row,) = watched.history.sessions()
    assert row.greeting == "CAPA AUTH USER PASS"


def test_polls_with_the_same_commands_and_another_login_are_two_rows(watched: Watched) -> None:
    for passwords in ([PASSWORD, "wrong"], ["wrong", PASSWORD]):
        client = watched.connect()
        for password in passwords:
            for line in ("USER joe", f"PASS {password}", "NOOP"):
                client.sock.sendall(line.encode() + b"\r\n")
                client.file.readline()
        client.quit()
        watched.written()
    two, one = watched.history.sessions()
    assert one.commands == two.commands
    assert (one.greeting, two.greeting) == ("USER PASS", "USER PASS NOOP")


def test_sessions_are_found_by_account_address_and_time(watched: Watched) -> None:
    watched.session(JOE)
    with_ann = watched.login(ANN, "ann")
    with_ann.quit()
    watched.written()
    history = watched.history
    assert history.accounts() == ["ann", "joe"]
    assert [each.address for each in history.sessions(account="ann")] == [ANN]
    assert [each.account for each in history.sessions(address=JOE)] == ["joe"]
    assert history.sessions(until=1.0) == []
    assert len(history.sessions(since=time.time() - 60)) == 2
    newest = history.sessions(limit=1)[0]
    assert [each.account for each in history.sessions(before=newest.number)] == ["joe"]
    with pytest.raises(ValueError, match="limit=0"):
        history.sessions(limit=0)


def test_listings_are_told_by_what_has_changed(watched: Watched) -> None:
    file = watched.put(A, 100)
    watched.session()
    watched.put(B, 200)
    watched.session()
    file.unlink()
    watched.session()
    newest, middle, first = watched.history.listings("joe")
    assert (first.come, first.gone, first.messages) == (None, None, 1)
    assert (middle.come, middle.gone) == (((B, 200),), ())
    assert (newest.come, newest.gone, newest.octets) == ((), ((A, 100),), 200)
    assert watched.history.listed(middle) == {A: 100, B: 200}
    assert watched.history.listed(newest) == {B: 200}


def test_listings_are_whole_after_many_changes(kept: Kept) -> None:
    """Differences are joined into a whole listing from time to time, with the same answer."""
    writer, history = kept.writer(), kept.history()
    ids: list[str] = []
    for number in range(200):
        ids = [*ids[number % 3 == 0 :], f"{number}.x"]
        writer.put(record(ids, opened=1000.0 + number + time.time()))
    writer.close()
    newest = history.listings("joe", limit=1)[0]
    assert list(history.listed(newest)) == ids
    whole = int(kept.ask("SELECT count(whole) FROM {listings}"))
    assert 2 <= whole <= 200 // history_place.REBASE + 2


def test_who_has_fetched_a_message(watched: Watched) -> None:
    watched.put(A)
    watched.session(JOE, fetch=(1,))
    watched.session(ANN, fetch=(1,))
    assert [each.address for each in watched.history.fetched("joe", A)] == [ANN, JOE]
    assert watched.history.fetched("joe", B) == []
    client = watched.login()
    client.top(1, 0)
    client.quit()
    watched.written()
    assert [each.lines for each in watched.history.fetched("joe", A)] == [0, None, None]


def test_the_story_of_a_message(watched: Watched) -> None:
    watched.session()
    watched.put(A)
    envelope = Envelope(protocol="ESMTPS", sender="ann@example.com", peer=ANN, tls="TLSv1.3")
    watched.writer.deliveries.delivered(envelope, "joe@example.org", 100, A)
    watched.session(JOE, fetch=(1,), delete=(1,))
    watched.session()
    story = watched.history.message("joe", A)
    assert [each.sender for each in story.delivered] == ["ann@example.com"]
    assert [each.address for each in story.retrieved] == [JOE]
    assert [each.address for each in story.deleted] == [JOE]
    assert story.listed is not None
    assert story.gone is not None
    assert story.listed < story.deleted[0].at < story.gone
    assert watched.history.delivered_among([A, B]) == {A}


def test_last_login_by_device(watched: Watched) -> None:
    watched.put(A)
    watched.session(JOE, fetch=(1,))
    watched.session(JOE)
    client = watched.connect(ANN)
    client.capa()
    client.user("joe")
    client.pass_(PASSWORD)
    client.quit()
    watched.written()
    ann, joe = watched.history.devices("joe")
    assert (ann.address, ann.greeting) == (ANN, "CAPA USER PASS")
    assert (joe.address, joe.greeting, joe.sessions, joe.retrieved) == (JOE, "USER PASS", 2, 1)
    assert set(joe.speaks) == {"USER", "PASS", "UIDL", "RETR", "QUIT"}
    assert ann.last > joe.last > joe.first


def test_deliveries_are_searched(watched: Watched) -> None:
    notes = watched.writer.deliveries
    envelope = Envelope(protocol="ESMTP", sender="ann@example.com", peer="192.0.2.1")
    notes.delivered(envelope, "joe@example.org", 10, A)
    notes.not_delivered(envelope, "joe@example.org", 10, "disk full", "/spool/x.eml")
    notes.refused(Envelope(protocol="SMTP", sender="50%_x@y"), "nobody@example.org", "550 no")
    watched.written()
    history = watched.history
    assert [each.outcome for each in history.deliveries()] == [
        "refused", "not delivered", "delivered",
    ]  # fmt: skip
    assert len(history.deliveries(search="example.com")) == 2
    assert len(history.deliveries(search="50%_X")) == 1
    assert history.deliveries(search="%nothing%") == []
    assert history.deliveries(outcome="not delivered")[0].reason == (
        "disk full; kept at /spool/x.eml"
    )
    assert len(history.deliveries(recipient="JOE@example.org", sender="ann@example.com")) == 2
    assert [each.octets for each in history.deliveries(unique_id=A)] == [10]
    assert history.deliveries(queue_id=envelope.queue_id, until=1.0) == []


def test_text_that_no_database_takes_costs_no_record_wherever_it_is(kept: Kept) -> None:
    """The last ones of many, too, which are written after the first."""
    writer = kept.writer()
    for number in range(150):
        name = f"n{number}" if number < 149 else "\ud800"
        writer.put(LoginRefused(time.time(), name, JOE, "USER", "failed"))
    writer.close()
    assert writer.lost == 0
    found = kept.history().refusals(limit=1000)
    assert {"n0", "n148", "?"} < {each.account for each in found}
    assert len(found) == 150


def test_case_does_not_matter_beyond_ascii_either(watched: Watched) -> None:
    notes = watched.writer.deliveries
    envelope = Envelope(protocol="ESMTP", sender="Äpfel@example.com", peer="192.0.2.1")
    notes.delivered(envelope, "MÜLLER@example.org", 10, A)
    for name in ("MÜLLER", "ann"):
        watched.writer.put(LoginRefused(time.time(), name, JOE, "USER", "failed"))
    watched.written()
    history = watched.history
    for name in ("MÜLLER", "müller", "Müller"):
        assert len(history.deliveries(search=name)) == 1
        assert len(history.deliveries(recipient=f"{name}@EXAMPLE.org")) == 1
        assert [each.account for each in history.refusals(account=name)] == ["MÜLLER"]
    for name in ("äpfel", "ÄPFEL"):
        assert len(history.deliveries(search=name)) == 1
        assert len(history.deliveries(sender=f"{name}@example.com")) == 1
    assert history.deliveries(search="muller") == []


def test_a_search_sees_beyond_a_zero(watched: Watched) -> None:
    envelope = Envelope(protocol="ESMTP", sender="ann@example.com", peer="192.0.2.1")
    watched.writer.deliveries.refused(envelope, "x\0y", "550 no such mailbox")
    watched.written()
    for text in ("x", "y", "ann@", "MAILBOX"):
        assert len(watched.history.deliveries(search=text)) == 1


def test_refused_logins_that_are_alike_are_one_row(watched: Watched) -> None:
    for _ in range(3):
        client = watched.connect()
        client.user("joe")
        with pytest.raises(poplib.error_proto):
            client.pass_("not it")
        client.close()
    watched.writer.deliveries.login_refused("login failed", "ann", ANN, "PLAIN", "s-1")
    watched.written()
    joe = watched.history.refusals(account="joe")
    assert [(each.times, each.address, each.reason) for each in joe] == [(3, JOE, "failed")]
    ann = watched.history.refusals(address=ANN)
    assert [(each.account, each.mechanism) for each in ann] == [("ann", "SMTP-PLAIN")]
    assert watched.history.sessions() == []


def test_who_was_sent_most(watched: Watched) -> None:
    watched.put(A)
    watched.session(fetch=(1,))
    watched.session(fetch=(1,), address=ANN)
    watched.session()
    (joe,) = watched.history.busiest(time.time() - 60)
    assert (joe.account, joe.addresses, joe.sessions, joe.retrieved) == ("joe", 2, 3, 2)
    assert joe.octets == sum(each.octets for each in watched.history.sessions()) > 0
    assert watched.history.busiest(time.time() + 60) == []


def test_rates_of_the_last_hour(watched: Watched) -> None:
    watched.put(A)
    watched.session(fetch=(1,))
    rates = watched.history.rates(60)
    assert len(rates.minutes) == 60
    assert rates.minutes[-1] <= time.time() < rates.minutes[-1] + 61
    assert sum(rates.counts["sessions"]) == 1
    assert sum(rates.counts["octets"]) == 100
    assert sum(watched.history.rates(60, now=time.time() + 7200).counts["sessions"]) == 0


# Bounds


def test_what_is_too_old_is_removed(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_postgres, "PRUNE_SECONDS", 0.0)
    old, now = time.time() - 20 * 86_400, time.time()
    for at in (old, now):  # the second looks for what is too old
        writer = kept.writer(days=10.0)
        writer.put(record([A, B], opened=at, sent=(1,)))
        writer.put(LoginRefused(at, "joe", JOE, "USER", "failed"))
        writer.close()
    writer = kept.writer(days=10.0)
    writer.put(record([A, B], opened=now, ended="idle"))
    writer.close()
    history = kept.history()
    assert all(each.since >= now - 1 for each in history.sessions())
    assert len(history.fetched("joe", A)) == 1
    assert len(history.refusals()) == 1
    assert len(history.listings("joe")) == 1  # what later ones are made up from stays


def test_attackers_do_not_push_out_what_is_known(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_place, "MAX_REFUSALS", 50)
    writer = kept.writer()
    writer.put(record([A]))
    envelope = Envelope(protocol="SMTP", sender="x@y")
    writer.deliveries.delivered(envelope, "joe", 1, A)
    for number in range(300):
        writer.put(LoginRefused(time.time(), f"n{number}", JOE, "USER", "failed"))
        writer.deliveries.refused(envelope, f"n{number}@y", "550 no")
    writer.close()
    history = kept.history()
    assert len(history.refusals(limit=1000)) == 50
    assert len(history.deliveries(outcome="refused", limit=1000)) == 50
    assert len(history.deliveries(outcome="delivered")) == 1
    assert len(history.sessions()) == 1


@pytest.mark.parametrize(
    ("bounds", "text"), [({"max_octets": 10}, "1048576 or more"), ({"days": 0}, "more than 0")]
)
def test_bounds_that_are_none_are_refused(
    tmp_path: Path, bounds: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        HistoryWriter(tmp_path / "h.sqlite", **bounds)


# What can't be written


def test_a_queue_that_is_full_loses_records_and_never_waits(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(history_writer, "MAX_QUEUED", 5)
    monkeypatch.setattr(history_writer.HistoryWriter, "_begin", lambda self: None)
    writer = kept.writer()
    for number in range(20):
        writer.put(record([f"{number}"]))
    assert writer.lost == 15
    with caplog.at_level(logging.WARNING, "restante.observing"):
        writer._write_all()
    assert "the history is too slow: 15 records were lost" in caplog.text
    writer._place.close()


def test_a_listing_that_is_damaged_is_an_error_and_begun_anew(watched: Watched) -> None:
    watched.put(A)
    watched.session()
    watched.put(B)
    watched.session()
    watched.kept.ask("UPDATE {listings} SET come = digest, whole = digest")
    with pytest.raises(HistoryError, match="malformed listing"):
        watched.history.listings("joe")
    watched.put(C)
    watched.session()
    (listing,) = watched.history.listings("joe")
    assert listing.messages == 3


def test_nothing_is_put_after_the_end(kept: Kept) -> None:
    writer = kept.writer()
    writer.close()
    writer.put(record([A]))
    writer.close()
    assert writer.lost == 1
    assert kept.history().sessions() == []
    assert not kept.file.exists()


# Several processes


def test_several_writers_share_one_place(kept: Kept) -> None:
    writers = [kept.writer() for _ in range(3)]
    begin = time.time()
    for number in range(60):
        ids = [f"{n}.x" for n in range(number // 10 + 1)]
        writers[number % 3].put(record(ids, opened=begin + number, sent=(1,)))
        writers[number % 3].flush()
    for writer in writers:
        writer.close()
        assert writer.lost == 0
    history = kept.history()
    assert len(history.sessions()) == 60
    assert [each.messages for each in history.listings("joe")] == [6, 5, 4, 3, 2, 1]


def test_a_session_that_is_written_too_late_is_placed_by_what_it_saw(kept: Kept) -> None:
    """Another process has written of a later session before."""
    writer = kept.writer()
    now = time.time()
    for ids, at in (([A], 0), ([A, B], 10), ([A], 5), ([C], 6)):
        writer.put(record(ids, opened=now + at, sent=(1,)))
        assert writer.flush()
    writer.close()
    history = kept.history()
    assert [each.messages for each in history.listings("joe")] == [2, 1]
    assert [each.listing for each in reversed(history.sessions())] == [1, 2, 1, None]


def test_an_empty_history(kept: Kept) -> None:
    history = kept.history()
    assert not history.sessions()
    assert not history.accounts()
    assert not history.deliveries()
    assert history.begins() is None
    assert history.octets() == 0
    assert history.devices("joe") == []
    story = history.message("joe", A)
    assert replace(story, unique_id="") == replace(history.message("joe", B), unique_id="")
