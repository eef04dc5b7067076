"""Sharing: calls in flight of modules that a patch does not change.

Such a module is of both generations: its code is the same before and after. A call of it that has begun on the old
helpers still goes on with them, whatever it comes to them by. To tell it from the calls that begin after the swap, the
functions that are running get a copy of their code in the swap; who runs the original began before it.

A function runs if its code has more references than what holds code usually: it dies with the last call. Nested code is
held by closures, too. Plain calls of it are found on the stacks of threads, generators and coroutines on the heap. All
closures of that code get copies, and so does the function that makes them.

Guarantees: nothing is changed in functions that are not running. There is a pass over the heap for modules that are
seen here for the first time, and one where more holds the nested code of a generator or a coroutine than is known.
Assumes: the GIL, and that references are counted at once. Calls that begin in the few microseconds between the look and
the swap are not seen; they have come to little by then. Neither are calls of functions and closures that somebody has
frozen (`gc.freeze`), and that no name of a module leads to.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from hotswap import collector, walk
from hotswap.swap.adrift import Stray, strays
from hotswap.swap.calls import FRAMES, frame_of, running_frames
from hotswap.swap.forwarding import code_of, ways_of
from hotswap.swap.kin import copied, is_nested, kin, nested_copy
from hotswap.swap.lineage import Reference
from hotswap.swap.nested import NestedCode, functions_in
from hotswap.swap.order import Op
from hotswap.swap.templates import KIND_FLAGS

__all__ = ["Running", "Shared"]

_CODE: Any = vars(FunctionType)["__code__"]

_known: weakref.WeakKeyDictionary[ModuleType, list[_Known]] = weakref.WeakKeyDictionary()
"""The functions of modules, as they were found the first time."""


class _Known(NamedTuple):
    reference: Reference
    is_maker: bool
    """Whether code is nested in its own."""


class Running(NamedTuple):
    """What is running of modules that stay.

    Attributes:
        calls: the code, each with the function of which it is.
        renewed: the functions that are to get copies of their code: calls that begin later are told by that.
    """

    calls: list[tuple[CodeType, FunctionType]]
    renewed: list[FunctionType]

    def copies(self) -> list[Op]:
        """Return the writes that give functions copies of their code."""
        codes = ((function, function.__code__) for function in self.renewed)
        return [(_CODE.__set__, one, (nested_copy if is_nested(code) else copied)(code)) for one, code in codes]


class Shared:
    """The functions of modules that stay.

    Arguments:
        modules: the managed modules that the swap does not replace.
    """

    def __init__(self, modules: Mapping[str, ModuleType]) -> None:
        self.modules = dict(modules)
        _get_to_know(self.modules)

    @property
    def spaces(self) -> frozenset[int]:
        """The ids of the globals of these modules."""
        return frozenset(_space(module) for module in self.modules.values())

    def running(self) -> Running:
        """Return what is running. Code that somebody else holds counts as running, but for that of closures."""
        functions: dict[int, tuple[FunctionType, FunctionType]] = {}
        makers: list[FunctionType] = []
        closures: dict[int, FunctionType] = {}
        for function, is_maker in self._functions():
            own = _own(function)
            # What stands for a function under a fork is known as a function itself, perhaps.
            if own is None or (own is function and id(own) in functions):
                continue
            if is_nested(own.__code__):
                closures[id(own)] = own
                continue
            functions[id(own)] = function, own
            if is_maker:
                makers.append(own)
        held = _held([own for _, own in functions.values()])
        found = [(own.__code__, function, own) for function, own in functions.values() if id(own.__code__) in held]
        nested = _running_nested(makers, [*closures.values()], held)
        # Others may run the same code, such as what stood for a function under a fork. What has names was found first.
        own_calls = {id(code): (code, function) for code, function, _ in reversed(found)}
        # What stands for a function goes with the fork, and the function stays.
        calls = [*own_calls.values(), *((code, functions.get(id(one), (one, one))[0]) for code, one in nested.calls)]
        renewed = {id(one): one for one in (*(own for *_, own in found), *nested.renewed)}
        return Running(calls, [*renewed.values()])

    def begun(self) -> list[Stray]:
        """Return the code of calls that have begun before an earlier swap, and were led on since.

        That of nested code is told as that of the function that makes it.
        """
        functions = [*self._functions()]
        inside = [(code, maker) for maker, is_maker in functions if is_maker for code in _inside(code_of(maker))]
        made, codes = {id(code): maker for code, maker in reversed(inside)}, (code for code, _ in inside)
        nested = (stray._replace(body=made[id(stray.body)]) for stray in strays(codes))
        return [*strays(function for function, _ in functions), *nested]

    def _functions(self) -> Iterator[tuple[FunctionType, bool]]:
        for module in self.modules.values():
            yield from ((one, is_maker) for known, is_maker in _known[module] if (one := known()) is not None)


def _get_to_know(modules: Mapping[str, ModuleType]) -> None:
    """Find the functions of modules, those too that no name leads to: a registry has them, say."""
    unknown = {_space(module): (name, module) for name, module in modules.items() if module not in _known}
    if not unknown:
        return
    found = {space: {id(one): one for one in functions_in({name: module})} for space, (name, module) in unknown.items()}
    for one in collector.objects_of((FunctionType,)):
        if id(one.__globals__) in unknown:
            found[id(one.__globals__)][id(one)] = one
    for space, (_, module) in unknown.items():
        _known[module] = [_Known(Reference(one), _has_nested(code_of(one))) for one in found[space].values()]


def _held(functions: list[FunctionType]) -> set[int]:
    """The ids of the code of functions that is held by more than by them."""
    own = Counter(id(function.__code__) for function in functions)
    codes = {id(function.__code__): function.__code__ for function in functions}
    counts = zip(codes, map(sys.getrefcount, codes.values()), strict=True)
    alone = _alone()
    return {key for key, count in counts if count > alone + own[key]}


def _running_nested(makers: list[FunctionType], closures: list[FunctionType], held: set[int]) -> Running:
    """What runs nested code.

    Arguments:
        makers: the functions that may make it.
        closures: some of it.
        held: the ids of the code of functions that are running: closures that these have made before get copies, too.
    """
    codes, own = _nested_in(makers)
    made = {id(inner) for maker in makers if id(maker.__code__) in held for inner in _inside(maker.__code__)}
    own.update(id(one.__code__) for one in closures if id(one.__code__) not in made)
    # A copy stands in another function's code, perhaps. What runs it holds it twice: the frame does, and the function.
    own.update(key for key in codes if not own[key])
    alone = _alone()
    counts = zip(codes, map(sys.getrefcount, codes.values()), strict=True)
    more = [key for key, count in counts if count > alone + own[key]]
    wanted = {key for key in more if key in made or codes[key].co_flags & KIND_FLAGS}
    plain = {key for key, code in codes.items() if not code.co_flags & KIND_FLAGS}
    running = {id(frame.f_code) for _, frame in running_frames(plain)} if plain else set()
    wanted |= running
    if not wanted:
        return Running([], [])
    inside = [(maker, [*_inside(maker.__code__)]) for maker in makers]
    trees = {id(one): one for _, tree in inside if any(id(one) in wanted for one in tree) for one in tree}
    trees.update((key, codes[key]) for key in wanted)
    kinds = (FunctionType, *FRAMES)
    few = len(trees) <= collector.FEW
    found = collector.referrers_of(trees.values(), kinds) if few else collector.objects_of(kinds)
    frames = (frame for one in found if type(one) is not FunctionType and (frame := frame_of(one)) is not None)
    running.update(id(frame.f_code) for frame in frames if id(frame.f_code) in wanted)
    # Somebody may have frozen those that are known: the collector does not tell of them.
    every = (one for one in (*closures, *found) if type(one) is FunctionType and id(one.__code__) in trees)
    closures = [*{id(one): one for one in every}.values()]
    # Told as those of what makes it: that is led on by its name, whatever becomes of the closures. What has names was
    # found first; private clones that somebody holds make such closures, too.
    made_by = {id(one): number for number, (_, tree) in reversed([*enumerate(inside)]) for one in tree}
    calls: dict[int, tuple[CodeType, FunctionType]] = {}
    for one in closures:
        code = one.__code__
        if id(code) in running:
            family = {made_by[id(other)] for other in (code, *kin(code)) if id(other) in made_by}
            calls[id(code)] = code, inside[min(family)][0] if family else one
    makers = [maker for maker, tree in inside if any(id(one) in calls for one in tree)]
    renewed = calls.keys() | (made & wanted) | {id(one) for maker in makers for one in _inside(maker.__code__)}
    return Running([*calls.values()], [*makers, *(one for one in closures if id(one.__code__) in renewed)])


def _nested_in(makers: list[FunctionType]) -> tuple[dict[int, CodeType], Counter[int]]:
    """The nested code of functions, and its copies, by ids; and how often it is held by what we know."""
    own = NestedCode.holds()
    codes: dict[int, CodeType] = {}
    for maker in makers:
        for inner in _inside(maker.__code__):
            own[id(inner)] += 1
            codes[id(inner)] = inner
    copies = [copy for inner in codes.values() for copy in kin(inner)]
    codes.update((id(copy), copy) for copy in copies)
    return codes, own


def _alone() -> int:
    """How many references code has that only a dict holds."""
    codes = {0: Shared.__init__.__code__.replace()}
    (count,) = map(sys.getrefcount, codes.values())
    return count


def _space(module: ModuleType) -> int:
    return id(ModuleType.__getattribute__(module, "__dict__"))


def _own(function: FunctionType) -> FunctionType | None:
    """What runs the code of a function: itself, or what stands for it under a fork; None if it leads elsewhere."""
    if not walk.is_forwarder(function.__code__):
        return function
    ways = ways_of(function.__code__)
    return None if ways is None else ways.own


def _has_nested(code: CodeType) -> bool:
    return any(type(constant) is CodeType for constant in code.co_consts)


def _inside(code: CodeType) -> Iterator[CodeType]:
    """The code that is nested in some code, however deep."""
    for constant in code.co_consts:
        if type(constant) is CodeType:
            yield from walk.codes_in(constant)
