"""Refusals: unsupported changes that concern the process or a whole module. Those of classes are in `classes`."""

from __future__ import annotations

from pathlib import Path

from hotswap import walk
from hotswap.generation import Candidate, Live, LiveModule
from hotswap.swap.pairs import Pairing
from hotswap.swap.plan import Change
from hotswap.swap.writes import gil_enabled, has_audit_hook

__all__ = ["refusals"]


def refusals(live: Live, candidate: Candidate, pairing: Pairing) -> list[Change]:
    """Collect what can't be done whatever the code says. Nothing is touched.

    Arguments:
        live: the managed modules as they run now.
        candidate: what is to become live.
        pairing: what takes the place of what.
    """
    found = []
    if not gil_enabled():
        found.append(Change("free-threaded", "", "", "without the GIL one C call does not keep other threads out"))
    if has_audit_hook():
        sentence = "a hook set by sys.addaudithook would run code in the middle of the swap"
        found.append(Change("audit-hook", "", "", sentence))
    for name in candidate.modules:
        entry = live.get(name)
        if entry is not None and not entry.plain:
            what = type(entry.module).__name__
            found.append(Change("module-object", name, "", f"the live module is a {what}, not a plain module"))
    for name, path in candidate.patch.extensions.items():
        entry = live.get(name)
        if entry is not None and not _same_file(entry, candidate.patch.files[path]):
            found.append(Change("extension-changed", name, "", "compiled code can't be loaded twice into one process"))
    refused = (effect for effect in candidate.journal.effects if effect.refused)
    found += [Change("import-effect", "", "", f"{effect.kind}: {effect.what}") for effect in refused]
    for key, old, new in pairing.clashes:
        module, _, name = key.partition(":")
        what = "another existing class" if walk.is_class(new) else f"a {walk.class_name(type(new))}"
        found.append(Change("class-replaced", module, name, f"class {walk.class_name(old)} would become {what}"))
    return found


def _same_file(entry: LiveModule, data: bytes) -> bool:
    file = entry.module.__dict__.get("__file__")
    try:
        return Path(str(file)).read_bytes() == data
    except OSError:
        return False
