"""Explain: what an account's clients did, and why; and what to type into a new one."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from restante.accounts.contract import AccountError
from restante.app.client_settings import ClientSettingsError, answer, as_it_listens
from restante.app.console.accounts import NotThere
from restante.app.console.pages.accounts import known_accounts
from restante.app.console.shared import console_of
from restante.app.explained import explained
from restante.app.history import flush_history, goes_on, read_history
from restante.app.processes.admin_client import Wanted
from restante.observing.history_place import HistoryError

PAGE = 100
MOST_OPEN = 10
SHOWN = 200
"""Findings of a page, the newest first."""


def show(request: Request) -> Response:
    """The explanation of an account; without one, the accounts."""
    console = console_of(request)
    name = request.query_params.get("account", "").strip()[:512]
    if not name:
        page, find, problem = known_accounts(console, request, PAGE)
        return console.page(
            request, "explain_whom.html", "explain", page=page, find=find, problem=problem
        )
    account = of_address = None
    with suppress(NotThere, AccountError):
        account = console.accounts.find(name)
    if account is None:
        with suppress(AccountError):
            of_address = console.accounts.by_address(name)
    behind = flush_history(console.settings)
    found: Any = None
    problem = ""
    try:
        with read_history(console.settings) as history:
            if account is None and not history.sessions(account=name, limit=1):
                if of_address is not None:
                    query = urlencode({"account": of_address.name})
                    return RedirectResponse(f"/explain?{query}", 303)
                raise HTTPException(404, f"There is no account {name!r}.")
            email = account.email if account else ""
            found = explained(console.settings, history, name, email)
    except HistoryError as error:
        problem = f"The history can't be read: {error}"
    return console.page(
        request, "explain.html", "explain",
        account=name, found=found, problem=problem or behind,
        open_sessions=[
            (row["session"], goes_on(row))
            for row in console.server.sessions(Wanted(account=name, most=MOST_OPEN)).rows
        ],
        findings=[*found.findings][::-1][:SHOWN] if found is not None else [],
        history_on=console.settings.history.enabled,
        settings_text=_client_settings(request, name, account.email if account else ""),
    )  # fmt: skip


def _client_settings(request: Request, name: str, email: str) -> str:
    """What to type into a client; "" where that can't be said."""
    console = console_of(request)
    settings = console.settings
    listening = console.server.ask("addresses")
    if not listening.problem:
        settings = as_it_listens(settings, listening.rows)
    domain = next(iter(settings.delivery.domains), "localhost")
    address = email or (name if "@" in name else f"{name}@{domain}")
    try:
        return answer("text", settings, address, login=name)[0].decode("utf-8", "replace")
    except (ClientSettingsError, ValueError) as error:
        return str(error)


ROUTES = [Route("/explain", show)]
