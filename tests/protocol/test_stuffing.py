"""Messages on their way out (RFC 1939 §3): every split of the input gives the same wire bytes.

The reference is `wire_form` of the corpus and byte-stuffing said in one line, so that the
encoder is not held against itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from restante.protocol.downgrade import downgrade_header
from restante.protocol.facts import Facts, measure
from restante.protocol.limits import MAX_DOWNGRADED_HEADER
from restante.protocol.stuffing import (
    BodyEncoder,
    WireEncoder,
    stuffed_at,
    stuffed_lines,
    stuffed_whole,
    wire_blocks,
)
from tests.corpus import NASTY, wire_form

PIECES = [
    b"a",
    b"bc",
    b".",
    b"..",
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"\r\n\r\n",
    b"\n.",
    b"\xc3\xa9",
]
MESSAGES = st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join)
CUTS = st.lists(st.integers(0, 1000), max_size=8)
EDGE = 3000  # octets at both ends of a message between which all single cuts are tried


def stuffed(wire: bytes) -> bytes:
    """`wire`, whole lines, byte-stuffed and terminated."""
    return re.sub(rb"(?m)^\.", b"..", wire) + b".\r\n"


def unstuffed(reply: bytes) -> bytes:
    """What a client makes of a multi-line reply's body (RFC 1939 §3)."""
    lines = reply.split(b"\r\n")
    assert lines.pop() == b""
    assert lines.pop() == b"."
    return b"".join(line.removeprefix(b".") + b"\r\n" for line in lines)


def top_of(message: bytes, lines: int) -> bytes:
    """The part of a stored message that TOP shows: header, blank line, `lines` of the body."""
    blank = re.search(rb"(?:\A|\n)\r?\n", message)
    if blank is None:
        return message
    body = message[blank.end() :]
    return message[: blank.end()] + b"".join(re.findall(rb"[^\n]*\n|[^\n]+\Z", body)[:lines])


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted({place % (len(data) + 1) for place in cuts})
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


def encoded(blocks: list[bytes], *args: object) -> bytes:
    return b"".join(wire_blocks(blocks, *args))  # type: ignore[arg-type]


def every_split(data: bytes) -> Iterator[list[bytes]]:
    yield [data]
    yield [data[n : n + 1] for n in range(len(data))]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]


def terminators(reply: bytes) -> int:
    return len(re.findall(rb"(?:\A|\r\n)\.(?=\r\n)", reply))


@given(MESSAGES, CUTS, st.booleans())
@example(b"", [], False)
@example(b"\r", [], True)
@example(b".", [], True)
def test_any_split_gives_the_stuffed_wire_form(
    message: bytes, cuts: list[int], known: bool
) -> None:
    """F1, F2, F3: stuffing after line ends are made CRLF, wherever blocks meet."""
    facts = measure([message]) if known else None
    reply = encoded(pieces_of(message, cuts), facts)
    assert reply == stuffed(wire_form(message))
    assert unstuffed(reply) == wire_form(message)
    assert terminators(reply) == 1


@given(st.binary(max_size=200), CUTS)
def test_arbitrary_octets_come_back_as_their_wire_form(message: bytes, cuts: list[int]) -> None:
    facts = measure([message])
    reply = encoded(pieces_of(message, cuts), facts)
    assert unstuffed(reply) == wire_form(message)
    assert len(unstuffed(reply)) == facts.octets  # F5


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("known", [False, True])
def test_the_corpus_whole_and_in_blocks(name: str, known: bool) -> None:
    message = NASTY[name]
    facts = measure([message]) if known else None
    expected = stuffed(wire_form(message))
    for size in (1, 2, 3, 7, 4096, 65_536, len(message) or 1):
        if size < 4096 and len(message) > 20_000:
            continue
        blocks = [message[at : at + size] for at in range(0, len(message), size)]
        assert encoded(blocks, facts) == expected, size


@pytest.mark.parametrize("name", [name for name, message in NASTY.items() if len(message) < EDGE])
def test_the_corpus_cut_in_two_at_every_octet(name: str) -> None:
    message = NASTY[name]
    expected = stuffed(wire_form(message))
    facts = measure([message])
    for blocks in every_split(message):
        assert encoded(blocks) == expected
        assert encoded(blocks, facts) == expected


@pytest.mark.parametrize("name", ["block-edge", "block-edge-crlf", "many-lone-crs"])
def test_a_dot_where_two_blocks_meet(name: str) -> None:
    """F1: twisted looked for line starts in each chunk alone."""
    message = NASTY[name]
    expected = stuffed(wire_form(message))
    for at in range(65_500, 65_560):
        assert encoded([message[:at], message[at:]]) == expected


@given(MESSAGES, CUTS, st.integers(0, 40), st.booleans())
def test_top_gives_the_header_the_blank_line_and_that_many_lines(
    message: bytes, cuts: list[int], lines: int, known: bool
) -> None:
    """F8: exactly n lines of the body; the header isn't counted."""
    facts = measure([message]) if known else None
    reply = encoded(pieces_of(message, cuts), facts, lines)
    assert unstuffed(reply) == wire_form(top_of(message, lines))
    assert terminators(reply) == 1


@given(MESSAGES, CUTS)
def test_top_with_more_lines_than_there_are_is_the_whole_message(
    message: bytes, cuts: list[int]
) -> None:
    """fetchmail's way of fetching: `TOP n 99999999`."""
    for lines in (len(message) + 1, 99_999_999, 10**18):
        assert encoded(pieces_of(message, cuts), None, lines) == stuffed(wire_form(message))


@pytest.mark.parametrize("name", NASTY)
def test_top_0_of_the_corpus_reads_no_further_than_the_header(name: str) -> None:
    message = NASTY[name]
    facts = measure([message])
    encoder = BodyEncoder(facts, 0)
    out, fed = [], 0
    for at in range(0, len(message), 512):
        if encoder.complete:
            break
        out.append(encoder.feed(message[at : at + 512]))
        fed = min(at + 512, len(message))
    out.append(encoder.finish())
    assert unstuffed(b"".join(out)) == wire_form(message[: facts.header_end])
    assert fed <= facts.header_end + 512


@given(MESSAGES, CUTS)
def test_facts_spare_work_and_never_change_a_byte(message: bytes, cuts: list[int]) -> None:
    known = measure([message])
    ignorant = Facts(known.octets, known.header_end, False, True, known.ascii_octets)
    blocks = pieces_of(message, cuts)
    assert encoded(blocks, known) == encoded(blocks, ignorant) == encoded(blocks)


@given(MESSAGES)
@example(b"")
@example(b"\n.")
@example(b"x\r")
def test_a_message_in_one_piece(message: bytes) -> None:
    facts = measure([message])
    ignorant = Facts(facts.octets, facts.header_end, False, True, facts.ascii_octets)
    for known in (facts, facts._replace(dots=None), ignorant):
        assert b"".join(stuffed_whole(message, known)) == stuffed(wire_form(message))


@pytest.mark.parametrize("name", NASTY)
def test_the_corpus_in_one_piece(name: str) -> None:
    message = NASTY[name]
    facts = measure([message])
    assert b"".join(stuffed_whole(message, facts)) == stuffed(wire_form(message))
    assert not facts.wire_ready or stuffed_whole(message, facts)[0] is message


@given(st.binary(max_size=60), st.sets(st.integers(0, 59)))
def test_a_dot_at_each_place(data: bytes, places: set[int]) -> None:
    dots = sorted(place for place in places if place < len(data))
    data = bytes(0x2E if at in dots else octet for at, octet in enumerate(data))
    expected = b"".join(
        (b"." if at in dots else b"") + data[at : at + 1] for at in range(len(data))
    )
    assert stuffed_at(data, dots) == expected


HEADERS = st.lists(
    st.sampled_from(
        [
            "Subject: gr\u00fc\u00df",
            "To: \u30b8\u30e7\u30fc <a@b>",
            "X: plain",
            ".Dot: \u00e9",
            "\u00e9",
        ]
    ),
    max_size=4,
)


@given(HEADERS, st.sampled_from(["\n", "\r\n"]), MESSAGES, CUTS, st.one_of(st.none(), st.just(2)))
def test_a_downgraded_message_has_the_size_that_its_facts_say(
    fields: list[str], end: str, body: bytes, cuts: list[int], top: int | None
) -> None:
    """A13, F5: what a client without UTF8 gets is as long as LIST told it."""
    message = "".join(field + end for field in fields).encode() + end.encode() + body
    facts = measure([message])
    reply = encoded(pieces_of(message, cuts), facts, top, True)
    header, rest = message[: facts.header_end], message[facts.header_end :]
    downgraded = downgrade_header(header) + rest
    if top is None:
        assert unstuffed(reply) == wire_form(downgraded)
        assert len(unstuffed(reply)) == facts.ascii_octets
    else:
        assert unstuffed(reply) == wire_form(top_of(downgraded, top))
    if header.isascii() or _is_utf8(header):
        shown = unstuffed(reply)
        assert re.split(rb"(?:\A|\r\n)\r\n", shown, maxsplit=1)[0].isascii()
    assert terminators(reply) == 1


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize("past", [0, 1])
def test_a_header_without_end_is_not_held_for_ever(past: int) -> None:
    """What passes the bound is sent as it is: memory stays bounded, and facts agree."""
    start = "Subject: \u00fc\n".encode()
    message = start + b"x" * (MAX_DOWNGRADED_HEADER - len(start) + past)
    facts = measure([message])
    encoder = BodyEncoder(facts, None, True)
    out = [encoder.feed(message[at : at + 9000]) for at in range(0, len(message), 9000)]
    body = unstuffed(b"".join(out) + encoder.finish())
    assert len(body) == facts.ascii_octets
    assert body.isascii() is (past == 0)


@given(MESSAGES, CUTS)
def test_what_the_encoder_holds_back_is_one_octet_at_most(message: bytes, cuts: list[int]) -> None:
    encoder = WireEncoder()
    given_out = b""
    for block in pieces_of(message, cuts):
        given_out += encoder.feed(block)
    whole = stuffed(wire_form(message))
    assert whole.startswith(given_out)
    assert len(given_out) >= len(message) - 1 - message.count(b"\r\n.")


@given(st.lists(st.sampled_from([b"", b".", b"..", b".x", b"x", b"x."])))
def test_whole_lines_are_stuffed_one_by_one(lines: list[bytes]) -> None:
    assert stuffed_lines(lines) + b".\r\n" == stuffed(b"".join(line + b"\r\n" for line in lines))
