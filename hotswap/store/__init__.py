"""What is durable: patches by their digest, a journal of rollouts, and what comes up after a restart.

`store` is the folder as a whole; `blobs` keeps patches as files, each written whole by `files`; `journal` says what
became of each rollout, in the tables of `schema`, by transactions of `database`, as `entries`; `refusals` has the drops
that came to none; `incarnations` tells which processes live, `exits` how this one ends, and `starts` whether a version
can be started at all; `retention` says what is forgotten; `trees` makes one patch of
all that is live, and back; `ground` knows the code on disk; `boot` has a fresh process import what was permanent,
`hooked` when the environment says so.
"""

from __future__ import annotations

from hotswap.store.boot import BOOT_FIRST, VARIABLE, Boot, boot, imported_before, look_for_dead, tell_dead
from hotswap.store.entries import Died, Entry, now
from hotswap.store.exits import note_status
from hotswap.store.ground import fingerprint, is_on_disk, on_disk, places
from hotswap.store.hooked import boot_when_imported
from hotswap.store.refusals import Refusal, Remembered
from hotswap.store.store import Store
from hotswap.store.trees import kept, over, part

__all__ = [
    "BOOT_FIRST",
    "VARIABLE",
    "Boot",
    "Died",
    "Entry",
    "Refusal",
    "Remembered",
    "Store",
    "boot",
    "boot_when_imported",
    "fingerprint",
    "imported_before",
    "is_on_disk",
    "kept",
    "look_for_dead",
    "note_status",
    "now",
    "on_disk",
    "over",
    "part",
    "places",
    "tell_dead",
]
