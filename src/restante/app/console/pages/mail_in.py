"""Mail in: deliveries and refusals."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from restante.app.console.shared import console_of
from restante.app.history import flush_history, read_history
from restante.observing.history_place import HistoryError

PAGE = 50
OUTCOMES = ("delivered", "not delivered", "refused")


def show(request: Request) -> Response:
    """The page. `find` is a part of an address, a reason …; `before` goes on from a page."""
    console, query = console_of(request), request.query_params
    find, outcome = query.get("find", "")[:200].strip(), query.get("outcome", "")
    before = query.get("before", "")
    if before and not (before.isascii() and before.isdigit() and len(before) < 19):
        raise HTTPException(404, "There is no such page.")
    rows, problem = [], flush_history(console.settings)
    try:
        with read_history(console.settings) as history:
            rows = history.deliveries(
                search=find or None,
                outcome=outcome if outcome in OUTCOMES else None,
                before=int(before) if before else None,
                limit=PAGE + 1,
            )
    except HistoryError as error:
        problem = f"The history can't be read: {error}"
    return console.page(
        request, "mail_in.html", "mail_in",
        rows=rows[:PAGE], more=len(rows) > PAGE, find=find, outcome=outcome, outcomes=OUTCOMES,
        problem=problem, history_on=console.settings.history.enabled, before=before,
    )  # fmt: skip


ROUTES = [Route("/mail-in", show)]
