"""The heart: from a candidate to the reversible list of writes that makes it live."""

from hotswap.swap.adapting import Adapter, Facts
from hotswap.swap.importers import Importers
from hotswap.swap.lineage import Lineage
from hotswap.swap.looking import DROPPED, Look
from hotswap.swap.merging import Kept
from hotswap.swap.migration import Undone, migrate
from hotswap.swap.plan import Change, Fate, NameChange, Op, Plan, Writes
from hotswap.swap.preparation import Swap

__all__ = [
    "DROPPED",
    "Adapter",
    "Change",
    "Facts",
    "Fate",
    "Importers",
    "Kept",
    "Lineage",
    "Look",
    "NameChange",
    "Op",
    "Plan",
    "Swap",
    "Undone",
    "Writes",
    "migrate",
]
