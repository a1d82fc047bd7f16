"""Addresses become local accounts or refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.accounts.contract import Account, AccountError, AccountStore
from restante.accounts.static import StaticAccounts
from restante.delivery.recipients import Recipients, Refusal, split_address, split_path

NAMES = ("joe", "sales+eu", "joe bloggs", "rest", "chef@example.com")
ACCOUNTS = StaticAccounts([*map(Account, NAMES), Account("gone", disabled=True)])
OURS = ("example.org", "bücher.example")


async def found(address: str, **settings: object) -> str:
    settings.setdefault("domains", OURS)
    result = await Recipients(ACCOUNTS, **settings).find(address)  # type: ignore[arg-type]
    return str(result)[:9] if isinstance(result, Refusal) else result.name


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("joe@example.org", "joe"),
        ("joe@EXAMPLE.Org", "joe"),
        ("joe@xn--bcher-kva.example", "joe"),
        ("joe", "joe"),
        ("joe+shop@example.org", "joe"),
        ("joe+a+b@example.org", "joe"),
        ("sales+eu@example.org", "sales+eu"),
        ("sales+us@example.org", "550 5.1.1"),
        ("+joe@example.org", "550 5.1.1"),
        ("nobody@example.org", "550 5.1.1"),
        ("joe@elsewhere.net", "550 5.7.1"),
        ("chef@example.com", "550 5.7.1"),
        ("joe%elsewhere.net@example.org", "550 5.1.1"),
        ("elsewhere.net!joe@example.org", "550 5.1.1"),
        ("@relay.net,@b.net:joe@example.org", "joe"),
        ("@example.org:joe@elsewhere.net", "550 5.7.1"),
        ('"joe"@example.org', "joe"),
        ('"j\\oe"@example.org', "joe"),
        ('"joe bloggs"@example.org', "joe bloggs"),
        ('"chef@example.com"@example.org', "553 5.1.3"),
        ('"chef@example.com"', "553 5.1.3"),
        ("joe@elsewhere.net@example.org", "553 5.1.3"),
        ("joe bloggs@example.org", "553 5.1.3"),
        ("gone@example.org", "550 5.2.1"),
        ("gone+tag@example.org", "550 5.2.1"),
        ("postmaster@example.org", "550 5.1.1"),
        ("", "553 5.1.3"),
        ("@example.org", "553 5.1.3"),
        ("joe@", "553 5.1.3"),
        ('""@example.org', "553 5.1.3"),
        ("joe\r\n@example.org", "553 5.1.3"),
        ("joe\0@example.org", "553 5.1.3"),
        ("jo\udcffe@example.org", "553 5.1.3"),
        ("j" * 65 + "@example.org", "553 5.1.3"),
        ("joe@" + "x" * 256, "553 5.1.3"),
        ("joe@[127.0.0.1]", "550 5.7.1"),
        ("../joe@example.org", "550 5.1.1"),
    ],
)
async def test_addresses(address: str, expected: str) -> None:
    assert await found(address) == expected


@pytest.mark.asyncio
async def test_without_domains_the_domain_decides_nothing() -> None:
    assert await found("joe@anything.net", domains=()) == "joe"
    assert await found("chef@example.com", domains=()) == "chef@example.com"
    assert await found("nobody@anything.net", domains=()) == "550 5.1.1"


@pytest.mark.asyncio
async def test_the_catch_all_gets_unknown_users_of_our_domains_only() -> None:
    assert await found("whoever@example.org", catch_all="rest") == "rest"
    assert await found("joe@example.org", catch_all="rest") == "joe"
    assert await found("whoever@elsewhere.net", catch_all="rest") == "550 5.7.1"
    assert await found("gone@example.org", catch_all="rest") == "550 5.2.1"
    assert await found("whoever@example.org", catch_all="nobody") == "550 5.1.1"


@pytest.mark.asyncio
async def test_postmaster_in_any_case_with_or_without_domain() -> None:
    """RFC 5321 §4.5.1"""
    with_one = StaticAccounts({"postmaster": "x", "rest": "x"})
    for address in ("Postmaster", "POSTMASTER@Example.org", "postmaster@example.org"):
        account = await Recipients(with_one, domains=OURS).find(address)
        assert isinstance(account, Account)
        assert account.name == "postmaster"
        assert await found(address, catch_all="rest") == "rest"


@pytest.mark.asyncio
async def test_the_separator_can_be_another_or_none() -> None:
    assert await found("joe-shop@example.org", separator="-") == "joe"
    assert await found("joe+shop@example.org", separator="") == "550 5.1.1"


class Blocking(AccountStore):
    def lookup(self, name: str) -> Account | None:
        if name.startswith("down"):
            raise AccountError("ldap://secret is down")
        return Account("plain")


class Async(AccountStore):
    async def lookup(self, name: str) -> Account | None:
        return Account("async")


@pytest.mark.asyncio
async def test_plain_and_async_stores_and_one_that_can_not_tell() -> None:
    assert await Recipients(Blocking()).find("a@b") == Account("plain")
    assert await Recipients(Async()).find("a@b") == Account("async")
    refusal = await Recipients(Blocking()).find("down@b")
    assert isinstance(refusal, Refusal)
    assert refusal.code == 451
    assert "secret" not in str(refusal)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("<a@b>", ("a@b", "")),
        (" <a@b> SIZE=3 BODY=8BITMIME", ("a@b", "SIZE=3 BODY=8BITMIME")),
        ("<>", ("", "")),
        ('<"a>b"@c>', ('"a>b"@c', "")),
        ("a@b", ("a@b", "")),
        ("<a@b", None),
        ("<a@b>x", None),
        ("a@b>", None),
        ("", None),
    ],
)
def test_paths(argument: str, expected: tuple[str, str] | None) -> None:
    assert split_path(argument) == expected


@given(st.text())
def test_any_text_is_an_address_or_none(text: str) -> None:
    parts = split_address(text)
    if parts is not None:
        assert "@" not in parts[0]
        assert parts[0].isprintable()
    split_path(text)
