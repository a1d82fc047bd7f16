"""A standard backend over some accounts, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Literal

from restante import AccountStore, MemoryStore, Store
from restante.accounts.hashing import Hashing
from restante.calls import Caller
from restante.server.backend import StandardBackend
from restante.server.peer import Peer
from restante.threads import WorkerThreads


def backend_over(
    accounts: AccountStore,
    threads: WorkerThreads,
    store: Store | None = None,
    *,
    kind: type[StandardBackend] = StandardBackend,
    **settings: Any,
) -> StandardBackend:
    """threads: for all that may wait. store, settings: see `StandardBackend`."""

    def spawn(work: Coroutine[Any, Any, None]) -> object:
        return asyncio.get_running_loop().create_task(work)

    call = Caller(threads)
    given: dict[str, Any] = {"spawn": spawn, "secret": b"s" * 32, "remember_seconds": 900.0}
    return kind(
        accounts,
        MemoryStore() if store is None else store,
        call_accounts=Caller(threads, blocking=accounts.blocking),
        call_store=call,
        call_worker=call,
        hashing=Hashing(threads),
        **(given | settings),
    )


def peer_at(address: str, protocol: Literal["pop3", "smtp"] = "pop3") -> Peer:
    return Peer((address, 51423), protocol=protocol)
