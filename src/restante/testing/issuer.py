"""An issuer of tokens for tests: keys, OpenID configuration, introspection, and new tokens."""

from __future__ import annotations

import json
import ssl
import threading
import time
from base64 import b64decode
from collections.abc import Callable, Sequence
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs

from restante.extras import missing

try:
    from joserfc import jwt
    from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
    from joserfc.jws import JWSRegistry
except ImportError as error:
    raise ImportError(missing("oauth", "An issuer of tokens", "joserfc", error)) from error

MAX_FORM = 1 << 20
"""Octets of a request that are read."""

AUDIENCE = "pop3"
NAME = "joe@example.org"

KINDS: dict[str, Callable[[], Key]] = {
    "RSA": lambda: RSAKey.generate_key(2048),
    "P-256": lambda: ECKey.generate_key("P-256"),
    "P-384": lambda: ECKey.generate_key("P-384"),
    "P-521": lambda: ECKey.generate_key("P-521"),
    "Ed25519": lambda: OKPKey.generate_key("Ed25519"),
    "Ed448": lambda: OKPKey.generate_key("Ed448"),
}
FITTING = {
    "ES256": "P-256",
    "ES384": "P-384",
    "ES512": "P-521",
    "EdDSA": "Ed25519",
    "Ed25519": "Ed25519",
    "Ed448": "Ed448",
}


ALGORITHMS = ("RS256", "ES256", "ES384", "ES512", "Ed25519", "Ed448")
"""What tokens are signed with, the first of them that there is a key for."""


def _kind(algorithm: str) -> str:
    """The kind of key that an algorithm needs."""
    return FITTING.get(algorithm, "RSA")


@cache
def key_of(kind: str, series: int = 0) -> Key:
    """A key of a kind of `KINDS`, always the same one in each series."""
    return KINDS[kind]()


def jwk(key: Key, **members: Any) -> dict[str, Any]:
    """The public part of `key`, as a key set has it."""
    return {**key.as_dict(), **members}


class Anything(JWSRegistry):
    """Signs whatever it is told to."""

    max_header_length = max_payload_length = 1 << 20

    def __init__(self) -> None:
        super().__init__(strict_check_header=False)

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]


class _Server(HTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that didn't wait for the answer is no error."""


class Issuer:
    """An HTTP server of this machine, on a thread while it is entered or started.

    certificate: PEM with its key, to speak TLS. kinds: of keys that its set has, of `KINDS`.

    url: its own, as tokens name it. client: the id and secret that it knows.
    keys: its JWK set, by default one key of each kind, whose id is the kind.
    opaque: by token, what introspection answers. requests: the paths asked for.
    refresh_tokens: by refresh token, the account that `POST /token` gives an access token for.
    spoil: by path, an answer instead of the right one: status, headers, body.
    delay: seconds before each answer.

    What it answers: `/.well-known/openid-configuration`, `/jwks`, `POST /introspect` (RFC 7662)
    and `POST /token` with `grant_type=refresh_token` (RFC 6749 §6).
    Its token for nobody in particular is for `NAME`. Its keys are the process's own.
    """

    client = ("restante", "s e c:r+et")

    def __init__(
        self, certificate: Path | None = None, *, kinds: Sequence[str] = tuple(KINDS)
    ) -> None:
        self.keys: list[dict[str, Any]] = [jwk(key_of(kind), kid=kind) for kind in kinds]
        self.opaque: dict[str, dict[str, Any]] = {}
        self.refresh_tokens: dict[str, str] = {}
        self.requests: list[str] = []
        self.spoil: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.delay = 0.0
        self.name_in_configuration: str | None = None
        self._algorithm = next(each for each in ALGORITHMS if _kind(each) in kinds)
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://localhost:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.005}, daemon=True
        )

    @property
    def is_running(self) -> bool:
        """Whether it answers."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Answer from now on, on a thread."""
        self._thread.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Go down. Harmless when repeated."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def claims(self, **changes: Any) -> dict[str, Any]:
        """What a good token says, with changes; `...` takes a claim away."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": AUDIENCE, "email": NAME, "iat": now, "exp": now + 600}
        return {name: value for name, value in (claims | changes).items() if value is not ...}

    def token(
        self,
        *,
        key: Key | None = None,
        header: dict[str, Any] | None = None,
        algorithm: str | None = None,
        **changes: Any,
    ) -> str:
        """A signed token (RFC 7519).

        key: instead of the issuer's. header: changes to its header; `...` takes a member away.
        algorithm: RS256, or ES256 where there is no RSA key. changes: see `claims`.
        """
        algorithm = algorithm or self._algorithm
        kind = _kind(algorithm)
        members: dict[str, Any] = {"alg": algorithm, "kid": kind, "typ": "JWT"} | (header or {})
        members = {name: value for name, value in members.items() if value is not ...}
        claims = self.claims(**changes)
        return jwt.encode(
            members, claims, key or key_of(kind), registry=Anything(), default_type=None
        )


def _handler(issuer: Issuer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/jwks":
                self._answer({"keys": issuer.keys})
            else:
                name = issuer.name_in_configuration or issuer.url
                self._answer(
                    {
                        "issuer": name,
                        "jwks_uri": f"{issuer.url}/jwks",
                        "introspection_endpoint": f"{issuer.url}/introspect",
                        "token_endpoint": f"{issuer.url}/token",
                    }
                )

        def do_POST(self) -> None:
            size = min(int(self.headers["Content-Length"]), MAX_FORM)
            form = parse_qs(self.rfile.read(size).decode())
            if self.path == "/token":
                self._give_token(form)
                return
            expected = "restante:s+e+c%3Ar%2Bet"  # RFC 6749 §2.3.1
            _, _, given = self.headers.get("Authorization", "").partition(" ")
            if b64decode(given).decode() != expected:
                issuer.spoil[self.path] = (401, {}, b"{}")
            self._answer(issuer.opaque.get(form["token"][0], {"active": False}))

        def _give_token(self, form: dict[str, list[str]]) -> None:
            refresh_token = form.get("refresh_token", [""])[0]
            name = issuer.refresh_tokens.get(refresh_token)
            if form.get("grant_type") != ["refresh_token"] or name is None:
                self._answer({"error": "invalid_grant"}, 400)  # RFC 6749 §5.2
                return
            token = issuer.token(email=name)
            self._answer({"access_token": token, "token_type": "Bearer", "expires_in": 600})

        def _answer(self, answer: dict[str, Any], status: int = 200) -> None:
            issuer.requests.append(self.path)
            time.sleep(issuer.delay)
            right = (status, {"Content-Type": "application/json"}, json.dumps(answer).encode())
            status, headers, body = issuer.spoil.get(self.path, right)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
