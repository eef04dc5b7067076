"""Forwarding: how an old identity leads to its successor.

An old function keeps its identity; its `__code__` becomes a forwarder. A code object may carry any object as a
constant, so a forwarder needs neither globals nor a closure, and works on every function. It is generated with the
successor's own signature, which costs 25 to 30 ns a call where ``*args, **kwargs`` costs 110, and makes
`inspect.signature` right. Source: DESIGN of this project, mechanism 3.

A generator function, a coroutine function and an asynchronous generator function get a *plain* forwarder that carries
their flag: since CPython 3.11 it is an instruction, not the flag, that makes the generator, so the forwarder returns
the successor's own object, with no frame in between, and `inspect` still tells the truth (`tests/cpython` proves it).
"""

from __future__ import annotations

import functools
import inspect
import operator
import sys
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.generation import asking, between, made_of, world_of
from hotswap.swap.lineage import Reference
from hotswap.swap.templates import KIND_FLAGS, Parameters, dressed, on_one_line
from hotswap.swap.ways import Ways

__all__ = [
    "KIND_FLAGS",
    "SupersededModule",
    "annotations_of",
    "closure_facade",
    "code_of",
    "facade",
    "forwarder",
    "held_for",
    "holds_weakly",
    "identity_of",
    "identity_ops",
    "takes",
    "target_of",
    "template_of",
    "ways_of",
]

_TARGET = "hotswap: the successor stands here"
_LOCAL = "_hotswap_target"
_HELD = "hotswap: what is held for the code"
"""A key of `__kwdefaults__` that can be no parameter."""

Op = tuple[Any, ...]

between.add(id(globals()))


def forwarder(
    old: FunctionType, new: Callable[..., Any], code: CodeType | None, *, weakly: bool = False, anything: bool = False
) -> CodeType:
    """Return code that makes `old` call `new` with the arguments it was called with.

    The result has the signature, name, file and first line of `code`, and as many free variables as `old`.

    Arguments:
        old: the function that will get the code.
        new: what it shall call; or the ways to it, which are asked at each call.
        code: the code that `new` has while it is live, if it is a function; None for other callables.
        weakly: let it hold `new` by a weak reference.
        anything: let it take any arguments, whatever the signature of `code` is.
    """
    asked = weakly or issubclass(type(new), Ways)
    variables = len(old.__code__.co_freevars)
    if code is not None and not anything:
        template = template_of(Parameters.of(code), variables, asked=asked)
        shown: CodeType = code
    else:
        template = template_of(_ANYTHING, variables, asked=asked)
        shown = code or old.__code__
    target = Reference(new) if weakly else new
    return dressed(template, _TARGET, target, old, shown)


_ANYTHING = Parameters(("args", "kwargs"), 0, 0, 0, inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)


def _signature(code: CodeType) -> tuple[Any, ...]:
    """What a caller may pass."""
    names, *counts = Parameters.of(code)
    return (*counts, names[: code.co_argcount + code.co_kwonlyargcount])


def takes(value: Any, shown: CodeType) -> bool:
    """Whether an old function gets from a forwarder with the signature of some code what its caller has passed."""
    plain = type(value) is FunctionType and not (value.__defaults__ or value.__kwdefaults__)
    return plain and _signature(value.__code__) == _signature(shown)


def target_of(code: CodeType) -> Any:
    """Return what a forwarder calls; None for other code, and for the fork of a function that leads to itself."""
    if not walk.is_forwarder(code):
        return None
    target = next(constant for constant in code.co_consts if callable(constant))
    if issubclass(type(target), Ways):
        return target.aim
    return target() if type(target) is Reference else target


def holds_weakly(code: CodeType) -> bool:
    """Whether code is that of a closure which leads to new code: see `closure_facade`."""
    return walk.is_forwarder(code) and any(type(constant) is Reference for constant in code.co_consts)


def held_for(code: CodeType) -> dict[str, Any]:
    """Return the keyword defaults by which a function holds what such code leads to."""
    return {_HELD: target_of(code)}


def ways_of(code: CodeType) -> Ways | None:
    """Return the ways that a forwarder asks at each call; None if it asks nobody."""
    if not walk.is_forwarder(code):
        return None
    return next((constant for constant in code.co_consts if issubclass(type(constant), Ways)), None)


def code_of(function: FunctionType) -> CodeType:
    """Return the code that a function runs for everybody who has nothing old in flight: its own, under a fork."""
    ways = ways_of(function.__code__)
    return function.__code__ if ways is None or ways.own is None else ways.own.__code__


@functools.lru_cache(maxsize=1024)
def template_of(taken: Parameters, variables: int = 0, *, asked: bool = False) -> CodeType:
    """Return code that takes some parameters, and calls what stands in for its successor with them.

    Arguments:
        taken: the parameters.
        variables: how many free variables the code has.
        asked: whether what stands there gives the successor when it is called.
    """
    parameters, arguments, named = taken.told
    arguments += [f"{name}={value}" if name else f"**{value}" for name, value in named]
    target = taken.unlike(_LOCAL)
    call = f"{target}{'()' if asked else ''}({', '.join(arguments)})"
    return on_one_line(f"def forwarder({parameters}):\n {target} = {_TARGET!r}; return {call}", variables)


# What makes the outside of a function, besides its code: each is written only where old and new differ.
_FACETS: tuple[tuple[str, Any], ...] = (
    ("__defaults__", FunctionType.__dict__["__defaults__"]),
    ("__kwdefaults__", FunctionType.__dict__["__kwdefaults__"]),
    ("__name__", FunctionType.__dict__["__name__"]),
    ("__qualname__", FunctionType.__dict__["__qualname__"]),
    ("__doc__", FunctionType.__dict__["__doc__"]),
    ("__module__", FunctionType.__dict__["__module__"]),
    ("__dict__", FunctionType.__dict__["__dict__"]),
)
if "__type_params__" in FunctionType.__dict__:  # since CPython 3.12
    _FACETS += (("__type_params__", FunctionType.__dict__["__type_params__"]),)
_CODE = FunctionType.__dict__["__code__"]
_ANNOTATIONS: Any = vars(FunctionType)["__annotations__"]
_ANNOTATE: Any = FunctionType.__dict__.get("__annotate__")  # since CPython 3.14


def annotations_of(function: Any) -> tuple[Any, Any]:
    """Return the descriptor that writes the annotations of a function, and what it writes.

    Writing what computes them drops what was computed before, but not if nothing computes them (CPython 3.14).
    """
    annotate = None if _ANNOTATE is None else _ANNOTATE.__get__(function)
    if annotate is not None:
        return _ANNOTATE, annotate
    return _ANNOTATIONS, _ANNOTATIONS.__get__(function) or None


def identity_of(function: FunctionType, code: CodeType | None = None) -> dict[str, Any]:
    """Return what makes the outside of a function, to be written back later.

    Arguments:
        function: the function.
        code: stands for its code. The code of an old generation must not be kept alive by whoever wants to know when
            its last call has ended: pass a copy.
    """
    facts = {name: descriptor.__get__(function) for name, descriptor in _FACETS}
    facts["__code__"] = code or function.__code__
    facts["__annotations__"] = annotations_of(function)
    return facts


def facade(old: FunctionType, new: Callable[..., Any], facts: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what makes `old` look and act like `new`.

    Arguments:
        old: the function that will get it.
        new: what it shall lead to.
        facts: what makes the outside of `new` while it is live, if it is a function.
    """
    if facts is not None:
        return {**facts, "__code__": forwarder(old, new, facts["__code__"])}
    return {
        **identity_of(old),
        **_told(new),
        "__defaults__": None,
        "__kwdefaults__": None,
        "__code__": forwarder(old, new, None),
    }


def closure_facade(old: FunctionType, new: Callable[..., Any], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what makes a closure look and act like `new`, where `new` may lead back to it.

    `new` has the cells of the closure, and what they hold often holds the closure: an object that has a callback. The
    collector does not look into code, so a circle through the constants of a forwarder would never be collected. The
    code holds `new` weakly, and the closure holds it where the collector looks: with its defaults.

    Arguments:
        old: the function that will get it.
        new: what it shall lead to.
        facts: what makes the outside of `new` while it is live.
    """
    return {
        **facts,
        "__kwdefaults__": {**(facts["__kwdefaults__"] or {}), _HELD: new},
        "__code__": forwarder(old, new, facts["__code__"], weakly=True),
    }


def _told(new: Any) -> dict[str, Any]:
    """What a callable that wraps a function (`lru_cache`, an object of a decorator's class) tells of that function."""
    facts = walk.instance_dict(new) or {}
    if walk.is_class(new) or "__wrapped__" not in facts:
        return {}
    names = ("__name__", "__qualname__", "__module__")
    told = {name: facts[name] for name in names if type(facts.get(name)) is str}
    wrapped = facts["__wrapped__"]
    if type(wrapped) is FunctionType:
        told = {name: getattr(wrapped, name) for name in names} | {"__doc__": wrapped.__doc__} | told
        told["__annotations__"] = annotations_of(wrapped)
    # `inspect.signature` follows this; `cache_info` and the like belong to the object that is called.
    return {**told, "__dict__": {"__wrapped__": wrapped}}


def identity_ops(function: FunctionType, after: dict[str, Any], before: dict[str, Any] | None = None) -> list[Op]:
    """Return the writes that give a function its outside: C functions only.

    Arguments:
        function: the function.
        after: what to write.
        before: what is there now; what does not differ is left out. Without it everything is written.
    """
    ops: list[Op] = [(_CODE.__set__, function, after["__code__"])]
    for name, descriptor in _FACETS:
        # Two functions that look the same share their attributes, also as long as there are none.
        differ = operator.is_not if name == "__dict__" else _differ
        if before is None or differ(before[name], after[name]):
            ops.append((descriptor.__set__, function, after[name]))
    descriptor, annotations = after["__annotations__"]
    if before is None or _differ(before["__annotations__"][1], annotations):
        ops.append((descriptor.__set__, function, annotations))
    return ops


def _differ(before: Any, after: Any) -> bool:
    return before is not after and bool(before or after)


class SupersededModule(ModuleType):
    """The class that an old module object gets: whoever still holds it reaches the live module of the same name."""

    def __getattribute__(self, attribute: str) -> Any:
        return getattr(_meant(self), attribute)

    def __setattr__(self, attribute: str, value: Any) -> None:
        setattr(_meant(self), attribute, value)

    def __delattr__(self, attribute: str) -> None:
        delattr(_meant(self), attribute)

    def __dir__(self) -> list[str]:
        return dir(_meant(self))

    def __repr__(self) -> str:
        return repr(_meant(self))


def _meant(module: ModuleType) -> ModuleType:
    """The module that a caller means by an old one: old code its own generation's, everybody else the live one."""
    own = ModuleType.__getattribute__(module, "__dict__")
    frame = asking()
    world = world_of(frame, id(frame.f_globals))
    if world is not None:
        view = world.own.get(own["__name__"])
        if view is not None:
            # A candidate that was live, and was given up while somebody is on it, has this very module.
            return view if view is not module else _Facts(own)
    return _live(own, module)


def _live(own: dict[str, Any], module: ModuleType) -> ModuleType:
    live = sys.modules.get(own["__name__"])
    if live is None or live is module:  # removed from sys.modules by somebody: then the old module is all there is
        live = _Facts(own)
    return live


class _Facts(ModuleType):
    """Plain access to a namespace whose module has no live successor."""

    def __init__(self, facts: dict[str, Any]) -> None:
        super().__init__(facts["__name__"])
        ModuleType.__getattribute__(self, "__dict__")["_facts"] = facts

    def __getattribute__(self, attribute: str) -> Any:
        facts = ModuleType.__getattribute__(self, "__dict__")["_facts"]
        if attribute == "__dict__":
            return facts
        try:
            return facts[attribute]
        except KeyError:
            return ModuleType.__getattribute__(self, attribute)

    def __getattr__(self, attribute: str) -> Any:
        facts = ModuleType.__getattribute__(self, "__dict__")["_facts"]
        return made_of(self, facts["__name__"], attribute, facts.get("__getattr__"))

    def __setattr__(self, attribute: str, value: Any) -> None:
        ModuleType.__getattribute__(self, "__dict__")["_facts"][attribute] = value
