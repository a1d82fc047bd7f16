"""The folder above all maildrops. A disk that isn't there must not look like mail that isn't."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from restante.stores.contract import StoreError
from restante.stores.maildir.file_names import SUBFOLDERS
from restante.stores.maildir.files import make_folder
from restante.stores.maildir.scan import folder_times
from restante.stores.maildir.steps import Steps


class Root:
    """Makes Maildirs below a folder, which is made once at most: not when it was there and is gone.

    make: whether it may be made at all.

    It counts as gone, too, when a file system was mounted on it and isn't any more. Nothing is
    looked at unless a Maildir's folders are missing.
    """

    def __init__(self, path: Path, *, make: bool) -> None:
        self.path = path
        self.seen = False
        """Whether it was there once."""
        self._make = make
        self._was_mounted = False
        if os.path.isdir(path):
            self.seen = True
            with suppress(OSError, StoreError):
                self.see()

    def see(self) -> None:
        """See that it is there. Raises StoreError when it is gone, OSError."""
        try:
            here = os.stat(self.path)
            above = os.stat(self.path / "..")
        except FileNotFoundError as error:
            raise self._gone("the folder of mail {} is gone") from error
        except NotADirectoryError as error:
            raise self._gone("the folder of mail {} is no folder any more") from error
        is_mounted = here.st_dev != above.st_dev
        if self._was_mounted and not is_mounted:
            raise self._gone("nothing is mounted any more on the folder of mail {}")
        self._was_mounted = is_mounted
        self.seen = True

    def _gone(self, text: str) -> StoreError:
        todo = "mount or restore it; or, if all mail may be new, make it and restart the server"
        return StoreError(f"{text.format(self.path)}: {todo}")

    def see_again(self) -> None:
        """The same if it was there once."""
        if self.seen:
            self.see()

    def make_maildir(self, folder: str, fsync: bool) -> None:
        """Make the folders of a Maildir, as far as they are missing.

        Raises StoreError when the root is gone, OSError.
        """
        if self._make and not self.seen:
            make_folder(self.path, fsync)
        self.see()
        try:
            for sub in ("tmp", *SUBFOLDERS):
                make_folder(Path(folder, sub), fsync, below=self.path)
        except FileNotFoundError:
            self.see()
            raise

    def made_folder_times(self, folder: str, fsync: bool) -> Steps[tuple[int, int]]:
        """As `folder_times`; makes what is missing of the Maildir."""
        try:
            times = folder_times(folder)
        except FileNotFoundError:
            yield
            try:
                self.make_maildir(folder, fsync)
            except OSError as error:
                if error.errno != errno.EROFS:
                    raise
                return 0, 0
            return folder_times(folder)
        self.seen = True
        return times
