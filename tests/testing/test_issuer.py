"""The kit's issuer, as programs that get their tokens themselves meet it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from restante.testing import MailServer
from tests.testing.test_recording import xoauth2


@pytest.fixture
def server() -> Iterator[MailServer]:
    with MailServer(accounts={"joe": "secret"}, oauth=True) as server:
        yield server


def ask(url: str, form: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
    """Status and answer of an HTTP request: a POST where there is a form."""
    data = None if form is None else urlencode(form).encode()
    try:
        with urllib.request.urlopen(url, data, timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def token_endpoint(server: MailServer) -> str:
    """Where the OpenID configuration says that tokens are given."""
    status, found = ask(f"{server.issuer.url}/.well-known/openid-configuration")
    assert (status, found["issuer"]) == (200, server.issuer.url)
    endpoint: str = found["token_endpoint"]
    return endpoint


def test_a_refresh_token_gives_an_access_token_that_logs_in(server: MailServer) -> None:
    server.issuer.refresh_tokens["abc"] = "joe"
    form = {"grant_type": "refresh_token", "refresh_token": "abc", "client_id": "program"}
    status, answer = ask(token_endpoint(server), form)
    assert status == 200
    assert answer["token_type"] == "Bearer"
    assert answer["expires_in"] == 600
    assert xoauth2(server, answer["access_token"]).startswith(b"+OK")
    assert server.wait_for(1)[0].logged_in == "joe"


@pytest.mark.parametrize(
    "form",
    [
        {"grant_type": "refresh_token", "refresh_token": "another"},
        {"grant_type": "refresh_token"},
        {"grant_type": "password", "username": "joe", "password": "secret"},
        {"refresh_token": "abc"},
        {},
    ],
)
def test_whatever_else_is_asked_for_is_refused(server: MailServer, form: dict[str, str]) -> None:
    """RFC 6749 §5.2."""
    server.issuer.refresh_tokens["abc"] = "joe"
    assert ask(token_endpoint(server), form) == (400, {"error": "invalid_grant"})


def test_an_issuer_may_fail_too(server: MailServer) -> None:
    server.issuer.refresh_tokens["abc"] = "joe"
    server.issuer.spoil["/token"] = (503, {}, b'{"error": "temporarily_unavailable"}')
    form = {"grant_type": "refresh_token", "refresh_token": "abc"}
    status, answer = ask(token_endpoint(server), form)
    assert (status, answer) == (503, {"error": "temporarily_unavailable"})
    assert server.issuer.requests[-1] == "/token"
