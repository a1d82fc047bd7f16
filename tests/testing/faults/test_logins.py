"""Logins that fail, though the password is right."""

from __future__ import annotations

import pytest

from restante import OAuth
from restante.testing.faults import BrokenMechanism, FaultError, LoginFails, TokenExpires
from tests.testing.faults.harness import failing

PLAIN = "AUTH PLAIN AGpvZQBzZWNyZXQ="


def test_the_right_password_is_wrong_twice() -> None:
    with failing(LoginFails(times=2)) as server, server.connect() as client:
        client.line()
        for _ in range(2):
            client.ask("USER joe")
            assert client.ask("PASS secret") == b"-ERR [AUTH] the login is refused\r\n"
        client.ask("USER joe")
        assert client.ask("PASS secret").startswith(b"+OK")
        assert len(server.fired) == 2


@pytest.mark.parametrize("code", ["IN-USE", "LOGIN-DELAY", "SYS/TEMP", "SYS/PERM"])
def test_a_login_is_refused_once_with_a_code(code: str) -> None:
    with failing(LoginFails(code=code, once=True)) as server, server.connect() as client:
        client.line()
        assert client.ask(PLAIN) == f"-ERR [{code}] the login is refused\r\n".encode()
        assert client.ask(PLAIN).startswith(b"+OK")
        assert server.fired == [LoginFails(code=code, once=True)]


def test_a_wrong_password_is_wrong_for_its_own_reason() -> None:
    with failing(LoginFails(code="IN-USE")) as server, server.connect() as client:
        client.line()
        client.ask("USER joe")
        assert b"[AUTH]" in client.ask("PASS wrong")
        assert server.fired == []


def test_only_one_account_is_refused() -> None:
    with failing(LoginFails(account="joe")) as server, server.connect() as client:
        with server.log_in("ann") as other:
            other.quit()
        client.line()
        client.ask("USER joe")
        assert client.ask("PASS secret").startswith(b"-ERR")


@pytest.mark.parametrize(
    ("how", "reply"),
    [("garbage", b"+ !this is not base64!\r\n"), ("refused", b"-ERR mechanism is broken\r\n")],
)
def test_a_mechanism_is_announced_and_broken(how: str, reply: bytes) -> None:
    fault = BrokenMechanism("NTLM", how=how)  # type: ignore[arg-type]
    with failing(fault) as server, server.connect() as client:
        client.line()
        (sasl,) = [line for line in client.ask_lines("CAPA") if line.startswith(b"SASL")]
        assert b"NTLM" in sasl.split()
        assert client.ask("AUTH NTLM") == reply
        assert server.fired == [fault]
        if how == "garbage":
            assert client.ask("*").startswith(b"-ERR")
        assert client.ask(PLAIN).startswith(b"+OK")


class Vouching(OAuth):
    """Believes every token."""

    async def identify(self, token: str) -> str | None:
        return "joe"


def test_a_token_expires_in_the_session() -> None:
    oauth = Vouching(issuer="https://localhost", audience="pop3")
    token = "dXNlcj1qb2UBYXV0aD1CZWFyZXIgdAEB"  # user=joe, Bearer t
    with failing(TokenExpires(commands=1), oauth=oauth) as server, server.connect() as client:
        client.line()
        assert client.ask(f"AUTH XOAUTH2 {token}").startswith(b"+OK")
        assert client.ask("STAT").startswith(b"+OK")
        client.send("RETR 1")
        assert client.rest() == b"-ERR [AUTH] the access token has expired\r\n"
        assert server.fired == [TokenExpires(commands=1)]


def test_a_session_with_a_password_has_no_token_that_could_expire() -> None:
    with failing(TokenExpires(commands=0)) as server, server.log_in() as client:
        assert client.ask("STAT").startswith(b"+OK")
        assert server.fired == []


def test_times_and_once_exclude_each_other() -> None:
    with pytest.raises(FaultError, match="times excludes once and nth"):
        LoginFails(times=2, once=True)
