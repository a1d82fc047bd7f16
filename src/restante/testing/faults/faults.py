"""The faults of one server: which there are, which happen, and who is told."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TypeAlias

from restante.accounts.contract import Account
from restante.protocol.states import State
from restante.server.client import ClientSession
from restante.server.observer import Observer
from restante.server.server import Pop3Server
from restante.stores.contract import Store
from restante.testing.faults.fault import Fault, FaultError
from restante.testing.faults.store import FaultyMaildrop, FaultyStore
from restante.testing.faults.text import parse
from restante.testing.wire import GREETING, Control, Occasion, Wire, wiring_of

log = logging.getLogger("restante.testing")

OnFired: TypeAlias = Callable[[ClientSession | None, Fault], None]
OnMissed: TypeAlias = Callable[[ClientSession | None, Fault, str], None]

MOST_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Fired:
    """A fault that has happened. session: in which; None: before there was one."""

    fault: Fault
    session: ClientSession | None


@dataclass(frozen=True, slots=True)
class Missed:
    """A fault that was due and could not happen. why: as `the reply had 50 octets`."""

    fault: Fault
    session: ClientSession | None
    why: str


class Faults(Control):
    """The faults of one server. They may be added and removed while it runs, from any thread.

    on_fired: called with the session, or None, and the fault, on the server's event loop, when
        one has happened. on_missed: with the reason, too, when one was due and could not
        happen; it is logged as a warning in any case.

    Raises FaultError for faults that exclude each other, and TypeError for what is none.
    """

    def __init__(
        self,
        *faults: Fault | str,
        on_fired: OnFired | None = None,
        on_missed: OnMissed | None = None,
    ) -> None:
        self.on_fired = on_fired
        self.on_missed = on_missed
        self.fired: deque[Fired] = deque(maxlen=MOST_KEPT)
        """What has happened, in order: the last 10,000."""
        self.count = 0
        """How many happened in all."""
        self.missed: deque[Missed] = deque(maxlen=MOST_KEPT)
        """What was due and could not happen, in order: the last 10,000."""
        self._lock = Lock()
        self._armed: tuple[_Armed, ...] = ()
        self._maildrops: list[FaultyMaildrop] = []  # those that are open
        self._store = False
        self._attached = False
        self._tls = self._stls = False
        self.add(*faults)

    # Which there are

    def add(self, *faults: Fault | str) -> None:
        """Have these happen from now on. A text is read by `parse`.

        Raises FaultError for one that can't be, or that excludes another; then none is added.
        """
        with self._lock:
            armed = list(self._armed)
            for given in faults:
                fault = parse(given) if isinstance(given, str) else given
                if not isinstance(fault, Fault):
                    raise TypeError(f"{fault!r} is no fault: give one such as Reset('RETR')")
                self._check(fault, [each.fault for each in armed])
                armed.append(_Armed(fault))
            self._armed = tuple(armed)

    def _check(self, fault: Fault, others: Sequence[Fault]) -> None:
        for other in others:
            if fault == other:
                raise FaultError(f"{fault} is given already")
            if fault.excludes(other):
                first, second = (fault, other) if fault.prevents(other) else (other, fault)
                why = f"where {first} happens, {second} can't"
                if fault.decides and fault.decides == other.decides:
                    why = f"both decide the {fault.decides}"
                raise FaultError(
                    f"{fault} and {other} exclude each other: {why}."
                    " Give one of them, or tell them apart by when, connection, nth, once or"
                    " account"
                )
        if self._attached:
            self._check_server(fault)

    def _check_server(self, fault: Fault) -> None:
        """Whether it can happen on the server that this is attached to."""
        if not self._store and any(fault.takes_part(name) for name in BY_STORE):
            raise FaultError(f"{fault} needs the store: wrap_store() must be called before")
        if not self._tls and fault.takes_part("on_handshake"):
            raise FaultError(f"{fault} needs TLS, and the server has no certificate")
        if not self._stls and fault.needs == "STLS":
            raise FaultError(f"{fault} needs STLS, and the server doesn't offer it")

    def remove(self, fault: Fault | str) -> None:
        """Have it happen no more. Raises FaultError when it isn't there."""
        wanted = parse(fault) if isinstance(fault, str) else fault
        with self._lock:
            left = tuple(each for each in self._armed if each.fault != wanted)
            if len(left) == len(self._armed):
                there = ", ".join(str(each.fault) for each in self._armed) or "none"
                raise FaultError(f"there is no fault {wanted}; there are: {there}")
            self._armed = left

    def clear(self) -> None:
        """Have none happen any more."""
        with self._lock:
            self._armed = ()

    def __iter__(self) -> Iterator[Fault]:
        return iter([each.fault for each in self._armed])

    def __len__(self) -> int:
        return len(self._armed)

    def __contains__(self, fault: object) -> bool:
        return any(each.fault == fault for each in self._armed)

    @property
    def unfired(self) -> list[Fault]:
        """Those that are there and have not happened so far."""
        happened = {each.fault for each in self.fired}
        return [each.fault for each in self._armed if each.fault not in happened]

    # Where they happen

    def wrap_store(self, store: Store) -> Store:
        """A store that fails, before `store`, for the server to be made with."""
        self._store = True
        return FaultyStore(store, self)

    def attach(self, server: Pop3Server) -> None:
        """Have a server fail. Called before it is started.

        Raises RuntimeError when it runs, or has other faults already.
        """
        if self._attached:
            raise RuntimeError("these faults are attached already: one server, one Faults")
        kinds = {listener.tls for listener in server.listeners}
        self._tls, self._stls = kinds != {"none"}, bool(kinds - {"none", "implicit"})
        for fault in self:
            self._check_server(fault)
        wiring = wiring_of(server)
        if wiring.control is not None:
            raise RuntimeError("the server has faults already")
        wiring.control = self
        self._attached = True
        server.observe(_Watcher(self, wiring.wire_of))

        async def receive_command(session: ClientSession, line: str) -> None:
            wire = wiring.wire_of(session)
            occasion = wire.last if wire is not None else None
            if occasion is None:
                return
            for work in occasion.work:
                await work()
            if occasion.refusal is not None:
                raise occasion.refusal

        async def mailbox_info(session: ClientSession) -> None:
            self._logged_in(session)

        server.on("receive_command")(receive_command)
        server.on("mailbox_info")(mailbox_info)

    # Control's part

    def accepted(self, wire: Wire) -> None:
        for firing in self._due("on_accept", wire.session, "", wire=wire):
            firing.fault.on_accept(wire, firing)

    def handshake(self, wire: Wire) -> None:
        for firing in self._due("on_handshake", wire.session, "", wire=wire):
            firing.fault.on_handshake(wire, firing)

    def begun(self, occasion: Occasion) -> None:
        session = occasion.session
        scope = "" if session is None or occasion.verb == GREETING else session.id
        found = []
        wanted = (each for each in self._armed if each.fault.concerns(occasion))
        for firing in self._due("on_command", session, scope, among=wanted, wire=occasion.wire):
            shaper = firing.fault.on_command(occasion, firing)
            if shaper is not None:
                found.append((firing.fault.stage, shaper))
        occasion.shapers += [shaper for _, shaper in sorted(found, key=lambda each: each[0])]

    def arrived(self, wire: Wire, data: bytes) -> bytes:
        for firing in self._due("on_arrival", wire.session, "", wire=wire):
            data = firing.fault.on_arrival(wire, data, firing)
        return data

    # Logging in and the store

    def _logged_in(self, session: ClientSession) -> None:
        account = session.account
        name = account.maildrop_name if account is not None else None
        fitting = (each for each in self._maildrops if each.session is None and each.name == name)
        if (maildrop := next(fitting, None)) is not None:  # it has just been opened
            maildrop.session = session
            for firing in maildrop.firings:
                firing.tell()
        for firing in self._due("on_login", session, ""):
            firing.fault.on_login(session, firing)

    def shares(self, account: Account) -> bool:
        return any(each.shares() and each.account in (None, account.name) for each in self)

    def opened(self, maildrop: FaultyMaildrop) -> None:
        self._maildrops.append(maildrop)
        for firing in self._due("on_open", None, "", maildrop=maildrop):
            maildrop.firings.append(firing)
            firing.fault.on_open(maildrop, firing)

    async def fetched(self, maildrop: FaultyMaildrop, number: int) -> None:
        wanted = (each for each in self._armed if each.fault.concerns_message(number))
        session = maildrop.session
        for firing in self._due("on_fetch", session, "", among=wanted, maildrop=maildrop):
            await firing.fault.on_fetch(maildrop, number, firing)

    def committed(
        self, maildrop: FaultyMaildrop, numbers: Sequence[int]
    ) -> tuple[Sequence[int], Exception | None]:
        error: Exception | None = None
        for firing in self._due("on_commit", maildrop.session, "", maildrop=maildrop):
            numbers, failed = firing.fault.on_commit(maildrop, numbers, firing)
            error = error or failed
        return numbers, error

    def closed(self, maildrop: FaultyMaildrop) -> None:
        session = maildrop.session
        if session is not None and session.state is State.TRANSACTION:
            for firing in self._due("on_abandoned", session, "", maildrop=maildrop):
                firing.fault.on_abandoned(maildrop, firing)
        if maildrop in self._maildrops:
            self._maildrops.remove(maildrop)

    def maildrop_of(self, session: ClientSession | None) -> FaultyMaildrop | None:
        """The maildrop that a session has opened through `wrap_store`."""
        if session is None:
            return None
        return next((each for each in self._maildrops if each.session is session), None)

    # Which of them happen

    def _due(
        self,
        moment: str,
        session: ClientSession | None,
        scope: str,
        *,
        among: Iterator[_Armed] | None = None,
        wire: Wire | None = None,
        maildrop: FaultyMaildrop | None = None,
    ) -> list[_Firing]:
        """The faults that happen now. scope: what `nth` counts within."""
        due: list[_Firing] = []
        decided: set[str] = set()
        for armed in self._armed if among is None else among:
            fault = armed.fault
            if not fault.takes_part(moment) or not _is_for(fault, session, maildrop):
                continue
            if fault.decides and fault.decides in decided and not fault.lasting:
                continue
            if not armed.takes(scope):
                continue
            decided.add(fault.decides)
            due.append(_Firing(self, armed, session, wire, maildrop))
        return due

    def forget(self, session: ClientSession) -> None:
        """A session has ended: nothing is counted within it any more."""
        for armed in self._armed:
            armed.seen.pop(session.id, None)
            armed.told.discard(session.id)

    def tell_fired(self, session: ClientSession | None, fault: Fault) -> None:
        self.fired.append(Fired(fault, session))
        self.count += 1
        if self.on_fired is not None:
            self.on_fired(session, fault)

    def tell_missed(self, session: ClientSession | None, fault: Fault, why: str) -> None:
        self.missed.append(Missed(fault, session, why))
        log.warning("the fault %s did not happen: %s", fault, why)
        if self.on_missed is not None:
            self.on_missed(session, fault, why)


BY_STORE = ("on_open", "on_fetch", "on_commit", "on_abandoned")


def _is_for(fault: Fault, session: ClientSession | None, maildrop: FaultyMaildrop | None) -> bool:
    if fault.account is None:
        return True
    if maildrop is not None:
        return fault.account == maildrop.owner.name
    if session is None:
        return False
    account = session.account
    return fault.account == (account.name if account is not None else session.claimed_name)


class _Armed:
    """A fault, how often it was due, and how often it has happened."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.seen: Counter[str] = Counter()
        self.taken = 0
        self.told: set[str] = set()  # sessions in which a lasting fault was told

    def takes(self, scope: str) -> bool:
        fault = self.fault
        self.seen[scope] += 1
        if fault.nth is not None and self.seen[scope] != fault.nth:
            return False
        if fault.limit is not None and self.taken >= fault.limit:
            return False
        self.taken += 1
        return True


class _Firing:
    """One chance of a fault; see `fault.Firing`."""

    def __init__(
        self,
        faults: Faults,
        armed: _Armed,
        session: ClientSession | None,
        wire: Wire | None,
        maildrop: FaultyMaildrop | None,
    ) -> None:
        self.fault = armed.fault
        self._faults = faults
        self._armed = armed
        self._session = session
        self._wire = wire
        self._maildrop = maildrop
        self._state = ""
        self._told = False

    @property
    def session(self) -> ClientSession | None:
        if self._session is None and self._wire is not None:
            return self._wire.session
        if self._session is None and self._maildrop is not None:
            return self._maildrop.session
        return self._session

    @property
    def opened(self) -> FaultyMaildrop | None:
        return self._maildrop or self._faults.maildrop_of(self.session)

    def fired(self) -> None:
        self._happened("fired", "")

    def missed(self, why: str) -> None:
        if self.fault.lasting and self._maildrop is None:
            return  # there will be more chances
        if self._state != "fired":
            self._armed.taken -= 1
        self._happened("missed", why)

    def _happened(self, state: str, why: str) -> None:
        if self._state:
            return
        self._state, self._why = state, why
        if self._maildrop is None or self._maildrop.session is not None:
            self.tell()

    def tell(self) -> None:
        """Tell what has become of it, once."""
        if self._told or not self._state:
            return
        self._told = True
        session = self.session
        if self.fault.lasting and session is not None:
            if session.id in self._armed.told:
                return
            self._armed.told.add(session.id)
        if self._state == "fired":
            self._faults.tell_fired(self.session, self.fault)
        else:
            self._faults.tell_missed(self.session, self.fault, self._why)


class _Watcher(Observer):
    def __init__(self, faults: Faults, wire_of: Callable[[ClientSession], Wire | None]) -> None:
        self._faults = faults
        self._wire_of = wire_of

    def opened(self, session: ClientSession, mechanism: str) -> None:
        if (wire := self._wire_of(session)) is not None:
            wire.data["mechanism"] = mechanism

    def closed(self, session: ClientSession) -> None:
        self._faults.forget(session)
