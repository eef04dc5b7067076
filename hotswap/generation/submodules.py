"""When the submodules of a candidate's packages become attributes of them.

The import of a submodule that is the first one sets the attribute of its package, once the submodule has run; what the
package binds to the name afterwards wins. ``from .helpers import *`` and then ``from .cache import *`` leaves the
module `cache` in the package, also if `helpers` gave away something else of that name.

A submodule that the patch leaves alone is not run again. It counts as run where the candidate's code imports it first,
and so do the modules that it imports itself, as far as its source tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hotswap.generation.definitions import Definitions

if TYPE_CHECKING:
    from hotswap.generation.candidate_world import CandidateWorld

__all__ = ["Submodules"]

_MISSING: Any = object()


class Submodules:
    """The submodules that the code of one candidate has imported. Lives as long as its world."""

    def __init__(self, world: CandidateWorld) -> None:
        self._world = world
        self._imported: set[str] = set()
        self._ahead: dict[str, Any] = {}
        """What stood in the package where an unchanged module imported a submodule that has not been loaded yet."""

    def enter(self, name: str) -> None:
        """Note the import of a module that is there, and put it into its package if it is the first one."""
        first = name not in self._imported and name not in self._world.running
        if first:
            self._imported.add(name)
            if name not in self._world.own:
                self._follow(name)
        facts, child = self._package(name)
        if facts is None:
            return
        wins = child not in facts
        if first and name in self._ahead:
            wins = wins or self._ahead.pop(name) is facts.get(child)
        elif first and self._world.running:
            # Afterwards nobody can tell whether it was a module body that imported it first, by a call, say.
            wins = True
        if wins:
            self._set(name)

    def show(self, name: str) -> None:
        """Put what stands under a name that is no module's into its package, unless something is there."""
        facts, child = self._package(name)
        if facts is not None and child not in facts:
            self._set(name)

    def _set(self, name: str) -> None:
        parent, _, child = name.rpartition(".")
        setattr(self._world.own[parent], child, self._world.present(name))

    def _package(self, name: str) -> tuple[dict[str, Any] | None, str]:
        """The namespace of the candidate's own package that a module is in, or None; and the name in it."""
        parent, _, child = name.rpartition(".")
        package = self._world.own.get(parent)
        return (None if package is None else package.__dict__), child

    def _follow(self, name: str) -> None:
        """Note what a module imports that is not run, or not yet."""
        world = self._world
        entry = world.live_modules.get(name)
        definitions = world.candidate.definitions.get(name) or (entry.definitions if entry else Definitions())
        for module, items in definitions.imported:
            self._pass(module)
            for item in items:
                package = world.own.get(module)
                if package is None or item not in package.__dict__:
                    self._pass(f"{module}.{item}")

    def _pass(self, name: str) -> None:
        world, parts = self._world, name.split(".")
        for count in range(1, len(parts) + 1):
            prefix = ".".join(parts[:count])
            if prefix in self._imported or prefix in self._ahead or prefix in world.own:
                continue
            facts, child = self._package(prefix)
            if world.shared(prefix) is not None:
                self._imported.add(prefix)
                self._follow(prefix)
                if facts is not None and world.running:
                    self._set(prefix)
            elif prefix in world.candidate.changed:
                self._ahead[prefix] = _MISSING
                self._follow(prefix)
                if facts is not None:
                    self._ahead[prefix] = facts.get(child, _MISSING)
            else:
                return
