"""The page of spans and metrics says what the code has, no more and no less."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client")
pytest.importorskip("opentelemetry")

from hotswap.telemetry.metrics import METRICS, Metric
from hotswap.telemetry.otel import ATTRIBUTES
from hotswap.telemetry.prometheus import labels_of, name_of
from hotswap.telemetry.spans import COMMON, SPANS

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "telemetry.md"


def rows(heading: str) -> list[list[str]]:
    """The cells of the rows of the table that has this first heading; of several, one after the other."""
    found: list[list[str]] = []
    inside = False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith(f"| {heading} |"):
            inside = True
        elif not line.startswith("|"):
            inside = False
        elif inside and not line.startswith("|---"):
            found.append(cells)
    return found


def names(cell: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([^`]+)`", cell))


def series(metric: Metric) -> str:
    end = "_info" if metric.name.endswith(".info") else "_total" if metric.kind == "counter" else ""
    return name_of(metric) + end


class TestSpans:
    def test_the_table_has_all_with_their_attributes(self) -> None:
        assert {names(name)[0]: names(attributes) for name, *_, attributes in rows("span")} == SPANS

    def test_every_attribute_is_explained(self) -> None:
        told = [names(cells[0])[0] for cells in rows("attribute")]
        wanted = {*COMMON, *(one for attributes in SPANS.values() for one in attributes)}
        assert sorted(told) == sorted(wanted)


class TestMetrics:
    def test_the_table_has_all(self) -> None:
        kinds = {
            "counter": ("counter", "counter"),
            "histogram": ("histogram", "histogram"),
            "sum": ("up-down counter, asked", "gauge"),
            "gauge": ("gauge, asked", "gauge"),
        }
        found = [
            (cells[0], names(cells[1]), names(cells[2]), cells[3], names(cells[4]), cells[5])
            for cells in rows("OpenTelemetry")
        ]
        wanted = []
        for metric in METRICS:
            otel, prometheus = kinds[metric.kind]
            attributes = tuple(ATTRIBUTES[label] for label in metric.labels)
            wanted.append(
                (
                    f"`hotswap.{metric.name}`, {otel}",
                    (metric.unit,),
                    attributes if "package" in metric.labels else ("hotswap.packages", *attributes),
                    f"`{series(metric)}`, {'info' if metric.name.endswith('.info') else prometheus}",
                    labels_of(metric),
                    metric.help,
                )
            )
        assert found == wanted

    def test_every_attribute_and_label_is_explained(self) -> None:
        told = {name for cells in rows("attribute, label") for name in names(cells[0])}
        labels = {label for metric in METRICS for label in labels_of(metric)}
        assert told == {*ATTRIBUTES.values(), "hotswap.packages", *labels}
