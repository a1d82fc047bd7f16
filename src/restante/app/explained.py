"""The explanation of an account as the configuration has it: for the command and the console."""

from __future__ import annotations

from collections.abc import Callable

from restante.accounts.contract import Account
from restante.accounts.names import domain_key, name_key
from restante.app.config.settings import Settings
from restante.app.maildrops import make_store
from restante.delivery.recipients import split_address
from restante.observing.explanation import Explanation, explain
from restante.observing.history import History
from restante.stores.contract import StoreError
from restante.stores.maildir.pins import read_pins
from restante.stores.maildir.store import Maildir


def explained(
    settings: Settings, history: History, name: str, email: str, *, since: float | None = None
) -> Explanation:
    """The explanation of an account. email: its address, or "". Raises HistoryError."""
    return explain(
        history,
        name,
        since=since,
        pins=_pins_of(settings, history.maildrop(name)),
        is_for=_mail_of(settings, name, email),
        files=settings.store.kind == "maildir",
    )


def _mail_of(settings: Settings, name: str, email: str) -> Callable[[str], bool]:
    """Whether an account is likely to get the mail for an address, by its name and its own."""
    separator = settings.delivery.separator
    domains = {domain_key(each) for each in settings.delivery.domains}
    own = {name_key(each) for each in (name, email) if each}

    def is_for(address: str) -> bool:
        local, domain = split_address(address) or ("", "")
        if domains and domain and domain_key(domain) not in domains:
            return False
        base = local.partition(separator)[0] if separator else local
        return any(
            name_key(each) in own or (domain != "" and name_key(f"{each}@{domain}") in own)
            for each in (local, base)
            if each
        )

    return is_for


def _pins_of(settings: Settings, maildrop: str) -> dict[str, str] | None:
    """Unique-ids that are pinned in a Maildir, by key; None if they can't be read."""
    try:
        store = make_store(settings)
        if isinstance(store, Maildir):
            return read_pins(str(store.folder(Account(maildrop))))
    except (StoreError, OSError, ValueError):
        pass
    return None
