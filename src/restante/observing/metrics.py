"""Metrics of a POP3 server, counted by an observer.

The numbers are in an array, which another process can read where it is shared memory. What each
poll brings is only put into lists; `pull` counts it by the thousand, in functions of C. Nothing
here needs a library but what makes Prometheus' text of it.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, MutableSequence, Sequence
from functools import partial
from itertools import compress, repeat
from threading import Lock
from time import monotonic, time
from typing import TYPE_CHECKING, Any, TypeVar

from restante.delivery.envelope import Envelope
from restante.delivery.observer import DeliveryObserver, DeliveryObservers
from restante.extras import missing
from restante.guard.admission import BANNED, CROWDED, FULL, REFUSED
from restante.observing.families import (
    ENDS,
    LONG,
    MECHANISMS,
    OTHER,
    PLACES,
    QUICK,
    SIZE,
    STEP_OUTCOMES,
    STORE_CALLS,
    TLS_VERSIONS,
    VERBS,
)
from restante.observing.store_errors import StoreErrors
from restante.protocol.claims import Claim
from restante.protocol.listing import MessageNumber
from restante.server.backend import StandardBackend
from restante.server.client import ClientSession
from restante.server.live import STOPPING
from restante.server.notes import Notes
from restante.server.observer import Observer
from restante.server.server import Pop3Server

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

_CONNECTIONS = PLACES["restante_connections",]
_DURATION = PLACES["restante_session_duration_seconds",]
_OCTETS = PLACES["restante_reply_octets",]
_MESSAGE_OCTETS = PLACES["restante_message_octets",]
_REMOVED = PLACES["restante_messages_removed",]
_RETR, _TOP = (PLACES["restante_messages_sent", by] for by in ("RETR", "TOP"))
_DELAYS = PLACES["restante_login_delays",]
_DELAY_SECONDS = PLACES["restante_login_delay_seconds",]
_LEASES_REFUSED = PLACES["restante_leases_refused",]
_ANSWERS = {
    (verb, ok): PLACES["restante_commands", verb, "ok" if ok else "err"]
    for verb in VERBS
    for ok in (True, False)
}
_STEPS = {
    (step, outcome): PLACES[f"restante_{step}_duration_seconds", shown]
    for step in ("login", "open", "fetch", "commit")
    for outcome, shown in [*zip(STEP_OUTCOMES, STEP_OUTCOMES, strict=True), ("in use", "refused")]
}
_TURNED_AWAY = {
    BANNED.text: "banned",
    REFUSED.text: "denied",
    CROWDED.text: "address_limit",
    FULL.text: "full",
    STOPPING.text: "stopping",
}
_ENDS = {
    "QUIT": "quit",
    "client left": "client_left",
    "the client does not read": "stalled",
    "too many errors": "too_many_errors",
}
_REASONS = {"failed": "failed", "held off": "held_off"}

MOST_GATHERED = 60_000
"""Entries of a list that are gathered before they are counted, if nobody asks before."""

T = TypeVar("T")


class Metrics(Observer):
    """Counts what happens in the sessions of one server.

    server: is watched from now on. registry: of prometheus_client; what is counted is shown
    there. Give `prometheus_client.REGISTRY` for what `prometheus_client.start_http_server`
    shows. None: nothing is registered. values: where the numbers are, at least
    `restante.observing.families.SIZE` of them; an array of its own by default. Counters go on
    from what is there. store_errors: who counts those; its own by default.

    docs/observing.md lists the metrics. Raises ImportError, which names the extra, where there
    is a registry and no prometheus_client.
    """

    timed = True
    _guarded = False

    def __init__(
        self,
        server: Pop3Server,
        *,
        registry: CollectorRegistry | None = None,
        values: MutableSequence[float] | None = None,
        store_errors: StoreErrors | None = None,
    ) -> None:
        self.values: MutableSequence[float] = array("d", bytes(8 * SIZE))
        if values is not None:
            self.values = values
        self._server = server
        self.deliveries: DeliveryObserver = _Deliveries(self.values)
        """Counts deliveries: for the observer of an `Intake`."""
        if store_errors is None:
            store_errors = StoreErrors(server)
            self.deliveries = DeliveryObservers(self.deliveries, store_errors.deliveries)
        self._store_errors = store_errors
        self._counters: list[tuple[int, float, Callable[[], float]]] = []
        self._gauges: list[tuple[int, Callable[[], float]]] = []
        # What isn't counted yet. Only `_count_gathered` takes anything away.
        # The first three are like the lists of `Notes`; an end is how, seconds, octets.
        self._answers: list[Any] = []
        self._messages: list[Any] = []
        self._steps: list[Any] = []
        self._mechanisms: list[str] = []  # by which clients logged in
        self._ends: list[Any] = []
        self._dropped = Counter(server.dropped)  # of those, how many were before or are counted
        self._counting = Lock()
        self._pull_from(server)
        if registry is not None:
            registry.register(self._collector())
        server.observe(self)

    def _collector(self) -> Any:
        try:
            from restante.observing.exposition import Collector  # noqa: PLC0415 - an extra
        except ImportError as error:
            text = missing("metrics", "Metrics", "prometheus-client", error)
            raise ImportError(text) from error

        def arrays() -> Sequence[Sequence[float]]:
            self.pull()
            return (self.values,)

        return Collector(arrays)

    # What the server is asked

    def _pull_from(self, server: Pop3Server) -> None:
        context = server.context
        quick, blocking = context.call_quick, context.call_blocking
        self.gauge("restante_connections_open", lambda: server.sessions)
        self.gauge("restante_sessions_open", lambda: context.live.logged_in)
        self.gauge("restante_bans", lambda: len(context.guard.bans()))
        self.gauge("restante_certificate_expiry_timestamp_seconds", self._expiry)
        self._counter(
            ("restante_storage_calls", "in_place"),
            lambda: quick.calls - quick.in_part + blocking.calls - blocking.in_part,
        )
        self._counter(
            ("restante_storage_calls", "thread"), lambda: quick.on_threads + blocking.on_threads
        )
        counts = self._store_errors.counts
        for call in STORE_CALLS:
            self._counter(("restante_store_errors", call), partial(counts.__getitem__, call))
        if isinstance(context.backend, StandardBackend):
            hashing = context.backend.hashing
            self.gauge("restante_hashing_running", lambda: hashing.running)
            self.gauge("restante_hashing_waiting", lambda: hashing.waiting)
            self._counter(("restante_hashing_refused",), lambda: hashing.refused)

    def _expiry(self) -> float:
        tls = self._server.context.tls
        return tls.expires if tls is not None else 0.0

    def gauge(self, name: str, read: Callable[[], float], *labels: str) -> None:
        """Have `pull` set a gauge to what `read` gives."""
        self._gauges.append((PLACES[name, *labels], read))

    def _counter(self, sample: tuple[str, ...], read: Callable[[], float]) -> None:
        place = PLACES[sample]
        self._counters.append((place, self.values[place] - read(), read))

    def pull(self) -> None:
        """Bring the numbers up to date. From any thread."""
        self._count_gathered()
        for place, read in self._gauges:
            self.values[place] = read()
        for place, base, read in self._counters:
            self.values[place] = base + read()

    def _count_gathered(self) -> None:
        with self._counting:
            values = self.values
            verbs, ok, octets = _columns(_taken(self._answers), 3)
            for answer, number in Counter(zip(verbs, ok, strict=True)).items():
                place = _ANSWERS.get(answer)
                values[_ANSWERS[OTHER, answer[1]] if place is None else place] += number
            values[_OCTETS] += sum(octets)
            _, lines = _columns(_taken(self._messages), 2)
            values[_RETR] += lines.count(None)
            values[_TOP] += len(lines) - lines.count(None)
            for mechanism, number in Counter(_taken(self._mechanisms)).items():
                _count_login(values, mechanism, "ok", number)
            self._count_steps(*_columns(_taken(self._steps), 3))
            how, seconds, octets = _columns(_taken(self._ends), 3)
            _add_to_histogram(values, _DURATION, LONG, seconds)
            values[_MESSAGE_OCTETS] += sum(octets)
            for ended, number in Counter(how).items():
                end = _ENDS.get(ended, ended)
                values[PLACES["restante_sessions", end if end in ENDS else OTHER]] += number
            for text, number in list(self._server.dropped.items()):
                self._count_turned_away(text, number - self._dropped[text])
                self._dropped[text] = number

    def _count_steps(self, steps: list[Any], outcomes: list[Any], seconds: list[Any]) -> None:
        kinds = list(zip(steps, outcomes, strict=True))
        for kind in set(kinds) & _STEPS.keys():
            chosen = list(compress(seconds, map(kind.__eq__, kinds)))
            _add_to_histogram(self.values, _STEPS[kind], QUICK, chosen)
        self.values[_LEASES_REFUSED] += outcomes.count("in use")

    # What the server tells

    def connected(self, session: ClientSession) -> None:
        self.values[_CONNECTIONS] += 1
        if session.tls:
            self.secured(session)

    def secured(self, session: ClientSession) -> None:
        if version := session.tls_version:
            known = version if version in TLS_VERSIONS else OTHER
            resumed = "yes" if session.tls_resumed else "no"
            self.values[PLACES["restante_tls_sessions", known, resumed]] += 1

    def turned_away(self, session: ClientSession, reply: str) -> None:
        self._count_turned_away(reply.partition("] ")[2] or reply.partition(" ")[2])

    def _count_turned_away(self, text: str, number: int = 1) -> None:
        reason = _TURNED_AWAY.get(text, OTHER)
        self.values[PLACES["restante_connections_turned_away", reason]] += number

    def noted(self, session: ClientSession, notes: Notes) -> None:
        self._answers += notes.answers
        if notes.messages:
            self._messages += notes.messages
        self._steps += notes.steps
        if mechanism := notes.mechanism:
            self._mechanisms.append(mechanism)
        if notes.last and session.account is not None:
            self._ends += (session.ended, time() - session.since, session.octets)
        if len(self._answers) > MOST_GATHERED:
            self._count_gathered()

    def delayed(self, session: ClientSession, seconds: float) -> None:
        self.values[_DELAYS] += 1
        self.values[_DELAY_SECONDS] += seconds

    def refused(self, session: ClientSession, claim: Claim, reason: str) -> None:
        _count_login(self.values, claim.mechanism, _REASONS.get(reason, "failed"))

    def broken_off(self, session: ClientSession, mechanism: str, reason: str) -> None:
        _count_login(self.values, mechanism, "broken_off")

    def committed(self, session: ClientSession, numbers: Sequence[MessageNumber]) -> None:
        self.values[_REMOVED] += len(numbers)


class _Deliveries(DeliveryObserver):
    """Counts what comes in by SMTP and LMTP."""

    def __init__(self, values: MutableSequence[float]) -> None:
        self._values = values

    def delivered(self, envelope: Envelope, recipient: str, octets: int, unique_id: str) -> None:
        self._count(envelope, "delivered", timed=True)
        self._values[PLACES["restante_delivery_octets",]] += octets

    def not_delivered(
        self, envelope: Envelope, recipient: str, octets: int, reason: str, kept: str
    ) -> None:
        self._count(envelope, "kept" if kept else "not_delivered", timed=True)

    def refused(self, envelope: Envelope, recipient: str, reply: str) -> None:
        self._count(envelope, "refused", timed=False)

    def logged_in(self, name: str, peer: str, mechanism: str, session: str) -> None:
        _count_login(self._values, f"SMTP-{mechanism}", "ok")

    def login_refused(self, what: str, name: str, peer: str, mechanism: str, session: str) -> None:
        outcome = _REASONS.get(what.removeprefix("login "), "failed")
        _count_login(self._values, f"SMTP-{mechanism}", outcome)

    def _count(self, envelope: Envelope, outcome: str, *, timed: bool) -> None:
        name = envelope.protocol
        protocol = "smtp" if "SMTP" in name else "lmtp" if "LMTP" in name else OTHER
        self._values[PLACES["restante_deliveries", protocol, outcome]] += 1
        if timed:
            seconds = monotonic() - envelope.begun
            place = PLACES["restante_delivery_duration_seconds", protocol]
            _add_to_histogram(self._values, place, QUICK, [seconds])


def _count_login(
    values: MutableSequence[float], mechanism: str, outcome: str, number: int = 1
) -> None:
    known = mechanism if mechanism in MECHANISMS else OTHER
    values[PLACES["restante_logins", known, outcome]] += number


def _add_to_histogram(
    values: MutableSequence[float], place: int, bounds: Sequence[float], seconds: list[float]
) -> None:
    """Add to the histogram at a place: to its buckets, and to the sum, which comes after them."""
    if min(seconds, default=0.0) < 0:  # the clock was set meanwhile
        seconds = [max(0.0, each) for each in seconds]
    for bucket, number in Counter(map(bisect_left, repeat(bounds), seconds)).items():
        values[place + bucket] += number
    values[place + len(bounds) + 1] += sum(seconds)


def _columns(flat: list[Any], number: int) -> list[list[Any]]:
    """What a flat list has of each kind of entries."""
    return [flat[at::number] for at in range(number)]


def _taken(gathered: list[T]) -> list[T]:
    """What has been gathered so far. Meanwhile another thread may add to it."""
    number = len(gathered)
    taken = gathered[:number]
    del gathered[:number]
    return taken
