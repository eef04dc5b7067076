"""Whether two results are alike: one of the live version, the other of the candidate.

Equality does not tell: a class of the patch is another object in the candidate, so its objects are never equal to those
of the live one, although they become the same class with the swap. So what is compared is the state of objects.
"""

from __future__ import annotations

import enum
import types
from collections import deque
from collections.abc import Mapping, Set
from typing import Any

from hotswap.swap import equal_code
from hotswap.swap.parts import is_empty
from hotswap.verification import Inconclusive

__all__ = ["alike", "same_type"]

_PLAIN = (int, str, bytes, bytearray, complex, bool, type(None), type(Ellipsis), type(NotImplemented), range)
_WRAPPING = (staticmethod, classmethod, property)
_OF_ITSELF = frozenset(
    {"__dict__", "__doc__", "__firstlineno__", "__module__", "__qualname__", "__static_attributes__", "__weakref__"}
    | {"_abc_impl"}
)
"""What stands among the attributes of a class, and says nothing of what it does."""


def alike(old: object, new: object) -> bool:
    """Return whether two values are the same but for the generation that they come from.

    Raises Inconclusive for values that can't be compared.
    """
    try:
        return _alike(old, new, {})
    except RecursionError:
        raise Inconclusive("the results are nested too deeply to be compared: give compare=") from None


def same_type(old: type, new: type) -> bool:
    """Return whether two classes are one, or one of the live version and its successor."""
    return old is new or (old.__module__, old.__qualname__) == (new.__module__, new.__qualname__)


def _alike(old: Any, new: Any, seen: dict[tuple[int, int], tuple[Any, Any]]) -> bool:
    if old is new:
        return True
    if not same_type(type(old), type(new)):
        return False
    key = (id(old), id(new))
    if key in seen:
        return True  # it is being compared further out, or was
    seen[key] = (old, new)  # kept, so that nothing else gets their ids
    if isinstance(old, float):
        return bool(old == new or (old != old and new != new))
    if isinstance(old, types.ModuleType):
        return _name(old) == _name(new)
    if isinstance(old, type):
        return _alike_classes(old, new, seen)
    if isinstance(old, _WRAPPING):
        return _alike(_wrapped(old), _wrapped(new), seen)
    if isinstance(old, (types.FunctionType, types.BuiltinFunctionType, types.MethodType)):
        return _alike_functions(old, new, seen)
    if isinstance(old, enum.Enum):
        return old.name == new.name and _alike(old.value, new.value, seen)
    if type(old) in _PLAIN:
        return bool(old == new)
    if isinstance(old, (list, tuple, deque)):
        if len(old) != len(new) or not all(_alike(a, b, seen) for a, b in zip(old, new, strict=True)):
            return False
    elif isinstance(old, Mapping):
        return _alike_mappings(old, new, seen)
    elif isinstance(old, Set):
        return len(old) == len(new) and (old == new or _alike_sets(old, new, seen))
    elif type(old) is type(new) and _compares(type(old)) and _equal(old, new):
        return True  # if not, it may hold objects of two generations
    return type(old) in (list, tuple, deque) or _alike(_state(old), _state(new), seen)


def _alike_mappings(old: Any, new: Any, seen: dict[tuple[int, int], tuple[Any, Any]]) -> bool:
    if len(old) != len(new):
        return False
    if all(key in new for key in old):
        return all(_alike(old[key], new[key], seen) for key in old)
    # Keys of two generations are not found in each other's tables.
    return all(_alike(a, b, seen) for a, b in zip(old.items(), new.items(), strict=True))


def _alike_sets(old: Any, new: Any, seen: dict[tuple[int, int], tuple[Any, Any]]) -> bool:
    """Whether each element of one has one of its own in the other that is alike."""
    left = list(new)
    for element in old:
        number = next((number for number, one in enumerate(left) if _alike(element, one, {**seen})), None)
        if number is None:
            return False
        del left[number]
    return True


def _alike_classes(old: Any, new: Any, seen: dict[tuple[int, int], tuple[Any, Any]]) -> bool:
    """Whether two classes are one, or become one with the swap: those of a module do, by their name.

    One that a function makes stays what it is, and is judged as a function is. Raises Inconclusive as that does.
    """
    if _name(old) != _name(new):
        return False
    if "<locals>" in old.__qualname__ and not _alike(_made(old), _made(new), seen):
        raise Inconclusive(f"nobody can tell whether classes ({old.__qualname__}) do the same: give compare=")
    return True


def _made(cls: type) -> list[object]:
    """What a class is made of: its bases, and its attributes but for those that say nothing of what it does."""
    return [cls.__bases__, {name: value for name, value in vars(cls).items() if name not in _OF_ITSELF}]


def _wrapped(value: Any) -> list[object]:
    """What is in a method of a class, or a property."""
    return [value.fget, value.fset, value.fdel] if isinstance(value, property) else [value.__func__]


def _alike_functions(old: Any, new: Any, seen: dict[tuple[int, int], tuple[Any, Any]]) -> bool:
    """Whether two functions do the same. A name does not tell: lambdas have one in common, and a body may be another.

    What they call is not looked at. Raises Inconclusive for two of one name of which nobody can tell without calling.
    """
    if _name(old) != _name(new):
        return False
    if isinstance(old, types.FunctionType):
        same = equal_code(old.__code__, new.__code__) and _alike(_held(old), _held(new), seen)
    else:  # the state of what a method is bound to tells as much as that of a result; a module stands for its name
        same = _alike(old.__self__, new.__self__, seen)
        if same and isinstance(old, types.MethodType):
            return _alike(old.__func__, new.__func__, seen)
    if not same:
        raise Inconclusive(f"nobody can tell whether functions ({_name(old)[1]}) do the same: give compare=")
    return True


def _held(function: types.FunctionType) -> list[object]:
    """What a function has besides its code: defaults, and what its variables from outside hold."""
    filled = [cell.cell_contents for cell in function.__closure__ or () if not is_empty(cell)]
    return [function.__defaults__, function.__kwdefaults__, filled]


def _compares(kind: type) -> bool:
    """Whether a class says what is equal; identity alone says nothing."""
    return getattr(kind, "__eq__", None) is not vars(object)["__eq__"]


def _equal(old: Any, new: Any) -> bool:
    """What `==` says; arrays say it for each of their elements."""
    try:
        result = old == new
    except Exception:  # noqa: BLE001 - `__eq__` of any object; their state tells
        return False
    for _ in range(3):
        if isinstance(result, bool) or not hasattr(result, "all"):
            break
        result = result.all()
    return bool(result)


def _name(value: Any) -> tuple[object, object]:
    return getattr(value, "__module__", None), getattr(value, "__qualname__", getattr(value, "__name__", None))


def _state(value: Any) -> object:
    """What an object consists of, as pickling sees it, without its class."""
    if isinstance(value, BaseException):
        return (value.args, {**value.__dict__})
    try:
        reduced = value.__reduce_ex__(4)
    except Exception as error:
        raise Inconclusive(f"results of type {type(value).__qualname__} can't be compared: give compare=") from error
    if isinstance(reduced, str):  # a name, which tells of a function under a cache as little as of a plain one
        return reduced, getattr(value, "__wrapped__", None)
    # The class stands among the arguments. The last parts are iterators of elements.
    arguments = [argument for argument in reduced[1] if not isinstance(argument, type)]
    return arguments, [list(part) if hasattr(part, "__next__") else part for part in reduced[2:]]
