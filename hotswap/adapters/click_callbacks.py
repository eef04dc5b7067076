"""Click: the chain of functions that a group calls with the results of its commands.

Click keeps it as one function: the last that was registered, around the one before it. A module body of the candidate
must not be shown its own functions of the old version, for it would put the new ones around them. So the chain is taken
apart into its links, and put together again from those that stay.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from types import FunctionType, SimpleNamespace
from typing import Any

from click import Group

from hotswap.adapters.ordering import matched, ordered
from hotswap.adapters.parts import definition, name_of
from hotswap.swap import Facts

__all__ = ["CHAIN", "before_those_of", "brought_up_to_date"]

CHAIN = "_result_callback"
"""The attribute of a group that holds the chain."""


def before_those_of(modules: Container[str], chain: Any) -> Any:
    """Return the part of a chain that was there before any of these modules registered something, or None."""
    found = None
    for function, part in _links(chain):
        if name_of(function).partition(":")[0] in modules:
            break
        found = part
    return found


def brought_up_to_date(
    facts: Facts, chain: Any, shown: Any, registered: Any, own: Any, is_gone: Callable[[Any], bool]
) -> Any:
    """Return the chain of a group after the swap.

    Arguments:
        facts: knows what became of functions.
        chain: the living one.
        shown: the part of it that module bodies of the candidate were shown.
        registered: what they made of that.
        own: the chain of the twin of the group, or None.
        is_gone: tells whether a function goes if it is not registered again.
    """
    living = [function for function, _ in _links(chain)]
    there = {id(part) for _, part in _links(chain)}
    new = [function for made in (own, registered) for function, part in _links(made) if id(part) not in there]
    base = [function for function, part in _links(shown)]
    replaced = len(base) if base and id(shown) not in {id(part) for _, part in _links(registered)} else 0
    pairs = matched(living, new, name_of)
    taken = set(pairs.values())
    gone = {at for at, function in enumerate(living) if at not in taken and (at < replaced or is_gone(function))}
    wanted = ordered(living, new, pairs, gone)
    for made in (chain, registered, own):
        links = [function for function, _ in _links(made)]
        if len(links) == len(wanted) and all(one is other for one, other in zip(links, wanted, strict=True)):
            return made
    put: Any = SimpleNamespace(**{CHAIN: None})
    for function in wanted:
        Group.result_callback(put)(facts.translate(function))
    return getattr(put, CHAIN)


def _around(function: Any, before: Any) -> Any:
    put: Any = SimpleNamespace(**{CHAIN: before})
    return Group.result_callback(put)(function)


_AROUND = _around(definition, definition).__code__
"""The code of the functions that Click puts around those that were registered before."""


def _links(chain: Any) -> list[tuple[Any, Any]]:
    """The functions of a chain, the first that is called first, each with the part of the chain that ends with it."""
    found: list[tuple[Any, Any]] = []
    while chain is not None:
        if type(chain) is FunctionType and chain.__code__ == _AROUND:  # a rollback gives back an equal one
            cells = dict(zip(_AROUND.co_freevars, chain.__closure__ or (), strict=True))
            found.append((cells["f"].cell_contents, chain))
            chain = cells["old_callback"].cell_contents
        else:
            found.append((chain, chain))
            chain = None
    return found[::-1]
