"""Looks at every state that a model can come into, and tells the shortest way to a bad one.

The search is breadth first, so the first bad state that is found has the shortest trace. States
that differ only in which of several equal nodes did what are looked at once.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)


class Step(NamedTuple, Generic[S]):
    """One step of a model: who does what, and the state that it leads to."""

    who: str
    what: str
    state: S


class Model(Protocol[S]):
    """What can be explored."""

    def start(self) -> S:
        """The state in which everything begins."""

    def steps(self, state: S) -> Iterator[Step[S]]:
        """All that can happen next."""

    def canonical(self, state: S) -> S:
        """The one state that stands for all that differ from it in nothing that matters."""

    def broken(self, state: S) -> str:
        """Which promise the state breaks; empty: none."""

    def unsettled(self, state: S) -> str:
        """What is still to be tidied up; empty: nothing."""


class Found(NamedTuple, Generic[S]):
    """What the search has found.

    broken: the promise that is broken; empty: none is.
    trace: the steps that lead there.
    states: how many states were looked at.
    """

    broken: str
    trace: list[Step[S]]
    states: int

    def __str__(self) -> str:
        lines = [f"{self.broken or 'Nothing is broken'} ({self.states} states looked at)"]
        for number, step in enumerate(self.trace, 1):
            lines.append(f"{number:3}. {step.who:9} {step.what}")
        return "\n".join(lines)


def explore(model: Model[S], *, wanted: str = "", most: int = 5_000_000) -> Found[S]:
    """Look at every state, up to the first in which a promise is broken.

    If there is none, it is looked whether from each state one can be reached in which all is
    settled. wanted: look for this broken promise, past others. Raises OverflowError when there
    are more than `most` states.
    """
    start = model.canonical(model.start())
    states = [start]
    number = {start: 0}
    came_from = array("l", [-1])
    sources, targets = array("l"), array("l")
    at = 0
    while at < len(states):
        state = states[at]
        broken = model.broken(state)
        if broken and wanted in {"", broken}:
            return Found(broken, _trace(model, states, came_from, at), len(states))
        for step in model.steps(state):
            then = model.canonical(step.state)
            to = number.get(then)
            if to is None:
                to = number[then] = len(states)
                states.append(then)
                came_from.append(at)
                if to >= most:
                    raise OverflowError(f"there are more than {most} states")
            sources.append(at)
            targets.append(to)
        at += 1
    stuck = _never_settled(model, states, sources, targets)
    if stuck is not None:
        broken = f"never tidied up: {model.unsettled(states[stuck])}"
        return Found(broken, _trace(model, states, came_from, stuck), len(states))
    return Found("", [], len(states))


def _never_settled(
    model: Model[S], states: list[S], sources: array[int], targets: array[int]
) -> int | None:
    """The first state from which none can be reached in which all is settled."""
    good = bytearray(not model.unsettled(each) for each in states)
    more = True
    while more:
        more = False
        for edge in range(len(sources) - 1, -1, -1):
            if good[targets[edge]] and not good[sources[edge]]:
                good[sources[edge]] = more = True
    stuck = good.find(0)
    return None if stuck < 0 else stuck


def _trace(model: Model[S], states: list[S], came_from: array[int], at: int) -> list[Step[S]]:
    """The steps to a state, in which every node keeps its number from the first to the last."""
    wanted = []
    while at > 0:
        wanted.append(states[at])
        at = came_from[at]
    trace: list[Step[S]] = []
    state = model.start()
    for then in reversed(wanted):
        step = next(s for s in model.steps(state) if model.canonical(s.state) == then)
        trace.append(step)
        state = step.state
    return trace
