"""Accounts in a real directory: who gets in, who doesn't, and when nobody can tell."""

from __future__ import annotations

import asyncio
import logging
import poplib
import signal
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from restante import MemoryStore, Pop3Server
from restante.accounts import ldap_client
from restante.accounts.account import Quota
from restante.accounts.contract import Account, AccountError
from restante.accounts.ldap import LdapAccounts
from tests.accounts.slapd import SEARCHER, SEARCHER_PASSWORD, SUFFIX, Slapd
from tests.conftest import Authority

PEOPLE = f"ou=people,{SUFFIX}"


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Slapd]:
    directory = Slapd(tmp_path_factory.mktemp("slapd"), authority)
    directory.start()
    try:
        directory.fill()
        directory.person("joe", "geheim", mail="joe@example.org", departmentNumber="7")
        directory.person("ann", " blanks ü ", mail=["ann@example.org", "boss@example.org"])
        directory.person("bob", "secret", employeeType="TRUE", departmentNumber="7")
        yield directory
    finally:
        directory.stop()


@pytest.fixture
def settings_for(slapd: Slapd, authority: Authority) -> dict[str, Any]:
    """With which the searcher finds people, under TLS."""
    return {
        "url": slapd.ldap,
        "base": PEOPLE,
        "bind_dn": SEARCHER,
        "bind_password": SEARCHER_PASSWORD,
        "ca_file": str(authority.file),
    }


@asynccontextmanager
async def opened(values: dict[str, Any], **others: Any) -> AsyncIterator[LdapAccounts]:
    accounts = LdapAccounts(**{**values, **others})
    try:
        yield accounts
    finally:
        await accounts.aclose()


async def found(accounts: LdapAccounts, name: str) -> Account:
    account = await accounts.lookup(name)
    assert account is not None
    return account


async def right(account: Account, password: str) -> bool:
    assert account.check_password is not None
    answer = account.check_password(password)
    assert isinstance(answer, Awaitable)
    return await answer


@pytest.mark.asyncio
async def test_who_gets_in(settings_for: dict[str, Any]) -> None:
    async with opened(settings_for) as accounts:
        joe = await found(accounts, "joe")
        assert (joe.name, joe.display_name, joe.email) == ("joe", "Joe", "joe@example.org")
        assert joe.credentials == ()
        assert await right(joe, "geheim") is True
        for wrong in ("Geheim", "geheim ", "geheim\0", "\0", "x" * 5000, "\udcff"):
            assert await right(joe, wrong) is False
        assert await right(await found(accounts, "ann"), " blanks ü ") is True
        assert await accounts.lookup("nobody") is None


@pytest.mark.asyncio
@pytest.mark.parametrize("mode", ["search", "direct"])
async def test_an_empty_password_is_never_right(settings_for: dict[str, Any], mode: str) -> None:
    """RFC 4513 §5.1.2: slapd would call such a bind a success."""
    if mode == "direct":
        settings_for |= {
            "base": "",
            "dn": f"uid={{name}},{PEOPLE}",
            "bind_dn": "",
            "bind_password": "",
        }
    async with opened(settings_for) as accounts:
        assert await right(await found(accounts, "joe"), "") is False


@pytest.mark.asyncio
async def test_names_are_the_directorys(settings_for: dict[str, Any]) -> None:
    """It takes JOE for joe: there must be one maildrop for both."""
    async with opened(settings_for) as accounts:
        for spelling in ("joe", "JOE", "Joe", "ｊoe"):
            assert (await found(accounts, spelling)).name == "joe"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "name",
    [
        *("*", "j*", "joe)(uid=*", "*)(uid=*))(|(uid=*", r"\2a", "joe\\", "(joe)", "joe,ou=x"),
        *("joe\0", " joe", "joe\n", "", "x" * 300, "#joe", "+", "=", '"joe"', "ann;joe"),
    ],
)
async def test_names_that_would_like_to_be_more(settings_for: dict[str, Any], name: str) -> None:
    async with opened(settings_for) as accounts:
        assert await accounts.lookup(name) is None
        assert await accounts.lookup_address(name) is None


def test_any_other_name_finds_nobody(settings_for: dict[str, Any]) -> None:
    known = {"joe", "ann", "bob"}

    async def look(names: list[str]) -> None:
        async with opened(settings_for) as accounts:
            for name in names:
                account = await accounts.lookup(name)
                assert account is None or account.name in known
                if account is not None:
                    assert name.casefold() in known or not name.isascii()

    @settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.text(alphabet="joe*()\\&|!=,+<>;# \0\u0301é/", max_size=12), max_size=20))
    def check(names: list[str]) -> None:
        asyncio.run(look(names))

    check()


def test_any_other_name_binds_as_nobody(settings_for: dict[str, Any]) -> None:
    settings_for |= {"base": "", "dn": f"uid={{name}},{PEOPLE}", "bind_dn": "", "bind_password": ""}

    async def look(names: list[str]) -> None:
        async with opened(settings_for) as accounts:
            for name in names:
                account = await accounts.lookup(name)
                if account is not None and account.name != "joe":
                    assert await right(account, "geheim") is False

    @settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.lists(st.text(alphabet='joe*()\\=,+<>;#" /', max_size=8), max_size=10))
    def check(names: list[str]) -> None:
        asyncio.run(look([*names, "joe,ou=people", "joe+uid=joe", 'joe"', "#6a6f65"]))

    check()


@pytest.mark.asyncio
async def test_two_entries_are_no_answer(settings_for: dict[str, Any]) -> None:
    several = "(|(uid={name})(departmentNumber=7))"
    async with opened(settings_for, filter=several) as accounts:
        with pytest.raises(AccountError, match="several entries"):
            await accounts.lookup("joe")


@pytest.mark.asyncio
async def test_the_filter_says_who_may(settings_for: dict[str, Any]) -> None:
    only = "(&(objectClass=inetOrgPerson)(uid={name})(!(employeeType=TRUE)))"
    async with opened(settings_for, filter=only) as accounts:
        assert await accounts.lookup("bob") is None
        assert await accounts.lookup("joe") is not None
    by_either = "(|(uid={name})(mail={name})(uid={local}))"
    async with opened(settings_for, filter=by_either) as accounts:
        assert (await found(accounts, "boss@example.org")).name == "ann"
        assert (await found(accounts, "joe@elsewhere.example")).name == "joe"


@pytest.mark.asyncio
async def test_parts_of_an_account(slapd: Slapd, settings_for: dict[str, Any]) -> None:
    slapd.person(
        "cid", "x", employeeType="false", title="Box7", ou=["POP3", "smtp"], l=["192.0.2.0/24"],
        roomNumber="1G", departmentNumber="30",
    )  # fmt: skip
    slapd.person("eve", "x", roomNumber="lots")
    slapd.person("dan", "x", employeeType="perhaps")
    attributes = {
        **{"name": "uid", "maildrop": "title", "disabled": "employeeType"},
        **{"protocols": "ou", "networks": "l"},
        **{"quota_octets": "roomNumber", "expire_days": "departmentNumber"},
    }
    async with opened(settings_for, attributes=attributes) as accounts:
        cid = await found(accounts, "cid")
        assert (cid.maildrop, cid.disabled, cid.email) == ("Box7", False, "")
        assert (cid.protocols, cid.networks) == (frozenset({"pop3", "smtp"}), ("192.0.2.0/24",))
        assert (cid.quota, cid.expire_days) == (Quota(octets=2**30), 30)
        assert (await found(accounts, "bob")).disabled is True
        joe = await found(accounts, "joe")
        assert (joe.disabled, joe.protocols, joe.maildrop) == (False, None, None)
        with pytest.raises(AccountError, match="disabled is neither"):
            await accounts.lookup("dan")
        with pytest.raises(AccountError, match="quota_octets: no size"):
            await accounts.lookup("eve")


@pytest.mark.asyncio
async def test_an_entry_has_one_name(slapd: Slapd, settings_for: dict[str, Any]) -> None:
    slapd.person("fay", "x", mail="fay@example.org")
    slapd.change(f"dn: uid=fay,{PEOPLE}\nchangetype: modify\nadd: uid\nuid: alias\n")
    async with opened(settings_for) as accounts:
        for name in ("fay", "alias"):
            assert (await found(accounts, name)).name == "fay"
        assert (await accounts.lookup_address("fay@example.org")) is not None
    async with opened(settings_for, attributes={"name": "employeeNumber"}) as accounts:
        with pytest.raises(AccountError, match="no single employeeNumber"):
            await accounts.lookup("fay")


@pytest.mark.asyncio
async def test_whose_address_it_is(settings_for: dict[str, Any]) -> None:
    attributes = {"name": "uid", "disabled": "employeeType"}
    both = "(|(mail={address})(&(uid={local})(employeeType=TRUE)))"
    async with opened(settings_for, attributes=attributes, address_filter=both) as accounts:
        for address, name in {
            **{"boss@example.org": "ann", "ANN@Example.org": "ann", "joe": "joe"},
            **{"bob@example.org": "bob"},
        }.items():
            account = await accounts.lookup_address(address)
            assert account is not None
            assert account.name == name
            assert account.disabled == (name == "bob")
        assert await accounts.lookup_address("joe@elsewhere.example") is None
        assert await accounts.lookup_address("*@example.org") is None


@pytest.mark.asyncio
async def test_without_a_search(settings_for: dict[str, Any]) -> None:
    settings_for |= {"base": "", "dn": f"uid={{name}},{PEOPLE}", "bind_dn": "", "bind_password": ""}
    async with opened(settings_for) as accounts:
        for spelling in ("joe", "JOE", "ｊoe"):
            joe = await found(accounts, spelling)
            assert joe.name == "joe"
            assert await right(joe, "geheim") is True
            assert await right(joe, "falsch") is False
        assert await right(await found(accounts, "nobody"), "geheim") is False
        assert await accounts.lookup_address("joe@example.org") is None
        for ambiguous in ("jo\u00ade", "j\u200boe", "\ufdfa" * 100):
            assert await accounts.lookup(ambiguous) is None
        assert joe.assumed
        assert not joe.version


@pytest.mark.asyncio
async def test_a_change_of_the_password_is_seen(slapd: Slapd, settings_for: dict[str, Any]) -> None:
    dn = slapd.person("gil", "old")
    async with opened(settings_for) as accounts:
        before = await found(accounts, "gil")
        assert before.version == (await found(accounts, "gil")).version
        slapd.change(f"dn: {dn}\nchangetype: modify\nreplace: userPassword\nuserPassword: new\n")
        after = await found(accounts, "gil")
        assert after.version != before.version
        assert (await right(after, "old"), await right(after, "new")) == (False, True)


@pytest.mark.asyncio
async def test_what_shows_no_change_is_not_remembered(settings_for: dict[str, Any]) -> None:
    async with opened(settings_for, version_attributes=["pwdLastSet"]) as accounts:
        assert not (await found(accounts, "joe")).version


@pytest.mark.asyncio
async def test_credentials_are_read_where_that_is_wanted(
    slapd: Slapd, settings_for: dict[str, Any]
) -> None:
    slapd.person("hal", "{SSHA}bpnpiGZjeNPTpr7vsCMDE8jmAlaVyMIz")
    wanted = {"password_attribute": "userPassword", "schemes": ["plain", "SSHA"]}
    async with opened(settings_for, **wanted) as accounts:
        assert (await found(accounts, "joe")).credentials == ("{PLAIN}geheim",)
        hal = await found(accounts, "hal")
        assert hal.credentials == ("{SSHA}bpnpiGZjeNPTpr7vsCMDE8jmAlaVyMIz",)
        assert "SSHA" not in repr(hal)
        assert accounts.held_schemes() == {"PLAIN", "SSHA"}
        assert accounts.slowest_scheme() is None


@pytest.mark.asyncio
async def test_the_password_policy_is_obeyed(
    slapd: Slapd, settings_for: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    must_change = slapd.policy("new-ones", "pwdMustChange: TRUE")
    locked = slapd.person("ian", "geheim")
    reset = slapd.person("jim", "geheim", pwdPolicySubentry=must_change)
    slapd.change(
        f"dn: {locked}\nchangetype: modify\nadd: pwdAccountLockedTime\n"
        f"pwdAccountLockedTime: 000001010000Z\n\n"
        f"dn: {reset}\nchangetype: modify\nreplace: pwdReset\npwdReset: TRUE\n"
    )
    async with opened(settings_for) as accounts:
        ian, jim = await found(accounts, "ian"), await found(accounts, "jim")
        with caplog.at_level(logging.WARNING):
            assert await right(ian, "geheim") is False
            assert await right(jim, "geheim") is False
    assert "password must be changed" in caplog.text
    assert "geheim" not in caplog.text


@pytest.mark.asyncio
async def test_expired_passwords_and_grace_logins(
    slapd: Slapd, settings_for: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    for name, grace in (("kim", 0), ("lee", 5)):
        rules = f"pwdMaxAge: 1\npwdGraceAuthNLimit: {grace}"
        slapd.person(name, "geheim", pwdPolicySubentry=slapd.policy(f"{name}s", rules))
    async with opened(settings_for) as accounts:
        for name in ("kim", "lee"):
            account = await found(accounts, name)
            deadline = time.monotonic() + 10
            while await right(account, "geheim"):
                assert time.monotonic() < deadline
                await asyncio.sleep(0.2)
    assert "password expired" in caplog.text


@pytest.mark.asyncio
async def test_three_ways_to_the_directory(slapd: Slapd, settings_for: dict[str, Any]) -> None:
    for url in (slapd.ldap, slapd.ldaps, slapd.ldapi):
        async with opened(settings_for, url=url) as accounts:
            assert await right(await found(accounts, "joe"), "geheim") is True
    async with opened(settings_for, start_tls=False, ca_file=None) as accounts:
        assert await right(await found(accounts, "joe"), "geheim") is True


@pytest.mark.asyncio
@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
async def test_certificates_are_verified(
    slapd: Slapd, settings_for: dict[str, Any], tmp_path: Path, scheme: str
) -> None:
    other = trustme.CA()
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    url = slapd.ldap if scheme == "ldap" else slapd.ldaps
    async with opened(settings_for, url=url, ca_file=str(tmp_path / "other.pem")) as accounts:
        with pytest.raises(AccountError, match="certificate verify failed"):
            await accounts.lookup("joe")
    for ca_file in (None, str(tmp_path / "other.pem")):
        context = ldap_client.server_at(
            url, start_tls=True, allow_plaintext=False, ca_file=ca_file
        ).tls
        assert context is not None
        assert context.check_hostname
        assert context.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.asyncio
async def test_a_directory_that_went_away_and_came_back(
    slapd: Slapd, settings_for: dict[str, Any]
) -> None:
    async with opened(settings_for) as accounts:
        joe = await found(accounts, "joe")
        assert await right(joe, "geheim")
        slapd.stop(signal.SIGKILL)
        try:
            with pytest.raises(AccountError):
                await accounts.lookup("joe")
            with pytest.raises(AccountError):
                await right(joe, "geheim")
        finally:
            slapd.start()
        assert await right(await found(accounts, "joe"), "geheim")
        slapd.stop()
        slapd.start()
        # Both kept connections are of the one that ended, which nobody need notice.
        assert await right(await found(accounts, "joe"), "geheim")


@pytest.mark.asyncio
async def test_a_directory_that_hangs(slapd: Slapd, settings_for: dict[str, Any]) -> None:
    async with opened(settings_for, timeout=0.5) as accounts:
        joe = await found(accounts, "joe")
        slapd.freeze()
        spent, begun = time.process_time(), time.monotonic()
        try:
            for url in (slapd.ldap, slapd.ldaps):
                async with opened(settings_for, url=url, timeout=0.5) as fresh:
                    with pytest.raises(AccountError, match="in time"):
                        await fresh.lookup("joe")
            with pytest.raises(AccountError, match="in time"):
                await right(joe, "geheim")
        finally:
            slapd.thaw()
        assert time.monotonic() - begun < 5
        assert time.process_time() - spent < 0.5
        assert await right(joe, "geheim")


@pytest.mark.asyncio
async def test_no_more_connections_than_allowed(
    settings_for: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = 0
    real = ldap_client.Connection.open

    async def counted(server: ldap_client.Server) -> ldap_client.Connection:
        nonlocal opening
        opening += 1
        return await real(server)

    monkeypatch.setattr(ldap_client.Connection, "open", counted)
    async with opened(settings_for, max_connections=2) as accounts:
        joe, *others = await asyncio.gather(*(found(accounts, "joe") for _ in range(20)))
        assert {other.name for other in others} == {"joe"}
        assert opening <= 2
        passwords = ["geheim", "falsch"] * 10
        answers = await asyncio.gather(*(right(joe, password) for password in passwords))
        assert answers == [True, False] * 10
        # Nobody searches by a connection on which somebody else has bound.
        assert await accounts.lookup("ann") is not None
        assert opening <= 4


@pytest.mark.asyncio
async def test_what_the_operator_got_wrong(slapd: Slapd, settings_for: dict[str, Any]) -> None:
    for wrong in (
        {"bind_password": "not it, s3cret"},
        {"base": f"ou=nowhere,{SUFFIX}"},
        {"base": "this is no DN"},
        {"bind_dn": "neither is this"},
        {"url": "ldap://localhost:1"},
        {"bind_dn": "", "bind_password": ""},  # the anonymous see nothing
    ):
        async with opened(settings_for, **wrong) as accounts:
            with pytest.raises(AccountError) as caught:
                await accounts.lookup("joe")
            assert "s3cret" not in str(caught.value)
            assert "ldap://localhost" in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"url": url} for url in ("http://x", "ldap://", "joe", "ldap://a/dc=b", "ldap://u:p@h")),
        {"url": "ldap://192.0.2.1", "start_tls": False},
        {"url": "ldap://example.org", "start_tls": False},
        {"base": ""},
        {"dn": "uid={name}"},
        {"base": "", "dn": "uid=joe"},
        *({"filter": text} for text in ("uid={name}", "(uid=joe)", "({name}=x)", "(uid={nam})")),
        {"filter": "(uid:{name}:=x)"},
        {"address_filter": "(mail={name})"},
        {"bind_password": ""},
        {"scope": "all"},
        {"attributes": {}},
        {"attributes": {"name": "uid", "master": "cn"}},
        {"timeout": 0},
        {"max_connections": 0},
        {"ca_file": "/nowhere/ca.pem"},
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, Any]) -> None:
    values: dict[str, Any] = {"url": "ldap://localhost", "base": "o=x"}
    values |= {"bind_dn": "cn=x", "bind_password": "pw"}
    with pytest.raises(ValueError, match="LDAP"):
        LdapAccounts(**{**values, **wrong})
    allowed = {"url": "ldap://192.0.2.1", "start_tls": False, "allow_plaintext": True}
    LdapAccounts(**{**values, **allowed})


@pytest.mark.asyncio
async def test_an_unknown_name_takes_as_long_as_a_wrong_password(
    settings_for: dict[str, Any],
) -> None:
    async with opened(settings_for) as accounts:
        await accounts.check_decoy("nobody", "x")
        accounts._refusals.clear()
        accounts._refusals.append(0.2)
        begun = time.monotonic()
        await accounts.check_decoy("nobody", "x")
        assert time.monotonic() - begun >= 0.19


def test_one_event_loop_after_another(settings_for: dict[str, Any]) -> None:
    accounts = LdapAccounts(**settings_for)

    async def look() -> None:
        assert await accounts.lookup("joe") is not None
        await accounts.aclose()
        await accounts.aclose()

    asyncio.run(look())
    asyncio.run(look())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_client_logs_in(
    slapd: Slapd, settings_for: dict[str, Any], monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    if loop == "uvloop":
        uvloop = pytest.importorskip("uvloop", reason="only where uvloop can be installed")
        monkeypatch.setattr(asyncio, "new_event_loop", uvloop.new_event_loop)
    accounts = LdapAccounts(**settings_for, timeout=1.0)
    server = Pop3Server(accounts=accounts, store=MemoryStore(), port=0, failure_delay=0.0)

    def log_in(name: str, password: str) -> bytes:
        client = poplib.POP3("127.0.0.1", server.port, timeout=20)
        try:
            client.user(name)
            return client.pass_(password)[:3]
        except poplib.error_proto as error:
            return bytes(error.args[0])
        finally:
            client.close()

    with server:
        assert log_in("joe", "geheim") == b"+OK"
        assert log_in("JOE", "geheim") == b"+OK"  # by now remembered
        for name, password in (("joe", "falsch"), ("nobody", "geheim"), ("*", "geheim")):
            assert log_in(name, password).startswith(b"-ERR [AUTH]")
        slapd.freeze()
        try:
            assert log_in("ann", "x").startswith(b"-ERR [SYS/TEMP]")
        finally:
            slapd.thaw()
        assert log_in("ann", " blanks ü ") == b"+OK"


# A directory that means harm


Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def impostor(script: Script) -> AsyncIterator[str]:
    server = await asyncio.start_server(script, "127.0.0.1", 0)
    async with server:
        yield f"ldap://127.0.0.1:{server.sockets[0].getsockname()[1]}"


START_TLS_DONE = bytes.fromhex("300c 020101 7807 0a0100 0400 0400")
BIND_DONE = bytes.fromhex("300c 020101 6107 0a0100 0400 0400")


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x30\x84\xff\xff\xff\xff",
        START_TLS_DONE + BIND_DONE,  # in the clear, to be taken for an answer under TLS
        START_TLS_DONE.replace(b"\x0a\x01\x00", b"\x0a\x01\x35"),
        START_TLS_DONE.replace(b"\x02\x01\x01", b"\x02\x01\x00"),
        BIND_DONE,
        BIND_DONE * 100,
        START_TLS_DONE,  # and nothing more
    ],
)
async def test_an_impostor_lets_nobody_in(said: bytes) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(said)
        if said != START_TLS_DONE:
            writer.write_eof()
        await reader.read()
        writer.close()

    async with (
        impostor(script) as url,
        opened({"url": url, "dn": "uid={name},o=x", "timeout": 1.0}) as accounts,
    ):
        joe = await found(accounts, "joe")
        with pytest.raises(AccountError):
            await right(joe, "geheim")


@pytest.mark.asyncio
@pytest.mark.parametrize("code", range(1, 91))
async def test_only_success_is_a_yes(code: int) -> None:
    """A referral (10) or any other code: no, or nobody can tell."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(BIND_DONE.replace(b"\x0a\x01\x00", bytes((10, 1, code))))
        await reader.read()
        writer.close()

    values = {"dn": "uid={name},o=x", "start_tls": False, "timeout": 5.0}
    async with impostor(script) as url, opened({"url": url, **values}) as accounts:
        joe = await found(accounts, "joe")
        if code in {32, 48, 49}:
            assert await right(joe, "geheim") is False
        else:
            with pytest.raises(AccountError):
                await right(joe, "geheim")


@pytest.mark.asyncio
@pytest.mark.parametrize(("reason", "told"), [("532", True), ("775", True), ("52e", False)])
async def test_why_active_directory_refuses(
    caplog: pytest.LogCaptureFixture, reason: str, told: bool
) -> None:
    text = f"80090308: LdapErr: DSID-0C09042A, comment: x, data {reason}, v3839".encode()
    result = b"\x0a\x01\x31\x04\x00\x04" + bytes([len(text)]) + text
    bound = b"\x02\x01\x01\x61" + bytes([len(result)]) + result

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(b"\x30" + bytes([len(bound)]) + bound)
        await reader.read()
        writer.close()

    values = {"dn": "uid={name},o=x", "start_tls": False}
    async with impostor(script) as url, opened({"url": url, **values}) as accounts:
        with caplog.at_level(logging.WARNING):
            assert await right(await found(accounts, "joe"), "geheim") is False
    assert (reason in caplog.text) == told


@pytest.mark.asyncio
async def test_a_search_without_end() -> None:
    entry = bytes.fromhex("300c 020101 6407 0403 6f3d78 3000")

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        with suppress(ConnectionError):
            while True:
                writer.write(entry)
                await writer.drain()
        writer.close()

    values = {"base": "o=x", "start_tls": False}
    async with impostor(script) as url, opened({"url": url, **values}) as accounts:
        with pytest.raises(AccountError):
            await accounts.lookup("joe")
