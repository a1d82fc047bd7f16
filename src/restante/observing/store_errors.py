"""What the store of maildrops can't do: a database that is down, a disk that is full."""

from __future__ import annotations

import time
from collections import Counter
from typing import NamedTuple

from restante.delivery.envelope import Envelope
from restante.delivery.observer import DeliveryObserver
from restante.protocol.states import State
from restante.server.client import ClientSession
from restante.server.server import Pop3Server
from restante.stores.contract import StoreError

MAX_TEXT = 300
"""Characters of an error that are kept."""

_BY_STATE = {
    State.AUTHORIZATION.value: "open",
    State.TRANSACTION.value: "fetch",
    State.UPDATE.value: "commit",
}


class LastError(NamedTuple):
    """The last failure of a kind of calls. at: seconds since 1970."""

    at: float
    text: str


class StoreErrors:
    """Counts failures of the store, by the kind of call; it costs nothing while all is well.

    server: is watched from now on. A maildrop in use, a lease that was taken away, a message that
    is gone and a maildrop that is full are no failures.

    counts: of each kind of call. last: the last failure of each. `deliveries` is an observer for
    what takes mail in; whoever calls the store for something else tells `note`.
    """

    def __init__(self, server: Pop3Server) -> None:
        self.counts: Counter[str] = Counter()
        self.last: dict[str, LastError] = {}
        self.deliveries: DeliveryObserver = _Deliveries(self)
        server.on("server_error")(self._in_session)

    def note(self, call: str, error: Exception) -> None:
        """A call of this kind has failed."""
        self.counts[call] += 1
        text = str(error) or type(error).__name__
        self.last[call] = LastError(time.time(), text[:MAX_TEXT])

    async def _in_session(self, session: ClientSession | None, error: Exception) -> None:
        """Async, so that it is called on the event loop, like everything else that counts."""
        if isinstance(error, ConnectionError):
            return
        if session is not None and isinstance(error, StoreError | OSError):
            self.note(_BY_STATE[session.state.value], error)


class _Deliveries(DeliveryObserver):
    def __init__(self, errors: StoreErrors) -> None:
        self._errors = errors

    def store_failed(self, envelope: Envelope, error: Exception) -> None:
        self._errors.note("deliver", error)
