"""What a server makes of the octets that a client sends."""

from __future__ import annotations

import time

import pytest

from restante.testing.faults import (
    BrokenLines,
    BrokenPipelining,
    Close,
    FaultError,
    Faults,
    LineLimit,
    LongLine,
    Raw,
    Refused,
    Reset,
)
from tests.testing.faults.harness import Client, failing


def apart(client: Client, *parts: bytes) -> None:
    """Send each part in a segment of its own."""
    for part in parts:
        client.send_octets(part)
        time.sleep(0.02)


def test_pipelining_is_announced_and_broken() -> None:
    with failing(BrokenPipelining()) as server, server.log_in() as client:
        assert b"PIPELINING\r\n" in client.ask_lines("CAPA")
        client.send("STAT", "NOOP", "NOOP")
        assert client.line() == b"+OK 2 57\r\n"
        assert client.quiet()
        assert server.fired == [BrokenPipelining()]
        assert client.ask("NOOP") == b"+OK\r\n"


def test_a_command_has_to_come_in_one_segment() -> None:
    with failing(BrokenLines()) as server, server.log_in() as client:
        assert client.ask("STAT") == b"+OK 2 57\r\n"
        assert server.fired == []
        apart(client, b"NOOP\r\nST", b"AT\r\n")
        assert client.line() == b"+OK\r\n"
        assert client.line().startswith(b"-ERR")  # AT
        assert server.fired == [BrokenLines()]


def test_cr_ends_a_command_by_itself() -> None:
    with failing(BrokenLines("cr")) as server, server.log_in() as client:
        assert client.ask("STAT") == b"+OK 2 57\r\n"
        assert server.fired == []
        apart(client, b"STAT\r", b"\n")
        assert client.line() == b"+OK 2 57\r\n"
        assert client.line().startswith(b"-ERR")  # an empty line
        assert server.fired == [BrokenLines("cr")]


def test_the_rest_of_a_long_line_is_a_command() -> None:
    with failing(LineLimit(11)) as server, server.log_in() as client:
        assert client.ask("STAT") == b"+OK 2 57\r\n"
        client.send("UNKNOWN....NOOP", "NOOP")
        assert client.line().startswith(b"-ERR")
        assert client.line() == b"+OK\r\n"
        assert client.line() == b"+OK\r\n"
        assert client.quiet()
        assert server.fired == [LineLimit(11)]


def test_the_rest_of_a_long_line_is_dropped() -> None:
    with failing(LineLimit(11, rest="dropped")) as server, server.log_in() as client:
        apart(client, b"STAT       ", b"and so on" * 100, b"\r\nNOOP\r\n")
        assert client.line() == b"+OK 2 57\r\n"
        assert client.line() == b"+OK\r\n"
        assert server.fired == [LineLimit(11, rest="dropped")]


def test_a_line_of_just_that_length_is_read() -> None:
    with failing(LineLimit(4)) as server:
        with server.connect() as client:
            client.line()
            apart(client, b"QUI", b"T\r\n")
            assert client.line() == b"+OK bye\r\n"
        assert server.fired == []


# Commands that the server doesn't know


def test_unknown_commands_can_be_meant() -> None:
    with failing(Raw("unknown", b"+OK why not\r\n")) as server, server.log_in() as client:
        for line in ("XYZ", "", "STAT\0", "RETR2"):
            assert client.ask(line) == b"+OK why not\r\n"
        assert client.ask("STAT") == b"+OK 2 57\r\n"
        assert len(server.fired) == 4


def test_a_server_that_loses_patience() -> None:
    with failing(Close("unknown", nth=2)) as server, server.connect() as client:
        client.line()
        assert client.converse("XYZ", "NOOP", "XYZ", "QUIT").startswith(b"-ERR")
        assert server.fired == [Close("unknown", nth=2)]


def test_what_stands_for_unknown_commands_has_no_argument() -> None:
    with pytest.raises(ValueError, match="'unknown' stands for all of them, without an argument"):
        Refused("unknown XYZ")
    with pytest.raises(FaultError, match="an unknown command's reply has one line"):
        Reset("unknown", after="body")


# Which connection


def test_a_fault_of_one_connection() -> None:
    with failing(Refused("STAT", connection=2)) as server:
        for expected in (b"+OK 2 57\r\n", b"-ERR refused\r\n", b"+OK 2 57\r\n"):
            with server.log_in() as client:
                assert client.ask("STAT") == expected
                client.quit()
        assert server.fired == [Refused("STAT", connection=2)]


def test_nth_counts_within_that_connection() -> None:
    fault = "STAT:refused-code=SYS/TEMP,nth=2,connection=2"
    with failing(fault) as server, server.log_in() as first, server.log_in("ann") as second:
        for client in (first, second):
            assert client.ask("STAT").startswith(b"+OK")
        assert first.ask("STAT").startswith(b"+OK")
        assert second.ask("STAT").startswith(b"-ERR [SYS/TEMP]")


def test_the_greeting_of_one_connection() -> None:
    with failing(LongLine("greeting", connection=2)) as server:
        for longer in (False, True, False):
            with server.connect() as client:
                assert (len(client.line()) > 512) == longer


def test_faults_of_other_connections_exclude_each_other_not() -> None:
    Faults(Reset("RETR", connection=1), Close("RETR", connection=2))
    with pytest.raises(FaultError, match=r"exclude each other.* by when, connection, nth"):
        Faults(Reset("RETR"), Close("RETR", connection=2))
