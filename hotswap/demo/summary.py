"""What the demo found, judged: the last line for people, one object for machines."""

from __future__ import annotations

import platform
import statistics
from dataclasses import dataclass
from typing import Any

from hotswap.demo.clients import Feed
from hotswap.demo.steps import Outcome, StepResult

__all__ = ["Summary", "judged"]


WENT = (Outcome.LIVE, Outcome.ROLLED_BACK)
"""Outcomes of steps that made a swap."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The result of one demo. Times of pauses are in seconds, as the service measured them."""

    requests: int
    failed: int
    seconds: float
    p50_ms: float
    p99_ms: float
    longest_ms: float
    connections: int
    swaps: int
    rejected: int
    pause_median: float
    pause_longest: float
    pid_unchanged: bool
    websocket_unchanged: bool
    background_thread_unchanged: bool
    cache_loads: int
    steps: tuple[StepResult, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether not one request failed and everything came as expected."""
        return not self.problems

    def line(self) -> str:
        """The one line at the end."""
        kept = {True: "unchanged", False: "CHANGED"}
        return (
            f"{self.requests:,} requests, {self.failed} failed · {self.swaps} swaps, {self.rejected} rejected · "
            f"pause median {readable(self.pause_median)}, longest {readable(self.pause_longest)} · "
            f"PID {kept[self.pid_unchanged]}, WebSocket {kept[self.websocket_unchanged]}, "
            f"cache loads {self.cache_loads}"
        )

    def as_json(self) -> dict[str, Any]:
        """The same for machines; pauses in microseconds."""
        return {
            "ok": self.ok,
            "requests": self.requests,
            "failed": self.failed,
            "seconds": round(self.seconds, 1),
            "requests_per_second": round(self.requests / self.seconds) if self.seconds else 0,
            "latency_ms": {"p50": self.p50_ms, "p99": self.p99_ms, "longest": self.longest_ms},
            "connections": self.connections,
            "swaps": self.swaps,
            "rejected": self.rejected,
            "pause_us": {
                "median": round(self.pause_median * 1e6, 1),
                "longest": round(self.pause_longest * 1e6, 1),
            },
            "pid_unchanged": self.pid_unchanged,
            "websocket_unchanged": self.websocket_unchanged,
            "background_thread_unchanged": self.background_thread_unchanged,
            "cache_loads": self.cache_loads,
            "steps": [
                {
                    "title": result.step.title,
                    "drop": result.step.overlay,
                    "expected": result.step.expected,
                    "outcome": result.outcome,
                    "version": result.version,
                    "seconds": round(result.seconds, 3),
                    "reason": result.reason,
                }
                for result in self.steps
            ],
            "python": platform.python_version(),
            "problems": list(self.problems),
        }


def readable(seconds: float) -> str:
    """A short time for people."""
    return f"{seconds * 1e6:.0f} µs" if seconds < 0.001 else f"{seconds * 1e3:.2f} ms"


def judged(
    steps: list[StepResult],
    load: dict[str, Any],
    feed: Feed,
    before: dict[str, Any],
    after: dict[str, Any],
    *,
    connections: int,
    seconds: float,
) -> Summary:
    """Put together what was seen, and name everything that is not as it should be.

    Arguments:
        steps: what became of each step.
        load: the last report of the load.
        feed: the WebSocket that stayed open.
        before: the service's status before the first step.
        after: its status after the last one.
        connections: how many connections the load was told to keep open.
        seconds: how long the load was on.
    """
    pauses = [record["pause"] for record in after["history"] if record["pause"] is not None]
    problems = [f"{result.step.title}: {problem}" for result in steps for problem in result.problems]
    if load["failed"]:
        problems.append(f"{load['failed']} of {load['requests']} requests failed")
        problems += load["problems"]
    if load["connections"] != connections:
        problems.append(f"the load needed {load['connections']} connections, not the {connections} that it kept open")
    if after["pid"] != before["pid"]:
        problems.append(f"the PID was {before['pid']} and is {after['pid']}")
    if feed.broken is not None:
        problems.append(feed.broken)
    if after["engine"]["cache_loads"] != 1:
        problems.append(f"the cache was loaded {after['engine']['cache_loads']} times")
    if after["refresher"]["thread"] != before["refresher"]["thread"]:
        problems.append("the background thread is another one")
    went = lived_through(before, steps)
    seen = without(feed.versions, {result.step.passing for result in steps})
    if feed.broken is None and seen != went:
        problems.append(f"the WebSocket saw the versions {feed.versions}, right is {went}")
    missing = set(went) - set(load["versions"])
    if missing:
        problems.append(f"no request was answered by {', '.join(sorted(missing))}")
    if not pauses:
        problems.append("the service reports no pause of any swap")
    return Summary(
        requests=load["requests"],
        failed=load["failed"],
        seconds=seconds,
        p50_ms=load["p50_ms"],
        p99_ms=load["p99_ms"],
        longest_ms=load["longest_ms"],
        connections=load["connections"],
        swaps=sum((result.outcome in WENT) + bool(result.step.passing) for result in steps),
        rejected=sum(result.outcome == Outcome.REJECTED for result in steps),
        pause_median=statistics.median(pauses) if pauses else 0.0,
        pause_longest=max(pauses, default=0.0),
        pid_unchanged=after["pid"] == before["pid"],
        websocket_unchanged=feed.broken is None,
        background_thread_unchanged=after["refresher"]["thread"] == before["refresher"]["thread"],
        cache_loads=after["engine"]["cache_loads"],
        steps=tuple(steps),
        problems=tuple(problems),
    )


def without(versions: list[str], passing: set[str]) -> list[str]:
    """The versions one after the other, but for those that may have come and gone between two looks."""
    stayed = [version for version in versions if version not in passing]
    return [version for version, before in zip(stayed, [None, *stayed], strict=False) if version != before]


def lived_through(before: dict[str, Any], steps: list[StepResult]) -> list[str]:
    """The versions that were live one after the other, as expected."""
    versions = [before["versions"]["shop"]]
    for result in steps:
        if result.step.version != versions[-1]:
            versions.append(result.step.version)
    return versions
