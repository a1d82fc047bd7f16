"""Effects performed in the call in which their command arrived, when they are quick enough.

A task, and a change of threads, cost more than what most polls need: an account in memory,
a maildrop that hasn't changed, a small message on a local disk. What is that quick is done
here, in place; everything else, and everything that has a handler, is left for later.

Quick is measured, not believed: when a call takes longer than `SLOW_SECONDS` on a sliding
average, or one takes `MEMORY` times as long, storage is left to its threads for
`REST_SECONDS`. So slow or network storage costs the other sessions some 30 ms in ten
seconds, or one call that hangs. A sliding average, because a process that had to wait for a
processor looks slow now and then too.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar

from restante.contained import THE_LOOPS_OWN, contained
from restante.protocol.effects import BrokenOff, Commit, Effect, Fetch
from restante.server.login import break_off

if TYPE_CHECKING:
    from restante.server.perform import Performer
    from restante.server.server import Pop3Server

T = TypeVar("T")

LATER = object()
"""The effect has to wait for something."""

SLOW_SECONDS = 0.001
MEMORY = 32
REST_SECONDS = 10.0


class AtOnce:
    """Decides for one server what is done in place, and does it."""

    def __init__(self, server: Pop3Server) -> None:
        self._server = server
        self._rested = 0.0  # when storage may be used in place again
        self._mean = 0.0  # seconds of a call, on a sliding average
        self._ways: dict[type[Effect], Callable[[Performer, Any], object]] = {
            Fetch: self._fetch,
            Commit: self._commit,
            BrokenOff: self._break_off,
        }

    def perform(self, performer: Performer, effect: Effect) -> object:
        """The effect's result, or LATER. What goes wrong here goes wrong there, and is told."""
        perform = self._ways.get(type(effect))
        if perform is None:
            return LATER
        try:
            return perform(performer, effect)
        except THE_LOOPS_OWN:
            raise
        except BaseException:
            return LATER

    def _break_off(self, performer: Performer, effect: BrokenOff) -> object:
        break_off(performer.admission, effect)
        return None

    def _fetch(self, performer: Performer, effect: Fetch) -> object:
        maildrop = performer.maildrop
        if maildrop is None or self._server.events.heard("retrieve"):
            return LATER
        begun = monotonic()
        if begun < self._rested:
            return LATER
        try:
            return maildrop.fetch_at_once(effect.number) or LATER
        finally:
            self._took(begun)

    def _commit(self, performer: Performer, effect: Commit) -> object:
        if not effect.numbers:
            return None if self.close(performer) else LATER
        if performer.maildrop is not None and self.may_use_storage():
            self.timed(performer.maildrop.begin_commit, effect.numbers)
        return LATER  # that it lasts has to be waited for

    def close(self, performer: Performer) -> bool:
        """Give a lease back in place, if that is quick. True when it was."""
        maildrop = performer.maildrop
        if maildrop is None:
            return True
        if not self.may_use_storage() or not self.timed(maildrop.close_at_once):
            return False
        performer.maildrop = None
        return True

    def may_use_storage(self) -> bool:
        """Whether the storage has been quick of late."""
        return monotonic() >= self._rested

    def timed(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function of the storage in place, and see how long it takes."""
        begun = monotonic()
        try:
            with contained:
                return function(*args)
        finally:
            self._took(begun)

    def _took(self, begun: float) -> None:
        now = monotonic()
        self._mean += (now - begun - self._mean) / MEMORY
        if self._mean > SLOW_SECONDS:
            self._mean = 0.0
            self._rested = now + REST_SECONDS
