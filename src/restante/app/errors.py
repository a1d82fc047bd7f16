"""Errors that end a command with a sentence for whoever gave it."""

from __future__ import annotations


class StartError(Exception):
    """Something can't be listened on, or no worker process gets ready; the text says what.

    taken: the port, if another program listens there.
    """

    def __init__(self, text: str, taken: int | None = None) -> None:
        super().__init__(text)
        self.taken = taken


class NoAnswer(Exception):
    """No server answers; the text says why."""
