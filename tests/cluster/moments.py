"""Moments at which a node kills itself (SIGKILL): before, within or after a step.

A step is a statement of `restante.stores.postgres.statements`, or what is done with a blob. Each
statement is a transaction, so `within` a statement is within its COMMIT, too.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from restante.stores import PostgresStore
from restante.stores.postgres import statements

T = TypeVar("T")

STEPS = (
    "OPEN", "RENEW", "COMMIT", "RELEASE", "FIND_BODY", "MAKE_BODY", "put", "DELIVER", "UNDELETE",
    "FORGET", "MARK_USED", "DOOM", "DOOMED", "remove", "DROP_BODIES",
)  # fmt: skip
"""`put` and `remove` are of blobs; MARK_USED is a transaction of two statements."""

MOMENTS = ["any", *(f"{when}:{step}" for step in STEPS for when in ("before", "within", "after"))]
"""any: whenever it is told to."""


def die() -> None:
    """End this process now."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(store: PostgresStore, moment: str, times: int, seconds: float) -> None:
    """Have this process die when it comes to that moment for the `times`th time.

    seconds: after the step began, for `within`.
    """
    if moment == "any":
        return
    when, _, wanted = moment.partition(":")
    left = times

    async def do(step: object, work: Callable[[], Awaitable[T]]) -> T:
        nonlocal left
        if step != wanted:
            return await work()
        left -= 1
        if left == 0 and when == "before":
            die()
        if left == 0 and when == "within":
            # By the system, whatever runs then. SIGALRM ends a process as SIGKILL does.
            signal.setitimer(signal.ITIMER_REAL, seconds)
        result = await work()
        if left == 0 and when == "after":
            die()
        return result

    _watch(store, do)


def _watch(store: PostgresStore, do: Callable[..., Awaitable[Any]]) -> None:
    names = {id(text): name for name, text in vars(statements).items() if name.isupper()}
    rows, put, remove = store.database.rows, store.bodies.put, store.bodies.remove
    mark_used = store._mark_used
    replaced: Any = store

    async def watched_rows(statement: str, *arguments: Any) -> Any:
        return await do(names.get(id(statement)), lambda: rows(statement, *arguments))

    async def watched_put(*arguments: Any) -> Any:
        return await do("put", lambda: put(*arguments))

    async def watched_remove(*arguments: Any) -> Any:
        return await do("remove", lambda: remove(*arguments))

    async def watched_mark_used(*arguments: Any) -> Any:
        return await do("MARK_USED", lambda: mark_used(*arguments))

    replaced.database.rows = watched_rows
    replaced.bodies.put, replaced.bodies.remove = watched_put, watched_remove
    replaced._mark_used = watched_mark_used
