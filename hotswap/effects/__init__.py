"""Import-time effects: what the import of a candidate does to the process around it, found, undone, and made again."""

from hotswap.effects.authorship import Authorship
from hotswap.effects.facts import KINDS, Deed, Effect, Outcome, checked_kinds
from hotswap.effects.holding_deeds import Holding
from hotswap.effects.journal import Journal, Look, Survey
from hotswap.effects.log_handlers import forget_handlers
from hotswap.effects.log_names import Named

__all__ = [
    "KINDS",
    "Authorship",
    "Deed",
    "Effect",
    "Holding",
    "Journal",
    "Look",
    "Named",
    "Outcome",
    "Survey",
    "checked_kinds",
    "forget_handlers",
]
