"""Dialogue: what clients say and are told, as it comes."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from restante.app.console.pages.sessions import SESSION_ID
from restante.app.console.pop_file import pop_file
from restante.app.console.shared import console_of, form_of
from restante.app.debug_log import Choice, normal_address, read_choice, write_choice

MAX_MINUTES = 24 * 60
SHOWN = 500
"""Lines of a page."""


def _session(request: Request) -> str:
    given = request.query_params.get("session", "")
    return given if SESSION_ID.fullmatch(given) else ""


def show(request: Request) -> Response:
    """The page."""
    console = console_of(request)
    session = _session(request)
    answer = console.server.ask(f"dialogue {session}".strip())
    lines = sorted(answer.rows, key=lambda row: row["time"])
    sessions: dict[str, dict[str, object]] = {}
    for line in lines:
        known = sessions.setdefault(line["session"], {**line, "lines": 0})
        known["lines"] = int(str(known["lines"])) + 1
        if line["account"] != "-":
            known["account"] = line["account"]
    problem = answer.problem
    try:
        choice = read_choice(console.settings.debug_log_file).at(time.time())
    except (OSError, ValueError) as error:
        choice, problem = Choice(), f"{console.settings.debug_log_file}: {error}"
    return console.page(
        request, "dialogue.html", "dialogue",
        session=session, lines=lines[-SHOWN:] if session else [],
        account_said=next((row["account"] for row in lines if row["account"] != "-"), ""),
        sessions=list(sessions.values())[::-1], choice=choice, problem=problem,
        always=console.settings.log.protocol,
        account=request.query_params.get("account", "")[:512],
        address=request.query_params.get("address", "")[:64],
    )  # fmt: skip


def on(request: Request) -> Response:
    """Log the dialogues of an account or an address for some minutes."""
    console, form = console_of(request), form_of(request)
    account, address = form.get("account", "").strip(), form.get("address", "").strip()
    minutes, to = form.get("minutes", "15").strip(), "/dialogue"
    if not (minutes.isascii() and minutes.isdigit() and 1 <= int(minutes[:6]) <= MAX_MINUTES):
        return console.refused(request, f"Minutes: allowed is 1 to {MAX_MINUTES}.", to)
    if not (account or address) or len(account) > 512:
        return console.refused(request, "Give an account or an address.", to)
    try:
        addresses = [normal_address(address)] if address else []
        path = console.settings.debug_log_file
        now = time.time()
        choice = read_choice(path).at(now)
        until = now + int(minutes) * 60
        accounts = [account] if account else []
        write_choice(
            path, choice.with_on(until, everything=False, accounts=accounts, addresses=addresses)
        )
    except (OSError, ValueError) as error:
        return console.refused(request, str(error), to)
    what = " and ".join([*(f"account {each}" for each in accounts), *addresses])
    return console.done(request, f"switched the debug log on for {what!r}, {minutes} minutes", to)


def off(request: Request) -> Response:
    """Log these no more."""
    console, form = console_of(request), form_of(request)
    account, address = form.get("account", ""), form.get("address", "")
    path = console.settings.debug_log_file
    try:
        choice = read_choice(path).at(time.time())
        accounts, addresses = [account] if account else [], [address] if address else []
        write_choice(
            path, choice.with_off(everything=False, accounts=accounts, addresses=addresses)
        )
    except (OSError, ValueError) as error:
        return console.refused(request, str(error), "/dialogue")
    what = account or address
    return console.done(request, f"switched the debug log off for {what!r}", "/dialogue")


def save(request: Request) -> Response:
    """A dialogue as a file that the tests play."""
    session = _session(request)
    rows = console_of(request).server.ask(f"dialogue {session}").rows if session else []
    name = f"{session or 'dialogue'}.pop".replace(":", "-")
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(
        pop_file(session, rows), media_type="text/plain; charset=utf-8", headers=headers
    )


ROUTES = [
    Route("/dialogue", show),
    Route("/dialogue/save", save),
    Route("/dialogue/on", on, methods=["POST"]),
    Route("/dialogue/off", off, methods=["POST"]),
]
