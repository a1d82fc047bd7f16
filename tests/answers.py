"""What plain methods of stores answer, brought to their end on the calling thread."""

from __future__ import annotations

from typing import Any, TypeVar

from restante.calls import finished
from restante.stores.contract import Answer

T = TypeVar("T")


def done(answer: Answer[T]) -> T:
    """What a method comes to that isn't async."""
    result: Any = answer
    return finished(result)  # type: ignore[no-any-return]
