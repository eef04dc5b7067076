"""Metrics for OpenTelemetry, with the real SDK, and what instrumenting leaves in the process."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry import metrics, trace
from structlog.testing import capture_logs

import hotswap
from hotswap import events, tally
from hotswap.telemetry import following as following_module
from hotswap.telemetry import otel
from hotswap.telemetry.metrics import METRICS, error_type
from tests.measuring import Priced, Sdk, instrumented_package, real_sdk  # noqa: F401 - fixtures

pytestmark = pytest.mark.threads


def nonzero(sdk: Sdk) -> dict[tuple[str, ...], float]:
    return {labels: count for labels, count in sdk.values("hotswap.rollouts").items() if count}


class TestCounts:
    def test_begin_at_zero(self, priced: Priced, sdk: Sdk) -> None:
        outcomes = ("rejected", "live", "permanent", "rolled_back")
        assert sdk.values("hotswap.rollouts") == {(outcome, priced.name): 0 for outcome in outcomes}

    def test_rollouts_by_outcome(self, priced: Priced, sdk: Sdk) -> None:
        priced.patcher.apply(priced.patch(2))
        priced.patcher.apply(priced.patch(3)).rollback()
        with pytest.raises(hotswap.CheckFailedError):
            priced.patcher.apply(priced.patch(-4))
        priced.patcher.stage(priced.patch(5)).abort()
        assert sdk.values("hotswap.rollouts") == {
            ("live", priced.name): 2,
            ("permanent", priced.name): 1,
            ("rolled_back", priced.name): 1,
            ("rejected", priced.name): 2,
        }

    def test_pauses_of_swaps_in_seconds(self, priced: Priced, sdk: Sdk) -> None:
        rollout = priced.patcher.apply(priced.patch(2))
        there = rollout.pause
        rollout.rollback()
        points = {point.attributes["hotswap.step"]: point for point in sdk.points["hotswap.swap.duration"]}
        assert (points["commit"].sum, points["rollback"].sum) == (there, rollout.pause)
        (metric,) = [one for one in METRICS if one.name == "swap.duration"]
        assert tuple(points["commit"].explicit_bounds) == metric.buckets

    def test_steps_and_checks(self, priced: Priced, sdk: Sdk) -> None:
        with pytest.raises(hotswap.CheckFailedError):
            priced.patcher.apply(priced.patch(-4))
        priced.patcher.apply(priced.patch(2)).rollback()
        steps = {(one[-1], *one[:-2]): count for one, count in sdk.values("hotswap.step.duration").items()}
        assert steps == {
            ("stage",): 2,
            ("verify",): 1,
            ("verify", "CheckFailedError"): 1,
            ("commit",): 1,
            ("rollback",): 1,
        }
        checks = {one[0] for one in sdk.values("hotswap.check.duration")}
        assert "passed" in checks and len(checks) == 2

    def test_an_error_that_is_not_of_hotswap_is_other(self) -> None:
        assert (error_type("KeyError"), error_type("LoadError"), error_type(None)) == ("_OTHER", "LoadError", "")

    def test_units_and_names(self, priced: Priced, sdk: Sdk) -> None:
        priced.patcher.apply(priced.patch(2))
        data = sdk.reader.get_metrics_data()
        assert data is not None
        found = {
            one.name: one.unit
            for resource in data.resource_metrics
            for s in resource.scope_metrics
            for one in s.metrics
        }
        assert found == {f"hotswap.{metric.name}": metric.unit for metric in METRICS}


class TestWhatIsLive:
    def test_sessions_by_generation(self, priced: Priced, sdk: Sdk) -> None:
        assert sdk.points  # sessions are counted from the first time on that somebody asks
        with hotswap.session():
            priced.patcher.apply(priced.patch(2))
            with hotswap.session():  # within another: it is no session of its own
                now = sdk.values("hotswap.sessions")
            assert now == {("live", priced.name): 0, ("previous", priced.name): 1}
        with hotswap.session():
            assert sdk.values("hotswap.sessions") == {("live", priced.name): 1, ("previous", priced.name): 0}
        assert sdk.values("hotswap.sessions") == {("live", priced.name): 0, ("previous", priced.name): 0}

    def test_a_session_is_previous_for_the_patcher_that_has_swapped_alone(self, make_package: Any, sdk: Sdk) -> None:
        mine, other = Priced(make_package), Priced(make_package)
        undos = [sdk.instrument(one.patcher) for one in (mine, other)]
        assert sdk.points
        with hotswap.session():
            mine.patcher.apply(mine.patch(2))
            now = sdk.values("hotswap.sessions")
        for undo in undos:
            undo()
        assert {labels: value for labels, value in now.items() if value} == {
            ("previous", mine.name): 1,
            ("live", other.name): 1,
        }

    def test_calls_in_flight(self, make_package: Any, sdk: Sdk) -> None:
        package = make_package({"slow.py": "def lines():\n    yield 1\n    yield 1\n"})
        slow = __import__(f"{package.__name__}.slow").slow
        patcher = hotswap.Patcher(packages=[package.__name__])
        uninstrument = sdk.instrument(patcher)
        lines = slow.lines()
        next(lines)
        text = "def lines():\n    yield 2\n    yield 2\n"
        rollout = patcher.apply(hotswap.Patch.from_sources({f"{package.__name__}.slow": text}, version="2"))
        during = sdk.values("hotswap.in_flight")
        assert list(lines) == [1]
        del lines
        assert rollout.drained.wait(20)
        after = sdk.values("hotswap.in_flight")
        uninstrument()
        assert (during, after) == ({(package.__name__,): 1}, {(package.__name__,): 0})

    def test_the_heap_is_not_passed_over_at_each_export(
        self, make_package: Any, sdk: Sdk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Undrained:
            looks = 0
            id = "x"
            drained = type("Never", (), {"is_set": staticmethod(lambda: False)})
            bake = None

            def in_flight(self) -> tuple[int, ...]:
                self.looks += 1
                times.append(times[-1] + 0.5)
                return (1,)

        times = [0.0]
        monkeypatch.setattr("hotswap.telemetry.following.time.perf_counter", lambda: times[-1])
        one = Priced(make_package)
        undrained: Any = Undrained()
        followed = following_module.Following(one.patcher, lambda event: None)
        followed._swapped["x"] = weakref.ref(undrained)
        looks = []
        for moment in (0.0, 49.0, 51.0, 52.0):  # a look takes half a second: the next is fifty later
            times.append(moment)
            assert followed._in_flight() == 1
            looks.append(undrained.looks)
        followed.close()
        assert looks == [1, 1, 2, 2]

    def test_a_bake_in_progress(self, make_package: Any, sdk: Sdk) -> None:
        one = Priced(make_package, bake=60)
        uninstrument = sdk.instrument(one.patcher)
        seen = [sdk.values("hotswap.bakes")]
        rollout = one.patcher.apply(one.patch(2))
        seen.append(sdk.values("hotswap.bakes"))
        with pytest.raises(hotswap.BusyError):
            one.patcher.apply(one.patch(3), bake=None)
        seen.append(sdk.values("hotswap.bakes"))
        rollout.confirm()
        seen.append(sdk.values("hotswap.bakes"))
        uninstrument()
        assert seen == [{(one.name,): number} for number in (0, 1, 1, 0)]

    def test_the_version_and_its_age(self, priced: Priced, sdk: Sdk, monkeypatch: pytest.MonkeyPatch) -> None:
        before = sdk.values("hotswap.version.info")
        rollout = priced.patcher.apply(priced.patch(2))
        after = sdk.values("hotswap.version.info")
        assert (before, after) == ({(priced.name, "1.0"): 1}, {(priced.name, "1.2"): 1})
        since = rollout.record.finished.timestamp()
        monkeypatch.setattr("hotswap.telemetry.following.time.time", lambda: since + 3600)
        (age,) = sdk.values("hotswap.version.age").values()
        assert age == pytest.approx(3600, abs=60)

    def test_of_what_went_live_before(self, make_package: Any, sdk: Sdk) -> None:
        one = Priced(make_package)
        one.patcher.apply(one.patch(2), bake=60)
        uninstrument = sdk.instrument(one.patcher)
        baking = sdk.values("hotswap.bakes")
        one.patcher.rollback()
        uninstrument()
        assert baking == {(one.name,): 1}


class TestInstrumenting:
    def test_gives_everything_back(self, make_package: Any, sdk: Sdk) -> None:
        one, before, told = Priced(make_package), set(tally.wanted), set(events._subscriptions)
        uninstrument = sdk.instrument(one.patcher)
        assert sdk.points
        assert tally.wanted - before
        assert events._subscriptions.keys() - told
        uninstrument()
        uninstrument()
        assert not events._subscriptions.keys() - told
        assert not tally.wanted - before
        one.patcher.apply(one.patch(2))
        assert sdk.spans == {}
        assert sdk.values("hotswap.sessions") == nonzero(sdk) == {}
        again = sdk.instrument(one.patcher)
        one.patcher.apply(one.patch(3))
        found = sdk.values("hotswap.version.info")
        again()
        assert found == {(one.name, "1.3"): 1}
        assert "hotswap.rollout" in sdk.spans

    def test_twice_is_refused(self, priced: Priced, sdk: Sdk) -> None:
        with pytest.raises(ValueError, match="is instrumented already"):
            sdk.instrument(priced.patcher)

    def test_with_two_sdks(self, priced: Priced, sdk: Sdk) -> None:
        other = Sdk()
        uninstrument = other.instrument(priced.patcher)
        priced.patcher.apply(priced.patch(2))
        uninstrument()
        assert nonzero(sdk) == nonzero(other) == {("live", priced.name): 1}
        other.close()

    def test_two_patchers_have_the_same_instruments(self, make_package: Any, sdk: Sdk) -> None:
        both = [Priced(make_package), Priced(make_package)]
        undos = [sdk.instrument(one.patcher) for one in both]
        both[0].patcher.apply(both[0].patch(2))
        counts, versions = nonzero(sdk), sdk.values("hotswap.version.info")
        for undo in undos:
            undo()
        assert counts == {("live", both[0].name): 1}
        assert versions == {(both[0].name, "1.2"): 1, (both[1].name, "1.0"): 1}

    def test_without_an_sdk_nothing_happens_and_no_session_is_counted(self, make_package: Any) -> None:
        one, before = Priced(make_package), set(tally.wanted)
        nothing = (trace.NoOpTracerProvider(), metrics.NoOpMeterProvider())
        uninstrument = otel.instrument(one.patcher, tracer_provider=nothing[0], meter_provider=nothing[1])
        with capture_logs() as logs, hotswap.session():
            one.patcher.apply(one.patch(2)).rollback()
        assert not tally.wanted - before
        uninstrument()
        assert "subscriber.failed" not in [log["event"] for log in logs]

    def test_an_sdk_that_breaks_breaks_no_rollout_and_no_metric(self, make_package: Any, sdk: Sdk) -> None:
        class Broken(trace.NoOpTracerProvider):
            def get_tracer(self, *args: Any, **more: Any) -> Any:
                return self  # which can't start a span

        one = Priced(make_package)
        uninstrument = otel.instrument(one.patcher, tracer_provider=Broken(), meter_provider=sdk.meters)
        with capture_logs() as logs:
            assert one.patcher.apply(one.patch(2)).state == "live"
        counts = nonzero(sdk)
        uninstrument()
        failed = [log for log in logs if log["event"] == "subscriber.failed"]
        assert [log["during"] for log in failed] == ["rollout.staged", "rollout.verified", "rollout.live"]
        assert "start_span" in failed[0]["message"]
        assert counts == {("live", one.name): 1}

    def test_keeps_no_generation_alive(self, priced: Priced, sdk: Sdk) -> None:
        codes, modules = [weakref.ref(priced.prices.quote.__code__)], []
        for price in (2, 3, 4, 5):
            rollout = priced.patcher.apply(priced.patch(price))
            module = rollout.candidate[f"{priced.name}.prices"]
            codes.append(weakref.ref(module.quote.__code__))
            modules.append(weakref.ref(module))
            rollout.confirm()
            assert rollout.drained.wait(20)
            del rollout, module
        assert sdk.points and sdk.spans
        gc.collect()
        assert [code() for code in codes[:4]] == [None] * 4
        # What is live, and the one before it, to which it can be taken back.
        assert [module() is None for module in modules] == [True, True, False, False]

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    def test_goes_on_in_a_forked_child(self, make_package: Any, sdk: Sdk) -> None:
        """The bake that the parent judges is the parent's to tell; what the child does, it tells."""
        one = Priced(make_package, bake=60)
        uninstrument = sdk.instrument(one.patcher)
        rollout = one.patcher.apply(one.patch(2))
        sdk.exporter.clear()
        reads, writes = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                bakes = sdk.values("hotswap.bakes")
                rollout.rollback()
                told = f"{sorted(sdk.spans)} {list(bakes.values())}"
            except BaseException as error:
                told = repr(error)
            os.write(writes, told.encode())
            os._exit(0)
        os.close(writes)
        with os.fdopen(reads) as answers:
            told = answers.read()
        os.waitpid(pid, 0)
        assert told == "['hotswap.rollback'] [0]"
        rollout.confirm()
        assert list(sdk.spans) == ["hotswap.bake"]
        uninstrument()


class TestImports:
    def test_hotswap_alone_imports_no_telemetry(self) -> None:
        program = (
            "import sys, hotswap\n"
            "print([name for name in sys.modules if name.startswith(('opentelemetry', 'prometheus', 'hotswap.tele'))])"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "[]\n"

    @pytest.mark.parametrize(("module", "missing"), [("otel", "opentelemetry"), ("prometheus", "prometheus_client")])
    def test_without_the_extra_the_error_says_what_to_install(self, module: str, missing: str) -> None:
        program = (
            f"import sys\nsys.modules[{missing!r}] = None\n"
            f"try:\n    import hotswap.telemetry.{module}\nexcept ImportError as error:\n    print(error)\n"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout.endswith(f"pip install 'hotswap[{module}]'\n")
