"""Shadow runs: a candidate runs beside live calls, answers nobody, and is compared with the live code.

`Shadow` is what users get. A `target` is a function by its name; a `tap` lets live calls of it be seen; a `call` is one
of these, and a `run` is the candidate's. The `pool` has the threads, `likeness` compares, `figures` counts, and the
`engine` holds it together.
"""

from hotswap.shadows.calls import Outcome
from hotswap.shadows.figures import Mismatch, Quantiles
from hotswap.shadows.inside import is_shadow
from hotswap.shadows.likeness import alike
from hotswap.shadows.options import Options
from hotswap.shadows.shadow import Shadow
from hotswap.shadows.targets import Target, find

__all__ = ["Mismatch", "Options", "Outcome", "Quantiles", "Shadow", "Target", "alike", "find", "is_shadow"]
