"""Import-time effects: what the import of a candidate does to the process around it, found, undone, and made again."""

from hotswap.effects.facts import KINDS, Deed, Effect, Outcome, checked_kinds
from hotswap.effects.holdings import Holding
from hotswap.effects.journal import Journal, Look, Survey

__all__ = ["KINDS", "Deed", "Effect", "Holding", "Journal", "Look", "Outcome", "Survey", "checked_kinds"]
