"""Columns of texts, kept as one block."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.stores.maildir.file_names import base_name, delivery_order, moment
from restante.stores.maildir.packed_text import (
    CHUNK,
    Names,
    NewNames,
    UniqueIds,
    scan_head,
    scan_lines,
)

COUNTS = st.integers(0, 4 * CHUNK)
name = st.text(st.characters(codec=None, exclude_characters="\0/"), min_size=1, max_size=9)


def ids_of(count: int, first: int = 0) -> list[str]:
    return [f"id{n * n}" for n in range(first, first + count)]


def unique_ids(texts: list[str]) -> UniqueIds:
    return UniqueIds(*UniqueIds(b"", (), 0).with_tail(0, UniqueIds.packed(texts, 0)), len(texts))


def names(texts: list[str]) -> Names:
    return Names(*Names(b"", (), 0).with_tail(0, Names.packed(texts, 0)), len(texts))


@given(COUNTS, st.integers(-300, 300), st.integers(-300, 300), st.sampled_from([1, 2, -1]))
def test_they_are_read_as_from_a_list(count: int, start: int, stop: int, step: int) -> None:
    expected = ids_of(count)
    column = unique_ids(expected)
    assert len(column) == count
    assert list(column) == column.all() == expected
    assert column[start:stop:step] == expected[start:stop:step]
    assert [column[n] for n in range(-count, count)] == expected + expected
    for outside in (count, -count - 1):
        with pytest.raises(IndexError):
            column[outside]


@given(COUNTS, COUNTS, st.integers(0, 3))
def test_a_tail_takes_the_place_of_what_followed(count: int, more: int, chunks: int) -> None:
    keep = min(chunks * CHUNK, count - count % CHUNK)
    old = ids_of(count)
    tail = ids_of(more, 1000)
    packed = UniqueIds.packed(tail, keep)
    column = UniqueIds(*unique_ids(old).with_tail(keep, packed), keep + more)
    expected = old[:keep] + tail
    assert column.all() == expected
    assert column.block == b"".join(
        b"%d %s\r\n" % (n, t.encode()) for n, t in enumerate(expected, 1)
    )
    assert [column[n] for n in range(len(expected))] == expected
    again = unique_ids(expected)
    assert list(again.starts) == list(column.starts)


@given(st.lists(name, max_size=2 * CHUNK + 3))
def test_names_of_all_kinds(texts: list[str]) -> None:
    column = names(texts)
    assert column.all() == texts
    for base in {base_name(text) for text in texts[:5]} | {"a", ""}:
        assert column.with_base(base) == [text for text in texts if base_name(text) == base]


@given(COUNTS, COUNTS)
def test_names_in_the_making(count: int, more: int) -> None:
    expected = ids_of(count + more)
    made = NewNames()
    made.extend(expected[:count])
    for text in expected[count:]:
        made.append(text)
    assert len(made) == count + more
    assert list(made) == expected
    assert Names(*Names(b"", (), 0).with_tail(0, made.packed()), len(made)).all() == expected


def test_a_base_name_inside_another() -> None:
    column = names(["1.x", "11.x", "1.xx", "1.x:2,S", "a1.x", "1.x,S=1:2,"])
    assert column.with_base("1.x") == ["1.x", "1.x:2,S"]
    assert column.with_base("1.") == []


@given(COUNTS, st.integers(0, 4))
def test_whether_a_unique_id_is_there(count: int, chunks: int) -> None:
    texts = ids_of(count)
    among = chunks * CHUNK
    for text in ("id0", "id1", "id4", "id", "d1", f"id{(among - 1) ** 2}", f"id{among**2}"):
        assert unique_ids(texts).has(text, among) == (text in texts[:among])


@given(st.lists(st.integers(0, 2**40), max_size=130), st.integers(0, 130))
def test_scan_listings(octets: list[int], rows: int) -> None:
    block = scan_lines(octets, 0)
    assert block.split(b"\r\n")[:-1] == [b"%d %d" % pair for pair in enumerate(octets, 1)]
    head = scan_head(block, min(rows, len(octets)))
    assert head == scan_lines(octets[:rows], 0)
    assert head + scan_lines(octets[rows:], min(rows, len(octets))) == block


part = st.sampled_from(["0", "1", "17", ".M", "M5", ".", "9999999999999999999999", "1000000", "x"])


@given(*[st.lists(part, max_size=6).map("".join)] * 2)
def test_moments_are_in_no_other_order_than_deliveries(one: str, other: str) -> None:
    if delivery_order(one)[:2] <= delivery_order(other)[:2]:
        assert moment(one) <= moment(other)
