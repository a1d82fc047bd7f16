"""Logging in and out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from restante.app.console.logins import Refused
from restante.app.console.shared import console_of, form_of


def show(request: Request) -> Response:
    """The form; whoever is logged in goes on."""
    if request.scope["restante.login"] is not None:
        return RedirectResponse("/", 303)
    return _form(request, "", _inside(request.query_params.get("to", "/")), 200)


def _form(request: Request, problem: str, to: str, status: int, name: str = "") -> Response:
    console = console_of(request)
    try:
        anybody = console.logins.is_anybody
    except (OSError, ValueError):
        anybody = True  # the log says what is wrong, once somebody tries
    return console.page(
        request, "login.html", "", status=status, problem=problem, to=to, name=name, anybody=anybody
    )


def _inside(path: str) -> str:
    """A path of ours: nobody is led elsewhere after the login."""
    return path if path.startswith("/") and path[1:2] not in ("/", "\\") else "/"


def log_in(request: Request) -> Response:
    """Check name and password."""
    console, form = console_of(request), form_of(request)
    name, to = form.get("name", "").strip()[:64], _inside(form.get("to", "/"))
    address = request.client.host if request.client else ""
    try:
        key, _ = console.logins.attempt(name, form.get("password", "")[:1024], address)
    except Refused as error:
        return _form(request, str(error), to, error.status, name)
    console.logins.end(request.scope["restante.key"])
    request.scope["restante.new_login"] = key
    return RedirectResponse(to, 303)


def log_out(request: Request) -> Response:
    """End the session."""
    console_of(request).logins.end(request.scope["restante.key"])
    request.scope["restante.new_login"] = ""
    return RedirectResponse("/login", 303)


ROUTES = [
    Route("/login", show),
    Route("/login", log_in, methods=["POST"]),
    Route("/logout", log_out, methods=["POST"]),
]
