"""HTTP is told from mail protocols, and ends a session in which nobody has logged in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.accounts.static import StaticAccounts
from restante.protocol.commands import COMMANDS
from restante.protocol.http import is_http
from restante.protocol.replies import Err
from restante.protocol.states import State
from restante.protocol.table import Command
from restante.stores.memory import MemoryStore
from tests.protocol.driver import Driver

REFUSAL = b"-ERR this is not an HTTP server\r\n"

METHODS = ["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "CONNECT", "TRACE", "PATCH"]


@pytest.mark.parametrize("method", [*METHODS, "patch"])
@pytest.mark.parametrize(
    "target",
    [
        *("/", "/x?y HTTP/1.1", "* HTTP/1.1", "http://mail.example.org/ HTTP/1.1", " / HTTP/1.0"),
        *("mail.example.org:443 HTTP/1.1", "localhost:110", "192.0.2.1", "[::1]:110"),
    ],
)
def test_a_request_is_http(method: str, target: str) -> None:
    assert is_http(f"{method} {target}".encode())
    assert is_http(f"{method} {target}\r\n".encode())


@pytest.mark.parametrize(
    "line",
    [b"Host: 127.0.0.1:110", b"host:x", b"HOST :x", b"PRI * HTTP/2.0", b"PURGE x HTTP/1.1"],
)
def test_a_host_field_and_requests_of_other_methods_are_http(line: bytes) -> None:
    assert is_http(line)


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b" ", b"GET", b"POST", b"DELETE 1", b"GET 1", b"HEAD x", b"GETS /", b"XGET /"),
        *(b"STAT", b"USER joe", b"PASS GET /", b"USER Host: x", b"RETR 1", b"TOP 1 10"),
        *(b"EHLO host.example.org", b"LHLO [192.0.2.1]", b"MAIL FROM:<a@example.org>", b"DATA"),
        *(b"RCPT TO:</>", b"HELP", b"QUIT", b"RSET", b"VRFY /", b"BDAT 10 LAST", b"HELO *"),
    ],
)
def test_mail_protocols_are_not_http(line: bytes) -> None:
    assert not is_http(line)


@given(st.sampled_from(COMMANDS), st.text(max_size=40))
def test_no_command_of_pop3_is_taken_for_http(command: Command, argument: str) -> None:
    line = f"{command.verb} {argument}".encode()
    assert not is_http(line) or line.rstrip().upper().find(b"HTTP/") > 0


@given(st.binary())
def test_any_line_can_be_asked_about(line: bytes) -> None:
    assert is_http(line) in (True, False)


def driver() -> Driver:
    store = MemoryStore()
    store.add("joe", b"Subject: x\n\nbody\n", "u1")
    return Driver(store, StaticAccounts({"joe": "secret"}))


BROWSER = (
    b"POST / HTTP/1.1\r\nHost: 127.0.0.1:110\r\nContent-Length: 60\r\n\r\n"
    b"USER joe\r\nPASS secret\r\nDELE 1\r\nQUIT\r\n"
)


@pytest.mark.parametrize("skipped", [b"", b"POST / HTTP/1.1\r\n"])
def test_a_browser_is_told_once_and_does_nothing(skipped: bytes) -> None:
    one = driver()
    assert one.feed(BROWSER.removeprefix(skipped)) == REFUSAL
    assert one.session.closing
    assert one.session.state is State.AUTHORIZATION
    assert one.effects == []
    assert set(one.store.messages("joe")) == {"u1"}
    assert one.feed(b"QUIT\r\n") == b""


def test_after_commands_too_it_ends_the_session() -> None:
    one = driver()
    one.feed(b"CAPA\r\nUSER joe\r\n")
    assert one.feed(b"GET / HTTP/1.1\r\nPASS secret\r\n") == REFUSAL


def test_who_has_logged_in_may_say_anything() -> None:
    one = driver()
    one.feed(b"USER joe\r\nPASS secret\r\n")
    assert one.feed(b"GET / HTTP/1.1\r\n") == b"-ERR unknown command\r\n"
    assert not one.session.closing


def test_a_password_may_look_like_http() -> None:
    one = driver()
    one.feed(b"USER joe\r\nPASS GET / HTTP/1.1\r\n")
    assert one.exchanges[-1].reply == Err("authentication failed", "AUTH")


def test_a_command_of_the_applications_own_may_have_the_name_of_a_method() -> None:
    one = driver()
    one.policy.commands.add("GET", print)
    assert one.feed(b"GET /\r\n") == b"+OK handled\r\n"
