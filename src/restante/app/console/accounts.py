"""The accounts that the configuration names, for the console's pages: open as long as it runs."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from restante.accounts.chain import Chain
from restante.accounts.contract import Account, AccountError, AccountStore
from restante.app.accounts import make_accounts
from restante.app.config.settings import Settings
from restante.app.console.paging import Page
from restante.app.console.waiting import Waiting
from restante.delivery.recipients import Recipients, Refusal

LISTED = ("static", "sqlite", "database", "passwd-file")
"""The kinds of accounts that can be listed."""

MAX_NAME = 512


class NotThere(Exception):
    """There is no such account, message or page; the text says which."""


class Accounts:
    """The accounts. Its methods wait for files and databases: they are called on threads.

    They raise AccountError.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._store: AccountStore | None = None
        self._making = threading.Lock()
        self._waiting = Waiting()

    def close(self) -> None:
        """Close what is open. The next use opens it again."""
        with self._making:
            store, self._store = self._store, None
        if store is not None:
            self._waiting.close(store.aclose)

    def find(self, name: str) -> Account:
        """The account of that name. Raises NotThere."""
        found: Account | None = None
        if 0 < len(name) <= MAX_NAME:
            found = self._waiting.result(self._opened().lookup(name))
        if found is None:
            raise NotThere(f"There is no account {name!r}.")
        return found

    def by_address(self, address: str) -> Account | None:
        """The account that has this address; None: none has."""
        if not ("@" in address and len(address) <= MAX_NAME):
            return None
        found: Account | None = self._waiting.result(self._opened().lookup_address(address))
        return found

    def recipient(self, address: str) -> Account:
        """The account that gets the mail for an address, as deliveries find it. Raises NotThere."""
        settings = self._settings.delivery
        recipients = Recipients(
            self._opened(),
            domains=settings.domains,
            catch_all=settings.catch_all,
            separator=settings.separator,
        )
        found: Account | Refusal = self._waiting.result(recipients.find(address))
        if isinstance(found, Refusal):
            raise NotThere(f"No account gets the mail for {address!r} any more.")
        return found

    def page(self, text: str, number: int, size: int) -> tuple[Page, str]:
        """A page of the accounts that have `text` in name or address; and what isn't in it, or "".

        They come as logins ask for them: all of one kind, by name, then those of the next. No more
        accounts are read than a page has, where a kind can do that.
        """
        kinds = self._settings.accounts.kinds
        others = [kind for kind in kinds if kind not in LISTED]
        problem = (
            f"Accounts of kind {', '.join(others)} can't be listed from here." if others else ""
        )
        stores = [store for kind, store in zip(kinds, self._each(), strict=True) if kind in LISTED]
        found, total = _searched(stores, text, (number - 1) * size, size)
        if total and not found:  # beyond the last page
            found, total = _searched(stores, text, (total - 1) // size * size, size)
        return Page.at(found, total, number, size), problem

    def _each(self) -> Sequence[AccountStore]:
        store = self._opened()
        return store.stores if isinstance(store, Chain) else [store]

    def _opened(self) -> AccountStore:
        with self._making:
            if self._store is None:
                try:
                    self._store = make_accounts(self._settings)
                except ValueError as error:
                    raise AccountError(str(error)) from error
            return self._store


def _searched(
    stores: Sequence[AccountStore], text: str, first: int, most: int
) -> tuple[list[Account], int]:
    """See `AccountStore.search`; those of one store come after those of the one before."""
    found: list[Account] = []
    total = 0
    for store in stores:
        some, number = store.search(text, max(0, first - total), most - len(found))
        found += some
        total += number
    return found, total
