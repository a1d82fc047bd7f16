"""Each reader makes octets what its command takes, or a problem that says what is wrong."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.commands import COMMANDS
from restante.protocol.errors import ProtocolError

READERS = {command.verb: command.read for command in COMMANDS}


@pytest.mark.parametrize(
    ("verb", "argument", "found"),
    [
        ("USER", b"joe", "joe"),
        ("USER", b" joe smith ", "joe smith"),
        ("USER", "jos\u00e9".encode(), "jos\u00e9"),
        ("PASS", b" a b ", " a b "),  # A1: not a blank is lost
        ("PASS", b"", ""),
        ("PASS", b"tab\there", "tab\there"),
        ("APOP", b"joe c4c9", ("joe", "c4c9")),
        ("APOP", b"joe smith c4c9 ", ("joe smith", "c4c9")),
        ("AUTH", b"", (None, None)),
        ("AUTH", b"plain", ("PLAIN", None)),
        ("AUTH", b"PLAIN =", ("PLAIN", b"=")),
        ("CAPA", b"   ", None),
        ("QUIT", b"", None),
        ("LANG", b"", None),
        ("LANG", b"*", "*"),
        ("LIST", b"", None),
        ("LIST", b" 1 ", 1),
        ("UIDL", b"0001", 1),
        ("RETR", b"1", 1),
        ("DELE", b"1 ", 1),
        ("TOP", b"1 0", (1, 0)),
        ("TOP", b"1  10 ", (1, 10)),
        ("TOP", b"1 " + b"0" * 40 + b"7", (1, 7)),
        ("TOP", b"1 " + b"9" * 900, (1, 10**18)),
    ],
)
def test_well_formed_arguments(verb: str, argument: bytes, found: Any) -> None:
    assert READERS[verb](argument) == found


@pytest.mark.parametrize(
    ("verb", "argument", "problem"),
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
def test_malformed_arguments(verb: str, argument: bytes, problem: str) -> None:
    with pytest.raises(ProtocolError, match=f"^{problem}$"):
        READERS[verb](argument)


@given(st.sampled_from(sorted(READERS)), st.binary(max_size=60))
def test_no_argument_raises_anything_but_a_protocol_error(verb: str, argument: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        READERS[verb](argument)
