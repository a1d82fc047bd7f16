"""Errors that end a command with a sentence for whoever gave it."""

from __future__ import annotations

from collections.abc import Sequence


class StartError(Exception):
    """Something can't be listened on, or no worker process gets ready; the text says what.

    Its lines are sentences of their own. taken: the ports on which another program listens.
    """

    def __init__(self, text: str, taken: Sequence[int] = ()) -> None:
        super().__init__(text)
        self.taken = taken


class NoAnswer(Exception):
    """No server answers; the text says why."""


class NoServer(NoAnswer):
    """No server runs here."""
