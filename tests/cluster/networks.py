"""Networks of the tests' own: namespaces that can be cut off and healed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeAlias

import pytest

from tests.needs import missing, need

Link: TypeAlias = Literal["clients", "database", "objects"]


class Place:
    """A network namespace with three links to this one, each of which can be cut.

    address: its own, for clients. clients, database, objects: the addresses of these, as they are
        seen from there.
    """

    def __init__(self, number: int) -> None:
        self.name = f"restante-{os.getpid()}-{number}"
        own = 100 + os.getpid() % 150  # other tests may have networks at the same time
        self._nets = [f"10.{own}.{3 * number + link}" for link in range(3)]
        self.clients, self.database, self.objects = (f"{net}.1" for net in self._nets)
        self.address = f"{self._nets[0]}.2"
        self._links = [f"rst{os.getpid() % 100000}{kind}{number}" for kind in "cdo"]

    @property
    def wrapper(self) -> Sequence[str]:
        """What is before a command that runs there."""
        return (need("ip", package="iproute2"), "netns", "exec", self.name)

    def make(self) -> None:
        """Make it, with its links."""
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "set", "lo", "up")
        for link, net in zip(self._links, self._nets, strict=True):
            _ip("link", "add", link, "type", "veth", "peer", "name", link, "netns", self.name)
            _ip("addr", "add", f"{net}.1/30", "dev", link)
            _ip("link", "set", link, "up")
            _ip("-n", self.name, "addr", "add", f"{net}.2/30", "dev", link)
            _ip("-n", self.name, "link", "set", link, "up")

    def cut(self, link: Link = "database") -> None:
        """Cut it off from there: packets are lost, and nobody is told."""
        self._set(link, "down")

    def heal(self, link: Link = "database") -> None:
        """Undo `cut`."""
        self._set(link, "up")

    def _set(self, link: Link, state: str) -> None:
        name = self._links[("clients", "database", "objects").index(link)]
        _ip("-n", self.name, "link", "set", name, state)

    def remove(self) -> None:
        """Remove it, and its links with it. Harmless when it wasn't made wholly."""
        command = [need("ip", package="iproute2"), "netns", "delete", self.name]
        subprocess.run(command, check=False, capture_output=True)


def _ip(*arguments: str) -> None:
    subprocess.run([need("ip", package="iproute2"), *arguments], check=True, capture_output=True)


@contextmanager
def places(count: int) -> Iterator[list[Place]]:
    """So many of them."""
    if os.geteuid() != 0:
        missing("only root can make network namespaces")
    made: list[Place] = []
    try:
        for number in range(count):
            place = Place(number)
            made.append(place)
            try:
                place.make()
            except subprocess.CalledProcessError as error:
                pytest.skip(f"only where network namespaces can be made: {error.stderr.decode()}")
        yield made
    finally:
        for place in made:
            place.remove()
