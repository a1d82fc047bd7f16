"""Stores in PostgreSQL that break a promise: the tests must notice them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from restante.stores import PostgresStore
from restante.stores.postgres import statements


def loses(store: PostgresStore) -> None:
    """One delivery in ten gets its 250, and isn't made."""
    deliver, count = store._deliver, 0

    async def lossy(incomings: Sequence[Any], *, together: bool) -> Any:
        nonlocal count
        count += 1
        if count % 10 == 0:
            return [each.unique_id for each in incomings]
        return await deliver(incomings, together=together)

    _replace(store, _deliver=lossy)


def doubles(store: PostgresStore) -> None:
    """Some deliveries are made twice, as if they were repeated with other unique-ids."""
    deliver, count = store._deliver, 0

    async def doubling(incomings: Sequence[Any], *, together: bool) -> Any:
        nonlocal count
        count += 1
        if count % 10 == 0:
            await deliver(incomings, together=together)
            for each in incomings:
                each.unique_id += "2"
        return await deliver(incomings, together=together)

    _replace(store, _deliver=doubling)


def keeps(store: PostgresStore) -> None:
    """What QUIT removes stays, if it is one message only."""
    rows = store.database.rows

    async def keeping(statement: str, *arguments: Any) -> Any:
        if statement is statements.COMMIT and len(arguments[2]) == 1:
            return [{"id": arguments[0]}]
        return await rows(statement, *arguments)

    _replace(store.database, rows=keeping)


def _replace(of: Any, **methods: Any) -> None:
    vars(of).update(methods)


FAULTS: dict[str, Callable[[PostgresStore], None]] = {
    each.__name__: each for each in (loses, doubles, keeps)
}
