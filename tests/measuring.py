"""A package with versions to roll out, and what OpenTelemetry's SDK has got of it. Shared by the tests of telemetry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from hotswap import Patch, Patcher
from hotswap.telemetry import otel

__all__ = ["Priced", "Sdk", "instrumented_package", "real_sdk"]

SOURCE = "PRICE = {0}\n\n\ndef quote():\n    return {0}\n"


class Priced:
    """A package with a price, and its patcher.

    Arguments:
        make_package: the fixture.
        terms: of the patcher.
    """

    def __init__(self, make_package: Callable[..., ModuleType], **terms: Any) -> None:
        self.package: Any = make_package({"prices.py": SOURCE.format(1), "__init__.py": "__version__ = '1.0'\n"})
        self.name: str = self.package.__name__
        self.prices: Any = __import__(f"{self.name}.prices").prices
        self.patcher = Patcher(packages=[self.name], **terms)

        @self.patcher.check(name="positive")
        def positive(candidate: Any) -> None:
            if candidate[f"{self.name}.prices"].quote() <= 0:
                raise ValueError("nothing is free")

    def patch(self, price: int, more: str = "") -> Patch:
        """A patch with a price, and a version that rises with it."""
        return Patch.from_sources({f"{self.name}.prices": SOURCE.format(price) + more}, version=f"1.{abs(price)}")


class Sdk:
    """The real SDK, whose exporters keep what they get."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.tracer = self.tracers.get_tracer("test")

    def instrument(self, patcher: Patcher) -> Callable[[], None]:
        """Instrument a patcher with it."""
        return otel.instrument(patcher, tracer_provider=self.tracers, meter_provider=self.meters)

    def close(self) -> None:
        """Shut it down."""
        self.tracers.shutdown()
        self.meters.shutdown()

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """The spans that have ended, the last of each name."""
        return {span.name: span for span in self.exporter.get_finished_spans()}

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of a name."""
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def tree(self) -> list[tuple[str, str | None]]:
        """The name of each span, and of its parent, in the order in which they began."""
        spans = sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
        names = {span.context.span_id: span.name for span in spans if span.context}
        return [(span.name, names.get(span.parent.span_id, "?") if span.parent else None) for span in spans]

    @property
    def points(self) -> dict[str, list[Any]]:
        """The data points of each metric, as they are now."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def values(self, metric: str) -> dict[tuple[str, ...], float]:
        """The values of a metric, or the counts of a histogram, by those of attributes in the order of their names."""
        return {
            tuple(str(point.attributes[key]) for key in sorted(point.attributes)): point.value
            if hasattr(point, "value")
            else point.count
            for point in self.points.get(metric, [])
        }


@pytest.fixture(name="sdk")
def real_sdk() -> Iterator[Sdk]:
    """The SDK, shut down after the test."""
    made = Sdk()
    yield made
    made.close()


@pytest.fixture(name="priced")
def instrumented_package(make_package: Callable[..., ModuleType], sdk: Sdk) -> Iterator[Priced]:
    """A package whose patcher is instrumented with that."""
    made = Priced(make_package)
    uninstrument = sdk.instrument(made.patcher)
    yield made
    uninstrument()
