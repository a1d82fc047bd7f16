"""Replies that are not what they should be."""

from __future__ import annotations

import pytest

from restante.testing.faults import (
    ExtraLines,
    LoneLf,
    LongLine,
    NoReply,
    OutOfOrder,
    Raw,
    Refused,
    Text,
    Twice,
)
from tests.testing.faults.harness import FIRST, eventually, failing


def test_any_octets_are_the_reply() -> None:
    octets = b"\x00\xff not POP3\r\n"
    with failing(Raw("STAT", reply=octets)) as server, server.log_in() as client:
        assert client.ask("STAT") == octets
        assert client.ask("NOOP") == b"+OK\r\n"
        assert server.fired == [Raw("STAT", reply=octets)]


def test_octets_take_the_place_of_a_whole_message() -> None:
    with failing(Raw("RETR", reply=b"-ERR no\r\n")) as server, server.log_in() as client:
        assert client.ask("RETR 1") == b"-ERR no\r\n"
        assert client.ask("NOOP") == b"+OK\r\n"


@pytest.mark.parametrize("obeyed", [True, False])
def test_the_command_is_obeyed_or_not(obeyed: bool) -> None:
    fault = Raw("DELE", reply=b"+OK\r\n", obeyed=obeyed)
    with failing(fault) as server, server.log_in() as client:
        client.ask("DELE 1")
        client.quit()
        assert len(server.mail.messages("joe")) == (1 if obeyed else 2)


def test_a_command_is_refused_with_a_code() -> None:
    fault = Refused("RETR 2", code="SYS/TEMP", text="disk is asleep", nth=1)
    with failing(fault) as server, server.log_in() as client:
        assert client.ask("RETR 1").startswith(b"+OK")
        client.lines()
        assert client.ask("RETR 2") == b"-ERR [SYS/TEMP] disk is asleep\r\n"
        assert client.ask("RETR 2").startswith(b"+OK")
        assert server.fired == [fault]


def test_a_refused_command_has_no_effect() -> None:
    with failing(Refused("DELE")) as server, server.log_in() as client:
        assert client.ask("DELE 1") == b"-ERR refused\r\n"
        client.quit()
        assert len(server.mail.messages("joe")) == 2


def test_the_greeting_is_a_refusal() -> None:
    fault = Refused("greeting", code="SYS/TEMP", text="too busy")
    with failing(fault) as server, server.connect() as client:
        assert client.rest() == b"-ERR [SYS/TEMP] too busy\r\n"


def test_no_reply_comes_and_the_command_was_obeyed() -> None:
    with failing(NoReply("DELE")) as server, server.log_in() as client:
        client.send("DELE 1")
        assert client.ask("STAT") == b"+OK 1 34\r\n"
        assert server.fired == [NoReply("DELE")]


def test_a_reply_comes_twice() -> None:
    with failing(Twice("RETR", once=True)) as server, server.log_in() as client:
        assert client.ask_lines("RETR 1") == [client.line(), *client.lines()]
        assert client.ask("NOOP") == b"+OK\r\n"
        assert server.fired == [Twice("RETR", once=True)]


def test_replies_come_out_of_order() -> None:
    with failing(OutOfOrder("STAT")) as server, server.log_in() as client:
        client.send("STAT", "NOOP", "LIST 1")
        assert [client.line() for _ in range(3)] == [b"+OK\r\n", b"+OK 2 57\r\n", b"+OK 1 23\r\n"]
        assert server.fired == [OutOfOrder("STAT")]


def test_a_client_that_does_not_pipeline_gets_its_reply_late() -> None:
    with failing(OutOfOrder("STAT", seconds=0.02)) as server, server.log_in() as client:
        assert client.ask("STAT") == b"+OK 2 57\r\n"
        assert client.ask("NOOP") == b"+OK\r\n"


def test_a_status_line_is_longer_than_allowed() -> None:
    with failing(LongLine("STAT", octets=600)) as server, server.log_in() as client:
        line = client.ask("STAT")
        assert line.startswith(b"+OK 2 57")
        assert line.endswith(b"\r\n")
        assert len(line) == 600


def test_lines_end_with_lf_alone() -> None:
    with failing(LoneLf("RETR"), LoneLf("STAT")) as server, server.log_in() as client:
        assert client.ask("STAT") == b"+OK 2 57\n"
        client.send("RETR 1")
        eventually(lambda: server.sends.pieces[-1] == b".\n")
        body = b"".join(server.sends.pieces).partition(b" octets\n")[2]
        assert body == FIRST.replace(b"\r\n", b"\n") + b".\n"


def test_text_that_looks_like_numbers() -> None:
    with failing(Text("RETR", text="7 99")) as server, server.log_in() as client:
        assert client.ask_lines("RETR 1")[0] == b"+OK 7 99\r\n"
        assert client.ask("RETR 9") == b"-ERR no such message\r\n"
        assert server.missed == ["the reply wasn't +OK"]


def test_several_lines_where_one_is_due() -> None:
    with failing(ExtraLines("STAT", lines=2)) as server, server.log_in() as client:
        assert client.ask_lines("STAT") == [b"+OK 2 57\r\n", b"line 1\r\n", b"line 2\r\n"]
        assert client.ask("NOOP") == b"+OK\r\n"


def test_a_listing_has_lines_anyway() -> None:
    with failing(ExtraLines("LIST")) as server, server.log_in() as client:
        assert len(client.ask_lines("LIST")) == 3
        assert server.missed == ["the reply has several lines anyway"]
        assert client.ask_lines("LIST 1") == [b"+OK 1 23\r\n", b"line 1\r\n"]
