"""Signatures: what a function says that it takes while it is a fork.

A fork takes whatever it is called with, since old code passes the arguments of the old and new code those of the new.
CPython reads what a function takes from the same code that it runs, so the code of a fork can't say what anybody else
has to pass. But frameworks ask at any time, and keep the answer. So such a function has a ``__signature__`` as long as
it is a fork: `inspect.signature` and all that is made of it look there first.

Guarantees: it is put in place, with the fork, by a write of the same commit, and says at each moment what the function
looks like to whoever has nothing old in flight. It is gone when the fork is gone, and never takes the place of one that
the function has of its own, or that somebody sets meanwhile. Who copies it (`functools.wraps`) keeps no old answer: it
says later what the function takes then.

Assumes: who looks at a function asks `inspect`, and not its code. A function with a ``__wrapped__`` gets none: what it
says is what that says. What is written as a string in an annotation stays one, also for who wants it evaluated.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

from hotswap.swap.forwarding import identity_of, template_of, ways_of
from hotswap.swap.junctions import Junction
from hotswap.swap.lineage import Reference
from hotswap.swap.order import Op
from hotswap.swap.templates import Parameters
from hotswap.swap.ways import Ways

__all__ = ["Shown", "own_attributes", "show", "take_down"]

_KEY = "__signature__"
_DICT: Any = vars(FunctionType)["__dict__"]


class Shown(inspect.Signature):
    """What a function takes, made out each time it is asked for. A copy of it is a plain signature.

    Keeps neither the function nor its code.
    """

    __slots__ = ("_facts", "_function", "_taken")

    _function: Reference
    _taken: Parameters
    _facts: tuple[Any, Any, tuple[Any, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Return a plain one: that is what `replace`, and who binds a method, make of it."""
        return inspect.Signature(*args, **kwargs)

    @staticmethod
    def of(function: FunctionType, code: CodeType, outside: Mapping[str, Any]) -> Shown:
        """Return what a function takes that looks like some code, and has these defaults and annotations."""
        made: Shown = object.__new__(Shown)
        made._function, made._taken = Reference(function), Parameters.of(code)
        made._facts = outside["__defaults__"], outside["__kwdefaults__"], outside["__annotations__"]
        return made

    def __getattr__(self, name: str) -> Any:
        # The base class looks for these two and finds nothing: they are never set.
        if name not in ("_parameters", "_return_annotation"):
            raise AttributeError(name)
        return getattr(self._now(), name)

    def _now(self) -> inspect.Signature:
        function = self._function()
        if function is not None and _DICT.__get__(function).get(_KEY) is not self:
            return inspect.signature(function)  # it is no fork any more: somebody has made a copy of its attributes
        defaults, keyword_only, (descriptor, annotations) = self._facts
        made = FunctionType(template_of(self._taken), {}, "shown", defaults)
        made.__kwdefaults__ = keyword_only
        descriptor.__set__(made, annotations)
        return inspect.signature(made, **_AS_FAR_AS_KNOWN)

    def __reduce__(self) -> Any:
        return self.replace().__reduce__()

    def __repr__(self) -> str:
        return repr(self.replace())


_AS_FAR_AS_KNOWN: dict[str, Any] = {}
if hasattr(inspect.Signature, "format") and "annotation_format" in inspect.signature(inspect.signature).parameters:
    import annotationlib  # type: ignore[import-not-found,unused-ignore]  # since CPython 3.14

    # A name that is not there yet must not make the whole signature fail.
    _AS_FAR_AS_KNOWN["annotation_format"] = annotationlib.Format.FORWARDREF


class _Showing:
    """A signature where it stands, and the forks for which it does."""

    __slots__ = ("functions", "signature", "space")

    def __init__(self, space: dict[str, Any], signature: Shown) -> None:
        self.space, self.signature = space, signature
        self.functions: dict[int, Reference] = {}

    def is_needed(self) -> bool:
        """Whether a fork still has these attributes."""
        forks = (f for reference in self.functions.values() if (f := reference()) is not None)
        return any(_DICT.__get__(f) is self.space and ways_of(f.__code__) is not None for f in forks)

    def end(self) -> None:
        found = self.space.pop(_KEY, None)
        if found is not None and type(found) is not Shown:
            self.space.setdefault(_KEY, found)  # somebody has set his own


def show(
    function: FunctionType, ways: Ways, code: CodeType | None, outside: Mapping[str, Any] | None = None
) -> Iterator[Op]:
    """Yield the write by which a fork says what it takes; each generation of the ways knows it then.

    Arguments:
        function: that becomes a fork, and takes anything.
        ways: what it is for whom.
        code: that it looks like; None if it is to look like no function.
        outside: what it looks like once the write is made; by default what it does now.
    """
    if code is None:
        return
    facts = identity_of(function) if outside is None else outside
    space: dict[str, Any] = facts["__dict__"]
    if "__wrapped__" in space or (_KEY in space and type(space[_KEY]) is not Shown):
        return
    generations: list[Junction] = [junction for junction, _ in ways.old]
    known = next((found for one in generations if (found := one.signatures.get(id(space))) is not None), None)
    showing = known or _Showing(space, Shown.of(function, code, facts))
    showing.functions[id(function)] = Reference(function)
    for generation in generations:
        generation.signatures[id(space)] = showing
    yield (dict.setdefault, space, _KEY, showing.signature)


def take_down(junction: Junction) -> None:
    """Take away what functions say that are forks no more. Nobody may make a swap meanwhile."""
    for key, showing in list(junction.signatures.items()):
        if not showing.is_needed():
            showing.end()
            del junction.signatures[key]


def own_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a function, without what it says as a fork."""
    return {name: value for name, value in list(attributes.items()) if type(value) is not Shown}
