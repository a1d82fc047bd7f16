"""What was counted, as prometheus_client's collectors give it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector as BaseCollector

from restante.observing.families import FAMILIES, PLACES, SERVER_FAMILIES, Family, Together

Numbers: TypeAlias = Sequence[float]
ServerNumbers: TypeAlias = dict[str, dict[tuple[str, ...], float]]
"""By the name of a family of `SERVER_FAMILIES` and by label values."""

_COMBINE: dict[Together, Callable[[list[float]], float]] = {
    "sum": sum,
    "max": lambda numbers: max(numbers, default=0.0),
    "min": lambda numbers: min(numbers, default=0.0),
    "first": lambda numbers: min(filter(None, numbers), default=0.0),
}


class Collector(BaseCollector):
    """Shows what one or more processes have counted, as one.

    arrays: gives the arrays that counters add up from. live: those whose gauges count; by
    default all. server: gives what is known of the server as a whole.
    """

    def __init__(
        self,
        arrays: Callable[[], Sequence[Numbers]],
        live: Callable[[], Sequence[Numbers]] | None = None,
        server: Callable[[], ServerNumbers] | None = None,
    ) -> None:
        self._arrays = arrays
        self._live = live
        self._server = server

    def describe(self) -> list[Metric]:
        """Nothing: names needn't be known when it is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The families with their samples."""
        arrays = self._arrays()
        live = arrays if self._live is None else self._live()
        for family in FAMILIES:
            yield _metric(family, live if family.kind == "gauge" else arrays)
        found = self._server() if self._server is not None else {}
        for family in SERVER_FAMILIES:
            if family.name in found:
                metric = _empty(family)
                for labels, number in found[family.name].items():
                    metric.add_metric(labels, number)
                yield metric


def exposition(collector: Collector, accept: str) -> tuple[bytes, str]:
    """The answer to a scrape, and its media type. accept: what the client takes."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    try:
        encoder, media_type = choose_encoder(accept)
    except (TypeError, ValueError):  # it is no list of media types
        encoder, media_type = choose_encoder("")
    return encoder(registry), media_type


def _empty(family: Family) -> CounterMetricFamily | GaugeMetricFamily:
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    return kind(family.name, family.help, labels=family.label_names)


def _metric(family: Family, arrays: Sequence[Numbers]) -> Metric:
    if family.kind == "histogram":
        return _histogram(family, arrays)
    metric = _empty(family)
    combine = _COMBINE[family.together if family.kind == "gauge" else "sum"]
    for sample in family.samples:
        place = PLACES[family.name, *sample]
        metric.add_metric(sample, combine([array[place] for array in arrays]))
    return metric


def _histogram(family: Family, arrays: Sequence[Numbers]) -> Metric:
    metric = HistogramMetricFamily(family.name, family.help, labels=family.label_names)
    bounds = [f"{bound:g}" for bound in family.bounds] + ["+Inf"]
    for sample in family.samples:
        place = PLACES[family.name, *sample]
        added = 0.0
        buckets = []
        for at, bound in enumerate(bounds, place):
            added += sum(array[at] for array in arrays)
            buckets.append((bound, added))
        total = sum(array[place + len(bounds)] for array in arrays)
        metric.add_metric(sample, buckets, total)
    return metric
