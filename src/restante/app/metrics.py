"""What `[metrics]` configures: counts of all worker processes at one address, over HTTP.

Each worker counts in memory that it shares with the supervisor, so nothing has to be sent, and
what a worker has counted stays when it is killed. Its successor goes on counting there.
"""

from __future__ import annotations

import mmap
import platform
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, MutableSequence, Sequence
from typing import Protocol, cast

from restante import __version__
from restante.app.config.settings import Settings
from restante.app.errors import StartError
from restante.app.http_endpoint import HttpAnswer, HttpEndpoint
from restante.app.processes.listen_sockets import (
    MAIL_BACKLOG,
    Endpoint,
    start_error,
    unix_socket,
)
from restante.extras import missing
from restante.observing.families import FAMILIES, PLACES, READY_PARTS, SIZE
from restante.observing.metrics import Metrics
from restante.server.listen.sockets import bind_shared

PULL_SECONDS = 1.0
"""How often a worker writes down what isn't counted as it happens, such as open connections."""

_GAUGES = tuple(
    PLACES[family.name, *sample]
    for family in FAMILIES
    if family.kind == "gauge"
    for sample in family.samples
)


def library_problem() -> str:
    """Why metrics can't be shown for want of a library; "" if they can."""
    try:
        import prometheus_client  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        return missing("metrics", "metrics.port", "prometheus-client", error)
    return ""


def shared_values() -> MutableSequence[float]:
    """An array of zeros that processes share which are forked from this one."""
    memory = mmap.mmap(-1, 8 * SIZE)
    return cast("MutableSequence[float]", memoryview(memory).cast("d"))


def forget_gauges(values: MutableSequence[float]) -> None:
    """What was so in a worker that has ended isn't so any more. What it counted stays."""
    for place in _GAUGES:
        values[place] = 0.0


class Scrapes:
    """Answers `/metrics`, `/healthz` and `/readyz`.

    arrays: what each worker has counted. workers: the state of each, in the same order.
    restarts, reloads: how often workers were replaced, and the configuration read again.
    is_stopping: whether the server was told to stop: then it isn't ready for new clients.
    """

    def __init__(
        self,
        arrays: Sequence[MutableSequence[float]],
        workers: Callable[[], list[str]],
        restarts: Callable[[], int],
        reloads: Callable[[], int],
        is_stopping: Callable[[], bool],
    ) -> None:
        from restante.observing.exposition import Collector  # noqa: PLC0415 - an extra

        self._arrays = arrays
        self._workers = workers
        self._restarts = restarts
        self._reloads = reloads
        self._is_stopping = is_stopping
        self._since = time.time()
        self._collector = Collector(lambda: arrays, self._live, self._server_numbers)

    def __call__(self, path: str, headers: Mapping[str, str]) -> HttpAnswer | None:
        """The answer for a path; None for one that isn't here."""
        match path:
            case "/metrics":
                from restante.observing.exposition import exposition  # noqa: PLC0415 - an extra

                body, media_type = exposition(self._collector, headers.get("accept", ""))
                return HttpAnswer(200, body, media_type)
            case "/healthz":
                return HttpAnswer(200, b"ok\n")
            case "/readyz":
                parts = self.parts()
                text = "".join(
                    f"{part}: {'ok' if ok else 'failed'}\n" for part, ok in parts.items()
                )
                return HttpAnswer(200 if all(parts.values()) else 503, text.encode())
        return None

    def parts(self) -> dict[str, bool]:
        """Which parts work, as the workers that are ready have found it."""
        live = self._live()
        found = {
            part: bool(live) and all(each[PLACES["restante_ready", part]] for each in live)
            for part in READY_PARTS
        }
        return {**found, "workers": bool(live), "new clients": not self._is_stopping()}

    def _live(self) -> list[MutableSequence[float]]:
        pairs = zip(self._arrays, self._workers(), strict=True)
        return [array for array, state in pairs if state == "ready"]

    def _server_numbers(self) -> dict[str, dict[tuple[str, ...], float]]:
        states = self._workers()
        build = __version__, platform.python_version(), platform.python_implementation()
        return {
            "restante_workers": {
                (state,): states.count(state) for state in ("ready", "starting", "stuck", "waiting")
            },
            "restante_worker_restarts": {(): self._restarts()},
            "restante_reloads": {(): self._reloads()},
            "restante_build_info": {build: 1.0},
            "restante_start_time_seconds": {(): self._since},
        }


def bind(settings: Settings) -> list[tuple[Endpoint, socket.socket]]:
    """Listen where `[metrics]` says. Raises StartError; then nothing is listened on."""
    given, made = settings.metrics, list[tuple[Endpoint, socket.socket]]()
    try:
        if given.port != "off":
            try:
                ((listening, *more),) = bind_shared(given.host, given.port, MAIL_BACKLOG, 1)
            except OSError as error:
                raise start_error("metrics.port", given.host, given.port, error) from error
            for each in (listening, *more):
                host, port = each.getsockname()[:2]
                made.append((Endpoint("METRICS", "none", host, port), each))
        if given.socket is not None:
            try:
                listening = unix_socket(given.socket, 0o660)
            except OSError as error:
                text = f"metrics.socket = {given.socket}: can't listen: {error}"
                raise StartError(text) from error
            made.append((Endpoint("METRICS", "none", path=given.socket), listening))
    except BaseException:
        close(made)
        raise
    return made


def close(bound: Iterable[tuple[Endpoint, socket.socket]]) -> None:
    """Listen no more. Harmless when repeated."""
    for endpoint, listening in bound:
        listening.close()
        if endpoint.path is not None:
            endpoint.path.unlink(missing_ok=True)


def names(settings: Settings) -> list[str]:
    """What a request's Host may be."""
    given = settings.server.hostname or socket.gethostname()
    return [given, settings.metrics.host, *settings.metrics.names]


class Counted(Protocol):
    """A service that counts; it is the whole server."""

    metrics: Metrics | None
    reloads: int
    is_stopping: bool


def of_one_process(
    settings: Settings, bound: Sequence[tuple[Endpoint, socket.socket]], service: Counted
) -> EndpointThread:
    """Answer for a server that is one process."""
    assert service.metrics is not None
    scrapes = Scrapes(
        [service.metrics.values],
        lambda: ["ready"],
        lambda: 0,
        lambda: service.reloads,
        lambda: service.is_stopping,
    )
    return EndpointThread(settings, bound, scrapes)


class EndpointThread:
    """Turns an endpoint in a thread of its own, for a server that is one process."""

    def __init__(
        self, settings: Settings, bound: Sequence[tuple[Endpoint, socket.socket]], scrapes: Scrapes
    ) -> None:
        self._bound = bound
        self._selector = selectors.DefaultSelector()
        self._over, self._end = socket.socketpair()
        self._ended = False
        self._selector.register(self._over, selectors.EVENT_READ, lambda _: self._on_end())
        listening = [each for _, each in bound]
        self._endpoint = HttpEndpoint(self._selector, listening, scrapes, names(settings))
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    def _on_end(self) -> None:
        self._ended = True

    def _run(self) -> None:
        while not self._ended:
            for key, mask in self._selector.select(1.0):
                key.data(mask)
            self._endpoint.check_timeouts(time.monotonic())

    def stop(self) -> None:
        """Listen no more, and wait for the thread's end."""
        self._end.send(b".")
        self._thread.join()
        self._endpoint.close()
        close(self._bound)
        self._selector.close()
        self._over.close()
        self._end.close()
