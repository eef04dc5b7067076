"""The heart: from a candidate to the reversible list of writes that makes it live."""

from hotswap.swap.adapting import Adapter, Facts, families_of
from hotswap.swap.arming import HandedOut
from hotswap.swap.audit import Leftover
from hotswap.swap.bodies import equal_code
from hotswap.swap.calls import CallInFlight, calls_in_flight, frame_of, pauses, running_frames, suspended
from hotswap.swap.closures import Closures
from hotswap.swap.contents import Kept
from hotswap.swap.drain import Drain
from hotswap.swap.importers import Importers
from hotswap.swap.left import Left
from hotswap.swap.limits import ClassLimit, classes_of, limits_of
from hotswap.swap.lineage import Lineage, Reference
from hotswap.swap.looking import DROPPED, Look
from hotswap.swap.migration import Undone, migrate
from hotswap.swap.plan import Change, Fate, NameChange, Plan
from hotswap.swap.preparation import Swap
from hotswap.swap.reversal import Recalled
from hotswap.swap.settling import Settled, Settling
from hotswap.swap.shedding import Shedding
from hotswap.swap.spares import Spares
from hotswap.swap.stragglers import Mirror
from hotswap.swap.writes import Op, Writes, gil_enabled, has_audit_hook

__all__ = [
    "DROPPED",
    "Adapter",
    "CallInFlight",
    "Change",
    "ClassLimit",
    "Closures",
    "Drain",
    "Facts",
    "Fate",
    "HandedOut",
    "Importers",
    "Kept",
    "Left",
    "Leftover",
    "Lineage",
    "Look",
    "Mirror",
    "NameChange",
    "Op",
    "Plan",
    "Recalled",
    "Reference",
    "Settled",
    "Settling",
    "Shedding",
    "Spares",
    "Swap",
    "Undone",
    "Writes",
    "calls_in_flight",
    "classes_of",
    "equal_code",
    "families_of",
    "frame_of",
    "gil_enabled",
    "has_audit_hook",
    "limits_of",
    "migrate",
    "pauses",
    "running_frames",
    "suspended",
]
