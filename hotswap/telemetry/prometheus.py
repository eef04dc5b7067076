"""Metrics for a registry of prometheus_client: ``REGISTRY.register(Collector(patcher))``."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import product
from typing import Any, Final

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
    from prometheus_client.core import Metric as Family
    from prometheus_client.registry import Collector as Base
except ImportError as error:
    raise ImportError(f"{error}; pip install 'hotswap[prometheus]'") from error

from hotswap.events import Event
from hotswap.patcher import Patcher
from hotswap.telemetry.following import Following
from hotswap.telemetry.metrics import METRICS, Measured, Metric, measured

__all__ = ["Collector", "labels_of", "name_of"]

_BY_NAME: Final = {metric.name: metric for metric in METRICS}


def name_of(metric: Metric) -> str:
    """Return the name of a family: that of OpenTelemetry with underscores, and the unit."""
    name = f"hotswap_{metric.name}".replace(".", "_")
    return f"{name}_seconds" if metric.unit == "s" else name.removesuffix("_info")


def labels_of(metric: Metric) -> tuple[str, ...]:
    """Return the labels of a family."""
    own = tuple("error_type" if label == "error" else label for label in metric.labels)
    return own if "package" in own else ("packages", *own)


class _Cell:
    """What was counted under one set of labels: in how many buckets, and the sum."""

    __slots__ = ("counts", "total")

    def __init__(self, size: int) -> None:
        self.counts, self.total = [0] * (size + 1), 0.0


class Collector(Base):
    """The metrics of patchers, for a registry. Lives as long as it is registered; `close` ends it.

    Arguments:
        patchers: those whose metrics are collected. A registry has room for one collector, so it gets all of them.

    Counts begin at zero when it is made, and so does the count of open sessions. Raises ValueError without a patcher.
    """

    def __init__(self, *patchers: Patcher) -> None:
        if not patchers:
            raise ValueError("there is nothing to collect without a patcher: Collector(patcher)")
        self._cells: dict[tuple[str, ...], _Cell] = {}
        self._followings: list[Following] = []
        for patcher in patchers:
            self._follow(patcher)

    def _follow(self, patcher: Patcher) -> None:
        def told(event: Event) -> None:
            for one in measured(event):
                self._add(one, following.packages)

        following = Following(patcher, told)
        following.count_sessions()
        self._followings.append(following)
        for metric in METRICS:
            for values in metric.known:
                self._cell(metric, (metric.name, following.packages, *values))

    def close(self) -> None:
        """Collect no more: no event and no session is counted for it. What was counted stays."""
        for following in self._followings:
            following.close()

    def _add(self, one: Measured, packages: str) -> None:
        # Without a lock, which a fork could leave held: `+=` on an element is one step with the GIL. Without it, what
        # two checks tell at the same time may count once.
        metric = _BY_NAME[one.metric]
        key = (metric.name, *_values(metric, one, packages))
        cell, place = self._cell(metric, key), bisect_left(metric.buckets, one.value)
        cell.counts[place] += 1
        cell.total += one.value

    def _cell(self, metric: Metric, key: tuple[str, ...]) -> _Cell:
        return self._cells.setdefault(key, _Cell(len(metric.buckets)))

    def describe(self) -> Iterator[Family]:
        """Yield the families without samples: a registry asks for their names when the collector is registered."""
        for metric in METRICS:
            yield _family(metric)

    def collect(self) -> Iterator[Family]:
        """Yield the families with what is known at this moment."""
        families = {metric.name: _family(metric) for metric in METRICS}
        for (name, *labels), cell in self._cells.copy().items():
            metric = _BY_NAME[name]
            families[name].add_metric(labels, *([cell.total] if metric.kind == "counter" else _cumulated(metric, cell)))
        for metric, following in product(METRICS, self._followings):
            family = families[metric.name]
            for one in following.asked(metric.name):
                values = _values(metric, one, following.packages)
                if isinstance(family, InfoMetricFamily):
                    family.add_metric([], dict(zip(labels_of(metric), values, strict=True)))
                else:
                    family.add_metric(values, one.value)
        yield from families.values()


def _values(metric: Metric, one: Measured, packages: str) -> list[str]:
    own = [one.labels[label] for label in metric.labels]
    return own if "package" in metric.labels else [packages, *own]


def _family(metric: Metric) -> Any:
    name, labels = name_of(metric), labels_of(metric)
    if metric.kind == "counter":
        return CounterMetricFamily(name, metric.help, labels=labels)
    if metric.kind == "histogram":
        return HistogramMetricFamily(name, metric.help, labels=labels)
    if metric.name.endswith(".info"):
        return InfoMetricFamily(name, metric.help)
    return GaugeMetricFamily(name, metric.help, labels=labels)


def _cumulated(metric: Metric, cell: _Cell) -> tuple[list[tuple[str, float]], float]:
    counted, found = 0, []
    edges = [*map(str, metric.buckets), "+Inf"]
    for edge, count in zip(edges, list(cell.counts), strict=True):
        counted += count
        found.append((edge, float(counted)))
    return found, cell.total
