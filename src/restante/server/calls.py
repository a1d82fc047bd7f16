"""Calls into accounts and stores: awaited, on a thread, or in place, as each of them wants."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

from restante.accounts.contract import Account, AccountStore, KnowsSchemes
from restante.calls import OnThread
from restante.contained import contained
from restante.server.events import is_async
from restante.threads import WorkerThreads


async def call_on(threads: WorkerThreads | None, function: Callable[..., Any], *args: Any) -> Any:
    """Call `function`: awaited if it is async, else on one of `threads`; without them, in place."""
    with contained:
        if is_async(function) or threads is None:
            result = function(*args)
            if isinstance(result, OnThread):
                result = await asyncio.to_thread(result)
        else:
            result = await threads.run(OnThread(function, *args))
        return await result if inspect.isawaitable(result) else result


class Calls:
    """How one server reaches its accounts and its store.

    workers: for plain methods of the accounts. storage: for those of the store and of what
    it opens. Neither is used for one that says `blocking = False`.
    """

    def __init__(
        self, accounts: AccountStore, store: object, workers: WorkerThreads, storage: WorkerThreads
    ) -> None:
        self._accounts = accounts
        self._workers = workers
        self._for_accounts = workers if getattr(accounts, "blocking", True) else None
        self._for_store = storage if getattr(store, "blocking", True) else None

    async def store(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a method of the store or of what it opened."""
        return await call_on(self._for_store, function, *args)

    async def lookup(self, name: str) -> Account | None:
        """The account of that name. Raises AccountError when the store can't tell."""
        account = await call_on(self._for_accounts, self._accounts.lookup, name)
        return account if isinstance(account, Account) else None

    async def held_schemes(self) -> frozenset[str]:
        """The schemes of credentials that accounts hold. Raises AccountError."""
        if not isinstance(self._accounts, KnowsSchemes):
            return frozenset()
        held: frozenset[str] = await call_on(self._for_accounts, self._accounts.held_schemes)
        return held

    async def on_worker(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call somebody's function: awaited if it is async, else on a worker thread."""
        return await call_on(self._workers, function, *args)
