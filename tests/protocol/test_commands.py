"""A line becomes a typed command, or a problem that names what is wrong; and the table of verbs."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.commands import (
    READERS,
    Apop,
    Auth,
    Capa,
    Command,
    CommandTable,
    Dele,
    Lang,
    List,
    Pass,
    Quit,
    Retr,
    Top,
    Uidl,
    User,
    check_octets,
    read_command,
    split,
)
from restante.protocol.errors import ProtocolError
from restante.protocol.listing import MessageNumber
from restante.protocol.states import BOTH, STATES, State

ONE = MessageNumber(1)


@pytest.mark.parametrize(
    ("line", "verb", "argument"),
    [
        (b"STAT", b"STAT", b""),
        (b"stat", b"STAT", b""),
        (b"STAT ", b"STAT", b""),
        (b"PASS  two blanks ", b"PASS", b" two blanks "),
        (b" STAT", b"", b"STAT"),
        (b"", b"", b""),
        (b"st\xc3\xa4t", b"ST\xc3\xa4T", b""),
    ],
)
def test_a_line_is_a_verb_and_the_rest(line: bytes, verb: bytes, argument: bytes) -> None:
    assert split(line) == (verb, argument)


@pytest.mark.parametrize(
    ("kind", "argument", "command"),
    [
        ("USER", b"joe", User("joe")),
        ("USER", b" joe smith ", User("joe smith")),
        ("USER", "jos\u00e9".encode(), User("jos\u00e9")),
        ("PASS", b" a b ", Pass(" a b ")),  # A1: not a blank is lost
        ("PASS", b"", Pass("")),
        ("PASS", b"tab\there", Pass("tab\there")),
        ("APOP", b"joe c4c9", Apop("joe", "c4c9")),
        ("APOP", b"joe smith c4c9 ", Apop("joe smith", "c4c9")),
        ("AUTH", b"", Auth(None)),
        ("AUTH", b"plain", Auth("PLAIN")),
        ("AUTH", b"PLAIN =", Auth("PLAIN", b"=")),
        ("CAPA", b"   ", Capa()),
        ("QUIT", b"", Quit()),
        ("LANG", b"", Lang(None)),
        ("LANG", b"*", Lang("*")),
        ("LIST", b"", List(None)),
        ("LIST", b" 1 ", List(ONE)),
        ("UIDL", b"0001", Uidl(ONE)),
        ("RETR", b"1", Retr(ONE)),
        ("DELE", b"1 ", Dele(ONE)),
        ("TOP", b"1 0", Top(ONE, 0)),
        ("TOP", b"1  10 ", Top(ONE, 10)),
        ("TOP", b"1 " + b"0" * 40 + b"7", Top(ONE, 7)),
        ("TOP", b"1 " + b"9" * 900, Top(ONE, 10**18)),
    ],
)
def test_well_formed_arguments(kind: str, argument: bytes, command: Command) -> None:
    assert read_command(kind, argument) == command


@pytest.mark.parametrize(
    ("kind", "argument", "problem"),
    [
        ("USER", b"", "name missing"),
        ("USER", b"   ", "name missing"),
        ("USER", b"\xff", "argument is not UTF-8"),
        ("PASS", b"\xff", "argument is not UTF-8"),
        ("APOP", b"", "name and digest needed"),
        ("APOP", b"joe", "name and digest needed"),
        ("AUTH", b"PLAIN a b", "too many arguments"),
        ("AUTH", b"\xff", "argument is not UTF-8"),
        ("LANG", b"en de", "too many arguments"),
        ("STAT", b"1", "no argument allowed"),
        ("QUIT", b"now", "no argument allowed"),
        ("LIST", b"x", "argument must be a number"),
        ("LIST", b"-1", "argument must be a number"),
        ("LIST", b"+1", "argument must be a number"),
        ("LIST", b"1.0", "argument must be a number"),
        ("LIST", b"1_0", "argument must be a number"),
        ("LIST", "\u0661".encode(), "argument must be a number"),
        ("LIST", b"0", "message-numbers start at 1"),
        ("LIST", b"1 2", "too many arguments"),
        ("LIST", b"9" * 11, "no such message"),
        ("RETR", b"", "message-number missing"),
        ("DELE", b"", "message-number missing"),
        ("RETR", b"1 2", "too many arguments"),
        ("TOP", b"1", "message-number and number of lines needed"),
        ("TOP", b"1 2 3", "message-number and number of lines needed"),
        ("TOP", b"1 -1", "argument must be a number"),
        ("TOP", b"0 1", "message-numbers start at 1"),
        ("TOP", b"x 1", "argument must be a number"),
    ],
)
def test_malformed_arguments(kind: str, argument: bytes, problem: str) -> None:
    with pytest.raises(ProtocolError, match=f"^{problem}$"):
        read_command(kind, argument)


@given(st.sampled_from(sorted(READERS)), st.binary(max_size=60))
def test_no_argument_raises_anything_but_a_protocol_error(kind: str, argument: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        read_command(kind, argument)


@pytest.mark.parametrize("octet", [b"\0", b"\t", b"\r", b"\x1b", b"\x7f"])
def test_control_characters_are_refused(octet: bytes) -> None:
    with pytest.raises(ProtocolError):
        check_octets(b"USER jo" + octet)
    with pytest.raises(ProtocolError):
        check_octets(b"ST" + octet)


def test_a_password_may_hold_a_tab_and_no_other_control_character() -> None:
    check_octets(b"PASS a\tb")
    with pytest.raises(ProtocolError):
        check_octets(b"PASS a\0b")


def test_secrets_do_not_show_in_commands() -> None:
    """A11"""
    shown = repr([Pass("canary"), Apop("joe", "canary"), Auth("PLAIN", b"canary")])
    assert "canary" not in shown


def handler() -> None: ...


def test_the_table_begins_with_the_commands_of_the_protocol() -> None:
    assert [spec.verb for spec in CommandTable()] == list(STATES)
    assert all(spec.handler is None and spec.kind == spec.verb for spec in CommandTable())


def test_a_verb_is_found_in_any_letter_case() -> None:
    table = CommandTable()
    found = table.find("stat")
    assert found is not None
    assert found is table.find("STAT") is table.lookup(b"STAT")
    assert "Stat" in table
    assert "XSTAT" not in table
    assert table.lookup(b"XSTAT") is None


def test_a_command_can_be_added_with_states_and_a_capability() -> None:
    table = CommandTable()
    after = frozenset({State.TRANSACTION})
    spec = table.add("xecho", handler, states=after, capability="XECHO 1")
    assert (spec.verb, spec.kind, spec.states, spec.capability) == ("XECHO", None, after, "XECHO 1")
    assert table.lookup(b"XECHO") is spec
    assert table.add("XTWO", handler).states == BOTH


def test_a_command_that_is_there_must_be_replaced_not_added() -> None:
    table = CommandTable()
    with pytest.raises(ValueError, match="replace"):
        table.add("stat", handler)


def test_replacing_keeps_states_and_capability() -> None:
    table = CommandTable()
    spec = table.replace("uidl", handler)
    assert (spec.kind, spec.states, spec.capability) == ("UIDL", STATES["UIDL"], "UIDL")
    assert spec.handler is handler
    with pytest.raises(KeyError):
        table.replace("XNONE", handler)


def test_renaming_moves_a_command_and_takes_back_what_capa_said_of_it() -> None:
    table = CommandTable()
    spec = table.rename("TOP", "XTOP")
    assert (spec.verb, spec.kind, spec.capability) == ("XTOP", "TOP", None)
    assert "TOP" not in table
    with pytest.raises(KeyError):
        table.rename("TOP", "XTOP2")
    with pytest.raises(ValueError, match="STAT"):
        table.rename("LIST", "STAT")


def test_removing() -> None:
    table = CommandTable()
    assert table.remove("noop").verb == "NOOP"
    assert "NOOP" not in table
    with pytest.raises(KeyError):
        table.remove("NOOP")


@pytest.mark.parametrize("verb", ["", "two words", "x" * 33, "\u00e4", "a\r\n", "A\0"])
def test_what_cannot_be_a_verb(verb: str) -> None:
    with pytest.raises(ValueError, match="not a command's name"):
        CommandTable().add(verb, handler)


def test_tables_are_independent() -> None:
    one, other = CommandTable(), CommandTable()
    one.remove("STAT")
    assert "STAT" in other
