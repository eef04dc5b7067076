"""Judging a candidate: checks with time limits, each kept away from the process that goes on serving.

`run_checks` is the verb, in `course` (who runs when, and what is told of it); the nouns are in `checks` (facts),
`named` (checks that a patch brings along), `answers` (from outcome to verdict), `running` (threads, loops, time limits)
and `inside` (who belongs to a check). `hotswap.stopping` ends hung threads.
"""

from __future__ import annotations

from hotswap.verification.answers import Answer, Inconclusive
from hotswap.verification.checks import (
    Candidate,
    Check,
    CheckResult,
    Inconclusiveness,
    Report,
    Turn,
    Verdict,
    name_of,
)
from hotswap.verification.course import named_apart, run_checks
from hotswap.verification.inside import Visit, current_token, is_inside_check, is_within, time_left
from hotswap.verification.named import named_checks

__all__ = [
    "Answer",
    "Candidate",
    "Check",
    "CheckResult",
    "Inconclusive",
    "Inconclusiveness",
    "Report",
    "Turn",
    "Verdict",
    "Visit",
    "current_token",
    "is_inside_check",
    "is_within",
    "name_of",
    "named_apart",
    "named_checks",
    "run_checks",
    "time_left",
]
