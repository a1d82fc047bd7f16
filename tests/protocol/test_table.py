"""The command table: the protocol's rows, and what an application changes of them."""

from __future__ import annotations

import pytest

from restante.protocol.commands import COMMANDS, command_table
from restante.protocol.effects import CallHandler
from restante.protocol.policy import Policy
from restante.protocol.redaction import safe_line
from restante.protocol.replies import Err, Ok
from restante.protocol.session import Session
from restante.protocol.states import AFTER_LOGIN, BOTH, State
from restante.protocol.table import CommandTable


def handler() -> None: ...


def session_with(table: CommandTable) -> Session:
    session = Session(Policy(table), trusted=True)
    session.state = State.TRANSACTION
    return session


def test_the_table_begins_with_the_commands_of_the_protocol() -> None:
    assert tuple(command_table()) == COMMANDS
    assert all(command.handler is None and command.built_in for command in COMMANDS)


def test_a_verb_is_found_in_any_letter_case() -> None:
    table = command_table()
    found = table.find("stat")
    assert found is not None
    assert found is table.find("STAT")
    assert "Stat" in table
    assert "XSTAT" not in table
    assert table.find("XSTAT") is None


def test_a_command_can_be_added_with_states_and_a_capability() -> None:
    table = command_table()
    after = frozenset({State.TRANSACTION})
    spec = table.add("xecho", handler, states=after, capability="XECHO 1")
    assert (spec.verb, spec.states, spec.capability) == ("XECHO", after, "XECHO 1")
    assert not spec.built_in
    assert table.find("XECHO") is spec
    assert table.add("XTWO", handler).states == BOTH


def test_a_command_that_is_there_must_be_replaced_not_added() -> None:
    table = command_table()
    with pytest.raises(ValueError, match="replace"):
        table.add("stat", handler)


def test_replacing_keeps_states_and_capability() -> None:
    table = command_table()
    spec = table.replace("uidl", handler)
    assert (spec.states, spec.capability, spec.built_in) == (AFTER_LOGIN, "UIDL", True)
    assert spec.handler is handler
    with pytest.raises(ValueError, match="there is no command XNONE; there are: APOP, AUTH, "):
        table.replace("XNONE", handler)


def test_renaming_moves_a_command_and_takes_back_what_capa_said_of_it() -> None:
    table = command_table()
    spec = table.rename("TOP", "XTOP")
    assert (spec.verb, spec.built_in, spec.capability) == ("XTOP", True, None)
    assert "TOP" not in table
    with pytest.raises(ValueError, match="there is no command TOP"):
        table.rename("TOP", "XTOP2")
    with pytest.raises(ValueError, match="STAT"):
        table.rename("LIST", "STAT")


def test_removing() -> None:
    table = command_table()
    assert table.remove("noop").verb == "NOOP"
    assert "NOOP" not in table
    with pytest.raises(ValueError, match="there is no command NOOP"):
        table.remove("NOOP")


@pytest.mark.parametrize("verb", ["", "two words", "x" * 33, "\u00e4", "a\r\n", "A\0"])
def test_what_cannot_be_a_verb(verb: str) -> None:
    with pytest.raises(ValueError, match="not a command's name"):
        command_table().add(verb, handler)


@pytest.mark.parametrize("line", ["", "A\r\nB", "A\nB", " A", "A ", "\u00e4", "x" * 511])
def test_what_cannot_be_a_line_of_capa(line: str) -> None:
    with pytest.raises(ValueError, match="allowed is one line of 1 to 510 printable"):
        command_table().add("XTWO", handler, capability=line)


def test_a_capability_is_text() -> None:
    with pytest.raises(TypeError, match="capability=3: it must be text"):
        command_table().add("XTWO", handler, capability=3)  # type: ignore[arg-type]


def test_tables_are_independent() -> None:
    one, other = command_table(), command_table()
    one.remove("STAT")
    assert "STAT" in other


def test_replacing_and_renaming_keep_a_secret() -> None:
    table = command_table()
    table.add("XLOGIN", handler, secret=True)
    table.replace("XLOGIN", print)
    table.replace("XLOGIN", print, secret=False)
    table.rename("XLOGIN", "XENTER")
    assert safe_line(b"XENTER canary", table, in_exchange=False) == "XENTER ****"
    for verb in ("PASS", "APOP", "AUTH"):
        assert table.replace(verb, handler).secret
        assert table.rename(verb, "X" + verb).secret
        shown = safe_line(f"X{verb} PLAIN canary".encode(), table, in_exchange=False)
        assert "canary" not in shown


def test_replacing_may_make_a_command_secret() -> None:
    table = command_table()
    table.add("XCODE", handler)
    assert safe_line(b"XCODE 1234", table, in_exchange=False) == "XCODE 1234"
    assert table.replace("XCODE", handler, secret=True).secret
    assert safe_line(b"XCODE 1234", table, in_exchange=False) == "XCODE ****"


def test_a_handler_answers_in_place_of_the_command_and_can_have_it_done() -> None:
    table = command_table()
    command = table.replace("NOOP", handler)
    session = session_with(table)
    for _ in range(2):  # its lines are not remembered, so a handler is always asked
        assert session.receive(b"noop  any thing") == CallHandler(command, " any thing")
        assert session.resume(Ok("mine")) == Ok("mine")
    assert session.run(command, b"") == Ok()


def test_an_added_command_has_no_default() -> None:
    table = command_table()
    command = table.add("XECHO", handler)
    assert session_with(table).run(command, b"x") == Err("command has no default")


def test_a_change_is_seen_by_the_next_command_of_a_session() -> None:
    table = command_table()
    session = session_with(table)
    assert session.receive(b"NOOP") == session.receive(b"NOOP") == Ok()
    table.rename("NOOP", "XNOOP")
    assert session.receive(b"NOOP") == Err("unknown command")
    assert session.receive(b"XNOOP") == Ok()
    table.remove("XNOOP")
    assert session.receive(b"XNOOP") == Err("unknown command")


def test_lines_with_secrets_are_not_remembered() -> None:
    table = command_table()
    session = Session(Policy(table), trusted=True)
    for line in (b"USER joe", b"PASS canary", b"APOP joe canary", b"AUTH PLAIN canary", b"QUIT"):
        session.receive(line)
        session.closing = False
    assert list(table.known) == [b"QUIT"]
