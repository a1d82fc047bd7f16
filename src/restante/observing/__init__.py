"""Watching a server: metrics, traces, history of sessions. Each hangs on its observers.

What `__all__` lists is public; all else in this package may change.
"""

from typing import TYPE_CHECKING, Any

from restante.public import load

if TYPE_CHECKING:
    from restante.observing.explanation import (
        Client,
        Explanation,
        Finding,
        explain,
    )
    from restante.observing.history import (
        AccountUse,
        Deletion,
        Device,
        History,
        MessageStory,
        PastDelivery,
        PastListing,
        PastSession,
        Rates,
        RefusedLogin,
        Retrieval,
    )
    from restante.observing.history_file import (
        HistoryError,
    )
    from restante.observing.history_writer import (
        HistoryWriter,
    )
    from restante.observing.metrics import (
        Metrics,
    )
    from restante.observing.tracing import (
        Tracing,
    )

_HOMES = {
    "explanation": "Client Explanation Finding explain",
    "history": "AccountUse Deletion Device History MessageStory PastDelivery PastListing"
    " PastSession Rates RefusedLogin Retrieval",
    "history_file": "HistoryError",
    "history_writer": "HistoryWriter",
    "metrics": "Metrics",
    "tracing": "Tracing",
}


def __getattr__(name: str) -> Any:
    found = globals()[name] = load(__name__, _HOMES, name)
    return found


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "AccountUse",
    "Client",
    "Deletion",
    "Device",
    "Explanation",
    "Finding",
    "History",
    "HistoryError",
    "HistoryWriter",
    "MessageStory",
    "Metrics",
    "PastDelivery",
    "PastListing",
    "PastSession",
    "Rates",
    "RefusedLogin",
    "Retrieval",
    "Tracing",
    "explain",
]
