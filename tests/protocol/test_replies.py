"""Reply values become wire bytes in one place, whatever text reaches it."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.limits import MAX_REPLY_LINE
from restante.protocol.replies import (
    DEFAULT_WORDING,
    Body,
    Continue,
    Err,
    MultiLine,
    Ok,
    Prepared,
    Reply,
    Silent,
    Wording,
    fixed,
    message_follows,
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


def test_the_reply_to_retr_is_made_once_in_the_default_wording_and_translated_in_others() -> None:
    reply = message_follows(None, 1234, downgrade=False)
    assert DEFAULT_WORDING.encode(reply) == reply.status == b"+OK 1234 octets\r\n"
    assert Wording(utf8=True).encode(reply) == b"+OK 1234 octets\r\n"
    assert Wording(language="de").encode(reply) == b"+OK 1234 Oktette\r\n"


def test_values_are_filled_in_after_translation_and_cannot_add_placeholders() -> None:
    wire = Wording(language="en").encode(Ok("{name} here", {"name": "{0} {x}"}))
    assert wire == b"+OK {0} {x} here\r\n"


ANYTHING: st.SearchStrategy[Any] = st.one_of(
    TEXT, st.none(), st.integers(), st.binary(max_size=20), st.lists(TEXT, max_size=2)
)


@given(st.sampled_from([Ok, Err]), ANYTHING, ANYTHING)
def test_a_reply_of_the_wrong_kind_raises_or_is_one_line(
    kind: type[Any], text: Any, values: Any
) -> None:
    """What an application's handler has made wrongly is its error, and nothing is sent."""
    try:
        wire = Wording().encode(kind(text, values=values))
    except (TypeError, ValueError, KeyError, IndexError, AttributeError):
        return
    assert isinstance(text, str)
    assert STATUS.fullmatch(wire)


@given(ANYTHING, st.one_of(ANYTHING, st.lists(ANYTHING, max_size=4)))
def test_a_multi_line_reply_of_the_wrong_kind_raises_or_is_well_formed(
    text: Any, lines: Any
) -> None:
    try:
        wire = Wording().encode(MultiLine(text, lines))
    except TypeError:
        return
    assert isinstance(text, str)
    assert not isinstance(lines, str | bytes)
    assert all(isinstance(line, str) for line in lines)
    parts = wire.split(b"\r\n")
    assert parts[-2:] == [b".", b""]
    assert len(parts) == len(lines) + 3
    assert b"." not in parts[:-2]


@pytest.mark.parametrize("lines", ["one text", b"octets", [b"octets"], [1], [None], None, 5])
def test_the_lines_of_a_multi_line_reply_are_text(lines: Any) -> None:
    with pytest.raises(TypeError):
        Wording().encode(MultiLine("", lines))


@given(st.dictionaries(st.sampled_from(["a", "b"]), TEXT, min_size=2))
def test_values_may_hold_any_text(values: dict[str, str]) -> None:
    for reply in (
        Ok("{a} and {b}", values),
        Err("{a}", "X", values),
        Body("{b}", values=values, content=None),
    ):
        for wording in (Wording(), Wording("de"), Wording(utf8=True)):
            status = wording.encode(reply)
            assert STATUS.fullmatch(status)
            assert len(status) <= MAX_REPLY_LINE


def test_a_reply_that_many_are_given_has_its_wire_bytes_made_once() -> None:
    reply = fixed(Ok("bye"))
    assert DEFAULT_WORDING.encode(reply) is DEFAULT_WORDING.encode(reply)
    assert DEFAULT_WORDING.encode(reply) == b"+OK bye\r\n"
    assert Wording("de").encode(reply) == b"+OK auf Wiedersehen\r\n"
    assert reply == Ok("bye")
    assert repr(reply) == repr(Ok("bye"))


def test_replies_cannot_be_altered() -> None:
    """Several sessions may hold the same one."""
    with pytest.raises(FrozenInstanceError):
        fixed(Ok("bye")).text = "x"  # type: ignore[misc]
