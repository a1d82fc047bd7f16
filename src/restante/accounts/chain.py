"""Several stores of accounts as one: the first that knows a name answers for it.

A store that can't answer ends the look-up: otherwise somebody's account of the same name in a
later store would let in whom the first one wouldn't. For the same reason a disabled account
is an answer. A store that has an account for every name (PAM, for example) belongs at the end.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

from restante.accounts.contract import Account, AccountStore, Done, Found
from restante.accounts.names import name_key
from restante.accounts.schemes import slowest
from restante.calls import OnThread, finished, is_async

T = TypeVar("T")

_Call: TypeAlias = tuple[AccountStore, Callable[..., Any], tuple[object, ...]]
"""A store, a method of it, and what the method is called with."""

_Plan: TypeAlias = Generator[_Call, Any, T]
"""Yields calls of stores, and is sent what they give."""


class Chain(AccountStore):
    """The stores as one, asked in this order. Raises ValueError for no stores.

    Stores that don't block are asked on the event loop, the others on a thread; async ones
    are awaited.
    """

    blocking = False

    def __init__(self, stores: Sequence[AccountStore]) -> None:
        if not stores:
            raise ValueError("a chain needs a store of accounts")
        self.stores = tuple(stores)
        self.upgrades = any(store.upgrades for store in stores)
        self.has_rows = type(self).lookup is Chain.lookup and self.stores[0].has_rows

    def lookup(self, name: str) -> Found:
        """The account of the first store that knows `name`."""
        return _in_place(self._lookup(name))

    def lookup_address(self, address: str) -> Found:
        """The account of the first store that knows `address`."""
        return _in_place(self._lookup_address(address))

    def held_schemes(self) -> frozenset[str] | OnThread[Any] | Awaitable[frozenset[str]]:
        """The schemes that accounts of any store hold."""
        return _in_place(self._held_schemes())

    def slowest_scheme(self) -> str | None:
        """The scheme that takes longest of those that accounts hold; None: all are quick."""
        held = [store.slowest_scheme() for store in self.stores]
        return slowest(scheme for scheme in held if scheme is not None)

    def name_key(self, name: str) -> str:
        """The same for names that log in to the same account of some store."""
        key = name_key(name)
        for store in self.stores:
            key = store.name_key(key)
        return key

    def check_decoy(self, name: str, password: str) -> Done:
        """Take as long as the stores would that check passwords elsewhere."""
        return _in_place(self._check_decoy(name, password))

    def replace_credential(self, name: str, old: str, new: str) -> Done:
        """In the store that answers for `name`."""
        return _in_place(self._replace_credential(name, old, new))

    def record_use(self, name: str, app_password: str) -> Done:
        """In the store that answers for `name`."""
        return _in_place(self._record_use(name, app_password))

    def list(self) -> Sequence[Account]:
        """The accounts of all stores. Raises AccountError where one can't list its own."""
        return [account for store in self.stores for account in store.list()]

    async def aclose(self) -> None:
        """Close the stores, all of them even if one can't be. Harmless when repeated."""
        errors = []
        for store in self.stores:
            try:
                await store.aclose()
            except Exception as error:  # noqa: BLE001 - raised in the end
                errors.append(error)
        if errors:
            raise errors[0]

    def _lookup(self, name: str) -> _Plan[Account | None]:
        account, _ = yield from self._find(name)
        return account

    def _find(self, name: str) -> _Plan[tuple[Account | None, AccountStore | None]]:
        for store in self.stores:
            account = yield store, store.lookup, (name,)
            if account is not None:
                upgradable = account.upgradable and store.upgrades
                # Its row doesn't tell whether a store before this one knows the name by now.
                row = account.row if store is self.stores[0] else None
                if upgradable != account.upgradable or row is not account.row:
                    account = replace(account, upgradable=upgradable, row=row)
                return account, store
        return None, None

    def _lookup_address(self, address: str) -> _Plan[Account | None]:
        for store in self.stores:
            account: Account | None = yield store, store.lookup_address, (address,)
            if account is not None:
                return account
        return None

    def _held_schemes(self) -> _Plan[frozenset[str]]:
        held: frozenset[str] = frozenset()
        for store in self.stores:
            held |= yield store, store.held_schemes, ()
        return held

    def _check_decoy(self, name: str, password: str) -> _Plan[None]:
        for store in self.stores:
            yield store, store.check_decoy, (name, password)

    def _replace_credential(self, name: str, old: str, new: str) -> _Plan[None]:
        _, store = yield from self._find(name)
        if store is not None and store.upgrades:
            yield store, store.replace_credential, (name, old, new)

    def _record_use(self, name: str, app_password: str) -> _Plan[None]:
        _, store = yield from self._find(name)
        if store is not None:
            yield store, store.record_use, (name, app_password)


def _waits(call: _Call) -> bool:
    store, function, _ = call
    return store.blocking and not is_async(function)


def _in_place(plan: _Plan[T]) -> T | OnThread[Any] | Awaitable[T]:
    """Run a plan as far as nothing waits. What a store raises goes straight to the caller."""
    result: Any = None
    while True:
        try:
            call = plan.send(result)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        _, function, arguments = call
        if _waits(call):
            return OnThread(_on_thread, plan, OnThread(function, *arguments))
        result = function(*arguments)
        if isinstance(result, OnThread):
            return OnThread(_on_thread, plan, result)
        if inspect.isawaitable(result):
            return _on_loop(plan, result)


def _on_thread(plan: _Plan[T], result: Any) -> T | Awaitable[T]:
    """Run the rest of a plan on this thread, until something has to be awaited."""
    while not inspect.isawaitable(result):
        try:
            _, function, arguments = plan.send(finished(result))
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        result = function(*arguments)
    return _on_loop(plan, result)


async def _on_loop(plan: _Plan[T], result: Any) -> T:
    """Run the rest of a plan on the event loop; what may block runs on a thread."""
    while True:
        if isinstance(result, OnThread):
            result = await asyncio.to_thread(result)
        if inspect.isawaitable(result):
            result = await result
        try:
            call = plan.send(result)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        _, function, arguments = call
        result = OnThread(function, *arguments) if _waits(call) else function(*arguments)
