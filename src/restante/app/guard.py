"""The guard as the configuration wants it."""

from __future__ import annotations

from restante.app.config.problem import KeyMistake
from restante.app.config.settings import Settings
from restante.guard.ban_store import BanStore
from restante.guard.guard import Guard
from restante.guard.sqlite_bans import SqliteBanStore


def make_guard(settings: Settings, *, key: bytes | None = None, writer: int | None = None) -> Guard:
    """The guard, with its ban store. key, writer: the same in all worker processes; see there.

    Raises ValueError for what can't be, BanStoreError when a library is missing.
    """
    return Guard(settings.guard, _make_ban_store(settings, writer), key=key)


def _make_ban_store(settings: Settings, writer: int | None) -> BanStore:
    if settings.bans_file is not None:
        return SqliteBanStore(settings.bans_file, writer)
    from restante.guard.postgres_bans import PostgresBanStore  # noqa: PLC0415 - an extra

    section = settings.store.postgres
    if not section.dsn.text:
        raise KeyMistake("store.postgres.dsn", "is missing")
    return PostgresBanStore(
        section.dsn.text,
        password=None if section.password is None else section.password.text,
        schema=section.schema,
        timeout=section.timeout,
        writer=writer,
    )
