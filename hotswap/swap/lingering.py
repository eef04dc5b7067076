"""Lingering: the world of an old generation, for as long as somebody holds a closure that stays wholly old.

Such a closure goes on with old helpers. Those that it knows by names of its module are in its globals. What it reaches
by way of a module, or imports when it runs, it finds in the world of its generation, which therefore does not end with
the last old call, but with the last such closure. The wrapper around imports stays in place as long, if any code that
is left there imports something.

Guarantees: nothing global keeps the generation. The closures own their world, by way of their globals, and what stands
in the registry refers to it weakly: closures that nobody holds but their own generation go with it.

Assumes: a frame, a generator and a coroutine keep the function that they run, as they do since CPython 3.11.
"""

from __future__ import annotations

import _thread
import functools
import opcode
import sys
import weakref
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from hotswap.generation import ImportCall, World, gate, worlds
from hotswap.swap.drain import OldWorld
from hotswap.swap.forwarding import code_of, target_of
from hotswap.swap.lineage import Reference
from hotswap.swap.nested import NestedCode
from hotswap.swap.parts import functions_of

__all__ = ["Lingering", "lingering"]

_OWN = "__hotswap_world__"
"""The name in old globals that keeps their world."""

_IMPORT_NAME = opcode.opmap["IMPORT_NAME"]
_IMPORTERS = ("importlib", "pkgutil")
"""The libraries that import what they are told to."""

_waiting: set[Lingering] = set()
"""Those that wait: their weak references must outlive what they refer to."""


def lingering(packages: tuple[str, ...]) -> list[Lingering]:
    """The old generations of some packages that have not ended."""
    return [one for one in list(_waiting) if one.packages == packages]


class _Remnant(World):
    """Stands for an old world in the registry, and does not keep it: whose code runs keeps it by his globals."""

    def __init__(self, world: OldWorld) -> None:
        super().__init__(world.packages)
        self._world = weakref.ref(world)

    def load(self, name: str) -> None:
        world = self._world()
        if world is not None:
            world.load(name)
        else:
            __import__(name)

    def present(self, name: str) -> ModuleType:
        world = self._world()
        return sys.modules[name] if world is None else world.present(name)

    def import_(self, call: ImportCall) -> Any:
        world = self._world()
        return call.pass_on() if world is None else world.import_(call)


class Lingering:
    """Keeps an old world until the last of some closures is gone. Lives until then.

    Arguments:
        world: the world. Its last old call has ended.
        nested: the nested code of its generation.
        closures: those that stay wholly old.

    `wrapped` says that imports are wrapped as long.

    Guarantees: `end` does its work once, whoever calls it. It never waits: a closure dies on any thread, anywhere.
    """

    def __init__(self, world: OldWorld, nested: NestedCode, closures: Iterable[FunctionType]) -> None:
        self.packages = world.packages
        self._world = weakref.ref(world)
        self._remnant = _Remnant(world)
        self._keys = world.keys
        self._reasons = world.reasons
        self._closures: dict[int, Reference] = {}
        self._deeper = False
        for facts in world.namespaces():
            facts[_OWN] = world
        for key in self._keys:
            if worlds.get(key) is world:
                worlds[key] = self._remnant
        world.nested = nested
        self.wrapped = any(map(_imports, _code_in(world, nested))) or any(map(_is_importer, _values_in(world)))
        if not self.wrapped:
            world.unwrap()
        _waiting.add(self)
        self._watch(closures)

    @property
    def closures(self) -> list[FunctionType]:
        """Those that somebody holds."""
        held = (known() for known in list(self._closures.values()))
        return [one for one in held if one is not None]

    def end(self) -> None:
        """Nobody holds such a closure any more, or it is live again."""
        self._forget()
        world = self._world()
        if world is not None:
            world.end()

    def _forget(self) -> None:
        _waiting.discard(self)
        for key in self._keys:
            if worlds.get(key) is self._remnant:
                worlds.pop(key, None)
        for reason in self._reasons:
            reason.release()
        world = self._world()
        for facts in () if world is None else world.namespaces():
            facts.pop(_OWN, None)

    def _watch(self, closures: Iterable[FunctionType]) -> None:
        held = list(closures)
        self._deeper = any(type(constant) is CodeType for one in held for constant in one.__code__.co_consts)
        for one in held:
            self._closures[id(one)] = Reference(one, functools.partial(self._died, id(one)))

    def _died(self, key: int, _: Reference) -> None:
        self._closures.pop(key, None)
        if self._closures or self not in _waiting:
            return
        if self._deeper:  # what it has made meanwhile is as old as itself: that takes a pass over the heap
            try:
                _thread.start_new_thread(self._look, ())
            except RuntimeError:
                self.end()
        else:
            self.end()

    def _look(self) -> None:
        world = self._world()
        nested = None if world is None else world.nested
        found = [] if nested is None else [one for one in nested.referrers() if nested.place(one.__code__) is not None]
        held = [one for one in found if nested is not None and not nested.names(one)]
        found.clear()
        if held:
            self._watch(held)
        else:
            self.end()


def _code_in(world: OldWorld, nested: NestedCode) -> Iterator[CodeType]:
    """The code that a closure of this world may come to run."""
    yield from (code for code, _ in nested)
    spaces = world.namespaces()
    ours = {id(facts) for facts in spaces}
    plain = {facts["__name__"]: ModuleType(facts["__name__"]) for facts in spaces}
    for facts in spaces:  # the old module objects themselves show what took their place
        plain[facts["__name__"]].__dict__.update(facts)
    for _, function in functions_of(plain, lambda function: id(function.__globals__) in ours):
        if target_of(function.__code__) is None:
            yield code_of(function)


def _values_in(world: OldWorld) -> Iterator[Any]:
    return (value for facts in world.namespaces() for value in list(facts.values()))


def _imports(code: CodeType) -> bool:
    """Whether code has an import statement, or calls what such a statement does."""
    return _IMPORT_NAME in code.co_code[::2] or "__import__" in code.co_names


def _is_importer(value: Any) -> bool:
    """Whether a value is a library that imports by name, or a function of one."""
    if value is gate.import_module_hook:  # bound while the wrapper was in place
        return True
    facts: Any = {}
    if type(value) is ModuleType:
        facts = value.__dict__
    elif type(value) is FunctionType:
        facts = value.__globals__
    return str(facts.get("__name__")).partition(".")[0] in _IMPORTERS
