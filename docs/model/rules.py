"""The rules of the store in PostgreSQL and object storage, as a model.

`docs/store-rules.md` tells them in words. A method with `@step` is what a node, the database, the
network or time may do next. What a database does in one transaction under a lock is one step;
what may come between is found by trying every order of all steps (`explore.py`).

One body is delivered to two maildrops, by several deliveries on several nodes: the worst case for
bodies that are stored once. Sessions have the first of the two maildrops.

    python docs/model/rules.py                      looks at all states
    python docs/model/rules.py holder_checked       takes this guard away, and shows what is lost
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias, TypeVar

from explore import Found, Step, explore
from world import (
    IDLE,
    Body,
    Collector,
    Delivery,
    Idle,
    Lease,
    Message,
    Node,
    Scope,
    Session,
    World,
    union,
)


class Guards(NamedTuple):
    """What keeps mail from being lost. Each guard can be taken away, to see what it is for."""

    # Leases
    number_raised_by_open: bool = True
    number_raised_by_operator: bool = True
    number_checked_by_renew: bool = True
    number_checked_by_commit: bool = True
    number_checked_by_release: bool = True
    holder_checked: bool = True
    lease_locked_by_commit: bool = True
    expiry_by_the_clock_of_the_database: bool = True
    listing_after_the_lock: bool = True
    ok_after_commit: bool = True
    # Delivery
    row_before_blob: bool = True
    one_row_of_a_digest: bool = True
    key_has_number_of_row: bool = True
    used_set_at_begin: bool = True
    put_ends_within_grace: bool = True
    blob_before_messages: bool = True
    doomed_checked_with_messages: bool = True
    used_set_with_messages: bool = True
    all_recipients_at_once: bool = True
    answer_after_messages: bool = True
    unique_ids_before_messages: bool = True
    rows_outlive_requests: bool = True
    # Collector
    grace: bool = True
    messages_looked_for: bool = True
    removed_messages_count: bool = True
    forgetting_marks_bodies: bool = True
    marks_cleared_after_the_lock: bool = True
    used_checked_under_the_lock: bool = True
    doomed_committed_before_removal: bool = True
    blob_removed_before_row: bool = True
    doomed_rows_taken_up: bool = True


Outcomes: TypeAlias = Iterator[tuple[str, World]]
"""What a step may lead to: in words, and the world after it."""

StepMethod = TypeVar("StepMethod", bound=Callable[..., Outcomes])
STEPS: dict[str, list[Callable[..., Outcomes]]] = defaultdict(list)
"""The steps, by the phase of the node that takes them; "": what nodes have no part in."""


def step(*phases: str) -> Callable[[StepMethod], StepMethod]:
    def noted(method: StepMethod) -> StepMethod:
        for phase in phases or ("",):
            STEPS[phase].append(method)
        return method

    return noted


class StoreModel:
    """The model, as `explore` wants it."""

    def __init__(self, scope: Scope, *without: str) -> None:
        self.scope = scope
        self.guards = Guards(**dict.fromkeys(without, False))

    def start(self) -> World:
        return World(nodes=(IDLE,) * self.scope.nodes)

    def canonical(self, world: World) -> World:
        nodes = tuple(sorted(world.nodes))
        return world if nodes == world.nodes else world._replace(nodes=nodes)

    def steps(self, world: World) -> Iterator[Step[World]]:
        for place, node in enumerate(world.nodes):
            if node == IDLE and IDLE in world.nodes[:place]:
                continue  # one idle node is like the other
            for method in STEPS[node.phase]:
                for what, then in method(self, world, place, node):
                    yield Step(f"node {place + 1}", what, then)
            if node != IDLE:
                yield Step(f"node {place + 1}", "crashes", self.crash(world, place))
        for method in STEPS[""]:
            for what, then in method(self, world):
                yield Step("", what, then)

    # ---- Leases and sessions

    @step("idle")
    def open(self, world: World, place: int, _: Idle) -> Outcomes:
        """UPDATE maildrops SET lease = lease + 1, holder, expires WHERE it is free or expired;
        then, in a statement of its own, the listing."""
        if world.sessions == self.scope.sessions:
            return
        world = world._replace(sessions=world.sessions + 1)
        session = Session("session", "opening", world.sessions, 0, world.listing())
        if not self.scope.exclusive:
            session = session._replace(phase="reading")
            yield f"open: lists {told(session.view)}", world.at(place, session)
        elif self.guards.listing_after_the_lock:
            yield from self.take(world, place, session)
        else:
            yield "open: its snapshot of the messages is taken", world.at(place, session)

    @step("opening")
    def take(self, world: World, place: int, session: Session) -> Outcomes:
        """The row of `maildrops` is locked, and looked at as it is by then."""
        guards, lease = self.guards, world.lease
        if lease.held and not lease.expired and guards.expiry_by_the_clock_of_the_database:
            if not guards.listing_after_the_lock:
                yield "open: [IN-USE]", world.at(place, IDLE)
            return
        number = lease.number + (guards.number_raised_by_open or not lease.held)
        view = world.listing() if guards.listing_after_the_lock else session.view
        session = session._replace(phase="reading", number=number, view=view)
        then = world._replace(lease=Lease(number, True, False, session.session)).at(place, session)
        if lease.held and not lease.expired:
            then = then._replace(fault="a lease was taken from a session before its end")
        if set(view) & set(world.gone):
            then = then._replace(fault="a session lists what was answered +OK for its deletion")
        how = "takes over" if lease.held else "takes"
        yield f"open: session {session.session} {how} lease {number}, lists {told(view)}", then

    @step("reading")
    def renew(self, world: World, place: int, session: Session) -> Outcomes:
        """UPDATE maildrops SET expires WHERE lease = mine AND holder IS NOT NULL."""
        lease = world.lease
        if not self.scope.exclusive:
            return
        if self.guards.number_checked_by_renew and lease.number != session.number:
            yield f"renew: session {session.session} has lost its lease", world.at(place, IDLE)
        elif lease.held and lease.expired:
            then = world._replace(lease=lease._replace(expired=False))
            if lease.session != session.session:
                then = then._replace(fault="a session renewed a lease that is another's")
            yield f"renew: session {session.session} renews lease {lease.number}", then

    @step("reading")
    def quit(self, world: World, place: int, session: Session) -> Outcomes:
        """The client has marked all that it sees, or nothing, and says QUIT."""
        what = f"QUIT: session {session.session} wants to remove"
        if session.view:
            then = world._replace(asked=union(world.asked, session.view))
            if not self.guards.ok_after_commit:
                what = f"+OK, {what}"
                then = then._replace(gone=union(world.gone, session.view))
            then = then.at(place, session._replace(phase="committing"))
            yield f"{what} {told(session.view)}", then
        yield f"{what} nothing", world.at(place, session._replace(phase="closing"))

    @step("committing", "checked")
    def commit(self, world: World, place: int | None, session: Session) -> Outcomes:
        """One transaction: SELECT … FROM maildrops WHERE lease = mine AND holder IS NOT NULL FOR
        NO KEY UPDATE; UPDATE messages SET removed = now(). Then +OK."""
        if session.phase == "committing":
            guards, lease = self.guards, world.lease
            if self.scope.exclusive and (
                (guards.number_checked_by_commit and lease.number != session.number)
                or (guards.holder_checked and not lease.held)
            ):
                yield "commit: the lease is lost, nothing is removed", world.at(place, IDLE)
                return
            if not guards.lease_locked_by_commit and place is not None:
                then = world.at(place, session._replace(phase="checked"))
                yield "commit: looks at the lease without locking it", then
                return
        messages = tuple(
            m._replace(removed=True) if m.maildrop == "ann" and m.delivery in session.view else m
            for m in world.messages
        )
        then = world._replace(messages=messages, gone=union(world.gone, session.view))
        if not self.scope.exclusive:
            pass
        elif world.lease.session != session.session:
            then = then._replace(fault="a session committed under a lease that is another's")
        elif not world.lease.held:
            then = then._replace(fault="a session committed after its lease had ended")
        then = then.at(place, session._replace(phase="closing"))
        yield f"commit: session {session.session} removes {told(session.view)}, +OK", then

    @step("committing")
    def give_up_commit(self, world: World, place: int, session: Session) -> Outcomes:
        """A commit of which nothing is heard in time: -ERR, and the lease is given back."""
        then = self.crash(world, place).at(place, session._replace(phase="closing"))
        yield f"commit: session {session.session} hears nothing, -ERR", then

    @step("closing")
    def release(self, world: World, place: int | None, session: Session) -> Outcomes:
        """UPDATE maildrops SET holder = NULL WHERE lease = mine AND holder IS NOT NULL."""
        lease, then = world.lease, world
        mine = lease.number == session.number or not self.guards.number_checked_by_release
        if lease.held and mine and self.scope.exclusive:
            then = world._replace(lease=lease._replace(held=False, expired=False))
            if lease.session != session.session:
                then = then._replace(fault="a session ended a lease that is another's")
        yield f"release by session {session.session}", then.at(place, IDLE)

    @step()
    def release_by_operator(self, world: World) -> Outcomes:
        """UPDATE maildrops SET holder = NULL, lease = lease + 1."""
        lease = world.lease
        if lease.held and world.operator_releases < self.scope.operator_releases:
            number = lease.number + self.guards.number_raised_by_operator
            then = world._replace(lease=Lease(number, session=lease.session))
            then = then._replace(operator_releases=world.operator_releases + 1)
            yield "`restante leases release`", then

    @step()
    def expire(self, world: World) -> Outcomes:
        """The lease's time ends, by the clock of the database. That may be at any moment: the
        model knows no figures, so nothing rests on them."""
        if world.lease.held and not world.lease.expired:
            then = world._replace(lease=world.lease._replace(expired=True))
            yield f"lease {world.lease.number} expires", then

    # ---- Delivery

    @step("idle")
    def begin(self, world: World, place: int, _: Idle) -> Outcomes:
        """A message is there as a whole; it has two recipients."""
        if world.deliveries < self.scope.deliveries:
            number = world.deliveries + 1
            delivery = Delivery("delivery", "finding", number, 0, True, self.scope.recipients)
            yield from self.find(world._replace(deliveries=number), place, delivery)

    @step("finding", "making")
    def find(self, world: World, place: int, delivery: Delivery) -> Outcomes:
        """(1) INSERT INTO bodies, `writing`, used = now(); ON CONFLICT (digest) WHERE state <>
        'doomed' DO UPDATE SET used = now()."""
        guards = self.guards
        what = f"delivery {delivery.delivery}:"
        if self.locked(world):
            return
        body = next((each for each in world.bodies if each.state != "doomed"), None)
        if delivery.phase == "finding" and body is not None:
            stored = body.state == "stored" or not guards.blob_before_messages
            phase = "inserting" if stored else "putting"
            delivery = delivery._replace(phase=phase, body=body.row, used=guards.used_set_at_begin)
            then = world.with_used(body.row) if guards.used_set_at_begin else world
            yield f"{what} finds body {body.row}, {body.state}", then.at(place, delivery)
        elif delivery.phase == "finding" and not guards.one_row_of_a_digest:
            yield f"{what} finds no body", world.at(place, delivery._replace(phase="making"))
        elif world.rows < self.scope.rows:
            row = world.rows + 1
            phase = "putting" if guards.blob_before_messages else "inserting"
            then = world._replace(rows=row).at(place, delivery._replace(phase=phase, body=row))
            if guards.row_before_blob:
                yield f"{what} makes body {row}, writing", then.with_body(Body(row, "writing"))
            else:
                yield f"{what} will make body {row}", then

    def key(self, row: int) -> int:
        """The key of a body's blob. Without the row's number in it, it is the digest alone."""
        return row if self.guards.key_has_number_of_row else 1

    @step("putting")
    def put(self, world: World, place: int | None, delivery: Delivery) -> Outcomes:
        """(2) The blob is put, unless it is there. Two nodes may put the same one."""
        then = world.with_blob(self.key(delivery.body))
        first = self.guards.blob_before_messages
        node = delivery._replace(phase="inserting") if first else IDLE
        yield f"delivery {delivery.delivery}: puts blob {delivery.body}", then.at(place, node)

    @step("inserting")
    def insert(self, world: World, place: int | None, delivery: Delivery) -> Outcomes:
        """(3) One transaction: UPDATE bodies SET state = 'stored', used = now() WHERE id AND
        state <> 'doomed'; INSERT INTO messages, for all recipients, those that are there already
        excepted. Then 250."""
        if self.locked(world):
            return
        guards = self.guards
        what = f"delivery {delivery.delivery}:"
        body = world.body(delivery.body)
        doomed = body is None or body.state == "doomed"
        if body is None and not guards.row_before_blob:
            doomed = False
        if doomed and (body is None or guards.doomed_checked_with_messages):
            again = delivery._replace(phase="finding", body=0, used=True)
            yield f"{what} body {delivery.body} is doomed; begins again", world.at(place, again)
            return
        if not doomed:
            world = world.with_body(Body(delivery.body, "stored", unused=False))
        if guards.used_set_with_messages:
            world = world.with_used(delivery.body)
        now, later = delivery.recipients, delivery.recipients[:0]
        if not guards.all_recipients_at_once:
            now, later = now[:1], now[1:]
        there = {m.maildrop for m in world.messages if m.delivery == delivery.delivery}
        if not guards.unique_ids_before_messages:
            there = set()
        new = [
            Message(each, delivery.delivery, delivery.body, False)
            for each in now
            if each not in there
        ]
        then = world._replace(messages=tuple(sorted([*world.messages, *new])))
        if later:
            node: Node = delivery._replace(recipients=later)
        else:
            then = then._replace(accepted=union(then.accepted, (delivery.delivery,)))
            node = IDLE if guards.blob_before_messages else delivery._replace(phase="putting")
        yield (
            f"{what} inserts for {' and '.join(now)}{'' if later else ', 250'}",
            then.at(place, node),
        )

    @step("inserting")
    def repeat_insert(self, world: World, place: int, delivery: Delivery) -> Outcomes:
        """The connection is lost: (3) is sent once more, and the first one may still be done."""
        then = self.crash(world, place)
        if then.late != world.late:
            yield f"delivery {delivery.delivery}: hears nothing", then.at(place, delivery)

    @step("finding", "putting", "inserting")
    def answer_too_early(self, world: World, place: int, delivery: Delivery) -> Outcomes:
        """250 before the transaction: what the guard forbids."""
        if not self.guards.answer_after_messages and delivery.delivery not in world.accepted:
            then = world._replace(accepted=union(world.accepted, (delivery.delivery,)))
            yield f"delivery {delivery.delivery}: 250", then

    # ---- Undelete and collector

    @step()
    def undelete(self, world: World) -> Outcomes:
        """UPDATE messages SET removed = NULL WHERE removed > now() - undelete_days."""
        back = {m.delivery for m in world.messages if m.maildrop == "ann" and m.removed}
        if back and world.undeletes < self.scope.undeletes:
            messages = (m._replace(removed=False) for m in world.messages)
            then = world._replace(
                undeletes=world.undeletes + 1,
                messages=tuple(messages),
                asked=tuple(each for each in world.asked if each not in back),
                gone=tuple(each for each in world.gone if each not in back),
            )
            yield f"`restante undelete` puts back {told(sorted(back))}", then

    @step()
    def forget(self, world: World) -> Outcomes:
        """DELETE FROM messages WHERE removed < now() - undelete_days; their bodies are marked as
        unused. It may be at any time, except that rows outlive requests to insert them."""
        guards = self.guards
        asked_for = {
            each.delivery
            for each in (*world.nodes, *world.late)
            if isinstance(each, Delivery) and guards.rows_outlive_requests
        }
        for old in world.messages:
            if old.removed and old.delivery not in asked_for:
                then = world._replace(messages=tuple(m for m in world.messages if m != old))
                body = then.body(old.body)
                if body and guards.forgetting_marks_bodies:
                    then = then.with_body(body._replace(unused=True))
                yield f"collector: forgets message {old.delivery}, which was removed", then

    @step("idle")
    def clear(self, world: World, place: int, _: Idle) -> Outcomes:
        """UPDATE bodies SET unused = FALSE WHERE EXISTS messages. A lock was taken in an earlier
        statement, so that nobody forgets messages meanwhile."""
        for body in world.bodies:
            if body.unused and any(m.body == body.row for m in world.messages):
                collector = Collector("collector", "clearing", body.row, False)
                if self.guards.marks_cleared_after_the_lock:
                    yield from self.cleared(world, place, collector)
                else:
                    yield f"collector: body {body.row} has a message", world.at(place, collector)

    @step("clearing")
    def cleared(self, world: World, place: int, collector: Collector) -> Outcomes:
        """The mark is taken away."""
        body = world.body(collector.body)
        then = world.with_body(body._replace(unused=False)) if body else world
        yield f"collector: clears the mark of body {collector.body}", then.at(place, IDLE)

    @step("idle")
    def look(self, world: World, place: int, _: Idle) -> Outcomes:
        """UPDATE bodies SET state = 'doomed' WHERE unused AND used < now() - grace AND NOT
        EXISTS messages.

        The statement sees all tables as they are when it begins …"""
        guards = self.guards
        for body in world.bodies:
            used = any(
                m.body == body.row and (guards.removed_messages_count or not m.removed)
                for m in world.messages
            )
            if body.state == "doomed" or not body.unused or self.used_lately(world, body.row):
                continue
            if not used or not guards.messages_looked_for:
                phase = "dooming" if guards.doomed_committed_before_removal else "removing"
                then = world.at(place, Collector("collector", phase, body.row, False))
                yield f"collector: body {body.row} is unused", then

    def used_lately(self, world: World, row: int) -> bool:
        """Whether used < now() - grace can't be true.

        The grace may be over at any moment, so no message rests on how long it is. But one thing
        does count: a put is given up, by the node's own stopwatch, before the grace is over."""
        if not (self.guards.grace and self.guards.put_ends_within_grace):
            return False
        return any(
            isinstance(each, Delivery)
            and each.phase == "putting"
            and each.body == row
            and each.used
            for each in (*world.nodes, *world.late)
        )

    @step("dooming")
    def doom(self, world: World, place: int, collector: Collector) -> Outcomes:
        """… and the row's own columns again, as they are when it has the row's lock: a row that
        was used meanwhile is left alone."""
        row = collector.body
        body = world.body(row)
        used = collector.was_used and self.guards.used_checked_under_the_lock
        if body is None or body.state == "doomed" or used:
            yield f"collector: body {row} was used meanwhile", world.at(place, IDLE)
        elif not self.guards.doomed_committed_before_removal:
            yield f"collector: deletes body {row}", world.without_body(row).at(place, IDLE)
        else:
            then = world.with_body(Body(row, "doomed"))
            yield f"collector: dooms body {row}", then.at(place, self.after_dooming(row))

    def locked(self, world: World) -> bool:
        """Whether a collector keeps its row locked while it removes the blob, which it must not:
        if it crashes then, the database takes back that the row is doomed."""
        return not self.guards.doomed_committed_before_removal and any(
            isinstance(each, Collector) for each in world.nodes
        )

    def after_dooming(self, row: int) -> Collector:
        phase = "removing" if self.guards.blob_removed_before_row else "deleting"
        return Collector("collector", phase, row, False)

    @step("idle")
    def take_up(self, world: World, place: int, _: Idle) -> Outcomes:
        """A row that is doomed already is another collector's, or one's that has crashed."""
        for body in world.bodies:
            if body.state == "doomed" and self.guards.doomed_rows_taken_up:
                then = world.at(place, self.after_dooming(body.row))
                yield f"collector: takes up body {body.row}, doomed", then

    @step("removing")
    def remove(self, world: World, place: int | None, collector: Collector) -> Outcomes:
        """The blob is removed, when `doomed` has been committed."""
        node: Node = IDLE
        if not self.guards.doomed_committed_before_removal:
            node = collector._replace(phase="dooming")
        elif self.guards.blob_removed_before_row:
            node = collector._replace(phase="deleting")
        then = world.without_blob(self.key(collector.body))
        yield f"collector: removes blob {collector.body}", then.at(place, node)

    @step("deleting")
    def delete(self, world: World, place: int, collector: Collector) -> Outcomes:
        """DELETE FROM bodies WHERE id AND state = 'doomed', after the blob."""
        last = self.guards.blob_removed_before_row
        node = IDLE if last else collector._replace(phase="removing")
        then = world.without_body(collector.body).at(place, node)
        yield f"collector: deletes the row of body {collector.body}", then

    # ---- What goes wrong

    def crash(self, world: World, place: int) -> World:
        """A node crashes, or gives up: what it has sent may be done later all the same."""
        node = world.nodes[place]
        waits = {"committing", "closing", "putting", "inserting", "removing"}
        if node.phase in waits and len(world.late) < self.scope.late:
            world = world._replace(late=tuple(sorted({*world.late, node})))
        return world.at(place, IDLE)

    @step()
    def come_late(self, world: World) -> Outcomes:
        """What a node had sent before it crashed is done now, or never."""
        methods: dict[str, Callable[..., Outcomes]] = {
            "committing": self.commit,
            "closing": self.release,
            "putting": self.put,
            "inserting": self.insert,
            "removing": self.remove,
        }
        for node in world.late:
            rest = world._replace(late=tuple(each for each in world.late if each != node))
            for what, then in methods[node.phase](rest, None, node):
                yield f"late, {what}", then
                yield f"never, {what}", rest

    # ---- The promises

    def broken(self, world: World) -> str:
        """Which promise is broken; empty: none."""
        if world.fault:
            return world.fault
        going = {each.delivery for each in world.nodes if isinstance(each, Delivery)}
        going_away = {
            delivery
            for each in world.nodes
            if isinstance(each, Session) and each.phase in {"committing", "checked"}
            for delivery in each.view
        }
        for m in world.messages:
            if self.key(m.body) not in world.blobs:
                return "a message has no blob"
            back = m.delivery in world.gone and m.delivery not in going_away
            if m.maildrop == "ann" and not m.removed and back:
                return "what was answered +OK for its deletion is there again"
            if m.removed and m.delivery not in world.asked:
                return "a message was removed that nobody asked to be"
        if sum(each.state != "doomed" for each in world.bodies) > 1:
            return "a body is stored twice"
        for delivery in range(1, world.deliveries + 1):
            there = [m.maildrop for m in world.messages if m.delivery == delivery]
            if len(set(there)) < len(there):
                return "a message is there twice"
            may_miss = {"ann"} if delivery in world.asked else set()
            if delivery in going or set(there) | may_miss >= set(self.scope.recipients):
                continue
            if delivery in world.accepted:
                return "what was answered 250 is not there"
            if there:
                return "a delivery that failed is there for some of its recipients"
        return ""

    def unsettled(self, world: World) -> str:
        """What a collector has still to do; empty: nothing."""
        used = {each.body for each in world.messages}
        keys = {self.key(each.row) for each in world.bodies}
        for key in world.blobs:
            if key not in keys:
                return f"blob {key} has no row"
        for body in world.bodies:
            if body.row not in used:
                return f"body {body.row} has no message"
        return ""


def told(numbers: tuple[int, ...] | list[int]) -> str:
    return ", ".join(map(str, numbers)) or "nothing"


SCOPES = {
    "leases": Scope(recipients=("ann",), deliveries=1, rows=1, sessions=3, operator_releases=1),
    "readers": Scope(recipients=("ann",), rows=1, sessions=2, undeletes=0, exclusive=False),
    "bodies": Scope(deliveries=3, sessions=0, undeletes=0),
    "everything": Scope(),
}
"""What is looked at as a whole."""

SESSIONS = Scope(recipients=("ann",), deliveries=1, rows=1, sessions=2, undeletes=0)
DELIVERIES = Scope(sessions=0, undeletes=0)
ONE_OF_TWO = Scope(deliveries=1, rows=1, undeletes=0)
TWO_REMOVED = SESSIONS._replace(sessions=1, deliveries=2)
ANOTHERS = "a session committed under a lease that is another's"
ENDED = "a session committed after its lease had ended"
NO_BLOB = "a message has no blob"
LEFT = "never tidied up: blob 1 has no row"
UNUSED = "never tidied up: body 1 has no message"

WHAT_FOR = {
    "number_raised_by_open": (SESSIONS, ANOTHERS),
    "number_raised_by_operator": (SESSIONS._replace(operator_releases=1), ""),
    "number_checked_by_renew": (SESSIONS, "a session renewed a lease that is another's"),
    "number_checked_by_commit": (SESSIONS, ANOTHERS),
    "number_checked_by_release": (SESSIONS, "a session ended a lease that is another's"),
    "holder_checked": (SESSIONS, ENDED),
    "lease_locked_by_commit": (SESSIONS, ANOTHERS),
    "expiry_by_the_clock_of_the_database": (
        SESSIONS,
        "a lease was taken from a session before its end",
    ),
    "listing_after_the_lock": (
        SESSIONS,
        "a session lists what was answered +OK for its deletion",
    ),
    "ok_after_commit": (SESSIONS, "what was answered +OK for its deletion is there again"),
    "row_before_blob": (DELIVERIES, LEFT),
    "one_row_of_a_digest": (DELIVERIES, "a body is stored twice"),
    "key_has_number_of_row": (DELIVERIES, NO_BLOB),
    "used_set_at_begin": (DELIVERIES, LEFT),
    "put_ends_within_grace": (DELIVERIES, LEFT),
    "blob_before_messages": (DELIVERIES, NO_BLOB),
    "doomed_checked_with_messages": (DELIVERIES, NO_BLOB),
    "used_set_with_messages": (DELIVERIES, NO_BLOB),
    "all_recipients_at_once": (
        DELIVERIES,
        "a delivery that failed is there for some of its recipients",
    ),
    "answer_after_messages": (DELIVERIES, "what was answered 250 is not there"),
    "unique_ids_before_messages": (DELIVERIES, "a message is there twice"),
    "rows_outlive_requests": (
        SESSIONS._replace(sessions=1),
        "what was answered +OK for its deletion is there again",
    ),
    "grace": (DELIVERIES, LEFT),
    "messages_looked_for": (ONE_OF_TWO, NO_BLOB),
    "removed_messages_count": (TWO_REMOVED, NO_BLOB),
    "forgetting_marks_bodies": (SESSIONS._replace(sessions=1), UNUSED),
    "marks_cleared_after_the_lock": (TWO_REMOVED, UNUSED),
    "used_checked_under_the_lock": (DELIVERIES, NO_BLOB),
    "doomed_committed_before_removal": (DELIVERIES, NO_BLOB),
    "blob_removed_before_row": (DELIVERIES, LEFT),
    "doomed_rows_taken_up": (DELIVERIES, UNUSED),
}
"""For each guard: a small scope, and the promise that is broken there without it."""


def check(scope: Scope, *without: str, wanted: str = "") -> Found[World]:
    """Look at all states of a scope, with some guards taken away; see `explore`."""
    return explore(StoreModel(scope, *without), wanted=wanted)


if __name__ == "__main__":
    if without := sys.argv[1:]:
        scope, wanted = WHAT_FOR[without[-1]]
        print(check(scope, *without, wanted=wanted if len(without) == 1 else ""))
    else:
        for name, scope in SCOPES.items():
            print(f"{name}: {check(scope)}", flush=True)
