"""Watching a server: metrics, traces, history of sessions. Each hangs on its observers.

What `__all__` lists is public; all else in this package may change.
"""

__all__: list[str] = []
