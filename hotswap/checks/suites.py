"""A suite of pytest, run in a fresh interpreter with the candidate laid over the live code."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from hotswap.checks.kinds import Kind, sentence
from hotswap.checks.overlays import Overlay, overlaid
from hotswap.checks.processes import Ended, run, script
from hotswap.verification import Answer, Candidate, Turn, Verdict

__all__ = ["Suite"]

_NOTHING_COLLECTED = 5
_TESTS_FAILED, _INTERNAL_ERROR, _USAGE_ERROR = 1, 3, 4


class Suite(Kind):
    """The check that `hotswap.checks.pytest` makes."""

    turn = Turn.PARALLEL

    def __init__(self, arguments: tuple[str, ...], folder: Path | None) -> None:
        super().__init__(" ".join(["pytest", *arguments]))
        self._arguments = arguments
        self._folder = folder

    def __call__(self, candidate: Candidate, /) -> Answer:
        """Run the suite."""
        with overlaid(candidate) as overlay:
            report = overlay.folder / "report.json"
            environment = {
                **overlay.environment(overlay.new),
                "COVERAGE_FILE": str(overlay.folder / "coverage"),
                # Tests that lie in a package of the patch are those of the candidate, found at the place on disk.
                "PY_IGNORE_IMPORTMISMATCH": "1",
            }
            options = ["--color=no", "-o", f"cache_dir={overlay.folder / 'cache'}"]
            command = [*script("suite"), str(report), *options, *self._arguments]
            ended = run(command, environment, self._folder)
            return _judged(ended, _read(report), _running(report), overlay)


def _read(report: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return found


def _running(report: Path) -> str:
    try:
        return Path(f"{report}.running").read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


def _judged(ended: Ended, facts: dict[str, Any] | None, running: str, overlay: Overlay) -> Answer:
    where = f"{running} was running" if running else "no test had begun"
    if ended.late:
        return ended.timed_out(where)
    if facts is None and "No module named 'pytest'" in ended.output:
        return Answer(Verdict.ERROR, "pytest is not installed where the service runs: pip install pytest", ended.output)
    if facts is None and ended.code in (_INTERNAL_ERROR, _USAGE_ERROR):
        return Answer(Verdict.ERROR, f"pytest could not run: {_last_line(ended.output)}", ended.output)
    if facts is None:
        crashed = ended.code is not None and ended.code < 0 and -ended.code != signal.SIGINT
        what = "the process of the tests died" if crashed else "the process ended before the tests did"
        return Answer(Verdict.FAILED, f"{what}: {ended.fate}; {where}", ended.output)
    if not facts["laid"]:
        return Answer(Verdict.ERROR, "the candidate could not be laid over the code on disk", ended.output)
    counts = ", ".join(f"{facts[what]} {what}" for what in ("failed", "passed", "skipped") if facts[what])
    strays = sorted({*facts["strays"], *overlay.strays})
    if facts["ended_by"] and not facts["failed"]:
        told = f"the tests ended themselves before all had run: {facts['ended_by']}; {where}"
        return Answer(Verdict.INCONCLUSIVE, f"{told}; {counts}" if counts else told, ended.output)
    if facts["exit"] == _NOTHING_COLLECTED:
        return Answer(Verdict.INCONCLUSIVE, "no tests were collected", ended.output)
    if facts["failed"] and (facts["ended_by"] or facts["exit"] == _TESTS_FAILED):
        failed = sentence([f"{one['test']}: {one['line']}" for one in facts["tests"]], shown=3)
        return Answer(Verdict.FAILED, f"{counts}: {failed}", ended.output)
    if facts["exit"] or facts["tests"]:
        said = sentence([one["line"] for one in facts["tests"]]) or _last_line(ended.output)
        return Answer(Verdict.ERROR, f"pytest ended with status {facts['exit']}: {said}", ended.output)
    if ended.code:  # the tests have passed, and then it died: of a thread that a test has left, or at exit
        return Answer(Verdict.FAILED, f"{counts}, and then the process died: {ended.fate}", ended.output)
    if strays:
        told = f"the tests ran code that is not the candidate's: {sentence(strays, shown=3)}"
        return Answer(Verdict.INCONCLUSIVE, told, ended.output)
    if not facts["passed"]:
        return Answer(Verdict.INCONCLUSIVE, f"no test has passed: {counts or 'none was run'}", ended.output)
    if overlay.changed and not overlay.reached:
        # No verdict of its own: who has a suite for each of his packages would have every patch refused by the others.
        untouched = f"but nothing imported what the patch changes ({sentence(sorted(overlay.changed), shown=3)})"
        return Answer(Verdict.PASSED, f"{counts}, {untouched}")
    return Answer(Verdict.PASSED, counts)


def _last_line(output: str) -> str:
    return next((line for line in reversed(output.split(os.linesep)) if line.strip()), "it said nothing")
