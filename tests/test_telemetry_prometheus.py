"""Metrics for Prometheus, with a real registry of prometheus_client."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("prometheus_client")
pytest.importorskip("opentelemetry.sdk")

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition, parser

import hotswap
from hotswap import events, tally
from hotswap.telemetry.metrics import METRICS
from hotswap.telemetry.prometheus import Collector, labels_of, name_of
from tests.measuring import Priced

pytestmark = pytest.mark.threads

ROOT = Path(__file__).resolve().parent.parent
DASHBOARD = ROOT / "examples" / "grafana" / "hotswap.json"


@pytest.fixture
def priced(make_package: Callable[..., ModuleType]) -> Priced:
    return Priced(make_package)


@pytest.fixture
def registry(priced: Priced) -> Iterator[CollectorRegistry]:
    collector = Collector(priced.patcher)
    made = CollectorRegistry()
    made.register(collector)
    yield made
    collector.close()


def samples(registry: CollectorRegistry) -> dict[str, dict[tuple[str, ...], float]]:
    """What a scrape gets: by name, and by the values of labels in the order of their names."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in registry.collect():
        for one in family.samples:
            labels = tuple(value for _, value in sorted(one.labels.items()))
            found.setdefault(one.name, {})[labels] = one.value
    return found


class TestCollector:
    def test_counts_rollouts_by_outcome(self, priced: Priced, registry: CollectorRegistry) -> None:
        priced.patcher.apply(priced.patch(2)).rollback()
        with pytest.raises(hotswap.CheckFailedError):
            priced.patcher.apply(priced.patch(-4))
        assert samples(registry)["hotswap_rollouts_total"] == {
            ("live", priced.name): 1,
            ("permanent", priced.name): 0,
            ("rolled_back", priced.name): 1,
            ("rejected", priced.name): 1,
        }

    def test_has_a_histogram_of_pauses(self, priced: Priced, registry: CollectorRegistry) -> None:
        pauses = [priced.patcher.apply(priced.patch(price)).pause for price in (2, 3)]
        found = samples(registry)
        key = (priced.name, "commit")
        assert found["hotswap_swap_duration_seconds_count"][key] == 2
        assert found["hotswap_swap_duration_seconds_sum"][key] == sum(pause or 0 for pause in pauses)
        series = found["hotswap_swap_duration_seconds_bucket"]
        buckets = {labels[0]: value for labels, value in series.items() if labels[1:] == key}
        for edge, count in buckets.items():
            assert count == sum((pause or 0) <= float(edge.replace("+Inf", "inf")) for pause in pauses)
        assert buckets["+Inf"] == 2

    def test_asks_what_is_live(self, priced: Priced, registry: CollectorRegistry) -> None:
        with hotswap.session():
            priced.patcher.apply(priced.patch(2), bake=60)
            found = samples(registry)
        assert found["hotswap_sessions"] == {("live", priced.name): 0, ("previous", priced.name): 1}
        assert found["hotswap_bakes"] == {(priced.name,): 1}
        assert found["hotswap_in_flight"] == {(priced.name,): 0}
        assert found["hotswap_version_info"] == {(priced.name, "1.2"): 1}
        assert list(found["hotswap_version_age_seconds"]) == [(priced.name,)]
        priced.patcher.rollback()
        assert samples(registry)["hotswap_version_info"] == {(priced.name, "1.0"): 1}

    def test_tells_of_a_rollout_that_its_bake_took_back(self, priced: Priced, registry: CollectorRegistry) -> None:
        @priced.patcher.probe(every=0.01, failures=1)
        def never() -> bool:
            return False

        assert priced.patcher.apply(priced.patch(2), bake=60).wait_baked(20)
        found = samples(registry)
        assert found["hotswap_rollouts_total"][("rolled_back", priced.name)] == 1
        assert found["hotswap_swap_duration_seconds_count"][(priced.name, "rollback")] == 1

    def test_is_registered_without_a_look(self, priced: Priced, registry: CollectorRegistry) -> None:
        second = Collector(priced.patcher)
        with pytest.raises(ValueError, match="Duplicated"):
            registry.register(second)
        second.close()

    def test_takes_several_patchers(self, priced: Priced, make_package: Any) -> None:
        other = Priced(make_package)
        collector, registry = Collector(priced.patcher, other.patcher), CollectorRegistry()
        registry.register(collector)
        priced.patcher.apply(priced.patch(2))
        found = samples(registry)
        collector.close()
        assert {key for key, count in found["hotswap_rollouts_total"].items() if count} == {("live", priced.name)}
        assert found["hotswap_version_info"] == {(priced.name, "1.2"): 1, (other.name, "1.0"): 1}

    def test_that_is_closed_counts_no_more(self, priced: Priced) -> None:
        before, told = set(tally.wanted), set(events._subscriptions)
        collector = Collector(priced.patcher)
        assert tally.wanted - before
        assert events._subscriptions.keys() - told
        collector.close()
        collector.close()
        assert not tally.wanted - before
        assert not events._subscriptions.keys() - told

    def test_without_a_patcher_is_refused(self) -> None:
        with pytest.raises(ValueError, match="nothing to collect"):
            Collector()

    def test_counts_checks_that_run_at_the_same_time(self, priced: Priced, registry: CollectorRegistry) -> None:
        checks = 2
        together = threading.Barrier(checks)
        for number in range(checks):

            @priced.patcher.check(name=f"meets {number}", parallel=True)
            def meets(candidate: Any) -> None:
                together.wait(20)

        priced.patcher.apply(priced.patch(2))
        found = samples(registry)["hotswap_check_duration_seconds_count"]
        assert found == {(priced.name, "verify", "passed"): checks + 1, (priced.name, "verify", "failed"): 0}


class TestExposition:
    def test_is_valid_text_and_valid_openmetrics(self, priced: Priced, registry: CollectorRegistry) -> None:
        priced.patcher.apply(priced.patch(2)).rollback()
        text = exposition.generate_latest(registry).decode()  # type: ignore[no-untyped-call]  # they have no types
        families = {family.name: family for family in parser.text_string_to_metric_families(text)}  # type: ignore[no-untyped-call]  # as above
        assert set(families) == {name_of(metric) for metric in METRICS}
        types = {"counter": "counter", "histogram": "histogram", "sum": "gauge", "gauge": "gauge"}
        for metric in METRICS:
            wanted = "info" if metric.name.endswith(".info") else types[metric.kind]
            assert families[name_of(metric)].type == wanted
        assert b"# TYPE hotswap_rollouts_total counter" in generate_latest(registry)

    def test_labels_are_those_of_the_table(self, priced: Priced, registry: CollectorRegistry) -> None:
        with pytest.raises(hotswap.CheckFailedError):
            priced.patcher.apply(priced.patch(-4))
        priced.patcher.apply(priced.patch(2)).rollback()
        for family in registry.collect():
            (metric,) = [one for one in METRICS if name_of(one) == family.name]
            labels = {frozenset(set(one.labels) - {"le"}) for one in family.samples}
            assert labels == {frozenset(labels_of(metric))}, family.name


SERIES = re.compile(r"\bhotswap_[a-z_]+")


class TestDashboard:
    def test_asks_for_what_the_collector_exports_and_for_all_of_it(
        self, priced: Priced, registry: CollectorRegistry
    ) -> None:
        priced.patcher.apply(priced.patch(2)).rollback()
        exported = set(samples(registry))
        dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
        queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
        queries += [one["expr"] for one in dashboard["annotations"]["list"]]
        queries += [one["query"] for one in dashboard["templating"]["list"] if one["type"] == "query"]
        asked = {name for query in queries for name in SERIES.findall(query)}
        assert asked <= exported
        families = {name_of(metric) for metric in METRICS}
        assert {name for name in families if not any(one.startswith(name) for one in asked)} == set()

    def test_asks_by_labels_that_there_are(self, priced: Priced) -> None:
        known = {label for metric in METRICS for label in labels_of(metric)} | {"le", "job", "instance"}
        dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
        queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
        assert queries
        for query in queries:
            used = set(re.findall(r"([a-z_]+)(?==~?\")|(?<=by \()([a-z_, ]+)(?=\))", query))
            names = {name.strip() for pair in used for one in pair for name in one.split(",") if name.strip()}
            assert names <= known, query

    def test_its_panels_have_titles_and_places_of_their_own(self) -> None:
        panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
        assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
        cells = [
            (x, y)
            for place in (panel["gridPos"] for panel in panels)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24
