"""Holders: how a reference is rewritten in each kind of object that can be changed in place.

A rewriting is a list of operations ``(callable, *arguments)`` of C functions, made out before anything is written. What
`rewriting` does not cover can't be rewritten: `references` names it.
"""

from __future__ import annotations

import functools
import gc
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from types import CellType, FunctionType, WrapperDescriptorType
from typing import Any

from hotswap import walk
from hotswap.errors import HotswapError
from hotswap.swap.guarded import is_guarded
from hotswap.swap.parts import LRU_CACHE
from hotswap.swap.writes import Op

__all__ = ["IN_PLACE", "HashError", "hash_is_in_c", "hashes_quietly", "is_quiet", "refilled", "rewriting"]

Translate = Callable[[Any], Any]

IN_PLACE = (dict, list, set, deque, CellType)
"""What is rewritten by C functions alone, so that it can be done in a commit too."""

_SET_CELL = CellType.__dict__["cell_contents"].__set__
_SET_ARGS = BaseException.__dict__["args"].__set__
_SET_FACTORY = defaultdict.__dict__["default_factory"].__set__
_FUNCTION = FunctionType.__dict__


def rewriting(holder: Any, translate: Translate, *, shared: bool = False) -> tuple[list[Op], set[int]]:
    """Return the operations that put living objects in the place of twins, and the ids of the twins that they cover.

    Nothing is written, but in trials: what is there already is written once more, where a write may be refused.

    Arguments:
        holder: an object that only the candidate owns.
        translate: gives the living object for a twin.
        shared: whether others see it too, so that nothing else in it may move.
    """
    kind = type(holder)
    ops: list[Op] = []
    covered: set[int] = set()

    def part(value: Any, *write: Any) -> None:
        after = translate(value)
        if after is not value:
            covered.add(id(value))
            ops.append((*write, after))

    if walk.is_class(holder):
        for name, value in walk.class_items(holder):
            if name not in ("__dict__", "__weakref__") and _is_writable(
                type.__setattr__, holder, name, value, translate
            ):
                part(value, type.__setattr__, holder, name)
    elif issubclass(kind, dict):
        ops += _of_dict(holder, translate, shared=shared)
        covered.update(_everything(holder))
        if issubclass(kind, defaultdict):
            part(holder.default_factory, _SET_FACTORY, holder)
    elif issubclass(kind, list):
        for index, item in enumerate(list.__iter__(holder)):
            part(item, list.__setitem__, holder, index)
    elif issubclass(kind, deque):
        for index, item in enumerate(list(deque.__iter__(holder))):
            part(item, deque.__setitem__, holder, index)
    elif issubclass(kind, set):
        for item in list(set.__iter__(holder)):
            if (after := translate(item)) is not item:
                _hashed([after])
                covered.add(id(item))
                ops += [(set.discard, holder, item), (set.add, holder, after)]
    elif kind is CellType:
        try:
            part(holder.cell_contents, _SET_CELL, holder)
        except ValueError:
            return ops, covered  # it is empty
    elif kind is FunctionType:
        _of_function(holder, translate, part, ops, covered)
    elif issubclass(kind, functools.partial):
        function, arguments = translate(holder.func), translate(holder.args)
        if function is not holder.func or arguments is not holder.args:
            covered |= {id(holder.func), id(holder.args)}
            state = (function, arguments, holder.keywords, holder.__dict__)
            ops.append((functools.partial.__setstate__, holder, state))  # type: ignore[attr-defined]  # typeshed leaves it out
    elif kind is property:
        parts = (holder.fget, holder.fset, holder.fdel)
        after = [translate(value) for value in parts]
        if any(a is not b for a, b in zip(after, parts, strict=True)):
            covered.update(map(id, parts))
            ops.append((property.__init__, holder, *after, holder.__doc__))
    elif kind in (staticmethod, classmethod):
        part(holder.__func__, kind.__init__, holder)
    elif kind is LRU_CACHE:
        # What it remembers can't be written; the candidate's import computed it, and it can be computed again.
        inside = {id(value) for value in gc.get_referents(holder) if translate(value) is not value}
        inside.discard(id(holder.__wrapped__))
        if inside:
            covered |= inside
            ops.append((holder.cache_clear,))
    elif issubclass(kind, BaseException):
        part(holder.args, _SET_ARGS, holder)
    if not walk.is_written_in_c(kind) and not issubclass(kind, type):
        _of_instance(holder, kind, translate, part, ops, covered)
    return ops, covered


class HashError(HotswapError):
    """The hash of a key, which Python code computes, can't be had. Nothing was written then."""


def _hashed(keys: Iterable[Any]) -> None:
    """Ask for the hashes of keys, where an error of theirs can still refuse the patch."""
    for key in keys:
        try:
            hash(key)
        except Exception as error:
            raise HashError(f"{type(error).__name__}: {error}") from error


def _everything(holder: dict[Any, Any]) -> Iterator[int]:
    for key, value in list(dict.items(holder)):
        yield from (id(key), id(value))


def _of_dict(holder: dict[Any, Any], translate: Translate, *, shared: bool = False) -> list[Op]:
    items = list(dict.items(holder))
    ordered = issubclass(type(holder), OrderedDict)
    if all(translate(key) is key for key, _ in items):
        return [(dict.__setitem__, holder, k, after) for k, v in items if (after := translate(v)) is not v]
    if shared:
        moved = [(key, after, value) for key, value in items if (after := translate(key)) is not key]
        stay = [
            (dict.__setitem__, holder, k, translate(v)) for k, v in items if translate(k) is k and translate(v) is not v
        ]
        gone = [(dict.pop, holder, key, None) for key, _, _ in moved]
        return [*stay, *gone, *((dict.__setitem__, holder, after, translate(value)) for _, after, value in moved)]
    if ordered:  # it has an order of its own
        items = [(key, dict.__getitem__(holder, key)) for key in OrderedDict.__iter__(holder)]
    after_items = [(translate(key), translate(value)) for key, value in items]
    _hashed(key for key, _ in after_items)
    if ordered:
        return [(OrderedDict.clear, holder), *((OrderedDict.__setitem__, holder, k, v) for k, v in after_items)]
    return [(dict.clear, holder), (dict.update, holder, after_items)]


def _of_function(
    function: Any, translate: Translate, part: Callable[..., None], ops: list[Op], covered: set[int]
) -> None:
    known = [function.__defaults__, function.__closure__]
    part(function.__defaults__, _FUNCTION["__defaults__"].__set__, function)
    if sys.version_info >= (3, 12):
        known.append(function.__type_params__)
        part(function.__type_params__, _FUNCTION["__type_params__"].__set__, function)
    if sys.version_info < (3, 14):
        # Until somebody asks for them, annotations are a tuple of names and values.
        for value in gc.get_referents(function):
            if type(value) is tuple and not any(value is other for other in known) and translate(value) is not value:
                covered.add(id(value))
                ops += _of_dict(function.__annotations__, translate)


def _of_instance(
    holder: Any, kind: type, translate: Translate, part: Callable[..., None], ops: list[Op], covered: set[int]
) -> None:
    attributes = walk.instance_dict(holder)
    if attributes:
        ops += _of_dict(attributes, translate)
        covered.update(_everything(attributes))
    for slot in walk.slot_descriptors(kind):
        try:
            value = slot.__get__(holder)
        except (AttributeError, TypeError):
            continue  # an empty slot, or one of a C type that hides behind this descriptor
        if translate(value) is not value and _takes(slot.__set__, holder, value):
            part(value, slot.__set__, holder)


def _is_writable(write: Callable[..., None], cls: type, name: str, value: Any, translate: Translate) -> bool:
    return translate(value) is not value and not is_guarded(cls, name) and _takes(write, cls, name, value)


def _takes(write: Callable[..., None], *arguments: Any) -> bool:
    """Whether a write is accepted: tried with what is there already."""
    try:
        write(*arguments)
    except (AttributeError, TypeError):
        return False
    return True


def refilled(holder: Any) -> list[Op]:
    """Return the operations that sort the content of a dict or set anew, under the hashes that it has now."""
    kind = type(holder)
    if issubclass(kind, OrderedDict):
        # Its values can't be looked up: the hashes have changed. The dict below has an order of its own.
        values = {id(key): value for key, value in dict.items(holder)}
        items = [(key, values[id(key)]) for key in OrderedDict.__iter__(holder)]
        return [(OrderedDict.clear, holder), *((OrderedDict.__setitem__, holder, k, v) for k, v in items)]
    base: Any = dict if issubclass(kind, dict) else set
    content = list(dict.items(holder)) if base is dict else list(set.__iter__(holder))
    return [(base.clear, holder), (base.update, holder, content)]


def hashes_quietly(key: Any) -> bool:
    """Whether the hash of a key is computed without running Python code."""
    if issubclass(type(key), tuple) and not all(map(hashes_quietly, tuple.__iter__(key))):
        return False
    return hash_is_in_c(type(key))


def hash_is_in_c(cls: type) -> bool:
    """Whether a class computes the hash of its objects in C, as far as it does not ask their parts."""
    kinds = (walk.class_space(base).get("__hash__") for base in walk.mro(cls))  # as it stands: a fork is not in C
    return type(next((found for found in kinds if found is not None), None)) is WrapperDescriptorType


def is_quiet(op: Op) -> bool:
    """Whether an operation on a container runs no Python code."""
    write, _, *arguments = op
    return write not in (dict.__setitem__, dict.pop, set.discard, set.add) or hashes_quietly(arguments[0])
