"""The supervisor's ledger: what each worker process counts, and what that is for the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_TIMES = ("turn:", "queue:")
"""Names of times, of which the latest counts; all others are numbers, which add up."""


class Ledger:
    """Numbers by name and worker. Nothing is kept of those that are 0."""

    def __init__(self) -> None:
        self._numbers: dict[str, dict[int, float]] = {}

    @property
    def names(self) -> set[str]:
        """All for which there is a number."""
        return set(self._numbers)

    def take(self, worker: int, numbers: Mapping[str, float]) -> None:
        """A worker's own numbers, as far as they have changed."""
        for name, number in numbers.items():
            found = self._numbers.setdefault(name, {})
            if number:
                found[worker] = number
            else:
                found.pop(worker, None)
            if not found:
                del self._numbers[name]

    def forget(self, worker: int) -> set[str]:
        """A worker is gone, and what it counted with it. Gives the names concerned."""
        concerned = {name for name, found in self._numbers.items() if worker in found}
        self.take(worker, dict.fromkeys(concerned, 0))
        return concerned

    def of(self, worker: int, name: str) -> float:
        """A worker's own number."""
        return self._numbers.get(name, {}).get(worker, 0)

    def elsewhere(self, worker: int, names: Iterable[str]) -> dict[str, float]:
        """What these numbers are in all others together."""
        return {name: self._elsewhere(worker, name) for name in names}

    def _elsewhere(self, worker: int, name: str) -> float:
        found = self._numbers.get(name, {})
        others = [number for each, number in found.items() if each != worker]
        return max(others, default=0) if name.startswith(_TIMES) else sum(others)
