"""Zstandard (RFC 8878): Python's own since 3.14, or the library of that interface before."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from importlib import import_module
from typing import Any


@cache
def zstd_module() -> Any:
    """`compression.zstd`, or what has its interface. Raises ImportError when there is neither."""
    with suppress(ImportError):
        return import_module("compression.zstd")
    return import_module("backports.zstd")


@cache
def has_zstd() -> bool:
    """Whether it can be imported."""
    try:
        zstd_module()
    except ImportError:
        return False
    return True


def zstd_decoder(window_log: int) -> Any:
    """A decoder of one frame. It refuses those that need more than 2**window_log octets."""
    zstd = zstd_module()
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: window_log})
