"""Whether the modules of a candidate can be imported in a fresh interpreter, without doing anything else.

Staging looks at the same in the process itself, thoroughly (`hotswap.effects`). What it can't see: output, warnings, an
import that only works because this process has imported something else before, and one within a function that nobody
has called. A fresh interpreter shows these. What the live version does there as well is no fault of the patch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from hotswap.checks.kinds import Kind, sentence, staged
from hotswap.checks.overlays import Overlay, overlaid
from hotswap.checks.processes import Ended, run, script
from hotswap.verification import Answer, Candidate, Turn, Verdict

__all__ = ["IMPORT_FINDINGS", "CleanImports"]

IMPORT_FINDINGS = (
    "output",
    "warned",
    "missing",
    "threads",
    "processes",
    "import-path",
    "environment",
    "signals",
    "hooks",
    "warnings",
    "logging",
    "settings",
)
"""The kinds of findings that `allow` may name. An import that raises is one that can't be allowed."""


class CleanImports(Kind):
    """The check that `hotswap.checks.imports_clean` makes."""

    turn = Turn.PARALLEL

    def __init__(self, allow: Iterable[str]) -> None:
        super().__init__("imports_clean")
        if isinstance(allow, str):
            raise TypeError(f"allow takes several kinds of findings, not the text {allow!r}")
        self._allowed = frozenset(allow)
        unknown = sorted(self._allowed - {*IMPORT_FINDINGS})
        if unknown:
            raise ValueError(f"allow: there is no kind {', '.join(unknown)}; there are {', '.join(IMPORT_FINDINGS)}")

    def __call__(self, candidate: Candidate, /) -> Answer:
        """Import the modules of the patch, and if there are findings those of the live version."""
        with overlaid(candidate) as overlay:
            modules = [name for name in staged(candidate).patch.sources if name.rpartition(".")[2] != "__main__"]
            ended, found = self._look(overlay, overlay.new, sorted(modules, key=lambda name: name.count(".")))
            if found is None:
                return _unfinished(ended)
            news = [one for one in found if one[1] not in self._allowed]
            if news:
                # What it does besides is known of both: a module that the live version lacks is told as a whole.
                _, before = self._look(overlay, overlay.old, modules)
                known = {_key(one) for one in before or ()}
                news = [one for one in news if _key(one) not in known]
            if news:
                told = sentence([f"{module} {what}" for module, _, what in news])
                return Answer(Verdict.FAILED, told, "\n".join(f"{m}: {kind}: {what}" for m, kind, what in news))
            return Answer(Verdict.PASSED, f"{len(modules)} module{'s' if len(modules) != 1 else ''} imported")

    def _look(
        self, overlay: Overlay, generation: Path, modules: list[str]
    ) -> tuple[Ended, list[tuple[str, str, str]] | None]:
        place = overlay.folder / f"imports-{generation.name}"
        place.mkdir()
        report, order = place / "report.json", place / "order.json"
        facts = {"modules": modules, "folder": str(generation), "roots": overlay.roots, "report": str(report)}
        order.write_text(json.dumps(facts), encoding="utf-8")
        ended = run([*script("imports"), str(order)], overlay.environment(generation))
        try:
            told = json.loads(report.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return ended, None
        return ended, [(one["module"], one["kind"], one["what"].replace(str(generation), "")) for one in told]


def _key(finding: tuple[str, str, str]) -> tuple[str, str, str]:
    """A finding without what differs from process to process, and from version to version: addresses and lines."""
    module, kind, what = finding
    return module, kind, re.sub(r"0x[0-9a-f]+|:\d+\)|\(line \d+\)", "", what)


def _unfinished(ended: Ended) -> Answer:
    if ended.late:
        return ended.timed_out("a module was being imported")
    return Answer(Verdict.FAILED, f"the process ended while a module was imported: {ended.fate}", ended.output)
