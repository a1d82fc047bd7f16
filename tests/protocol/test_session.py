"""What a session asks for and when, and what a client without UTF8 gets of which message."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from types import FrameType
from typing import Any, get_args

import pytest

from restante.accounts.static import StaticAccounts
from restante.protocol.claims import PasswordClaim
from restante.protocol.commands import command_table
from restante.protocol.downgrade import downgrade_header
from restante.protocol.effects import Commit, Effect, Fetch, LogIn, StartTls
from restante.protocol.facts import measure
from restante.protocol.listing import Listing, MessageNumber
from restante.protocol.policy import HeaderPolicy, Policy
from restante.protocol.replies import Body, Err, Ok, Silent
from restante.protocol.session import Session
from restante.protocol.states import State
from restante.stores.contract import Content
from restante.stores.memory import MemoryStore
from tests.corpus import NASTY, wire_form
from tests.protocol.driver import Driver, policy_for

ACCOUNTS = StaticAccounts({"joe": "secret"})
LOGIN = b"USER joe\r\nPASS secret\r\n"
LISTING = Listing(["a", "b"], [100, 200])


def session(**settings: Any) -> Session:
    return Session(Policy(command_table(), **settings), trusted=True)


def logged_in(listing: Listing = LISTING, **settings: Any) -> Session:
    one = session(**settings)
    one.receive(b"USER joe")
    one.receive(b"PASS secret")
    one.resume(("joe", listing))
    return one


# Logging in


def test_a_login_is_one_effect_which_gives_account_and_listing() -> None:
    one = session()
    assert one.receive(b"USER joe") == Ok("send PASS")
    assert one.receive(b"PASS secret") == LogIn(PasswordClaim("joe", "secret"))
    assert one.claimed == "joe"
    assert one.resume(("the account", LISTING)) == Ok("{count} messages", {"count": 2})
    assert (one.account, one.listing) == ("the account", LISTING)
    assert one.state is State.TRANSACTION


@pytest.mark.parametrize("code", ["AUTH", None, "SYS/TEMP", "LOGIN-DELAY"])
def test_refused_logins_are_counted(code: str | None) -> None:
    one = session(max_failed_logins=2)
    for closing in (False, True):
        one.receive(b"USER joe")
        one.receive(b"PASS wrong")
        assert one.resume(Err("no", code)) == Err("no", code)
        assert one.closing is closing
        assert one.state is State.AUTHORIZATION
        assert one.account is None


def test_a_maildrop_in_use_is_no_failed_login() -> None:
    one = session(max_failed_logins=1)
    for _ in range(3):
        one.receive(b"USER joe")
        one.receive(b"PASS secret")
        one.resume(Err("maildrop is in use by another session", "IN-USE"))
        assert (one.failed_logins, one.closing) == (0, False)


def test_each_quit_after_a_login_asks_for_a_commit() -> None:
    one = logged_in()
    assert one.receive(b"QUIT") == Commit(())
    assert one.closing
    assert one.state is State.UPDATE
    assert one.resume(None) == Ok("bye")
    one = logged_in()
    for line in (b"DELE 2", b"DELE 1", b"RSET", b"DELE 2", b"DELE 1"):
        one.receive(line)
    assert one.receive(b"QUIT") == Commit((MessageNumber(1), MessageNumber(2)))
    assert session().receive(b"QUIT") == Ok("bye")


def test_the_lines_that_top_wants_reach_the_store() -> None:
    one = logged_in()
    assert one.receive(b"RETR 1") == Fetch(MessageNumber(1), None)
    assert one.receive(b"TOP 2 17") == Fetch(MessageNumber(2), 17)
    assert one.receive(b"TOP 2 0") == Fetch(MessageNumber(2), 0)
    store = MemoryStore()
    store.add("joe", b"x\n\ny\n")
    driver = Driver(store, ACCOUNTS)
    driver.feed(LOGIN + b"TOP 1 5\r\nRETR 1\r\n")
    assert driver.lines_wanted == [5, None]


# Policy


def test_a_policy_does_not_change_and_a_session_keeps_its_own() -> None:
    policy = Policy(command_table(), tls_port=995)
    with pytest.raises(FrozenInstanceError):
        policy.tls_port = 1  # type: ignore[misc]
    one = Session(policy)
    later = Session(replace(policy, tls_port=9950))
    for each, port in ((one, 995), (later, 9950)):
        reply = each.receive(b"USER joe")
        assert isinstance(reply, Err)
        assert reply.values == {"port": port}


def test_what_protects_a_connection_may_change() -> None:
    one = Session(Policy(command_table(), tls="starttls_required"))
    assert one.receive(b"USER joe") == Err("TLS needed first: send STLS")
    assert isinstance(one.receive(b"STLS"), StartTls)
    assert one.resume(None) == Silent()
    assert one.receive(b"USER joe") == Ok("send PASS")
    one.protected(tls=False)
    assert one.receive(b"USER joe") == Err("TLS needed first: send STLS")


# Messages with UTF-8 in their header

MAIL = {
    "plain": b"Subject: x\n\nbody\n",
    "subject": "From: a@example.org\nSubject: gr\u00fc\u00dfe\n\nbody\n".encode(),
    "same size": "From: a@example.org\nSubject: \u00fc              \n\nbody\n".encode(),
    "address": "From: J\u00f6rg <j@example.org>\nSubject: gr\u00fc\u00dfe\n\nbody\n".encode(),
    "latin-1": b"From: J\xf6rg <j@example.org>\n\nbody\n",
}
DOWNGRADED = {"internationalized": {"address"}, "downgrade": {"subject", "same size", "address"}}


@pytest.mark.parametrize("utf8", [False, True])
@pytest.mark.parametrize("choice", get_args(HeaderPolicy))
def test_what_a_client_gets_of_each_message(choice: HeaderPolicy, utf8: bool) -> None:
    """Byte for byte what was delivered, but where RFC 6856 forbids it or the operator chose so."""
    mail = MAIL | NASTY
    store = MemoryStore()
    for message in mail.values():
        store.add("joe", message)
    driver = Driver(store, ACCOUNTS, replace(policy_for(ACCOUNTS), utf8_headers=choice))
    driver.feed((b"UTF8\r\n" if utf8 else b"") + LOGIN)
    listed, stat = driver.feed(b"LIST\r\n"), driver.feed(b"STAT\r\n")
    sizes = [int(line.split()[1]) for line in listed.split(b"\r\n")[1:-2]]
    assert stat == b"+OK %d %d\r\n" % (len(mail), sum(sizes))
    for number, (name, message) in enumerate(mail.items(), 1):
        wire = driver.feed(b"RETR %d\r\n" % number)
        facts, expected = measure([message]), message
        if choice == "refuse" and not utf8 and facts.utf8_header:
            assert wire.startswith(b"-ERR [UTF8]"), name
            continue
        end = facts.header_end
        if not utf8 and (
            name in DOWNGRADED.get(choice, ())
            or (choice == "downgrade" and facts.utf8_header)
            or (choice == "internationalized" and facts.internationalized)
        ):
            expected = downgrade_header(message[:end]) + message[end:]
        status, body = wire.split(b"\r\n", 1)
        sent = body.removesuffix(b".\r\n").replace(b"\r\n.", b"\r\n")
        sent = sent[1:] if body[:1] == b"." and body != b".\r\n" else sent
        assert sent == wire_form(expected), name
        assert status == b"+OK %d octets" % len(sent), name
        assert sizes[number - 1] == len(sent), name


@pytest.mark.parametrize(
    ("choice", "name", "downgrade"),
    [
        ("internationalized", "address", True),
        ("internationalized", "subject", False),
        ("downgrade", "subject", True),
        ("downgrade", "plain", False),
        ("as-is", "address", False),
    ],
)
def test_a_message_that_a_hook_puts_in_place_is_judged_by_itself(
    choice: HeaderPolicy, name: str, downgrade: bool
) -> None:
    """Whatever the listing says of the one that it takes the place of."""
    for listing in (Listing(["a"], [9]), Listing(["a"], [9], {1: 12})):
        one = logged_in(listing, utf8_headers=choice)
        facts = measure([MAIL[name]])
        one.receive(b"RETR 1")
        body = one.resume(Content(MAIL[name], facts))
        assert isinstance(body, Body)
        assert body.downgrade is downgrade
        octets = facts.ascii_octets if downgrade else facts.octets
        assert body.values == {"octets": octets}


# What a poll costs


def poll(policy: Policy) -> None:
    one = Session(policy, timestamp=b"<1.2@example.org>")
    one.wording.encode(one.greeting())
    waiting = one.buffer
    for data in (b"USER joe\r\n", b"PASS secret\r\n", b"STAT\r\n", b"QUIT\r\n"):
        waiting += data
        while waiting and (line := one.take_line()) is not None:
            outcome = one.receive(line)
            while isinstance(outcome, Effect):
                outcome = one.resume(("joe", LISTING) if type(outcome) is LogIn else None)
            one.wording.encode(outcome)


def counted(work: Callable[[], None]) -> tuple[int, int]:
    """Python calls and bytecodes of `work`, without its own."""
    calls = bytecodes = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal calls, bytecodes
        if frame.f_code is poll.__code__ or frame.f_code.co_name == "<lambda>":
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        calls += event == "call"
        bytecodes += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return calls, bytecodes


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="only CPython is counted")
def test_a_poll_needs_few_calls_and_bytecodes() -> None:
    policy = Policy(command_table(), plaintext=True, held_schemes=frozenset({"PLAIN"}))
    poll(policy)
    calls, bytecodes = counted(lambda: poll(policy))
    assert 20 < calls <= 45
    assert 500 < bytecodes <= 1300
