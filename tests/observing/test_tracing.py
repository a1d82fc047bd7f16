"""Traces: a span for each session, one for each step below, and the store's own below those."""

from __future__ import annotations

import asyncio
import gzip
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from restante import MemoryStore
from restante.accounts import Account
from restante.delivery import AccessLog, DeliveryObservers, smtp_protocol
from restante.observing import Tracing
from restante.stores.memory import MemoryIncoming, MemoryMaildrop
from tests.app.conftest import Call
from tests.app.support import Server, write_config
from tests.delivery.helpers import FakeStore, Peer, intake_for, listening
from tests.needs import missing, only_cpython
from tests.ports import free_port
from tests.server.kit import Client, new_server, serving, until

MESSAGE = b"Subject: hi\r\n\r\nhello\r\n"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter: InMemorySpanExporter) -> TracerProvider:
    made = TracerProvider()
    made.add_span_processor(SimpleSpanProcessor(exporter))
    return made


def ended(exporter: InMemorySpanExporter, name: str = "pop3 session") -> list[ReadableSpan]:
    """All spans, once one of that name is there."""
    until(lambda: any(span.name == name for span in exporter.get_finished_spans()))
    return list(exporter.get_finished_spans())


def below(spans: list[ReadableSpan], parent: ReadableSpan) -> list[str]:
    assert parent.context is not None
    return [
        span.name
        for span in spans
        if span.parent is not None and span.parent.span_id == parent.context.span_id
    ]


def test_a_session_and_its_steps(exporter: InMemorySpanExporter, provider: TracerProvider) -> None:
    with serving([MESSAGE, MESSAGE], failure_delay=0) as server:
        Tracing(server, provider=provider)
        with Client(server.port) as client:
            client.ask("USER joe")
            client.ask("PASS wrong")
            client.log_in()
            client.send("RETR 1\r\nDELE 2\r\nQUIT\r\n")
            spans = ended(exporter)
    (session,) = [span for span in spans if span.name == "pop3 session"]
    assert session.parent is None
    assert session.kind is trace.SpanKind.SERVER
    assert below(spans, session) == ["login", "login", "open", "fetch", "commit"]
    found = session.attributes
    assert found is not None
    assert (found["enduser.id"], found["client.address"]) == ("joe", "127.0.0.1")
    assert (found["restante.retrieved"], found["restante.deleted"]) == (1, 1)
    assert found["restante.ended"] == "QUIT"
    assert found["restante.session"]
    refused = next(span for span in spans if span.name == "login")
    assert refused.attributes == {"restante.refused": "authentication failed"}
    assert refused.status.is_ok or refused.status.status_code is trace.StatusCode.UNSET
    commit = next(span for span in spans if span.name == "commit")
    assert commit.attributes == {"restante.messages": 1}


class Traced(MemoryStore):
    """A store that makes spans, as a library that it uses would."""

    def __init__(self, tracer: trace.Tracer) -> None:
        super().__init__()
        self.tracer = tracer


class InPlace(Traced):
    def open(self, account: Account) -> MemoryMaildrop:
        with self.tracer.start_as_current_span("store"):
            return super().open(account)


class OnThread(InPlace):
    blocking = True


class Async(Traced):
    async def open(self, account: Account) -> MemoryMaildrop:  # type: ignore[override]
        with self.tracer.start_as_current_span("store"):
            await asyncio.sleep(0.01)
            with self.tracer.start_as_current_span("below"):
                return super().open(account)


@pytest.mark.parametrize("kind", [InPlace, OnThread, Async])
def test_the_store_s_spans_are_below(
    exporter: InMemorySpanExporter, provider: TracerProvider, kind: type[Traced]
) -> None:
    store = kind(provider.get_tracer("store"))
    with new_server(store) as server:
        Tracing(server, provider=provider)
        with Client(server.port) as one, Client(server.port) as other:
            for client in (one, other):
                client.log_in()
                client.ask("QUIT")
            until(lambda: sum(s.parent is None for s in exporter.get_finished_spans()) == 2)
    spans = list(exporter.get_finished_spans())
    opened = [span for span in spans if span.name == "open"]
    assert len(opened) == 2
    for span in opened:
        assert below(spans, span) == ["store"]
    for span in spans:
        assert (span.parent is None) == (span.name == "pop3 session")
    traces = {span.context.trace_id for span in spans if span.context is not None}
    assert len(traces) == 2  # nothing of one session is in the other's


def test_a_fault_is_told(exporter: InMemorySpanExporter, provider: TracerProvider) -> None:
    class Broken(MemoryStore):
        def open(self, account: Account) -> MemoryMaildrop:
            raise OSError("disk on fire")

    with new_server(Broken()) as server:
        Tracing(server, provider=provider)
        with Client(server.port) as client:
            client.ask("USER joe")
            assert client.ask("PASS secret").startswith(b"-ERR [SYS/TEMP]")
            spans = ended(exporter, "open")
    (span,) = [span for span in spans if span.name == "open"]
    assert span.status.status_code is trace.StatusCode.ERROR
    assert [event.name for event in span.events] == ["exception"]


@pytest.mark.asyncio
async def test_deliveries(exporter: InMemorySpanExporter, provider: TracerProvider) -> None:
    with serving() as server:
        tracing = Tracing(server, provider=provider)
        intake = intake_for(FakeStore())
        intake.observer = DeliveryObservers(AccessLog(), tracing.deliveries)
        async with listening(smtp_protocol(intake), intake) as port:
            peer = await Peer.connect(port)
            await peer.say("EHLO mta", "MAIL FROM:<a@b>", "RCPT TO:<joe@example.org>")
            await peer.data(b"hello\r\n.\r\n")
            await peer.close()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert set(spans) == {"smtp session", "message", "delivery"}
    assert spans["smtp session"].parent is None
    assert below(list(spans.values()), spans["smtp session"]) == ["message"]
    assert below(list(spans.values()), spans["message"]) == ["delivery"]
    span = spans["delivery"]
    assert span.attributes is not None
    assert span.attributes["restante.octets"] == 7
    assert span.attributes["network.protocol.name"] == "esmtp"
    assert span.start_time is not None
    assert span.end_time is not None
    assert 0 <= span.end_time - span.start_time < 60e9


class Receiving(MemoryStore):
    """A store whose library makes spans while it takes mail in, on worker threads."""

    blocking = True

    def __init__(self, tracer: trace.Tracer) -> None:
        super().__init__()
        self.tracer = tracer

    def receive(self, account: Account) -> MemoryIncoming:
        with self.tracer.start_as_current_span("store"):
            return super().receive(account)


@pytest.mark.asyncio
async def test_the_store_s_spans_are_below_the_message(
    exporter: InMemorySpanExporter, provider: TracerProvider
) -> None:
    with serving() as server:
        tracing = Tracing(server, provider=provider)
        intake = intake_for(FakeStore())
        intake.store = Receiving(provider.get_tracer("store"))
        intake.observer = tracing.deliveries
        async with listening(smtp_protocol(intake), intake) as port:
            peer = await Peer.connect(port)
            for _ in range(2):
                await peer.say("EHLO mta", "MAIL FROM:<a@b>", "RCPT TO:<joe@example.org>")
                await peer.data(b"hello\r\n.\r\n")
            await peer.say("MAIL FROM:<a@b>", "RCPT TO:<joe@example.org>", "DATA")
            await peer.close()  # in the middle of a message
    spans = list(exporter.get_finished_spans())
    (session,) = [span for span in spans if span.name == "smtp session"]
    assert below(spans, session) == ["message"] * 3
    found = [below(spans, span) for span in spans if span.name == "message"]
    assert [sorted(each) for each in found[:2]] == [["delivery", "store"]] * 2
    assert "delivery" not in found[2]
    assert len({span.context.trace_id for span in spans if span.context is not None}) == 1


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with serving() as server, pytest.raises(ImportError, match=r"restante\[otel\]"):
        Tracing(server)


# The server's own


@pytest.mark.parametrize("workers", [1, 2])
def test_serve_sends_spans_where_the_environment_says(
    folder: Path, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    write_config(folder, f"[server]\nworkers = {workers}\n[tracing]\nenabled = true\n")
    with Server(folder) as server:
        server.login().quit()
    printed = server.out.read_text()
    for name in ("pop3 session", "login", "open", "commit"):
        assert f'"name": "{name}"' in printed
    assert '"service.name": "restante"' in printed


class Collector(ThreadingHTTPServer):
    """Takes spans by OTLP over HTTP, as a collector does."""

    def __init__(self) -> None:
        self._spans: list[tuple[str, bytes, bytes, str]] = []
        super().__init__(("127.0.0.1", 0), self._make_handler())

    @property
    def spans(self) -> list[tuple[str, str, str]]:
        """Of each: the service, its name, its parent's. They may come in several requests."""
        names = {identity: name for _, identity, _, name in self._spans}
        return [(service, name, names.get(parent, "")) for service, _, parent, name in self._spans]

    def _make_handler(self) -> type[BaseHTTPRequestHandler]:
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2  # noqa: PLC0415

        spans = self._spans

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
                for resource in request.resource_spans:
                    service = {a.key: a.value.string_value for a in resource.resource.attributes}
                    spans.extend(
                        (service["service.name"], span.span_id, span.parent_span_id, span.name)
                        for scope in resource.scope_spans
                        for span in scope.spans
                    )
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.end_headers()

            def log_message(self, *said: object) -> None:
                pass

        return Handler


@contextmanager
def rotel(to: Collector, folder: Path) -> Iterator[str]:
    """Rotel, a collector in its own right, which passes on what it is sent. Gives its address."""
    if sys.version_info >= (3, 14):
        pytest.skip("rotel has no wheel for this Python yet")
    try:
        import rotel as package  # noqa: PLC0415 - the program is all there is of it
    except ImportError:
        missing("rotel is not installed (requirements-dev.txt)")
    program = Path(package.__file__).parent / "rotel-agent"
    http, grpc = free_port(), free_port()
    log = folder / "rotel.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                program, "start",
                "--pid-file", folder / "rotel.pid",
                "--otlp-http-endpoint", f"127.0.0.1:{http}",
                "--otlp-grpc-endpoint", f"127.0.0.1:{grpc}",
                "--exporter", "otlp",
                "--otlp-exporter-protocol", "http",
                "--otlp-exporter-endpoint", f"http://127.0.0.1:{to.server_address[1]}",
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", http)) == 0

    try:
        until(listens)
        yield f"http://127.0.0.1:{http}"
    finally:
        process.kill()
        process.wait()


@only_cpython  # protobuf has no wheel for PyPy
@pytest.mark.parametrize("through", ["nothing", "rotel"])
def test_spans_arrive_by_otlp(
    folder: Path, monkeypatch: pytest.MonkeyPatch, through: str, tmp_path: Path
) -> None:
    """The exporter that is used when the environment names none, and a real collector."""
    with ExitStack() as stack:
        collector = stack.enter_context(Collector())
        Thread(target=collector.serve_forever, daemon=True).start()
        stack.callback(collector.shutdown)
        address = f"http://127.0.0.1:{collector.server_address[1]}"
        if through == "rotel":
            address = stack.enter_context(rotel(collector, tmp_path))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "mail")
        write_config(folder, "[server]\nworkers = 1\n[tracing]\nenabled = true\n")
        with Server(folder) as server:
            server.login().quit()
            with smtplib.SMTP("127.0.0.1", server.port("smtp", "starttls"), timeout=20) as mail:
                mail.sendmail("ann@example.org", ["joe"], MESSAGE)
        expected = sorted(
            ("mail", name, parent)
            for name, parent in (
                ("pop3 session", ""), ("login", "pop3 session"), ("open", "pop3 session"),
                ("commit", "pop3 session"), ("smtp session", ""), ("message", "smtp session"),
                ("delivery", "message"),
            )
        )  # fmt: skip
        until(lambda: len(collector.spans) >= len(expected))  # a collector sends in batches
    assert sorted(collector.spans) == expected


def test_check_config_names_what_is_missing(
    folder: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_config(folder, "[tracing]\nenabled = true\n")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    assert call("check-config").status == 0
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin_json")
    assert "pip install opentelemetry-exporter-zipkin-json" in call("check-config").err
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk", None)
    monkeypatch.delitem(sys.modules, "opentelemetry.sdk.trace", raising=False)
    assert "pip install opentelemetry-sdk" in call("check-config").err
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
    assert "pip install 'restante[otel]'" in call("check-config").err
