"""Facts: exact numbers, wherever the blocks are cut."""

from __future__ import annotations

import re
from array import array
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from restante.protocol.downgrade import downgrade_header
from restante.protocol.facts import (
    INTERNATIONALIZED,
    UTF8_HEADER,
    Facts,
    Measure,
    blank_line_end,
    measure,
    measure_whole,
)
from restante.protocol.limits import MAX_DOTS, MAX_DOWNGRADED_HEADER
from tests.corpus import NASTY, wire_form

pieces = st.sampled_from(
    [b"\r", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b".", b"..", b"x", b"\0", b"\xc3\xbc", b"To: a"]
)
messages = st.one_of(st.lists(pieces, max_size=16).map(b"".join), st.binary(max_size=40))

ADDRESS_FIELDS = [
    *("From", "Sender", "Reply-To", "To", "Cc", "Bcc", "Return-Path", "Delivered-To"),
    *("Resent-From", "Resent-Sender", "Resent-Reply-To", "Resent-To", "Resent-Cc", "Resent-Bcc"),
]

INTERNATIONALISED = "Subject: Grüße aus Köln\nFrom: jörg@exämple.org\n\nbody ü\n".encode()


def header_end(message: bytes) -> int:
    """After the first line that is empty, looked for line by line."""
    at = 0
    for line in re.findall(rb"[^\n]*\n", message):
        at += len(line)
        if line in (b"\n", b"\r\n"):
            return at
    return len(message)


def expected(message: bytes) -> Facts:
    wire = wire_form(message)
    header = message[: header_end(message)]
    growth = len(wire_form(downgrade_header(header))) - len(wire_form(header)) if header else 0
    dots = [found.start() for found in re.finditer(rb"(?m)^\.", message)]
    few = 0 < len(dots) <= min(16 + len(message) // 1000, MAX_DOTS)
    return Facts(
        len(wire),
        header_end(message),
        wire == message,
        bool(dots),
        len(wire) + growth,
        array("I", dots) if few else None,
        expected_utf8(header),
    )


def expected_utf8(header: bytes) -> int:
    """What there is of UTF-8 in a header, field by field."""
    try:
        text = header.decode("utf-8")
    except UnicodeDecodeError:
        return 0
    if text.isascii():
        return 0
    fields = re.sub(r"\r?\n(?=[ \t])", "", text).split("\n")
    addresses = [
        field for field in fields if field.startswith(("To:", "From:")) and not field.isascii()
    ]
    return INTERNATIONALIZED if addresses else UTF8_HEADER


def cut(message: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(message) + 1) for place in places), len(message)]
    return [message[a:b] for a, b in pairwise(edges)]


@pytest.mark.parametrize("name", NASTY)
def test_the_corpus(name: str) -> None:
    message = NASTY[name]
    assert measure([message]) == measure_whole(message) == expected(message)
    size = 65_536
    blocks = [message[at : at + size] for at in range(0, len(message), size)]
    assert measure(blocks) == expected(message)


@given(messages)
@example(b"\rTo: a\xc3\xbc")
def test_f5_octets_and_all_the_rest(message: bytes) -> None:
    assert measure([message]) == expected(message)


@given(messages)
@example(b"\rTo: a\xc3\xbc")
@example(b"\r\nx\n")
@example(b".\n.\r\n.")
def test_one_that_is_in_one_piece_has_the_same_facts(message: bytes) -> None:
    assert measure_whole(message) == measure([message])


@given(messages, st.lists(st.integers(0, 100), max_size=6))
def test_f1_the_result_does_not_depend_on_the_cuts(message: bytes, places: list[int]) -> None:
    assert measure(cut(message, places)) == measure([message])


@pytest.mark.parametrize(
    "message", [*[m for m in NASTY.values() if len(m) < 600], INTERNATIONALISED]
)
def test_every_split_in_two_and_octet_by_octet(message: bytes) -> None:
    whole = measure([message])
    for at in range(len(message) + 1):
        assert measure([message[:at], message[at:]]) == whole
    assert measure([message[at : at + 1] for at in range(len(message))]) == whole


def test_an_empty_message_is_one_empty_line() -> None:
    assert measure([]) == measure([b""]) == Facts(2, 0, False, False, 2)


@pytest.mark.parametrize(
    ("message", "end"),
    [
        (b"A: b\n\nbody", 6),
        (b"A: b\r\n\r\nbody", 8),
        (b"A: b\r\n\nbody", 7),
        (b"A: b\n\r\nbody", 7),
        (b"\nbody", 1),
        (b"\r\nbody", 2),
        (b"A: b\n", 5),
        (b"A: b", 4),
        (b"A: b\r\r\n\r\nbody", 9),
        (b"A: b\n\rbody\n\nmore", 12),
        (b"", 0),
    ],
)
def test_where_the_header_ends(message: bytes, end: int) -> None:
    assert measure([message]).header_end == end


def test_wire_ready_means_that_nothing_need_be_changed() -> None:
    assert measure([b"A: b\r\n\r\nbody\r\n"]).wire_ready
    assert not measure([b"A: b\r\n\r\n.body\r\n"]).wire_ready
    assert not measure([b"A: b\n\nbody\n"]).wire_ready
    assert not measure([b"A: b\r\n\r\nbody"]).wire_ready


@given(messages)
def test_wire_ready_bytes_are_the_wire_form(message: bytes) -> None:
    facts = measure([message])
    if facts.wire_ready:
        assert wire_form(message) == message
        assert b"\n." not in b"\n" + message


def test_utf_8_in_an_address_makes_a_message_internationalized() -> None:
    facts = measure([INTERNATIONALISED])
    header = INTERNATIONALISED[: facts.header_end]
    wire = wire_form(downgrade_header(header) + INTERNATIONALISED[facts.header_end :])
    assert facts.ascii_octets == len(wire)
    assert facts.internationalized
    assert facts.utf8_header
    for name in ("eight-bit-body", "plain-lf"):
        assert measure([NASTY[name]]).utf8 == 0


SUBJECT = "Subject: Grüße\n"


@pytest.mark.parametrize(
    ("header", "utf8"),
    [
        (SUBJECT, UTF8_HEADER),
        (SUBJECT + "From: joe@example.org\n", UTF8_HEADER),
        ("X-Mailer: ü\nComments: an joe@exämple.org\n", UTF8_HEADER),
        ("Sübject: x\n", UTF8_HEADER),
        ("From: Jürgen <j@example.org>\n", INTERNATIONALIZED),
        ("from : j@example.org (Jürgen)\n", INTERNATIONALIZED),
        ("To: joe@example.org,\n ann@exämple.org\n", INTERNATIONALIZED),
        ("To: joe@example.org,\r\n\tann@exämple.org\r\n", INTERNATIONALIZED),
        *((f"{name}: ü@example.org\n", INTERNATIONALIZED) for name in ADDRESS_FIELDS),
        (SUBJECT + "Received: from a by b with UTF8SMTPSA id 1; x\n", INTERNATIONALIZED),
        (SUBJECT + "Received: from a by b\n\twith utf8smtp id 1; x\n", INTERNATIONALIZED),
        (SUBJECT + "Received: from a by b with UTF8LMTP; x\n", INTERNATIONALIZED),
        (SUBJECT + "Received: from UTF8SMTP by b with ESMTPSA; x\n", UTF8_HEADER),
        (SUBJECT + "X-Received: from a by b with UTF8SMTP; x\n", UTF8_HEADER),
        ("Received: from a by b with UTF8SMTP; x\nSubject: x\n", 0),
    ],
)
def test_what_makes_a_message_internationalized(header: str, utf8: int) -> None:
    facts = measure([(header + "\nbody ü\n").encode()])
    assert (facts.utf8, facts.utf8_header) == (utf8, utf8 > 0)
    assert facts.internationalized == (utf8 == INTERNATIONALIZED)


def test_old_8_bit_mail_is_not_utf_8() -> None:
    assert measure(["From: Jürgen <j@example.org>\n\n".encode("latin-1")]).utf8 == 0


def test_utf_8_is_known_of_where_the_header_in_ascii_is_as_long() -> None:
    """The downgraded subject of this message has as many octets."""
    facts = measure(["From: a@example.org\nSubject: ü              \n\nbody\n".encode()])
    assert facts.octets == facts.ascii_octets
    assert facts.utf8_header


@pytest.mark.parametrize("length", [MAX_DOWNGRADED_HEADER, MAX_DOWNGRADED_HEADER + 1])
def test_a_header_past_the_bound_is_not_kept(length: int) -> None:
    header = b"X: " + b"x" * (length - 5) + b"\n\n"
    meter = Measure()
    for at in range(0, length, 50_000):
        meter.feed(header[at : at + 50_000])
    assert (meter._header is None) == (length > MAX_DOWNGRADED_HEADER)
    meter.feed(b"body\n" * 100_000)
    facts = meter.finish()
    assert facts.header_end == length
    assert measure_whole(header + b"body\n" * 100_000) == facts
    assert len(meter._header or b"") <= MAX_DOWNGRADED_HEADER


def test_nothing_grows_with_the_body() -> None:
    meter = Measure()
    meter.feed(b"A: b\n\n")
    for _ in range(100):
        meter.feed(b"x" * 10_000)
    assert bytes(meter._header or b"") == b"A: b\n\n"


def test_blank_line_end_looks_back_over_the_cut() -> None:
    assert blank_line_end(b"\n", b"\nx") == 1
    assert blank_line_end(b"a\n\r", b"\nx") == 1
    assert blank_line_end(b"a\r\n", b"\r\nx") == 2
    assert blank_line_end(b"a\n", b"x\n") == -1
    assert blank_line_end(b"a\n", b"b\n\n\r\n") == 3


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("more", [0, 1])
def test_the_dots_places_are_kept_up_to_one_in_a_thousand_octets(end: bytes, more: int) -> None:
    line = b"x" * (1000 - len(end)) + end
    message = (b"." + end) * (16 + 20 + more) + line * 20
    message = message[: 20_999 - len(end)] + end
    facts = measure([message])
    assert facts.needs_stuffing
    assert (facts.dots is None) == bool(more)
    assert measure_whole(message) == facts


@pytest.mark.parametrize("more", [0, 1])
def test_no_more_places_are_kept_than_the_bound(more: int) -> None:
    block = b"." + b"x" * 1997 + b"\r\n"
    meter = Measure()
    for _ in range(MAX_DOTS + more):
        meter.feed(block)
    for _ in range(3):
        meter.feed(b"\r\n\n\r\n.\r\nx\n" if more else b"x\r\n\r\n")
    facts = meter.finish()
    assert facts.needs_stuffing
    assert facts.crlf == (not more)
    if more:
        assert facts.dots is None
        assert facts.octets == 2000 * (MAX_DOTS + 1) + 3 * 10 + 2 * 3
    else:
        assert facts.dots == array("I", range(0, 2000 * MAX_DOTS, 2000))


def test_places_past_what_an_offset_holds_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restante.protocol.facts.MAX_OFFSET", 10)
    assert measure([b"....\n", b".\r\n"]).dots == array("I", [0, 5])
    assert measure([b"....\r\n", b"\r\n", b".x\r\n"]).dots is None
    assert measure([b"....\r\n", b"\r\n", b".x\r\n"]).needs_stuffing
    assert measure_whole(b"....\r\n\r\n.x\r\n") == measure([b"....\r\n", b"\r\n", b".x\r\n"])
