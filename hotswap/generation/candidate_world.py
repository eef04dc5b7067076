"""The world of a candidate: what its code finds when it imports, and how a module of it is executed."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import threading
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hotswap.effects import Survey
from hotswap.generation.definitions import Kind, analyse, public_names
from hotswap.generation.files import NamespaceLoader
from hotswap.generation.finding import find
from hotswap.generation.import_call import ImportCall
from hotswap.generation.isolation import GONE, World, worlds
from hotswap.generation.live import Live, same_value
from hotswap.generation.shelter import sheltered
from hotswap.generation.submodules import Submodules
from hotswap.generation.sysview import Modules, SysView, looked_up_in
from hotswap.patch import decode
from hotswap.stage import on_stage

if TYPE_CHECKING:
    from hotswap.generation.loading import Candidate

__all__ = ["CandidateWorld"]

_REEXPORTS = 8
"""How many re-exports are followed from a name to the module that defines it."""


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
        self.look: Survey | None = None
        """While the candidate is loaded: told what is imported from elsewhere."""
        self.modules = Modules(self)
        """`sys.modules`, for the candidate's code."""
        self.assignments = {}
        self._submodules = Submodules(self)
        self.ran: dict[int, dict[str, object]] = {}
        """The globals of every module body that was begun, by their id."""
        # A module body runs under this lock, as it does under importlib's module locks: two threads of a check that
        # import the same module must not run it twice.
        self._lock = threading.RLock()

    def import_(self, call: ImportCall) -> Any:
        """Do what `builtins.__import__` does, in this world; `sys` is a view until it is live."""
        if call.name == "sys" and not call.level and not self.live:
            return SysView(self)
        module = super().import_(call)
        if self.look is not None and not call.level:
            self.look.meet(call.name, call.fromlist)
        return module

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
