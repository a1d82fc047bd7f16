"""`restante explain`: what an account's clients did, and what happened to its messages."""

from __future__ import annotations

import json
import time
from typing import Annotated

from restante.accounts.contract import AccountError
from restante.app.accounts import find_account
from restante.app.cli.bans import parse_duration
from restante.app.cli.command_line import Argument, Exit, Option, UsageError
from restante.app.cli.options import (
    FAILED,
    ConfigOption,
    DataOption,
    SetOption,
    complain,
    load_for,
)
from restante.app.config.settings import Settings
from restante.app.explained import explained
from restante.app.history import flush_history, open_sessions, read_history
from restante.app.logs import one_line
from restante.observing.history import History
from restante.observing.history_place import HistoryError


def explain(
    *,
    account: Annotated[str, Argument(help="The account's name, or its e-mail address.")],
    since: Annotated[
        str | None, Option(help="How far back, such as 90m, 12h, 7d.  [all there is]")
    ] = None,
    as_json: Annotated[bool, Option("--json", help="As one JSON object.")] = False,
    config: ConfigOption = None,
    data: DataOption = None,
    sets: SetOption = None,
) -> None:
    """Say what an account's clients did, and what happened to its messages.

    Which unique-ids changed or vanished, and why; what each client left, deleted, and fetched
    again. Below each sentence are the lines that prove it. The history is in the data folder,
    whether the server runs or not; one that runs writes first what it knows. Sessions that go on
    are told on standard error.
    """
    try:
        begin = None if since is None else time.time() - parse_duration(since)
    except ValueError as error:
        raise UsageError(f"--since {error}") from None
    settings = load_for(config, data, sets).settings
    behind = flush_history(settings)
    try:
        with read_history(settings) as history:
            name, email = _known(settings, history, account)
            found = explained(settings, history, name, email, since=begin)
    except HistoryError as error:
        complain(str(error))
        raise Exit(FAILED) from None
    if as_json:
        print(json.dumps(found.as_json(), indent=2))
    else:
        print("\n".join(one_line(line) for line in found.text().splitlines()))
    for each in [behind, *open_sessions(settings, name)]:
        if each:
            complain(one_line(each[:1].lower() + each[1:]))
    if not settings.history.enabled:
        complain("history.enabled = false: nothing more is noted")


def _known(settings: Settings, history: History, name: str) -> tuple[str, str]:
    """An account's name as its store has it, and its address or "". Exits when there is none."""
    has_sessions = bool(history.sessions(account=name, limit=1))
    try:
        found = find_account(settings, name)
        if found is None and not has_sessions and "@" in name:
            found = find_account(settings, name, by_address=True)
    except (AccountError, ImportError, OSError, ValueError):
        if not has_sessions:
            raise
        found = None  # the history knows it
    if found is not None:
        return found.name, found.email
    if has_sessions:
        return name, ""
    complain(f"there is no account {name!r}, and no session of it in the history")
    raise Exit(FAILED)
