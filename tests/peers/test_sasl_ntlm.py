"""NTLM with clients that aren't ours: pyspnego, curl, and fetchmail, which knows version 1 only."""

from __future__ import annotations

import contextlib
import ssl
from base64 import b64decode, b64encode
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import spnego
from spnego.channel_bindings import GssChannelBindings

from restante import Account, Pop3Server, StaticAccounts
from restante.sasl.md4 import nt_hash
from tests.conftest import Authority
from tests.peers import harness
from tests.peers.harness import NAME, PASSWORD, Post, Visit, Way
from tests.peers.tools import Curl, Fetchmail
from tests.server.kit import Client, serving

pytestmark = pytest.mark.peer

MESSAGE = b"Subject: hello\r\n\r\nbody\r\n"
LISTED = ["1", str(len(MESSAGE))]
REFUSED = b"-ERR [AUTH] authentication failed"
ACCOUNTS = [
    Account("joe", ("{PLAIN}secret",)),
    Account("zoë@example.org", ("{NT}" + nt_hash("pässwort ").hex(),)),
    Account("hashed", ("{SCRYPT}$ln=4,r=8,p=1$AAAA$AAAA",)),
]


@contextlib.contextmanager
def connected(**settings: Any) -> Iterator[Client]:
    accounts = StaticAccounts(ACCOUNTS)
    with serving(accounts=accounts, ntlm=True, **settings) as server, Client(server.port) as client:
        yield client


def attempt(
    client: Client, user: str, password: str, *, initial: bool = False, **options: Any
) -> bytes:
    """The reply to a login by pyspnego."""
    context = spnego.client(
        user, password, protocol="ntlm", options=spnego.NegotiateOptions.use_ntlm, **options
    )
    first = b64encode(context.step() or b"").decode()
    if initial:
        challenge = client.ask(f"AUTH NTLM {first}")
    else:
        assert client.ask("AUTH NTLM") == b"+ "
        challenge = client.ask(first)
    assert challenge.startswith(b"+ ")
    answer = context.step(b64decode(challenge[2:]))
    return client.ask(b64encode(answer or b""))


@pytest.mark.parametrize("initial", [False, True])
@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("joe", "secret"),
        ("CORP\\joe", "secret"),
        ("zoë@example.org", "pässwort "),
        ("OTHER\\zoë@example.org", "pässwort "),
    ],
)
def test_pyspnego_logs_in(user: str, password: str, initial: bool) -> None:
    with connected() as client:
        assert attempt(client, user, password, initial=initial) == b"+OK 0 messages"


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("joe", "Secret"),
        ("nobody", "secret"),
        ("hashed", "secret"),
        ("joe@example.org", "secret"),
        ("joe", nt_hash("secret").hex()),
    ],
)
def test_pyspnego_with_wrong_credentials(user: str, password: str) -> None:
    """Whatever is wrong, the answer is the same, and the session stays usable."""
    with connected() as client:
        assert attempt(client, user, password) == REFUSED
        assert attempt(client, "joe", "secret") == b"+OK 0 messages"


@pytest.mark.parametrize("level", range(3))
def test_pyspnego_with_older_versions(level: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """LM and NTLMv1, NTLM2 session, NTLMv1 alone: refused with the right password."""
    monkeypatch.setenv("LM_COMPAT_LEVEL", str(level))
    with connected() as client:
        reply = attempt(client, "joe", "secret")
        assert reply == b"-ERR only version 2 of NTLM is available"


@pytest.mark.parametrize("flag", list(spnego.ContextReq))
def test_pyspnego_whatever_it_asks_for(flag: spnego.ContextReq) -> None:
    """Signing and sealing are not promised; the login works without."""
    with connected() as client:
        assert attempt(client, "joe", "secret", context_req=flag) == b"+OK 0 messages"


def test_pyspnego_bound_to_the_certificate(authority: Authority) -> None:
    with serving(
        tls="starttls", certificate=authority.certificate, ntlm=True, accounts={"joe": "secret"}
    ) as server:
        for right in (True, False):
            with Client(server.port) as client:
                client.start_tls(authority.client_context())
                assert isinstance(client.socket, ssl.SSLSocket)
                binding = _end_point(client.socket) if right else b"tls-server-end-point:" + b"x"
                bindings = GssChannelBindings(application_data=binding)
                reply = attempt(client, "joe", "secret", channel_bindings=bindings)
                expected = b"+OK 0 messages" if right else b"-ERR channel binding does not match"
                assert reply == expected


def _end_point(tls: ssl.SSLSocket) -> bytes:
    """RFC 5929 §4.1, for the certificates of these tests, which are signed with SHA-256."""
    return b"tls-server-end-point:" + sha256(tls.getpeercert(True) or b"").digest()


@pytest.fixture
def post(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Post]:
    """As the other clients' post, but NTLM is offered, and there is one message."""
    monkeypatch.setattr(harness, "Pop3Server", partial(Pop3Server, ntlm=True))
    with Post(tmp_path_factory.mktemp("post"), authority, credential=request.param) as post:
        post.put([MESSAGE])
        yield post


CREDENTIALS = ["{PLAIN}" + PASSWORD, "{NT}" + nt_hash(PASSWORD).hex()]
each_credential = pytest.mark.parametrize("post", CREDENTIALS, ids=["PLAIN", "NT"], indirect=True)
plain = pytest.mark.parametrize("post", CREDENTIALS[:1], indirect=True)


@each_credential
@pytest.mark.parametrize("way", ["plain", "starttls", "implicit"])
@pytest.mark.parametrize("initial", [False, True])
def test_curl(post: Post, tmp_path: Path, way: Way, initial: bool) -> None:
    """It offers no Unicode."""
    curl = Curl()
    curl.require()
    visit = Visit(post, tmp_path, way, login="AUTH=NTLM")
    listed = curl.talk(visit, [f'url = "{curl.url(visit)}"'], *["--sasl-ir"] * initial)
    assert listed.split() == LISTED
    assert "AUTH NTLM" in post.verbs


@plain
@pytest.mark.parametrize(
    "user", [f"CORP\\\\{NAME}:{PASSWORD}", f"CORP/{NAME}:{PASSWORD}"], ids=["backslash", "slash"]
)
def test_curl_with_a_domain(post: Post, tmp_path: Path, user: str) -> None:
    curl = Curl()
    curl.require()
    visit = Visit(post, tmp_path, login="AUTH=NTLM")
    listed = curl.talk(visit, [f'user = "{user}"', f'url = "{curl.url(visit)}"'])
    assert listed.split() == LISTED


@plain
@pytest.mark.parametrize("user", [f"{NAME}:wrong", f"nobody:{PASSWORD}"])
def test_curl_with_wrong_credentials(post: Post, tmp_path: Path, user: str) -> None:
    """It says "Login denied" (exit status 67) and tries nothing else."""
    Curl().require()
    visit = Visit(post, tmp_path)
    argv = ["curl", "-q", "-sS", "-m", "60", "--login-options", "AUTH=NTLM", "-u", user]
    output = visit.run([*argv, f"pop3://localhost:{visit.port}/"], ok=[67])
    assert "denied" in output.lower()
    assert [verb for verb in post.verbs if verb.startswith(("AUTH", "USER"))] == ["AUTH NTLM"]


@plain
def test_fetchmail_is_told_why(post: Post, tmp_path: Path) -> None:
    """It knows version 1 only."""
    Fetchmail().require()
    visit = Visit(post, tmp_path)
    config = tmp_path / "fetchmailrc"
    config.write_text(
        f"set invisible\npoll localhost service {visit.port} protocol POP3 auth ntlm timeout 60\n"
        f" user '{NAME}' password '{PASSWORD}' keep sslproto '' mda 'cat'\n"
    )
    config.chmod(0o600)
    argv: list[str | Path] = ["fetchmail", "-v", "--nosyslog", "-f", config]
    argv += ["--idfile", tmp_path / "ids", "--pidfile", tmp_path / "pid"]
    output = visit.run(argv, ok=[3])  # an authorisation failure
    assert "-ERR only version 2 of NTLM is available" in output
    assert post.verbs[-1] == "QUIT"
