"""Installing: the writes that make an attribute of a class, or a function, a fork."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

from hotswap import walk
from hotswap.swap.forked_attributes import attribute_of
from hotswap.swap.forwarding import forwarder, identity_ops, takes, ways_of
from hotswap.swap.order import Op
from hotswap.swap.signatures import show
from hotswap.swap.ways import PrivateWays, Ways

__all__ = ["asked", "fork_attribute", "fork_function"]

_SET = type.__setattr__
_CODE: Any = vars(FunctionType)["__code__"]


def fork_attribute(cls: type, name: str, ways: Ways) -> Op:
    """Return the write that makes an attribute of a class a fork; each generation of the ways knows it then."""
    for junction, _ in ways.old:
        junction.attributes[id(cls), name] = cls, name
    walk.forked.setdefault(id(cls), cls)
    return (_SET, cls, name, attribute_of(cls, name, ways))


def fork_function(
    function: FunctionType,
    ways: Ways,
    shown: CodeType | None,
    looks: CodeType | None = None,
    outside: Mapping[str, Any] | None = None,
    then: Mapping[str, Any] | None = None,
) -> Iterator[Op]:
    """Yield the writes that make a function a fork; each generation of the ways knows it then.

    Arguments:
        function: the function.
        ways: what it is for whom.
        shown: the code of the new one, if that is a function.
        looks: the code that it looks like; that of the new one by default.
        outside: what the new one looks like, if the function does not have its defaults.
        then: what the function looks like once the writes are made; by default what it looks like now.
    """
    for junction, _ in ways.old:
        junction.fork(function)
    # With the signature of the new one it would refuse the arguments of the old, and add defaults of the new.
    anything = shown is None or not all(takes(value, shown) for _, value in ways.old)
    anything = anything or (outside is not None and bool(outside["__defaults__"] or outside["__kwdefaults__"]))
    yield (_CODE.__set__, function, forwarder(function, ways, looks or shown, anything=anything))
    if anything:
        yield from show(function, ways, looks or shown, then)


def asked(function: FunctionType, aim: Any, outside: dict[str, Any]) -> list[Op]:
    """Return the writes for an earlier function that leads on: it still asks if calls of its generation are in flight.

    Arguments:
        function: the function.
        aim: what it leads to.
        outside: what it looks like then.
    """
    standing = ways_of(function.__code__)
    if standing is None or not (standing.lasting or type(standing) is PrivateWays):
        return identity_ops(function, outside)
    ways = standing.moved(standing.lasting, aim, aim)
    looks = outside["__code__"]
    code = forwarder(function, ways, looks, anything=True)
    return [*identity_ops(function, {**outside, "__code__": code}), *show(function, ways, looks, outside)]
