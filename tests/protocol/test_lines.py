"""Lines off the wire: any split, any line end, never without bound (F11, L3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.errors import LineTooLong
from restante.protocol.lines import LineBuffer

LIMIT = 20

WIRE = st.lists(st.sampled_from([b"a", b"bc", b".", b" ", b"\0", b"\r", b"\n", b"\r\n"])).map(
    b"".join
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in the pieces that cuts at `places` make of it."""
    at = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


def drained(buffer: LineBuffer, limit: int = LIMIT) -> list[bytes]:
    lines = []
    while (line := buffer.take(limit)) is not None:
        lines.append(line)
    return lines


def reference(data: bytes) -> list[bytes]:
    return [line.removesuffix(b"\r") for line in data.split(b"\n")[:-1]]


@given(WIRE, st.lists(st.integers(0, 10_000)))
def test_the_lines_do_not_depend_on_where_the_bytes_were_cut(data: bytes, at: list[int]) -> None:
    buffer = LineBuffer()
    lines = []
    for piece in cut(data, at):
        buffer.feed(piece)
        lines += drained(buffer, len(data))
    assert lines == reference(data)
    assert len(buffer) == len(data) - (data.rfind(b"\n") + 1)


@given(WIRE, st.lists(st.integers(0, 10_000)))
def test_no_line_beyond_the_limit_is_given_and_none_within_is_refused(
    data: bytes, at: list[int]
) -> None:
    buffer, lines = LineBuffer(), []
    expected = reference(data)
    first_long = next((n for n, line in enumerate(expected) if len(line) > LIMIT), None)
    rest = data[data.rfind(b"\n") + 1 :]
    try:
        for piece in cut(data, at):
            buffer.feed(piece)
            lines += drained(buffer)
    except LineTooLong:
        assert first_long is not None or len(rest) > LIMIT
    else:
        assert first_long is None
        assert len(rest) <= LIMIT + 1  # the last octet may be the CR of an end to come
    whole = expected if first_long is None else expected[:first_long]
    assert lines == whole


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_of_exactly_the_limit_is_taken_and_one_octet_more_is_not(end: bytes) -> None:
    buffer = LineBuffer()
    buffer.feed(b"x" * LIMIT + end)
    assert buffer.take(LIMIT) == b"x" * LIMIT
    buffer.feed(b"x" * (LIMIT + 1) + end)
    with pytest.raises(LineTooLong):
        buffer.take(LIMIT)


def test_a_line_without_end_is_refused_from_the_first_octet_too_many() -> None:
    """L3: nobody waits for the end of a line that has none."""
    buffer = LineBuffer()
    for _ in range(LIMIT + 1):
        buffer.feed(b"x")
        assert buffer.take(LIMIT) is None
    buffer.feed(b"x")
    with pytest.raises(LineTooLong):
        buffer.take(LIMIT)
    assert len(buffer) == LIMIT + 2


@given(st.lists(st.binary(max_size=50)))
def test_what_is_held_never_passes_the_limit_and_one_feed(feeds: list[bytes]) -> None:
    buffer = LineBuffer()
    for data in feeds:
        try:
            drained(buffer)
        except LineTooLong:
            return
        assert len(buffer) <= LIMIT + 1
        buffer.feed(data)
        assert len(buffer) <= LIMIT + 1 + len(data)


def test_a_line_that_comes_octet_by_octet_is_not_searched_again_and_again() -> None:
    buffer = LineBuffer()
    for _ in range(60_000):
        buffer.feed(b"x")
        assert buffer.take(100_000) is None
    buffer.feed(b"\n")
    assert buffer.take(100_000) == b"x" * 60_000


@pytest.mark.parametrize("end", [b"", b"\r\n"])
@pytest.mark.parametrize(
    ("word", "longer"),
    [(b"AUTH ", True), (b"auth ", True), (b"AUTHX", False), (b"LIST ", False)],
)
def test_lines_that_start_with_some_words_may_be_longer(
    word: bytes, longer: bool, end: bytes
) -> None:
    buffer = LineBuffer()
    line = word + b"x" * LIMIT
    buffer.feed(line + end)
    if longer:
        assert buffer.take(LIMIT, {b"AUTH ": 2 * LIMIT}) == (line if end else None)
        buffer.feed(b"x" * 2 * LIMIT)
    with pytest.raises(LineTooLong):
        buffer.take(LIMIT, {b"AUTH ": 2 * LIMIT})


def test_what_was_forgotten_is_gone_and_the_next_line_is_whole() -> None:
    buffer = LineBuffer()
    buffer.feed(b"half a li")
    assert buffer.take(LIMIT) is None
    buffer.clear()
    assert len(buffer) == 0
    buffer.feed(b"STAT\r\n")
    assert buffer.take(LIMIT) == b"STAT"
