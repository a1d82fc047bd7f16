"""What each worker process counts, and what the others together count."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_TIMES = ("turn:", "queue:")
"""Names of times, of which the latest counts; all others are numbers, which add up."""


class Counters:
    """Numbers by name and worker. Those that are 0 take no memory."""

    def __init__(self) -> None:
        self._numbers: dict[str, dict[int, float]] = {}

    @property
    def names(self) -> set[str]:
        """The names of all numbers that aren't 0."""
        return set(self._numbers)

    def update(self, worker: int, numbers: Mapping[str, float]) -> None:
        """Take over those of a worker's numbers that have changed."""
        for name, number in numbers.items():
            found = self._numbers.setdefault(name, {})
            if number:
                found[worker] = number
            else:
                found.pop(worker, None)
            if not found:
                del self._numbers[name]

    def forget(self, worker: int) -> set[str]:
        """Drop the numbers of a worker that has ended. Gives their names."""
        concerned = {name for name, found in self._numbers.items() if worker in found}
        self.update(worker, dict.fromkeys(concerned, 0))
        return concerned

    def own(self, worker: int, name: str) -> float:
        """A worker's own number."""
        return self._numbers.get(name, {}).get(worker, 0)

    def elsewhere(self, worker: int, names: Iterable[str]) -> dict[str, float]:
        """For each name, what all other workers together have."""
        return {name: self._elsewhere(worker, name) for name in names}

    def _elsewhere(self, worker: int, name: str) -> float:
        found = self._numbers.get(name, {})
        others = [number for each, number in found.items() if each != worker]
        return max(others, default=0) if name.startswith(_TIMES) else sum(others)
