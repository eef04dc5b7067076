"""The dress rehearsal: a patch is swapped in, checked and taken back in a copy of the living process.

`rehearse` is the verb. `terms` has what it may take, `director` makes the copy, listens and ends it, `outcome` says
what became of it. `performance` is the part of the copy: `descriptors`, `mappings` and `quiet` cut it off, `limits`
bound it, `waiting` tells a hang of the patch from one of the copy, `channel` leads back.
"""

from __future__ import annotations

from hotswap.rehearsal.director import rehearse
from hotswap.rehearsal.outcome import Rehearsed
from hotswap.rehearsal.scene import Play, Scene
from hotswap.rehearsal.terms import Rehearsal, Wish, wished

__all__ = ["Play", "Rehearsal", "Rehearsed", "Scene", "Wish", "rehearse", "wished"]
