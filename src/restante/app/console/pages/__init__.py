"""The console's pages, a file for each entry of its menu."""

from __future__ import annotations

from restante.app.console.pages import (
    accounts,
    bans,
    dialogue,
    explain,
    login,
    mail_in,
    maildrop,
    overview,
    sessions,
    settings,
)

ROUTES = [
    *login.ROUTES,
    *overview.ROUTES,
    *sessions.ROUTES,
    *dialogue.ROUTES,
    *accounts.ROUTES,
    *maildrop.ROUTES,
    *mail_in.ROUTES,
    *explain.ROUTES,
    *bans.ROUTES,
    *settings.ROUTES,
]
