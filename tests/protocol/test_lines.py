"""Lines off the wire: any split, any line end, never without bound (F11, L3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.commands import command_table
from restante.protocol.errors import LineTooLong
from restante.protocol.limits import MAX_AUTH_LINE
from restante.protocol.policy import Policy
from restante.protocol.session import Session

LIMIT = 20

WIRE = st.lists(st.sampled_from([b"a", b"bc", b".", b" ", b"\0", b"\r", b"\n", b"\r\n"])).map(
    b"".join
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """`data` in the pieces that cuts at `places` make of it."""
    at = sorted({place % (len(data) + 1) for place in places})
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


def buffer_for(limit: int = LIMIT) -> Session:
    """A session as what its lines are taken from."""
    return Session(Policy(command_table(), max_line=limit))


def drained(buffer: Session) -> list[bytes]:
    lines = []
    while (line := buffer.take_line()) is not None:
        lines.append(line)
    return lines


def reference(data: bytes) -> list[bytes]:
    return [line.removesuffix(b"\r") for line in data.split(b"\n")[:-1]]


@given(WIRE, st.lists(st.integers(0, 10_000)))
def test_the_lines_do_not_depend_on_where_the_bytes_were_cut(data: bytes, at: list[int]) -> None:
    buffer = buffer_for(len(data))
    lines = []
    for piece in cut(data, at):
        buffer.feed(piece)
        lines += drained(buffer)
    assert lines == reference(data)
    assert len(buffer.buffer) == len(data) - (data.rfind(b"\n") + 1)


@given(WIRE, st.lists(st.integers(0, 10_000)))
def test_no_line_beyond_the_limit_is_given_and_none_within_is_refused(
    data: bytes, at: list[int]
) -> None:
    buffer, lines = buffer_for(), []
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
    buffer = buffer_for()
    buffer.feed(b"x" * LIMIT + end)
    assert buffer.take_line() == b"x" * LIMIT
    buffer.feed(b"x" * (LIMIT + 1) + end)
    with pytest.raises(LineTooLong):
        buffer.take_line()


def test_a_line_without_end_is_refused_from_the_first_octet_too_many() -> None:
    """L3: nobody waits for the end of a line that has none."""
    buffer = buffer_for()
    for _ in range(LIMIT + 1):
        buffer.feed(b"x")
        assert buffer.take_line() is None
    buffer.feed(b"x")
    with pytest.raises(LineTooLong):
        buffer.take_line()
    assert len(buffer.buffer) == LIMIT + 2


@given(st.lists(st.binary(max_size=50)))
def test_what_is_held_never_passes_the_limit_and_one_feed(feeds: list[bytes]) -> None:
    buffer = buffer_for()
    for data in feeds:
        try:
            drained(buffer)
        except LineTooLong:
            return
        assert len(buffer.buffer) <= LIMIT + 1
        buffer.feed(data)
        assert len(buffer.buffer) <= LIMIT + 1 + len(data)


def test_a_line_that_comes_octet_by_octet_is_not_searched_again_and_again() -> None:
    buffer = buffer_for(100_000)
    for _ in range(60_000):
        buffer.feed(b"x")
        assert buffer.take_line() is None
    buffer.feed(b"\n")
    assert buffer.take_line() == b"x" * 60_000


@pytest.mark.parametrize("end", [b"", b"\r\n"])
@pytest.mark.parametrize(
    ("word", "longer"),
    [(b"AUTH ", True), (b"auth ", True), (b"AUTHX", False), (b"LIST ", False)],
)
def test_a_line_that_starts_with_auth_may_be_longer(word: bytes, longer: bool, end: bytes) -> None:
    buffer = buffer_for()
    line = word + b"x" * LIMIT
    buffer.feed(line + end)
    if longer:
        assert buffer.take_line() == (line if end else None)
        buffer.feed(b"x" * MAX_AUTH_LINE)
    with pytest.raises(LineTooLong):
        buffer.take_line()


def test_what_was_forgotten_is_gone_and_the_next_line_is_whole() -> None:
    buffer = buffer_for()
    buffer.feed(b"half a li")
    assert buffer.take_line() is None
    buffer.drop_input()
    assert len(buffer.buffer) == 0
    buffer.feed(b"STAT\r\n")
    assert buffer.take_line() == b"STAT"
