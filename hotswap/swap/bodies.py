"""Bodies: what a function is while it is live, and whether two functions are the same but for their place.

"Unchanged" means that the code objects are equal but for lines and file names: such a body *is* the new body.
"""

from __future__ import annotations

import inspect
from collections.abc import Container, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.swap.forwarding import code_of, identity_of
from hotswap.swap.kin import copied, is_nested, nested_copy
from hotswap.swap.nested import NestedCode
from hotswap.swap.pairs import FunctionPair, Pairing

__all__ = ["Bodies", "equal_code", "same_code", "unchanged"]

_FACTS = (
    "co_code",
    "co_exceptiontable",  # alone it tells what stands in `try`, and what in its `else`
    "co_names",
    "co_varnames",
    "co_freevars",
    "co_cellvars",
    "co_flags",
    "co_argcount",
    "co_posonlyargcount",
    "co_kwonlyargcount",
    "co_name",
)


class Bodies:
    """What makes the outside of each function of a swap while it is live, with a copy of its code.

    So has a closure, one for all of its place: calls that run the code which it had may have been handed over, and are
    not those of the version that comes back. By the place of its code a later settling finds it all the same.

    Arguments:
        pairing: which function leads to which.
        new: the modules of the candidate.
        owned: ids of the objects that the candidate created.
    """

    def __init__(self, pairing: Pairing, new: Mapping[str, ModuleType], owned: Container[int]) -> None:
        self.codes: dict[int, CodeType] = {}
        """Id of a function -> the copy of its code that its private clones run."""
        self.held: set[int] = set()
        """The ids of the code that is noted here, and of copies of it."""
        self._facts: dict[int, dict[str, Any]] = {}
        self._globals = {id(module.__dict__) for module in new.values()}
        self._owned = owned
        self._new: set[int] = set()
        self._nested: dict[int, tuple[CodeType, CodeType]] = {}
        for pair in pairing.functions:
            self.add(pair)
        for _, successor in pairing.places.values():
            # It may take the place of what was no function, of a partial object: earlier functions that led there are
            # to look like it.
            if type(successor) is FunctionType and id(successor) not in self._facts:
                self._facts[id(successor)] = identity_of(successor, _own_code(successor))

    def add(self, pair: FunctionPair) -> None:
        """Note one more pair of the swap."""
        self._note(pair.old)
        if pair.made is not None and self._is_made_by_candidate(pair.made):
            self._new.add(id(pair.made))
            self._note(pair.made)
        elif type(pair.new) is FunctionType:
            self._facts.setdefault(id(pair.new), identity_of(pair.new, code_of(pair.new)))

    def hold(self, code: CodeType) -> None:
        """Note code that is held for as long as the swap may be made."""
        if not is_nested(code):
            self.held.add(id(code))

    def renew(self) -> None:
        """Have private clones run other copies: calls of theirs can be told from those of earlier ones."""
        self.codes = {key: copied(code) for key, code in self.codes.items()}

    def _note(self, function: FunctionType) -> None:
        if id(function) not in self.codes:
            code = self.codes[id(function)] = copied(code_of(function))
            if is_nested(code):
                own = code_of(function)
                code = self._nested.setdefault(id(own), (own, nested_copy(own)))[1]
            self._facts[id(function)] = identity_of(function, code)
            self.hold(code)

    def _is_made_by_candidate(self, function: FunctionType) -> bool:
        if id(function.__globals__) in self._globals:
            return True
        # A decorator's wrapper. Its own module does not know it by its name; nor does it know a function of its own
        # that it has given another name, so the candidate has to have created it.
        return id(function) in self._owned and function.__globals__.get(function.__name__) is not function

    def of(self, function: FunctionType) -> dict[str, Any]:
        """Return the outside of a function that is paired as an old one."""
        return self._facts[id(function)]

    def known(self, value: Any) -> dict[str, Any] | None:
        """Return the outside of a value, if it is a function of this swap."""
        return self._facts.get(id(value))

    def is_new(self, value: Any) -> bool:
        """Whether a function was made by the candidate, so that a rollback may forward it."""
        return id(value) in self._new


def _own_code(function: FunctionType) -> CodeType:
    code = code_of(function)
    return code if is_nested(code) else copied(code)


def same_code(old: Any, new: Any) -> bool:
    """Whether two functions run the same instructions; positions and file names do not count."""
    old, new = walk.function_behind(old), walk.function_behind(new)
    if type(old) is not FunctionType or type(new) is not FunctionType:
        return old is new
    return equal_code(code_of(old), code_of(new)) and _simple(old.__defaults__) == _simple(new.__defaults__)


def _simple(defaults: tuple[Any, ...] | None) -> tuple[Any, ...]:
    """Defaults that can be compared without running code of theirs; of others only the type counts."""
    return tuple(
        v if type(v) in (int, float, str, bytes, bool, type(None)) else type(v).__name__ for v in defaults or ()
    )


def equal_code(old: CodeType, new: CodeType) -> bool:
    """Whether two code objects are the same but for positions and file names."""
    if len(old.co_consts) != len(new.co_consts):
        return False
    if any(getattr(old, fact) != getattr(new, fact) for fact in _FACTS):
        return False
    for a, b in zip(old.co_consts, new.co_consts, strict=True):
        if type(a) is not type(b) or (equal_code(a, b) is False if inspect.iscode(a) else a != b):
            return False
    return True


def unchanged(code: CodeType, nested: NestedCode, others: NestedCode) -> CodeType | None:
    """Return what stands in the place of nested code in another version, if it is the same.

    A lambda, a comprehension or a generator expression is part of the body around it.
    """
    place = nested.place(code)
    found = None if place is None else others.counterpart(place)
    before: CodeType | None = code
    after = other = None if found is None else found[0]
    while before is not None and after is not None and equal_code(before, after):
        if not before.co_name.startswith("<"):
            return other
        before, after = nested.enclosing(before), others.enclosing(after)
    return None
