"""The generation before, as far as it has not been imported yet: loaded for a rollback, side by side with what is live.

A module that was imported after a swap comes from the version that is to be taken back. Its old version is loaded
before anything is touched, by the rule of every candidate: plain execution of its source in a module of its own. What
its body imports has to be the generation before, too, and that is not live yet: so it meets *stand-ins* of the modules
that come back, which have the values that these will have, and run the old functions. What it takes from a stand-in is
replaced by the real thing before the swap.

Classes are shared by both generations: a body that is run now meets their attributes as they are live now. A module
whose classes or data would be made from an attribute that the rollback changes is not loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from packaging.version import Version

from hotswap.errors import LoadError
from hotswap.generation.candidate_world import CandidateWorld
from hotswap.generation.definitions import Definitions, Kind
from hotswap.generation.files import Tree
from hotswap.generation.import_call import ImportCall
from hotswap.generation.isolation import GONE, ModuleView, worlds
from hotswap.generation.limit import Limit
from hotswap.generation.live import Live, LiveModule
from hotswap.generation.loading import Candidate
from hotswap.generation.selection import Selection, select
from hotswap.generation.shelf import source_of
from hotswap.generation.shelter import Shelter
from hotswap.patch import Patch, parse

__all__ = ["Earlier", "EarlierCandidate", "Ground"]


@dataclass(frozen=True)
class Earlier:
    """What a rollback brings back, and what it takes away.

    Arguments:
        modules: the stand-ins of the modules that come back, by name.
        definitions: what their sources say.
        values: name of an unchanged module -> those of its names that will have another value then, and the values.
        going: the modules that go with the version that is taken back.
        leads: id of a stand-in, or of what stands in one -> (it, what takes its place).
    """

    modules: Mapping[str, ModuleType] = field(default_factory=dict)
    definitions: Mapping[str, Definitions] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    going: Mapping[str, ModuleType] = field(default_factory=dict)
    leads: Mapping[int, tuple[Any, Any]] = field(default_factory=dict)


class Ground(Tree):
    """Where the modules of the generation before lie: a tree that has no files of its own, and writes none.

    Arguments:
        specs: the modules that were imported since, and that are to be loaded.
        known: the live modules; they lie where a rollback puts them.
        find: tells where any other module lies.
        directory: of the generation before, for messages.
        complete: the packages of which that generation holds all files.
    """

    def __init__(
        self,
        specs: Mapping[str, ModuleSpec],
        known: Container[str],
        find: Callable[[str], ModuleSpec | None],
        directory: str,
        complete: frozenset[str],
    ) -> None:
        self.specs = dict(specs)
        self.directory, self.complete = directory, complete
        self._known, self._find = known, find

    def spec(self, name: str) -> ModuleSpec | None:
        """Return the spec of a module that is to be loaded, or that is not imported; None for others."""
        return self.specs.get(name) or (None if name in self._known else self._find(name))

    def find_anew(self, entry: LiveModule) -> None:
        """Note that a live module is to be loaded, too; its file may have another text by now."""
        spec = self._find(entry.name)
        if spec is not None and source_of(spec) == entry.source:
            self.specs[entry.name] = spec

    def package_path(self, package: str) -> str:
        """Return the directory of a package."""
        spec = self._find(package)
        return next(iter((spec and spec.submodule_search_locations) or ()), self.directory)

    def place(self, file: str) -> str | None:
        """Return where a file is of a module that is to be loaded: in the generation before, or on disk."""
        ours = any(spec.origin == file for spec in self.specs.values())
        return super().place(file) or (file if ours else None)

    def remove(self) -> None:
        """Do nothing: the files belong to others."""


class EarlierCandidate(Candidate):
    """The old versions of modules that were imported after a swap. Lives as long as one rollback.

    Arguments:
        live: the managed modules as they run now.
        sources: of the modules that were imported since: name -> (text, whether it is a package). Of those that are
            live with the same text, only those are loaded whose data depends on what comes back.
        version: that comes back.
        ground: where they lie.
        earlier: what else comes back.
        shelters, allow: as for every candidate.

    `failed` says of a module that could not be loaded why. Raises LoadError if none of the texts is Python.
    """

    def __init__(
        self,
        live: Live,
        sources: Mapping[str, tuple[str, bool]],
        version: Version,
        ground: Ground,
        earlier: Earlier,
        shelters: Sequence[Shelter] = (),
        allow: Iterable[str] = (),
    ) -> None:
        failed = {name: why for name, (text, _) in sources.items() if (why := _complaint(text))}
        whole = {name: source for name, source in sources.items() if name not in failed}
        if not whole:
            raise LoadError(next(iter(failed.values())), module=next(iter(failed)))
        for name in failed:
            ground.specs.pop(name, None)
        texts = {f"{name}.__init__" if package else name: text for name, (text, package) in whole.items()}
        self.earlier, self.failed, self._ground = earlier, failed, ground
        super().__init__(live, Patch.from_sources(texts, version), version, ground, shelters, allow)
        self.replaced = {name: entry.module for name in self.changed if (entry := live.get(name)) is not None}
        """The live modules whose old versions these are, as they were when this was made."""

    def _new_world(self, live: Live) -> EarlierWorld:
        return EarlierWorld(live, self)

    def _choose(self, live: Live) -> None:
        specs = self._ground.specs
        self._analyse(specs)
        self.selection = self._selected(live, self._ground)
        returning = sorted(specs, key=lambda name: name.count("."))
        self.changed = tuple(dict.fromkeys([*returning, *self.selection.affected]))
        self.failed |= dict(self._built_on_classes())

    def _selected(self, live: Live, ground: Ground) -> Selection:
        """Find the unchanged modules whose data depends on what comes back, among those that a swap did not load."""
        back = {name: d for name, d in self.earlier.definitions.items() if live.get(name) is not None}
        new = {**back, **self.definitions}
        leave = [name for name in self.earlier.going if name not in new]
        found = select(live, [name for name in new if live.get(name) is not None], new, leave, frozenset())
        found.affected = [name for name in found.affected if name not in self.earlier.going]
        for name in found.affected:
            ground.find_anew(live.modules[name])
        return found

    def _built_on_classes(self) -> Iterator[tuple[str, str]]:
        """The modules whose bodies make something of an attribute of a class that the rollback is about to change."""
        shared = Selection()
        shared.heirs = {name: {*self.selection.heirs.get(name, ())} for name in self.earlier.definitions}
        for name in self.earlier.definitions:
            shared.data[name] = {item for item in self.selection.data.get(name, ()) if "." in item or "*" in item}
        for name in self.changed:
            entry = self.world.live_modules.get(name)
            definitions = self.definitions.get(name) or (entry.definitions if entry is not None else Definitions())
            changed = shared.stale(definitions) | shared.changed_heirs(definitions)
            for local, binding in definitions.bindings.items():
                read = sorted(binding.reads & changed)
                if read and binding.kind in (Kind.DATA, Kind.CLASS):
                    yield name, f"its {local} is made of {read[0]}, which is the new one until the rollback"
                    break

    @property
    def leads(self) -> Mapping[int, tuple[Any, Any]]:
        """The stand-ins, and what takes their places."""
        return self.earlier.leads

    def load(self, limit: Limit | None = None) -> None:
        """Load what is to be loaded. Arguments and errors are those of every candidate."""
        for module in self.earlier.modules.values():
            worlds[id(module.__dict__)] = self.world
        super().load(limit)

    def load_modules(self) -> None:
        """Run the module bodies. One that fails is left out, and so are those that can't do without it."""
        for name in self.changed:
            if name not in self.failed:
                try:
                    self.load_module(name)
                except LoadError as error:
                    self.failed[name] = error.reason
        for shelter in self.shelters:
            shelter.staged()

    def discard(self, afterwards: Callable[[Callable[[], None]], None] | None = None) -> None:
        """Forget the candidate, and the stand-ins."""
        self._unregister()
        super().discard(afterwards)

    def settle_in(self) -> None:
        """Note that this generation is live."""
        self._unregister()
        super().settle_in()
        self.earlier = Earlier()

    def _unregister(self) -> None:
        for module in self.earlier.modules.values():
            if worlds.get(id(module.__dict__)) is self.world:
                worlds.pop(id(module.__dict__))


class EarlierWorld(CandidateWorld):
    """What the code of the generation before imports, before that is live: its own modules, and the stand-ins."""

    candidate: EarlierCandidate

    def shared(self, name: str) -> ModuleType | None:
        """Return the stand-in of a module that comes back, or the live module that stays, or None."""
        earlier = self.candidate.earlier
        if self.live or (name not in earlier.modules and name not in earlier.going):
            return super().shared(name)
        return earlier.modules.get(name)

    def child(self, name: str) -> ModuleType | None:
        """Return this generation's own module of that name, or the stand-in of one that comes back."""
        found = super().child(name)
        return found if found is not None or self.live else self.candidate.earlier.modules.get(name)

    def present(self, name: str) -> ModuleType:
        """Return the module as this generation sees it; stand-ins need no view."""
        if not self.live and name not in self.own and name in self.candidate.earlier.modules:
            return self.candidate.earlier.modules[name]
        return super().present(name)

    def assigned(self, module: str) -> Mapping[str, Any]:
        """Return the attributes of a shared module that will have another value, or that code of this world has set."""
        if self.live:
            return super().assigned(module)
        will = dict(self.candidate.earlier.values.get(module, {}))
        for name in (*self.candidate.earlier.going, *self.candidate.changed):
            parent, _, child = name.rpartition(".")
            if parent == module:
                will.pop(child, None)  # it is loaded when it is asked for
                if self._is_gone(name):
                    will[child] = GONE
        return {**will, **super().assigned(module)}

    def _is_gone(self, name: str) -> bool:
        """Whether a module of the version that goes has no old version, or none that could be loaded."""
        candidate = self.candidate
        if name in self.own or name in candidate.earlier.modules:
            return False
        return name in candidate.failed or (name in candidate.earlier.going and name not in candidate.changed)

    def import_(self, call: ImportCall) -> Any:
        """Do what `builtins.__import__` does, in this world."""
        found = super().import_(call)
        if not self.live and call.fromlist and issubclass(type(found), ModuleType):
            # What is no attribute of a package would be looked for in `sys.modules`, where the new version is.
            home = ModuleType.__getattribute__(found, "__dict__")
            home = home["_hotswap"][0] if type(found) is ModuleView else home.get("__name__")
            for gone in (f"{home}.{item}" for item in call.fromlist):
                if self._is_gone(gone):
                    raise ImportError(f"{gone} is not there in the version that comes back", name=gone)
        return found

    def load(self, name: str) -> None:
        """Load `name` and its parents, unless they are there; stand-ins of packages get their submodules, too."""
        why = self.candidate.failed.get(name)
        if why is not None and name not in self.own and not self.live:
            raise ImportError(f"{name} can't be imported in the version that comes back: {why}", name=name)
        super().load(name)
        while "." in name:
            parent, _, child = name.rpartition(".")
            stand_in = self.candidate.earlier.modules.get(parent)
            if stand_in is not None and name in self.own:
                stand_in.__dict__[child] = self.own[name]
            name = parent


def _complaint(text: str) -> str:
    """Why a text is no Python, or nothing if it is."""
    try:
        parse(text)
    except (SyntaxError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return ""
