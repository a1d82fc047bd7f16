"""Reply values become wire bytes in one place, whatever text reaches it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.limits import MAX_REPLY_LINE
from restante.protocol.replies import (
    Body,
    Continue,
    Err,
    MultiLine,
    Ok,
    Prepared,
    Reply,
    Silent,
    Wording,
)

TEXT = st.text(max_size=700)
STATUS = re.compile(rb"(?:\+OK|-ERR)(?: [^\r\n]*)?\r\n")


@pytest.mark.parametrize(
    ("reply", "wire"),
    [
        (Ok(), b"+OK\r\n"),
        (Ok("2 320"), b"+OK 2 320\r\n"),
        (Ok("{count} messages", {"count": 2}), b"+OK 2 messages\r\n"),
        (Ok("braces {stay} {"), b"+OK braces {stay} {\r\n"),
        (Err("no"), b"-ERR no\r\n"),
        (Err("no", "IN-USE"), b"-ERR [IN-USE] no\r\n"),
        (Err("no", "SYS/TEMP"), b"-ERR [SYS/TEMP] no\r\n"),
        (Err("no", "BAD CODE"), b"-ERR no\r\n"),
        (Err("no", "B]AD"), b"-ERR no\r\n"),
        (Err("", "AUTH"), b"-ERR [AUTH]\r\n"),
        (MultiLine("follows", ["a", ".b", "", "."]), b"+OK follows\r\na\r\n..b\r\n\r\n..\r\n.\r\n"),
        (MultiLine("", []), b"+OK\r\n.\r\n"),
        (Prepared("{n}", b"1 5\r\n", {"n": 1}), b"+OK 1\r\n1 5\r\n.\r\n"),
        (Body("{octets} octets", None, values={"octets": 7}), b"+OK 7 octets\r\n"),
        (Continue(), b"+ \r\n"),  # A4
        (Continue(b"x"), b"+ eA==\r\n"),
        (Silent(), b""),
    ],
)
def test_wire_bytes(reply: Reply, wire: bytes) -> None:
    assert Wording().encode(reply) == wire


@pytest.mark.parametrize("utf8", [False, True])
@given(text=TEXT, code=st.one_of(st.none(), TEXT))
def test_a_status_line_is_one_line_of_at_most_512_octets(
    utf8: bool, text: str, code: str | None
) -> None:
    """F10, and no text can put a second reply on the wire."""
    for wire in (Wording(utf8=utf8).encode(reply) for reply in (Ok(text), Err(text, code))):
        assert STATUS.fullmatch(wire)
        assert len(wire) <= MAX_REPLY_LINE
        assert not re.search(rb"[\x00-\x1f\x7f]", wire[:-2])
        wire.decode("utf-8" if utf8 else "ascii")


@given(st.lists(TEXT, max_size=5), TEXT)
def test_a_multi_line_reply_ends_once_whatever_its_lines_hold(lines: list[str], text: str) -> None:
    wire = Wording().encode(MultiLine(text, lines))
    parts = wire.split(b"\r\n")
    assert parts[-2:] == [b".", b""]
    assert len(parts) == len(lines) + 3
    assert b"." not in parts[:-2]
    assert b"\n" not in wire.replace(b"\r\n", b"")
    assert b"\r" not in wire.replace(b"\r\n", b"")


def test_text_beyond_ascii_is_sent_only_to_those_who_asked() -> None:
    """RFC 6856 §2.2"""
    assert Wording().encode(Ok("Gr\u00fc\u00dfe")) == b"+OK Gr??e\r\n"
    assert Wording(utf8=True).encode(Ok("Gr\u00fc\u00dfe")) == "+OK Gr\u00fc\u00dfe\r\n".encode()


def test_a_long_status_line_is_not_cut_inside_a_character() -> None:
    wire = Wording(utf8=True).encode(Ok("\u65e5" * 400))
    assert MAX_REPLY_LINE - 3 <= len(wire) <= MAX_REPLY_LINE
    assert wire.decode().rstrip("\r\n").endswith("\u65e5")


def test_values_are_filled_in_after_translation_and_cannot_add_placeholders() -> None:
    wire = Wording(language="en").encode(Ok("{name} here", {"name": "{0} {x}"}))
    assert wire == b"+OK {0} {x} here\r\n"
