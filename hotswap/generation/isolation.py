"""Imports of each generation's code lead to its own generation.

`sys.modules` holds one module of each name, but while a candidate is staged, and while calls of an old generation are
in flight, several generations are alive. A wrapper in `builtins.__import__` tells them apart by the globals of the
importing frame: code of a generation that has a `World` imports from that world, everybody else goes straight through.
`importlib.import_module` gets the same treatment.

Guarantees: code whose globals are not registered imports exactly as before. The wrapper is there only while a world is
registered, and comes off in any order with the wrappers of others: one that was covered by somebody else's stays as
a plain pass-through, and is used again the next time. Names in the globals of modules that were bound to a wrapper
meanwhile are bound to the original again when it comes off; whoever else took one has a plain pass-through.

Assumes: `worlds` is read and written with single dict operations, which are atomic with the GIL and on free-threaded
builds. Registering and unregistering are such operations, so that a commit can do them.
"""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from types import FrameType, ModuleType
from typing import Any

from hotswap.generation.aliases import is_alias, name_of
from hotswap.generation.belonging import asking, between, world_of, worlds
from hotswap.generation.import_call import ImportCall
from hotswap.generation.lacking import lacks, made_of
from hotswap.namespaces import imported, replace_names

__all__ = ["GONE", "ModuleView", "Reason", "World", "gate", "worlds"]

GONE: Any = object()
"""Stands for an attribute of a module, or an entry of `sys.modules`, that was deleted or is not there."""

_SENTINEL: dict[str, Any] = {"__name__": "hotswap.probe"}

between.add(id(globals()))


class World:
    """The modules that one generation's code sees.

    Arguments:
        packages: the managed top-level packages; every other import is ordinary.

    `own` holds the modules of this generation, `live` says that the generation is the one in `sys.modules`. `kept` is
    what a candidate's code asked `hotswap.keep` for and nobody had yet; None for worlds that are no candidate's.
    Subclasses decide what happens to modules that are not there yet.
    """

    def __init__(self, packages: tuple[str, ...]) -> None:
        self.packages = packages
        self.own: dict[str, ModuleType] = {}
        self.live = False
        self.aliases: dict[str, Any] = {}
        """Entries of `sys.modules` that are no module of that name, as this generation has set them; `GONE`: not."""
        self.assignments: dict[str, tuple[dict[str, Any], dict[str, Any]]] | None = None
        """Name of a shared module -> (its globals, attributes that are kept aside); None where they are set at once."""
        self.kept: dict[tuple[str, str], Any] | None = None
        self.keeps: Callable[[FrameType], bool] | None = None
        """Whether code of this generation still gets what is of it; None: it always does."""

    def holds(self, frame: FrameType) -> bool:
        """Whether the code in a frame gets what is of this generation, and not what is live."""
        return not self.live and (self.keeps is None or self.keeps(frame))

    def load(self, name: str) -> None:
        """Make sure that `name` can be found. Raises ModuleNotFoundError if there is no such module."""
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    def shared(self, name: str) -> ModuleType | None:
        """Return the module that this generation shares with the live one, or None."""
        return sys.modules.get(name)

    def alias(self, name: str) -> Any:
        """Return what stands in `sys.modules` of this generation under a name that is no module's, or `GONE`."""
        found = sys.modules.get(name, GONE)
        return found if found is not GONE and is_alias(name, found) else GONE

    def led(self, value: Any) -> Any:
        """Return what an alias leads to in this generation: its own module where it stands for a managed one."""
        if issubclass(type(value), ModuleType) and type(value) is not ModuleView:
            name = name_of(value)
            if name.partition(".")[0] in self.packages and not is_alias(name, sys.modules.get(name)):
                return self.child(name) or self.present(name)
        return value

    def origin(self, module: str, name: str) -> tuple[str, str] | None:
        """Return where a shared module got `name` from, if it imported it from another module of this world."""
        return None

    def child(self, name: str) -> ModuleType | None:
        """Return this generation's own module of that name, or what an alias leads to; None if it is shared."""
        other = self.alias(name) if name not in self.own else GONE
        return self.own.get(name) if other is GONE else self.led(other)

    def assign(self, module: str, facts: dict[str, Any], attribute: str, value: Any) -> None:
        """Set an attribute of a shared module for code of this generation; `GONE` takes it out."""
        if self.assignments is not None:
            self.assignments.setdefault(module, (facts, {}))[1][attribute] = value
        elif value is GONE:
            facts.pop(attribute, None)
        else:
            facts[attribute] = value

    def assigned(self, module: str) -> Mapping[str, Any]:
        """Return the attributes of a shared module that code of this generation has set, and nobody else sees yet."""
        return self.assignments[module][1] if self.assignments and module in self.assignments else {}

    def added(self, module: str) -> set[str]:
        """Return the names that a shared module will have through its ``import *`` of other modules of this world."""
        return set()

    def present(self, name: str) -> ModuleType:
        """Return the module as this generation sees it: its own, or a view of the shared one."""
        own = self.own.get(name)
        if own is not None:
            return own
        other = self.alias(name)
        if other is None:
            raise ModuleNotFoundError(f"import of {name} halted; None in sys.modules", name=name)
        if other is not GONE:
            return self.led(other) if not self.live else other  # type: ignore[no-any-return]  # as `sys.modules` has it
        shared = self.shared(name)
        if shared is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        if self.live or type(shared) is not ModuleType or is_alias(name, shared):
            return shared
        return ModuleView(name, self, shared.__dict__)

    def import_(self, call: ImportCall) -> Any:
        """Do what `builtins.__import__` does, in this world."""
        _, name, globals_, fromlist, level = call
        absolute = name
        if level:
            package = globals_.get("__package__") or (
                globals_["__name__"] if "__path__" in globals_ else globals_["__name__"].rpartition(".")[0]
            )
            absolute = importlib.util.resolve_name("." * level + name, package)
        root = absolute.partition(".")[0]
        if root not in self.packages:
            return call.pass_on()
        self.load(absolute)
        if not fromlist:
            return self.present(root if not level else absolute)
        module = self.present(absolute)
        if not issubclass(type(module), ModuleType):
            return module  # an alias that is no module
        wanted = list(fromlist)
        facts = ModuleType.__getattribute__(module, "__dict__")
        if type(module) is ModuleView:
            facts = facts["_hotswap"][2]
        if "*" in wanted:
            wanted = [*wanted, *facts.get("__all__", ())]
        for item in wanted:
            child = f"{absolute}.{item}"
            # A submodule of a shared package is there already, but this generation may not have imported it yet.
            there = facts.get(item, _MISSING)
            if item != "*" and (there is _MISSING or (there is not None and there is self.shared(child))):
                try:
                    self.load(child)
                except ModuleNotFoundError as error:
                    # The name may be an attribute, or be made by the module's __getattr__: IMPORT_FROM will tell.
                    if error.name != child:
                        raise
        return module


class ModuleView(ModuleType):
    """A module object through which code of one generation sees a module that it does not own.

    Submodules and names that the module imported from changed modules are those of the view's world; everything else
    is read from the module itself. When the world has become the live one, the view leads to `sys.modules`.
    """

    def __init__(self, name: str, world: World, facts: dict[str, Any]) -> None:
        super().__init__(name)
        own = ModuleType.__getattribute__(self, "__dict__")
        own["_hotswap"] = (name, world, facts)

    def __getattribute__(self, attribute: str) -> Any:
        name, world, facts = ModuleType.__getattribute__(self, "__dict__")["_hotswap"]
        frame = asking()
        if not world.holds(frame):
            other = world_of(frame, id(frame.f_globals))
            if other is not None and name in other.own:  # a call that was handed over, to what is not live any more
                return getattr(other.own[name], attribute)
            # One that went with its version has no live module: the old one is all there is.
            live = sys.modules.get(name)
            return _held(self, facts, name, attribute) if live is None else getattr(live, attribute)
        assigned = world.assigned(name)
        if attribute == "__dict__":
            keys = {*list(facts), *world.added(name), *assigned}
            return {key: getattr(self, key) for key in keys if key != "__dict__" and assigned.get(key) is not GONE}
        if attribute in assigned:
            if assigned[attribute] is GONE:
                raise lacks(self, name, attribute)
            return assigned[attribute]
        value = facts.get(attribute, _MISSING)
        if value is _MISSING or issubclass(type(value), ModuleType):
            # A submodule; or a module that is bound to another name, which its own name tells.
            child = world.child(f"{name}.{attribute}")
            if child is None and value is not _MISSING:
                own = ModuleType.__getattribute__(value, "__dict__").get("__name__")
                if isinstance(own, str) and sys.modules.get(own) is value:
                    child = world.child(own)
                    if child is None and own.partition(".")[0] in world.packages and world.shared(own) is value:
                        return world.present(own)
            if child is not None:
                return child
        origin = world.origin(name, attribute)
        if origin is not None:
            found = world.own.get(origin[0])
            if found is not None and origin[1] in (inner := ModuleType.__getattribute__(found, "__dict__")):
                return inner[origin[1]]
        if value is not _MISSING:
            return value
        shared = world.shared(name)
        if shared is not None and shared.__dict__ is facts:
            return getattr(shared, attribute)
        own = assigned.get("__getattr__", facts.get("__getattr__"))
        return made_of(self, name, attribute, None if own is GONE else own)

    def __setattr__(self, attribute: str, value: Any) -> None:
        name, world, facts = ModuleType.__getattribute__(self, "__dict__")["_hotswap"]
        if world.holds(asking()) or name not in sys.modules:
            world.assign(name, facts, attribute, value)
        else:
            setattr(sys.modules[name], attribute, value)

    def __delattr__(self, attribute: str) -> None:
        name, world, facts = ModuleType.__getattribute__(self, "__dict__")["_hotswap"]
        if not world.holds(asking()) and name in sys.modules:
            delattr(sys.modules[name], attribute)
        elif world.assigned(name).get(attribute, facts.get(attribute, GONE)) is GONE:
            raise lacks(self, name, attribute)
        else:
            world.assign(name, facts, attribute, GONE)

    def __dir__(self) -> list[str]:
        name, world, facts = ModuleType.__getattribute__(self, "__dict__")["_hotswap"]
        return (
            dir(sys.modules[name])
            if not world.holds(asking()) and name in sys.modules
            else sorted({*facts, *world.assigned(name)})
        )


def _held(view: ModuleView, facts: dict[str, Any], name: str, attribute: str) -> Any:
    if attribute == "__dict__":
        return facts
    value = facts.get(attribute, _MISSING)
    return made_of(view, name, attribute, facts.get("__getattr__")) if value is _MISSING else value


_MISSING: Any = object()


_GO_BETWEENS = ("importlib", "pkgutil", "functools")
"""What stands between ``importlib.resources.files("shop.data")`` in somebody's code and the import that it makes."""


def _world_of(frame: FrameType | None) -> World | None:
    """The world of the code that asks for an import through `importlib`, straight or by the standard library."""
    while frame is not None:
        facts = frame.f_globals
        if str(facts.get("__name__")).partition(".")[0] not in _GO_BETWEENS:
            return world_of(frame, id(facts))
        frame = frame.f_back
    return None


class _Gate:
    """The wrapper around `builtins.__import__` and `importlib.import_module`: one for the process.

    `hold` counts a reason to be in place, `release` takes it back.

    Guarantees: `release` never waits, so that it may be called where a weak reference dies, which is anywhere: within
    a collection in the middle of `hold`, say. Whoever has the lock then does the work of those who could not get it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._releases: deque[None] = deque()
        self._import: Callable[..., Any] = builtins.__import__
        self._import_module = importlib.import_module
        self._reached = False

        def __import__(  # noqa: N807 - it stands where the builtin stood, and tracebacks and tools know that name
            name: str,
            globals: Mapping[str, Any] | None = None,
            locals: Mapping[str, Any] | None = None,
            fromlist: Sequence[str] | None = (),
            level: int = 0,
        ) -> Any:
            world = world_of(sys._getframe(1), id(globals))
            if world is not None and globals is not None:
                return world.import_(ImportCall(self._import, name, globals, fromlist or (), level))
            if globals is _SENTINEL:
                self._reached = True
            return self._import(name, globals, locals, fromlist, level)

        def import_module(name: str, package: str | None = None) -> ModuleType:
            world = _world_of(sys._getframe(1))
            if world is not None:
                absolute = importlib.util.resolve_name(name, package)
                if absolute.partition(".")[0] in world.packages:
                    world.load(absolute)
                    return world.present(absolute)
            return self._import_module(name, package)

        self.import_hook = __import__
        self.import_module_hook = import_module
        del __import__, import_module
        self._alone = self._held()

    @property
    def installed(self) -> bool:
        """Whether an import statement passes through the wrapper now."""
        if builtins.__import__ is self.import_hook:
            return True
        if builtins.__import__ is self._import:
            return False
        self._reached = False
        builtins.__import__("sys", _SENTINEL, None, (), 0)  # is our wrapper below somebody else's?
        return self._reached

    def originals(self) -> list[tuple[Callable[..., Any], Callable[..., Any]]]:
        """The wrappers, each with what stands for it while nobody needs it."""
        return [(self.import_hook, self._import), (self.import_module_hook, self._import_module)]

    def hold(self) -> None:
        """Put the wrapper in place, unless it is there."""
        with self._lock:
            self._holders += 1
            if not self.installed:
                self._import = builtins.__import__
                builtins.__import__ = self.import_hook
            if importlib.import_module is not self.import_module_hook:
                self._import_module = importlib.import_module
                importlib.import_module = self.import_module_hook
        self._settle()

    def release(self) -> None:
        """Take the wrapper off when the last holder goes, unless somebody has wrapped it meanwhile."""
        self._releases.append(None)
        self._settle()

    def _settle(self) -> None:
        while self._releases and self._lock.acquire(blocking=False):
            try:
                while self._releases:
                    self._releases.popleft()
                    self._holders -= 1
                if not self._holders:
                    self._take_off()
            finally:
                self._lock.release()

    def _take_off(self) -> None:
        if builtins.__import__ is self.import_hook:
            builtins.__import__ = self._import
        if importlib.import_module is self.import_module_hook:
            importlib.import_module = self._import_module
        self._put_back()

    def _put_back(self) -> None:
        """Give modules that took a wrapper by name what it stood for: ``from importlib import import_module``."""
        if self._held() > self._alone:  # to look at all names takes milliseconds, and hardly ever finds one
            originals = {id(wrapper): original for wrapper, original in self.originals()}
            replace_names(originals, [facts for _, _, facts in imported()])

    def _held(self) -> int:
        return sys.getrefcount(self.import_hook) + sys.getrefcount(self.import_module_hook)


gate = _Gate()


class Reason:
    """One reason for the wrapper to be in place. It is put there by making one, and taken back once."""

    def __init__(self) -> None:
        gate.hold()
        self._held = [None]

    def release(self) -> None:
        """Take it back, if nobody has yet. Never waits; callable from any thread."""
        try:
            self._held.pop()
        except IndexError:
            return
        gate.release()
