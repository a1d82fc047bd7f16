"""Traces of a POP3 server by OpenTelemetry: a span for each session, and one for each step of it.

Only OpenTelemetry's API is used here. Where spans go is decided by the tracer provider that the
application sets up; without one, OpenTelemetry makes nothing of them.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from restante import __version__
from restante.delivery.envelope import Envelope
from restante.delivery.observer import DeliveryObserver
from restante.extras import missing
from restante.protocol.listing import MessageNumber
from restante.server.client import ClientSession
from restante.server.observer import Observer, Refused, Step
from restante.server.server import Pop3Server

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer, TracerProvider

MAX_SESSIONS = 100_000
"""Sessions whose spans are open. Those beyond have none."""


class Tracing(Observer):
    """Makes spans of what happens in the sessions of one server.

    server: is watched from now on. provider: OpenTelemetry's, which decides where spans go;
    without it, the global one.

    A session's span, `pop3 session`, has a child for each `login`, `open`, `fetch` and
    `commit`. While such a step lasts, its span is the current one, also on worker threads: spans
    that accounts and stores make are its children. docs/observing.md lists names and attributes.

    Raises ImportError, which names the extra, where there is no OpenTelemetry.
    """

    def __init__(self, server: Pop3Server, *, provider: TracerProvider | None = None) -> None:
        try:
            from opentelemetry import context, trace  # noqa: PLC0415 - an extra
        except ImportError as error:
            text = missing("otel", "Tracing", "opentelemetry-api", error)
            raise ImportError(text) from error
        self._trace = trace
        self._context = context
        self._failed = trace.Status(trace.StatusCode.ERROR)
        self._tracer = trace.get_tracer("restante", __version__, provider)
        self._sessions: dict[str, Span] = {}
        self._steps: dict[str, Span] = {}
        self.deliveries: DeliveryObserver = _Deliveries(self._tracer, self._failed)
        """Makes a span of each delivery: for the observer of an `Intake`."""
        server.observe(self)

    def connected(self, session: ClientSession) -> None:
        if len(self._sessions) >= MAX_SESSIONS:
            return
        self._sessions[session.id] = self._tracer.start_span(
            "pop3 session",
            context=self._context.Context(),
            kind=self._trace.SpanKind.SERVER,
            attributes={
                "restante.session": session.id,
                "client.address": session.peer_ip or "unix",
                "client.port": session.peer_port,
                "network.protocol.name": "pop3",
                "tls.established": session.tls,
            },
        )

    def secured(self, session: ClientSession) -> None:
        if (span := self._sessions.get(session.id)) is not None:
            span.set_attribute("tls.established", True)

    def opened(self, session: ClientSession, mechanism: str) -> None:
        if (span := self._sessions.get(session.id)) is not None and session.account is not None:
            span.set_attribute("enduser.id", session.account.name)
            span.set_attribute("restante.mechanism", mechanism)

    def step_begun(self, session: ClientSession, step: Step) -> None:
        parent = self._sessions.get(session.id)
        if parent is None:
            return
        below = self._trace.set_span_in_context(parent, self._context.Context())
        span = self._tracer.start_span(step, context=below)
        self._steps[session.id] = span
        # The context is the step's own and ends with it, so nothing need be detached.
        self._context.attach(self._trace.set_span_in_context(span))

    def step_done(
        self, session: ClientSession, step: Step, seconds: float, error: Exception | None
    ) -> None:
        span = self._steps.pop(session.id, None)
        if span is None:
            return
        if isinstance(error, Refused):
            span.set_attribute("restante.refused", str(error))
        elif error is not None:
            span.record_exception(error)
            span.set_status(self._failed)
        span.end()

    def committed(self, session: ClientSession, numbers: Sequence[MessageNumber]) -> None:
        if (span := self._steps.get(session.id)) is not None:
            span.set_attribute("restante.messages", len(numbers))

    def closed(self, session: ClientSession) -> None:
        span = self._sessions.pop(session.id, None)
        if span is None:
            return
        span.set_attributes(
            {
                "restante.ended": session.ended,
                "restante.retrieved": session.retrieved,
                "restante.deleted": session.removed,
                "restante.octets": session.octets,
            }
        )
        span.end()


class _Deliveries(DeliveryObserver):
    """A span for each copy of a message, once it is known what became of it."""

    def __init__(self, tracer: Tracer, failed: Any) -> None:
        self._tracer = tracer
        self._failed = failed

    def delivered(self, envelope: Envelope, recipient: str, octets: int, unique_id: str) -> None:
        self._span(envelope, octets).end()

    def not_delivered(
        self, envelope: Envelope, recipient: str, octets: int, reason: str, kept: str
    ) -> None:
        span = self._span(envelope, octets)
        span.set_status(self._failed)
        span.set_attribute("restante.reason", reason)
        span.end()

    def _span(self, envelope: Envelope, octets: int) -> Span:
        begun = time.time_ns() - round((time.monotonic() - envelope.begun) * 1e9)
        return self._tracer.start_span(
            "delivery",
            start_time=begun,
            attributes={
                "restante.session": envelope.session,
                "restante.queue": envelope.queue_id,
                "client.address": envelope.peer or "local",
                "network.protocol.name": envelope.protocol.lower(),
                "restante.octets": octets,
            },
        )
