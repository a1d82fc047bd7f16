"""What is shown of a line: never a secret, however the client mistyped it (A2, A11)."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.commands import COMMANDS, command_table
from restante.protocol.redaction import safe_line, safe_name

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
        (b"USER a\r\x00b", "USER ****"),
        (b"USER joe smith", "USER joe ****"),
        (b"USER  joe ", "USER joe"),
        (b"USER joe PASS canary", "USER joe ****"),
        (b"USER joe\tcanary", "USER ****"),
        ("USER joe\u00a0canary".encode(), "USER joe ****"),
        (b"USER PASS=canary", "USER PASS=****"),
        (b"USER passmann@example.org", "USER passmann@example.org"),
        (b"USER jos\xc3\xa9", "USER jos\u00e9"),
        (b"APOP joe PASS canary", "APOP joe ****"),
        (b"AUTH PLAIN\tcanary", "AUTH ****"),
        (b"XCLIENT ADDR=192.0.2.7 PORT=5 PASS=canary", "XCLIENT ADDR=192.0.2.7 PORT=5 ****"),
        (b"XCLIENT ADDR=PASS=canary", "XCLIENT ADDR=PASS=****"),
        (b"XCLIENT LOGIN=canary SESSION=x", "XCLIENT **** SESSION=x"),
        (b"XCLIENT canary", "XCLIENT ****"),
        (b"LANG de-AT", "LANG de-AT"),
        (b"LANG *", "LANG *"),
        (b"LANG canary", "LANG ****"),
        (b"LIST of secrets", "LIST ****"),
        (b"TOP 1 10", "TOP 1 10"),
        (b"NOOP canary", "NOOP ****"),
        (b"pas canary", "(unknown command, 10 octets)"),
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


BLANKS = st.sampled_from([" ", "  ", "\t", " \t", "\u00a0", "\u3000"])


@given(
    st.sampled_from(
        [
            *("USER joe{}PASS{}", "USER joe{}pass:{}", "USER joe{}{}", "USER PASS{}={}"),
            *(
                "PAS{}S{}",
                "PSAS{}{}",
                "pas{}{}",
                "PASS:{}{}",
                "{}PASS{}",
                "pass{}{}",
                "PASSWORD{}{}",
            ),
            *("AUTH{}{}", "AUTH PLAIN{}x{}", "auth{}PLAIN{}", "AUTHPLAIN{}{}", "APOP{}joe{}"),
            *("XCLIENT ADDR=192.0.2.1{}PASS={}", "XCLIENT{}PASS:{}", "XCLIENT{}LOGIN={}"),
            *("XCLIENT ADDR=x{}PORT={}x PASSWORD=", "STAT{}{}", "QUIT{}PASS{}", "RETR{}{}"),
            *("LIST{}{}", "TOP 1{}{}", "LANG{}{}", "UTF8{}{}", "CAPA{}{}", "STLS{}PASS={}"),
        ]
    ),
    BLANKS,
    BLANKS,
)
def test_no_password_that_is_typed_in_the_wrong_place_is_shown(
    form: str, blank: str, other: str
) -> None:
    line = form.format(blank, other) + CANARY
    assert CANARY not in shown(line.encode())


@given(st.sampled_from(sorted(command.verb for command in COMMANDS if command.secret)), st.binary())
def test_no_secret_of_a_command_is_shown(verb: str, argument: bytes) -> None:
    """But for APOP's name and AUTH's mechanism: their secret is what follows."""
    secret = b"canary" + argument
    forms = [b"%s x %s", b"%s PLAIN %s", b"%s  x\t%s"]
    if verb != "APOP":
        forms.append(b"%s %s")
    for form in forms:
        assert CANARY not in shown(form % (verb.encode(), secret))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("joe", "joe"),
        ("j\u00f6rg@ex\u00e4mple.org", "j\u00f6rg@ex\u00e4mple.org"),
        ("joe PASS canary", "joe ****"),
        ("joe canary", "joe ****"),
        ("joe\ncanary", "****"),
        ("pass:canary", "pass:****"),
        ("", ""),
    ],
)
def test_a_name_that_nobody_has_proved_may_hold_a_password(name: str, text: str) -> None:
    assert safe_name(name) == text


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
    assert (
        safe_line(b"XPLAIN seen pass: canary", table, in_exchange=False) == "XPLAIN seen pass: ****"
    )
