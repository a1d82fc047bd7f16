"""Messages as a store's maildrops give them: octet for octet, whole or not at all."""

from __future__ import annotations

import pytest

from restante.protocol.facts import measure
from restante.protocol.stuffing import wire_blocks
from restante.stores.contract import StoreError
from restante.testing.contracts.stores.needs import needs
from restante.testing.contracts.under_test import Reading, StoreUnderTest
from restante.testing.corpus import NASTY, wire_form

LARGE = b"Subject: large\r\n\r\n" + b"".join(b"line %d\r\n" % n for n in range(100_000))


class ReadingTests:
    """Of RETR and TOP."""

    # Octets

    @pytest.mark.parametrize("name", NASTY)
    def test_a_message_comes_back_octet_for_octet(self, store: StoreUnderTest, name: str) -> None:
        """Size, content and facts of RETR, and what TOP needs; never less than was asked for."""
        message = NASTY[name]
        store.put(b"another\n")
        store.put(message)
        maildrop = store.open()
        wire = wire_form(message)
        assert maildrop.listing.octets[1] == len(wire)
        content = store.content(maildrop, 2)
        stored = store.drain(content)
        assert wire_form(stored) == wire
        assert content.facts is None or content.facts == measure([stored])
        for lines in (0, 1, 3, 10_000, 10**9):
            given = store.drain(store.content(maildrop, 2, lines))
            assert _top(given, lines) == _top(message, lines)
        store.close(maildrop)

    def test_the_total_is_that_of_all_messages(self, store: StoreUnderTest) -> None:
        store.put_all(*NASTY.values())
        maildrop = store.open()
        sizes = dict(zip(NASTY, maildrop.listing.octets, strict=True))
        assert sizes == {name: len(wire_form(message)) for name, message in NASTY.items()}
        assert maildrop.listing.total == sum(sizes.values())
        store.close(maildrop)

    def test_an_empty_message_is_one_empty_line(self, store: StoreUnderTest) -> None:
        """2 octets, in LIST, STAT and RETR alike: clients take 0 octets for a failure."""
        store.put(b"")
        maildrop = store.open()
        assert list(maildrop.listing.octets) == [2]
        content = store.content(maildrop, 1)
        assert content.facts is None or content.facts.octets == 2
        assert wire_form(store.drain(content)) == b"\r\n"
        store.close(maildrop)

    # Reading

    def test_a_message_is_the_same_each_time_it_is_read(self, store: StoreUnderTest) -> None:
        store.put(LARGE)
        maildrop = store.open()
        assert store.read(maildrop, 1) == store.read(maildrop, 1) == LARGE
        store.close(maildrop)

    def test_messages_may_be_read_in_any_order(self, store: StoreUnderTest) -> None:
        for number in range(1, 6):
            store.put(b"message %d\r\n" % number)
        maildrop = store.open()
        for number in (5, 1, 3, 3, 2, 4):
            assert store.read(maildrop, number) == b"message %d\r\n" % number
        store.close(maildrop)

    def test_two_messages_may_be_read_by_turns(self, store: StoreUnderTest) -> None:
        other = LARGE.replace(b"line", b"LINE")
        store.put(LARGE)
        store.put(other)
        maildrop = store.open()
        readings = [Reading(store, store.content(maildrop, n).source) for n in (1, 2)]
        read = [b"", b""]
        for _ in range(3):
            for at, reading in enumerate(readings):
                read[at] += reading.next()
        assert read[0] + readings[0].rest() == LARGE
        assert read[1] + readings[1].rest() == other
        store.close(maildrop)

    def test_a_message_that_is_read_by_halves_holds_nothing_up(self, store: StoreUnderTest) -> None:
        """As when a client leaves in the middle of RETR."""
        store.put(LARGE)
        maildrop = store.open()
        reading = Reading(store, store.content(maildrop, 1).source)
        reading.next()
        reading.close()
        assert store.read(maildrop, 1) == LARGE
        store.commit(maildrop, 1)
        store.close(maildrop)
        assert store.unique_ids() == []

    @needs("remove")
    def test_no_torn_message_when_it_vanishes_while_it_is_read(self, store: StoreUnderTest) -> None:
        """The rest comes, or an error: the end of half a message would look like its end."""
        store.put(LARGE)
        maildrop = store.open()
        reading = Reading(store, store.content(maildrop, 1).source)
        begun = reading.next()
        store.remove(1)
        try:
            read = begun + reading.rest()
        except (StoreError, OSError):
            read = LARGE
        assert read == LARGE
        store.close(maildrop)

    def test_no_torn_message_when_its_session_removes_it(self, store: StoreUnderTest) -> None:
        store.put(LARGE)
        maildrop = store.open()
        reading = Reading(store, store.content(maildrop, 1).source)
        begun = reading.next()
        store.commit(maildrop, 1)
        try:
            read = begun + reading.rest()
        except (StoreError, OSError):
            read = LARGE
        assert read == LARGE
        store.close(maildrop)


def _top(message: bytes, lines: int) -> bytes:
    return b"".join(wire_blocks([message], None, lines))
