"""Shedding: a function that somebody refers to weakly is kept without the data of its module.

Such a function outlives its generation (`lineage`), and by its globals it would keep whatever stood in its module:
tables and caches, once for each patch. But all that it does is to lead on, and code that leads on reads no globals. So
once nobody else has these globals, what stands there goes. The names of a module are read by whoever asks a function
for the types in its annotations: what these name stays, and classes, modules, what `typing` makes, and dunder names.

Guarantees: globals that somebody may still read are left as they are. That is not told by what a generation has been
through, but by counting, as the collector does: each reference to them must come from functions that only lead on, or
from what nobody can get hold of but by way of them. What is live, may come back, is armed, has a closure that stays old
or a call in flight is held by others: by a module object, a swap, a world; calls that were handed over are looked for.
In doubt nothing goes.

Assumes: nobody makes a swap meanwhile; and the GIL: without it counts are not exact, and nothing is shed.
"""

from __future__ import annotations

import builtins
import functools
import gc
import sys
import types
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from types import FunctionType, ModuleType
from typing import Any, TypeAlias

from hotswap import collector, walk
from hotswap.generation import ModuleView, World
from hotswap.swap.adrift import may_be_suspended
from hotswap.swap.calls import going_on_in
from hotswap.swap.forwarding import SupersededModule, annotations_of
from hotswap.swap.lineage import Lineage, Reference
from hotswap.swap.parts import cell_contents, functions_behind
from hotswap.swap.writes import gil_enabled

__all__ = ["Shedding"]

Space: TypeAlias = dict[str, Any]

_MOST = 5_000
"""How many objects are looked at; what is further away from a namespace counts as held by others."""

_WIDE = 1_000
"""Something that refers to more objects is data: what it refers to counts as held by others."""

_SEVERAL = 8
"""As in `nested`: with more namespaces all functions of the process are listed."""

_TYPING = ("typing", "typing_extensions")

_MODULES = (ModuleView, SupersededModule)
"""What stands for a module of an old generation, and leads to what is live once that has ended."""


class Shedding:
    """Has data shed when modules of earlier generations are gone. Lives as long as its patcher.

    Until then something may need it, if only a circle of what is left of a swap, which the collector ends some day.

    Arguments:
        packages: the managed top-level packages.
        lineage: gives the functions of earlier generations.
        later: has something done when nobody makes a swap. It is called wherever a module dies, so it must be quick,
            and must not raise.
        act: what is to be done then; it calls `shed`.
    """

    def __init__(
        self,
        packages: tuple[str, ...],
        lineage: Callable[[], Lineage],
        later: Callable[[Callable[[], object]], None],
        act: Callable[[], object],
    ) -> None:
        self._packages = packages
        self._lineage, self._later, self._act = lineage, later, act
        self._known: dict[int, weakref.ref[ModuleType]] = {}
        self._asked = False

    def await_end(self, modules: Iterable[ModuleType]) -> None:
        """Wait for the death of modules, which a way back that is forgotten has kept."""
        for module in modules:
            self._known[id(module)] = weakref.ref(module, functools.partial(self._died, id(module)))

    def _died(self, key: int, _: object) -> None:
        self._known.pop(key, None)
        if not self._asked and any(not reference.is_light for reference in self._lineage().kept):
            self._asked = True
            self._later(self._act)

    def shed(self, returning: Iterable[ModuleType]) -> list[Any]:
        """Take out of the globals of kept functions what nobody needs any more. It may pass over the heap, twice.

        Nobody may make a swap meanwhile. Returns what was taken out: finalizers are not to run under a lock of ours.

        Arguments:
            returning: the modules that come back if what is live is taken back.
        """
        self._asked = False
        kept, spaces = self._burdened({id(_facts_of(module)) for module in returning})
        if not kept or not gil_enabled():
            return []
        functions, objects = _functions_in(spaces), [reference.kept for reference, _ in kept]
        needed = _in_flight(spaces, functions)
        for _ in range(2):  # what others hand about meanwhile may not be seen where it is, once
            needed |= _Holders(spaces, functions, objects).needed(needed)
        taken: list[Any] = []
        for key, space in spaces.items():
            if key not in needed:
                taken += _lighten(space, [one for one in functions if one.__globals__ is space], spaces)
        for reference, behind in kept:
            reference.is_light = needed.isdisjoint(behind)
        return taken

    def _burdened(self, back: Set[int]) -> tuple[list[tuple[Reference, set[int]]], dict[int, Space]]:
        """What is kept and may have data, with the ids of the namespaces that it leads to; and all namespaces behind.

        Arguments:
            back: the ids of namespaces that may come back.
        """
        kept: list[tuple[Reference, set[int]]] = []
        spaces: dict[int, Space] = {}
        for reference in self._lineage().kept:
            behind = [] if reference.is_light else [space for space in _behind(reference.kept) if self._is_old(space)]
            if behind and back.isdisjoint(map(id, behind)):
                kept.append((reference, {*map(id, behind)}))
                spaces |= self._spaces(behind)
        return kept, spaces

    def _is_old(self, space: Space) -> bool:
        """Whether a namespace is that of a managed module, and not of the live one."""
        name = str(space.get("__name__"))
        module: Any = sys.modules.get(name)
        live = issubclass(type(module), ModuleType) and _facts_of(module) is space
        return name.partition(".")[0] in self._packages and not live

    def _spaces(self, left: list[Space]) -> dict[int, Space]:
        """Some namespaces, and the old ones that their names lead to, which stand for clones and for views."""
        found: dict[int, Space] = {}
        while left:
            space = left.pop()
            if id(space) not in found and self._is_old(space):
                found[id(space)] = space
                left += (other for value in list(space.values()) for other in _behind(value))
        return found


def _behind(value: Any) -> Iterator[Space]:
    """The namespaces that something leads to: that of a module, and those of functions, in decorators' cells, too."""
    if type(value) in _MODULES:
        yield _facts_of(value)
    left, seen = [*functions_behind(value)], set()
    while left:
        function = left.pop()
        if id(function) not in seen:
            seen.add(id(function))
            yield function.__globals__
            left += (inner for cell in function.__closure__ or () for inner in functions_behind(cell_contents(cell)))


def _facts_of(module: ModuleType) -> Space:
    """The namespace of an old module, or of the one that a view is of."""
    own: Space = ModuleType.__getattribute__(module, "__dict__")
    facts: Space = own["_hotswap"][2] if type(module) is ModuleView else own
    return facts


def _functions_in(spaces: Mapping[int, Space]) -> list[FunctionType]:
    """The functions that have one of these namespaces as globals, wherever they are held: one pass over the heap."""
    common = [*spaces.values()] if len(spaces) <= _SEVERAL else [builtins.__dict__]
    found: list[FunctionType] = collector.referrers_of(common, (FunctionType,))
    return [function for function in found if id(function.__globals__) in spaces]


def _in_flight(spaces: Mapping[int, Space], functions: Sequence[FunctionType]) -> set[int]:
    """The ids of the namespaces in which calls go on: those that were handed over, of which nobody else has them."""
    # What is suspended in another function holds it, and is counted.
    found = going_on_in(spaces, [*filter(_only_leads_on, functions)])
    if gc.get_freeze_count():  # what is suspended may have been set aside
        modules = may_be_suspended()
        found |= {key for key, space in spaces.items() if space.get("__name__") in modules}
    return found


class _Holders:
    """Who holds some namespaces: what can be reached from them, and how often each of that is referred to from there.

    Arguments:
        spaces: the namespaces, by id.
        functions: all functions that have one of them as globals.
        besides: what else is looked at: who holds that may hold what leads there.

    Assumes: the caller holds each namespace and function once, in what was given here.
    """

    def __init__(self, spaces: Mapping[int, Space], functions: Sequence[FunctionType], besides: Iterable[Any]) -> None:
        self._spaces = spaces
        self._members: dict[int, Any] = {}
        self._used: dict[int, list[int]] = {}
        """What somebody gets to who has something, by ids: others may change it meanwhile."""
        self._told = Counter([*spaces, *map(id, functions)])  # it is us who hold them
        level = {id(o): o for o in (*spaces.values(), *functions, *besides)}
        while level:
            level = self._look_at(level)

    def _look_at(self, level: Mapping[int, Any]) -> dict[int, Any]:
        """Note what some objects refer to; return what of that is to be looked at next."""
        after: dict[int, Any] = {}
        for key, o in level.items():
            inner = gc.get_referents(o)
            if len(inner) > _WIDE and key not in self._spaces:
                continue
            self._members[key] = o
            self._used[key] = [*map(id, _parts(o) if _only_leads_on(o) else inner)]
            self._told.update(map(id, inner))
            after.update((id(one), one) for one in inner if self._is_followed(one))
        new = [one for one in after.items() if one[0] not in self._members]
        return dict(new[: max(0, _MOST - len(self._members))])

    def _is_followed(self, o: Any) -> bool:
        """Whether something may hold a function, and be held by nobody but an old namespace."""
        if not gc.is_tracked(o) or walk.is_class(o):
            return False
        if issubclass(type(o), ModuleType):
            return type(o) in _MODULES
        if type(o) is dict and ("__builtins__" in o or "__spec__" in o):  # the globals of a module
            return id(o) in self._spaces
        return True

    def needed(self, known: Set[int]) -> set[int]:
        """The ids of the namespaces that somebody else can get to: by a reference, or by a function that runs there.

        Arguments:
            known: the ids of those that somebody needs anyway.
        """
        left = [*self._held(), *known]
        reached = {*left}
        while left:
            new = [key for key in self._used[left.pop()] if key in self._members and key not in reached]
            reached.update(new)
            left += new
        return self._spaces.keys() & reached

    def _held(self) -> list[int]:
        """The ids of what is held, or referred to weakly, from elsewhere."""
        self._members[0] = []  # nothing refers to it but what refers to all of them
        counts = {key: sys.getrefcount(o) - self._told[key] for key, o in self._members.items()}
        del self._members[0]
        usual = counts.pop(0)
        return [key for key, o in self._members.items() if counts[key] != usual or _is_known_weakly(o)]


def _is_known_weakly(o: Any) -> bool:
    """Whether somebody else refers to something weakly."""
    return any(type(one) is not Reference for one in weakref.getweakrefs(o))


def _only_leads_on(o: Any) -> bool:
    return type(o) is FunctionType and walk.is_forwarder(o.__code__)


def _parts(function: FunctionType) -> list[Any]:
    """What somebody gets to who has a function that only leads on: it reads neither its globals nor its cells."""
    return [function.__dict__, function.__defaults__, function.__kwdefaults__]


def _lighten(space: Space, functions: Iterable[FunctionType], spaces: Mapping[int, Space]) -> list[Any]:
    """Take out of a namespace what nobody needs who asks a function for the types in its annotations; return that.

    Arguments:
        space: the namespace.
        functions: those that have it as globals.
        spaces: those of old modules, by id.
    """
    spelled = {name for function in functions for name in _spelled(function)}
    taken = []
    for name, value in list(space.items()):
        if type(value) in _MODULES:
            taken.append(value)
            space[name] = _without_facts(value)
        elif not _is_dunder(name) and name not in spelled and not _may_be_a_type(value, spaces):
            taken.append(space.pop(name))
    return taken


def _is_dunder(name: object) -> bool:
    return not isinstance(name, str) or (name.startswith("__") and name.endswith("__"))


def _without_facts(module: ModuleType) -> ModuleType:
    """Return what leads to the live module of a name, as an old one did, and does not keep that."""
    name = _facts_of(module).get("__name__")
    ended = World(())
    ended.live = True
    return ModuleView(str(name), ended, {"__name__": name})


def _may_be_a_type(value: Any, spaces: Mapping[int, Space]) -> bool:
    """Whether something may be named in annotations: a class, a module, a function of others, what `typing` makes."""
    if type(value) is FunctionType:
        return id(value.__globals__) not in spaces
    kinds = (types.GenericAlias, types.UnionType, ModuleType)
    return walk.is_class(value) or issubclass(type(value), kinds) or walk.class_home(type(value)) in _TYPING


def _spelled(function: FunctionType) -> Iterator[str]:
    """The names in those annotations of a function that are texts. None of its code is run."""
    annotations = annotations_of(function)[1]
    if type(annotations) is FunctionType:  # what computes them, since CPython 3.14
        texts = [constant for code in walk.codes_in(annotations.__code__) for constant in code.co_consts]
    else:
        texts = list((annotations or {}).values())
    for text in texts:
        if type(text) is str:
            yield from _names_in(text)


@functools.lru_cache(maxsize=256)
def _names_in(whole: str) -> tuple[str, ...]:
    try:
        code = compile(whole, "<annotation>", "eval", dont_inherit=True)
    except (SyntaxError, ValueError):  # it is no expression: nobody can evaluate it
        return ()
    parts = [*walk.codes_in(code)]
    inner = (text for one in parts for text in one.co_consts if type(text) is str)  # as in "Optional['Order']"
    return (*(name for one in parts for name in one.co_names), *(name for text in inner for name in _names_in(text)))
