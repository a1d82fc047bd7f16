"""Makes line ends CRLF, in the way that is quickest by CPython, and by PyPy."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

CR = ord("\r")

BytesBuilder: Any = None
with suppress(ImportError):
    from __pypy__.builders import BytesBuilder  # type: ignore[import-not-found, no-redef]


def with_crlf(data: bytes) -> bytes:
    """`data` with each LF that no CR precedes made CRLF; a CR alone stays what it is."""
    if BytesBuilder is not None:
        return _built(data)
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    return data.replace(b"\n", b"\r\n")


def _built(data: bytes) -> bytes:
    """The same in one pass, for PyPy, whose `in` and `replace` are slow."""
    builder = BytesBuilder(len(data) + len(data) // 32)
    add, find, at = builder.append_slice, data.find, 0
    while (end := find(b"\n", at)) >= 0:
        if end > at and data[end - 1] == CR:
            add(data, at, end + 1)
        else:
            add(data, at, end)
            builder.append(b"\r\n")
        at = end + 1
    add(data, at, len(data))
    built: bytes = builder.build()
    return built
