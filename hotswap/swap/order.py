"""The order of the writes in the one call of a commit.

With the GIL nobody sees a swap half made, whatever the order. On a free-threaded build everybody does, so there it is
the order that keeps what can be kept, of a rollout that was armed:

1. what is carried into the namespaces of the candidate, which nobody reads but previews;
2. the number of the junction: with this one store everybody outside is on the new, by all forks. Then the number of
   the present period: a session that begins between the two is on the old from beginning to end. The other way round
   it would begin on the old and go on with the new;
3. what old code imports, from now on from a world of its own;
4. the forks that serve who is on the old from now on: in the functions that led to the candidate already, and in the
   candidate's own, before any name leads to these. A fork that takes the arguments of the new gets its defaults first;
5. everything else. What has a fork by now, or gets another value below, is passed over: nobody meets a plain value;
6. the names in the modules that go, once their objects lead to the new modules: they are for old code alone.

Names and data that are read from outside belong to the fifth part: there a free-threaded build shows the old for some
microseconds more.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import FunctionType
from typing import Any, NamedTuple

from hotswap.generation import worlds

__all__ = ["Beside", "Op", "in_order"]

Op = tuple[Any, ...]

_CODE = FunctionType.__dict__["__code__"].__set__
_DEFAULTS = tuple(FunctionType.__dict__[name].__set__ for name in ("__defaults__", "__kwdefaults__"))
_ATTRIBUTES = (type.__setattr__, type.__delattr__)
_ITEMS = (dict.__setitem__, dict.pop)


class Beside(NamedTuple):
    """What a swap writes beside if calls or sessions of the generation that goes are in flight.

    Attributes:
        forks: in functions and classes.
        names: in the modules that go.
    """

    forks: Sequence[Op] = ()
    names: Sequence[Op] = ()


def in_order(carried: Iterable[Op], turn: Iterable[Op], writes: Iterable[Op], beside: Beside) -> list[Op]:
    """Return the writes of a commit in the order in which they are made.

    Arguments:
        carried: what is carried into the generation that comes.
        turn: what ends the period.
        writes: those of the swap.
        beside: what is written beside.
    """
    taken = {_slot(op) for op in (*beside.forks, *beside.names)} - {None}
    begun: list[Op] = []
    rest: list[Op] = []
    for op in writes:
        if op[0] is dict.__setitem__ and op[1] is worlds:
            begun.append(op)
        elif not taken or _slot(op) not in taken:
            early = op[0] in _DEFAULTS and (id(op[1]), "__code__") in taken
            (begun if early else rest).append(op)
    return [*carried, *turn, *begun, *beside.forks, *rest, *beside.names]


def _slot(op: Op) -> tuple[int, str] | None:
    """What a write sets, if it is the code of a function, an attribute of a class or a name: the last one counts."""
    if op[0] == _CODE:
        return id(op[1]), "__code__"
    if op[0] in _ATTRIBUTES or (op[0] in _ITEMS and type(op[2]) is str):
        return id(op[1]), op[2]
    return None
