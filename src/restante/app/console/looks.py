"""Looks that may take long: a page waits a little, the look goes on, and is made once for all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar, cast

from restante.threads import WorkerThreads

T = TypeVar("T")

PATIENCE = 3.0
"""Seconds that a page waits."""

KEPT_SECONDS = 60.0
"""How long the result of a look is kept for a page that comes back for it, from its beginning on
or from when somebody has last waited for it."""

AT_ONCE = 4
"""Looks at the same time; further ones wait."""

MOST = 40
"""Looks that go on, wait, or have a result that nobody has fetched. Further ones aren't begun."""


class StillLooking(Exception):
    """The look goes on. Ask again."""


class Looks:
    """Looks that are going on. Whoever wants the same waits for the same one."""

    def __init__(self) -> None:
        # They are daemons: however long storage hangs, no process is kept from ending.
        self._threads = WorkerThreads("look", 0, AT_ONCE)
        self._lock = threading.Lock()
        self._known: dict[Hashable, tuple[Future[Any], float]] = {}

    def result(self, key: Hashable, look: Callable[[], T], seconds: float = PATIENCE) -> T:
        """What a look gives, or raises. key: whoever has the same one wants the same.

        Raises StillLooking after so many seconds.
        """
        now = time.monotonic()
        with self._lock:
            for old, (each, asked) in [*self._known.items()]:
                if each.done() and now > asked + KEPT_SECONDS:
                    del self._known[old]
            found = self._known.get(key)
            if found is None and len(self._known) >= MOST:
                raise StillLooking
            future = self._threads.submit(look) if found is None else found[0]
            self._known[key] = future, now
        try:
            return cast("T", future.result(seconds))
        except TimeoutError:
            if future.done():  # it was the look's own
                raise
            raise StillLooking from None
        finally:
            with self._lock:
                known = self._known.get(key)
                if future.done() and known is not None and known[0] is future:
                    del self._known[key]
