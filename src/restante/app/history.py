"""The history of sessions and deliveries, as the configuration wants it."""

from __future__ import annotations

from restante.app.config.settings import Settings
from restante.observing.history import History
from restante.observing.history_writer import HistoryWriter


def make_history(settings: Settings) -> HistoryWriter | None:
    """What writes the history; None when it is switched off."""
    section = settings.history
    if not section.enabled:
        return None
    return HistoryWriter(settings.history_file, max_octets=section.max_size, days=section.days)


def read_history(settings: Settings) -> History:
    """What reads it, while servers write it or afterwards."""
    return History(settings.history_file)
