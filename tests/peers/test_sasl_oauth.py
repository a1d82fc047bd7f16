"""OAUTHBEARER and XOAUTH2: real clients, a real issuer, and all between them."""

from __future__ import annotations

import json
import logging
import subprocess
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from restante.accounts.oauth import OAuth
from restante.sasl.oauth import MAX_TOKEN
from restante.testing import MailServer
from restante.testing.issuer import AUDIENCE, Issuer
from restante.testing.issuer import NAME as ADDRESS
from tests.needs import need
from tests.server.kit import Client

MECHANISMS = ["OAUTHBEARER", "XOAUTH2"]
ONE = b"Subject: one\r\n\r\nHello\r\n"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as issuer:
        yield issuer


def house_of(oauth: OAuth, mechanisms: Sequence[str] = MECHANISMS) -> MailServer:
    """A server for joe and another, who come with the issuer's tokens."""
    house = MailServer(certificate="valid", oauth=oauth, mechanisms=tuple(mechanisms))
    house.account(ADDRESS).add(ONE)
    house.account("ann@example.org")
    return house


def connected(house: MailServer) -> Client:
    return Client(house.tls_port, tls=house.ca.ssl_context())


def lines_of(house: MailServer) -> list[str]:
    """The lines of all clients."""
    return [line for session in house.sessions for line in session.commands]


@pytest.fixture
def house(issuer: Issuer) -> Iterator[MailServer]:
    oauth = OAuth(issuer=issuer.url, audience=AUDIENCE, scopes="pop")
    with house_of(oauth) as house:
        yield house


@pytest.fixture(params=MECHANISMS)
def mechanism(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def narrow_house(issuer: Issuer, mechanism: str) -> Iterator[MailServer]:
    """One that has only `mechanism`: of both, curl takes OAUTHBEARER whatever it is told."""
    with house_of(asking(issuer), [mechanism]) as house:
        yield house


def asking(issuer: Issuer) -> OAuth:
    client_id, client_secret = issuer.client
    return OAuth(
        introspection_url=f"{issuer.url}/introspect",
        client_id=client_id,
        client_secret=client_secret,
        audience=AUDIENCE,
    )


def good(issuer: Issuer, **changes: Any) -> str:
    return issuer.token(**({"scope": "pop"} | changes))


def response(mechanism: str, token: str, name: str = ADDRESS) -> str:
    start = f"n,a={name}," if mechanism == "OAUTHBEARER" and name else "n,,"
    if mechanism == "XOAUTH2":
        start = f"user={name}"
    return b64encode(f"{start}\1auth=Bearer {token}\1\1".encode()).decode()


# Real clients


def curl(
    house: MailServer, home: Path, token: str, *extra: str
) -> subprocess.CompletedProcess[bytes]:
    need("curl", package="curl")
    config = home / "curlrc"
    config.write_text(
        f'url = "pop3s://localhost:{house.tls_port}/1"\ncacert = "{house.ca.path}"\n'
        f'user = "{ADDRESS}:"\noauth2-bearer = "{token}"\n'
    )
    argv = ["curl", "-q", "-sS", "-m", "60", *extra, "-K", str(config)]
    return subprocess.run(argv, capture_output=True, timeout=90, check=False)


@pytest.mark.peer
@pytest.mark.parametrize("extra", [[], ["--sasl-ir"]], ids=["asked", "at once"])
def test_curl_logs_in(
    mechanism: str, extra: Sequence[str], narrow_house: MailServer, issuer: Issuer, tmp_path: Path
) -> None:
    """curl sends no initial response that makes the line longer than 255 octets, hence a
    short token."""
    issuer.opaque["short"] = issuer.claims(active=True)
    done = curl(narrow_house, tmp_path, "short", *extra)
    assert (done.returncode, done.stdout) == (0, ONE)
    turns = [f"AUTH {mechanism} ****"] if extra else [f"AUTH {mechanism}", "****"]
    assert lines_of(narrow_house)[:-1] == ["CAPA", *turns, "RETR 1"]


@pytest.mark.peer
def test_curl_is_refused(mechanism: str, narrow_house: MailServer, tmp_path: Path) -> None:
    done = curl(narrow_house, tmp_path, "unknown")
    assert (done.returncode, done.stdout) == (67, b"")  # login denied
    assert lines_of(narrow_house)[:3] == ["CAPA", f"AUTH {mechanism}", "****"]
    assert "RETR 1" not in lines_of(narrow_house)


@pytest.mark.peer
def test_curl_brings_a_token_as_long_as_it_can(
    house: MailServer, issuer: Issuer, tmp_path: Path
) -> None:
    """A5: it sends no line of more than 64 KiB, which is 48 KiB of token in base64."""
    token = good(issuer, groups="g" * 34_000)
    assert 45_000 < len(token) < 48_000
    assert curl(house, tmp_path, token).stdout == ONE
    assert "AUTH OAUTHBEARER" in lines_of(house)


@pytest.mark.peer
def test_mpop_logs_in_and_is_refused(
    mechanism: str, house: MailServer, issuer: Issuer, tmp_path: Path
) -> None:
    need("mpop", package="mpop")

    def fetch(token: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "token").write_text(token)  # too long for a line of mpop's settings
        config = tmp_path / "mpoprc"
        config.write_text(
            f"account default\nhost localhost\nport {house.tls_port}\nuser {ADDRESS}\n"
            f'passwordeval "cat {tmp_path / "token"}"\n'
            f"auth {mechanism.lower()}\nkeep on\ntimeout 60\n"
            f"uidls_file {tmp_path / 'uidls'}\nreceived_header off\ntls on\ntls_starttls off\n"
            f'tls_trust_file {house.ca.path}\ndelivery mda "cat > {tmp_path / "out"}"\n'
        )
        config.chmod(0o600)
        argv = ["mpop", "-C", str(config), "--all-accounts"]
        return subprocess.run(argv, capture_output=True, text=True, timeout=90, check=False)

    refused = fetch(good(issuer, aud="other"))
    assert refused.returncode == 77, refused.stderr  # EX_NOPERM
    assert not (tmp_path / "out").exists()
    assert fetch(good(issuer)).returncode == 0
    assert (tmp_path / "out").read_bytes() == ONE.replace(b"\r\n", b"\n")
    assert any(line.startswith(f"AUTH {mechanism}") for line in lines_of(house))


# The dialogue


def test_a_refused_client_is_told_why_and_may_try_again(
    mechanism: str, house: MailServer, issuer: Issuer
) -> None:
    """RFC 7628 §3.2.3: a challenge, whose answer says nothing, then the refusal."""
    with connected(house) as client:
        capabilities = client.fetch("CAPA").split(b"\r\n")
        sasl = next(line for line in capabilities if line.startswith(b"SASL "))
        assert {b"OAUTHBEARER", b"XOAUTH2"} <= set(sasl.split())
        expired = good(issuer, exp=1)
        for answer in (b"AQ==", b"", b"*", b"!"):
            challenge = client.ask(f"AUTH {mechanism} {response(mechanism, expired)}")
            assert challenge.startswith(b"+ ")
            problem = json.loads(b64decode(challenge[2:]))
            assert problem["scope"] == "pop"
            if mechanism == "OAUTHBEARER":
                url = f"{issuer.url}/.well-known/openid-configuration"
                assert problem["status"] == "invalid_token"
                assert problem["openid-configuration"] == url
            else:
                assert problem["status"] == "401"
            assert client.ask(answer) == b"-ERR [AUTH] authentication failed"
        assert client.ask(f"AUTH {mechanism} {response(mechanism, good(issuer))}") == (
            b"+OK 1 message"
        )


@pytest.mark.parametrize("at_once", [True, False])
def test_a_token_of_64_kib(
    mechanism: str, at_once: bool, house: MailServer, issuer: Issuer
) -> None:
    """A5"""
    room = (MAX_TOKEN - len(good(issuer, groups=""))) * 3 // 4
    token = good(issuer, groups="g" * room)
    assert MAX_TOKEN - 4 < len(token) <= MAX_TOKEN
    with connected(house) as client:
        if at_once:
            status = client.ask(f"AUTH {mechanism} {response(mechanism, token)}")
        else:
            assert client.ask(f"AUTH {mechanism}") == b"+ "
            status = client.ask(response(mechanism, token))
        assert status.startswith(b"+OK")


def test_a_token_logs_in_as_whom_it_stands_for(house: MailServer, issuer: Issuer) -> None:
    token = good(issuer)
    for mechanism, name, right in [
        ("OAUTHBEARER", "", True),
        ("OAUTHBEARER", ADDRESS, True),
        ("OAUTHBEARER", "ann@example.org", False),
        ("OAUTHBEARER", "unknown@example.org", False),
        ("XOAUTH2", ADDRESS, True),
        ("XOAUTH2", "ann@example.org", False),
    ]:
        with connected(house) as client:
            status = client.ask(f"AUTH {mechanism} {response(mechanism, token, name)}")
            assert status.startswith(b"+OK") is right
            assert right or client.ask(b"AQ==") == b"-ERR [AUTH] authentication failed"


def test_a_token_for_nobody_here(house: MailServer, issuer: Issuer) -> None:
    token = good(issuer, email="stranger@example.org")
    with connected(house) as client:
        assert client.ask(f"AUTH OAUTHBEARER {response('OAUTHBEARER', token, '')}")[:2] == b"+ "
        assert client.ask(b"AQ==") == b"-ERR [AUTH] authentication failed"


def test_an_issuer_that_is_down_refuses_nobody(
    mechanism: str, house: MailServer, issuer: Issuer
) -> None:
    issuer.stop()
    with connected(house) as client:
        status = client.ask(f"AUTH {mechanism} {response(mechanism, good(issuer))}")
        assert status.startswith(b"-ERR [SYS/TEMP] ")
        assert client.ask("NOOP").startswith(b"-ERR")  # not logged in, and in no exchange


def test_clocks_may_differ(mechanism: str, house: MailServer, issuer: Issuer) -> None:
    now = int(time.time())
    for changes, right in [
        ({"exp": now - 30}, True),
        ({"nbf": now + 30, "iat": now + 30}, True),
        ({"exp": now - 90}, False),
        ({"nbf": now + 120}, False),
    ]:
        with connected(house) as client:
            token = good(issuer, **changes)
            status = client.ask(f"AUTH {mechanism} {response(mechanism, token)}")
            assert status.startswith(b"+OK") is right


def test_malformed_responses_leave_the_session_usable(house: MailServer, issuer: Issuer) -> None:
    with connected(house) as client:
        for line in (
            "AUTH OAUTHBEARER !",
            "AUTH OAUTHBEARER =",
            "AUTH XOAUTH2 =",
            f"AUTH XOAUTH2 {b64encode(b'user=joe').decode()}",
            f"AUTH OAUTHBEARER {response('OAUTHBEARER', 'x' * (MAX_TOKEN + 1))}",
        ):
            assert client.ask(line).startswith(b"-ERR malformed response")
        assert client.ask("AUTH XOAUTH2") == b"+ "
        assert client.ask("*") == b"-ERR authentication cancelled"
        status = client.ask(f"AUTH XOAUTH2 {response('XOAUTH2', good(issuer))}")
        assert status.startswith(b"+OK")


def test_an_issuer_that_is_asked(issuer: Issuer) -> None:
    issuer.opaque["yes"] = issuer.claims(active=True)
    with house_of(asking(issuer)) as house, connected(house) as client:
        assert client.ask(f"AUTH XOAUTH2 {response('XOAUTH2', 'no')}").startswith(b"+ ")
        assert client.ask(b"") == b"-ERR [AUTH] authentication failed"
        assert client.ask(f"AUTH XOAUTH2 {response('XOAUTH2', 'yes')}").startswith(b"+OK")


def test_tokens_are_not_logged(
    house: MailServer, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    """A11"""
    caplog.set_level(logging.DEBUG)
    token = good(issuer, aud="other")
    with connected(house) as client:
        client.ask(f"AUTH XOAUTH2 {response('XOAUTH2', token)}")
        client.ask(b"")
    assert "login failed" in caplog.text
    for secret in (token, response("XOAUTH2", token)):
        for at in range(0, len(secret) - 20, 20):
            assert secret[at : at + 20] not in caplog.text
