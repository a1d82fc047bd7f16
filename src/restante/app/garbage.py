"""Python's memory, in a process that only serves from now on."""

from __future__ import annotations

import gc

NEW_OBJECTS = 10_000
"""Objects that may be made before those are looked through: sessions leave few circles behind."""

LARGE_BLOCK = 1024 * 1024
"""Octets of a block of memory up to which it is kept for the next one."""


def spare_what_stays() -> None:
    """Never look again through what is there by now, and seldom through what is new.

    And keep the memory that a message was read into for the next one.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS, 20, 100)
    # The C library of Linux maps large blocks anew each time, page by page, which takes several
    # times as long as to fill them: until one as large as this has been given back.
    bytes(LARGE_BLOCK)
