"""Several stores of accounts as one: the first that knows a name answers for it.

A store that can't answer ends the look-up: otherwise somebody's account of the same name in a
later store would let in whom the first one wouldn't. For the same reason a disabled account
is an answer. A store that has an account for every name (PAM, for example) belongs at the end.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

from restante.accounts.contract import (
    Account,
    AccountStore,
    Addressable,
    ChecksElsewhere,
    Closes,
    KnowsAliases,
    KnowsHashing,
    KnowsSchemes,
    RecordsUse,
    UpgradesCredentials,
)
from restante.accounts.names import fold
from restante.accounts.schemes import default_scheme, slowest

T = TypeVar("T")

_Call: TypeAlias = tuple[bool, Callable[..., Any], tuple[object, ...]]
"""Whether it may wait, what is to be called, and with what."""

_Plan: TypeAlias = Generator[_Call, Any, T]
"""What is to be done: it yields calls into stores, and is sent what they give."""

_METHODS = ("lookup", "lookup_address", "held_schemes", "replace_credential", "record_use")


def make_chain(stores: Sequence[AccountStore]) -> Chain | AsyncChain:
    """The stores as one, asked in this order.

    An `AsyncChain` if any of them is async; otherwise a `Chain`, which is blocking if any of
    them is. Raises ValueError for no stores.
    """
    if any(_is_async(getattr(store, name, None)) for store in stores for name in _METHODS):
        return AsyncChain(stores)
    return Chain(stores)


class _Stores:
    """What both kinds of chain have in common."""

    def __init__(self, stores: Sequence[AccountStore]) -> None:
        if not stores:
            raise ValueError("a chain needs a store of accounts")
        self.stores = tuple(stores)

    def slowest_scheme(self) -> str | None:
        """The scheme of the slowest kind that accounts hold; None when all are quick."""
        held = [
            store.slowest_scheme() if isinstance(store, KnowsHashing) else default_scheme()
            for store in self.stores
        ]
        return slowest(scheme for scheme in held if scheme is not None)

    def name_key(self, name: str) -> str:
        """The same for names that log in to the same account of some store."""
        key = fold(name)
        for store in self.stores:
            if isinstance(store, KnowsAliases):
                key = store.name_key(key)
        return key

    async def check_decoy(self, name: str, password: str) -> None:
        """Take as long as the stores would that check passwords elsewhere."""
        for store in self.stores:
            if isinstance(store, ChecksElsewhere):
                await store.check_decoy(name, password)

    async def aclose(self) -> None:
        """Close the stores, all of them even if one can't be. Harmless when repeated."""
        errors = []
        for store in self.stores:
            if isinstance(store, Closes):
                try:
                    await store.aclose()
                except Exception as error:  # noqa: BLE001 - raised in the end
                    errors.append(error)
        if errors:
            raise errors[0]

    def _lookup(self, name: str) -> _Plan[tuple[Account, AccountStore] | None]:
        for store in self.stores:
            account = yield _blocks(store), store.lookup, (name,)
            if account is not None:
                if not isinstance(store, UpgradesCredentials):
                    account = replace(account, upgradable=False)
                return account, store
        return None

    def _lookup_address(self, address: str) -> _Plan[Account | None]:
        for store in self.stores:
            if isinstance(store, Addressable):
                account: Account | None = yield _blocks(store), store.lookup_address, (address,)
                if account is not None:
                    return account
        return None

    def _held_schemes(self) -> _Plan[frozenset[str]]:
        held: frozenset[str] = frozenset()
        for store in self.stores:
            if isinstance(store, KnowsSchemes):
                held |= yield _blocks(store), store.held_schemes, ()
        return held

    def _replace_credential(self, name: str, old: str, new: str) -> _Plan[None]:
        found = yield from self._lookup(name)
        if found is not None and isinstance(found[1], UpgradesCredentials):
            yield True, found[1].replace_credential, (name, old, new)

    def _record_use(self, name: str, app_password: str) -> _Plan[None]:
        found = yield from self._lookup(name)
        if found is not None and isinstance(found[1], RecordsUse):
            yield True, found[1].record_use, (name, app_password)


class Chain(_Stores):
    """Stores whose methods are all plain, as one. `make_chain` tells which kind is needed."""

    def __init__(self, stores: Sequence[AccountStore]) -> None:
        super().__init__(stores)
        self.blocking = any(map(_blocks, stores))
        """Whether a method may wait: it may as soon as one store's may."""

    def lookup(self, name: str) -> Account | None:
        """The account of the first store that knows `name`. Raises AccountError."""
        found = _run(self._lookup(name))
        return found[0] if found else None

    def lookup_address(self, address: str) -> Account | None:
        """The account of the first store that knows `address`. Raises AccountError."""
        return _run(self._lookup_address(address))

    def held_schemes(self) -> frozenset[str]:
        """The schemes that accounts of any store hold. Raises AccountError."""
        return _run(self._held_schemes())

    def replace_credential(self, name: str, old: str, new: str) -> None:
        """In the store that answers for `name`, if it can."""
        _run(self._replace_credential(name, old, new))

    def record_use(self, name: str, app_password: str) -> None:
        """In the store that answers for `name`, if it can."""
        _run(self._record_use(name, app_password))


class AsyncChain(_Stores):
    """Stores of which some are async, as one. Plain ones that wait are called on threads."""

    async def lookup(self, name: str) -> Account | None:
        """The account of the first store that knows `name`. Raises AccountError."""
        found = await _run_async(self._lookup(name))
        return found[0] if found else None

    async def lookup_address(self, address: str) -> Account | None:
        """The account of the first store that knows `address`. Raises AccountError."""
        return await _run_async(self._lookup_address(address))

    async def held_schemes(self) -> frozenset[str]:
        """The schemes that accounts of any store hold. Raises AccountError."""
        return await _run_async(self._held_schemes())

    async def replace_credential(self, name: str, old: str, new: str) -> None:
        """In the store that answers for `name`, if it can."""
        await _run_async(self._replace_credential(name, old, new))

    async def record_use(self, name: str, app_password: str) -> None:
        """In the store that answers for `name`, if it can."""
        await _run_async(self._record_use(name, app_password))


def _blocks(store: AccountStore) -> bool:
    return bool(getattr(store, "blocking", True))


def _is_async(function: object) -> bool:
    return inspect.iscoroutinefunction(function)


def _run(plan: _Plan[T]) -> T:
    """Do all of a plan, in place. What a store raises goes straight to the caller."""
    result = None
    while True:
        try:
            _, function, arguments = plan.send(result)
        except StopIteration as done:
            value: T = done.value
            return value
        result = function(*arguments)


async def _run_async(plan: _Plan[T]) -> T:
    """Do all of a plan: what is async is awaited, what may wait is done on a thread."""
    result = None
    while True:
        try:
            may_wait, function, arguments = plan.send(result)
        except StopIteration as done:
            value: T = done.value
            return value
        if may_wait and not _is_async(function):
            result = await asyncio.to_thread(function, *arguments)
        else:
            result = function(*arguments)
        if inspect.isawaitable(result):
            result = await result
