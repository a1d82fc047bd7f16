"""OAUTHBEARER and XOAUTH2: what each makes of a peer's responses."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from restante.protocol.claims import TokenClaim
from restante.sasl.contract import (
    MAX_PART,
    Challenge,
    Exchange,
    MechanismContext,
    MechanismError,
)
from restante.sasl.oauth import MAX_TOKEN, oauth_mechanisms

CONTEXT = MechanismContext("mail.example.org")
DISCOVERY = "https://login.example.com/.well-known/openid-configuration"

OAUTHBEARER, XOAUTH2 = oauth_mechanisms(scope="mail pop", openid_configuration=DISCOVERY)
MECHANISMS = {info.name: info for info in (OAUTHBEARER, XOAUTH2)}

PROBLEM = {"status": "invalid_token", "scope": "mail pop", "openid-configuration": DISCOVERY}
XOAUTH2_PROBLEM = {"status": "401", "schemes": "bearer", "scope": "mail pop"}


def claim_of(name: str, response: bytes, *, at_once: bool = True) -> TokenClaim:
    """What an exchange of one response comes to."""
    exchange = MECHANISMS[name].begin(CONTEXT, response if at_once else None)
    if not at_once:
        assert exchange.send(None) == Challenge(b"")
    claim = outcome_of(exchange, None if at_once else response)
    assert isinstance(claim, TokenClaim)
    return claim


def outcome_of(exchange: Exchange, response: bytes | None) -> object:
    """What an exchange yields for a response, or returns."""
    try:
        return exchange.send(response)
    except StopIteration as end:
        return end.value


def test_announced_only_where_a_token_may_be_sent() -> None:
    for info in MECHANISMS.values():
        assert info.plaintext
        assert info.schemes is None


class TestOauthbearer:
    @pytest.mark.parametrize("at_once", [True, False])
    def test_rfc_7628_example(self, at_once: bool) -> None:
        """§4.1; host and port are of no interest here. One line or two (A5)."""
        response = (
            b"n,a=user@example.com,\1host=server.example.com\1port=143\1"
            b"auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\1\1"
        )
        claim = claim_of("OAUTHBEARER", response, at_once=at_once)
        assert claim.name == "user@example.com"
        assert claim.token == "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
        assert claim.mechanism == "OAUTHBEARER"
        assert claim.authzid == ""
        assert json.loads(claim.refusal) == PROBLEM

    @pytest.mark.parametrize(
        ("header", "name"),
        [
            (b"n,,", ""),
            (b"y,,", ""),
            (b"n,a=joe,", "joe"),
            (b"y,a=Zo\xc3\xab Smith,", "Zoë Smith"),
            (b"n,a=a=2Cb=3Dc=2C=3D,", "a,b=c,="),
            (b"n,a=" + b"x" * MAX_PART + b",", "x" * MAX_PART),
        ],
    )
    def test_the_header_may_name_whom_to_act_as(self, header: bytes, name: str) -> None:
        assert claim_of("OAUTHBEARER", header + b"\1auth=Bearer x\1\1").name == name

    @pytest.mark.parametrize(
        "header",
        [
            b"",
            b"n",
            b"n,",
            b"n,a=joe",
            b",,",
            b"N,,",
            b"p=tls-unique,,",
            b"F,n,,",
            b"n,,,",
            b"n,joe,",
            b"n,user=joe,",
            b"n,a=,",
            b"n,a=j=oe,",
            b"n,a=joe=,",
            b"n,a=joe=2c,",
            b"n,a=j\0oe,",
            b"n,a=j\roe,",
            b"n,a=j\noe,",
            b"n,a=\xff,",
            b"n,a=" + b"x" * (MAX_PART + 1) + b",",
        ],
    )
    def test_malformed_headers(self, header: bytes) -> None:
        with pytest.raises(MechanismError, match=r"^malformed response: "):
            claim_of("OAUTHBEARER", header + b"\1auth=Bearer x\1\1")

    def test_a_client_that_has_no_token_is_told_where_to_get_one(self) -> None:
        """RFC 7628 §4.3."""
        exchange = OAUTHBEARER.begin(CONTEXT, b"n,,\1host=x\1auth=\1\1")
        challenge = exchange.send(None)
        assert isinstance(challenge, Challenge)
        assert json.loads(challenge.data) == PROBLEM
        with pytest.raises(MechanismError):
            exchange.send(b"\1")


class TestXoauth2:
    @pytest.mark.parametrize("at_once", [True, False])
    def test_one_line_or_two(self, at_once: bool) -> None:
        """A5"""
        response = b"user=someuser@example.com\1auth=Bearer ya29.vF9dft4qmTc2Nvb3RlckBhdHR-w\1\1"
        claim = claim_of("XOAUTH2", response, at_once=at_once)
        assert claim.name == "someuser@example.com"
        assert claim.token == "ya29.vF9dft4qmTc2Nvb3RlckBhdHR-w"
        assert claim.mechanism == "XOAUTH2"
        assert json.loads(claim.refusal) == XOAUTH2_PROBLEM

    @pytest.mark.parametrize(
        "user",
        [b"", b"user=", b"user=j\0oe", b"user=joe\r\n", b"user=\xff", b"User=joe", b"a=joe"],
    )
    def test_malformed_users(self, user: bytes) -> None:
        """A2"""
        with pytest.raises(MechanismError, match=r"^malformed response: "):
            claim_of("XOAUTH2", user + b"\1auth=Bearer x\1\1")


@pytest.fixture(params=["OAUTHBEARER", "XOAUTH2"])
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


START = {"OAUTHBEARER": b"n,a=joe,\1", "XOAUTH2": b"user=joe\1"}


@pytest.mark.parametrize(
    ("auth", "token"),
    [
        (b"Bearer abc", "abc"),
        (b"bearer abc", "abc"),
        (b"BEARER   a.b-c_d~e+f/g==", "a.b-c_d~e+f/g=="),
        (b"Bearer " + b"x" * MAX_TOKEN, "x" * MAX_TOKEN),
    ],
    ids=["plain", "lower", "all", "64 KiB"],
)
@pytest.mark.parametrize("more", [b"", b"host=::1\1", b"port=110\1X=\r\n\t~\1"])
def test_tokens(name: str, auth: bytes, token: str, more: bytes) -> None:
    response = START[name] + more + b"auth=" + auth + b"\1\1"
    claim = claim_of(name, response)
    assert (claim.name, claim.token) == ("joe", token)
    assert len(token) < 20 or token not in repr(claim)


def test_claims_never_show_their_token(name: str) -> None:
    """A11"""
    assert "geheim" not in repr(claim_of(name, START[name] + b"auth=Bearer geheim\1\1"))


@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b"\1",
        b"\1\1",
        b"auth=Bearer x",
        b"auth=Bearer x\1",
        b"auth=Bearer x\1\1\1",
        b"auth=Bearer x\1\1more",
        b"auth=Bearer x\1\1more=1\1\1",
        b"auth=Bearer x\1auth=Bearer x\1\1",
        b"\1auth=Bearer x\1\1",
        b"Auth=Bearer x\1\1",
        b"auth\1\1",
        b"=\1auth=Bearer x\1\1",
        b"h0st=x\1auth=Bearer x\1\1",
        b"host=\0\1auth=Bearer x\1\1",
        b"auth=Bearer\1\1",
        b"auth=Bearer \1\1",
        b"auth=Bearerx\1\1",
        b"auth=Bearer\tx\1\1",
        b"auth= Bearer x\1\1",
        b"auth=Bearer x \1\1",
        b"auth=Bearer x y\1\1",
        b"auth=Bearer x=y\1\1",
        b"auth=Bearer =\1\1",
        b"auth=Bearer x\n\1\1",
        b"auth=Bearer x\0\1\1",
        b"auth=Bearer \xc3\xa9\1\1",
        b"auth=Basic am9lOnNlY3JldA==\1\1",
        b"auth=MAC x\1\1",
        b"auth=Bearer " + b"x" * (MAX_TOKEN + 1) + b"\1\1",
        b"host=x\1\1",
    ],
)
def test_malformed_responses_are_refused(name: str, rest: bytes) -> None:
    """A2"""
    with pytest.raises(MechanismError, match=r"^malformed response: "):
        claim_of(name, START[name] + rest)


def test_without_scope_or_discovery_nothing_is_said_of_them() -> None:
    for info, problem in zip(
        oauth_mechanisms(),
        [{"status": "invalid_token"}, {"status": "401", "schemes": "bearer"}],
        strict=True,
    ):
        exchange = info.begin(CONTEXT, START[info.name] + b"auth=Bearer x\1\1")
        claim = outcome_of(exchange, None)
        assert isinstance(claim, TokenClaim)
        assert json.loads(claim.refusal) == problem


# Bytes that come near to being responses, and bytes that don't.
PARTS = [b"\1", b"\0", b"n,", b"y,a=", b",", b"=2C", b"=", b"user=", b"joe", b"host=x", b"auth="]
NEARLY = st.lists(
    st.one_of(st.sampled_from([*PARTS, b"Bearer ", b"x.y", b"\1\1", b"\r\n"]), st.binary()),
    max_size=12,
).map(b"".join)


@given(
    mechanism=st.sampled_from(sorted(MECHANISMS)),
    start=st.sampled_from([b"", *START.values()]),
    response=NEARLY,
    end=st.sampled_from([b"", b"\1\1", b"auth=Bearer x\1\1"]),
)
def test_no_response_does_harm(mechanism: str, start: bytes, response: bytes, end: bytes) -> None:
    """A2: a MechanismError, a challenge, or a claim of clean text."""
    exchange = MECHANISMS[mechanism].begin(CONTEXT, None)
    assert exchange.send(None) == Challenge(b"")
    try:
        outcome = outcome_of(exchange, start + response + end)
    except MechanismError:
        return
    if isinstance(outcome, TokenClaim):
        assert not set(outcome.name + outcome.token) & set("\r\n\0\1")
        assert outcome.token.isascii()
        assert outcome.mechanism == mechanism
    else:
        assert isinstance(outcome, Challenge)
        assert b"auth=\1" in response + end
