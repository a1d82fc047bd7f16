"""Who gets in: the authenticate event fails closed (A10), and what a refusal says."""

from __future__ import annotations

import base64
import logging
import re
import time
from collections.abc import Callable
from hashlib import md5
from typing import Any

import pytest

from restante import (
    Account,
    AccountError,
    AccountStore,
    ClientSession,
    Pop3Error,
    StaticAccounts,
)
from restante.accounts.schemes import hash_password
from restante.protocol.claims import Claim, PasswordClaim
from tests.server.kit import NAME, PASSWORD, Client, new_server, serving, until

Default = Callable[[], Any]
REFUSED = b"-ERR [AUTH] authentication failed"
PLAIN = base64.b64encode(f"\0{NAME}\0{PASSWORD}".encode()).decode()


def answer_to_login(how: object, password: str = PASSWORD, *, use_async: bool = False) -> bytes:
    server = new_server()

    def decide(session: ClientSession, claim: Claim, default: Default) -> Any:
        if isinstance(how, Exception):
            raise how
        return how

    async def coroutine(*args: Any) -> Any:
        return decide(*args)

    server.on("authenticate")(coroutine if use_async else decide)
    with server, Client(server.port) as client:
        client.ask("USER joe")
        answer = client.ask(f"PASS {password}")
        logged_in = client.ask("STAT").startswith(b"+OK")
        assert logged_in is answer.startswith(b"+OK")
        return answer


@pytest.mark.parametrize("use_async", [False, True])
@pytest.mark.parametrize(
    "how", [None, False, "yes", "true", 1, 1.0, [True], object(), b"+OK", NAME, {NAME: True}]
)
def test_only_an_explicit_yes_lets_anybody_in(how: object, use_async: bool) -> None:
    answer = answer_to_login(how, use_async=use_async)
    if how is None or how is False:
        assert answer == REFUSED
    else:  # an answer of the wrong kind is the application's mistake, and said to be one
        assert answer.startswith(b"-ERR [SYS/TEMP] internal error")


@pytest.mark.parametrize("use_async", [False, True])
def test_an_exception_is_a_no(use_async: bool) -> None:
    answer = answer_to_login(ZeroDivisionError("canary"), use_async=use_async)
    assert answer.startswith(b"-ERR [SYS/TEMP] internal error")
    assert b"canary" not in answer
    answer = answer_to_login(Pop3Error("closed {on} Sundays", "SYS/TEMP"), use_async=use_async)
    assert answer == b"-ERR [SYS/TEMP] closed {on} Sundays"
    assert answer_to_login(AccountError("db"), use_async=use_async).startswith(b"-ERR [SYS/TEMP]")


@pytest.mark.parametrize("use_async", [False, True])
def test_true_and_an_account_are_a_yes(use_async: bool) -> None:
    assert answer_to_login(True, "wrong", use_async=use_async) == b"+OK 0 messages"
    assert answer_to_login(Account("ann"), "wrong", use_async=use_async) == b"+OK 0 messages"


def test_a_disabled_account_is_a_no_whoever_says_yes() -> None:
    assert answer_to_login(Account(NAME, disabled=True)) == REFUSED


def test_the_account_that_the_handler_gives_is_whose_maildrop_is_opened() -> None:
    with serving({"shared": [b"x\n"]}) as server:
        server.on("authenticate")(lambda *_: Account("ann", maildrop="shared"))
        with Client(server.port) as client:
            assert client.log_in("anybody", "x").ask("STAT") == b"+OK 1 3"


@pytest.mark.parametrize("use_async", [False, True])
def test_default_asks_the_accounts(use_async: bool) -> None:
    claims: list[Claim] = []
    server = new_server()

    def plain(session: ClientSession, claim: Claim, default: Default) -> Any:
        claims.append(claim)
        return default()

    async def coroutine(session: ClientSession, claim: Claim, default: Default) -> Any:
        claims.append(claim)
        return await default()

    server.on("authenticate")(coroutine if use_async else plain)
    with server, Client(server.port) as client:
        client.ask("USER joe")
        assert client.ask("PASS wrong") == REFUSED
        assert client.ask("USER nobody") == b"+OK send PASS"
        assert client.ask(f"PASS {PASSWORD}") == REFUSED
        client.log_in()
    assert claims[-1] == PasswordClaim(NAME, PASSWORD)
    assert PASSWORD not in repr(claims)


def test_every_listener_must_say_yes() -> None:
    server = new_server()
    answers = iter([True, None, None, True, True])
    for _ in range(2):
        server.on("authenticate")(lambda *_: next(answers))
    with server, Client(server.port) as client:
        for expected in (REFUSED, REFUSED):
            client.ask("USER joe")
            assert client.ask("PASS x") == expected
        client.log_in(password="x")


# Without a handler


def test_a_password_with_blanks_is_taken_as_it_is() -> None:
    """A1"""
    with serving(accounts={NAME: " two  blanks "}) as server, Client(server.port) as client:
        client.ask("USER joe")
        assert client.ask("PASS two  blanks") == REFUSED
        client.log_in(password=" two  blanks ")


@pytest.mark.parametrize(
    "attempt",
    [
        ["USER joe", "PASS wrong"],
        ["USER nobody", f"PASS {PASSWORD}"],
        ["USER joe", "PASS"],
        ["AUTH PLAIN " + base64.b64encode(b"\0joe\0wrong").decode()],
        ["AUTH PLAIN " + base64.b64encode(f"ann\0joe\0{PASSWORD}".encode()).decode()],
        ["APOP joe 00000000000000000000000000000000"],
    ],
)
def test_wrong_credentials_say_one_thing_whatever_was_wrong(attempt: list[str]) -> None:
    with serving() as server, Client(server.port) as client:
        *others, last = attempt
        for line in others:
            client.ask(line)
        assert client.ask(last) == REFUSED
        client.log_in()  # the session stays usable


def test_apop() -> None:
    with serving() as server, Client(server.port) as client:
        stamp = client.greeting.split()[-1]
        assert stamp.startswith(b"<")
        digest = md5(stamp + PASSWORD.encode(), usedforsecurity=False).hexdigest()
        assert client.ask(f"APOP joe {digest}") == b"+OK 0 messages"


def test_a_timestamp_only_when_some_account_can_use_it(quick_sweep: None) -> None:
    """A3, A6: seen within a sweep when accounts change."""
    accounts = StaticAccounts({NAME: hash_password(PASSWORD, "SCRYPT")})
    with serving(accounts=accounts) as server:
        with Client(server.port) as client:
            assert client.greeting == b"+OK Restante ready"
            assert "CRAM-MD5" not in client.fetch("CAPA").decode()
            assert client.ask("APOP joe 00") == b"-ERR APOP is not available"
            client.log_in()
        accounts.add(Account("ann", ("{PLAIN}x",)))

        def has_timestamp() -> bool:
            with Client(server.port) as client:
                return b"<" in client.greeting and b"CRAM-MD5" in client.fetch("CAPA")

        until(has_timestamp)


def test_timestamps_are_never_given_twice_and_have_the_usual_form() -> None:
    server = new_server(hostname="pop.example.org")
    stamps = {server.context.numbering.timestamp() for _ in range(1000)}
    assert len(stamps) == 1000
    assert all(re.fullmatch(rb"<\d+\.\d+@pop\.example\.org>", stamp) for stamp in stamps)


def test_a_failed_login_is_logged_in_one_stable_line(caplog: pytest.LogCaptureFixture) -> None:
    """L7"""
    caplog.set_level(logging.INFO, "restante.access")
    with serving() as server, Client(server.port) as client:
        client.ask("USER joe\u00e9 x=y")
        client.ask("PASS canary")
        client.log_in()
        client.ask("QUIT")
    messages = [
        record.getMessage() for record in caplog.records if record.name == "restante.access"
    ]
    failed = "login failed: account='joe\u00e9 ****' peer=127.0.0.1 mechanism=USER session="
    assert messages[0].startswith(failed)
    assert messages[1].startswith("login: account='joe' peer=127.0.0.1 tls=no messages=0 octets=0")
    assert "canary" not in caplog.text


def test_refusals_are_delayed() -> None:
    with serving(failure_delay=0.1) as server, Client(server.port) as client:
        client.ask("USER joe")
        begun = time.monotonic()
        assert client.ask("PASS wrong") == REFUSED
        assert time.monotonic() - begun >= 0.1


def test_ten_refused_logins_end_the_connection() -> None:
    with serving() as server, Client(server.port) as client:
        for _ in range(10):
            client.ask("USER joe")
            assert client.ask("PASS wrong") == REFUSED
        assert client.is_cut()


def test_login_delay() -> None:
    """L6"""
    with serving(login_delay=3600) as server:
        with Client(server.port) as client:
            assert b"LOGIN-DELAY 3600\r\n" in client.fetch("CAPA")
            client.log_in().ask("QUIT")
        with Client(server.port) as client:
            client.ask("USER joe")
            answer = client.ask(f"PASS {PASSWORD}")
            assert answer.startswith(b"-ERR [LOGIN-DELAY] log in again in 3")


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("use_async", [False, True])
def test_any_kind_of_account_store(blocking: bool, use_async: bool) -> None:
    class Ours(AccountStore):
        def __init__(self) -> None:
            self.blocking = blocking

        def lookup(self, name: str) -> Account | None:
            if name == "broken":
                raise AccountError("the database canary is down")
            return Account(NAME, (f"{{PLAIN}}{PASSWORD}",)) if name == NAME else None

    class OursAsync(Ours):
        async def lookup(self, name: str) -> Account | None:  # type: ignore[override]
            return super().lookup(name)

    accounts = OursAsync() if use_async else Ours()
    with serving(accounts=accounts) as server, Client(server.port) as client:
        client.ask("USER nobody")
        assert client.ask("PASS x") == REFUSED
        client.ask("USER broken")
        assert client.ask("PASS x") == b"-ERR [SYS/TEMP] temporary failure: try again later"
        client.log_in()


def test_a_lookup_that_gives_anything_but_an_account_is_a_no() -> None:
    class Odd(AccountStore):
        def lookup(self, name: str) -> Any:
            return True

    with serving(accounts=Odd()) as server, Client(server.port) as client:
        client.ask("USER joe")
        assert client.ask("PASS x") == b"-ERR [SYS/TEMP] temporary failure: try again later"


@pytest.mark.parametrize(
    ("use_auth", "pop", "sasl"),
    [("both", True, True), ("pop", True, False), ("sasl", False, True)],
)
def test_use_auth(use_auth: str, pop: bool, sasl: bool) -> None:
    with serving(use_auth=use_auth) as server:
        with Client(server.port) as client:
            assert client.ask("USER joe").startswith(b"+OK" if pop else b"-ERR use AUTH")
            assert (b"<" in client.greeting) is pop
        with Client(server.port) as client:
            assert client.ask(f"AUTH PLAIN {PLAIN}").startswith(b"+OK" if sasl else b"-ERR")
