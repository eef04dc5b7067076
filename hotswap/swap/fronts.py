"""Fronts: what stands under a name of an old module for a cache or a partial object, while somebody may run there.

A function leads on by its code, a cache and a partial object don't: what takes the place of one in the next generation
is not told from the object. So each swap leads the fronts on that stand for what goes, in whatever old module they are:
a loop that was handed over runs in the globals of the generation that it began with, for as long as it likes.

A function that stands there is one with a forwarder in its own globals. The collector does not look into code: if that
held the clone, which has the same globals, there would be a circle that is never collected, with all that it leads to.
So the clone is in a cell of it.

Guarantees: a front keeps what is of generations that have something in flight, and of what is live; nothing else.
Assumes: whoever asks for writes holds the lock under which swaps of these packages are made.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Container, Mapping
from types import CellType, FunctionType
from typing import Any

from hotswap import walk
from hotswap.swap.callers import caller, looked_through
from hotswap.swap.calling import called_by_nobody
from hotswap.swap.doubles import copy_outside
from hotswap.swap.forwarding import forwarder
from hotswap.swap.junctions import Junction
from hotswap.swap.order import Op
from hotswap.swap.parts import LRU_CACHE
from hotswap.swap.ways import PrivateWays, Ways

__all__ = ["Front", "fork_fronts", "function_front", "give", "lead_fronts"]

_frame = sys._getframe
_OLD, _NEW, _AIM = (vars(Ways)[name].__set__ for name in ("old", "new", "aim"))
_HELD: Any = vars(PrivateWays)["held"].__set__
_SET_CELL = CellType.__dict__["cell_contents"].__set__
_OWN = "hotswap: what old code gets"
"""The variable of a function that stands in for another, which keeps that."""

_fronts: dict[int, weakref.ref[Front]] = {}


class Front(walk.Fork):
    """Stands under a name of an old module for what is no function, but is called like one.

    Arguments:
        ways: what it is for whom.
    """

    __slots__ = ("__weakref__", "ways")

    def __init__(self, ways: PrivateWays) -> None:
        self.ways: PrivateWays = ways
        key = id(self)
        _fronts[key] = weakref.ref(self, lambda _: _fronts.pop(key, None))

    def __getattr__(self, name: str) -> Any:
        if name in ("__weakref__", "ways"):
            raise AttributeError(name)  # a copy that is being made has nothing yet
        return getattr(self.ways.of(caller(_frame(1))), name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call what it is for the caller."""
        found = self.ways.of(caller(_frame(1)))
        if type(found) is LRU_CACHE:
            # One that both versions have would compute by the version of old code, and remember that for everybody.
            return called_by_nobody(found, args, kwargs)
        return found(*args, **kwargs)


looked_through.add(id(globals()))


def function_front(clone: FunctionType, ways: PrivateWays) -> FunctionType:
    """Return what stands under a name of an old module for a function.

    Arguments:
        clone: the function, as its generation has it.
        ways: what it is for whom.
    """
    code = clone.__code__.replace(co_freevars=(_OWN,))  # of the same kind; it is never run
    front = FunctionType(code, clone.__globals__, clone.__name__, clone.__defaults__, (CellType(clone),))
    copy_outside(clone, front)
    front.__code__ = forwarder(front, ways, clone.__code__, anything=True)
    return front


def give(front: Any, ways: PrivateWays, value: Any) -> list[Op]:
    """Return the writes that have code of its own generation get something else by a front.

    Arguments:
        front: the front.
        ways: its ways.
        value: what that code gets.
    """
    cells = front.__closure__ or () if type(front) is FunctionType else ()
    return [*((_SET_CELL, cell, value) for cell in cells), (_HELD, ways, ways.hold(value))]


def lead_fronts(going: Container[int], successor: Callable[[Any], Any]) -> tuple[list[Op], list[Op]]:
    """Return the writes that lead fronts on from what goes, and those that take that back.

    Arguments:
        going: the ids of what goes.
        successor: gives what takes the place of something: itself, if it stays.
    """
    there: list[Op] = []
    back: list[Op] = []
    for front in _standing():
        ways = front.ways
        was, aim = ways.new, successor(ways.new)
        if aim is not was or id(was) in going:
            there += [(_NEW, ways, aim), (_AIM, ways, aim)]
            back += [(_OLD, ways, ways.old), (_NEW, ways, was), (_AIM, ways, ways.aim)]
    return there, back


def fork_fronts(junction: Junction, clones: Mapping[int, Any]) -> list[Op]:
    """Return the writes that have fronts give a generation that goes what is of it, by whoever asks.

    Arguments:
        junction: that generation.
        clones: the ids of what goes, each with what stands for it.
    """
    ops: list[Op] = []
    for front in _standing():
        ways = front.ways
        if id(ways.new) in clones:
            junction.front(front)
            before = [(other, value) for other, value in ways.lasting if other is not junction]
            ops.append((_OLD, ways, [(junction, clones[id(ways.new)]), *before]))
    return ops


def _standing() -> list[Front]:
    """Those that somebody holds: old code by the names of its module, or by a local."""
    return [front for known in list(_fronts.values()) if (front := known()) is not None]
