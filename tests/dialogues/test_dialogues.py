"""Plays every dialogue: in each way of the core and by Dovecot if it is meant for them, and in one
way over sockets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import pytest

from restante.protocol.commands import COMMANDS
from tests.conftest import Authority
from tests.dialogues.dovecot import Dovecot, DovecotVenue, running
from tests.dialogues.runner import (
    WAYS,
    Dialogue,
    DialogueError,
    pipelined,
    play,
    read_dialogue,
    unescape,
)
from tests.dialogues.venues import CoreVenue, socket_venue

HERE = Path(__file__).parent
DIALOGUES = [read_dialogue(path) for path in sorted(HERE.glob("*.pop"))]
DOCUMENT = HERE.parents[1] / "docs" / "protocol.md"

FIELD_NOTES = [
    *("F1", "F2", "F3", "F4", "F5", "F6", "F7", "F8", "F9", "F11", "U2", "U3", "U4"),
    *("D1", "D2", "D3", "D4", "D5", "L1", "L3", "L6", "L8"),
    *("A1", "A2", "A3", "A4", "A5", "A6", "A7", "A9", "A12", "A13"),
]
"""The rows of the field notes that a dialogue can show."""


def ways(*wanted: str) -> list[object]:
    """Each dialogue in all these ways that it is meant for."""
    return [
        pytest.param(dialogue, way, id=f"{dialogue.name}-{way}")
        for dialogue in DIALOGUES
        for way in wanted
        if dialogue.refuses(way) is None
    ]


def one_way(*wanted: str) -> list[object]:
    """Each dialogue in one of these ways, always the same: its name decides."""
    chosen: list[object] = []
    for dialogue in DIALOGUES:
        if fitting := [way for way in wanted if dialogue.refuses(way) is None]:
            way = fitting[crc32(dialogue.name.encode()) % len(fitting)]
            chosen.append(pytest.param(dialogue, way, id=f"{dialogue.name}-{way}"))
    return chosen


@pytest.mark.parametrize(("dialogue", "way"), ways("core", "core-pipelined", "core-bytes"))
def test_core(dialogue: Dialogue, way: str) -> None:
    """F11: however the octets arrive, the replies are the same and in order."""
    venue = CoreVenue(dialogue, cut=1 if way == "core-bytes" else 0)
    play(dialogue, venue, pipeline=way == "core-pipelined")


@pytest.mark.parametrize(("dialogue", "way"), one_way("socket", "socket-pipelined", "tls"))
def test_socket(dialogue: Dialogue, way: str, authority: Authority) -> None:
    """A server says over its sockets what the core says."""
    with socket_venue(dialogue, authority, implicit=way == "tls") as venue:
        play(dialogue, venue, pipeline=way == "socket-pipelined")


@pytest.fixture(scope="session")
def dovecot(authority: Authority) -> Iterator[Dovecot]:
    with running(authority) as dovecot:
        yield dovecot


@pytest.mark.peer
@pytest.mark.parametrize(("dialogue", "way"), ways("dovecot"))
def test_dovecot(dialogue: Dialogue, way: str, authority: Authority, dovecot: Dovecot) -> None:
    """Where Dovecot and we should agree, we do; the scripts say where not, and why."""
    play(dialogue, DovecotVenue(dovecot, dialogue, authority))


def test_there_are_at_least_a_hundred() -> None:
    assert len(DIALOGUES) >= 100


@pytest.mark.parametrize("row", FIELD_NOTES)
def test_each_row_of_the_field_notes_that_a_dialogue_can_show_has_one(row: str) -> None:
    assert any(re.search(rf"\b{row}\b", dialogue.comment) for dialogue in DIALOGUES)


@pytest.mark.parametrize(
    "verb", sorted({command.verb for command in COMMANDS} - {"XCLIENT"})
)  # only proxies are heard
def test_each_command_is_said_before_login_and_after(verb: str) -> None:
    before: set[str] = set()
    after: set[str] = set()
    for dialogue in DIALOGUES:
        logged_in = False
        for step in dialogue.steps:
            if step.kind == "C" and re.match(rf"{verb}\b".encode(), step.data, re.IGNORECASE):
                (after if logged_in else before).add(dialogue.name)
            if step.kind == "S~" and step.data == rb"\+OK \d+ messages?":
                logged_in = True
            if step.kind in ("RECONNECT", "DISCONNECT"):
                logged_in = False
    assert before
    assert after


@pytest.mark.parametrize("dialogue", DIALOGUES, ids=lambda dialogue: dialogue.name)
def test_each_dialogue_says_what_it_shows(dialogue: Dialogue) -> None:
    assert dialogue.comment
    assert dialogue.steps
    assert any(dialogue.refuses(way) is None for way in WAYS)


def test_lines_have_no_blanks_at_their_end() -> None:
    for path in HERE.glob("*.pop"):
        for line in path.read_text("utf-8").splitlines():
            assert line == line.rstrip(), path.name


def test_the_document_names_dialogues_that_exist() -> None:
    named = set(re.findall(r"`([a-z0-9-]+)\.pop`", DOCUMENT.read_text("utf-8")))
    assert named
    assert named <= {dialogue.name for dialogue in DIALOGUES}


def test_every_dialogue_is_named_in_the_document() -> None:
    named = set(re.findall(r"`([a-z0-9-]+)\.pop`", DOCUMENT.read_text("utf-8")))
    assert {dialogue.name for dialogue in DIALOGUES} <= named


# The format itself


def written(tmp_path: Path, text: str) -> Dialogue:
    path = tmp_path / "sample.pop"
    path.write_text(text, "utf-8")
    return read_dialogue(path)


@pytest.mark.parametrize("line", ["X: what", "@maildrop none", "@tea", "@not dovecot", "SOMETHING"])
def test_a_line_that_means_nothing_is_an_error_with_its_place(tmp_path: Path, line: str) -> None:
    with pytest.raises(DialogueError, match=r"sample\.pop:2"):
        written(tmp_path, f"# a comment\n{line}\n")


def test_a_wrong_reply_is_an_error_with_its_place(tmp_path: Path) -> None:
    dialogue = written(tmp_path, "C: QUIT\nS: +OK farewell\n")
    with pytest.raises(AssertionError, match=r"sample\.pop:2:\nexpected \+OK farewell\ncame"):
        play(dialogue, CoreVenue(dialogue))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("C: NOPE\n", "unexpected at the end"),
        ("C: NOPE\nCLOSED\n", "still open"),
        ("C: NOPE\nS: -ERR unknown command\nS: +OK\n", "nothing came"),
    ],
)
def test_too_much_and_too_little_are_errors(tmp_path: Path, text: str, complaint: str) -> None:
    dialogue = written(tmp_path, text)
    with pytest.raises(AssertionError, match=complaint):
        play(dialogue, CoreVenue(dialogue))


def test_lines_of_multi_line_replies_are_told_from_status_lines(tmp_path: Path) -> None:
    dialogue = written(tmp_path, "S: +OK hello\nC: LIST\nS: +OK\nS: 1 5\nS: .\nS: +OK\nS: .\n")
    assert [step.content for step in dialogue.steps] == [
        *(False, False, False, True, True, False, True),
    ]


def test_pipelining_stops_where_something_must_be_heard_first(tmp_path: Path) -> None:
    dialogue = written(tmp_path, "C: A\nS: +OK\nC: B\nS: +OK\nTLS\nC: C\nS: +OK\n2C: D\n")
    order = [step.data[:1] for step in pipelined(dialogue.steps)]
    assert order == [b"A", b"B", b"+", b"+", b"", b"C", b"+", b"D"]


def test_escapes() -> None:
    assert unescape(r"a\r\n\0\x7f\\n\té") == b"a\r\n\0\x7f\\n\t\xc3\xa9"
