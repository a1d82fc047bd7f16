"""Every text that a peer may read is there in every language that LANG offers."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest

import restante
from restante.protocol.commands import command_table
from restante.protocol.effects import Effect
from restante.protocol.languages import LANGUAGES, TEXTS, find_language, translate
from restante.protocol.limits import MAX_REPLY_LINE
from restante.protocol.listing import Listing
from restante.protocol.policy import Policy
from restante.protocol.replies import Err, Ok, Wording
from restante.protocol.session import Session
from restante.protocol.states import State

SOURCE = Path(restante.__file__).parent
SAY = {"Ok", "Err", "MultiLine", "Prepared", "Body"}
RAISE = {"ProtocolError", "LineTooLong", "MechanismError"}
SAID_ELSEWHERE = {"malformed response: not base64"}
"""A ValueError's text: no other ValueError of the protocol reaches a peer."""


def texts_in(source: Path) -> Iterator[str]:
    """The first argument of each reply made and each protocol error raised, where constant."""
    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
            continue
        first = node.args[0]
        if node.func.id in SAY | RAISE and isinstance(first, ast.Constant):
            yield str(first.value)


def all_texts() -> set[str]:
    rooms = [SOURCE / room for room in ("protocol", "sasl", "server", "guard")]
    found = {text for room in rooms for path in room.rglob("*.py") for text in texts_in(path)}
    wordless = {"", "{text}"}
    return (found | SAID_ELSEWHERE) - wordless


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


ALL_TEXTS = sorted(all_texts())


def test_the_sources_are_searched_where_texts_are() -> None:
    assert {"no such message", "maildrop is in use by another session", "begin TLS"} <= set(
        ALL_TEXTS
    )


@pytest.mark.parametrize("tag", TEXTS)
def test_each_text_has_its_translation_and_no_translation_is_left_over(tag: str) -> None:
    assert set(TEXTS[tag]) == set(ALL_TEXTS)


@pytest.mark.parametrize("tag", TEXTS)
def test_translations_keep_the_placeholders(tag: str) -> None:
    for text, translated in TEXTS[tag].items():
        assert placeholders(translated) == placeholders(text), translated


@pytest.mark.parametrize("tag", TEXTS)
def test_status_lines_stay_within_512_octets(tag: str) -> None:
    """RFC 1939 §3, with the longest code and values that can stand in them."""
    wording = Wording(language=tag, utf8=True)
    for text in ALL_TEXTS:
        values = dict.fromkeys(placeholders(text), "9" * 20)
        if "stamp" in values:
            values["stamp"] = f" <{'9' * 19}.{'9' * 19}@{'h' * 255}>"
        line = wording.encode(Err(text, "LOGIN-DELAY", values))
        assert len(line) <= MAX_REPLY_LINE
        shown = translate(text, tag).format_map(values)
        assert line.decode("utf-8") == f"-ERR [LOGIN-DELAY] {shown}\r\n"


def test_offered_languages_are_english_and_those_with_texts() -> None:
    assert set(LANGUAGES) == {"en", "i-default", *TEXTS}


@pytest.mark.parametrize(
    ("wanted", "tag"),
    [
        ("de", "de"),
        ("DE", "de"),
        ("de-AT", "de"),
        ("ja-Jpan-JP", "ja"),
        ("i-default", "i-default"),
        ("i", None),
        ("xx", None),
        ("xx-de", None),
        ("", None),
        ("-", None),
    ],
)
def test_look_up_shortens_the_tag_from_its_end(wanted: str, tag: str | None) -> None:
    """RFC 4647 §3.4."""
    assert find_language(wanted) == tag


def test_a_text_without_translation_is_said_as_it_is() -> None:
    assert translate("an application's own text", "de") == "an application's own text"
    assert translate("no such message", "en") == "no such message"


@pytest.mark.parametrize(
    ("tag", "texts"),
    [
        ("en", ["0 messages", "1 message", "2 messages", "1000 messages"]),
        ("de", ["0 Nachrichten", "1 Nachricht", "2 Nachrichten", "1000 Nachrichten"]),
        ("fr", ["0 message", "1 message", "2 messages", "1000 messages"]),
        ("ru", ["сообщений: 0", "сообщений: 1", "сообщений: 2", "сообщений: 1000"]),
        ("ja", ["0 通のメッセージ", "1 通のメッセージ", "2 通のメッセージ", "1000 通のメッセージ"]),
    ],
)
def test_numbers_and_their_words_agree(tag: str, texts: list[str]) -> None:
    for count, text in zip((0, 1, 2, 1000), texts, strict=True):
        session = Session(Policy(command_table()))
        session.state = State.TRANSACTION
        session.listing = Listing([str(n) for n in range(count)], [2] * count)
        session.wording = Wording(tag)
        for line in (b"RSET", b"LIST", b"UIDL"):
            reply = session.receive(line)
            assert not isinstance(reply, Effect)
            status = session.wording.encode(reply).split(b"\r\n")[0].decode("utf-8")
            assert status == f"+OK {text}"
            if tag == "en":  # what Perl's Net::POP3 looks for
                found = re.search(r"(\d+)\s+message", status, re.IGNORECASE)
                assert found is not None
                assert int(found[1]) == count


def test_before_lang_and_utf8_a_status_line_is_ascii() -> None:
    """RFC 6856 §2.1: a client that has said neither may not be sent UTF-8."""
    assert Wording().encode(Ok("Grüße")) == b"+OK Gr??e\r\n"
    assert Wording(utf8=True).encode(Ok("Grüße")) == "+OK Grüße\r\n".encode()
