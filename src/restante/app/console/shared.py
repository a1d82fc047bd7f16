"""What the console's pages share."""

from __future__ import annotations

import logging
import mimetypes
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from restante import __version__
from restante.app.config.checks import check
from restante.app.config.load import Loaded
from restante.app.config.problem import Problem
from restante.app.console import words
from restante.app.console.accounts import Accounts
from restante.app.console.live import Server
from restante.app.console.logins import Login, Logins
from restante.app.console.maildrops import Maildrops

log = logging.getLogger("restante.console")

HERE = Path(__file__).parent

KEPT_SECONDS = 1.0
KEPT_TIMES = 50
"""How long what check-config says is kept: so long, and so many times as long as it took."""

MENU = (
    ("overview", "/", "Overview"),
    ("sessions", "/sessions", "Sessions"),
    ("dialogue", "/dialogue", "Dialogue"),
    ("accounts", "/accounts", "Accounts"),
    ("maildrop", "/maildrop", "Maildrops"),
    ("mail_in", "/mail-in", "Mail in"),
    ("explain", "/explain", "Explain"),
    ("bans", "/bans", "Bans"),
    ("settings", "/settings", "Settings"),
)


class Console:
    """What all pages share. server: the running one. logins: who is logged in here."""

    def __init__(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self.settings = loaded.settings
        self.server = Server(loaded.settings.admin_socket)
        self.logins = Logins(loaded.settings)
        self.accounts = Accounts(loaded.settings)
        self.maildrops = Maildrops(loaded.settings)
        self._problems: tuple[float, list[Problem]] | None = None
        self._checking = threading.Lock()
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(words.FILTERS)
        self._static = {
            path.name: (path.read_bytes(), mimetypes.guess_type(path.name)[0] or "text/plain")
            for path in (HERE / "static").iterdir()
        }

    def problems(self) -> list[Problem]:
        """What check-config says. It reads all accounts, so it is kept for a while."""
        with self._checking:
            now = time.monotonic()
            if self._problems is None or now >= self._problems[0]:
                found = check(self.loaded)
                took = time.monotonic() - now
                self._problems = time.monotonic() + KEPT_SECONDS + KEPT_TIMES * took, found
            return self._problems[1]

    def page(
        self,
        request: Request,
        template: str,
        here: str,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **given: Any,
    ) -> HTMLResponse:
        """A page. here: which entry of the menu it belongs to."""
        login: Login | None = request.scope.get("restante.login")
        notes = login.take_notes() if login is not None else []
        text = self._templates.get_template(template).render(
            login=login,
            token=request.scope.get("restante.token", ""),
            menu=MENU,
            here=here,
            notes=notes,
            live=request.query_params.get("live") != "off",
            path=request.url.path,
            hostname=self.settings.server.hostname,
            version=__version__,
            **given,
        )
        return HTMLResponse(text, status, headers)

    def done(self, request: Request, what: str, to: str, *, note: str = "") -> Response:
        """A change was made: it is written into the log, told on the next page, and that is `to`.

        what: for the log, as "ended session abc".
        """
        login: Login = request.scope["restante.login"]
        address = request.client.host if request.client else ""
        log.info(
            "console: administrator=%s address=%s %s", login.name, address, what,
            extra={"administrator": login.name, "address": address, "change": what},
        )  # fmt: skip
        login.add_note("done", note or f"{what[:1].upper()}{what[1:]}.")
        return RedirectResponse(to, 303)

    def refused(self, request: Request, why: str, to: str) -> Response:
        """A change can't be made; the next page says why."""
        login: Login = request.scope["restante.login"]
        login.add_note("refused", why)
        return RedirectResponse(to, 303)

    def static(self, request: Request) -> Response:
        """A file that comes with the console."""
        found = self._static.get(request.path_params["name"])
        if found is None:
            return Response(status_code=404)
        headers = {"cache-control": "public, max-age=3600"}
        return Response(found[0], media_type=found[1], headers=headers)


def console_of(request: Request) -> Console:
    """What the request's page shares with the others."""
    console: Console = request.app.state.console
    return console


def form_of(request: Request) -> dict[str, str]:
    """The fields of a form that was sent. Its token was checked."""
    form: dict[str, str] = request.scope["restante.form"]
    return form
