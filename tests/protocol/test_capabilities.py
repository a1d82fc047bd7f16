"""CAPA (RFC 2449 §5): derived from commands, TLS, mechanisms and policy."""

from __future__ import annotations

from typing import Any

import pytest

from restante.accounts.account import Account
from restante.protocol.commands import command_table
from restante.protocol.policy import Policy
from restante.protocol.replies import MultiLine
from restante.protocol.session import Session
from restante.protocol.states import State
from tests.protocol.mechanisms import BASIC_MECHANISMS

ALWAYS = {"RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "TOP", "UIDL", "LANG"}


def said(*, tls: bool = False, secure: bool = True, **settings: Any) -> list[str]:
    return capabilities(Policy(command_table(), BASIC_MECHANISMS, **settings), tls, secure)


def capabilities(policy: Policy, tls: bool, secure: bool) -> list[str]:
    reply = Session(policy, tls=tls, trusted=secure).receive(b"CAPA")
    assert isinstance(reply, MultiLine)
    return list(reply.lines)


def words(lines: list[str]) -> set[str]:
    return {line.split()[0] for line in lines}


@pytest.mark.parametrize("tls", ["none", "implicit", "starttls", "starttls_required"])
@pytest.mark.parametrize("secure", [False, True])
def test_what_is_always_there_and_nothing_twice(tls: Any, secure: bool) -> None:
    lines = said(tls=False, secure=secure) if tls == "none" else said(secure=secure)
    assert words(lines) >= ALWAYS
    assert len(words(lines)) == len(lines)


def test_passwords_are_offered_where_they_may_be_sent() -> None:
    assert "USER" in said(secure=True)
    assert "USER" not in said(secure=False)
    assert "SASL PLAIN LOGIN" in said(secure=True)
    assert "SASL" not in words(said(secure=False))


def test_challenge_mechanisms_are_offered_only_with_shared_secrets() -> None:
    """A6"""
    assert "SASL PLAIN LOGIN CRAM-MD5" in said(held_schemes=frozenset({"PLAIN"}))
    assert "SASL CRAM-MD5" in said(held_schemes=frozenset({"PLAIN"}), secure=False)


def test_use_auth() -> None:
    assert "SASL" not in words(said(use_auth="pop"))
    assert "USER" not in words(said(use_auth="sasl"))
    assert {"SASL", "USER"} <= words(said(use_auth="both"))


def offered_stls(mode: Any, tls: bool) -> bool:
    policy = Policy(command_table(), tls=mode)
    return "STLS" in capabilities(policy, tls=tls, secure=tls)


def test_stls_is_offered_until_tls_is_active() -> None:
    assert offered_stls("starttls", tls=False)
    assert offered_stls("starttls_required", tls=False)
    assert not offered_stls("starttls", tls=True)
    assert not offered_stls("none", tls=False)
    assert not offered_stls("implicit", tls=True)


def test_utf8_can_be_kept_quiet() -> None:
    """A12"""
    assert "UTF8 USER" in said()
    assert "UTF8" not in words(said(utf8=False))


@pytest.mark.parametrize("verb", ["USER", "UTF8", "STLS", "AUTH"])
def test_a_command_by_another_name_is_not_announced_by_the_old_one(verb: str) -> None:
    policy = Policy(command_table(), BASIC_MECHANISMS, tls="starttls")
    word = "SASL" if verb == "AUTH" else verb
    assert word in words(capabilities(policy, tls=False, secure=True))
    policy.commands.rename(verb, "X" + verb)
    assert word not in words(capabilities(policy, tls=False, secure=True))


def test_expire_login_delay_and_implementation() -> None:
    lines = said(expire_days=30, login_delay=60, implementation="Ours 1.0")
    assert {"EXPIRE 30", "LOGIN-DELAY 60", "IMPLEMENTATION Ours 1.0"} <= set(lines)
    assert "EXPIRE NEVER" in said()


@pytest.mark.parametrize(
    ("days", "least", "own", "before", "after"),
    [
        (None, 7, None, "7 USER", "NEVER"),
        (None, 7, 30, "7 USER", "30"),
        (None, 7, 3, "7 USER", "7"),  # never fewer than was said
        (90, 7, None, "7 USER", "90"),
        (90, 7, 0, "7 USER", "NEVER"),
        (5, 7, 30, "5 USER", "30"),
        (90, None, 30, "90", "90"),
        (None, None, 30, "NEVER", "NEVER"),
    ],
)
def test_expire_where_accounts_differ(
    days: int | None, least: int | None, own: int | None, before: str, after: str
) -> None:
    """RFC 2449 §6.7: USER means that another number may come after the login."""
    policy = Policy(command_table(), expire_days=days, expire_user_days=least)
    session = Session(policy, trusted=True)
    for expected in (before, after):
        reply = session.receive(b"CAPA")
        assert isinstance(reply, MultiLine)
        assert f"EXPIRE {expected}" in reply.lines
        session.state, session.account = State.TRANSACTION, Account("ann", expire_days=own)


def test_commands_added_renamed_and_removed_show_in_it() -> None:
    policy = Policy(command_table(), BASIC_MECHANISMS)
    policy.commands.add("XECHO", print, capability="XECHO loud")
    policy.commands.add("XQUIET", print)
    policy.commands.rename("TOP", "XTOP")
    policy.commands.remove("UIDL")
    policy.commands.remove("AUTH")
    lines = capabilities(policy, tls=False, secure=True)
    assert "XECHO loud" in lines
    assert not {"XQUIET", "TOP", "XTOP", "UIDL", "SASL"} & words(lines)
