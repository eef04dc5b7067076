"""Spans: the rollouts of a patcher as traces.

    span               from                       to                              inside
    hotswap.rollout    the call that stages       live, or rejected               what is current where it is staged
    hotswap.rehearse   the beginning of the step  its end, well or not            hotswap.rollout
    hotswap.stage      the same                   the same                        hotswap.rollout
    hotswap.verify     the same                   the same                        hotswap.rollout
    hotswap.check      the beginning of a check   its verdict                     hotswap.verify, hotswap.rehearse
    hotswap.arm        that of the step           its end, well or not            hotswap.rollout
    hotswap.commit     the same                   the same                        hotswap.rollout
    hotswap.bake       the swap                   its verdict, or somebody's      nothing
    hotswap.rollback   that of the way back       the one before is live again    hotswap.bake if that does it, else
                                                                                  what is current where it is asked for

A bake is a trace of its own, since it may outlast the request that has applied the patch by hours; it and a rollback
are linked to `hotswap.rollout`. Spans of steps are made
when they end, with the times that the events tell; only `hotswap.rollout` and `hotswap.bake` are open meanwhile.

Guarantees: spans and texts are all that is kept, no code. No lock is taken: the SDK runs what users have registered.
What was open when the process was forked is left to the parent. Assumes: what happens to one rollout is told in turn,
but for its checks.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, Status, StatusCode, Tracer

from hotswap.bake import BakeVerdict
from hotswap.events import Event
from hotswap.telemetry.following import Following
from hotswap.telemetry.metrics import REHEARSED, error_type, number, step_of, text

__all__ = ["SPANS", "Spans"]

SPANS: Final[Mapping[str, tuple[str, ...]]] = {
    "hotswap.rollout": ("deployment.status", "error.type", "hotswap.reason"),
    "hotswap.rehearse": ("error.type",),
    "hotswap.stage": ("error.type", "hotswap.plan.warnings"),
    "hotswap.verify": ("error.type",),
    "hotswap.check": ("error.type", "hotswap.check.name", "hotswap.check.tolerated", "hotswap.check.verdict"),
    "hotswap.arm": ("error.type",),
    "hotswap.commit": ("error.type", "hotswap.swap.pause"),
    "hotswap.bake": ("error.type", "hotswap.bake.verdict", "hotswap.reason"),
    "hotswap.rollback": ("hotswap.reason", "hotswap.swap.pause"),
}
"""The spans, and which attributes each may have besides `COMMON`."""

COMMON: Final = ("deployment.id", "deployment.name", "hotswap.packages", "hotswap.patch.digest", "service.version")

_REMEMBERED: Final = 32
"""Rollouts to whose spans a later bake or rollback is linked. Only the newest can be taken back."""

_BAKED: Final = {"bake.passed": "passed", "bake.failed": "failed", "bake.undecided": "undecided"}


class Spans:
    """Makes the spans of one patcher. Lives until it is closed.

    Arguments:
        tracer: makes spans.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._open: dict[str, Span] = {}
        self._bakes: dict[str, Span] = {}
        self._checks: dict[str, list[Event]] = {}
        """The checks that have ended in a step that has not."""
        self._ended: OrderedDict[str, SpanContext] = OrderedDict()

    def close(self) -> None:
        """End what is open: nothing more will be told of it."""
        if self._process == os.getpid():
            for span in (*self._open.values(), *self._bakes.values()):
                span.end()
        self._forget()

    def tell(self, event: Event, following: Following) -> None:
        """Make the spans that an event begins or ends."""
        if self._process != os.getpid():
            self._forget()
        rollout = event.facts.get("rollout")
        kind = event.name.partition(".")[0]
        if not isinstance(rollout, str) or kind in ("drop", "store"):
            return
        if event.name in ("check.passed", "check.failed"):
            self._checks.setdefault(rollout, []).append(event)
        elif event.name == "rollout.rolled_back":
            self._rolled_back(rollout, event, following)
        elif step := step_of(event):
            self._walked(rollout, step, event, following)
        elif event.name == "rollout.rejected":  # between two steps
            self._end(rollout, self._opened(rollout, event, following), event)
        elif event.name == "bake.began":
            self._began(rollout, event, following)
        elif event.name in _BAKED:
            self._baked(rollout, _BAKED[event.name], event)
        elif event.name == "rollout.permanent":
            self._decided(rollout, event, following)
        else:
            self._add(rollout, event)

    # --- the way to live -------------------------------------------------------------------------------------------

    def _opened(self, rollout: str, event: Event, following: Following) -> Span:
        """The span of a rollout, which is begun here if this is the first that is told of it."""
        if (found := self._open.get(rollout)) is not None:
            return found
        # One that was taken back, and goes live again, began long ago; this is another way of it.
        again = self._links(rollout)
        took = event.facts.get("took") or 0.0 if again else event.facts["duration"]
        span = self._span("hotswap.rollout", event.time - number(took), event, following, links=again)
        return self._open.setdefault(rollout, span)

    def _walked(self, rollout: str, step: str, event: Event, following: Following) -> None:
        whole = self._opened(rollout, event, following)
        inside = trace.set_span_in_context(whole, Context())
        began = event.time - number(event.facts["took"])
        here, there = trace.get_current_span().get_span_context(), whole.get_span_context()
        caller = (here,) if here.is_valid and here.trace_id != there.trace_id else ()
        span = self._span(f"hotswap.{step}", began, event, following, inside, caller)
        if step in ("rehearse", "verify"):
            self._check(rollout, step, trace.set_span_in_context(span, Context()), event, following)
        if "warnings" in event.facts:
            span.set_attribute("hotswap.plan.warnings", int(number(event.facts["warnings"])))
        if event.facts.get("pause") is not None and step == "commit":
            span.set_attribute("hotswap.swap.pause", number(event.facts["pause"]))
        if event.name == "rollout.rejected":
            _failed(span, event)
        span.end(_ns(event.time))
        if event.name in ("rollout.live", "rollout.rejected"):
            self._end(rollout, whole, event)

    def _check(self, rollout: str, step: str, inside: Context, event: Event, following: Following) -> None:
        subject = following.known(rollout)
        details = {} if subject is None else {one.name: text(one.detail) for one in subject.report.results}
        told = self._checks.get(rollout, [])
        of_step = [one for one in told if text(one.facts["check"]).startswith(REHEARSED) == (step == "rehearse")]
        for one in of_step:
            told.remove(one)
            name, verdict = text(one.facts["check"]), text(one.facts["verdict"])
            began = one.time - number(one.facts["duration"])
            span = self._span("hotswap.check", began, event, following, inside)
            span.set_attribute("hotswap.check.name", name)
            span.set_attribute("hotswap.check.verdict", verdict)
            span.set_attribute("hotswap.check.tolerated", bool(one.facts["tolerated"]))
            if verdict != "passed":
                message, detail = text(one.facts["message"]), details.get(name, "")
                known = {"exception.message": message} | ({"exception.stacktrace": detail} if detail else {})
                span.add_event("exception", known, _ns(one.time))
                span.set_attribute("error.type", verdict)
                span.set_status(Status(StatusCode.ERROR, text(one.facts["reason"])))
            span.end(_ns(one.time))

    def _end(self, rollout: str, span: Span, event: Event) -> None:
        self._open.pop(rollout, None)
        self._checks.pop(rollout, None)
        if event.name == "rollout.live":
            span.set_attribute("deployment.status", "succeeded")
        else:
            span.set_attribute("deployment.status", "failed")
            span.set_attribute("hotswap.reason", text(event.facts["reason"]))
            _failed(span, event)
        self._ended[rollout] = span.get_span_context()
        while len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        span.end(_ns(event.time))

    # --- afterwards ------------------------------------------------------------------------------------------------

    def _began(self, rollout: str, event: Event, following: Following) -> None:
        span = self._span("hotswap.bake", event.time, event, following, Context(), self._links(rollout))
        self._bakes[rollout] = span

    def _baked(self, rollout: str, verdict: str, event: Event) -> None:
        span = self._bakes.pop(rollout, None)
        if span is None:
            return
        span.set_attribute("hotswap.bake.verdict", verdict)
        reason = text(event.facts["reason"])
        span.set_attribute("hotswap.reason", reason)
        if verdict == "failed":
            span.set_attribute("error.type", "bake_failed")
            span.set_status(Status(StatusCode.ERROR, reason))
        span.end(_ns(event.time))

    def _decided(self, rollout: str, event: Event, following: Following) -> bool:
        """End the span of a bake if somebody else has decided; return whether the bake has."""
        if rollout not in self._bakes:
            return False
        subject = following.known(rollout)
        figures = None if subject is None else subject.bake
        if figures is not None and figures.verdict in (BakeVerdict.PASSED, BakeVerdict.FAILED):
            return True  # it will be told
        self._baked(rollout, "ended", event)
        return False

    def _rolled_back(self, rollout: str, event: Event, following: Following) -> None:
        bake = self._bakes.get(rollout)
        by_bake = self._decided(rollout, event, following)
        inside = trace.set_span_in_context(bake, Context()) if by_bake and bake is not None else None
        began = event.time - number(event.facts["took"])
        span = self._span("hotswap.rollback", began, event, following, inside, self._links(rollout))
        span.set_attribute("hotswap.reason", text(event.facts["reason"]))
        if event.facts["pause"] is not None:
            span.set_attribute("hotswap.swap.pause", number(event.facts["pause"]))
        span.end(_ns(event.time))

    def _links(self, rollout: str) -> tuple[SpanContext, ...]:
        found = self._ended.get(rollout)
        return () if found is None else (found,)

    def _add(self, rollout: str, event: Event) -> None:
        """Have anything else that happens meanwhile stand in the span that is open."""
        span = self._open.get(rollout) or self._bakes.get(rollout)
        if span is not None and event.name != "check.started":
            told = {key: text(event.facts[key]) for key in ("message", "reason") if event.facts.get(key)}
            span.add_event(f"hotswap.{event.name}", told, _ns(event.time))

    def _span(
        self,
        name: str,
        began: float,
        event: Event,
        following: Following,
        inside: Context | None = None,
        links: tuple[SpanContext, ...] = (),
    ) -> Span:
        facts = event.facts
        attributes = {
            "deployment.id": text(facts["rollout"]),
            "deployment.name": text(facts["patch"]),
            "service.version": text(facts["version"]),
            "hotswap.packages": following.packages,
            "hotswap.patch.digest": text(facts["digest"]),
        }
        made = [Link(one) for one in links if one.is_valid]
        return self._tracer.start_span(name, inside, attributes=attributes, links=made, start_time=_ns(began))


def _failed(span: Span, event: Event) -> None:
    """Have a span tell of what a rollout was rejected by; to be given up by somebody is no error."""
    error, reason = event.facts["error"], text(event.facts["reason"])
    if error is None:
        return
    span.set_attribute("error.type", error_type(error))
    span.set_status(Status(StatusCode.ERROR, reason))
    span.add_event("exception", {"exception.type": text(error), "exception.message": reason}, _ns(event.time))


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)
