"""Every number that bounds a peer, against the RFC line it is argued from, and in a session."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from restante.protocol import limits
from restante.protocol.commands import command_table
from restante.protocol.effects import BrokenOff
from restante.protocol.errors import LineTooLong
from restante.protocol.policy import Policy
from restante.protocol.replies import Continue, Err
from restante.protocol.session import Session
from tests.protocol.mechanisms import BASIC_MECHANISMS


def session(**settings: Any) -> Session:
    policy = Policy(command_table(), mechanisms=BASIC_MECHANISMS, hostname="h")
    return Session(replace(policy, **settings), trusted=True)


def test_the_rfcs_minima_are_kept() -> None:
    assert limits.MAX_LINE >= 255  # RFC 2449 §4
    assert limits.MAX_REPLY_LINE == 512  # RFC 1939 §3
    assert limits.MAX_AUTH_LINE >= -(-65_536 // 3) * 4  # A5: 64 KiB after AUTH, in base64
    assert limits.MIN_IDLE_SECONDS >= 600  # RFC 1939 §3
    assert limits.MAX_PENDING_INPUT > limits.MAX_AUTH_LINE + 2


def test_a_command_line_may_have_its_limit_and_no_more() -> None:
    one = session()
    line = b"USER " + b"x" * (limits.MAX_LINE - 5)
    one.feed(line + b"\r\n" + line + b"x\r\n")
    assert one.take_line() == line
    with pytest.raises(LineTooLong) as caught:
        one.take_line()
    reply = one.give_up(caught.value)
    assert one.wording.encode(reply) == b"-ERR line of more than 1024 octets\r\n"
    assert one.closing
    assert one.take_line() is None


@pytest.mark.parametrize("start", [b"AUTH PLAIN ", b"auth plain "])
def test_an_auth_line_may_be_long(start: bytes) -> None:
    """A5"""
    one = session()
    line = start + b"A" * (limits.MAX_AUTH_LINE - len(start))
    one.feed(line + b"\r\n")
    assert one.take_line() == line
    one.feed(line + b"A\r\n")
    with pytest.raises(LineTooLong):
        one.take_line()


def test_a_response_may_be_long_and_the_next_command_not() -> None:
    one = session()
    assert isinstance(one.receive(b"AUTH PLAIN"), Continue)
    one.feed(b"A" * 90_000 + b"\r\n" + b"A" * 2000 + b"\r\n")
    line = one.take_line()
    assert line is not None
    assert len(line) == 90_000
    assert isinstance(one.receive(line), BrokenOff)
    assert isinstance(one.resume(None), Err)
    with pytest.raises(LineTooLong):
        one.take_line()


def test_bad_commands_in_a_row_end_the_session_and_a_good_one_starts_the_count_anew() -> None:
    one = session()
    for _ in range(3):
        for _ in range(limits.MAX_BAD_COMMANDS - 1):
            one.receive(b"XYZZY")
            assert not one.closing
        one.receive(b"CAPA")
    for _ in range(limits.MAX_BAD_COMMANDS - 1):
        assert one.receive(b"RETR") == Err("log in first")
    assert one.receive(b"x") == Err("too many bad commands")
    assert one.closing


def test_refused_logins_on_one_connection_are_counted() -> None:
    one = session(max_failed_logins=3)
    for attempt in range(1, 4):
        one.receive(b"USER joe")
        one.receive(b"PASS wrong")
        assert one.resume(Err("no", "AUTH")) == Err("no", "AUTH")
        assert one.closing is (attempt == 3)
