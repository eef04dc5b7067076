"""Generations: what is live, and candidates that are loaded beside it."""

from hotswap.generation.abandoned import remove_directory
from hotswap.generation.aliases import is_alias, name_of
from hotswap.generation.alone import between_loads
from hotswap.generation.belonging import asking, between, later, world_of
from hotswap.generation.beside import Assigned, Called, Step, assigned_in, called_in
from hotswap.generation.booted import BootedFinder, ask_finders, booted
from hotswap.generation.comparison import made_anew, unchanged
from hotswap.generation.definitions import Binding, Definitions, Kind, analyse, public_names
from hotswap.generation.directories import passing_directory
from hotswap.generation.earlier import Earlier, EarlierCandidate, Ground
from hotswap.generation.examination import authorships
from hotswap.generation.failures import told
from hotswap.generation.files import PatchFinder, Tree
from hotswap.generation.import_call import ImportCall
from hotswap.generation.isolation import GONE, ModuleView, Reason, World, gate, worlds
from hotswap.generation.kept import keep, registry
from hotswap.generation.lacking import made_of
from hotswap.generation.limit import Limit
from hotswap.generation.live import Live, LiveModule, forget, managed, same_value, value_at
from hotswap.generation.loading import Candidate
from hotswap.generation.old_sys import OldSys
from hotswap.generation.paths import added_places, packed, unpack, with_places
from hotswap.generation.selection import PLACE, Selection, changed_modules, is_place, removed_modules, select
from hotswap.generation.shelf import Late, Shelf, ShelfMark
from hotswap.generation.shelter import sheltered
from hotswap.generation.standing import epochs, standing
from hotswap.generation.sysview import SysView, seen_through
from hotswap.generation.young import Young, detach, reachable, watch_young

__all__ = [
    "GONE",
    "PLACE",
    "Assigned",
    "Binding",
    "BootedFinder",
    "Called",
    "Candidate",
    "Definitions",
    "Earlier",
    "EarlierCandidate",
    "Ground",
    "ImportCall",
    "Kind",
    "Late",
    "Limit",
    "Live",
    "LiveModule",
    "ModuleView",
    "OldSys",
    "PatchFinder",
    "Reason",
    "Selection",
    "Shelf",
    "ShelfMark",
    "Step",
    "SysView",
    "Tree",
    "World",
    "Young",
    "added_places",
    "analyse",
    "ask_finders",
    "asking",
    "assigned_in",
    "authorships",
    "between",
    "between_loads",
    "booted",
    "called_in",
    "changed_modules",
    "detach",
    "epochs",
    "forget",
    "gate",
    "is_alias",
    "is_place",
    "keep",
    "later",
    "made_anew",
    "made_of",
    "managed",
    "name_of",
    "packed",
    "passing_directory",
    "public_names",
    "reachable",
    "registry",
    "remove_directory",
    "removed_modules",
    "same_value",
    "seen_through",
    "select",
    "sheltered",
    "standing",
    "told",
    "unchanged",
    "unpack",
    "value_at",
    "watch_young",
    "with_places",
    "world_of",
    "worlds",
]
