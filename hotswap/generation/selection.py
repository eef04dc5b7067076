"""Which modules a patch loads: those whose text differs, those that are new, and those whose data depends on them.

An unchanged module is shared with what is live. There are two exceptions, and in both the module keeps every object
whose definition does not depend on the change. Where it took data from a changed module while it was imported
(``from .limits import MAX`` and then ``TABLE = range(MAX)``), its own data is out of date. And where it made objects
of a changed module's classes (``from .types import Scalar`` and then ``Boolean = Scalar("Boolean")``) that a changed
module imports, the candidate's classes would not know these objects while it is loaded: `isinstance` would say no.
"""

from __future__ import annotations

import importlib.machinery
import sys
from collections.abc import Container, Iterable, Iterator, Mapping
from pathlib import PurePath
from types import ModuleType

from hotswap.generation.comparison import (
    changed_class_data,
    changes_its_heirs,
    is_enumeration,
    is_used,
    made_anew,
    unchanged,
)
from hotswap.generation.definitions import Definitions, Kind
from hotswap.generation.enumerations import lasting_members
from hotswap.generation.live import Live, LiveModule, same_value
from hotswap.generation.paths import lies_elsewhere
from hotswap.patch import Patch, decode

__all__ = ["PLACE", "Selection", "changed_modules", "is_place", "new_modules", "removed_modules", "select"]


def changed_modules(live: Live, patch: Patch) -> tuple[str, ...]:
    """The imported modules whose text the patch changes, or of which it replaces an object, parents first."""
    changed = []
    for name, source in patch.sources.items():
        entry = live.get(name)
        forced = any(wanted.startswith(f"{name}:") for wanted in patch.replace)
        if entry is not None and (forced or entry.text is None or entry.text != decode(source.data)):
            changed.append(name)
    return tuple(sorted(changed, key=lambda name: name.count(".")))


def removed_modules(live: Live, patch: Patch) -> frozenset[str]:
    """The imported modules of which a complete patch says nothing any more."""
    return frozenset(
        entry.name
        for entry in live
        if entry.name.partition(".")[0] in patch.complete
        and entry.name not in patch.sources
        and entry.name not in patch.extensions
        and not any(name.startswith(entry.name + ".") for name in (*patch.sources, *patch.extensions))
        and not lies_elsewhere(live, entry.name)
        and not (entry.namespace and any(file.startswith(entry.name.replace(".", "/") + "/") for file in patch.files))
    )


def new_modules(live: Live, patch: Patch) -> list[str]:
    """The modules that did not exist before, below packages that are loaded; programs (`__main__`) are left alone."""
    if not patch.complete:
        return [name for name in patch.sources if live.get(name) is None]
    fresh: set[str] = set()
    for name in sorted(patch.sources, key=lambda name: name.count(".")):
        parent = name.rpartition(".")[0]
        known = live.get(parent)
        if live.get(name) is not None or name.endswith("__main__") or not parent:
            continue
        if parent in fresh or (known is not None and _spec_of(known.module, name) is None):
            fresh.add(name)
    return sorted(sorted(fresh), key=lambda name: name.count("."))


def _spec_of(parent: ModuleType, name: str) -> importlib.machinery.ModuleSpec | None:
    """Where a submodule that is not imported lies in the live version, or None if the live version has none."""
    finder = next((f for f in sys.meta_path if getattr(f, "tree", None) is not None and f.find_spec(name, None)), None)
    if finder is not None:
        return finder.find_spec(name, None)
    return importlib.machinery.PathFinder.find_spec(name, list(getattr(parent, "__path__", [])))


class Selection:
    """What `select` found.

    `affected` are the unchanged modules that have to be loaded because of data that they took over; `data` maps each
    module to the names whose data is different in the new version, ``Class.attribute`` among them; `remade` has those
    of them that stand for another object then, while the rest are *lasting*: a member of an enumeration that gets
    another value, and what holds it. `heirs` maps each module to its classes from which others took something when
    they were made, and would take something else now.
    """

    def __init__(self) -> None:
        self.affected: list[str] = []
        self.data: dict[str, set[str]] = {}
        self.remade: dict[str, set[str]] = {}
        self.heirs: dict[str, set[str]] = {}

    def changed_names(self, module: str, definitions: Definitions, loaded: ModuleType | None = None) -> set[str]:
        """The names of a module that stand for changed data, its own or taken from elsewhere."""
        return self.stale(definitions, loaded) | self.data.get(module, set())

    def stale(self, definitions: Definitions, loaded: ModuleType | None = None) -> set[str]:
        """The local names, and the dotted reads of modules, through which a module gets changed data.

        Arguments:
            definitions: of the module.
            loaded: the module, old or new. A name that stands for a module there, and was bound by something else
                than an import statement (``m = importlib.import_module(".m", __name__)``), is known from it.
        """
        return self._reached(definitions, loaded, self.data)

    def lasting(self, module: str, definitions: Definitions, loaded: ModuleType | None = None) -> set[str]:
        """Those among `changed_names` that stand for the same objects as before; arguments as there."""
        remade = self._reached(definitions, loaded, self.remade) | self.remade.get(module, set())
        return self.changed_names(module, definitions, loaded) - remade

    def _reached(
        self, definitions: Definitions, loaded: ModuleType | None, changed: Mapping[str, set[str]]
    ) -> set[str]:
        aliases = [*_aliases(definitions), *(_bound_modules(definitions, loaded) if loaded is not None else ())]
        return self._taken(definitions, changed) | _by_module(aliases, changed)

    def passed_on(self, definitions: Definitions) -> set[str]:
        """The names under which a module gives away what it imported of changed data."""
        return self._taken(definitions, self.data)

    def changed_heirs(self, definitions: Definitions) -> set[str]:
        """The local names, and the dotted reads of modules, through which a module gets classes that changed so."""
        return self._taken(definitions, self.heirs) | _by_module(_aliases(definitions), self.heirs)

    def _taken(self, definitions: Definitions, changed: Mapping[str, set[str]]) -> set[str]:
        found = set()
        for local, (module, name) in definitions.imports():
            for other in changed.get(module, ()):
                if other == name or other.startswith((f"{name}.", f"{name}*")):
                    found.add(local + other[len(name) :])
        for star in definitions.stars:
            found |= {other for other in changed.get(star, set()) if not definitions.hides(other.partition(".")[0])}
        return found


def _aliases(definitions: Definitions) -> Iterator[tuple[str, str]]:
    """The local names that may stand for modules, and those modules."""
    yield from definitions.modules.items()
    for local, (module, name) in definitions.imports():
        yield local, f"{module}.{name}"


def _bound_modules(definitions: Definitions, loaded: ModuleType) -> Iterator[tuple[str, str]]:
    """The names of a module that an assignment has bound to a module, and the names of these modules."""
    facts = ModuleType.__getattribute__(loaded, "__dict__")
    for local, binding in definitions.bindings.items():
        value = facts.get(local)
        if binding.kind is Kind.DATA and issubclass(type(value), ModuleType):
            name = ModuleType.__getattribute__(value, "__dict__").get("__name__")
            if type(name) is str:
                yield local, name


def _by_module(aliases: Iterable[tuple[str, str]], changed: Mapping[str, set[str]]) -> set[str]:
    """The dotted reads that lead to changed names of modules: ``limits.MAX``, ``shop.limits.MAX``."""
    return {
        f"{local}{module.removeprefix(above)}.{name}"
        for local, above in aliases
        for module, names in changed.items()
        if module == above or module.startswith(f"{above}.")
        for name in names
    }


PLACE = frozenset({"__file__", "__path__", "__spec__", "__loader__"})
"""Names that say where a module lies: in another place for each version."""


def is_place(value: object) -> bool:
    """Whether a value may be a path; only such values are looked upon as changed because the files lie elsewhere."""
    return type(value) is str or issubclass(type(value), PurePath)


def select(
    live: Live,
    changed: Iterable[str],
    new: Mapping[str, Definitions],
    leave: Iterable[str],
    moved: Container[str],
    also: Container[str] = (),
) -> Selection:
    """Find the unchanged modules that hold data of changed ones.

    Arguments:
        live: the managed modules.
        changed: the modules whose text the patch changes.
        new: the new definitions of those.
        leave: modules that are not to be looked at (those that the patch removes).
        moved: the top-level packages whose files lie in another place in the new version.
        also: unchanged modules that somebody else knows to depend on changed ones.
    """
    selection = Selection()
    for name in changed:
        entry = live.get(name)
        if entry is not None:
            _compare(entry, new[name], selection)
    others = [entry for entry in live if entry.name not in (*changed, *leave) and entry.source is not None]
    for entry in others:
        if entry.name.partition(".")[0] in moved:
            places = {
                name
                for name, binding in entry.definitions.bindings.items()
                if binding.reads & PLACE and is_place(entry.module.__dict__.get(name))
            }
            if places:
                for known in (selection.data, selection.remade):
                    known.setdefault(entry.name, set()).update(places)
                selection.affected.append(entry.name)
    selection.affected += [e.name for e in others if e.name in also and e.name not in selection.affected]
    loaded = dict(new)
    while True:
        before = _size(selection)
        for name, definitions in loaded.items():
            _inherit(name, definitions, selection)
        for name in changed:
            if name in selection.data:
                _spread(live.modules[name], new[name], selection)
        for entry in others:
            _spread(entry, entry.definitions, selection)
            if entry.name not in selection.affected and _mixes(entry, loaded):
                selection.affected.append(entry.name)
            if entry.name in selection.affected:
                loaded[entry.name] = entry.definitions
        if _size(selection) == before:
            return selection


def _size(selection: Selection) -> int:
    return sum(map(len, (*selection.data.values(), *selection.remade.values(), *selection.heirs.values()))) + len(
        selection.affected
    )


def _compare(entry: LiveModule, new: Definitions, selection: Selection) -> None:
    """Note what has changed in a module whose text did."""
    name, old = entry.name, entry.definitions
    data = {
        attribute
        for attribute in old.bindings.keys() & new.bindings.keys()
        if Kind.DATA in (old.kind(attribute), new.kind(attribute)) and not unchanged(attribute, old, new)
    }
    selection.data[name], selection.remade[name] = set(data), set()
    lasting = _classes(entry, new, selection)
    selection.remade[name] |= {
        attribute
        for attribute in data
        if not unchanged(attribute, old, new, lasting=lasting, of=made_anew(entry.module.__dict__.get(attribute)))
    }


def _classes(entry: LiveModule, new: Definitions, selection: Selection) -> set[str]:
    """Note what has changed in the classes of a changed module that others may have taken over.

    Returns the members of its enumerations that are the same objects, and those enumerations.
    """
    module, old = entry.name, entry.definitions
    lasting: set[str] = set()
    for name in old.bindings.keys() & new.bindings.keys():
        if old.kind(name) is not Kind.CLASS or new.kind(name) is not Kind.CLASS:
            continue
        changed = changed_class_data(name, old, new)
        data = {f"{name}.{attribute}" for attribute in changed}
        if changed and is_enumeration(name, new):
            data.add(f"{name}*")
            lasting |= lasting_members(name, old, new, entry.module.__dict__.get(name))
        hooks = [
            body.classes[name].bindings.get("__set_name__") if name in body.classes else None for body in (old, new)
        ]
        if any(hooks) and (None in hooks or hooks[0].text != hooks[1].text):  # type: ignore[union-attr]  # none is None
            data.add(name)  # what was made of it, and told its name, was told in the old way
        selection.data[module] |= data
        selection.remade[module] |= data - lasting
        if changes_its_heirs(name, old, new):
            selection.heirs.setdefault(module, set()).add(name)
    return lasting


def _inherit(module: str, definitions: Definitions, selection: Selection) -> list[str]:
    """Follow classes that changed for their heirs into one module; return its classes that are such heirs."""
    taken = selection.changed_heirs(definitions)
    heirs = selection.heirs.setdefault(module, set())
    heirs |= {name for name in taken if "." not in name}
    found: list[str] = []
    for name, binding in definitions.bindings.items():
        if binding.kind is Kind.CLASS and binding.reads & (taken | heirs) - {name}:
            heirs.add(name)
            found.append(name)
    return found


def _spread(entry: LiveModule, definitions: Definitions, selection: Selection) -> None:
    """Follow changed data into one module: what it passes on, and what it made of it when it was imported.

    Arguments:
        entry: the module, whose text the patch may have changed or not.
        definitions: what its text says then.
        selection: receives what is found; an unchanged module that depends on the changed data is affected.
    """
    module = entry.module if issubclass(type(entry.module), ModuleType) else None
    passed, stale = selection.passed_on(definitions), selection.stale(definitions, module)
    data, remade = (known.setdefault(entry.name, set()) for known in (selection.data, selection.remade))
    lasting = selection.lasting(entry.name, definitions, module)
    data |= passed
    remade |= passed - lasting
    affected = definitions is entry.definitions and (
        bool(_inherit(entry.name, definitions, selection)) or any(_is_unclear(name, entry) for name in passed)
    )
    for name, binding in definitions.bindings.items():
        read = binding.reads & (stale | data) if binding.kind is not Kind.IMPORT else ()
        if not read:
            continue
        holds = all(one in lasting and not is_used(one, binding.reads) for one in read)
        anew = made_anew(entry.module.__dict__.get(name))(binding)
        stays = all(one in lasting and not is_used(one, anew) for one in read & anew)
        affected = affected or (definitions is entry.definitions and not holds)
        if binding.kind is Kind.DATA:
            data.add(name)
            if stays and name not in remade:
                lasting.add(name)
            else:
                remade.add(name)
                lasting.discard(name)
    if affected and entry.name not in selection.affected:
        selection.affected.append(entry.name)


def _is_unclear(name: str, entry: LiveModule) -> bool:
    """Whether only the module body itself can tell from where it has a name: from one module, or another like it."""
    origins = entry.definitions.origins(name)
    return len(origins) > 1 and sum(same_value({}, (entry.name, name), origin) for origin in origins) > 1


def _mixes(entry: LiveModule, loaded: Mapping[str, Definitions]) -> bool:
    """Whether a module made objects of loaded classes, and a loaded module imports something from it."""
    definitions = entry.definitions
    classes = {
        local
        for local, (module, name) in definitions.imports()
        if module in loaded and loaded[module].kind(name) is Kind.CLASS
    }
    if not classes or not any(
        binding.kind in (Kind.DATA, Kind.CLASS) and binding.reads & classes for binding in definitions.bindings.values()
    ):
        return False
    return any(
        entry.name in (module, f"{module}.{name}") for other in loaded.values() for _, (module, name) in other.imports()
    )
