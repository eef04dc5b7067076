"""What users need to test their patches, their checks, and their services while they are patched.

`import hotswap.testing` loads it; `import hotswap` alone does not. With pytest, the fixtures `hotswap_apply`
and `hotswap_clock` are there once hotswap is installed, and load it when a test asks for them.
"""

from hotswap.testing.candidates import candidate, run_check
from hotswap.testing.clocks import ManualClock
from hotswap.testing.fakes import FakePatcher, FakeRollout
from hotswap.testing.restoring import Applying, NotRestoredError, apply_and_restore
from hotswap.testing.shades import FakeShadow
from hotswap.testing.swapping import Swapped, under_swap

__all__ = [
    "Applying",
    "FakePatcher",
    "FakeRollout",
    "FakeShadow",
    "ManualClock",
    "NotRestoredError",
    "Swapped",
    "apply_and_restore",
    "candidate",
    "run_check",
    "under_swap",
]
