"""DATA as it streams in (RFC 5321 §4.5.2): the end is found, the dots come off, at any cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.unstuffing import Unstuffing
from tests.corpus import NASTY, wire_form
from tests.delivery.helpers import as_data

PIECES = st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"..", b"x", b"\0", b"\xff", b"\r\n."])


def unstuff(blocks: list[bytes]) -> tuple[bytes, bytes | None]:
    unstuffing = Unstuffing()
    content = rest = b""
    for block in blocks:
        if unstuffing.rest is None:
            content += unstuffing.feed(block)
        else:
            rest += block
    return content, None if unstuffing.rest is None else unstuffing.rest + rest


@given(st.lists(PIECES, max_size=12).map(b"".join), st.lists(st.integers(0, 60), max_size=8))
def test_any_message_survives_stuffing_at_every_split(body: bytes, cuts: list[int]) -> None:
    """F1"""
    wire = as_data(body) + b"QUIT\r\n"
    places = [0, *sorted(cut for cut in cuts if cut < len(wire)), len(wire)]
    blocks = [wire[a:b] for a, b in pairwise(places)]
    expected = body if not body or body.endswith(b"\r\n") else body + b"\r\n"
    assert unstuff(blocks) == (expected, b"QUIT\r\n")
    assert unstuff([wire[n : n + 1] for n in range(len(wire))]) == (expected, b"QUIT\r\n")


@pytest.mark.parametrize(
    "wire",
    [
        b"a\n.\nb",
        b"a\n.\r\nb",
        b"a\r\n.\nb",
        b"a\r.\rb",
        b"a\r\n.\rb",
        b"a\r.\r\nb",
        b"a\r\n\0.\r\nb",
        b".\nb",
        b".\rb",
    ],
)
def test_no_other_end_of_data_is_accepted(wire: bytes) -> None:
    """SMTP smuggling: only CRLF "." CRLF ends the data."""
    content, rest = unstuff([wire])
    assert rest is None
    assert unstuff([bytes([octet]) for octet in wire]) == (content, None)


def test_a_dot_comes_off_only_after_crlf() -> None:
    assert unstuff([b"..a\r\n..b\n..c\r..d\r\n.e\r\n.\r\n"]) == (
        b".a\r\n.b\n..c\r..d\r\ne\r\n",
        b"",
    )


def test_the_empty_message() -> None:
    assert unstuff([b".\r\n"]) == (b"", b"")
    assert unstuff([b"\r\n.\r\n"]) == (b"\r\n", b"")


@pytest.mark.parametrize("name", NASTY)
def test_the_corpus(name: str) -> None:
    wire = wire_form(NASTY[name])
    data = as_data(wire)
    assert unstuff([data]) == (wire, b"")
    assert unstuff([data[n : n + 997] for n in range(0, len(data), 997)]) == (wire, b"")


def test_holds_back_no_more_than_four_octets() -> None:
    unstuffing = Unstuffing()
    given = kept = 0
    for block in [b"\r\n.\r", b"\r\n.\r", b"x" * 1000, b"\r\n", b".", b"\r"] * 3:
        given += len(block)
        kept += len(unstuffing.feed(block))
        assert given - kept <= 4 + 6 * 3  # the dots taken off besides
