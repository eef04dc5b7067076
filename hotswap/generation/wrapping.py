"""Wrapping: ``original = lib.run``, a function that calls `original`, and ``lib.run = ours``.

When the new version of such a module is loaded, `lib.run` is the function of the running version. Taken for the
original, it would be wrapped by its own successor, to which it leads after the swap. A restart finds the original
there, and so does the running module: it has it under the same name.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

from hotswap.generation.comparison import unchanged
from hotswap.generation.young import Young
from hotswap.namespaces import held_by

if TYPE_CHECKING:
    from hotswap.generation.loading import Candidate

__all__ = ["unwrap"]


def unwrap(candidate: Candidate, replaced: list[Any], young: Young) -> Iterator[str]:
    """Give names of the candidate what the running module has, where they took what they replace for the original.

    Arguments:
        candidate: it was loaded.
        replaced: what stands in live objects where it has put something else.
        young: what was created meanwhile.

    Yields the names of the functions of the running version that the candidate goes on wrapping.
    """
    # What another module has put there is another one's, and stays what it is.
    spaces = [_space(candidate, name) for name in candidate.modules]
    changed = {id(facts) for facts in spaces if facts is not None}
    ours = {id(o): o for o in replaced if type(o) is FunctionType and id(o.__globals__) in changed}
    if not ours:
        return
    wrapped: dict[int, Any] = {}
    for name, module in candidate.modules.items():
        facts = module.__dict__
        for attribute, value in list(facts.items()):
            if id(value) in ours:
                original = _original(candidate, name, attribute)
                if original is _UNKNOWN or id(original) in ours:
                    wrapped[id(value)] = value
                else:
                    facts[attribute] = original
    for function in young.objects or ():
        if type(function) is FunctionType and id(function.__globals__) in candidate.world.ran:
            inside = held_by(filter(None, (function.__defaults__, *(function.__closure__ or ()))))
            wrapped.update((id(o), o) for o in inside if id(o) in ours)
    yield from sorted(o.__qualname__ for o in wrapped.values())


def _original(candidate: Candidate, name: str, attribute: str) -> Any:
    """What the running module has under a name whose definition is the same; `_UNKNOWN` if it differs."""
    entry, new, facts = candidate.world.live_modules.get(name), candidate.definitions.get(name), _space(candidate, name)
    if entry is None or facts is None:
        return _UNKNOWN
    # A module that is loaded again although its text is the same has no definitions of its own.
    if new is not None and not unchanged(attribute, entry.definitions, new):
        return _UNKNOWN
    return facts.get(attribute, _UNKNOWN)


def _space(candidate: Candidate, name: str) -> dict[str, Any] | None:
    """The namespace of the running module of a name; None if there is none, or what stands there is no module."""
    entry = candidate.world.live_modules.get(name)
    if entry is None or not issubclass(type(entry.module), ModuleType):
        return None
    return ModuleType.__getattribute__(entry.module, "__dict__")  # type: ignore[no-any-return]


_UNKNOWN: Any = object()
