"""The heart: from a candidate to the reversible list of writes that makes it live."""

from hotswap.swap.importers import Importers
from hotswap.swap.lineage import Lineage
from hotswap.swap.migration import Undone, migrate
from hotswap.swap.plan import Change, Fate, NameChange, Plan
from hotswap.swap.preparation import Swap

__all__ = ["Change", "Fate", "Importers", "Lineage", "NameChange", "Plan", "Swap", "Undone", "migrate"]
