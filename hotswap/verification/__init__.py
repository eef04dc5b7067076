"""Judging a candidate: checks with time limits, each kept away from the process that goes on serving.

`run_checks` is the verb; the nouns are in `checks` (facts), `named` (checks that a patch brings along),
`answers` (from outcome to verdict), `running` (threads,
loops, time limits) and `inside` (who belongs to a check). `hotswap.stopping` ends hung threads.
"""

from __future__ import annotations

from hotswap.verification.checks import Candidate, Check, CheckResult, Report, Verdict, name_of
from hotswap.verification.inside import Visit, current_token, is_inside_check
from hotswap.verification.named import named_checks
from hotswap.verification.running import run_checks

__all__ = [
    "Candidate",
    "Check",
    "CheckResult",
    "Report",
    "Verdict",
    "Visit",
    "current_token",
    "is_inside_check",
    "name_of",
    "named_checks",
    "run_checks",
]
