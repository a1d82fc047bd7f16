"""OAuth: which tokens stand for an account, and which don't."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hmac
import json
import logging
import ssl
import sys
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

import restante.accounts.oauth
from restante.accounts.contract import AccountError
from restante.accounts.oauth import ALGORITHMS, OAuth
from restante.accounts.oauth.claims import Demands
from restante.accounts.oauth.introspection import REMEMBER_SECONDS
from restante.accounts.oauth.issuer import MAX_ANSWER
from restante.accounts.oauth.keys import FETCH_INTERVAL, KEYS_LIFETIME, KEYS_MAX_AGE
from restante.sasl.oauth import MAX_TOKEN
from restante.testing.issuer import AUDIENCE, KINDS, NAME, Issuer, jwk, key_of
from tests.conftest import Authority


class Clock:
    """Time that passes when it is told to; both since 1970 and since some beginning."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> float:
        return time.time() + self.passed

    def clock(self) -> float:
        return time.monotonic() + self.passed


@pytest.fixture(autouse=True, scope="module")
def _system_authorities_are_read_once() -> Iterator[None]:
    """Which takes a tenth of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", cache(ssl.create_default_context))
        yield


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as issuer:
        yield issuer
        issuer.stop()


def trusting(whom: Issuer, clock: Clock | None = None, **settings: Any) -> OAuth:
    """Trusts the issuer's keys, which discovery finds."""
    clock = clock or Clock()
    given: dict[str, Any] = {"issuer": whom.url, "audience": AUDIENCE}
    return OAuth(**(given | settings), now=clock.now, clock=clock.clock)


def asking(whom: Issuer, clock: Clock | None = None, **settings: Any) -> OAuth:
    """Asks the issuer about each token."""
    client_id, client_secret = whom.client
    given: dict[str, Any] = {
        "introspection_url": f"{whom.url}/introspect",
        "client_id": client_id,
        "client_secret": client_secret,
    }
    return trusting(whom, clock, **(given | settings))


@asynccontextmanager
async def in_use(oauth: OAuth) -> AsyncIterator[OAuth]:
    try:
        yield oauth
    finally:
        await oauth.aclose()
        await oauth.aclose()


def identify(oauth: OAuth, token: str) -> str | None:
    """What one login with `token` comes to."""

    async def login() -> str | None:
        async with in_use(oauth):
            return await oauth.identify(token)

    return asyncio.run(login())


class In(float):
    """So many seconds from when a test is run."""


def at_once(changes: dict[str, Any]) -> dict[str, Any]:
    now = int(time.time())
    return {
        name: now + float(value) if isinstance(value, In) else value
        for name, value in changes.items()
    }


class TestSigned:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_a_token_of_the_issuer_stands_for_its_address(
        self, algorithm: str, issuer: Issuer
    ) -> None:
        token = issuer.token(algorithm=algorithm)
        assert identify(trusting(issuer), token) == NAME
        assert issuer.requests == ["/.well-known/openid-configuration", "/jwks"]

    def test_keys_are_where_the_settings_say(self, issuer: Issuer, tmp_path: Path) -> None:
        token = issuer.token()
        assert identify(trusting(issuer, jwks_url=f"{issuer.url}/jwks"), token) == NAME
        assert issuer.requests == ["/jwks"]
        file = tmp_path / "jwks.json"
        file.write_text(json.dumps({"keys": issuer.keys}))
        assert identify(trusting(issuer, jwks_file=file), token) == NAME
        assert identify(trusting(issuer, jwks_file=str(file)), token) == NAME
        assert issuer.requests == ["/jwks"]

    @pytest.mark.parametrize(
        ("settings", "changes"),
        [
            ({}, {"exp": In(-30)}),
            ({}, {"nbf": In(30), "iat": In(30.5)}),
            ({}, {"exp": 10**400}),
            ({}, {"iat": ...}),
            ({}, {"aud": ["other", AUDIENCE]}),
            ({"audience": ["other", AUDIENCE]}, {}),
            ({"scopes": "mail.read pop"}, {"scope": "pop openid mail.read"}),
            ({"scopes": ["pop"]}, {"scope": ["pop"]}),
            ({"scopes": ["pop"]}, {"scp": "openid pop"}),
            ({"scopes": ["pop"]}, {"scp": ["openid", "pop"]}),
            ({}, {"email_verified": True}),
            ({}, {"email_verified": "true"}),
            ({"username_claim": "sub"}, {"sub": NAME, "email": 1, "email_verified": False}),
            ({"username_claim": ["upn", "sub", "email"]}, {"upn": "", "sub": NAME}),
            ({"algorithms": ["RS256"]}, {}),
        ],
    )
    def test_accepted(
        self, settings: dict[str, Any], changes: dict[str, Any], issuer: Issuer
    ) -> None:
        assert identify(trusting(issuer, **settings), issuer.token(**at_once(changes))) == NAME

    @pytest.mark.parametrize(
        ("settings", "changes"),
        [
            ({}, {"exp": In(-90)}),
            ({"leeway": 0}, {"exp": In(-2)}),
            ({}, {"exp": ...}),
            ({}, {"exp": None}),
            ({}, {"exp": "4102444800"}),
            ({}, {"exp": True}),
            ({}, {"exp": float("nan")}),
            ({}, {"exp": float("inf")}),
            ({}, {"nbf": In(300)}),
            ({}, {"nbf": "0"}),
            ({}, {"iat": In(300)}),
            ({}, {"iss": ...}),
            ({}, {"iss": "https://login.example.com"}),
            ({}, {"iss": ["https://login.example.com"]}),
            ({}, {"aud": ...}),
            ({}, {"aud": "other"}),
            ({}, {"aud": ["other"]}),
            ({}, {"aud": {AUDIENCE: 1}}),
            ({}, {"aud": f"{AUDIENCE} other"}),
            ({"scopes": "pop"}, {}),
            ({"scopes": "pop"}, {"scope": "popular"}),
            ({"scopes": ["pop", "mail"]}, {"scope": "pop", "scp": 1}),
            ({}, {"cnf": {"jkt": "x"}}),
            ({}, {"email_verified": False}),
            ({}, {"email_verified": "false"}),
            ({}, {"email_verified": None}),
            ({"username_claim": ["upn", "email"]}, {"upn": NAME, "email_verified": False}),
            ({}, {"email": ...}),
            ({}, {"email": ""}),
            ({}, {"email": [NAME]}),
            ({}, {"email": {"a": 1}}),
            ({}, {"email": f"{NAME}\r\n"}),
            ({}, {"email": "joe\0@example.org"}),
            ({}, {"email": "x" * 256}),
            ({"username_claim": "sub"}, {}),
            ({"algorithms": ["ES256"]}, {}),
        ],
    )
    def test_refused(
        self, settings: dict[str, Any], changes: dict[str, Any], issuer: Issuer
    ) -> None:
        assert identify(trusting(issuer, **settings), issuer.token(**at_once(changes))) is None

    @pytest.mark.parametrize("change", [lambda url: url + "/", str.upper, lambda url: url[:-1]])
    def test_the_issuer_is_compared_to_the_letter(
        self, change: Callable[[str], str], issuer: Issuer
    ) -> None:
        assert identify(trusting(issuer), issuer.token(iss=change(issuer.url))) is None

    def test_clocks_may_differ_by_the_leeway(self, issuer: Issuer) -> None:
        clock = Clock()
        oauth = trusting(issuer, clock, leeway=120)
        token = issuer.token()
        for passed, name in [(-115, NAME), (-130, None), (715, NAME), (725, None)]:
            clock.passed = passed
            assert identify(oauth, token) == name

    def test_a_token_of_64_kib_is_good(self, issuer: Issuer) -> None:
        """A5"""
        oauth = trusting(issuer)
        room = (MAX_TOKEN - len(issuer.token(groups=""))) * 3 // 4
        token = issuer.token(groups="g" * room)
        assert MAX_TOKEN - 4 < len(token) <= MAX_TOKEN
        assert identify(oauth, token) == NAME
        assert identify(oauth, issuer.token(groups="g" * (room + 4))) is None


def forged(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    parts = [json.dumps(header).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def keyed(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    """A token signed with a secret, by hand: the library would see what is meant."""
    token = forged(header, claims).removesuffix(".")
    signature = hmac.digest(secret, token.encode(), "sha256")
    return f"{token}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"


class TestForged:
    @pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "", "HS256", "RS1", "ES256K"])
    @pytest.mark.parametrize("signature", [b"", b"x"])
    def test_other_algorithms(self, algorithm: str, signature: bytes, issuer: Issuer) -> None:
        header = {"alg": algorithm, "kid": "RSA"}
        assert identify(trusting(issuer), forged(header, issuer.claims(), signature)) is None
        assert issuer.requests == []

    def test_a_public_key_taken_for_a_secret(self, issuer: Issuer) -> None:
        key = key_of("RSA")
        assert isinstance(key, RSAKey)
        public = key.as_pem(private=False)
        for secret in (public, public.strip()):
            token = keyed({"alg": "HS256", "kid": "RSA"}, issuer.claims(), secret)
            assert identify(trusting(issuer), token) is None

    def test_a_secret_in_the_key_set_is_no_key(self, issuer: Issuer) -> None:
        issuer.keys.append({"kty": "oct", "k": "c2VjcmV0", "kid": "oct"})
        for algorithm in ("HS256", "RS256"):
            token = keyed({"alg": algorithm, "kid": "oct"}, issuer.claims(), b"secret")
            assert identify(trusting(issuer), token) is None

    @pytest.mark.parametrize("kid", ["RSA", "P-256", "unknown", ..., "../../jwks", ""])
    def test_another_key(self, kid: Any, issuer: Issuer) -> None:
        token = issuer.token(key=key_of("RSA", 1), header={"kid": kid})
        assert identify(trusting(issuer), token) is None

    @pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
    def test_every_part_is_signed(self, algorithm: str, issuer: Issuer) -> None:
        oauth = trusting(issuer)
        head, claims, signature = issuer.token(algorithm=algorithm).split(".")
        _, other, _ = issuer.token(algorithm=algorithm, email="admin@example.org").split(".")
        for token in (
            f"{head}.{other}.{signature}",
            f"{head}.{claims}.{signature[:-4]}",
            f"{head}.{claims}.{signature[4:]}",
            f"{head}.{claims}.{'A' * len(signature)}",
            f"{head}.{claims}.",
            f"{head}.{claims}",
            f"{head}..{signature}",
            f".{claims}.{signature}",
            f"{head}.{claims}.{signature}.",
            f"{head}.{claims}.{signature}=",
            f" {head}.{claims}.{signature}",
            f"{head}.{claims}.{signature}\n",
        ):
            assert identify(oauth, token) is None

    @pytest.mark.parametrize(
        "members",
        [
            {"crit": ["exp"], "exp": 1},
            {"crit": []},
            {"crit": ["b64"], "b64": False},
            {"b64": True},
            {"typ": "dpop+jwt"},
            {"typ": "JWE"},
            {"typ": 1},
            {"kid": 1},
            {"kid": ["RSA"]},
            {"padding": "x" * 20_000},
        ],
    )
    def test_a_header_that_is_not_for_us(self, members: dict[str, Any], issuer: Issuer) -> None:
        good = issuer.token().split(".")[1:]
        head = forged({"alg": "RS256", "kid": "RSA"} | members, {}).split(".")[0]
        assert identify(trusting(issuer), ".".join([head, *good])) is None

    def test_a_header_that_brings_its_own_key(self, issuer: Issuer) -> None:
        mine = key_of("RSA", 1)
        for members in (
            {"jwk": jwk(mine)},
            {"jku": f"{issuer.url}/mine"},
            {"x5u": f"{issuer.url}/mine"},
        ):
            token = issuer.token(key=mine, header=members)
            assert identify(trusting(issuer), token) is None
        assert "/mine" not in issuer.requests

    @pytest.mark.parametrize("typ", ["at+JWT", "application/at+jwt", "jwt", ...])
    def test_the_types_that_access_tokens_have(self, typ: Any, issuer: Issuer) -> None:
        header = {"typ": typ, "x5t": "abc", "vendor": {"x": 1}}
        assert identify(trusting(issuer), issuer.token(header=header)) == NAME


class TestKeys:
    def test_a_token_that_names_no_key_is_tried_with_all(self, issuer: Issuer) -> None:
        issuer.keys.insert(0, jwk(key_of("RSA", 1), kid="first"))
        assert identify(trusting(issuer), issuer.token(header={"kid": ...})) == NAME

    @pytest.mark.parametrize(
        "members",
        [{"use": "enc"}, {"key_ops": ["sign"]}, {"key_ops": []}, {"alg": "RS512"}, {"use": "x"}],
    )
    def test_a_key_for_something_else(self, members: dict[str, Any], issuer: Issuer) -> None:
        issuer.keys = [jwk(key_of("RSA"), kid="RSA", **members), jwk(key_of("P-256"), kid="P")]
        assert identify(trusting(issuer), issuer.token()) is None

    def test_keys_nobody_understands_spoil_nothing(self, issuer: Issuer) -> None:
        strange: list[Any] = [1, {}, {"kty": "ML-DSA"}, {"kty": "RSA", "n": 1, "e": "AQAB"}]
        strange += [{"kty": "EC", "crv": "P-1", "x": "AA", "y": "AA"}, {"kty": "OKP", "x": "\0"}]
        strange += [{"kty": "RSA", "n": "AAAA", "e": "AQAB"}, {"kty": ["RSA"]}]
        issuer.keys = [*strange, *issuer.keys]
        assert identify(trusting(issuer), issuer.token()) == NAME

    @pytest.mark.parametrize("keys", [[], [{}], [jwk(key_of("RSA"), use="enc")], [{}] * 101])
    def test_without_keys_nothing_can_be_told(self, keys: list[Any], issuer: Issuer) -> None:
        issuer.keys = keys
        with pytest.raises(AccountError):
            identify(trusting(issuer), issuer.token())

    @pytest.mark.asyncio
    async def test_keys_are_fetched_once_for_all(self, issuer: Issuer) -> None:
        async with in_use(trusting(issuer, jwks_url=f"{issuer.url}/jwks")) as oauth:
            token = issuer.token()
            logins = [asyncio.create_task(oauth.identify(token)) for _ in range(20)]
            await asyncio.sleep(0)
            logins[0].cancel()  # its client left; the others' fetch goes on
            found = await asyncio.gather(*logins, return_exceptions=True)
            assert found[1:] == [NAME] * 19
            assert await oauth.identify(token) == NAME
            assert issuer.requests == ["/jwks"]

    @pytest.mark.asyncio
    async def test_unknown_keys_are_looked_for_but_not_all_the_time(self, issuer: Issuer) -> None:
        clock = Clock()
        async with in_use(trusting(issuer, clock, jwks_url=f"{issuer.url}/jwks")) as oauth:
            assert await oauth.identify(issuer.token()) == NAME
            new = key_of("RSA", 1)
            issuer.keys.append(jwk(new, kid="new"))
            token = issuer.token(key=new, header={"kid": "new"})
            for number in range(20):
                assert await oauth.identify(issuer.token(header={"kid": str(number)})) is None
                assert await oauth.identify(token) is None
            assert issuer.requests == ["/jwks"]
            clock.passed += FETCH_INTERVAL
            assert await oauth.identify(token) == NAME
            assert issuer.requests == ["/jwks"] * 2

    @pytest.mark.asyncio
    async def test_a_key_that_was_withdrawn_goes(self, issuer: Issuer) -> None:
        clock = Clock()
        async with in_use(trusting(issuer, clock)) as oauth:
            token = issuer.token(exp=4_000_000_000)
            assert await oauth.identify(token) == NAME
            issuer.keys = [each for each in issuer.keys if each["kid"] != "RSA"]
            assert await oauth.identify(token) == NAME
            clock.passed += KEYS_LIFETIME
            assert await oauth.identify(token) is None

    @pytest.mark.asyncio
    async def test_keys_outlive_their_issuer_for_a_day(self, issuer: Issuer) -> None:
        clock = Clock()
        async with in_use(trusting(issuer, clock)) as oauth:
            token = issuer.token(exp=4_000_000_000)
            assert await oauth.identify(token) == NAME
            issuer.stop()
            assert await oauth.identify(token) == NAME
            assert await oauth.identify(issuer.token(header={"kid": "new"})) is None
            clock.passed += KEYS_MAX_AGE - 60
            assert await oauth.identify(token) == NAME
            with pytest.raises(AccountError):  # it may be a key that we would get
                await oauth.identify(issuer.token(header={"kid": "new"}))
            clock.passed += 61
            with pytest.raises(AccountError):
                await oauth.identify(token)

    @pytest.mark.asyncio
    async def test_an_issuer_that_is_down_is_asked_no_more_often(self, issuer: Issuer) -> None:
        clock = Clock()
        issuer.spoil["/jwks"] = (503, {}, b"")
        async with in_use(trusting(issuer, clock, jwks_url=f"{issuer.url}/jwks")) as oauth:
            for _ in range(5):
                with pytest.raises(AccountError, match="503"):
                    await oauth.identify(issuer.token())
            assert issuer.requests == ["/jwks"]
            issuer.spoil.clear()
            clock.passed += FETCH_INTERVAL
            assert await oauth.identify(issuer.token()) == NAME

    @pytest.mark.asyncio
    async def test_closing_ends_a_fetch_and_a_new_loop_begins_anew(self, issuer: Issuer) -> None:
        issuer.delay = 0.2
        oauth = trusting(issuer)
        login = asyncio.create_task(oauth.identify(issuer.token()))
        while not issuer.requests:
            await asyncio.sleep(0.005)
        await oauth.aclose()
        with pytest.raises(asyncio.CancelledError):
            await login
        issuer.delay = 0
        async with in_use(oauth):
            assert await oauth.identify(issuer.token()) == NAME

    def test_a_file_that_is_not_there_or_no_key_set(self, issuer: Issuer, tmp_path: Path) -> None:
        file = tmp_path / "jwks.json"
        with pytest.raises(AccountError, match="No such file"):
            identify(trusting(issuer, jwks_file=file), issuer.token())
        for text in ("", "[]", "{}", '{"keys": {}}', "[" * 100_000, "\xff", " " * (MAX_ANSWER + 1)):
            file.write_text(text, encoding="latin-1")
            with pytest.raises(AccountError):
                identify(trusting(issuer, jwks_file=file), issuer.token())


SPOILED: list[tuple[int, dict[str, str], bytes]] = [
    (500, {}, b"{}"),
    (204, {}, b""),
    (302, {"Location": "/jwks"}, b""),
    (200, {}, b""),
    (200, {}, b"<html>"),
    (200, {}, b"[]"),
    (200, {}, b'"text"'),
    (200, {}, b"[" * 100_000),
    (200, {}, b"\xff\xfe"),
    (200, {}, b" " * (MAX_ANSWER + 1)),
    (200, {"Content-Encoding": "gzip"}, gzip.compress(b" " * (MAX_ANSWER + 1))),
    (200, {"Content-Length": "9"}, b"{}"),
]


class TestIssuer:
    @pytest.mark.parametrize("spoiled", SPOILED, ids=range(len(SPOILED)))
    @pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/jwks", "/introspect"])
    def test_answers_that_say_nothing(
        self, path: str, spoiled: tuple[int, dict[str, str], bytes], issuer: Issuer
    ) -> None:
        issuer.spoil[path] = spoiled
        oauth = asking(issuer) if path == "/introspect" else trusting(issuer)
        with pytest.raises(AccountError):
            identify(oauth, issuer.token())

    def test_an_issuer_that_is_not_there(self, issuer: Issuer) -> None:
        issuer.stop()
        for oauth in (trusting(issuer), asking(issuer)):
            with pytest.raises(AccountError):
                identify(oauth, issuer.token())

    def test_an_issuer_that_is_slow(self, issuer: Issuer) -> None:
        issuer.delay = 0.3
        for oauth in (trusting(issuer, timeout=0.05), asking(issuer, timeout=0.05)):
            with pytest.raises(AccountError):
                identify(oauth, issuer.token())

    def test_the_configuration_of_another_issuer(self, issuer: Issuer) -> None:
        """Of a multi-tenant one's template, say."""
        issuer.name_in_configuration = "https://login.example.com/{tenantid}"
        with pytest.raises(AccountError, match="another issuer"):
            identify(trusting(issuer), issuer.token())

    @pytest.mark.parametrize("url", ["http://192.0.2.1/jwks", "file:///etc/passwd", None, 1])
    def test_a_configuration_that_names_unsafe_keys(self, url: Any, issuer: Issuer) -> None:
        path = "/.well-known/openid-configuration"
        found = {"issuer": issuer.url, "jwks_uri": url}
        issuer.spoil[path] = (200, {}, json.dumps(found).encode())
        with pytest.raises(AccountError, match="jwks_uri"):
            identify(trusting(issuer), issuer.token())

    def test_tls_is_checked(self, authority: Authority, issuer: Issuer) -> None:
        with Issuer(Path(authority.certificate.chain)) as safe:
            token = safe.token()
            assert identify(trusting(safe, ca_file=authority.file), token) == NAME
            with pytest.raises(AccountError, match="CERTIFICATE_VERIFY_FAILED"):
                identify(trusting(safe), token)


class TestIntrospection:
    def answer(self, issuer: Issuer, **changes: Any) -> None:
        issuer.opaque["opaque"] = issuer.claims(**({"active": True} | changes))

    @pytest.mark.parametrize(
        ("settings", "changes"),
        [
            ({}, {}),
            ({}, {"iss": ..., "exp": ..., "iat": ..., "token_type": "bearer"}),
            ({"issuer": ""}, {"iss": "https://login.example.com"}),
            ({"audience": (), "scopes": "pop"}, {"scope": "pop", "aud": ...}),
            ({"username_claim": "username"}, {"username": NAME}),
            ({}, {"exp": 10**400}),
        ],
    )
    def test_accepted(
        self, settings: dict[str, Any], changes: dict[str, Any], issuer: Issuer
    ) -> None:
        self.answer(issuer, **changes)
        assert identify(asking(issuer, **settings), "opaque") == NAME

    @pytest.mark.parametrize(
        ("settings", "changes"),
        [
            ({}, {"active": False}),
            ({}, {"active": "true"}),
            ({}, {"active": 1}),
            ({}, {"active": ...}),
            ({}, {"aud": ...}),
            ({}, {"aud": "other"}),
            ({}, {"iss": "https://login.example.com"}),
            ({}, {"exp": 1}),
            ({}, {"exp": "soon"}),
            ({}, {"token_type": "DPoP"}),
            ({"scopes": "pop"}, {"scope": "mail"}),
            ({}, {"email_verified": False}),
            ({}, {"email": ...}),
        ],
    )
    def test_refused(
        self, settings: dict[str, Any], changes: dict[str, Any], issuer: Issuer
    ) -> None:
        self.answer(issuer, **changes)
        assert identify(asking(issuer, **settings), "opaque") is None
        assert identify(asking(issuer, **settings), "unknown") is None

    def test_credentials_that_the_issuer_does_not_know(self, issuer: Issuer) -> None:
        self.answer(issuer)
        with pytest.raises(AccountError, match="401"):
            identify(asking(issuer, client_secret="wrong"), "opaque")

    @pytest.mark.asyncio
    async def test_a_yes_is_remembered_for_a_while(self, issuer: Issuer) -> None:
        clock = Clock()
        self.answer(issuer)
        async with in_use(asking(issuer, clock)) as oauth:
            for _ in range(3):
                assert await oauth.identify("opaque") == NAME
                assert await oauth.identify("opaque2") is None
            assert len(issuer.requests) == 1 + 3
            issuer.opaque.clear()  # withdrawn
            assert await oauth.identify("opaque") == NAME
            clock.passed += REMEMBER_SECONDS
            assert await oauth.identify("opaque") is None

    @pytest.mark.asyncio
    async def test_a_yes_is_not_remembered_past_its_end(self, issuer: Issuer) -> None:
        clock = Clock()
        self.answer(issuer, exp=int(time.time()) + 20)
        async with in_use(asking(issuer, clock, leeway=0)) as oauth:
            assert await oauth.identify("opaque") == NAME
            clock.passed += 21
            assert await oauth.identify("opaque") is None

    @pytest.mark.asyncio
    async def test_what_only_the_leeway_lets_in_is_not_remembered(self, issuer: Issuer) -> None:
        self.answer(issuer, exp=int(time.time()) - 20)
        async with in_use(asking(issuer)) as oauth:
            for _ in range(2):
                assert await oauth.identify("opaque") == NAME
        assert len(issuer.requests) == 2

    @pytest.mark.asyncio
    async def test_not_more_is_remembered_than_there_is_room_for(
        self, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("restante.accounts.oauth.introspection.MAX_REMEMBERED", 2)
        tokens = ["one", "two", "three"]
        issuer.opaque = {token: issuer.claims(active=True) for token in tokens}
        async with in_use(asking(issuer)) as oauth:
            for token in [*tokens, "three", "two", "one"]:
                assert await oauth.identify(token) == NAME
        assert len(issuer.requests) == 4


class TestSettings:
    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"issuer": "https://login.example.com"},
            {"audience": "pop3"},
            {"audience": "pop3", "jwks_url": "https://login.example.com/jwks"},
            {"issuer": "http://login.example.com", "audience": "pop3"},
            {"issuer": "login", "audience": "pop3"},
            {"issuer": "https://joe:x@login.example.com", "audience": "pop3"},
            {"issuer": "https://login.example.com/#x", "audience": "pop3"},
            {"issuer": "https://[", "audience": "pop3"},
            {"issuer": "https://login.example.com:http", "audience": "pop3"},
            {"issuer": "x", "audience": "pop3", "jwks_url": "http://192.0.2.1/jwks"},
            {"issuer": "x", "audience": "pop3", "jwks_url": "ftp://localhost/jwks"},
            {"issuer": "x", "audience": "pop3", "jwks_file": "x", "jwks_url": "https://x/"},
            {"issuer": "x", "audience": "pop3", "jwks_file": "x", "algorithms": ["HS256"]},
            {"issuer": "x", "audience": "pop3", "jwks_file": "x", "algorithms": ["none"]},
            {"issuer": "x", "audience": "pop3", "jwks_file": "x", "algorithms": []},
            {"issuer": "x", "audience": "pop3", "jwks_file": "x", "algorithms": "RS256"},
            {"issuer": "x", "audience": "pop3", "jwks_file": "x", "username_claim": ""},
            {"issuer": "x", "audience": "pop3", "jwks_file": "x", "leeway": -1},
            {"issuer": "x", "audience": "pop3", "jwks_file": "x", "leeway": float("nan")},
            {"issuer": "x", "audience": "pop3", "jwks_file": "x", "timeout": 0},
            {"issuer": "x", "audience": "pop3", "jwks_file": "x", "ca_file": "/nowhere"},
            {"introspection_url": "https://x/", "audience": "pop3"},
            {"introspection_url": "https://x/", "client_id": "a", "client_secret": "b"},
        ],
        ids=str,
    )
    def test_what_does_not_go_together(self, settings: dict[str, Any]) -> None:
        with pytest.raises(ValueError):
            OAuth(**settings)

    def test_an_authority_that_is_none(self, tmp_path: Path) -> None:
        file = tmp_path / "ca.pem"
        file.write_text("no certificate")
        with pytest.raises(ValueError, match="ca_file"):
            OAuth(issuer="x", audience="pop3", jwks_file="x", ca_file=file)

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
    def test_this_machine_needs_no_tls(self, host: str) -> None:
        OAuth(issuer=f"http://{host}:1", audience="pop3")

    def test_what_refused_clients_are_told(self) -> None:
        oauth = OAuth(issuer="https://x/", audience="pop3", scopes=["pop", "mail"])
        assert oauth.scope == "pop mail"
        assert oauth.discovery == "https://x/.well-known/openid-configuration"
        oauth = OAuth(issuer="x", audience="pop3", jwks_file="x")
        assert (oauth.scope, oauth.discovery) == ("", "")

    @pytest.mark.parametrize("library", ["joserfc", "httpx2"])
    def test_without_a_library_the_error_names_the_extra(
        self, library: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in list(sys.modules):
            if name.startswith(("restante.accounts.oauth.", library)):
                monkeypatch.delitem(sys.modules, name)
                parent, _, child = name.rpartition(".")
                if parent == "restante.accounts.oauth":
                    monkeypatch.delattr(restante.accounts.oauth, child)
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(ImportError, match=r"restante\[oauth\]"):
            OAuth(issuer="x", audience="pop3", jwks_file="x")


def test_secrets_are_shown_nowhere(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    """A11"""
    caplog.set_level(logging.DEBUG)
    issuer.opaque["opaque"] = issuer.claims(active=True)
    token = issuer.token()
    sent = [(trusting, token), (asking, "opaque")]
    seen = []
    for make, each in sent:
        oauth = make(issuer)
        assert identify(oauth, each) == NAME
        seen += [repr(oauth), str(vars(oauth))]
    issuer.stop()
    for make, each in sent:
        with pytest.raises(AccountError) as caught:
            identify(make(issuer), each)
        seen.append("".join(traceback.format_exception(caught.value)))
    seen += [record.getMessage() for record in caplog.records]
    assert len(seen) > 10
    for text in seen:
        assert "opaque" not in text.replace('"opaque"', "")  # as the test's own source has it
        assert issuer.client[1] not in text
        assert token[:20] not in text


SETTINGS: dict[str, Any] = {"issuer": "https://x", "audience": "pop3"}

TOKENS = st.one_of(
    st.text(),
    st.lists(st.binary().map(base64.urlsafe_b64encode), min_size=3, max_size=3).map(
        lambda parts: b".".join(parts).decode().replace("=", "")
    ),
    st.dictionaries(
        st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "x5c"]),
        st.one_of(
            st.sampled_from(["RS256", "ES512", "EdDSA", "HS256", "none", "RSA", "JWT"]),
            st.recursive(st.none() | st.text() | st.integers(), st.lists),
        ),
    ).map(lambda header: forged(header, {}, b"signature")),
    st.integers(1, 12_000).map(
        lambda depth: base64.urlsafe_b64encode(b"[" * (depth - depth % 3)).decode() + ".e30.AA"
    ),
)


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("oauth") / "jwks.json"
    file.write_text(json.dumps({"keys": [jwk(key_of(kind), kid=kind) for kind in KINDS]}))
    return file


def test_no_token_does_harm(keys_file: Path) -> None:
    oauth = OAuth(**SETTINGS, jwks_file=keys_file)
    with asyncio.Runner() as runner:

        @given(token=TOKENS)
        def no_token_does_harm(token: str) -> None:
            assert runner.run(oauth.identify(token)) is None

        no_token_does_harm()
        runner.run(oauth.aclose())


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(),
        st.sampled_from(["https://x", "pop3", NAME, 10**400, -(10**400)]),
    ),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
CLAIMS = st.dictionaries(
    st.sampled_from(
        ["iss", "aud", "exp", "nbf", "iat", "scope", "scp", "cnf", "email", "email_verified"]
    ),
    VALUES,
)


@given(claims=CLAIMS, signed=st.booleans())
def test_no_claims_do_harm(claims: dict[str, Any], signed: bool) -> None:
    demands = Demands("https://x", ("pop3",), (), ("email",), 60.0, time.time)
    name = demands.name(claims, signed=signed)
    assert name is None or name == claims["email"]
    if signed and name is not None:
        assert claims["iss"] == "https://x"
        assert claims["exp"] > time.time() - 61
