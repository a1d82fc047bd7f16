"""What is shown of a line: never a secret, however the client mistyped it (A2, A11)."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.commands import command_table
from restante.protocol.redaction import safe_line

CANARY = "canary"
TOKEN = base64.b64encode(b"\0joe\0" + CANARY.encode()).decode()


def shown(line: bytes, in_exchange: bool = False) -> str:
    return safe_line(line, command_table(), in_exchange=in_exchange)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"STAT", "STAT"),
        (b"stat ", "STAT"),
        (b"USER joe", "USER joe"),
        (b"RETR 7", "RETR 7"),
        (b"PASS canary", "PASS ****"),
        (b"pass  canary ", "PASS ****"),
        (b"PASS", "PASS ****"),
        (b"APOP joe canary", "APOP joe ****"),
        (b"APOP joe canary ", "APOP joe ****"),
        (b"APOP  joe canary", "APOP joe ****"),
        (b"APOP canary", "APOP ****"),
        (b"APOP", "APOP"),
        (b"AUTH", "AUTH"),
        (b"AUTH plain", "AUTH PLAIN"),
        (b"AUTH PLAIN canary", "AUTH PLAIN ****"),
        (b"AUTH PLAIN canary and more", "AUTH PLAIN ****"),
        (b"AUTH  PLAIN canary", "AUTH PLAIN ****"),
        (b"AUTH canary", "AUTH ****"),
        (b"PSAS canary", "(unknown command, 11 octets)"),
        (b"canary", "(unknown command, 6 octets)"),
        (b"PASS\tcanary", "(unknown command, 11 octets)"),
        (b" PASS canary", "(unknown command, 12 octets)"),
        (b"", "(unknown command, 0 octets)"),
        (b"USER a\r\x00b", "USER a\\x0d\\x00b"),
        (b"USER \xff", "USER \\xff"),
    ],
)
def test_lines(line: bytes, text: str) -> None:
    assert shown(line) == text


def test_a_response_inside_an_exchange_is_hidden_and_a_cancel_is_not() -> None:
    assert shown(TOKEN.encode(), in_exchange=True) == "****"
    assert shown(b"NOOP canary", in_exchange=True) == "****"
    assert shown(b"*", in_exchange=True) == "*"


def test_a_renamed_pass_hides_its_argument_too() -> None:
    table = command_table()
    table.rename("PASS", "XPASS")
    assert safe_line(b"XPASS canary", table, in_exchange=False) == "XPASS ****"
    assert "canary" not in safe_line(b"PASS canary", table, in_exchange=False)


def test_a_long_line_is_shown_in_part() -> None:
    assert len(shown(b"USER " + b"x" * 1000)) < 220


@given(
    st.sampled_from(
        ["PASS", "pass", "APOP joe", "AUTH", "AUTH PLAIN", "AUTH LOGIN", "auth xoauth2"]
    ),
    st.sampled_from(["", " ", "  "]),
    st.sampled_from([CANARY, TOKEN, TOKEN.rstrip("=")]),
    st.sampled_from(["", " ", " x", " " * 300]),
)
def test_no_spacing_lets_a_secret_through(verb: str, blanks: str, secret: str, more: str) -> None:
    assert secret not in shown(f"{verb} {blanks}{secret}{more}".encode())


@given(st.binary(max_size=300), st.booleans())
def test_any_line_is_shown_as_one_printable_line(line: bytes, in_exchange: bool) -> None:
    assert shown(line, in_exchange).isprintable()


def test_an_added_command_may_keep_its_argument_to_itself() -> None:
    table = command_table()
    table.add("XLOGIN", print, secret=True)
    table.add("XPLAIN", print)
    table.rename("XLOGIN", "XENTER")
    assert safe_line(b"XENTER canary", table, in_exchange=False) == "XENTER ****"
    assert safe_line(b"XENTER", table, in_exchange=False) == "XENTER"
    assert safe_line(b"XPLAIN seen", table, in_exchange=False) == "XPLAIN seen"
