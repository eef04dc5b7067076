"""Everything that can be learnt of a program by using it, as plain data: two programs are equal if their answers are.

The name of the package is left out of every answer, so that a live program can be compared with a fresh one.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from types import FunctionType, MethodType, ModuleType
from typing import Any

from tests.property.programs import MODULES, Program
from tests.property.writing import BASE, sources

__all__ = [
    "LRU_CACHE",
    "answers",
    "caches_in",
    "called",
    "fresh",
    "observe",
    "of_instance",
]

LRU_CACHE = type(functools.lru_cache(lambda: None))

CALLS: tuple[tuple[tuple[Any, ...], dict[str, Any]], ...] = (
    ((), {}),
    ((1,), {}),
    ((1, 2), {}),
    ((), {"key": 5}),
    (("text",), {}),
    ((), {"nothing": 1}),
)

NOT_OBSERVED = frozenset(
    {"__builtins__", "__file__", "__cached__", "__loader__", "__spec__", "__path__", "__package__"}
)
_NOT_OF_CLASSES = frozenset(
    {"__dict__", "__weakref__", "__firstlineno__", "__static_attributes__"}
    | {"__annotations__", "__annotate_func__", "__annotations_cache__"}
)
"""What lays out a class, or tells the line of a statement; and annotations, which CPython 3.14 makes when asked."""


def _plain(value: Any) -> Any:
    """What a call gave, as plain data."""
    if inspect.isgenerator(value):
        return ["generated", *map(_plain, value)]
    if inspect.iscoroutine(value):
        return ["awaited", _plain(_driven(value))]
    if inspect.isasyncgen(value):
        return ["collected", *map(_plain, _driven(_collected(value)))]
    if isinstance(value, AbstractContextManager):
        with value as entered:
            return ["entered", _plain(entered)]
    if isinstance(value, (tuple, list)):
        return [*map(_plain, value)]
    if isinstance(value, enum.Enum):
        return "member", value.name, value.value
    if type(value) is FunctionType:
        return "function", value.__name__, called(value), called(value, 9)
    if isinstance(value, (type, ModuleType)) or callable(value):
        return "object", type(value).__name__, getattr(value, "__name__", "")
    if hasattr(value, "show"):
        return "instance", of_instance(value)
    return value


def _driven(coroutine: Any) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    return "it waits"


async def _collected(values: Any) -> list[Any]:
    return [value async for value in values]


def called(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What a call answers; that it does not take these arguments is an answer."""
    try:
        return _plain(function(*args, **kwargs))
    except (TypeError, AttributeError, ValueError) as error:
        return "raised", type(error).__name__


def answers(value: Any, *, held: bool = False) -> Any:
    """Everything that can be learnt of a value.

    Arguments:
        value: it.
        held: whether it was taken in an earlier version: then its kind may be an old one, and an `lru_cache` object,
            which is written in C, goes on showing its old signature.
    """
    if isinstance(value, ModuleType):
        return "module", _relative(value.__name__)
    if isinstance(value, type):
        return _of_class(value)
    if not callable(value):
        return _plain(value)
    seen: dict[str, Any] = {"calls": [called(value, *args, **kwargs) for args, kwargs in CALLS]}
    if type(value) in (FunctionType, MethodType) or not held:
        seen["signature"] = _signature(value)
        seen["names"] = [getattr(value, name, None) for name in ("__name__", "__qualname__", "__doc__")]
        seen["module"] = _relative(getattr(value, "__module__", None) or "")
    if not held:
        asked = (inspect.isgeneratorfunction, inspect.iscoroutinefunction, inspect.isasyncgenfunction)
        seen["kind"] = [type(value).__name__, *(ask(value) for ask in asked)]
        seen["attributes"] = sorted(getattr(value, "__dict__", {}))
        if type(value) is LRU_CACHE:
            seen["parameters"] = value.cache_parameters()
    return seen


def _relative(module: str) -> str:
    return module.partition(".")[2]


def _signature(value: Any) -> str:
    try:
        return str(inspect.signature(value))
    except ValueError:
        return "unknown"


def _of_class(cls: Any) -> Any:
    facts: dict[str, Any] = {
        "names": (
            cls.__name__,
            cls.__qualname__,
            cls.__doc__ and cls.__doc__.replace("\n", " "),
            _relative(cls.__module__),
        ),
        "signature": _signature(cls),
        "bases": [(base.__name__, _relative(base.__module__)) for base in cls.__bases__],
        "order": [base.__name__ for base in cls.__mro__],
        "attributes": sorted(vars(cls).keys() - _NOT_OF_CLASSES),
        "annotations": sorted((name, str(value)) for name, value in inspect.get_annotations(cls).items()),
    }
    if issubclass(cls, enum.Enum):
        found = [(member.name, member.value, _plain(member.show()), cls(member.value) is member) for member in cls]
        return {**facts, "members": found, "names of members": [*cls.__members__]}
    if dataclasses.is_dataclass(cls):
        facts["fields"] = [(field.name, field.default) for field in dataclasses.fields(cls)]
    for name in _members_of(cls):
        facts[f"its {name}"] = _member(cls, name)
    facts["instance"] = of_instance(cls(7))
    facts["equal"] = cls(7) == cls(7)
    return facts


def _members_of(cls: Any) -> list[str]:
    return sorted(name for name in dir(cls) if name.startswith("m") and name[1:].isdigit())


def _member(owner: Any, name: str) -> Any:
    value = getattr(owner, name)
    if isinstance(value, property):
        return "property", value.__doc__
    return called(value) if callable(value) else _plain(value)


def of_instance(instance: Any) -> dict[str, Any]:
    """What an instance answers, member by member."""
    seen: dict[str, Any] = {"state": sorted(vars(instance).items()), "show": called(instance.show)}
    for name in _members_of(type(instance)):
        seen[name] = _member(instance, name)
    if hasattr(instance, "Inner"):
        seen["Inner"] = called(instance.Inner.inside)
    return seen


def observe(modules: Mapping[str, ModuleType]) -> dict[str, Any]:
    """What each name of each module answers."""
    seen: dict[str, Any] = {}
    for module, found in modules.items():
        package = found.__name__.partition(".")[0]
        for name, value in sorted(vars(found).items()):
            if name not in NOT_OBSERVED:
                shown = "package" if name == package else _relative(value) if name == "__name__" else name
                seen[f"{module}.{shown}"] = _relative(value) if name == "__name__" else answers(value)
    return seen


@contextmanager
def fresh(program: Program, serial: int) -> Iterator[dict[str, ModuleType]]:
    """The modules of a program that is started with this version, while it is looked at."""
    name = f"fresh{serial}"
    package = sys.modules[name] = ModuleType(name)
    package.__path__, package.__package__ = [], name
    try:
        for module, source in sources(program, name).items():
            loaded = sys.modules[f"{name}.{module}"] = ModuleType(f"{name}.{module}")
            loaded.__package__ = name
            exec(compile(source, f"<{name}.{module}>", "exec", dont_inherit=True), vars(loaded))
            setattr(package, module, loaded)
        yield {module: sys.modules[f"{name}.{module}"] for module in (BASE, *MODULES)}
    finally:
        for entry in [entry for entry in sys.modules if entry.partition(".")[0] == name]:
            del sys.modules[entry]


def caches_in(value: Any, seen: set[int] | None = None) -> Iterator[Any]:
    """The `lru_cache` objects that a call of a value may meet in it: itself, what it wraps, what its cells hold."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    if type(value) is LRU_CACHE:
        yield value
    inner = [getattr(value, "__wrapped__", None)]
    if type(value) is FunctionType:
        inner += [cell.cell_contents for cell in value.__closure__ or ()]
    for part in inner:
        if type(part) in (FunctionType, LRU_CACHE):
            yield from caches_in(part, seen)
