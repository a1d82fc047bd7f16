"""The history of sessions and deliveries, as the configuration wants it."""

from __future__ import annotations

from datetime import datetime

from restante.app.config.problem import KeyMistake
from restante.app.config.settings import Settings
from restante.app.errors import NoAnswer, NoServer
from restante.app.processes.admin_client import Row, Wanted, ask
from restante.observing.history import History
from restante.observing.history_file import HistoryFile
from restante.observing.history_place import HistoryError, HistoryPlace
from restante.observing.history_writer import HistoryWriter

FLUSH_SECONDS = 2.0
"""How long a server may take to write what it has noted, when somebody wants to read it."""


def make_history(settings: Settings) -> HistoryWriter | None:
    """What writes the history; None when it is switched off."""
    section = settings.history
    if not section.enabled:
        return None
    return HistoryWriter(_place(settings), max_octets=section.max_size, days=section.days)


def read_history(settings: Settings) -> History:
    """What reads it, while servers write it or afterwards. It must be closed.

    Raises HistoryError for what can't be.
    """
    try:
        return History(_place(settings))
    except ValueError as error:
        raise HistoryError(str(error)) from None


def _place(settings: Settings) -> HistoryPlace:
    """Where the history is. Raises ValueError for what can't be, HistoryError for no library."""
    if settings.history_file is not None:
        return HistoryFile(settings.history_file)
    from restante.observing.history_postgres import PostgresHistory  # noqa: PLC0415 - an extra

    section = settings.store.postgres
    if not section.dsn.text:
        raise KeyMistake("store.postgres.dsn", "is missing")
    return PostgresHistory(
        section.dsn.text,
        password=None if section.password is None else section.password.text,
        schema=section.schema,
        timeout=section.timeout,
        node=section.node or None,
    )


def flush_history(settings: Settings) -> str:
    """Have a running server write what it has noted so far, a second or two at most.

    Gives a sentence that says what may be missing; "" if nothing is, or no server runs.
    """
    if not settings.history.enabled:
        return ""
    missing = "What happened in the last seconds may be missing"
    try:
        *rows, end = ask(settings.admin_socket, "flush", seconds=2 * FLUSH_SECONDS)
    except NoServer:
        return ""
    except NoAnswer as error:
        return f"{missing}: the server doesn't answer ({error})."
    if end.get("silent") or not all(row["written"] for row in rows):
        return f"{missing}: the server hasn't written it into the history yet."
    return ""


def open_sessions(settings: Settings, account: str) -> list[str]:
    """What the history can't have yet: a sentence for each session of an account that goes on."""
    try:
        rows = [*ask(settings.admin_socket, Wanted(account=account).question())]
    except NoAnswer:
        return []
    return [f"{goes_on(row)} session={row['session']}" for row in rows if "session" in row]


def goes_on(row: Row) -> str:
    """A sentence for a session that goes on."""
    since = datetime.fromtimestamp(row["since"]).astimezone()
    return (
        f"A session from {row['peer'] or 'unix'} goes on since {since:%Y-%m-%d %H:%M:%S}, with"
        f" {row['retrieved']} of {row['messages']} messages fetched so far; it is noted when it"
        " ends."
    )
