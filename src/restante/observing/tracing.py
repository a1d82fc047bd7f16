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
from restante.server.notes import Refused, Step
from restante.server.observer import Observer
from restante.server.server import Pop3Server

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider

MAX_SESSIONS = 100_000
"""Sessions whose spans are open. Those beyond have none."""


class Tracing(Observer):
    """Makes spans of what happens in the sessions of one server.

    server: is watched from now on. provider: OpenTelemetry's, which decides where spans go;
    without it, the global one.

    A session's span, `pop3 session`, has a child for each `login`, `open`, `fetch` and
    `commit`. While such a step lasts, its span is the current one, also on worker threads: spans
    that accounts and stores make are its children. `deliveries` does the same for mail that comes
    in. docs/observing.md lists names and attributes.

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
        self.deliveries: DeliveryObserver = _Deliveries(self)
        """Makes spans of SMTP and LMTP: for the observer of an `Intake`."""
        server.observe(self)

    def begin_session(self, protocol: str, session: str, peer: str, **further: Any) -> Span | None:
        """The span of a session, which is there until `end_session`; None where there are too
        many."""
        if len(self._sessions) >= MAX_SESSIONS:
            return None
        span = self._sessions[session] = self._tracer.start_span(
            f"{protocol} session",
            context=self._context.Context(),
            kind=self._trace.SpanKind.SERVER,
            attributes={
                "restante.session": session,
                "client.address": peer or "unix",
                "network.protocol.name": protocol,
                **further,
            },
        )
        return span

    def end_session(self, session: str, **attributes: Any) -> None:
        """End its span, if there is one."""
        if (span := self._sessions.pop(session, None)) is not None:
            span.set_attributes(attributes)
            span.end()

    def session_span(self, session: str) -> Span | None:
        """The span of a session that goes on."""
        return self._sessions.get(session)

    def begin_span(self, name: str, parent: Span | None, **how: Any) -> Span:
        """A span below another one, or below none."""
        below = self._context.Context()
        if parent is not None:
            below = self._trace.set_span_in_context(parent, below)
        return self._tracer.start_span(name, context=below, **how)

    def make_current(self, span: Span | None) -> None:
        """Have spans that others make be below this one, or none: from now on, in this context.

        The context is that of one step or one connection and ends with it, so nothing need be
        detached.
        """
        context = self._context.Context()
        if span is not None:
            context = self._trace.set_span_in_context(span, context)
        self._context.attach(context)

    def fail(self, span: Span) -> None:
        """Mark a span as failed."""
        span.set_status(self._failed)

    def connected(self, session: ClientSession) -> None:
        port = {"client.port": session.peer_port, "tls.established": session.tls}
        self.begin_session("pop3", session.id, session.peer_ip, **port)

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
        span = self._steps[session.id] = self.begin_span(step, parent)
        self.make_current(span)

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
            self.fail(span)
        span.end()

    def committed(self, session: ClientSession, numbers: Sequence[MessageNumber]) -> None:
        if (span := self._steps.get(session.id)) is not None:
            span.set_attribute("restante.messages", len(numbers))

    def closed(self, session: ClientSession) -> None:
        found = {
            "restante.ended": session.ended,
            "restante.retrieved": session.retrieved,
            "restante.deleted": session.removed,
            "restante.octets": session.octets,
        }
        self.end_session(session.id, **found)


class _Deliveries(DeliveryObserver):
    """Spans of SMTP and LMTP: a session's, below it one for each message that comes in, below that
    one for each copy. What the store makes meanwhile is below the message's, too."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._messages: dict[str, Span] = {}

    def connected(self, session: str, peer: str, protocol: str) -> None:
        self._tracing.begin_session(protocol, session, peer)

    def closed(self, session: str) -> None:
        self._tracing.end_session(session)

    def logged_in(self, name: str, peer: str, mechanism: str, session: str) -> None:
        if (span := self._tracing.session_span(session)) is not None:
            span.set_attributes({"enduser.id": name, "restante.mechanism": f"SMTP-{mechanism}"})

    def begun(self, envelope: Envelope) -> None:
        parent = self._tracing.session_span(envelope.session)
        if parent is not None:
            attributes = {
                "restante.session": envelope.session,
                "restante.queue": envelope.queue_id,
                "tls.established": bool(envelope.tls),
            }
            span = self._tracing.begin_span("message", parent, attributes=attributes)
            self._messages[envelope.queue_id] = span
            self._tracing.make_current(span)

    def ended(self, envelope: Envelope) -> None:
        if (span := self._messages.pop(envelope.queue_id, None)) is not None:
            span.end()
            self._tracing.make_current(None)

    def delivered(self, envelope: Envelope, recipient: str, octets: int, unique_id: str) -> None:
        self._span(envelope, octets).end()

    def not_delivered(
        self, envelope: Envelope, recipient: str, octets: int, reason: str, kept: str
    ) -> None:
        span = self._span(envelope, octets)
        self._tracing.fail(span)
        span.set_attribute("restante.reason", reason)
        span.end()

    def _span(self, envelope: Envelope, octets: int) -> Span:
        return self._tracing.begin_span(
            "delivery",
            self._messages.get(envelope.queue_id),
            start_time=time.time_ns() - round((time.monotonic() - envelope.begun) * 1e9),
            attributes={
                "restante.session": envelope.session,
                "restante.queue": envelope.queue_id,
                "client.address": envelope.peer or "local",
                "network.protocol.name": envelope.protocol.lower(),
                "restante.octets": octets,
            },
        )
