"""What the model of the store's rules knows: tables, blobs, nodes, and what is on its way."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias


class Scope(NamedTuple):
    """How much of each thing may happen. Crashes, collectors and renewals have no bound.

    rows: how many rows of `bodies` may be made.
    late: how many requests of crashed nodes may be on their way at once.
    exclusive: False: the maildrop is opened without a lease, in the mode `snapshot`.
    """

    nodes: int = 3
    recipients: tuple[str, ...] = ("ann", "bob")
    deliveries: int = 2
    rows: int = 2
    sessions: int = 1
    undeletes: int = 1
    operator_releases: int = 0
    late: int = 1
    exclusive: bool = True


# ---- What the database holds


class Lease(NamedTuple):
    """Ann's row of `maildrops`.

    session: which session opened it last. No rule looks at that, only the promises do.
    """

    number: int = 0
    held: bool = False
    expired: bool = False
    session: int = 0


class Body(NamedTuple):
    """A row of `bodies`: `writing`, `stored` or `doomed`. All have the same digest.

    unused: perhaps no message has it; a collector must look.
    """

    row: int
    state: str
    unused: bool = True


class Message(NamedTuple):
    """A row of `messages`."""

    maildrop: str
    delivery: int
    body: int
    removed: bool


# ---- What a node is at


class Session(NamedTuple):
    """A POP3 session of Ann. view: the deliveries that it lists."""

    kind: str
    phase: str
    session: int
    number: int
    view: tuple[int, ...]


class Delivery(NamedTuple):
    """A delivery. used: whether it has set its body's `used`. recipients: still to be served."""

    kind: str
    phase: str
    delivery: int
    body: int
    used: bool
    recipients: tuple[str, ...]


class Collector(NamedTuple):
    """A run of the collector. was_used: whether the body's `used` was set since it looked."""

    kind: str
    phase: str
    body: int
    was_used: bool


class Idle(NamedTuple):
    kind: str = "idle"
    phase: str = "idle"


IDLE = Idle()
Node: TypeAlias = Session | Delivery | Collector | Idle

# ---- All of it


class World(NamedTuple):
    """A state. The fields from `accepted` on are what the promises are held against.

    late: what nodes had sent when they crashed or gave up. It is done at any time later, or
        never.
    accepted: deliveries that were, or may be, answered 250.
    asked: deliveries whose messages Ann's client has asked to remove.
    gone: those of which that was, or may be, answered +OK.
    fault: a promise that was broken on the way here.
    """

    nodes: tuple[Node, ...]
    lease: Lease = Lease()
    bodies: tuple[Body, ...] = ()
    messages: tuple[Message, ...] = ()
    blobs: tuple[int, ...] = ()
    late: tuple[Node, ...] = ()
    rows: int = 0
    deliveries: int = 0
    sessions: int = 0
    undeletes: int = 0
    operator_releases: int = 0
    accepted: tuple[int, ...] = ()
    asked: tuple[int, ...] = ()
    gone: tuple[int, ...] = ()
    fault: str = ""

    def at(self, place: int | None, node: Node) -> World:
        """The node at this place is at something else now; None: it isn't there any more."""
        if place is None:
            return self
        return self._replace(nodes=(*self.nodes[:place], node, *self.nodes[place + 1 :]))

    def body(self, row: int) -> Body | None:
        return next((each for each in self.bodies if each.row == row), None)

    def with_body(self, body: Body) -> World:
        rest = [each for each in self.bodies if each.row != body.row]
        return self._replace(bodies=tuple(sorted([*rest, body])))

    def without_body(self, row: int) -> World:
        return self._replace(bodies=tuple(each for each in self.bodies if each.row != row))

    def with_used(self, row: int) -> World:
        """The row's `used` is set: a collector that waits for its lock will see that."""
        nodes = tuple(
            each._replace(was_used=True)
            if isinstance(each, Collector) and each.phase == "dooming" and each.body == row
            else each
            for each in self.nodes
        )
        return self._replace(nodes=nodes)

    def with_blob(self, key: int) -> World:
        return self._replace(blobs=union(self.blobs, (key,)))

    def without_blob(self, key: int) -> World:
        return self._replace(blobs=tuple(each for each in self.blobs if each != key))

    def listing(self) -> tuple[int, ...]:
        """What a session of Ann sees."""
        return tuple(m.delivery for m in self.messages if m.maildrop == "ann" and not m.removed)


def union(some: tuple[int, ...], more: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted({*some, *more}))
