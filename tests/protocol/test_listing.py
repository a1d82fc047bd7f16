"""Listings and unique-ids."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.listing import (
    NONE,
    Listing,
    as_unique_id,
    distinct_unique_ids,
    valid_unique_id,
)

any_text = st.text(st.characters(codec=None), max_size=90)


@pytest.mark.parametrize("text", ["a", "!", "~", "x" * 70, "1.M2P3.host,S=4", "<a@b>"])
def test_u2_what_rfc_1939_allows(text: str) -> None:
    assert valid_unique_id(text)
    assert as_unique_id(text) == text


@pytest.mark.parametrize("text", ["", " ", "a b", "x" * 71, "é", "\x7f", "\x1f", "a\n", "\n", "٣"])
def test_u2_what_it_does_not(text: str) -> None:
    assert not valid_unique_id(text)
    assert valid_unique_id(as_unique_id(text))


@given(any_text)
def test_u2_every_text_has_a_unique_id(text: str) -> None:
    assert valid_unique_id(as_unique_id(text))
    assert as_unique_id(text) == as_unique_id(text)


@given(any_text, any_text)
def test_u2_different_texts_have_different_ones(one: str, other: str) -> None:
    assert (as_unique_id(one) == as_unique_id(other)) == (one == other)


def test_u2_names_that_are_not_utf_8() -> None:
    assert valid_unique_id(as_unique_id("\ud800"))
    assert as_unique_id("\udcc3\udcb6") != as_unique_id("ö")


def test_the_digest_never_changes() -> None:
    """Clients have it on record: another digest would make them fetch everything again."""
    assert as_unique_id("two words") == "ha03f1d611645eb53ad16c1af546ca0792dc884505bab57ed"


@given(st.lists(st.one_of(any_text, st.sampled_from("aab")), max_size=12))
def test_u3_duplicates_are_told_apart_the_same_way_each_time(texts: list[str]) -> None:
    unique_ids = distinct_unique_ids(texts)
    assert len(set(unique_ids)) == len(unique_ids) == len(texts)
    assert all(map(valid_unique_id, unique_ids))
    assert distinct_unique_ids(iter(texts)) == unique_ids
    for at, text in enumerate(texts):
        if text not in texts[:at]:
            assert distinct_unique_ids(texts[: at + 1]) == unique_ids[: at + 1]


def test_u3_the_first_of_two_keeps_its_text() -> None:
    first, second, third = distinct_unique_ids(["a", "a", "a"])
    assert first == "a"
    assert second.startswith("h")
    assert third.startswith("h")


def test_u3_an_id_that_is_anothers_digest() -> None:
    digest = distinct_unique_ids(["a", "a"])[1]
    assert len(set(distinct_unique_ids([digest, "a", "a"]))) == 3
    assert len(set(distinct_unique_ids(["a", "a", digest]))) == 3


def test_blocks_and_totals() -> None:
    listing = Listing(["a", "b", "c"], [10, 2**33, 2])
    assert len(listing) == 3
    assert listing.total == listing.total_size() == 2**33 + 12
    assert listing.scan_block() == b"1 10\r\n2 8589934592\r\n3 2\r\n"
    assert listing.unique_id_block() == b"1 a\r\n2 b\r\n3 c\r\n"
    assert listing.size(2) == 2**33


def test_an_empty_one() -> None:
    listing = Listing([], [])
    assert len(listing) == listing.total == 0
    assert listing.scan_block() == listing.unique_id_block() == b""


def test_each_message_needs_both() -> None:
    with pytest.raises(ValueError, match="one size"):
        Listing(["a"], [])


def test_sizes_with_headers_in_ascii() -> None:
    listing = Listing(["a", "b", "c"], array("Q", [10, 20, 30]), {2: 25, 3: 28}, [3])
    assert listing.internationalized == {3: 28}
    assert [listing.size(n) for n in (1, 2, 3)] == [10, 20, 30]
    assert [listing.size(n, listing.ascii_octets) for n in (1, 2, 3)] == [10, 25, 28]
    assert [listing.size(n, listing.internationalized) for n in (1, 2, 3)] == [10, 20, 28]
    assert listing.total_size() == 60
    assert listing.total_size(listing.ascii_octets) == 63
    assert listing.total_size(listing.internationalized) == 58
    assert listing.scan_block() == b"1 10\r\n2 20\r\n3 30\r\n"
    assert listing.scan_block(listing.ascii_octets) == b"1 10\r\n2 25\r\n3 28\r\n"
    assert listing.scan_block(listing.internationalized) == b"1 10\r\n2 20\r\n3 28\r\n"


def test_without_a_word_on_it_utf_8_in_a_header_means_an_internationalized_message() -> None:
    assert Listing(["a", "b"], [10, 20], {2: 25}).internationalized == {2: 25}


@given(st.lists(st.integers(2, 2**40), max_size=20), st.integers(0, 2), st.data())
def test_f5_the_total_is_the_sum_of_what_is_listed(
    sizes: list[int], which: int, data: st.DataObject
) -> None:
    numbers = st.integers(1, max(1, len(sizes)))
    others = data.draw(st.dictionaries(numbers, st.integers(2, 2**40))) if sizes else {}
    some = data.draw(st.lists(st.sampled_from(sorted(others)))) if others else []
    listing = Listing([str(n) for n in range(len(sizes))], sizes, others, some)
    ascii_octets = ({}, listing.ascii_octets, listing.internationalized)[which]
    lines = listing.scan_block(ascii_octets).decode().splitlines()
    listed = [int(line.split()[1]) for line in lines]
    assert listed == [listing.size(n, ascii_octets) for n in range(1, len(sizes) + 1)]
    assert sum(listed) == listing.total_size(ascii_octets)


def test_blocks_are_made_once() -> None:
    listing = Listing(["a", "b"], [2, 2], {1: 3, 2: 4}, [1])
    for sizes in (NONE, listing.ascii_octets, listing.internationalized):
        assert listing.scan_block(sizes) is listing.scan_block(sizes)
    assert listing.unique_id_block() is listing.unique_id_block()


def test_l5_a_hundred_thousand_messages() -> None:
    count = 100_000
    listing = Listing([f"id{n}" for n in range(count)], array("Q", [1000]) * count)
    assert listing.total == 1000 * count
    assert listing.scan_block().endswith(b"\r\n100000 1000\r\n")
    assert listing.unique_id_block().count(b"\r\n") == count
