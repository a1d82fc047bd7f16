"""Overview: is it well, and what needs somebody's attention?"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from restante.accounts.contract import AccountError
from restante.app.console import charts, words
from restante.app.console.accounts import NotThere
from restante.app.console.live import Sample
from restante.app.console.looks import StillLooking
from restante.app.console.shared import Console, console_of
from restante.app.health import NOBODY
from restante.app.history import read_history
from restante.app.maildrops import folder_of_mail
from restante.app.tls import certificates
from restante.observing.history import Rates
from restante.observing.history_place import HistoryError
from restante.stores.contract import StoreError

EXPIRES_SOON = 21
"""Days of a certificate that are left when somebody should look after it."""

MIN_FREE = 0.05
"""The part of the disk that should be free."""

ERRORS_SECONDS = 1.0
REFUSALS = 10
BUSIEST = 5
HOUR = 3600.0
MINUTES = 60


@dataclass(frozen=True, slots=True)
class Attention:
    """Something that somebody should look at. serious: mail is concerned. todo: what helps."""

    text: str
    todo: str
    serious: bool = False


def show(request: Request) -> Response:
    """The page."""
    console = console_of(request)
    status = console.server.ask("status")
    listening = console.server.ask("addresses")
    found: list[Attention] = []
    if status.problem:
        found.append(Attention(status.problem, "See the log, and `restante status`.", serious=True))
    sessions = sum(int(row["sessions"]) for row in status.rows)
    days = _days_left(console)
    found += [*_storage(console), *_accounts(console), *_store_errors(console)]
    found += [*_workers(status.rows), *_certificate(days), *_disk(console), *_spool(console)]
    found += [
        Attention(str(problem), "See Settings.", not problem.warning)
        for problem in console.problems()
    ]
    drawn = [_open_sessions(console.server.samples, sessions)]
    busiest: list[Any] = []
    refusals: list[Any] = []
    history_problem = ""
    nothing_yet = False
    try:
        with read_history(console.settings) as history:
            rates = history.rates(MINUTES)
            drawn += _charts(rates)
            busiest = history.busiest(time.time() - HOUR, limit=BUSIEST)
            refusals = history.refusals(since=time.time() - HOUR, limit=REFUSALS)
        up = max((row["uptime"] for row in status.rows), default=HOUR)
        nothing_yet = up < HOUR and not any(map(any, rates.counts.values()))
    except HistoryError as error:
        history_problem = str(error)
    return console.page(
        request,
        "overview.html",
        "overview",
        workers=status.rows,
        sessions=sessions,
        listening=listening.rows,
        attention=found,
        days=days,
        charts=drawn,
        busiest=busiest,
        refusals=refusals,
        history_on=console.settings.history.enabled,
        history_problem=history_problem,
        nothing_yet=nothing_yet and console.settings.history.enabled,
    )


def _open_sessions(samples: Iterable[Sample], open_now: int) -> charts.Chart:
    """The most of each minute, as this process has seen it."""
    now = int(time.time() // 60)
    most = [0.0] * MINUTES
    for sample in [*samples, Sample(time.time(), open_now)]:
        at = MINUTES - 1 - (now - int(sample.at // 60))
        if 0 <= at < MINUTES:
            most[at] = max(most[at], float(sample.sessions))
    since = 60.0 * (now - MINUTES + 1)
    return charts.bars("Open sessions", most, since, value=charts.shown(open_now))


def _charts(rates: Rates) -> list[charts.Chart]:
    """From the history: a number for each minute. The last one isn't over."""
    counts = rates.counts
    ended, seconds = counts["sessions"], counts["seconds"]
    took = [s / n if n else 0.0 for s, n in zip(seconds, ended, strict=True)]
    mean = sum(seconds) / sum(ended) if sum(ended) else 0.0
    refused = [
        a + b + c
        for a, b, c in zip(
            counts["logins refused"], counts["refused"], counts["not delivered"], strict=True
        )
    ]
    since = rates.minutes[0]

    def summed(title: str, numbers: Sequence[float], *, bad: bool = False) -> charts.Chart:
        value = charts.shown(sum(numbers))
        return charts.bars(title, numbers, since, value=value, per=" a minute", bad=bad)

    times, unit = (1, " s") if max(took) >= 10 else (1000, " ms")

    return [
        summed("Sessions", ended),
        charts.bars(
            "A session's time",
            [times * each for each in took],
            since,
            value=charts.shown(times * mean),
            unit=unit,
        ),
        summed("Messages fetched", counts["retrieved"]),
        summed("Mail taken in", counts["delivered"]),
        summed("Refused", refused, bad=True),
    ]


def _workers(rows: list[dict[str, Any]]) -> list[Attention]:
    found = []
    for row in rows:
        if row["state"] == "stuck":
            text = f"Process {row['pid']} hasn't answered for half a minute."
            found.append(Attention(text, "Look at its load; kill -9 has it replaced.", True))
        elif row["restarts"]:
            text = (
                f"Process {row['pid']} took the place of one that died ({row['restarts']} times)."
            )
            found.append(Attention(text, "The log says how it died."))
    return found


def _storage(console: Console) -> list[Attention]:
    todo = "Clients and senders are told to try again until it works; the log says more."
    try:
        console.maildrops.check()
    except StillLooking:
        return [Attention("The storage takes long to answer.", todo)]
    except (StoreError, OSError) as error:
        return [Attention(f"The storage doesn't work: {error}", todo, serious=True)]
    return []


def _accounts(console: Console) -> list[Attention]:
    try:
        console.accounts.find(NOBODY)
    except NotThere:
        pass
    except AccountError as error:
        todo = "Nobody can log in until they answer."
        return [Attention(f"The accounts can't be asked: {error}", todo, serious=True)]
    return []


WHAT_FAILED = {
    "open": "Opening a maildrop",
    "fetch": "Fetching a message",
    "commit": "Removing messages at QUIT",
    "deliver": "Delivering a message",
    "check": "Looking whether the storage works",
    "collect": "Collecting what was removed",
}


def _store_errors(console: Console) -> list[Attention]:
    """What the processes say of failures of the store in the last hour."""
    found: dict[str, list[Any]] = {}
    # A worker that is stuck doesn't answer, and that is told without waiting for it.
    for row in console.server.ask("errors", seconds=ERRORS_SECONDS).rows:
        if row["at"] > time.time() - HOUR:
            found.setdefault(row["call"], []).append(row)
    attention = []
    for call, rows in found.items():
        last = max(rows, key=lambda row: row["at"])
        times = sum(row["times"] for row in rows)
        text = (
            f"{WHAT_FAILED.get(call, call)} failed, {words.count(times, 'time')} since the start,"
            f" last at {words.clock(last['at'])}: {last['text']}"
        )
        todo = "The log has the errors; this goes when there was none for an hour."
        attention.append(Attention(text, todo))
    return attention


def _days_left(console: Console) -> int | None:
    """Days until the first certificate expires; None: there is none, or it can't be read."""
    try:
        from cryptography import x509  # noqa: PLC0415 - an extra
    except ImportError:
        return None
    default, by_name = certificates(console.settings)
    days = []
    for each in (default, *by_name.values()):
        if each is None:
            continue
        try:
            found = x509.load_pem_x509_certificate(Path(each.chain).read_bytes())
        except (OSError, ValueError):
            continue
        days.append((found.not_valid_after_utc - datetime.now(UTC)).days)
    return min(days, default=None)


def _certificate(days: int | None) -> list[Attention]:
    if days is None or days > EXPIRES_SOON:
        return []
    text = (
        "The certificate has expired." if days < 0 else f"The certificate expires in {days} days."
    )
    return [Attention(text, "Renew it; the server takes it by itself.", serious=days < 3)]


def _disk(console: Console) -> list[Attention]:
    folder = folder_of_mail(console.settings)
    if folder is None:
        return []
    try:
        usage = shutil.disk_usage(folder)
    except OSError as error:
        return [
            Attention(f"The folder with the mail can't be read: {error}", "See Settings.", True)
        ]
    if usage.free >= usage.total * MIN_FREE:
        return []
    text = f"The disk with the mail is {100 * usage.used // usage.total} % full."
    return [Attention(text, "Make room: mail can't be taken in on a full disk.", True)]


def _spool(console: Console) -> list[Attention]:
    folder = console.settings.spool_folder
    try:
        number = sum(1 for each in folder.iterdir() if each.is_file())
    except OSError:
        return []
    if not number:
        return []
    text = f"{number} copies of messages couldn't be delivered and lie in {folder}."
    return [Attention(text, "Deliver them by `restante deliver`, then remove them.", True)]


ROUTES = [Route("/", show)]
