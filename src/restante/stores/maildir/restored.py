"""Messages that bring their unique-ids and their times of arrival with them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from threading import Lock

from restante.stores.contract import UniqueIdTaken
from restante.stores.maildir.files import Folder
from restante.stores.maildir.pins import add_pin, pins_stamp, read_pins
from restante.stores.maildir.scan import folder_times

LATEST = 2**33
"""Seconds since 1970, in the year 2242: a later time of arrival is no time."""

_MOST = 100_000


class Arrivals:
    """Times of arrival for files' names: messages of the same second stay in their order."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._used: set[tuple[str, int]] = set()

    def place(self, folder: str, arrived: float) -> int:
        """A time that no other message has, in microseconds, from `arrived`, in seconds, on."""
        micros = int(min(max(arrived, 1.0), LATEST) * 1_000_000)
        with self._lock:
            if len(self._used) > _MOST:
                self._used.clear()
            while (folder, micros) in self._used:
                micros += 1
            self._used.add((folder, micros))
        return micros


class UsedIds:
    """The unique-ids that a maildrop has given to messages, as far as it knows.

    here: those of the messages that are there.
    """

    def __init__(self, folder: str, here: Iterable[str]) -> None:
        self.folder = folder
        self._stamp = self._now()
        self._used: dict[str, str] = dict.fromkeys(map(str, here), "")
        for key, unique_id in read_pins(folder).items():
            self._used.setdefault(unique_id, key)

    def is_current(self) -> bool:
        """Whether no message has come, and none was pinned, by anybody else. Raises OSError."""
        return self._now() == self._stamp

    def _now(self) -> tuple[int, ...]:
        return (*pins_stamp(self.folder), *folder_times(self.folder))

    def has_come(self) -> None:
        """The message that was pinned last is there. Raises OSError."""
        self._stamp = self._now()

    def pin(self, base: str, unique_id: str) -> None:
        """Pin the unique-id to a file's name, durably. Raises UniqueIdTaken, OSError."""
        key = self._used.get(unique_id)
        if key is not None and not (key and self._was_abandoned(key)):
            raise UniqueIdTaken(f"{self.folder} has, or had, the unique-id {unique_id!r}")
        add_pin(self.folder, base, unique_id)
        self._used[unique_id] = base

    def _was_abandoned(self, key: str) -> bool:
        """Whether the file that the pin was for never left tmp/, as its delivery was cut off."""
        name = key.partition(",S=")[0]
        if "/" in name or os.sep in name:
            return False
        with suppress(OSError), Folder(f"{self.folder}/tmp") as tmp:
            for each in (key, name):
                with suppress(FileNotFoundError):
                    tmp.unlink(each)
                    return True
        return False
