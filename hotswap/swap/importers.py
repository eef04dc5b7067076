"""Importers: the modules that took names from the swapped ones.

Names in other modules' globals (a from-import, an alias) are rebound to the successors, so that the common path has
no forwarder on it. Identity finds functions, classes and modules; constants, which identity can't find, are found by
what the importing module's source says.
"""

from __future__ import annotations

import re
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from hotswap.generation import Definitions, ModuleView, analyse, is_alias, managed, name_of, public_names
from hotswap.namespaces import Survey, holding, imported
from hotswap.swap.plan import Fate, NameChange
from hotswap.swap.writes import Writes

__all__ = ["Importers", "hand_on", "hand_out", "rebind"]

_MISSING: Any = object()


class Importers:
    """What the sources of all imported modules say they took from the managed packages. Lives as long as a patcher.

    A source is read once; a module that does not import from a managed package is never parsed.
    """

    def __init__(self, packages: tuple[str, ...]) -> None:
        self._packages = packages
        self._roots = frozenset(name.partition(".")[0] for name in packages)
        self._known: weakref.WeakKeyDictionary[ModuleType, Definitions | None] = weakref.WeakKeyDictionary()

    def definitions(self, name: str, module: ModuleType) -> Definitions | None:
        """Return the definitions of a module that mentions a managed package, or None."""
        known = self._known.get(module, _MISSING)
        if known is _MISSING:
            if is_alias(name, module):
                name = name_of(module) or name
            known = self._known[module] = self._read(name, module)
        return known  # type: ignore[no-any-return]  # what was put in

    def _read(self, name: str, module: ModuleType) -> Definitions | None:
        if name.partition(".")[0] in sys.stdlib_module_names and name != "__main__":
            return None
        ours = managed(name, self._packages)
        if not ours and module in _mentioned and self._roots.isdisjoint(_mentioned[module]):
            return None
        source = _source(name, module)
        if source is None:
            return None
        if not ours:
            _mentioned[module] = frozenset(_roots(source))
            if self._roots.isdisjoint(_mentioned[module]):
                return None
        try:
            facts = ModuleType.__getattribute__(module, "__dict__")
            return analyse(source, name, package="__path__" in facts)
        except (SyntaxError, ValueError):
            return None  # without a readable source only identity speaks, and that is looked at in any case


_mentioned: weakref.WeakKeyDictionary[ModuleType, frozenset[str]] = weakref.WeakKeyDictionary()
"""The top-level packages that a module's source speaks of; known for all patchers of the process."""

_IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+(\w+)|import[ \t]+([^\n#]+))", re.MULTILINE)


def _roots(source: str) -> Iterator[str]:
    """The top-level packages that a source imports, and perhaps a few that only a docstring mentions."""
    for taken, several in _IMPORT.findall(source):
        yield from (
            [taken] if taken else (part.strip().partition(".")[0].partition(" ")[0] for part in several.split(","))
        )


def _source(name: str, module: ModuleType) -> str | None:
    facts = ModuleType.__getattribute__(module, "__dict__")
    loader = getattr(facts.get("__spec__"), "loader", None)
    file = facts.get("__file__")
    try:
        if loader is not None and hasattr(loader, "get_source"):
            source = loader.get_source(name)
            return source if isinstance(source, str) else None
        if isinstance(file, str) and file.endswith(".py"):
            return Path(file).read_text(encoding="utf-8")
    except (ImportError, OSError, SyntaxError, ValueError):
        return None  # compiled code, or a file that is gone
    return None


def rebind(
    successors: Mapping[int, tuple[Any, Any]],
    old: Mapping[str, ModuleType],
    new: Mapping[str, ModuleType],
    importers: Importers,
    is_managed: Callable[[str], bool],
    kept: Callable[[str, str], bool],
    translate: Callable[[Any], Any],
    writes: Writes,
    written: Mapping[str, Mapping[str, Any]] | None = None,
    aside: Iterable[ModuleType] = (),
    survey: Survey | None = None,
) -> list[NameChange]:
    """Add the writes that rebind names in the globals of every imported module that is not itself swapped.

    Arguments:
        successors: id of an old object -> (it, what names bound to it are to be bound to).
        old, new: the swapped modules.
        importers: knows what modules imported by name.
        is_managed: whether a module is of a managed package.
        kept: whether a name of a swapped module keeps its object.
        translate: gives the living object for a dropped twin.
        writes: receives the writes.
        written: module -> name -> what the new module is about to get in the same commit, whether it is kept or not.
        aside: more modules that are not to be looked at: they are swapped in the same commit.
        survey: what names stand for; without it, they are looked at here.
    """
    changes = []
    swapped = {id(module) for module in (*old.values(), *new.values(), *aside)}
    others = [
        (name, module, facts)
        for name, module, facts in (imported() if survey is None else survey.modules)
        if id(module) not in swapped and type(module) is not ModuleView
    ]
    resolve = _Resolver(old, new, {name: module for name, module, _ in others}, importers, kept, written or {})
    # Most modules hold nothing of ours, and do not import it either.
    wanted, spaces = successors.keys(), [facts for _, _, facts in others]
    ours = set(map(id, holding(wanted, spaces) if survey is None else survey.holding(wanted)))
    seen: set[int] = set()
    for name, module, facts in others:
        definitions = importers.definitions(name, module)
        if id(facts) in seen or (definitions is None and id(facts) not in ours):
            continue
        seen.add(id(facts))
        rebound: dict[str, Any] = {}
        for attribute, value in list(facts.items()) if id(facts) in ours else ():
            successor = successors.get(id(value))
            if successor is not None and successor[0] is value and attribute != "__builtins__":
                rebound[attribute] = successor[1]
        if definitions is not None:
            for attribute, origin in resolve.imported(definitions, facts):
                value = translate(resolve.value(*origin))
                if value is _MISSING:
                    continue
                # What the source says comes before what identity says: one object may have had several names.
                rebound.pop(attribute, None)
                if value is not facts.get(attribute):
                    rebound[attribute] = value
            added = resolve.additions(name).items()
            rebound.update((key, translate(value)) for key, value in added if value is not _MISSING)
        for attribute, value in rebound.items():
            writes.item(facts, attribute, value)
            if is_managed(name) or name == "__main__":
                changes.append(NameChange(name, attribute, Fate.REBOUND))
    return changes


def hand_out(
    modules: Mapping[str, ModuleType],
    given: Mapping[str, Mapping[str, Any]],
    importers: Importers,
    is_managed: Callable[[str], bool],
    kept: Callable[[str, str], bool],
    translate: Callable[[Any], Any],
    writes: Writes,
    aside: Iterable[ModuleType] = (),
) -> list[NameChange]:
    """Add the writes that rebind names which were imported from modules that are not swapped, but get other values.

    Arguments:
        modules: those modules.
        given: module -> name -> what it is about to get.
        importers, is_managed, kept, translate, writes, aside: as for `rebind`.
    """
    if not given:
        return []
    return rebind({}, modules, {}, importers, is_managed, kept, translate, writes, given, aside)


def hand_on(
    written: dict[str, dict[str, Any]],
    modules: Mapping[str, ModuleType],
    definitions: Mapping[str, Definitions],
    importers: Importers,
) -> None:
    """Add to what modules are about to get what others of them imported by name: ``from .cache import ROWS``.

    Arguments:
        written: module -> name -> the value that it is about to get.
        modules: those that come back by a rollback.
        definitions: what their sources say.
        importers: knows what the modules between them imported by name.
    """
    facts = {name: ModuleType.__getattribute__(module, "__dict__") for name, module in modules.items()}
    more = bool(written)
    while more:
        more = False
        for name, mine in facts.items():
            for local, taken in _taken(definitions.get(name) or Definitions(), mine, facts):
                origin, attribute = _through(taken, modules, importers)
                values = written.get(origin, {})
                if attribute not in values or local in written.get(name, {}) or origin not in facts:
                    continue
                if mine.get(local, _MISSING) is facts[origin].get(attribute):
                    written.setdefault(name, {})[local] = values[attribute]
                    more = True


def _taken(
    source: Definitions, mine: Mapping[str, Any], facts: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, tuple[str, str]]]:
    """What a module imported by name: local name, and module and name that it comes from."""
    yield from source.imports()
    for star in source.stars:
        for name in public_names(facts.get(star, {})):
            if name in mine and not source.hides(name):
                yield name, (star, name)


def _through(origin: tuple[str, str], modules: Mapping[str, ModuleType], importers: Importers) -> tuple[str, str]:
    """Follow an import by name through modules that are not swapped."""
    for _ in range(8):
        between = sys.modules.get(origin[0])
        if origin[0] in modules or not issubclass(type(between), ModuleType):
            break
        definitions = importers.definitions(origin[0], between)  # type: ignore[arg-type]  # it is a module
        further = definitions.froms.get(origin[1]) if definitions is not None else None
        if further is None:
            break
        origin = further
    return origin


class _Resolver:
    """Follows ``from a import b`` through re-exports to the swapped module that `b` comes from."""

    def __init__(
        self,
        old: Mapping[str, ModuleType],
        new: Mapping[str, ModuleType],
        others: Mapping[str, ModuleType],
        importers: Importers,
        kept: Callable[[str, str], bool],
        written: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self.old, self.new, self.others, self.importers, self.kept = old, new, others, importers, kept
        self.written = written
        self._additions: dict[str, dict[str, Any]] = {}

    def imported(self, definitions: Definitions, facts: dict[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
        """The names that a module imported and that still have the value they were imported with, and their origins.

        An origin is in one of the swapped modules. Of a name that may come from several, the one that it has the value
        of counts.
        """
        found: dict[str, tuple[str, str]] = {}
        for local, origin in definitions.imports():
            if local in facts and local in definitions.followers and local not in found:
                found |= {local: source} if (source := self._source(facts[local], origin)) else {}
        for star in reversed(definitions.stars):
            module = self.old.get(star) or self.others.get(star)
            taken = ModuleType.__getattribute__(module, "__dict__") if module is not None else {}
            for name in set(public_names(taken)) & facts.keys() - found.keys():
                if facts[name] is taken.get(name, _MISSING) and not definitions.hides(name):
                    found |= {name: source} if (source := self._source(facts[name], (star, name))) else {}
        yield from found.items()

    def additions(self, name: str) -> dict[str, Any]:
        """The names that a module gets anew through its ``import *`` of swapped modules, however many in between."""
        if name not in self._additions:
            found: dict[str, Any] = {}
            self._additions[name] = found
            module = self.others.get(name)
            definitions = self.importers.definitions(name, module) if module is not None else None
            for star in definitions.stars if definitions and module is not None else ():
                swapped = self.new.get(star)
                if swapped is not None:
                    facts = {**swapped.__dict__, **self.written.get(star, {})}
                    fresh = {key: facts.get(key, _MISSING) for key in public_names(facts)}
                    # A name that the live version does not give away was left behind by an earlier one.
                    given = public_names(self.old[star].__dict__) if star in self.old else []
                else:
                    fresh, given = self.additions(star), []
                taken = (module.__dict__.keys() & {*given}) | definitions.bindings.keys()  # type: ignore[union-attr]
                found.update((key, value) for key, value in fresh.items() if key not in taken)
        return self._additions[name]

    def _source(self, value: Any, origin: tuple[str, str], depth: int = 0) -> tuple[str, str] | None:
        """The swapped module, and its name, that an imported value comes from; None if it was altered since."""
        module = self.old.get(origin[0])
        if module is not None:
            return origin if module.__dict__.get(origin[1], _MISSING) is value else None
        for further in self._further(origin) if depth < 8 else ():
            found = self._source(value, further, depth + 1)
            if found is not None:
                return found
        return None

    def _further(self, origin: tuple[str, str]) -> Iterator[tuple[str, str]]:
        module = self.others.get(origin[0])
        definitions = self.importers.definitions(origin[0], module) if module is not None else None
        # The last `import *` that has the name wins, as it did when the module was imported.
        for place, name in definitions.origins(origin[1]) if definitions is not None else ():
            source = self.old.get(place) or self.others.get(place)
            listed = origin[1] in definitions.followers  # type: ignore[union-attr]  # it has origins
            if listed or (source is not None and name in public_names(ModuleType.__getattribute__(source, "__dict__"))):
                yield place, name

    def value(self, module: str, name: str) -> Any:
        """What the name of a swapped module stands for in the new version, or a marker if it is gone or kept."""
        found, written = self.new.get(module), self.written.get(module, {})
        if found is None or name in written:
            return written.get(name, _MISSING)
        return _MISSING if self.kept(module, name) else found.__dict__.get(name, _MISSING)
