"""`sys.modules` as a candidate sees it while it is staged: its own modules, and not the live ones of the same names.

`sys.modules` itself is not touched while a candidate is loaded. But module bodies look into it: `sys.modules[__name__]`
to set attributes on themselves, and in their name the standard library, which looks for the names in annotations
(`typing.get_type_hints`, `dataclasses`) or writes them (`enum.global_enum`). They must not meet the live module there.

- A candidate that imports `sys` gets a view, whose `modules` is that of its world. When it goes live, the view in the
  globals of its modules is replaced by `sys`, and a view that was kept elsewhere is `sys` in all but its identity.
- While a module body runs, the few modules of the standard library that look into `sys.modules` have a stand-in under
  their name `sys`: it asks which thread wants to know. For all threads but the loading one it is `sys`.

Guarantees: nobody but the candidate sees another `sys.modules`; the stand-ins are there only while a module body runs.
Assumes: single dict operations are atomic, with the GIL or without.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from hotswap.generation.aliases import is_alias, is_made
from hotswap.generation.isolation import GONE

if TYPE_CHECKING:
    from hotswap.generation.candidate_world import CandidateWorld

__all__ = ["LikeSys", "Modules", "SysView", "entries", "looked_up_in", "restore", "seen_through"]

_READERS = ("annotationlib", "dataclasses", "enum", "inspect", "typing")
"""The modules that look into `sys.modules` for whoever calls them."""


class Modules(MutableMapping[str, Any]):
    """The modules by name, as a candidate sees them. Lives as long as its world."""

    def __init__(self, world: CandidateWorld) -> None:
        self._world = world
        self.replaced: dict[str, None] = {}
        """The modules of the candidate in whose place it has put something else, or nothing."""

    def _is_ours(self, name: object) -> bool:
        return (
            not self._world.live and isinstance(name, str) and name.partition(".")[0] in self._world.packages
        )  # fmt: skip

    def __getitem__(self, name: str) -> Any:
        if not self._is_ours(name):
            return sys.modules[name]
        if name in self._world.own:
            return self._world.own[name]
        other = self._world.alias(name)
        if other is not GONE:
            return self._world.led(other)
        if self._world.shared(name) is None:
            raise KeyError(name)
        return self._world.present(name)

    def __setitem__(self, name: str, module: Any) -> None:
        if not self._is_ours(name):
            sys.modules[name] = module
        elif name in self._world.own or not self._is_free(name):
            if self._world.own.get(name) is not module:
                self.replaced[name] = None
        elif is_alias(name, module):
            self._world.aliases[name] = module
        else:
            self._world.aliases.pop(name, None)
            self._world.own[name] = module

    def _is_free(self, name: str) -> bool:
        """Whether no module of that name is loaded from a file: neither by the patch, nor in what is live."""
        if name in self._world.candidate.changed:
            return False
        shared = self._world.shared(name)
        return shared is None or is_made(name, shared)

    def __delitem__(self, name: str) -> None:
        if not self._is_ours(name):
            del sys.modules[name]
        else:
            self[name]  # a KeyError where there is none
            if self._world.alias(name) is not GONE:
                self._world.aliases[name] = GONE
            else:
                self.replaced[name] = None

    def __iter__(self) -> Iterator[str]:
        names = dict.fromkeys(list(sys.modules))
        if not self._world.live:
            names.update(dict.fromkeys([*self._world.own, *self._world.aliases]))
        return (name for name in names if not self._is_ours(name) or name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def copy(self) -> dict[str, Any]:
        """Return the modules as a plain dict, as that of `sys.modules` does."""
        return dict(self)

    def __repr__(self) -> str:
        return repr(dict(self))


class LikeSys(ModuleType):
    """Passes for `sys`: what is written to it is written there. What it shows of it, each kind says for itself."""

    def __setattr__(self, attribute: str, value: Any) -> None:
        setattr(sys, attribute, value)

    def __delattr__(self, attribute: str) -> None:
        delattr(sys, attribute)

    def __dir__(self) -> list[str]:
        return dir(sys)


class SysView(LikeSys):
    """`sys`, but for `modules`, as long as the candidate that imported it is not live."""

    def __init__(self, world: CandidateWorld) -> None:
        super().__init__("sys")
        ModuleType.__getattribute__(self, "__dict__")["_hotswap"] = ("sys", world, sys.__dict__)

    def __getattribute__(self, attribute: str) -> Any:
        _, world, facts = ModuleType.__getattribute__(self, "__dict__")["_hotswap"]
        if attribute == "modules" and not world.live:
            return world.modules
        if attribute == "__dict__":
            return {**facts, "modules": world.modules} if not world.live else facts
        return getattr(sys, attribute)


class _StandIn(LikeSys):
    """`sys` for the standard library; `modules` depends on the thread that asks."""

    def __getattribute__(self, attribute: str) -> Any:
        if attribute == "modules":
            world = _loading.get(threading.get_ident())
            if world is not None:
                return world.modules
        return getattr(sys, attribute)


def seen_through(value: Any) -> Any:
    """Return what a candidate's view of `sys` or `sys.modules` stands for once it is live; anything else itself."""
    if type(value) is SysView:
        return sys
    return sys.modules if type(value) is Modules else value


_loading: dict[int, CandidateWorld] = {}
"""Thread -> the world of the module body that it runs."""

_lock = threading.Lock()
_stand_in = _StandIn("sys")
_installed: list[None] = []


@contextmanager
def looked_up_in(world: CandidateWorld) -> Iterator[None]:
    """Have the standard library find the modules of a world, in this block and in this thread."""
    ident = threading.get_ident()
    outer = _loading.get(ident)
    with _lock:
        _loading[ident] = world
        _installed.append(None)
        _exchange(sys, _stand_in)
    try:
        yield
    finally:
        with _lock:
            if outer is None:
                _loading.pop(ident, None)
            else:
                _loading[ident] = outer
            _installed.pop()
            if not _installed:
                _exchange(_stand_in, sys)


def _exchange(before: ModuleType, after: ModuleType) -> None:
    for name in _READERS:
        reader = sys.modules.get(name)
        if type(reader) is ModuleType and reader.__dict__.get("sys") is before:
            reader.__dict__["sys"] = after


def entries(packages: tuple[str, ...]) -> dict[str, ModuleType]:
    """Return the live modules of some packages, as they stand in `sys.modules`."""
    return {name: module for name, module in list(sys.modules.items()) if name.partition(".")[0] in packages}


def restore(before: dict[str, ModuleType]) -> list[str]:
    """Put back the entries of `sys.modules` that a module body has overwritten; return their names."""
    replaced = [name for name, module in before.items() if sys.modules.get(name) is not module]
    for name in replaced:
        sys.modules[name] = before[name]
    return replaced
