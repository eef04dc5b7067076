"""The bake: the time after a swap in which a rollout is on trial, and what takes it back then.

`Bake` says what it goes by (`terms`), `Baking` is one of them (`baking`), which asks probes (`asking`), compares
sessions with those of before (`baseline`, `evidence`) and hears of exceptions that nobody handles (`unhandled`);
`figures` is what is known of it.
"""

from __future__ import annotations

from hotswap.bake.baking import Baking
from hotswap.bake.baseline import Baseline
from hotswap.bake.figures import BakeVerdict, Figures, ProbeFigures, Sessions
from hotswap.bake.terms import Bake, Baked, Hung, Probe, checked_bake

__all__ = [
    "Bake",
    "BakeVerdict",
    "Baked",
    "Baking",
    "Baseline",
    "Figures",
    "Hung",
    "Probe",
    "ProbeFigures",
    "Sessions",
    "checked_bake",
]
