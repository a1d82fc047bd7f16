"""Maildrops: what lies there, looked at safely."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlencode
from zlib import crc32

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from restante.accounts.contract import AccountError
from restante.app.console import mime
from restante.app.console.accounts import NotThere
from restante.app.console.cleaning import clean
from restante.app.console.looks import StillLooking
from restante.app.console.pages.accounts import known_accounts
from restante.app.console.paging import page_number
from restante.app.console.shared import console_of
from restante.app.history import flush_history, read_history
from restante.app.processes.admin_client import Wanted
from restante.observing.history_place import HistoryError
from restante.stores.contract import MaildropInUse, StoreError

T = TypeVar("T")

FRAME_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none';"
    " frame-ancestors 'self'; sandbox"
)
"""Of HTML of strangers: nothing is loaded, no script runs, and it has no origin."""

FILE_POLICY = "default-src 'none'; sandbox"
ACCOUNTS = 100
SOURCE = 256 * 1024
"""Octets of a message that are shown as it lies there."""


def _tried(do: Callable[[], T]) -> T:
    """What a look gives. Raises HTTPException with what went wrong, in words."""
    try:
        return do()
    except NotThere as error:
        raise HTTPException(404, str(error)) from error
    except MaildropInUse as error:
        text = "A session has the maildrop now, and this store shows it to one at a time."
        raise HTTPException(409, text) from error
    except (StoreError, AccountError, OSError) as error:
        raise HTTPException(503, f"The maildrop can't be read: {error}") from error


def show(request: Request) -> Response:
    """The messages of an account; without one, the accounts."""
    console = console_of(request)
    name = request.query_params.get("account", "").strip()
    if not name:
        page, find, problem = known_accounts(console, request, ACCOUNTS)
        return console.page(
            request, "maildrops.html", "maildrop", page=page, find=find, problem=problem
        )
    account = _tried(lambda: console.accounts.find(name))
    number = page_number(request)
    find = request.query_params.get("find", "")[:200].strip()
    try:
        listed = _tried(
            lambda: (
                console.maildrops.found(account, find)
                if find
                else console.maildrops.listed(account, number)
            )
        )
    except StillLooking:
        if "hx-request" in request.headers:  # the page stays as it is until then
            return Response(status_code=204)
        return console.page(
            request, "message.html", "maildrop", headers={"refresh": "2"},
            title=account.name, text="The maildrop is being looked through, which takes a while"
            " when it is large and no client has seen it yet. This page goes on by itself.",
        )  # fmt: skip
    holders = console.server.sessions(Wanted(account=account.name)).rows
    shown = [row["session"] for row in holders] + [line.unique_id for line in listed.lines]
    seen = f"{crc32(' '.join(shown).encode()):x}-{listed.messages}"
    if "hx-request" in request.headers and request.query_params.get("seen") == seen:
        return Response(status_code=204)  # the page stays as it is, and what was selected there
    return console.page(
        request,
        "maildrop.html",
        "maildrop",
        account=account.name,
        listed=listed,
        holders=holders,
        find=find,
        seen=seen,
    )


def _which(request: Request) -> tuple[Any, str]:
    """The account and the unique-id that are asked for."""
    console, query = console_of(request), request.query_params
    account = _tried(lambda: console.accounts.find(query.get("account", "")))
    return account, query.get("id", "")


def message(request: Request) -> Response:
    """One message: header, text, parts."""
    console = console_of(request)
    account, unique_id = _which(request)
    try:
        data, whole = _tried(lambda: console.maildrops.message(account, unique_id))
    except HTTPException as error:
        if error.status_code != 404:
            raise
        return console.page(
            request, "message.html", "maildrop", status=404, title="Nothing here",
            text=error.detail, to=f"/explain?{urlencode({'account': account.name})}",
            to_text=f"What became of {account.name}'s messages",
        )  # fmt: skip
    newer, older = _tried(lambda: console.maildrops.neighbours(account, unique_id))
    parsed = mime.parse(data)
    text, html = parsed.first("text/plain"), parsed.first("text/html")
    shown = "text" if text is not None or html is None else "html"
    wanted = request.query_params.get("as", shown)
    if wanted not in ("text", "html", "headers", "source") or (wanted == "html" and html is None):
        wanted = shown
    fetched, problem = [], flush_history(console.settings)
    try:
        with read_history(console.settings) as history:
            fetched = history.fetched(account.name, unique_id)[:50]
    except HistoryError as error:
        problem = str(error)
    first: dict[str, str] = {}
    for name, value in parsed.fields:
        first.setdefault(name.lower(), value)
    return console.page(
        request, "message_view.html", "maildrop",
        account=account.name, unique_id=unique_id, octets=len(data), whole=whole, parsed=parsed,
        first=first, text=text.text() if text is not None else "", html=html, wanted=wanted,
        fetched=fetched, problem=problem,
        has_text=text is not None, newer=newer, older=older,
        source=data[:SOURCE].decode("utf-8", "replace") if wanted == "source" else "",
        source_cut=len(data) > SOURCE,
        link=urlencode({"account": account.name, "id": unique_id}),
    )  # fmt: skip


def delivered(request: Request) -> Response:
    """To the message of a delivery."""
    query = request.query_params
    address = query.get("to", "")[:512]
    account = _tried(lambda: console_of(request).accounts.recipient(address))
    found = urlencode({"account": account.name, "id": query.get("id", "")})
    return RedirectResponse(f"/maildrop/message?{found}", 303)


def _part(request: Request) -> mime.Part:
    account, unique_id = _which(request)
    data, _ = _tried(lambda: console_of(request).maildrops.message(account, unique_id))
    number = request.query_params.get("part", "")
    for part in mime.parse(data).parts:
        if str(part.number) == number:
            return part
    raise HTTPException(404, "The message has no such part.")


def html(request: Request) -> Response:
    """A part that is HTML, made harmless, for a frame."""
    part = _part(request)
    if part.kind != "text/html":
        raise HTTPException(404, "That part is no HTML.")
    page = (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Message</title>"
        "<style>body{font:15px/1.5 system-ui,sans-serif;margin:16px;background:#fff;color:#1c2024;"
        "overflow-wrap:anywhere}</style><body>" + clean(part.text())
    )
    headers = {"content-security-policy": FRAME_POLICY, "x-frame-options": "SAMEORIGIN"}
    return HTMLResponse(page, headers=headers)


def part(request: Request) -> Response:
    """A part as a file."""
    found = _part(request)
    return _file(found.octets(), found.name or f"part-{found.number}")


def _file(data: bytes, name: str) -> Response:
    headers = {
        "content-disposition": f'attachment; filename="{_file_name(name)}"',
        "content-security-policy": FILE_POLICY,
    }
    return Response(data, media_type="application/octet-stream", headers=headers)


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._")[:100] or "file"


def download(request: Request) -> Response:
    """A message as a file, as it lies there."""
    console = console_of(request)
    account, unique_id = _which(request)
    blocks = console.maildrops.blocks(account, unique_id)
    first = _tried(lambda: next(blocks, b""))

    def all_of_it() -> Any:
        yield first
        yield from blocks

    headers = {
        "content-disposition": f'attachment; filename="{_file_name(unique_id)}.eml"',
        "content-security-policy": FILE_POLICY,
    }
    return StreamingResponse(all_of_it(), media_type="message/rfc822", headers=headers)


ROUTES = [
    Route("/maildrop", show),
    Route("/maildrop/message", message),
    Route("/maildrop/delivered", delivered),
    Route("/maildrop/html", html),
    Route("/maildrop/part", part),
    Route("/maildrop/download", download),
]
