"""Sharing: calls in flight of modules that a patch does not change.

Such a module is of both generations: its code is the same before and after. A call of it that has begun on the old
helpers still goes on with them. To tell it from the calls that begin after the swap, the functions that are running get
a copy of their code in the swap; who runs the original began before it.

Guarantees: nothing is changed in functions that are not running, or that name nothing that changes. Assumes: the GIL,
and that references are counted at once. Calls that begin in the few microseconds between the look and the swap are not
seen: their code works with either generation. Neither are those of closures that no name of a module leads to, once
the call has ended that made them.
"""

from __future__ import annotations

import sys
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, FunctionType, ModuleType

from hotswap import walk
from hotswap.swap.adrift import Stray, strays
from hotswap.swap.forwarding import code_of
from hotswap.swap.nested import functions_in, is_nested

__all__ = ["Shared", "named"]

_known: weakref.WeakKeyDictionary[ModuleType, list[weakref.ref[FunctionType]]] = weakref.WeakKeyDictionary()
"""The functions of modules, as they were found the first time."""


class Shared:
    """The functions of modules that stay, and the names of what changes for them.

    Arguments:
        modules: the managed modules that the swap does not replace.
        names: the names by which code may come to what it does replace.
    """

    def __init__(self, modules: Mapping[str, ModuleType], names: Iterable[str]) -> None:
        self.modules = dict(modules)
        self._names = frozenset(names)

    @property
    def spaces(self) -> frozenset[int]:
        """The ids of the globals of these modules."""
        return frozenset(id(ModuleType.__getattribute__(module, "__dict__")) for module in self.modules.values())

    def in_flight(self) -> list[FunctionType]:
        """Return the functions that are running, and may come to what changes."""
        functions = list(self._functions())
        held = Counter(id(code_of(function)) for function in functions)
        # Nested code is held by the code that it stands in, too.
        held.update({id(code) for code in map(code_of, functions) if is_nested(code)})
        codes = list({id(code): code for code in map(code_of, functions)}.values())
        usual = FunctionType(Shared.__init__.__code__.replace(), {})
        codes.append(usual.__code__)  # held by a function and this list, as the others are
        *counts, alone = map(sys.getrefcount, codes)
        running = {id(code) for code, count in zip(codes, counts, strict=False) if count > alone - 1 + held[id(code)]}
        found = [function for function in functions if id(code_of(function)) in running]
        return [function for function in found if not self._names.isdisjoint(named(code_of(function)))]

    def begun(self) -> list[Stray]:
        """Return the code of calls that have begun before an earlier swap, were led on since, and may come there."""
        return [stray for stray in strays(self._functions()) if not self._names.isdisjoint(named(stray.code))]

    def _functions(self) -> Iterator[FunctionType]:
        for name, module in self.modules.items():
            known = _known.get(module)
            if known is None:
                known = _known[module] = [*map(weakref.ref, functions_in({name: module}))]
            yield from (function for reference in known if (function := reference()) is not None)


def named(code: CodeType) -> Iterator[str]:
    """Return the names of globals and attributes that code uses, that of nested code included."""
    for one in walk.codes_in(code):
        yield from one.co_names
        # What `getattr` is given is a constant.
        yield from (value for value in one.co_consts if type(value) is str and value.isidentifier())
