"""Which sockets can be read or written now.

On Linux all of them are in one epoll of our own, and the event loop watches that one: to take a
socket in costs a system call then, and to have it called a look-up, whatever the loop is.
"""

from __future__ import annotations

import asyncio
import select
from contextlib import suppress
from typing import Protocol

READ, WRITE, ENDED = 1, 4, 8 | 16
"""Kinds of events, as epoll has them. ENDED comes unasked: nothing more can be sent."""

AT_A_TURN = 128
"""Sockets that are looked after at a time."""

ROUNDS = 8
"""How often it is asked again at once, who is ready, before the event loop does something else:
that costs less than to come back."""


class Watched(Protocol):
    """What has a socket that is watched."""

    def ready(self, events: int) -> None:
        """Something can be done: READ, WRITE and ENDED, or some of them."""

    def broke(self, error: Exception) -> None:
        """`ready` has raised an exception."""


class Readiness(Protocol):
    """Watches sockets for one event loop. A socket is forgotten before it is closed."""

    def watch(self, fd: int, watched: Watched, events: int) -> None:
        """Have `watched` called at these events, for as long as they last."""

    def change(self, fd: int, events: int) -> None:
        """At these events from now on; 0: at none but ENDED."""

    def forget(self, fd: int) -> None:
        """At none."""

    def give_way(self) -> None:
        """Something else waits for the event loop: go back to it before it is asked again who is
        ready. A session that is over would else be in the way of the next one."""

    def close(self) -> None:
        """Watch nothing any more."""


def readiness(loop: asyncio.AbstractEventLoop) -> Readiness:
    """The best there is for a loop that can watch sockets."""
    return EpollReadiness(loop) if hasattr(select, "epoll") else LoopReadiness(loop)


class EpollReadiness:
    """`Readiness` by an epoll inside of the loop's own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._epoll = select.epoll()
        self._watched: dict[int, Watched] = {}
        self._new: set[int] = set()
        self._gives_way = False
        loop.add_reader(self._epoll.fileno(), self._turn)

    def watch(self, fd: int, watched: Watched, events: int) -> None:
        self._epoll.register(fd, events)
        self._watched[fd] = watched
        self._new.add(fd)

    def change(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        if self._watched.pop(fd, None) is not None:
            with suppress(OSError):  # closed already, it is watched no more
                self._epoll.unregister(fd)

    def give_way(self) -> None:
        self._gives_way = True

    def close(self) -> None:
        if not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._watched.clear()

    def _turn(self) -> None:
        self._gives_way = False
        epoll, new, all_watched = self._epoll, self._new, self._watched
        for _ in range(ROUNDS):
            found = epoll.poll(0, AT_A_TURN)
            new.clear()
            for fd, events in found:
                watched = all_watched.get(fd)
                # Not for a socket that has got the number of one closed in this very turn.
                if watched is None or fd in new:
                    continue
                try:
                    watched.ready(events)
                except Exception as error:
                    watched.broke(error)
            if not found or self._gives_way or epoll.closed:
                return


class LoopReadiness:
    """`Readiness` by the loop's own means."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watched: dict[int, tuple[Watched, int]] = {}

    def watch(self, fd: int, watched: Watched, events: int) -> None:
        self._watched[fd] = watched, 0
        self.change(fd, events)

    def change(self, fd: int, events: int) -> None:
        watched, before = self._watched[fd]
        self._watched[fd] = watched, events
        loop = self._loop
        for kind, add, remove in (
            (READ, loop.add_reader, loop.remove_reader),
            (WRITE, loop.add_writer, loop.remove_writer),
        ):
            if events & kind and not before & kind:
                add(fd, self._call, watched, kind)
            elif before & kind and not events & kind:
                remove(fd)

    def forget(self, fd: int) -> None:
        if fd in self._watched:
            self.change(fd, 0)
            del self._watched[fd]

    def give_way(self) -> None:
        """Nothing is asked twice here."""

    def close(self) -> None:
        for fd in list(self._watched):
            self.forget(fd)

    def _call(self, watched: Watched, kind: int) -> None:
        try:
            watched.ready(kind)
        except Exception as error:
            watched.broke(error)
