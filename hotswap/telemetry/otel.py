"""Spans and metrics for OpenTelemetry, by its API alone: without an SDK all of this does nothing.

uninstrument = instrument(patcher)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from functools import partial
from importlib import metadata
from typing import Any, Final
from weakref import WeakKeyDictionary

try:
    from opentelemetry import metrics, trace
    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation
    from opentelemetry.trace import TracerProvider
except ImportError as error:
    raise ImportError(f"{error}; pip install 'hotswap[otel]'") from error

from hotswap.events import Event
from hotswap.patcher import Patcher
from hotswap.telemetry.following import Following
from hotswap.telemetry.metrics import METRICS, Measured, measured
from hotswap.telemetry.spans import Spans

__all__ = ["ATTRIBUTES", "instrument"]

ATTRIBUTES: Final = {
    "outcome": "hotswap.outcome",
    "step": "hotswap.step",
    "error": "error.type",
    "verdict": "hotswap.check.verdict",
    "generation": "hotswap.generation",
    "package": "hotswap.package",
    "version": "service.version",
}
"""The attributes of metrics, by the labels of `METRICS`; besides `hotswap.packages`, which all have."""


class _Instruments:
    """The instruments of a meter, for all patchers. Lives as long as the meter's provider.

    An SDK has one instrument of a name, and keeps its callbacks for good. So they are made once, and ask whoever is
    instrumented at the time.
    """

    def __init__(self, meter: Meter) -> None:
        self.followings: dict[int, Following] = {}
        self._added: dict[str, Callable[..., None]] = {}
        for metric in METRICS:
            name, asked = f"hotswap.{metric.name}", [partial(self._asked, metric.name)]
            if metric.kind == "counter":
                self._added[metric.name] = meter.create_counter(name, metric.unit, metric.help).add
            elif metric.kind == "histogram":
                edges = metric.buckets
                made = meter.create_histogram(name, metric.unit, metric.help, explicit_bucket_boundaries_advisory=edges)
                self._added[metric.name] = made.record
            elif metric.kind == "sum":
                meter.create_observable_up_down_counter(name, asked, metric.unit, metric.help)
            else:
                meter.create_observable_gauge(name, asked, metric.unit, metric.help)

    def begin(self, following: Following) -> None:
        """Have a patcher's counters stand at zero, and ask it from now on."""
        self.followings[id(following.patcher)] = following
        for metric in METRICS:
            for values in metric.known if metric.kind == "counter" else ():
                labels = dict(zip(metric.labels, values, strict=True))
                self.add(Measured(metric.name, 0, labels), following.packages)

    def add(self, one: Measured, packages: str) -> None:
        """Add what was measured."""
        self._added[one.metric](one.value, _attributes(one, packages))

    def _asked(self, metric: str, _: CallbackOptions) -> Iterable[Observation]:
        for following in self.followings.copy().values():
            following.count_sessions()  # from the first time on that somebody asks: without an SDK nobody does
            for one in following.asked(metric):
                yield Observation(one.value, _attributes(one, following.packages))


_instruments: Final[WeakKeyDictionary[Any, _Instruments]] = WeakKeyDictionary()
"""By the provider that was given, or the function that asks for the global one, which may be set later."""
_making: Final = threading.Lock()


def instrument(
    patcher: Patcher, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> Callable[[], None]:
    """Make spans and metrics of what the rollouts of a patcher do from now on, and of what is live in it.

    Arguments:
        patcher: that is followed. Others may be instrumented, too.
        tracer_provider: makes the tracer; None: the global one, also if that is set later.
        meter_provider: makes the meter; None: as above.

    Returns what takes it back: nothing is told any more, spans that are open end, and no session is counted for it. A
    second call of that changes nothing. Raises ValueError if the patcher is instrumented with this provider of meters.
    """
    scope = ("hotswap", _version())
    key = metrics.get_meter_provider if meter_provider is None else meter_provider
    with _making:
        instruments = _instruments.get(key)
        if instruments is None:
            instruments = _instruments[key] = _Instruments(metrics.get_meter(*scope, meter_provider=meter_provider))
        if id(patcher) in instruments.followings:
            raise ValueError(f"{patcher!r} is instrumented already: call what instrument() has returned first")
        spans = Spans(trace.get_tracer(*scope, tracer_provider=tracer_provider))

        def told(event: Event) -> None:
            try:
                spans.tell(event, following)
            finally:  # what breaks there is no reason to lose a count
                for one in measured(event):
                    instruments.add(one, following.packages)

        following = Following(patcher, told)
        instruments.begin(following)

    def uninstrument() -> None:
        if instruments.followings.get(id(patcher)) is following:
            del instruments.followings[id(patcher)]
            following.close()
            spans.close()

    return uninstrument


def _attributes(one: Measured, packages: str) -> dict[str, str]:
    own = {ATTRIBUTES[label]: value for label, value in one.labels.items() if value}
    return own if "package" in one.labels else {"hotswap.packages": packages, **own}


def _version() -> str:
    try:
        return metadata.version("hotswap")
    except metadata.PackageNotFoundError:  # a checkout
        return ""
