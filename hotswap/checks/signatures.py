"""Whether those who call the packages of a patch can go on: public signatures, compared by griffe."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Literal, TypeAlias, get_args

from hotswap.checks.kinds import Kind, sentence
from hotswap.checks.overlays import overlaid
from hotswap.checks.processes import run, script
from hotswap.verification import Answer, Candidate, Turn, Verdict

__all__ = ["Severity", "Signatures"]

Severity: TypeAlias = Literal["fail", "warn", "ignore"]
"""What a breaking change does."""

_USUAL: Mapping[str, Severity] = {
    # The ordinary patch changes them, and breaks nobody's calls.
    "attribute-changed-value": "ignore",
    "parameter-changed-default": "warn",
}


class Signatures(Kind):
    """The check that `hotswap.checks.api_compatible` makes."""

    turn = Turn.PARALLEL

    def __init__(self, severity: Mapping[str, Severity]) -> None:
        super().__init__("api_compatible")
        for key, value in severity.items():
            if value not in get_args(Severity):
                raise ValueError(f"severity: {key!r} is 'fail', 'warn' or 'ignore', not {value!r}")
        self._severity = {**_USUAL, **severity}

    def __call__(self, candidate: Candidate, /) -> Answer:
        """Compare the packages of the patch, as they are live and as they would be."""
        if importlib.util.find_spec("griffe") is None:
            return Answer(
                Verdict.ERROR, "griffe is not installed where the service runs: pip install 'hotswap[checks]'"
            )
        with overlaid(candidate) as overlay:
            order, report = overlay.folder / "order.json", overlay.folder / "report.json"
            facts = {
                "packages": overlay.roots,
                "old": str(overlay.old),
                "new": str(overlay.new),
                "report": str(report),
            }
            order.write_text(json.dumps(facts), encoding="utf-8")
            ended = run([*script("signatures"), str(order)], overlay.environment(overlay.new))
            if ended.late:
                return ended.timed_out("griffe was comparing")
            try:
                found = json.loads(report.read_text(encoding="utf-8"))
            except (FileNotFoundError, ValueError):
                return Answer(Verdict.ERROR, f"griffe could not compare: {ended.last_line}", ended.output)
        return self._judged(found["kinds"], found["found"])

    def _judged(self, kinds: list[str], found: list[dict[str, str]]) -> Answer:
        unknown = [key for key in self._severity if "." not in key and "*" not in key and key not in (*kinds, *_USUAL)]
        if unknown:
            told = f"severity: there is no kind {', '.join(unknown)}; there are {', '.join(kinds)}"
            return Answer(Verdict.ERROR, f"{told}. Paths have a point or a star in them")
        weighed = [(self._weigh(one), f"{one['what']} [{one['kind']}]") for one in found]
        fatal = [what for severity, what in weighed if severity == "fail"]
        warned = [what for severity, what in weighed if severity == "warn"]
        detail = "\n".join(f"{severity}: {what}" for severity, what in weighed)
        if fatal:
            return Answer(Verdict.FAILED, f"{len(fatal)} breaking: {sentence(fatal)}", detail)
        return Answer(Verdict.PASSED, f"{len(warned)} to know: {sentence(warned)}" if warned else "", detail)

    def _weigh(self, one: Mapping[str, str]) -> Severity:
        """What somebody said of its path, or else of its kind; it fails if nobody said anything."""
        for key, severity in self._severity.items():
            if ("." in key or "*" in key) and fnmatchcase(one["path"], key):
                return severity
        return self._severity.get(one["kind"], "fail")
