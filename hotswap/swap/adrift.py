"""Adrift: code that calls in flight run, and that no function has any more, though it is a body of what is live.

A swap gives functions other code, and a rollback gives them a copy of what they had: calls that began before both run
what was there first. A handover leads calls that run the code of a version before: they call the new from then on. The
next swap looks for calls by the code of what goes, and would not know either of them. So it is noted here whose body
such code is.

Guarantees: code is the body of one function at a time, of that whose helpers its calls meet. Nothing is kept alive but
the globals in which the code runs, as long as a call runs it. Assumes: who notes something holds the lock under which
swaps of these packages are made.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FunctionType
from typing import Any, NamedTuple

from hotswap.swap.forwarding import KIND_FLAGS, code_of
from hotswap.swap.kin import kin, refer
from hotswap.swap.lineage import Reference

__all__ = ["Stray", "body_of", "known", "may_be_suspended", "note", "strays"]


class Stray(NamedTuple):
    """Code that calls in flight run.

    Attributes:
        code: the code.
        body: whose body it is: a function, or nested code that is the same.
        facts: the globals in which it runs.
    """

    code: CodeType
    body: Any
    facts: dict[str, Any]


class _Known(NamedTuple):
    code: weakref.ref[CodeType]
    body: Callable[[], Any]
    facts: dict[str, Any]


_known: dict[int, _Known] = {}
"""The id of code -> what is known of it, as long as it is there."""


def note(stray: Stray) -> None:
    """Note whose body some code is from now on, or will be when a swap is made."""
    code, body, facts = stray
    key = id(code)
    # `Reference` for functions: a lineage asks whether somebody else refers to them weakly.
    kind: Callable[[Any], Callable[[], Any]] = Reference if type(body) is FunctionType else refer
    _known[key] = _Known(weakref.ref(code, lambda _: _known.pop(key, None)), kind(body), facts)


def strays(bodies: Iterable[Any]) -> Iterator[Stray]:
    """Return the code that calls in flight run, and that is the body of some functions or of some nested code.

    What the functions have now is not among it.
    """
    wanted = {id(body): body for body in bodies}
    for one in list(_known.values()):
        code, body = one.code(), one.body()
        if type(body) is CodeType:  # what comes back has other copies of it
            body = next((same for same in (body, *kin(body)) if wanted.get(id(same)) is same), None)
        if code is None or body is None or wanted.get(id(body)) is not body:
            continue
        if type(body) is not FunctionType or code_of(body) is not code:
            yield Stray(code, body, one.facts)


def may_be_suspended() -> set[Any]:
    """Return the names of the modules of which a generator or a coroutine may run such code."""
    every = [(one.code(), one.body(), one.facts) for one in list(_known.values())]
    return {
        facts.get("__name__")
        for code, body, facts in every
        if code is not None
        and code.co_flags & KIND_FLAGS
        and (type(body) is not FunctionType or code_of(body) is not code)
    }


def body_of(code: CodeType) -> CodeType:
    """Return the nested code whose body some code is: that itself, unless something else is known of it."""
    stray = known(code)
    return code if stray is None or type(stray.body) is not CodeType else stray.body


def known(code: CodeType) -> Stray | None:
    """Return whose body some code is, and where it runs; None if it is nobody's."""
    found = _known.get(id(code))
    body = None if found is None else found.body()
    return None if found is None or body is None else Stray(code, body, found.facts)
