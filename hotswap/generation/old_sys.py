"""`sys` as the code of an old generation sees it, while calls of it are in flight: `sys.modules` has its own modules.

`sys.modules` holds one module of each name, the live one. Old code that asks it for a module of its package would call
new helpers. So under the names by which the old modules know `sys` and `sys.modules`, a swap puts views. They are told
from each other by who asks: to everybody but old code they are `sys` and `sys.modules` themselves.

Guarantees: only managed modules are another than in `sys.modules`, and only for code of that generation. What such code
writes into `sys.modules`, it writes there. Assumes: nothing; a view may outlive its world, and is `sys` from then on.
"""

from __future__ import annotations

import sys
from collections.abc import ItemsView, Iterator, KeysView, MutableMapping, ValuesView
from types import ModuleType
from typing import Any

from hotswap.generation.belonging import asking, between, world_of
from hotswap.generation.isolation import World
from hotswap.generation.sysview import LikeSys

__all__ = ["OldModules", "OldSys"]

between.add(id(globals()))


class OldModules(MutableMapping[str, Any]):
    """The modules by name, as old code sees them.

    Arguments:
        world: of its generation.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    def _of(self, name: object) -> World | None:
        """The world in which a name is looked up; None: it is looked up in `sys.modules`."""
        if not isinstance(name, str) or name.partition(".")[0] not in self._world.packages:
            return None
        frame = asking()
        # A loop that was handed over is of a later generation, and knows `sys` by the names of its old module.
        return self._world if self._world.holds(frame) else world_of(frame, id(frame.f_globals))

    def __getitem__(self, name: str) -> Any:
        world = self._of(name)
        if world is not None and (name in world.own or sys.modules.get(name) is not None):
            return world.present(name)
        return sys.modules[name]

    def __setitem__(self, name: str, module: Any) -> None:
        sys.modules[name] = module

    def __delitem__(self, name: str) -> None:
        del sys.modules[name]

    def __contains__(self, name: object) -> bool:
        world = self._of(name)
        return name in sys.modules or (world is not None and name in world.own)

    def __iter__(self) -> Iterator[str]:
        names = dict.fromkeys(list(sys.modules))
        names.update(dict.fromkeys(name for name in list(self._world.own) if name in self))
        return iter(names)

    def __len__(self) -> int:
        return len(list(iter(self)))

    # What follows is overridden since the caller has to be seen, and not the code of the standard library between.

    def get(self, name: str, default: Any = None) -> Any:
        """Return the module of that name, or `default`."""
        try:
            return self[name]
        except KeyError:
            return default

    def copy(self) -> dict[str, Any]:
        """Return the modules as a plain dict, as that of `sys.modules` does."""
        return {name: self[name] for name in self if name in self}

    def keys(self) -> KeysView[str]:
        """Return the names of now."""
        return self.copy().keys()

    def values(self) -> ValuesView[Any]:
        """Return the modules of now."""
        return self.copy().values()

    def items(self) -> ItemsView[str, Any]:
        """Return both, as they are now."""
        return self.copy().items()

    def __repr__(self) -> str:
        return repr(self.copy())


class OldSys(LikeSys):
    """`sys`, but for `modules`, to old code.

    Arguments:
        world: of its generation.
    """

    def __init__(self, world: World) -> None:
        super().__init__("sys")
        ModuleType.__getattribute__(self, "__dict__")["_hotswap"] = ("sys", OldModules(world))

    def __getattribute__(self, attribute: str) -> Any:
        if attribute == "modules":
            return ModuleType.__getattribute__(self, "__dict__")["_hotswap"][1]
        return getattr(sys, attribute)
