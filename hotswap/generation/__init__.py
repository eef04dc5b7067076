"""Generations: what is live, and candidates that are loaded beside it."""

from hotswap.generation.definitions import Binding, Definitions, Kind, analyse, public_names, unchanged
from hotswap.generation.failures import told
from hotswap.generation.files import Tree
from hotswap.generation.isolation import GONE, ModuleView, Reason, World, gate, worlds
from hotswap.generation.kept import keep, registry
from hotswap.generation.limit import Limit
from hotswap.generation.live import Live, LiveModule, forget, managed
from hotswap.generation.loading import Candidate
from hotswap.generation.selection import PLACE, Selection, is_place, select
from hotswap.generation.shelf import Late, Shelf, ShelfMark
from hotswap.generation.standing import epochs, standing
from hotswap.generation.sysview import SysView
from hotswap.generation.young import Young, detach, reachable, watch_young

__all__ = [
    "GONE",
    "PLACE",
    "Binding",
    "Candidate",
    "Definitions",
    "Kind",
    "Late",
    "Limit",
    "Live",
    "LiveModule",
    "ModuleView",
    "Reason",
    "Selection",
    "Shelf",
    "ShelfMark",
    "SysView",
    "Tree",
    "World",
    "Young",
    "analyse",
    "detach",
    "epochs",
    "forget",
    "gate",
    "is_place",
    "keep",
    "managed",
    "public_names",
    "reachable",
    "registry",
    "select",
    "standing",
    "told",
    "unchanged",
    "watch_young",
    "worlds",
]
