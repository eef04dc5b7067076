"""The metrics, whoever exports them: what there is, and what an event adds to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from hotswap import errors
from hotswap.events import Event

__all__ = [
    "METRICS",
    "REHEARSED",
    "Kind",
    "Measured",
    "Metric",
    "error_type",
    "measured",
    "number",
    "step_of",
    "text",
]

Kind: TypeAlias = Literal["counter", "histogram", "sum", "gauge"]
"""A sum goes up and down, and may be added up over processes; a gauge may not."""

REHEARSED: Final = "rehearsal: "
"""What the names of checks begin with that ran in a rehearsal."""

_PAUSES: Final = (1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.5)
_STEPS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: without the ``hotswap.`` before it.
        kind: what is asked for at each export (sums and gauges), or added to at each event (the others).
        unit: in the notation of UCUM, as OpenTelemetry has it.
        labels: what it is told apart by, besides the patcher: each has few values.
        help: one sentence.
        buckets: upper edges in seconds, of a histogram.
        known: values of the labels that stand at zero from the beginning, where that can be: what goes from nothing to
            one is no increase to Prometheus, and rollouts are rare.
    """

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    known: tuple[tuple[str, ...], ...] = ()


_OUTCOMES: Final = ("rejected", "live", "permanent", "rolled_back")
_STEP_OF: Final = {
    "rollout.rehearsed": "rehearse",
    "rollout.staged": "stage",
    "rollout.verified": "verify",
    "rollout.armed": "arm",
    "rollout.live": "commit",
    "rollout.rolled_back": "rollback",
}

METRICS: Final = (
    Metric(
        "rollouts",
        "counter",
        "{rollout}",
        ("outcome",),
        "Rollouts that were rejected, went live, became permanent, were rolled back; each counts in all that it was.",
        known=tuple((outcome,) for outcome in _OUTCOMES),
    ),
    Metric(
        "swap.duration",
        "histogram",
        "s",
        ("step",),
        "Time in which a swap let no other thread run.",
        _PAUSES,
        known=(("commit",), ("rollback",)),
    ),
    Metric(
        "step.duration",
        "histogram",
        "s",
        ("step", "error"),
        "Time that a step of a rollout took.",
        _STEPS,
        known=tuple((step, "") for step in _STEP_OF.values()),
    ),
    Metric(
        "check.duration",
        "histogram",
        "s",
        ("step", "verdict"),
        "Time that a check took.",
        _STEPS,
        known=(("verify", "passed"), ("verify", "failed")),
    ),
    Metric("sessions", "sum", "{session}", ("generation",), "Open sessions, by the generation that they keep."),
    Metric("in_flight", "sum", "{call}", (), "Calls that go on with code of a generation that is gone."),
    Metric("bakes", "sum", "{bake}", (), "Bakes in progress."),
    Metric("version.age", "gauge", "s", (), "Time since what is live went live, or since it is followed."),
    Metric("version.info", "gauge", "1", ("package", "version"), "Always 1: which version of a package is live."),
)


class Measured(NamedTuple):
    """What an event adds to a metric. `labels` has a value for each that the metric has; empty: it does not apply."""

    metric: str
    value: float
    labels: dict[str, str]


def measured(event: Event) -> Iterator[Measured]:
    """Yield what an event adds to counters and histograms."""
    kind, _, what = event.name.partition(".")
    facts = event.facts
    if kind == "check" and what != "started":
        step = "rehearse" if text(facts["check"]).startswith(REHEARSED) else "verify"
        yield Measured("check.duration", number(facts["duration"]), {"step": step, "verdict": text(facts["verdict"])})
    if kind != "rollout":
        return
    if what in _OUTCOMES:
        yield Measured("rollouts", 1, {"outcome": what})
    step = step_of(event)
    if not step:
        return
    if facts.get("pause") is not None and step in ("commit", "rollback"):
        yield Measured("swap.duration", number(facts["pause"]), {"step": step})
    yield Measured("step.duration", number(facts["took"]), {"step": step, "error": error_type(facts.get("error"))})


def step_of(event: Event) -> str:
    """Return the step that ended with an event, well or not; empty if none did."""
    return _STEP_OF.get(event.name) or (text(event.facts["step"]) if event.name == "rollout.rejected" else "")


def error_type(name: object) -> str:
    """Return the type of an error as a label: those of hotswap, and ``_OTHER``; empty where there was none."""
    if not name:
        return ""
    return str(name) if name in errors.__all__ else "_OTHER"


def number(fact: object) -> float:
    """Return a fact that is a number."""
    assert isinstance(fact, (int, float)), fact
    return float(fact)


def text(fact: object) -> str:
    """Return a fact as text that can be exported: a reason that UTF-8 does not have loses a batch of spans."""
    return "" if fact is None else str(fact).encode("utf-8", "backslashreplace").decode()
