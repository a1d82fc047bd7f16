"""Watching a server: metrics, traces, history of sessions. Each hangs on its observers.

What `__all__` lists is public; all else in this package may change.
"""

from typing import TYPE_CHECKING, Any

from restante.public import load

if TYPE_CHECKING:
    from restante.observing.metrics import Metrics
    from restante.observing.tracing import Tracing

_HOMES = {
    "metrics": "Metrics",
    "tracing": "Tracing",
}


def __getattr__(name: str) -> Any:
    found = globals()[name] = load(__name__, _HOMES, name)
    return found


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "Metrics",
    "Tracing",
]
