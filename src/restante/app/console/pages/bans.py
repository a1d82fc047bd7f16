"""Bans: who is turned away or slowed down."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from restante.app.cli.bans import MAX_REASON, parse_duration
from restante.app.console.paging import Page, page_number
from restante.app.console.shared import Console, console_of, form_of
from restante.app.files import make_private_folder
from restante.app.guard import make_guard
from restante.guard.ban_store import BanStoreError
from restante.guard.guard import Guard
from restante.networks import parse_network, shown

PAGE = 100


@contextmanager
def _guard(console: Console) -> Iterator[Guard]:
    """The guard as the ban store has it; what is changed is written. Raises BanStoreError."""
    if console.settings.bans_file is not None:
        make_private_folder(console.settings.bans_file.parent)
    guard = make_guard(console.settings)
    try:
        guard.exchange()
        yield guard
        guard.exchange()
    finally:
        guard.close()


def show(request: Request) -> Response:
    """The page."""
    console = console_of(request)
    bans, throttled, problem = [], [], ""
    try:
        with _guard(console) as guard:
            bans, throttled = guard.bans(), guard.throttled()
    except (BanStoreError, OSError) as error:
        problem = f"The ban store can't be read: {error}"
    bans.sort(key=lambda ban: ban.since, reverse=True)
    throttled.sort(key=lambda each: each.failures, reverse=True)
    return console.page(
        request, "bans.html", "bans",
        page=Page.of(bans, page_number(request), PAGE), throttled=throttled[:PAGE],
        hidden=max(0, len(throttled) - PAGE), problem=problem,
    )  # fmt: skip


def add(request: Request) -> Response:
    """Ban an address or a network."""
    console, form = console_of(request), form_of(request)
    text, length = form.get("network", "").strip(), form.get("for", "").strip()
    reason = form.get("reason", "").strip()
    try:
        network = shown(parse_network(text))
        seconds = parse_duration(length) if length else None
        if len(reason) > MAX_REASON:
            raise ValueError(f"The reason: at most {MAX_REASON} characters.")
        with _guard(console) as guard:
            guard.ban(network, seconds, reason)
    except (BanStoreError, ValueError, OSError) as error:
        return console.refused(request, str(error), "/bans")
    return console.done(request, f"banned {network} {'for ' + length if length else 'for good'}",
                        "/bans")  # fmt: skip


def lift(request: Request) -> Response:
    """Take a ban back."""
    console, text = console_of(request), form_of(request).get("network", "")
    try:
        network = shown(parse_network(text))
        with _guard(console) as guard:
            lifted = guard.unban(network)
    except (BanStoreError, ValueError, OSError) as error:
        return console.refused(request, str(error), "/bans")
    if not lifted:
        return console.refused(request, f"{network} isn't banned any more.", "/bans")
    return console.done(request, f"lifted the ban of {network}", "/bans")


ROUTES = [
    Route("/bans", show),
    Route("/bans/add", add, methods=["POST"]),
    Route("/bans/lift", lift, methods=["POST"]),
]
