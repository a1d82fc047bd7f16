"""Networks of the tests' own: namespaces that can be cut off and healed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.needs import missing, need


class Place:
    """A network namespace with two links to this one: to its clients, and to the database.

    address: its own, for clients. clients: theirs. database: the database's address, as it is seen
        from there.
    """

    def __init__(self, number: int) -> None:
        self.name = f"restante-{os.getpid()}-{number}"
        self.address = f"10.231.{2 * number}.2"
        self.clients = f"10.231.{2 * number}.1"
        self.database = f"10.231.{2 * number + 1}.1"
        self._links = [f"rst{os.getpid() % 100000}{kind}{number}" for kind in "cd"]

    @property
    def wrapper(self) -> Sequence[str]:
        """What is before a command that runs there."""
        return (need("ip", package="iproute2"), "netns", "exec", self.name)

    def make(self) -> None:
        """Make it, with its links."""
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "set", "lo", "up")
        for link, theirs in zip(self._links, (self.address, self.database), strict=True):
            net = theirs.rpartition(".")[0]
            _ip("link", "add", link, "type", "veth", "peer", "name", link, "netns", self.name)
            _ip("addr", "add", f"{net}.1/30", "dev", link)
            _ip("link", "set", link, "up")
            _ip("-n", self.name, "addr", "add", f"{net}.2/30", "dev", link)
            _ip("-n", self.name, "link", "set", link, "up")

    def cut(self) -> None:
        """Cut it off from the database: packets are lost, and nobody is told."""
        _ip("-n", self.name, "link", "set", self._links[1], "down")

    def heal(self) -> None:
        """Undo `cut`."""
        _ip("-n", self.name, "link", "set", self._links[1], "up")

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
