"""Learning what there is to know of one message file."""

from __future__ import annotations

import os

from restante.stores.maildir.files import Measured, measure_file


def learn(path: str, noted: Measured | None, most: int | None = None) -> Measured:
    """What was noted of the file if it is still so, else what reading it tells.

    Raises OSError, and TooMuch when more than `most` octets were to be read.
    """
    if noted is not None:
        about = os.lstat(path)
        if (about.st_size, about.st_mtime_ns) == (noted.size, noted.mtime):
            return noted
    return measure_file(path, most)
