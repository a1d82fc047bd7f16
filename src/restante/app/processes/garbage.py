"""Python's memory, in a process that only serves from now on."""

from __future__ import annotations

import gc

NEW_OBJECTS = 10_000
"""Objects that may be made before those are looked through: sessions leave few circles behind."""

LARGE_BLOCK = 1024 * 1024
"""Octets of a block of memory up to which it is kept for the next one."""

COUNTS_REFERENCES = hasattr(gc, "freeze")
"""As CPython does. PyPy's collector needs no advice: what has grown old it seldom looks at."""


def keep_what_is_there() -> None:
    """Never look again through what is there by now, so that forked processes share it."""
    gc.collect()
    if COUNTS_REFERENCES:
        gc.freeze()


def spare_what_stays() -> None:
    """The same, and look seldom through what is new.

    And keep the memory that a message was read into for the next one.
    """
    # The C library of Linux maps large blocks anew each time, page by page, which takes several
    # times as long as to fill them: until one as large as this has been given back.
    bytes(LARGE_BLOCK)
    keep_what_is_there()
    if COUNTS_REFERENCES:
        gc.set_threshold(NEW_OBJECTS, 20, 100)
