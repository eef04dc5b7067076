"""Adapters: what hotswap knows about frameworks, one file each, found by the entry points ``hotswap.adapters``.

Nothing here is imported before the framework itself is; `adapters` finds those for the frameworks in use.
"""

from hotswap.adapters.discovery import GROUP, adapters
from hotswap.swap import Adapter, Change, Facts, Fate, NameChange, Plan, Writes

__all__ = ["GROUP", "Adapter", "Change", "Facts", "Fate", "NameChange", "Plan", "Writes", "adapters"]
