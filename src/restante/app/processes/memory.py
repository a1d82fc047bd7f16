"""Python's garbage collector, set up for a process that only serves from now on."""

from __future__ import annotations

import gc

NEW_OBJECTS = 10_000
"""Objects that may be made before those are looked through: sessions leave few circles behind."""

LARGE_BLOCK = 1024 * 1024
"""Octets of a block of memory up to which it is kept for the next one."""

COUNTS_REFERENCES = hasattr(gc, "freeze")
"""As CPython does. PyPy's collector needs no advice: what has grown old it seldom looks at."""


def freeze_objects() -> None:
    """Have the collector ignore the objects that there are, so that forked processes share them."""
    gc.collect()
    if COUNTS_REFERENCES:
        gc.freeze()


def tune_collector() -> None:
    """The same, and have the collector run seldom.

    Also, memory that held one message is kept for the next one.
    """
    # The C library of Linux maps large blocks anew each time, page by page, which takes several
    # times as long as to fill them: until one as large as this has been given back.
    bytes(LARGE_BLOCK)
    freeze_objects()
    if COUNTS_REFERENCES:
        gc.set_threshold(NEW_OBJECTS, 20, 100)
