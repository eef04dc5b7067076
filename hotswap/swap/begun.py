"""Begun: calls that old calls have begun, and that outlive them: threads, tasks, generators.

They run the code of private clones, which hold it, so its death tells nothing. So when the calls have ended that were
in flight at the swap, the clones get other copies of their code. What they ran until then dies with the last call that
runs it, as that of the functions did; and so on, until no call has been begun in between.

Guarantees: nothing is waited for that nobody runs. Assumes: nobody makes a swap meanwhile. A thread that has been told
to call a clone, and has not begun to, is not seen. A clone that somebody else has got hold of, and calls all the time,
is waited for as long.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Iterable
from types import CodeType, FunctionType
from typing import Any

from hotswap import walk
from hotswap.swap.adrift import Stray, note
from hotswap.swap.calls import frame_of, suspended
from hotswap.swap.forwarding import KIND_FLAGS
from hotswap.swap.handing import hand_over
from hotswap.swap.junctions import Junction
from hotswap.swap.kin import copied
from hotswap.swap.nested import NestedCode

__all__ = ["another", "begun", "outlasting"]

Clones = Iterable[tuple[FunctionType, FunctionType]]


def begun(functions: Clones) -> list[CodeType]:
    """Return the code that clones run.

    Arguments:
        functions: the functions that were cloned, each with its clone.
    """
    return [clone.__code__ for _, clone in list(functions) if not walk.is_forwarder(clone.__code__)]


def outlasting(junction: Junction, functions: Clones, nested: NestedCode, *, nested_too: bool) -> list[Any]:
    """Return what dies with the calls that old calls have begun and that go on.

    Where unchanged code has been handed over, and no changed code runs that could have called it, it is handed over.

    Arguments:
        junction: the generation.
        functions: the functions that were cloned, each with its clone.
        nested: the nested code of the generation.
        nested_too: whether to look for generators and coroutines of nested code; it passes over the heap. Who holds a
            closure may begin such a call at any time, so it would never end to look for them again and again.
    """
    going = _renewed(junction, functions)
    if nested_too:
        ours = (code for code in nested.codes() if id(code) not in junction.foreign)
        going += suspended(code for code in ours if code.co_flags & KIND_FLAGS)
    if junction.handed_over:
        if all(id(_code_of(one)) in junction.same for one in going):
            junction.copies = frozenset()
            hand_over(junction, nested, map(_code_of, going), sys.modules)
        going = [one for one in going if id(_code_of(one)) not in junction.same]
    return going


def _renewed(junction: Junction, functions: Clones) -> list[Any]:
    """Give clones another copy of their code; return what they had and calls run."""
    left: list[weakref.ref[CodeType]] = []
    copies: list[tuple[CodeType, CodeType]] = []
    for original, clone in list(functions):
        code = clone.__code__
        if not walk.is_forwarder(code):
            clone.__code__ = another(junction, original, clone, copies)
            left.append(weakref.ref(code))
        del code
    junction.copied(copies)
    copies.clear()
    return [held for reference in left if (held := reference()) is not None]


def another(
    junction: Junction | None, original: FunctionType, clone: FunctionType, copies: list[tuple[CodeType, CodeType]]
) -> CodeType:
    """Return another copy of the code of a clone, so that the death of what it runs tells of its calls.

    Until the junction is told of it, calls that run it count as such that stay old.

    Arguments:
        junction: its generation; None if nothing was in flight of it.
        original: the function of which it is a clone.
        clone: the clone.
        copies: gets the code and the copy, of which the junction is to be told: once for all.
    """
    code = clone.__code__
    copy = copied(code)
    copies.append((code, copy))
    if junction is not None and id(code) in junction.strays:
        for one in walk.codes_in(copy):
            junction.stray(one, clone.__globals__)
    note(Stray(code, original, original.__globals__))
    return copy


def _code_of(one: Any) -> CodeType:
    """The code that is waited for, or that a generator or a coroutine runs that is."""
    if type(one) is CodeType:
        return one
    frame = frame_of(one)
    return _ENDED if frame is None else frame.f_code


_ENDED = _code_of.__code__
