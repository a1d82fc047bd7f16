"""Long lists, in pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a list's items. first: the place of the first, from 1."""

    items: Sequence[Any]
    number: int
    pages: int
    total: int
    first: int

    @classmethod
    def of(cls, items: Sequence[Any], number: int, size: int) -> Page:
        """A page of a list; one that isn't there is the last."""
        begin = (min(number, _pages(len(items), size)) - 1) * size
        return cls.at(items[begin : begin + size], len(items), number, size)

    @classmethod
    def at(cls, items: Sequence[Any], total: int, number: int, size: int) -> Page:
        """The same of a list of which only that page's items are given."""
        pages = _pages(total, size)
        number = min(number, pages)
        return cls(items, number, pages, total, (number - 1) * size + 1)


def _pages(total: int, size: int) -> int:
    return max(1, -(-total // size))


def page_number(request: Request) -> int:
    """The page that is asked for. Raises HTTPException for what is none."""
    text = request.query_params.get("page", "1")
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text)):
        raise HTTPException(404, "There is no such page.")
    return int(text)
