"""Numbers by name that the processes of one server have in common; each counts its own."""

from __future__ import annotations

from collections.abc import Mapping


class Counters:
    """How many there are of each name: in this process and, as far as it was told, in others."""

    __slots__ = ("_changed", "_elsewhere", "_here", "_told")

    def __init__(self) -> None:
        self._here: dict[str, int] = {}
        self._elsewhere: dict[str, int] = {}
        self._changed: set[str] | None = None
        self._told: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._here)

    def count(self, name: str) -> int:
        """How many there are of a name."""
        return self._here.get(name, 0) + self._elsewhere.get(name, 0)

    def add(self, name: str, limit: float) -> bool:
        """Count one more of a name, unless it has reached its limit; then False."""
        here = self._here.get(name, 0)
        if here + self._elsewhere.get(name, 0) >= limit:
            return False
        self._here[name] = here + 1
        if self._changed is not None:
            self._changed.add(name)
        return True

    def remove(self, name: str) -> None:
        """Count one less of a name."""
        left = self._here.pop(name, 0) - 1
        if left > 0:
            self._here[name] = left
        if self._changed is not None:
            self._changed.add(name)

    # Other processes of this server

    def share(self) -> None:
        """From now on, keep what changes for `changes`."""
        self._changed = set()

    def changes(self) -> dict[str, int]:
        """The numbers of this process that differ from what `changes` gave before."""
        if not self._changed:
            return {}
        names, self._changed = self._changed, set()
        told = self._told
        found = {name: n for name in names if (n := self._here.get(name, 0)) != told.get(name, 0)}
        told.update(found)
        for name in [name for name, number in found.items() if not number]:
            del told[name]
        return found

    def receive(self, elsewhere: Mapping[str, float]) -> None:
        """The numbers of other processes that have changed."""
        for name, number in elsewhere.items():
            if number > 0:
                self._elsewhere[name] = int(number)
            else:
                self._elsewhere.pop(name, None)
