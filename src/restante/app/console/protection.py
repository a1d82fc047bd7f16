"""What stands before every page: whose request it is, and what may be in it.

- The `Host` must be one of ours: else a page from elsewhere could have its own name lead to this
  address and read what we answer (DNS rebinding).
- A request that changes something comes from a form of ours: its token is the session's, and
  neither `Origin` nor `Sec-Fetch-Site` says otherwise.
- All pages but the login want a session. All answers say what the browser may load: nothing from
  elsewhere, and no script but ours.
"""

from __future__ import annotations

import hmac
import ipaddress
import logging
import secrets
import socket
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from restante.app.config.settings import Settings
from restante.app.console.logins import Logins

log = logging.getLogger("restante.console")

MAX_BODY = 64 * 1024
MAX_FIELDS = 100
MAX_ADDRESS = 8192

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "x-dns-prefetch-control": "off",
    "cache-control": "no-store",
}

OPEN = ("/login", "/static/")
"""Paths that want no session."""


class Protection:
    """An ASGI application that lets requests through to `app`."""

    def __init__(self, app: ASGIApp, logins: Logins, settings: Settings) -> None:
        self._app = app
        self._logins = logins
        self._names = allowed_names(settings)
        self._secure = settings.console.tls != "none"
        prefix = "__Host-" if self._secure else ""
        self._cookie = f"{prefix}restante"
        self._form_cookie = f"{prefix}restante-form"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in HEADERS.items():
                    given.setdefault(name, value)
                if self._secure:
                    given.setdefault("strict-transport-security", "max-age=31536000")
                if made := scope.get("restante.form_cookie"):
                    given.append("set-cookie", self._set(self._form_cookie, made))
                if (key := scope.get("restante.new_login")) is not None:
                    given.append("set-cookie", self._set(self._cookie, key))
            await send(message)

        response = await self._refusal(scope, headers, receive)
        await (response or self._app)(scope, receive, answer)

    async def _refusal(self, scope: Scope, headers: Headers, receive: Receive) -> Response | None:
        """Why a request isn't let through; None if it is."""
        if host_name(headers.get("host", "")) not in self._names:
            text = "This is not the console's name. The key console.names has those it goes by.\n"
            return PlainTextResponse(text, 421)
        if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_ADDRESS:
            return PlainTextResponse(f"An address of more than {MAX_ADDRESS} octets.\n", 414)
        cookies = _cookies(headers)
        by_htmx = headers.get("hx-request") == "true"
        key = cookies.get(self._cookie, "")
        scope["restante.key"] = key
        login = None
        if key:
            login = await run_in_threadpool(self._logins.find, key, by_person=not by_htmx)
        scope["restante.login"] = login
        is_open = scope["path"].startswith(OPEN)
        if login is not None:
            scope["restante.token"] = login.token
        elif is_open:
            cookie = cookies.get(self._form_cookie, "")
            if not 20 <= len(cookie) <= 100:
                cookie = scope["restante.form_cookie"] = secrets.token_urlsafe(32)
            scope["restante.token"] = self._logins.form_token(cookie)
        elif scope["method"] in ("GET", "HEAD"):
            if by_htmx:
                return Response(status_code=401, headers={"hx-redirect": "/login"})
            return RedirectResponse(f"/login?to={quote(scope['path'])}", 303)
        else:
            return PlainTextResponse("Log in first.\n", 403)
        if scope["method"] in ("GET", "HEAD"):
            return None
        if scope["method"] != "POST":
            return PlainTextResponse("Not done here.\n", 405)
        return await self._form_refusal(scope, headers, receive)

    async def _form_refusal(
        self, scope: Scope, headers: Headers, receive: Receive
    ) -> Response | None:
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return PlainTextResponse("This came from another site.\n", 403)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != headers.get("host"):
            return PlainTextResponse("This came from another site.\n", 403)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            return PlainTextResponse("Forms only.\n", 415)
        body = await _body(receive)
        if body is None:
            return PlainTextResponse(f"More than {MAX_BODY} octets.\n", 413)
        try:
            pairs = parse_qsl(
                body.decode("ascii"), keep_blank_values=True, max_num_fields=MAX_FIELDS
            )
        except (ValueError, UnicodeDecodeError):
            return PlainTextResponse("Not a form.\n", 400)
        form = scope["restante.form"] = dict(pairs)
        token = form.pop("token", "").encode("utf-8", "replace")
        if not hmac.compare_digest(token, scope["restante.token"].encode()):
            log.warning("console: a form without the right token: path=%r", scope["path"])
            text = "This form is too old, or isn't one of ours. Go back, load the page again.\n"
            return PlainTextResponse(text, 403)
        return None

    def _set(self, name: str, value: str) -> str:
        end = "; Secure" if self._secure else ""
        age = "" if value else "; Max-Age=0"
        return f"{name}={value}; Path=/; HttpOnly; SameSite=Strict{age}{end}"


def allowed_names(settings: Settings) -> frozenset[str]:
    """What a browser may call the console by."""
    console = settings.console
    found = {*console.names, settings.server.hostname, console.host}
    found |= {"localhost", "127.0.0.1", "::1"}
    if console.host in ("", "0.0.0.0", "::"):  # noqa: S104 - to recognise, not to bind
        found.add(socket.gethostname())
    return frozenset(name.rstrip(".").lower() for name in found if name) - {"0.0.0.0", "::"}  # noqa: S104


def host_name(host: str) -> str:
    """The name of a `Host` header, without its port; "" for what is none."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        if "@" in host or "/" in host:
            return ""
        if ":" in name:
            return str(ipaddress.ip_address(name))
    except ValueError:
        return ""
    return name.rstrip(".")


def _cookies(headers: Headers) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in headers.getlist("cookie"):
        cookies: SimpleCookie = SimpleCookie()
        try:
            cookies.load(text[:8192])
        except CookieError:
            continue
        found |= {name: each.value for name, each in cookies.items()}
    return found


async def _body(receive: Receive) -> bytes | None:
    """What was sent; None if it is too much."""
    body = b""
    while True:
        message: Any = await receive()
        if message["type"] != "http.request":
            return None
        body += bytes(message.get("body", b""))
        if len(body) > MAX_BODY:
            return None
        if not message.get("more_body"):
            return body
