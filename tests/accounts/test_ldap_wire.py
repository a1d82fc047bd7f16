"""LDAP messages: what is sent means what was said, and whatever comes is read or refused."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.accounts.ldap_wire import (
    POLICY_ERRORS,
    Message,
    WireError,
    bind_request,
    compile_filter,
    entry_of,
    escaped,
    message,
    policy_of,
    result_of,
    take_message,
)


@pytest.mark.parametrize(
    ("text", "octets"),
    [
        ("(uid=joe)", "a30a 0403 756964 0403 6a6f65"),
        ("(uid=*)", "8703 756964"),
        ("(uid=)", "a307 0403 756964 0400"),
        ("(o>=1)", "a506 0401 6f 0401 31"),
        ("(o<=1)", "a606 0401 6f 0401 31"),
        ("(o~=1)", "a806 0401 6f 0401 31"),
        ("(!(o=1))", "a208 a306 0401 6f 0401 31"),
        ("(&(o=1)(c=2))", "a010 a306 0401 6f 0401 31 a306 0401 63 0401 32"),
        ("(|(o=1))", "a108 a306 0401 6f 0401 31"),
        ("(o=a*b*c)", "a40e 0401 6f 3009 8001 61 8101 62 8201 63"),
        ("(o=*b*)", "a408 0401 6f 3003 8101 62"),
        ("(o=a*)", "a408 0401 6f 3003 8001 61"),
        (r"(o=\2a\00é)", "a309 0401 6f 0404 2a 00 c3a9"),
        ("(o:dn:2.4.6:=x)", "a910 8105 322e342e36 8201 6f 8301 78 8401 ff"),
        ("(:1.2:=x)", "a908 8103 312e32 8301 78"),
        ("(o:=x)", "a906 8201 6f 8301 78"),
    ],
)
def test_filters(text: str, octets: str) -> None:
    """RFC 4511 §4.5.1.7, RFC 4515 §4"""
    assert compile_filter(text) == bytes.fromhex(octets)


@pytest.mark.parametrize(
    "text",
    [
        *("", "uid=joe", "(", "()", "(uid)", "(=x)", "(uid=joe", "(uid=joe))", "(uid=joe)x"),
        *("(&)", "(!(a=1)(b=2))", "(&(a=1)", r"(uid=\zz)", "(uid=\\", r"(uid=\2)", "(:=x)"),
        *("(u d=x)", "(uid:dn=x)", "(uid=(x))", "(|(a=1)x)"),
    ],
)
def test_filters_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="LDAP filter"):
        compile_filter(text)


@given(st.text(alphabet="()&|!=*\\:~<>aF0 é\0"))
def test_no_filter_does_worse(text: str) -> None:
    with suppress(ValueError):
        assert compile_filter(text)


@given(st.text(max_size=60))
def test_what_is_escaped_is_one_value(value: str) -> None:
    octets = value.encode("utf-8", "surrogateescape")
    assert compile_filter(f"(uid={escaped(value)})").endswith(octets)
    assert compile_filter(f"(&(o={escaped(value)})(c=2))").endswith(
        bytes.fromhex("0401630401") + b"2"
    )
    assert not set(escaped(value)) & set('()*,+"<>;=# \0')


@pytest.mark.parametrize(("dn", "password"), [("", "x"), ("cn=x", ""), ("", "")])
def test_no_bind_that_proves_nothing(dn: str, password: str) -> None:
    """RFC 4513 §5.1"""
    with pytest.raises(ValueError, match="needs a DN and a password"):
        bind_request(dn, password)


def _answer(text: str) -> Message:
    octets = bytearray.fromhex(text)
    found = take_message(octets)
    assert found is not None
    assert not octets
    return found


def test_answers() -> None:
    answer = _answer("300c 020101 61070a0131 0400 0400")
    assert (answer.id, answer.tag) == (1, 0x61)
    assert result_of(answer) == (49, "")
    found = entry_of(_answer("3019 020107 6414 0404 6f3d6578 300c 300a 0401 4f 3105 0403 616263"))
    assert found.dn == "o=ex"
    assert found.attributes == {"o": (b"abc",)}
    assert "abc" not in repr(found)


def test_a_success_that_points_elsewhere_is_none() -> None:
    answer = _answer("3013 020101 610e 0a0100 0400 0400 a305 0403 6c6461")
    with pytest.raises(WireError, match="elsewhere"):
        result_of(answer)


@pytest.mark.parametrize(
    ("control", "objection"),
    [
        ("3000", ""),
        ("3003 810100", "password expired"),
        ("3003 810101", "account locked"),
        ("3003 810102", "password must be changed"),
        ("3003 81017f", "password policy"),
        ("3005 a003 800164", ""),  # it will expire
        ("3005 a003 810102", "password expired"),  # two grace logins are left
    ],
)
def test_password_policy(control: str, objection: str) -> None:
    value = bytes.fromhex(control)
    oid = b"1.3.6.1.4.1.42.2.27.8.5.1"
    inner = b"\x04" + bytes([len(oid)]) + oid + b"\x04" + bytes([len(value)]) + value
    answer = Message(1, 0x61, b"", b"\x30" + bytes([len(inner)]) + inner)
    assert policy_of(answer) == objection
    other = Message(1, 0x61, b"", answer.controls.replace(b"1.3.6", b"1.3.7"))
    assert policy_of(other) == ""
    assert len(POLICY_ERRORS) == 9


@given(st.binary(max_size=40) | st.binary(max_size=40).map(lambda octets: message(1, octets)))
def test_whatever_comes_is_read_or_refused(octets: bytes) -> None:
    buffer = bytearray(octets)
    try:
        while (answer := take_message(buffer)) is not None:
            for read in (result_of, entry_of, policy_of):
                try:
                    read(answer)
                except WireError:
                    continue
    except WireError:
        return


@given(st.binary(max_size=300), st.integers(0, 400))
def test_messages_come_whole(content: bytes, size: int) -> None:
    sent = message(5, b"\x04\x82" + len(content).to_bytes(2, "big") + content) * 2
    buffer = bytearray(sent[:size])
    found = []
    for octets in (b"", sent[size:]):
        buffer += octets
        while (answer := take_message(buffer)) is not None:
            found.append(answer)
    assert found == [Message(5, 4, content)] * 2


@pytest.mark.parametrize(
    "head", ["30 80", "30 85 0000000001", "30 84 00100001", "02 01 05", "30 83 ffffff"]
)
def test_what_would_never_end_is_refused(head: str) -> None:
    with pytest.raises(WireError):
        take_message(bytearray.fromhex(head))
