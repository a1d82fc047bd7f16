"""Messages that bring their unique-ids and their times of arrival with them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from threading import Lock

from restante.stores.contract import UniqueIdTaken
from restante.stores.maildir.pins import (
    RESTORED_FILE,
    add_pin,
    pins_stamp,
    read_pins,
    write_pins,
)
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

    A pin alone doesn't say so: its message may never have come, as the delivery failed or was cut
    off between the two. What has come is written down in a file of its own, which is there before
    the first message is restored and never gets shorter.
    here: the unique-ids of the messages that are there or could be put back. Raises OSError.
    """

    def __init__(self, folder: str, here: Iterable[str]) -> None:
        self.folder = folder
        self._stamp = self._now()
        self._last = ("", "")
        self._used = set(map(str, here))
        pins = read_pins(folder)
        past = read_pins(folder, RESTORED_FILE)
        is_first = not os.path.lexists(f"{folder}/{RESTORED_FILE}")
        come = {
            key: unique_id
            for key, unique_id in pins.items()
            if key not in past and (is_first or unique_id in self._used)
        }
        if come or is_first:
            write_pins(folder, come, file=RESTORED_FILE)
        self._used.update(past.values(), come.values())

    def is_current(self) -> bool:
        """Whether no message has come, and none was pinned, by anybody else. Raises OSError."""
        return self._now() == self._stamp

    def _now(self) -> tuple[int, ...]:
        return (*pins_stamp(self.folder), *folder_times(self.folder))

    def pin(self, base: str, unique_id: str) -> None:
        """Pin the unique-id to a file's name, durably. Raises UniqueIdTaken, OSError."""
        if unique_id in self._used:
            raise UniqueIdTaken(f"{self.folder} has, or had, the unique-id {unique_id!r}")
        add_pin(self.folder, base, unique_id)
        self._last = base, unique_id

    def has_come(self) -> None:
        """The message that was pinned last is there. Raises OSError."""
        add_pin(self.folder, *self._last, RESTORED_FILE)
        self._used.add(self._last[1])
        self._stamp = self._now()
