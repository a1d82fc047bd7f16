"""What `[tracing]` configures: OpenTelemetry's SDK, by its own environment variables.

OTEL_TRACES_EXPORTER names the exporter (`otlp` by default), OTEL_EXPORTER_OTLP_ENDPOINT where it
sends to, OTEL_SERVICE_NAME what the server is called there. SDK and exporters are the operator's
to install: Restante knows only the API.
"""

from __future__ import annotations

import os
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from restante.extras import missing

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_PROTOCOLS = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


def library_problem() -> str:
    """Why no spans can be sent; "" if they can."""
    try:
        import opentelemetry.trace  # noqa: PLC0415 - an extra
    except ImportError as error:
        return missing("otel", "tracing.enabled", "opentelemetry-api", error)
    try:
        import opentelemetry.sdk.trace  # noqa: F401, PLC0415 - the operator's
    except ImportError:
        return "needs OpenTelemetry's SDK: pip install opentelemetry-sdk"
    try:
        _exporter()
    except LookupError as error:
        return str(error)
    return ""


def make_provider() -> TracerProvider:
    """A provider of this process's own, that sends spans from a thread. After any fork.

    Raises LookupError for an exporter that isn't installed, ImportError.
    """
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource  # noqa: PLC0415
    from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    name = os.environ.get("OTEL_SERVICE_NAME") or "restante"
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    exporter: Any = _exporter().load()
    provider.add_span_processor(BatchSpanProcessor(exporter()))
    return provider


def _exporter() -> EntryPoint:
    """The exporter that the environment names. Raises LookupError."""
    name = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    if name == "otlp":
        protocol = (
            os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
            or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
            or "http/protobuf"
        )
        name = _PROTOCOLS.get(protocol, protocol)
    found: list[EntryPoint] = [*entry_points(group="opentelemetry_traces_exporter", name=name)]
    if not found:
        package = f"opentelemetry-exporter-{name.replace('_', '-')}"
        raise LookupError(f"the exporter {name} isn't installed: pip install {package}")
    return found[0]
