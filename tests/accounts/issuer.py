"""An issuer of tokens: an HTTP server with keys, OpenID configuration and introspection."""

from __future__ import annotations

import json
import ssl
import threading
import time
from base64 import b64decode
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

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
    """Runs on a thread while it is entered. certificate: PEM, to speak TLS.

    keys: its JWK set, by default one key of each kind, whose id is the kind.
    opaque: by token, what introspection answers. requests: the paths asked for.
    spoil: by path, an answer instead of the right one: status, headers, body.
    delay: seconds before each answer.
    """

    client = ("restante", "s e c:r+et")

    def __init__(self, certificate: Path | None = None) -> None:
        self.keys: list[dict[str, Any]] = [jwk(key_of(kind), kid=kind) for kind in KINDS]
        self.opaque: dict[str, dict[str, Any]] = {}
        self.requests: list[str] = []
        self.spoil: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.delay = 0.0
        self.name_in_configuration: str | None = None
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://localhost:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.005}
        )

    def __enter__(self) -> Self:
        self._thread.start()
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
        algorithm: str = "RS256",
        **changes: Any,
    ) -> str:
        """A signed token. header: changes to its header; `...` takes a member away."""
        kind = FITTING.get(algorithm, "RSA")
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
                self._answer({"issuer": name, "jwks_uri": f"{issuer.url}/jwks"})

        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            form = parse_qs(self.rfile.read(size).decode())
            expected = "restante:s+e+c%3Ar%2Bet"  # RFC 6749 §2.3.1
            _, _, given = self.headers.get("Authorization", "").partition(" ")
            if b64decode(given).decode() != expected:
                issuer.spoil[self.path] = (401, {}, b"{}")
            self._answer(issuer.opaque.get(form["token"][0], {"active": False}))

        def _answer(self, answer: dict[str, Any]) -> None:
            issuer.requests.append(self.path)
            time.sleep(issuer.delay)
            right = (200, {"Content-Type": "application/json"}, json.dumps(answer).encode())
            status, headers, body = issuer.spoil.get(self.path, right)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
