"""The console as an ASGI application: where each page is, and what is shown when one fails."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from restante.app.config.load import Loaded
from restante.app.console.pages import ROUTES
from restante.app.console.protection import Protection
from restante.app.console.shared import Console, console_of

log = logging.getLogger("restante.console")


def make_app(loaded: Loaded) -> Protection:
    """The application for a configuration."""
    console = Console(loaded)
    routes: Sequence[BaseRoute] = [
        Route("/static/{name}", console.static, name="static"),
        *ROUTES,
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={404: _nothing_here, 405: _nothing_here, Exception: _failed},
    )
    app.state.console = console
    return Protection(app, console.logins, loaded.settings)


async def _nothing_here(request: Request, error: Exception) -> Response:
    text = getattr(error, "detail", "")
    status = getattr(error, "status_code", 404)
    known = "" if text in ("Not Found", "Method Not Allowed") else text
    return console_of(request).page(
        request, "message.html", "", status=status,
        title="Nothing here", text=known or "There is no such page.",
    )  # fmt: skip


async def _failed(request: Request, error: Exception) -> Response:
    log.error("console: %s failed", request.url.path, exc_info=error)
    return console_of(request).page(
        request, "message.html", "", status=500,
        title="This page failed", text="The log says why. Mail isn't concerned.",
    )  # fmt: skip
