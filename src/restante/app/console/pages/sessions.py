"""Sessions: who is connected now."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from restante.app.console.paging import Page, page_number
from restante.app.console.shared import console_of, form_of

PAGE = 100
MAX_SEARCH = 200
MAX_PAGE = 10_000

SESSION_ID = re.compile(r"[A-Za-z0-9_.:-]{1,48}")


def show(request: Request) -> Response:
    """The page. `find` is a part of an account's name or an address."""
    console = console_of(request)
    search = request.query_params.get("find", "")[:MAX_SEARCH].strip()
    number = min(page_number(request), MAX_PAGE)
    found = console.server.sessions(search, most=number * PAGE)
    page = Page.of_first(found.rows, found.found, number, PAGE)
    return console.page(
        request, "sessions.html", "sessions",
        page=page, find=search, total=found.total, problem=found.problem,
    )  # fmt: skip


def end(request: Request) -> Response:
    """End a session."""
    console, form = console_of(request), form_of(request)
    session, to = form.get("session", ""), "/sessions"
    if not SESSION_ID.fullmatch(session):
        return console.refused(request, "That is no session.", to)
    answer = console.server.ask(f"end {session}")
    if answer.problem and not answer.rows:
        return console.refused(request, answer.problem, to)
    if not answer.rows:
        return console.refused(request, f"Session {session} has ended already.", to)
    return console.done(
        request, f"ended session {session}", to,
        note=f"Session {session} ends after the reply in hand; nothing is deleted.",
    )  # fmt: skip


ROUTES = [Route("/sessions", show), Route("/sessions/end", end, methods=["POST"])]
