"""Runs a suite of pytest in a process of its own, and writes what became of it.

Called with the path of a report to write, and pytest's arguments. `REPORT.running` has the test that runs.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

SHOWN = 50
"""How many tests that failed are in the report, with their first line."""


class Reporter:
    """A plugin that counts. Lives as long as the session.

    Arguments:
        path: of the report.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._owner = os.getpid()
        self._counts = {"passed": 0, "failed": 0, "skipped": 0}
        self._failed: list[dict[str, str]] = []
        self._ended_by = ""

    @pytest.hookimpl(tryfirst=True)
    def pytest_load_initial_conftests(self) -> None:
        """Put the finder of the candidate before the one by which pytest rewrites assertions."""
        for finder in overlays():
            sys.meta_path.remove(finder)
            sys.meta_path.insert(0, finder)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note which test runs, for who finds this process hung, or gone."""
        Path(f"{self._path}.running").write_text(nodeid, encoding="utf-8")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test."""
        if report.failed:
            self._fail(report.nodeid if report.when == "call" else f"{report.nodeid} ({report.when})", report)
        elif report.skipped or report.when == "call":
            self._counts["skipped" if report.skipped else "passed"] += 1

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Count what could not be imported."""
        if report.failed:
            self._fail(report.nodeid, report)

    def pytest_internalerror(self, excrepr: Any) -> None:
        """Note an error of pytest itself."""
        self._failed.append({"test": "pytest itself", "line": str(excrepr).strip().splitlines()[-1]})

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Note that the suite ends before all of it has run; its exit status may be any, also that of success."""
        self._ended_by = " ".join(f"{excinfo.typename}: {excinfo.value}".split())[:300]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write the report; a session that ends without one was ended by something else."""
        if os.getpid() != self._owner:
            return  # a child that a test has forked, and that runs on to here
        facts = {
            **self._counts,
            "exit": int(exitstatus),
            "ended_by": self._ended_by,
            "tests": self._failed[:SHOWN],
            "laid": bool(overlays()),
            "strays": [stray for overlay in overlays() for stray in overlay.strays()],
        }
        Path(self._path).write_text(json.dumps(facts), encoding="utf-8")

    def _fail(self, name: str, report: Any) -> None:
        self._counts["failed"] += 1
        if len(self._failed) < SHOWN:
            self._failed.append({"test": name, "line": first_line(report)})


def overlays() -> list[Any]:
    """What lays the candidate over the code on disk; empty if it could not be laid."""
    return [finder for finder in sys.meta_path if type(finder).__name__ == "HotswapOverlay"]


def first_line(report: Any) -> str:
    """What went wrong, in one line."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(getattr(crash, "message", "")) or report.longreprtext
    lines = [line.removeprefix("E").strip() for line in text.splitlines() if line.strip()]
    said = [line.removeprefix("E").strip() for line in text.splitlines() if line.startswith("E  ")]
    return ((said[-1:] or lines or [""])[0])[:300]


if __name__ == "__main__":
    sys.exit(pytest.main(sys.argv[2:], plugins=[Reporter(sys.argv[1])]))
