"""Sessions: who is connected now."""

from __future__ import annotations

import re

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from restante.app.console.shared import console_of, form_of
from restante.app.processes.admin_client import Wanted

PAGE = 100
MAX_SEARCH = 200

TIME = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
SESSION_ID = re.compile(r"[A-Za-z0-9_.:-]{1,48}")


def show(request: Request) -> Response:
    """The newest, or those from a session on. `find` is a part of an account's name or an address.

    No more is asked for than a page has, however many sessions there are.
    """
    console = console_of(request)
    search = request.query_params.get("find", "")[:MAX_SEARCH].strip()
    from_on = request.query_params.get("from", "")
    before, _, before_id = from_on.partition("_")
    if from_on and not (TIME.fullmatch(before) and SESSION_ID.fullmatch(before_id)):
        raise HTTPException(404, "There is no such page.")
    found = console.server.sessions(Wanted(search, "", PAGE, float(before or 0), before_id))
    first = found.found - found.left
    older = ""
    if found.left > len(found.rows) and found.rows:
        last = found.rows[-1]
        older = f"{last['since']!r}_{last['session']}"
    return console.page(
        request, "sessions.html", "sessions",
        sessions=found, first=first + 1, last=first + len(found.rows), find=search,
        from_on=from_on, older=older, problem=found.problem,
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
