"""Copies of messages that must outlive a failure, in a folder that the operator looks after."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import SpooledTemporaryFile

MAX_IN_MEMORY = 256 * 1024
"""Octets of a copy that are held in memory; longer ones are in a file without a name."""


class LocalCopy:
    """A message's octets, for as long as it isn't certain that every recipient has them.

    folder: where the copy is put if it is needed; made when it isn't there. Blocking.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._file = SpooledTemporaryFile(MAX_IN_MEMORY, dir=str(folder))  # noqa: SIM115

    def write(self, block: bytes) -> None:
        """Take the message's next octets. Raises OSError."""
        self._file.write(block)

    def keep(self, name: str, before: bytes) -> Path:
        """Put the copy into a file, `before` first, durable when it returns. Raises OSError."""
        path = self._folder / name
        partial = path.with_suffix(".partial")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(before)
            self._file.seek(0)
            shutil.copyfileobj(self._file, file)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        if os.name == "posix":
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return path

    def close(self) -> None:
        """Forget the copy. What `keep` has written stays."""
        self._file.close()
