"""Spans of rollouts, made with the real SDK of OpenTelemetry."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.trace import StatusCode

import hotswap
from hotswap import State
from hotswap.telemetry import spans
from tests.measuring import Priced, Sdk, instrumented_package, real_sdk  # noqa: F401 - fixtures

pytestmark = pytest.mark.threads


def links(span: Any) -> list[int]:
    return [link.context.span_id for link in span.links]


class TestAGoodRollout:
    def test_is_one_span_with_a_child_for_each_step_and_each_check(self, priced: Priced, sdk: Sdk) -> None:
        rollout = priced.patcher.apply(priced.patch(2))
        assert sdk.tree() == [
            ("hotswap.rollout", None),
            ("hotswap.stage", "hotswap.rollout"),
            ("hotswap.verify", "hotswap.rollout"),
            ("hotswap.check", "hotswap.verify"),
            ("hotswap.commit", "hotswap.rollout"),
        ]
        whole = sdk.spans["hotswap.rollout"]
        assert whole.attributes == {
            "deployment.id": rollout.id,
            "deployment.name": priced.name,
            "deployment.status": "succeeded",
            "service.version": "1.2",
            "hotswap.packages": priced.name,
            "hotswap.patch.digest": rollout.patch.digest,
        }
        assert whole.status.status_code is StatusCode.UNSET
        check = sdk.spans["hotswap.check"].attributes or {}
        assert (check["hotswap.check.name"], check["hotswap.check.verdict"]) == ("positive", "passed")
        assert (sdk.spans["hotswap.commit"].attributes or {})["hotswap.swap.pause"] == rollout.pause

    def test_its_steps_lie_within_it_and_in_their_order(self, priced: Priced, sdk: Sdk) -> None:
        priced.patcher.apply(priced.patch(2))
        whole, *steps = [sdk.spans[f"hotswap.{name}"] for name in ("rollout", "stage", "verify", "commit")]
        slack = 1_000_000  # ns: the clocks of times and of durations are two
        times = [(one.start_time or 0, one.end_time or 0) for one in (whole, *steps)]
        (began, ended), *others = times
        assert all(began - slack <= start <= end <= ended for start, end in others)
        assert all(first[1] <= then[0] + slack for first, then in itertools.pairwise(others))

    def test_is_a_child_of_what_is_current_where_it_is_applied(self, priced: Priced, sdk: Sdk) -> None:
        with sdk.tracer.start_as_current_span("POST /rollouts") as request:
            priced.patcher.apply(priced.patch(2))
        assert dict(sdk.tree())["hotswap.rollout"] == "POST /rollouts"
        ids = {span.context.trace_id for span in sdk.exporter.get_finished_spans() if span.context}
        assert ids == {request.get_span_context().trace_id}

    async def _applied(self, priced: Priced, sdk: Sdk) -> None:
        with sdk.tracer.start_as_current_span("POST /rollouts"):
            await priced.patcher.apply_async(priced.patch(2))

    def test_is_so_too_where_it_is_applied_on_an_event_loop(self, priced: Priced, sdk: Sdk) -> None:
        import asyncio

        asyncio.run(self._applied(priced, sdk))
        assert dict(sdk.tree())["hotswap.rollout"] == "POST /rollouts"

    def test_a_step_that_another_request_asks_for_is_linked_to_that(self, priced: Priced, sdk: Sdk) -> None:
        with sdk.tracer.start_as_current_span("POST /rollouts") as first:
            rollout = priced.patcher.stage(priced.patch(2))
        with sdk.tracer.start_as_current_span("POST /rollouts/commit") as second:
            rollout.verify()
            rollout.commit()
        whole = sdk.spans["hotswap.rollout"]
        assert whole.parent is not None and whole.parent.span_id == first.get_span_context().span_id
        assert links(sdk.spans["hotswap.commit"]) == [second.get_span_context().span_id]
        assert links(sdk.spans["hotswap.stage"]) == []

    def test_that_is_armed_says_so(self, priced: Priced, sdk: Sdk) -> None:
        def misled(about: object) -> bool:
            raise LookupError("no such user")

        rollout = priced.patcher.stage(priced.patch(2))
        rollout.verify()
        rollout.arm(misled)
        with hotswap.session():
            assert priced.prices.quote() == 1
        rollout.commit()
        assert ("hotswap.arm", "hotswap.rollout") in sdk.tree()
        assert [event.name for event in sdk.spans["hotswap.rollout"].events] == ["hotswap.rollout.misrouted"]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="a rehearsal copies the process")
    def test_that_is_rehearsed_has_the_checks_of_the_copy(self, priced: Priced, sdk: Sdk) -> None:
        priced.patcher.apply(priced.patch(2), rehearse=True)
        assert sdk.tree().count(("hotswap.rehearse", "hotswap.rollout")) == 1
        assert ("hotswap.check", "hotswap.rehearse") in sdk.tree()
        assert ("hotswap.check", "hotswap.verify") in sdk.tree()
        names = [(span.attributes or {})["hotswap.check.name"] for span in sdk.named("hotswap.check")]
        assert {"rehearsal: positive", "positive"} <= set(names)


class TestARejectedRollout:
    def test_by_a_check(self, priced: Priced, sdk: Sdk) -> None:
        with pytest.raises(hotswap.CheckFailedError):
            priced.patcher.apply(priced.patch(-2))
        assert sdk.tree() == [
            ("hotswap.rollout", None),
            ("hotswap.stage", "hotswap.rollout"),
            ("hotswap.verify", "hotswap.rollout"),
            ("hotswap.check", "hotswap.verify"),
        ]
        whole, verify, check = (sdk.spans[f"hotswap.{name}"] for name in ("rollout", "verify", "check"))
        for span in (whole, verify):
            assert span.status.status_code is StatusCode.ERROR
            assert (span.attributes or {})["error.type"] == "CheckFailedError"
            (told,) = span.events
            assert told.name == "exception"
            assert (told.attributes or {})["exception.type"] == "CheckFailedError"
            assert "positive" in str((told.attributes or {})["exception.message"])
        assert (whole.attributes or {})["deployment.status"] == "failed"
        assert (check.attributes or {})["error.type"] == (check.attributes or {})["hotswap.check.verdict"]
        assert check.status.status_code is StatusCode.ERROR
        (told,) = check.events
        assert "nothing is free" in str((told.attributes or {})["exception.message"])
        assert "Traceback" in str((told.attributes or {})["exception.stacktrace"])
        assert sdk.spans["hotswap.stage"].status.status_code is StatusCode.UNSET

    def test_by_a_check_that_says_what_is_no_text_can_be_exported(self, priced: Priced, sdk: Sdk) -> None:
        @priced.patcher.check
        def refuse(candidate: object) -> None:
            raise AssertionError("caf" + chr(0xDCE9))  # not as it is shown: a stack has the line, too

        with pytest.raises(hotswap.CheckFailedError):
            priced.patcher.apply(priced.patch(2))
        told = [event for span in sdk.named("hotswap.check") for event in span.events]
        for fact in ("exception.message", "exception.stacktrace"):
            assert [r"caf\udce9" in str((event.attributes or {})[fact]) for event in told] == [True], fact

    def test_while_it_is_loaded(self, priced: Priced, sdk: Sdk) -> None:
        with pytest.raises(hotswap.LoadError):
            priced.patcher.apply(priced.patch(2, "raise RuntimeError('no')\n"))
        assert sdk.tree() == [("hotswap.rollout", None), ("hotswap.stage", "hotswap.rollout")]
        assert (sdk.spans["hotswap.stage"].attributes or {})["error.type"] == "LoadError"

    def test_while_it_is_committed(self, priced: Priced, sdk: Sdk) -> None:
        with pytest.raises(hotswap.MigrationError):
            priced.patcher.apply(priced.patch(2, "def __hotswap__(old, new): raise RuntimeError('no')\n"))
        assert (sdk.spans["hotswap.commit"].attributes or {})["error.type"] == "MigrationError"
        assert ("hotswap.commit", "hotswap.rollout") in sdk.tree()

    def test_that_somebody_gave_up_is_no_error(self, priced: Priced, sdk: Sdk) -> None:
        priced.patcher.stage(priced.patch(2)).abort("not today")
        whole = sdk.spans["hotswap.rollout"]
        assert sdk.tree() == [("hotswap.rollout", None), ("hotswap.stage", "hotswap.rollout")]
        assert whole.status.status_code is StatusCode.UNSET
        assert (whole.attributes or {})["deployment.status"] == "failed"
        assert (whole.attributes or {})["hotswap.reason"] == "not today"


class TestABake:
    @pytest.fixture
    def priced(self, make_package: Callable[..., ModuleType], sdk: Sdk) -> Iterator[Priced]:
        made = Priced(make_package, bake=60)

        @made.patcher.probe(every=0.01, failures=1, name="moderate")
        def moderate() -> None:
            assert made.prices.quote() < 10, "nobody pays that"

        uninstrument = sdk.instrument(made.patcher)
        yield made
        uninstrument()

    def test_that_takes_it_back_is_a_trace_of_its_own_with_the_rollback_in_it(self, priced: Priced, sdk: Sdk) -> None:
        with sdk.tracer.start_as_current_span("POST /rollouts"):
            rollout = priced.patcher.apply(priced.patch(20))
        assert rollout.wait_baked(20)
        assert rollout.state is State.ROLLED_BACK
        tree = dict(sdk.tree())
        assert tree["hotswap.bake"] is None
        assert tree["hotswap.rollback"] == "hotswap.bake"
        whole, bake, back = (sdk.spans[f"hotswap.{name}"] for name in ("rollout", "bake", "rollback"))
        assert whole.context and bake.context
        assert whole.context.trace_id != bake.context.trace_id
        assert links(bake) == links(back) == [whole.context.span_id]
        assert (bake.attributes or {})["hotswap.bake.verdict"] == "failed"
        assert bake.status.status_code is StatusCode.ERROR
        assert "nobody pays that" in str(bake.status.description)
        assert "hotswap.probe.failed" in [event.name for event in bake.events]
        assert "nobody pays that" in str((back.attributes or {})["hotswap.reason"])
        assert (back.attributes or {})["hotswap.swap.pause"] == rollout.pause

    def test_that_passes(self, priced: Priced, sdk: Sdk) -> None:
        rollout = priced.patcher.apply(priced.patch(2), bake=0.1)
        assert rollout.wait_baked(20)
        assert rollout.state is State.PERMANENT
        assert (sdk.spans["hotswap.bake"].attributes or {})["hotswap.bake.verdict"] == "passed"
        assert sdk.spans["hotswap.bake"].status.status_code is StatusCode.UNSET

    @pytest.mark.parametrize("end", ["confirm", "rollback"])
    def test_that_somebody_ends(self, priced: Priced, sdk: Sdk, end: str) -> None:
        rollout = priced.patcher.apply(priced.patch(2))
        with sdk.tracer.start_as_current_span("POST /end"):
            getattr(rollout, end)()
        assert (sdk.spans["hotswap.bake"].attributes or {})["hotswap.bake.verdict"] == "ended"
        assert dict(sdk.tree()).get("hotswap.rollback", "POST /end") == "POST /end"

    def test_that_goes_on_ends_with_the_instrumentation(self, make_package: Any, sdk: Sdk) -> None:
        other = Priced(make_package, bake=60)
        uninstrument = sdk.instrument(other.patcher)
        rollout = other.patcher.apply(other.patch(2))
        assert "hotswap.bake" not in sdk.spans
        uninstrument()
        assert "hotswap.bake.verdict" not in (sdk.spans["hotswap.bake"].attributes or {})
        rollout.rollback()
        assert "hotswap.rollback" not in sdk.spans


class TestARollback:
    def test_by_hand_is_a_child_of_who_asks_with_a_link_to_the_rollout(self, priced: Priced, sdk: Sdk) -> None:
        priced.patcher.apply(priced.patch(2))
        with sdk.tracer.start_as_current_span("POST /undo"):
            priced.patcher.rollback(reason="wrong day")
        assert dict(sdk.tree())["hotswap.rollback"] == "POST /undo"
        whole = sdk.spans["hotswap.rollout"].context
        assert whole and links(sdk.spans["hotswap.rollback"]) == [whole.span_id]

    def test_for_a_reason_that_is_no_text_can_be_exported(self, priced: Priced, sdk: Sdk) -> None:
        priced.patcher.apply(priced.patch(2))
        priced.patcher.rollback(reason="caf\udce9")
        assert (sdk.spans["hotswap.rollback"].attributes or {})["hotswap.reason"] == r"caf\udce9"

    def test_of_what_went_live_before_there_were_spans(self, make_package: Any, sdk: Sdk) -> None:
        other = Priced(make_package)
        other.patcher.apply(other.patch(2))
        uninstrument = sdk.instrument(other.patcher)
        other.patcher.rollback()
        uninstrument()
        assert sdk.tree() == [("hotswap.rollback", None)]

    def test_and_live_again_is_another_way_of_the_same_rollout(self, priced: Priced, sdk: Sdk) -> None:
        rollout = priced.patcher.stage(priced.patch(2))
        rollout.verify()
        rollout.arm()
        rollout.commit()
        rollout.rollback()
        rollout.commit()
        first, second = sdk.named("hotswap.rollout")
        assert first.context and links(second) == [first.context.span_id]
        assert second.start_time is not None and first.end_time is not None
        assert second.start_time >= first.end_time


class TestSeveral:
    def test_patchers_at_a_time_are_told_apart(self, make_package: Any, sdk: Sdk) -> None:
        both = [Priced(make_package), Priced(make_package)]
        undos = [sdk.instrument(one.patcher) for one in both]
        together = threading.Barrier(2)
        for one in both:

            @one.patcher.check(name="at the same time")
            def meets(candidate: Any) -> None:
                together.wait(20)

        rollouts = [one.patcher.stage(one.patch(2)) for one in both]
        threads = [threading.Thread(target=rollout.verify) for rollout in rollouts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        for rollout in rollouts:
            rollout.commit()
        for undo in undos:
            undo()
        wholes = {span.context.span_id: span for span in sdk.named("hotswap.rollout") if span.context}
        assert len(wholes) == 2
        for name in ("hotswap.stage", "hotswap.verify", "hotswap.commit"):
            steps = sdk.named(name)
            assert len(steps) == 2
            for step in steps:
                assert step.parent
                whole = wholes[step.parent.span_id]
                for key in ("deployment.id", "hotswap.packages"):
                    assert (whole.attributes or {})[key] == (step.attributes or {})[key]
        ids = {(span.attributes or {})["deployment.id"] for span in sdk.named("hotswap.check")}
        assert len(sdk.named("hotswap.check")) == 4
        assert ids == {rollout.id for rollout in rollouts}


class TestTheTable:
    def test_no_span_has_an_attribute_that_it_does_not_say(self, make_package: Any, sdk: Sdk) -> None:
        """All that spans carry, in the journeys of this file, is in the table that the reference is compared with."""
        one = Priced(make_package, bake=60)
        uninstrument = sdk.instrument(one.patcher)
        with pytest.raises(hotswap.CheckFailedError):
            one.patcher.apply(one.patch(-2))
        if hasattr(os, "fork"):
            one.patcher.stage(one.patch(2), rehearse=True).abort("enough")
        rollout = one.patcher.stage(one.patch(3))
        rollout.verify()
        rollout.arm()
        rollout.commit()
        rollout.rollback()
        uninstrument()
        seen: dict[str, set[str]] = {}
        for span in sdk.exporter.get_finished_spans():
            seen.setdefault(span.name, set()).update(span.attributes or ())
        wanted = set(spans.SPANS) - (set() if hasattr(os, "fork") else {"hotswap.rehearse"})
        assert set(seen) == wanted
        assert {name: found - {*spans.COMMON, *spans.SPANS[name]} for name, found in seen.items()} == {
            name: set() for name in seen
        }
