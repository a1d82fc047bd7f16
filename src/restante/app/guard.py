"""The guard as the configuration wants it."""

from __future__ import annotations

from restante.app.config.settings import Settings
from restante.guard.ban_store import BanStore
from restante.guard.guard import Guard


def make_guard(settings: Settings, *, key: bytes | None = None, writer: int | None = None) -> Guard:
    """The guard, with its book. key, writer: the same in all worker processes; see there."""
    return Guard(settings.guard, BanStore(settings.bans_file, writer), key=key)
