"""Tests that only stores have which can do this or that."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T", bound=Callable[..., object])


def needs(what: str) -> Callable[[T], T]:
    """For a test, or a class of them. what: an attribute of StoreContract that must be true."""

    def mark(marked: T) -> T:
        for each in vars(marked).values() if isinstance(marked, type) else [marked]:
            if callable(each):
                vars(each)["needs"] = what
        return marked

    return mark
