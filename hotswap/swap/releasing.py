"""Releasing: forks are taken away once they serve nobody."""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import starmap
from types import CodeType, FunctionType

from hotswap import walk
from hotswap.swap.forked_attributes import Attribute
from hotswap.swap.forwarding import (
    closure_facade,
    code_of,
    forwarder,
    holds_weakly,
    identity_of,
    identity_ops,
    ways_of,
)
from hotswap.swap.junctions import Junction
from hotswap.swap.lineage import Reference
from hotswap.swap.registrations import forget_answers
from hotswap.swap.signatures import take_down
from hotswap.swap.ways import ClosureWays, PrivateWays, Ways
from hotswap.swap.writes import Op

__all__ = ["release", "settle"]

_SET, _DELETE = type.__setattr__, type.__delattr__
_CODE = vars(FunctionType)["__code__"]
_BY_NAME = vars(FunctionType)["__kwdefaults__"]


def settle(junction: Junction) -> None:
    """Take a generation out of the forks, and those away that serve no other one."""
    junction.over, junction.nested = True, None
    Junction.in_flight.discard(junction)
    attributes, functions = list(junction.attributes.values()), list(junction.functions.values())
    for known in list(junction.fronts.values()):
        front = known()
        if front is not None:
            front.ways.leave(junction)
    junction.attributes.clear()
    junction.functions.clear()
    junction.fronts.clear()
    release(junction, attributes, functions)
    if junction.depth is not None:
        junction.depth.end()
        junction.depth = None


def release(junction: Junction, attributes: Iterable[tuple[type, str]], functions: Iterable[Reference]) -> None:
    """Take a generation out of some forks, and those away that serve no other one.

    Nobody may make a swap meanwhile.
    """
    attributes = list(attributes)
    standing = [
        (cls, fork) for cls, name in attributes if isinstance(fork := walk.class_space(cls).get(name), Attribute)
    ]
    deque(starmap(operator.call, list(_released(junction, attributes, functions))), maxlen=0)
    take_down(junction)
    gone = [(cls, fork.ways.aim) for cls, fork in standing if not fork.ways.old]
    if gone:
        # As long as a fork stood there, the class had something, and who was told no was told so by his version.
        forget_answers(cls for cls, aim in gone if aim is walk.MISSING or aim is None)
    for cls, _ in attributes:
        if not any(issubclass(type(value), walk.Fork) for value in list(walk.class_space(cls).values())):
            walk.forked.pop(id(cls), None)


def _released(
    junction: Junction, attributes: Iterable[tuple[type, str]], functions: Iterable[Reference]
) -> Iterator[Op]:
    for cls, name in attributes:
        standing = walk.class_space(cls).get(name)
        if not isinstance(standing, Attribute):
            continue
        ways = standing.ways
        ways.leave(junction)
        if not ways.old:
            yield (_SET, cls, name, None if ways.aim is walk.MISSING else ways.aim)
            if ways.aim is walk.MISSING:
                yield (_DELETE, cls, name)
    for reference in functions:
        function: FunctionType | None = reference()
        if function is None or (leads := ways_of(function.__code__)) is None:
            continue
        leads.leave(junction)
        if leads.old or type(leads) is PrivateWays:  # that lasts as long as the code of its generation
            continue
        if type(leads) is ClosureWays:
            yield (_CODE.__set__, function, leads.plain)
            continue
        own = leads.own
        if leads.aim is None and own is not None and holds_weakly(own.__code__):
            # It runs nested code, and was led on meanwhile, as the closure that it is: what it leads to is held by it.
            now = identity_of(function)
            yield from identity_ops(function, closure_facade(function, own, {**now, "__code__": own.__code__}), now)
        else:
            yield (_CODE.__set__, function, _plain(function, leads))
            if own is not None:
                # Who was about to call it comes back to the function, which may take something else by then: an
                # attribute that is a fork still gives it, and to whom does not depend on what it takes.
                yield (_CODE.__set__, own, forwarder(own, function, own.__code__, anything=True))


def _plain(function: FunctionType, ways: Ways) -> CodeType:
    """The code of a function that has led some callers elsewhere, and does so no more."""
    if ways.aim is None:
        return code_of(function)
    return forwarder(function, ways.aim, code_of(ways.aim) if type(ways.aim) is FunctionType else None)


def _through(function: FunctionType, own: FunctionType) -> Iterator[Op]:
    """Have a closure call what has run its code while it was a fork: that was led on meanwhile, as closures are."""
    outside = closure_facade(function, own, identity_of(own))
    yield (_BY_NAME.__set__, function, outside["__kwdefaults__"])
    yield (_CODE.__set__, function, outside["__code__"])
