"""Work that begins in place and goes on on a thread.

Such work is written as a generator that yields where what follows may take long. It reads
from top to bottom, whichever thread does it. The first `yield` that is reached hands the rest to a
thread; those after it change nothing.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias, TypeVar

from restante.calls import OnThread

T = TypeVar("T")

Steps: TypeAlias = Generator[None, None, T]


def begun(steps: Steps[T]) -> T | OnThread[T]:
    """The result of `steps` if they come to their end without a `yield`, else the rest."""
    try:
        next(steps)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]
    return OnThread(to_the_end, steps)


def to_the_end(steps: Steps[T]) -> T:
    """The result of `steps`, all done here."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
