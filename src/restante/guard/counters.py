"""Numbers by name that the processes of one server have in common, each knowing its own."""

from __future__ import annotations

from collections.abc import Mapping


class Counts:
    """How many there are of each name: here, and as far as this process was told, elsewhere."""

    __slots__ = ("_changed", "_elsewhere", "_here", "_told")

    def __init__(self) -> None:
        self._here: dict[str, int] = {}
        self._elsewhere: dict[str, int] = {}
        self._changed: set[str] | None = None
        self._told: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._here)

    def of(self, name: str) -> int:
        """How many there are in all."""
        return self._here.get(name, 0) + self._elsewhere.get(name, 0)

    def add(self, name: str) -> None:
        """One more, here."""
        self._here[name] = self._here.get(name, 0) + 1
        if self._changed is not None:
            self._changed.add(name)

    def take_away(self, name: str) -> None:
        """One less, here; nothing is kept of what has come to none."""
        left = self._here.pop(name, 0) - 1
        if left > 0:
            self._here[name] = left
        if self._changed is not None:
            self._changed.add(name)

    def share(self) -> None:
        """Note from now on what changes, for `changes`."""
        self._changed = set()

    def changes(self) -> dict[str, int]:
        """How many there are here of those names where that is another number than last time."""
        if not self._changed:
            return {}
        names, self._changed = self._changed, set()
        told = self._told
        found = {name: n for name in names if (n := self._here.get(name, 0)) != told.get(name, 0)}
        told.update(found)
        for name in [name for name, number in found.items() if not number]:
            del told[name]
        return found

    def hear(self, elsewhere: Mapping[str, float]) -> None:
        """How many there are elsewhere of these names; of others it is as it was."""
        for name, number in elsewhere.items():
            if number > 0:
                self._elsewhere[name] = int(number)
            else:
                self._elsewhere.pop(name, None)
