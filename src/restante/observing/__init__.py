"""Watching a server: metrics, traces, history of sessions. Each hangs on its observers.

What `__all__` lists is public; all else in this package may change.
"""

from typing import TYPE_CHECKING

from restante.public import lazily

if TYPE_CHECKING:
    from restante.observing.explanation import Client as Client
    from restante.observing.explanation import Explanation as Explanation
    from restante.observing.explanation import Finding as Finding
    from restante.observing.explanation import explain as explain
    from restante.observing.history import AccountUse as AccountUse
    from restante.observing.history import Deletion as Deletion
    from restante.observing.history import Device as Device
    from restante.observing.history import History as History
    from restante.observing.history import MessageStory as MessageStory
    from restante.observing.history import PastDelivery as PastDelivery
    from restante.observing.history import PastListing as PastListing
    from restante.observing.history import PastSession as PastSession
    from restante.observing.history import Rates as Rates
    from restante.observing.history import RefusedLogin as RefusedLogin
    from restante.observing.history import Retrieval as Retrieval
    from restante.observing.history_place import HistoryError as HistoryError
    from restante.observing.history_postgres import PostgresHistory as PostgresHistory
    from restante.observing.history_writer import HistoryWriter as HistoryWriter
    from restante.observing.metrics import Metrics as Metrics
    from restante.observing.tracing import Tracing as Tracing
else:
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "explanation": "Client Explanation Finding explain",
            "history": (
                "AccountUse Deletion Device History MessageStory PastDelivery PastListing"
                " PastSession Rates RefusedLogin Retrieval"
            ),
            "history_place": "HistoryError",
            "history_postgres": "PostgresHistory",
            "history_writer": "HistoryWriter",
            "metrics": "Metrics",
            "tracing": "Tracing",
        },
    )
