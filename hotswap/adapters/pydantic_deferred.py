"""Models, adapters and functions of pydantic that are compiled when they are first used, in modules that do not change.

With `defer_build`, or while a name in an annotation is not defined yet, pydantic puts a stand-in where the schema will
be. One that is used after a swap is compiled from what is live then, and nobody has looked at it when the swap was
prepared. So when the versions change again, those that have got a class that changes get their stand-ins back, and are
compiled anew by who uses them next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import FunctionType
from typing import Any

import pydantic
from pydantic._internal._mock_val_ser import MockCoreSchema
from pydantic._internal._validate_call import ValidateCallWrapper

from hotswap import walk
from hotswap.adapters.fields import items_of
from hotswap.adapters.pydantic_completion import is_complete, known_names, with_names
from hotswap.generation import Live, managed
from hotswap.swap import Writes

__all__ = ["Deferred"]

_SCHEMA, _COMPLETE, _SIGNATURE = "__pydantic_core_schema__", "__pydantic_complete__", "__signature__"
_PARENT = "__pydantic_parent_namespace__"
_SET, _DELETE = type.__setattr__, type.__delattr__
_WRAPPER_COMPLETE: Any = walk.class_dict(ValidateCallWrapper).get(_COMPLETE)
_MEMO: Any = walk.class_dict(MockCoreSchema).get("_built_memo")
_MISSING: Any = object()

_Op = tuple[Any, ...]


class Deferred:
    """What is not compiled yet. Lives from the staging of a patch for as long as its swap can be taken back.

    Arguments:
        live: the managed modules as they run.
    """

    def __init__(self, live: Live) -> None:
        self._classes: list[tuple[type, dict[str, Any], dict[str, Any]]] = []
        self._live = live
        self._adapters: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._wrappers: list[ValidateCallWrapper] = []
        known: set[int] = set()
        models = (cls for cls in walk.descendants(pydantic.BaseModel) if managed(walk.class_home(cls), live.packages))
        for cls in models:
            self._note(cls, known)
        for entry in live:
            for _, value in items_of(entry):
                if walk.is_class_of(value, entry.name):
                    self._note(value, known)
                elif type(value) is pydantic.TypeAdapter:
                    body = walk.instance_dict(value)
                    if body is not None and not body.get("pydantic_complete"):
                        self._adapters.append((body, dict(body)))
                elif type(value) is FunctionType and "raw_function" in value.__dict__:
                    self._wrappers += [one for one in _wrappers(value) if not _WRAPPER_COMPLETE.__get__(one)]

    def _note(self, cls: type, known: set[int]) -> None:
        if id(cls) not in known and walk.class_dict(cls).get(_COMPLETE) is False:
            known.add(id(cls))
            home = self._live.get(walk.class_home(cls))
            self._classes.append((cls, _of_pydantic(cls), {} if home is None else home.module.__dict__))

    def follow(self, is_stale: Callable[[Any], bool], aside: Iterable[type], writes: Writes) -> None:
        """Have those compiled anew, in both directions, that have got a class that changes.

        Arguments:
            is_stale: says of a schema whether it has.
            aside: the classes that the swap changes itself.
            writes: receives the writes.
        """
        others = {*map(id, aside)}

        def ops(forward: bool) -> Iterator[_Op]:
            for cls, before, names in self._classes:
                # What the swap changes itself has been completed meanwhile, or is as it was.
                moves = not forward and is_complete(cls) if id(cls) in others else None
                if is_stale(walk.class_dict(cls).get(_SCHEMA)) if moves is None else moves:
                    now = _of_pydantic(cls)
                    writes.hold(now)
                    yield from _put_back(cls, {**before, **_remembering(cls, before, names)}, now)
            for body, before in self._adapters:
                if is_stale(body.get("core_schema")):
                    writes.hold(dict(body))
                    yield (dict.update, body, before)
                    yield from _forgetting(before.get("core_schema"))
            for wrapper in self._wrappers:
                yield (_WRAPPER_COMPLETE.__set__, wrapper, False)

        writes.late(ops, again=True)


def _of_pydantic(cls: type) -> dict[str, Any]:
    """What pydantic has put into the body of a class."""
    return {k: v for k, v in walk.class_items(cls) if k.startswith("__pydantic_") or k == _SIGNATURE}


def _remembering(cls: type, before: Mapping[str, Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """What has a class find the names again with which somebody has completed it; its module does not know them."""
    found = {name: value for name, value in known_names(cls).items() if name not in names}
    return {_PARENT: with_names(before.get(_PARENT), found)} if found and _PARENT in before else {}


def _put_back(cls: type, before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[_Op]:
    for name, value in before.items():
        if now.get(name, _MISSING) is not value:
            yield (_SET, cls, name, value)
    for name in now.keys() - before.keys():
        # A write and a deletion, so that it works whether or not it is there.
        yield from ((_SET, cls, name, None), (_DELETE, cls, name))
    yield from _forgetting(before.get(_SCHEMA))


def _forgetting(stand_in: Any) -> Iterator[_Op]:
    """Have a stand-in forget the schema that it has made."""
    if type(stand_in) is MockCoreSchema and _MEMO is not None:
        yield (_MEMO.__set__, stand_in, None)


def _wrappers(function: FunctionType) -> Iterator[ValidateCallWrapper]:
    for cell in function.__closure__ or ():
        try:
            held = cell.cell_contents
        except ValueError:
            continue  # an empty cell
        if type(held) is ValidateCallWrapper:
            yield held
