"""Where an mbox is cut: between messages, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from restante.delivery import iter_messages, mbox, sources

FIRST = b"From a@example.org Mon Jan  5 10:00:00 2026\nSubject: first\n\nbody 1\n"

Cut = Callable[[bytes], list[bytes]]


@pytest.fixture
def cut(tmp_path: Path) -> Cut:
    """The messages of an mbox, as an import would have them."""

    def messages(data: bytes) -> list[bytes]:
        path = tmp_path / "box"
        path.write_bytes(data)
        found = iter_messages(path)
        assert found.kind == "mboxrd"
        return [b"".join(message.blocks()) for message in found]

    return messages


DATED = [
    b"From a@example.org Mon Jan  5 10:00:01 2026",
    b"From - Mon Jan 05 10:00:01 2026",
    b"From a@example.org Mon Jan  5 10:00 2026",
    b"From a@example.org Mon Jan  5 10:00:01 CET 2026",
    b"From a@example.org Mon Jan  5 10:00:01 2026 +0100",
    b"From 1546844383498466304@xxx Tue Feb 05 12:26:56 +0000 2019",
    b"From a Mon Jan  5 10:00:01 MET DST 1997",
    b"From a!b!c Mon Jan  5 10:00:01 91 remote from c",
    b"From a@example.org Mon, 5 Jan 2026 10:00:01 +0100",
    b"From a@example.org Mon Jan 5 2026 10:00:01",
    b"From MAILER-DAEMON Mon Jan  5 10:00:01 2026  ",
    b'From "a b"@example.org Mon Jan  5 10:00:01 2026',
    b"From " + b"a" * 3000 + b"@example.org Mon Jan  5 10:00:01 2026",
]
UNDATED = [b"From ", b"From - ", b"From a@example.org", b"From 1546844383498466304@xxx"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("line", [*DATED, *UNDATED])
def test_a_separator_after_an_empty_line(cut: Cut, line: bytes, end: bytes) -> None:
    data = FIRST + b"\n" + line + b"\nSubject: second\n\nbody 2\n"
    expected = [FIRST.partition(b"\n")[2], b"Subject: second\n\nbody 2\n"]
    assert cut(data.replace(b"\n", end)) == [each.replace(b"\n", end) for each in expected]


@pytest.mark.parametrize("line", DATED)
def test_a_dated_one_without_an_empty_line_before_or_a_header_behind(cut: Cut, line: bytes) -> None:
    """procmail leaves the empty line out where a message has no newline at its end."""
    second = b"Subject: second\n\nbody 2\n"
    first = FIRST.partition(b"\n")[2]
    assert cut(FIRST + line + b"\n" + second) == [first, second]
    assert cut(FIRST + b" \t\n" + line + b"\n" + second) == [first + b" \t\n", second]
    assert cut(FIRST + b"\n" + line + b"\n\nno header\n") == [first, b"\nno header\n"]
    assert cut(FIRST + b"\n" + line) == [first, b""]


@pytest.mark.parametrize(
    "text",
    [
        b"From 10:00 to 11:30 we meet in room 5.\nFrom 12:00 lunch.\n",
        b"From here on it is easy.\n",
        b"From here on\nNote: this is no field of mail\n",
        b"From Jan 5 2026 on, at 10:00, we open later.\n",
        b"From Monday Jan 5 2026 10:00:01 on\n",
        b"Fromage\n",
        b"From\n",
        b" From a@example.org Mon Jan  5 10:00:01 2026\nSubject: x\n",
        b"From a@example.org Mon Foo  5 10:00:01 2026\nno field\n",
        b"From " + b"a" * 5000 + b" Mon Jan  5 10:00:01 2026\nSubject: x\n",
    ],
)
def test_text_that_begins_with_from_is_no_separator(cut: Cut, text: bytes) -> None:
    body = FIRST.partition(b"\n")[2]
    assert cut(FIRST + b"\n" + text) == [body + b"\n" + text]
    assert cut(FIRST + text) == [body + text]


@pytest.mark.parametrize("line", [b"From a@example.org\nSubject: x\n", b"From \nSubject: x\n"])
def test_an_undated_line_after_text_is_no_separator(cut: Cut, line: bytes) -> None:
    assert cut(FIRST + line) == [FIRST.partition(b"\n")[2] + line]


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\n", b"\r\n \n", b"\xef\xbb\xbf\n\n"])
def test_a_byte_order_mark_and_empty_lines_at_the_beginning(cut: Cut, before: bytes) -> None:
    assert cut(before + FIRST) == [FIRST.partition(b"\n")[2]]


PASTED = b"Hello\n\nFrom b@example.org Mon Jan  5 09:00:00 2026\nSubject: pasted\n\nbye\n"


def with_length(length: int, body: bytes = PASTED) -> bytes:
    head = b"From a@example.org Mon Jan  5 10:00:01 2026\nSubject: a\n"
    return head + b"content-LENGTH: %d\n\n%b" % (length, body)


@pytest.mark.parametrize("between", [b"", b"\n", b"\r\n"])
def test_content_length_where_a_separator_or_the_end_stands(cut: Cut, between: bytes) -> None:
    first = with_length(len(PASTED)).partition(b"\n")[2]
    assert cut(with_length(len(PASTED)) + between) == [first]
    assert cut(with_length(len(PASTED)) + between + FIRST) == [first, FIRST.partition(b"\n")[2]]


@pytest.mark.parametrize("wrong", [-3, -1, 2, 5, 1_000_000, -len(PASTED), 10**14])
def test_content_length_elsewhere_is_not_believed(cut: Cut, wrong: int) -> None:
    length = max(0, len(PASTED) + wrong)
    messages = cut(with_length(length) + b"\n" + FIRST)
    assert [each.partition(b"\n")[0] for each in messages] == [
        b"Subject: a",
        b"Subject: pasted",
        b"Subject: first",
    ]


def test_a_message_with_unquoted_separators_loses_no_sign(cut: Cut) -> None:
    """Who writes Content-Length and doesn't quote didn't write the `>` either."""
    body = PASTED + b">From here\n"
    (message, _) = cut(with_length(len(body), body) + b"\n" + FIRST)
    assert message.endswith(b"\n>From here\n")
    (message, _) = cut(with_length(11, b">From here\n") + b"\n" + FIRST)
    assert message.endswith(b"\nFrom here\n")


LINES = st.sampled_from(
    [
        *(line + b"\n" for line in (*DATED[:4], *UNDATED)),
        *(b"\n", b" \n", b"text\n", b"Subject: x\n", b"To: y\r\n", b"\r\n", b">From a\n"),
        *(b">>From a Mon Jan  5 10:00:00 2026\n", b"From here on\n", b"\0\xff\n", b"From"),
        *(b"Content-Length: 20\n", b"Content-Length: 0\n", b"X-Status: D\n", b"\n\n\n"),
    ]
)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LINES, max_size=25), st.integers(1, 120))
@example([b"Content-Length: 3\n", b"\n\n\n\n", DATED[0] + b"\n"], 7)
def test_no_line_is_ever_lost(tmp_path: Path, lines: list[bytes], block: int) -> None:
    """Every octet is a message's, a separator's, or the one empty line before it."""
    data = DATED[0] + b"\n" + b"".join(lines)
    path = tmp_path / "box"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mbox, "BLOCK", block)
        found = list(mbox.places(path))
    position = 0
    for place in found:
        assert place.separator == position
        separator = data[place.separator : place.start]
        assert re.fullmatch(rb"From [^\n]*\n?", separator)
        assert place.start <= place.end <= place.after
        assert data[place.end : place.after] in (b"", b"\n", b"\r\n")
        position = place.after
    assert position == len(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mbox, "BLOCK", block)
        patch.setattr(sources, "MAX_QUOTED", 64)
        patch.setattr(sources, "_DELETED", re.compile(rb"(?!)"))
        contents = [b"".join(message.blocks()) for message in iter_messages(path, "mboxrd")]
    whole = [data[place.start : place.end] for place in found]
    unquoted = re.compile(rb"(?m)^>(?=>*From )")
    plain = [
        unquoted.sub(b"", each) if place.quoted else each
        for each, place in zip(whole, found, strict=True)
    ]
    assert contents == plain


@given(st.binary(max_size=300))
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_octets(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "box"
    path.write_bytes(b"From " + data)
    assert sum(place.after - place.separator for place in mbox.places(path)) == 5 + len(data)
