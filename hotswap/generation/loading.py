"""Loading a candidate: the changed and new modules of a patch, side by side with the running ones.

New code is loaded by plain execution of its source into a module of its own: no rewriting, no proxies; what was
checked is what goes live. `sys.modules` is not touched.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from packaging.version import Version

from hotswap.effects import Journal, Look
from hotswap.errors import LoadError
from hotswap.generation.aliases import unset
from hotswap.generation.definitions import Definitions, Kind, analyse, public_names
from hotswap.generation.examination import examine, made_classes
from hotswap.generation.failures import innermost, told
from hotswap.generation.files import NamespaceLoader, Tree
from hotswap.generation.finding import find
from hotswap.generation.isolation import GONE, World, gate, worlds
from hotswap.generation.limit import Limit
from hotswap.generation.live import Live, same_value
from hotswap.generation.optional import load_new
from hotswap.generation.overrides import override
from hotswap.generation.selection import changed_modules, new_modules, removed_modules, select
from hotswap.generation.shelter import Shelter, opened, sheltered
from hotswap.generation.standing import epochs
from hotswap.generation.submodules import Submodules
from hotswap.generation.sysview import Modules, SysView, entries, looked_up_in, restore
from hotswap.generation.young import Young, detach, watch_young
from hotswap.patch import Patch, decode
from hotswap.stage import on_stage
from hotswap.stopping import Stopped, Worker, is_interrupt

__all__ = ["Candidate"]

_REEXPORTS = 8
"""How many re-exports are followed from a name to the module that defines it."""


class Candidate(Mapping[str, ModuleType]):
    """The staged modules by name. Lives as long as its rollout is staged or its generation is kept.

    As a mapping it has the modules that the patch changes or adds, and every other managed module as this generation
    sees it: ``candidate["shop.pricing"]``. A module of the patch that nobody has imported yet is loaded when asked for.
    """

    def __init__(
        self,
        live: Live,
        patch: Patch,
        version: Version,
        tree: Tree,
        shelters: Sequence[Shelter] = (),
        allow: Iterable[str] = (),
    ) -> None:
        self.patch = patch
        self.version = version
        self.tree, self.shelters = tree, shelters
        self.world = CandidateWorld(live, self)
        changed = changed_modules(live, patch)
        self.removed = removed_modules(live, patch)
        self.definitions: dict[str, Definitions] = {
            name: analyse(decode(source.data), name, package=source.package)
            for name, source in patch.sources.items()
            if name in changed
        }
        override(self.definitions, live, patch)
        also = {name for shelter in shelters for name in shelter.dependents(live, changed, self.definitions)}
        self.selection = select(live, changed, self.definitions, self.removed, patch.complete, also)
        self.changed = (*changed, *self.selection.affected)
        self.world.aliases = dict.fromkeys(unset(live, {*self.changed, *self.removed}), GONE)
        self.owned: list[object] = []
        self.classes: list[type] = []
        self.migrated: dict[str, dict[str, Any]] = {}
        """What migrations wrote: module -> name -> what the module body had bound to it. The module has the value."""
        self.fenced: list[Any] = []
        """Objects that migrations took over from what is live: nobody rewrites them."""
        self.journal = Journal(allow)
        self.left: Mapping[str, str] = {}
        """New modules that nobody needs and that were left unloaded -> the missing module that they need."""
        self.loaded = False
        self.discarded = False
        # Guards what stands in `sys.modules` against a module body that comes to its end after it was given up.
        self._putting_back = threading.Lock()
        self._before: tuple[dict[str, ModuleType], tuple[int, ...]] = ({}, ())
        self._left_behind: Worker | None = None

    def missed(self) -> list[str]:
        """The modules that were imported since, in the old version, although the patch changes or removes them."""
        live = self.world.live_modules
        changed = {*changed_modules(live, self.patch)} - {*self.changed}
        return sorted((changed | (removed_modules(live, self.patch) - self.removed)) - self.modules.keys())

    @property
    def leads(self) -> Mapping[int, tuple[Any, Any]]:
        """What its code got hold of that stands for something else: id -> (it, what it stands for)."""
        return {}

    @property
    def modules(self) -> dict[str, ModuleType]:
        """The modules that were loaded for this candidate, in the order in which their loading began."""
        return self.world.own

    def load(self, limit: Limit | None = None) -> None:
        """Load what is changed and what is new.

        Arguments:
            limit: how long the module bodies may take; None: they run here, without a limit.

        Raises LoadError if a module raises, does not return in time, tries to end the process, or replaces itself in
        `sys.modules`; the candidate has to be discarded then. Ctrl-C goes through.
        """
        gate.hold()
        self.loaded = True
        self._before = entries(self.world.packages), epochs(self.world.packages)
        opened(self.shelters, self.world.live_modules, (*self.changed, *self.removed), self.modules)
        young = Young()
        look = Look(self.world.live_modules, self.world)
        try:
            with watch_young() as young:
                (limit or Limit()).run(self)
        finally:
            look.end(self.world.ran.values())
            self.classes = made_classes(self.world.ran, young)
            examine(self, look, young)

    def load_modules(self) -> None:
        """Run the module bodies, in whatever thread this is. Raises as `load` does."""
        for name in self.changed:
            self.load_module(name)
        self.left = load_new(self, new_modules(self.world.live_modules, self.patch))
        # What a module body has put under a name of which the patch holds no module is no file's, but is there.
        self.removed = self.removed.difference(self.modules)
        for shelter in self.shelters:
            shelter.staged()

    def give_up(self, worker: Worker) -> None:
        """Shut out the thread that runs the module bodies, before it is asked to stop: it may go on for long."""
        before, count = self._before
        with self._putting_back:
            self.world.given_up = True
            if epochs(self.world.packages) == count:
                restore(before)
        self._left_behind = worker

    def leave_behind(self, worker: Worker) -> None:
        """Shut out a thread that runs a migration and did not end in time."""
        self.world.given_up = True
        self._left_behind = worker

    def load_module(self, name: str) -> None:
        """Load one module, and its parents. Raises as `load` does."""
        before, count = entries(self.world.packages), epochs(self.world.packages)
        try:
            self.world.load(name)
        except BaseException as error:
            if isinstance(error, Stopped) or is_interrupt(error):
                raise
            raise LoadError(
                f"{innermost(error, self.tree)} raised {told(error)}",
                module=self.world.failing or name,
                patch=self.patch.label,
                advice="mend the module; the traceback is chained to this error",
            ) from error
        finally:
            self.world.failing = None
            with self._putting_back:
                # If another thread has rolled back meanwhile, or nobody waits any more, what stands there now is right.
                stale = self.world.given_up or epochs(self.world.packages) != count
                replaced = [*self.world.modules.replaced, *([] if stale else restore(before))]
        if replaced:
            raise LoadError(
                f"the patch replaces {', '.join(replaced)} in sys.modules while it is imported",
                module=name,
                patch=self.patch.label,
                advice="a module that replaces itself can't be swapped; restart the service with this version",
            )

    def discard(self) -> None:
        """Forget the candidate: nothing of it is left in the process but what others hold."""
        if self.discarded:
            return
        self.discarded = True
        self.journal.drop()
        for cls in self.classes:
            detach(cls)
        self.owned, self.classes, self.shelters = [], [], ()
        self.migrated, self.fenced = {}, []
        self.world.own, self.world.aliases = {}, {}
        self.world.kept = {}
        self.definitions.clear()
        self.tree.remove()
        if self._left_behind is None:
            self._shut()
        else:
            # Its imports have to be refused for as long as it runs; that takes the wrapper, and the names of its world.
            self._left_behind.afterwards(self._shut)

    def _shut(self) -> None:
        """Take the candidate's code out of the registry of worlds: none of it runs any more."""
        for key in list(self.world.ran):
            worlds.pop(key, None)
        self.world.ran.clear()
        if self.loaded:
            gate.release()

    def forget(self) -> None:
        """Let go of the modules: another generation is live, or this one was only looked at."""
        if self.world.live:
            self.world.own, self.world.aliases = {}, {}

    def settle_in(self) -> None:
        """Note that this generation is live: its code imports like everybody else's from now on."""
        self.world.live = True
        self.discarded = True
        self.owned, self.classes, self.shelters = [], [], ()
        self.fenced = []
        gate.release()

    def __getitem__(self, name: str) -> ModuleType:
        if name not in self.modules and name not in self.removed and self._staged(name):
            look = Look(self.world.live_modules, self.world)
            try:
                self.load_module(name)
            finally:
                self.journal.enter_late(look, self.world.ran.values())
        try:
            return self.world.present(name)
        except ModuleNotFoundError:
            raise KeyError(name) from None

    def _staged(self, name: str) -> bool:
        return not self.discarded and name in self.patch.sources and self.world.shared(name) is None

    def __iter__(self) -> Iterator[str]:
        names = dict.fromkeys(self.modules)
        names.update(dict.fromkeys(entry.name for entry in self.world.live_modules if entry.name not in self.removed))
        return iter(names)

    def __len__(self) -> int:
        return len(list(iter(self)))


class CandidateWorld(World):
    """What the candidate's code imports: its own modules, and the live ones that the patch leaves alone."""

    def __init__(self, live: Live, candidate: Candidate) -> None:
        super().__init__(live.packages)
        self.live_modules = live
        self.candidate = candidate
        self.kept = {}
        self.failing: str | None = None
        self.running: list[str] = []
        """The modules whose bodies are being run, the innermost last."""
        self.finished: list[str] = []
        """The modules whose bodies have run, those that others import first."""
        self.given_up = False
        """Whether a module body did not return in time: whatever it does from then on, it imports nothing managed."""
        self.modules = Modules(self)
        """`sys.modules`, for the candidate's code."""
        self.assignments = {}
        self._submodules = Submodules(self)
        self.ran: dict[int, dict[str, object]] = {}
        """The globals of every module body that was begun, by their id."""
        # A module body runs under this lock, as it does under importlib's module locks: two threads of a check that
        # import the same module must not run it twice.
        self._lock = threading.RLock()

    def import_(
        self,
        original: Callable[..., Any],
        name: str,
        globals_: Mapping[str, Any],
        fromlist: Sequence[str] | None,
        level: int,
    ) -> Any:
        """Do what `builtins.__import__` does, in this world; `sys` is a view until it is live."""
        if name == "sys" and not level and not self.live:
            return SysView(self)
        return super().import_(original, name, globals_, fromlist, level)

    def shared(self, name: str) -> ModuleType | None:
        """Return the live module that the patch leaves alone, or None."""
        if self.live:
            return sys.modules.get(name)
        entry = self.live_modules.get(name)
        if entry is None or name in self.candidate.removed or name in self.candidate.changed:
            return None
        if entry.namespace and name.partition(".")[0] in self.candidate.patch.complete:
            return None  # it has no code, but its data lie elsewhere in this version
        return entry.module

    def alias(self, name: str) -> Any:
        """Return what the module bodies have put under a name that is no module's, or what stands there anyway."""
        if self.live:
            return super().alias(name)
        return self.aliases.get(name, self.live_modules.aliases.get(name, GONE))

    def origin(self, module: str, name: str) -> tuple[str, str] | None:
        """Return where a shared module got `name` from, if that is a changed module, through any re-exports."""
        return self._origin(module, name, 0)

    def _origin(self, module: str, name: str, depth: int) -> tuple[str, str] | None:
        entry = self.live_modules.get(module)
        if entry is None or depth > _REEXPORTS or self.candidate.discarded:
            return None
        origins = entry.definitions.origins(name)
        is_bound_otherwise = entry.definitions.kind(name) not in (Kind.IMPORT, None)
        if len(origins) > 1 or is_bound_otherwise:
            told = [origin for origin in origins if same_value(self.live_modules.tree(), (module, name), origin)]
            origins = told if told or is_bound_otherwise else origins
        for origin in origins:
            if origin[0] not in self.candidate.changed:
                further = self._origin(*origin, depth + 1)
                if further is not None:
                    return further
                continue
            if origin[0] not in self.own:
                self.load(origin[0])
            if name in entry.definitions.followers or name in public_names(self.own[origin[0]].__dict__):
                return origin
        return None

    def child(self, name: str) -> ModuleType | None:
        """Return the candidate's module, which is loaded now if the patch changes it."""
        if name not in self.own and name in self.candidate.changed and not self.candidate.discarded:
            self.load(name)
        return super().child(name)

    def added(self, module: str) -> set[str]:
        """Return the names that a shared module gets through ``import *``, straight or by way of shared modules."""
        entry = self.live_modules.get(module)
        found: set[str] = set()
        for star in entry.definitions.stars if entry else ():
            if star not in self.candidate.changed:
                found |= self.added(star)
            else:
                self.load(star)
                found.update(public_names(self.own[star].__dict__))
        return found

    def load(self, name: str) -> None:
        """Load `name` and its parents, unless they are there."""
        parts = name.split(".")
        self._refuse(name)
        with self._lock:
            self._refuse(name)  # it may have been given up while this thread waited
            for count in range(1, len(parts) + 1):
                prefix = ".".join(parts[:count])
                if self.alias(prefix) is not GONE:
                    self._submodules.show(prefix)
                    continue
                if prefix not in self.own and self.shared(prefix) is None:
                    self._execute(prefix, find(self, prefix))
                self._submodules.enter(prefix)

    def _refuse(self, name: str) -> None:
        if self.given_up:
            raise ImportError(
                f"{name} can't be imported: the rollout of {self.candidate.patch.label} was given up", name=name
            )

    def _execute(self, name: str, spec: importlib.machinery.ModuleSpec) -> None:
        loader = spec.loader
        module = importlib.util.module_from_spec(spec)
        self.own[name] = module
        if loader is None or isinstance(loader, NamespaceLoader):
            return  # a namespace package has no body
        facts = module.__dict__
        worlds[id(facts)] = self
        self.ran[id(facts)] = facts
        self.running.append(name)
        try:
            source = self.candidate.patch.sources.get(name)
            if source is not None and name not in self.candidate.definitions:
                self.candidate.definitions[name] = analyse(decode(source.data), name, package=source.package)
            with looked_up_in(self), sheltered(self.candidate.shelters, name), on_stage(self):
                loader.exec_module(module)
            self.finished.append(name)
        except BaseException:
            self.failing = self.failing or name
            self.own.pop(name, None)
            parent, _, child = name.rpartition(".")
            above = self.own[parent].__dict__ if parent in self.own else {}
            if above.get(child) is module:  # a submodule that it imported has put it there
                del above[child]
            if not self.given_up:
                worlds.pop(id(facts), None)
            raise
        finally:
            self.running.pop()
