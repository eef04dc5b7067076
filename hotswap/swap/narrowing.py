"""Narrowing: what goes on for hours keeps only those forks that it may come to.

After the handover only old code that was changed goes on, until it ends; where there is none, all that is old does.
What it can still come to is told by names: those that it uses, and those that the old functions of these names use, and
so on. Forks under other names are of no use to anybody, and are taken away. What operators and the language itself ask
for (``__len__``) has no name in code, so it stays, with all that it uses; but a constructor is come to by its class,
under any of its names.

Assumes: names are spelled in code, as names or as constants (`getattr`); of what a loop has in its variables, the names
that it has itself. One that is made up at run time, or that stands in a registry only, meets the new.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import CodeType, FunctionType
from typing import Any

from hotswap import walk
from hotswap.swap.dispatching import implementations
from hotswap.swap.enums import LOOKED_UP_IN
from hotswap.swap.forwarding import target_of, ways_of
from hotswap.swap.junctions import Junction
from hotswap.swap.lineage import Reference
from hotswap.swap.parts import live_behind, may_run
from hotswap.swap.releasing import release
from hotswap.swap.variables import Variables
from hotswap.swap.ways import ClosureWays

__all__ = ["Spelled", "is_spelled", "named", "narrow", "overrides"]

_CONSTRUCTORS = ("__init__", "__new__", "__post_init__")
_BY_CLASS = LOOKED_UP_IN.union(_CONSTRUCTORS)
"""What is come to by the name of the class alone."""
_ANY_CLASS = ("__class__", "type")
"""By these names an instance leads to its class."""
_PATTERN = "__match_args__"
_BY_NAME = (operator.attrgetter, operator.methodcaller)
_NAMES = re.compile(r"[^\W\d]\w*")
_LONGEST = 200
"""Characters of a string in which names are looked for: what is longer is a text."""
_OPERATORS = ""
"""Stands for what has no name in code: operators, and the language itself."""


class Spelled:
    """What old code may come to by names that are spelled somewhere.

    Arguments:
        junction: the generation.
        clones: its functions, each with what runs its code now.
        names: where such clones stand in its modules: (namespace, name, clone).
        namespaces: those modules.
        staying: those of modules that stay.
    """

    def __init__(
        self,
        junction: Junction,
        clones: Sequence[tuple[FunctionType, FunctionType]],
        names: Iterable[tuple[dict[str, Any], str, Any]],
        namespaces: Iterable[dict[str, Any]],
        staying: Iterable[dict[str, Any]] = (),
    ) -> None:
        self._codes: dict[str, list[CodeType]] = {}
        self._wrapped: dict[str, set[str]] = {}
        """A name -> the names of what runs besides when it is called: what wrappers hold."""
        self.functions: dict[int, list[str]] = {}
        """Id of a function -> the names that it has in its modules and classes, besides its own."""
        self.methods: dict[int, list[tuple[type, str]]] = {}
        """Id of a function -> where it stands in classes, and is asked for by no name of its own."""
        self._classes: dict[int, set[str]] = {}
        """Id of a class -> the names that it has in modules and in classes."""
        originals = {id(clone): function for function, clone in clones}
        for function, clone in clones:
            self._codes.setdefault(function.__name__, []).append(clone.__code__)
        for _, name, clone in names:
            for function in _functions_in(clone):  # a cache or a partial object has one, by another name perhaps
                self._codes.setdefault(name, []).append(function.__code__)
                original = originals.get(id(function), function)
                for one in (original, target_of(original.__code__)):
                    self.functions.setdefault(id(one), []).append(name)
        made = {id(one): clone for function, clone in clones for one in (function, target_of(function.__code__))}
        # Others may lead to the same as the original does: one that was kept over several swaps.
        ends = {id(live_behind(function)): clone for function, clone in clones}

        def clone_of(one: FunctionType | type) -> FunctionType | None:
            return None if type(one) is not FunctionType else made.get(id(one)) or ends.get(id(live_behind(one)))

        attributes = list(junction.attributes.values())
        spaces = [*namespaces]
        classes = _classes_in(spaces, (cls for cls, _ in attributes))
        for name, value in _items([*spaces, *map(walk.class_space, classes)]):
            self._note(name, value)
            # A property that stays has a function that is a fork itself.
            for one in may_run(value):
                if walk.is_class(one):
                    self._classes.setdefault(id(one), set()).add(name)
                elif one.__name__ != name and (runs := clone_of(one)) is not None:
                    self.functions.setdefault(id(one), []).append(name)
                    self._codes.setdefault(name, []).append(runs.__code__)
        # So have all methods where attributes are no forks: because the class has a metaclass, or because it stays, and
        # only a decorator of its methods goes.
        staying = list(staying)
        for cls in {id(one): one for one in (*classes, *_classes_in(staying, ()))}.values():
            for name, value in _items([walk.class_space(cls)]):
                functions = [*_functions_in(value)] if name in _BY_CLASS or _is_special(name) else ()
                ours = [runs for function in functions if (runs := clone_of(function)) is not None]
                for spelled in self._leading_to(cls, name) if ours else ():
                    self._codes.setdefault(spelled, []).extend(runs.__code__ for runs in ours)
                # What stands there may be known by what one of its earlier targets was, which is gone.
                for function in functions if ours else ():
                    self.methods.setdefault(id(function), []).append((cls, name))
        for cls, name in attributes:
            standing: Any = walk.class_space(cls).get(name)
            kept = standing.ways.old if issubclass(type(standing), walk.Fork) else ()
            for value in (value for known, value in kept if known is junction):
                self._note(name, value)
                for spelled in self._leading_to(cls, name):
                    self._codes.setdefault(spelled, []).extend(one.__code__ for one in _functions_in(value))
        for facts in staying:
            self._follow(list(facts.items()))

    def _follow(self, items: Iterable[tuple[str, Any]], *, inside: bool = False) -> None:
        """Note what functions spell that stay, and those of classes.

        Arguments:
            items: names, and what stands there.
            inside: whether they are those of a class.
        """
        for name, value in items:
            if walk.is_class(value) and not inside:
                self._follow(walk.class_items(value), inside=True)
            spelled = _OPERATORS if _is_special(name) else name
            self._codes.setdefault(spelled, []).extend(function.__code__ for function in _functions_in(value))
            self._note(name if name == _PATTERN else spelled, value)

    def _note(self, name: str, value: Any) -> None:
        """Note the names of what runs besides when something is called, and those that a class pattern asks for."""
        if not walk.is_class(value):
            names = (inner for inner in map(_name_of, _run_by(value)) if not _is_special(inner))
            self._wrapped.setdefault(name, set()).update(names)
        if type(value) in _BY_NAME:
            self._wrapped[name].update(_spelled_in(value.__reduce__()[1]))
        elif name == _PATTERN and type(value) is tuple:
            self._wrapped.setdefault(_OPERATORS, set()).update(_spelled_in(value))

    def _leading_to(self, cls: type, name: str) -> Iterable[str]:
        """The names by which code comes to an attribute of a class."""
        own = () if name in _BY_CLASS else (_OPERATORS if _is_special(name) else name,)
        by_class = name in _BY_CLASS or overrides(cls, name)
        return self.names_of(cls).union(_ANY_CLASS, own) if by_class else own

    def names_of(self, cls: type) -> set[str]:
        """Return the names by which code comes to a class, or to one below it."""
        every = [cls, *walk.descendants(cls)]
        aliases = (self._classes.get(id(one), ()) for one in every)
        return {walk.class_name(one).rpartition(".")[2] for one in every}.union(*aliases)

    def reachable(self, calls: Iterable[tuple[CodeType, Iterable[Any]]]) -> frozenset[str]:
        """Return the names that some calls may still come to: by those that they spell, and by operators.

        Arguments:
            calls: the code of each, and what its variables hold.
        """
        found: set[str] = set()
        stack = [_OPERATORS]
        for code, held in calls:
            stack += named(code)
            stack += (name for value in held for name in _names_of(value))
        while stack:
            name = stack.pop()
            if name not in found:
                found.add(name)
                stack += self._wrapped.get(name, ())
                for code in self._codes.get(name, ()):
                    stack += named(code)
        return frozenset(found)


def named(code: CodeType) -> Iterator[str]:
    """Return the names of globals and attributes that code uses, that of nested code included."""
    for one in walk.codes_in(code):
        yield from one.co_names
        yield from _spelled_in(one.co_consts)


def _spelled_in(constants: Iterable[Any]) -> Iterator[str]:
    """The names in constants: what `getattr` is given, a class pattern by keywords, or ``"{0.price}".format``."""
    for value in constants:
        if type(value) is str and len(value) <= _LONGEST:
            yield from _NAMES.findall(value)
        elif type(value) in (tuple, frozenset):
            yield from _spelled_in(value)


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _is_operator(name: str) -> bool:
    """Whether no code has to spell a name for what it stands for to be asked for, nor that of its class."""
    return _is_special(name) and name not in _BY_CLASS


def _run_by(value: Any) -> Iterator[FunctionType | type]:
    """What may run when something is called, the implementations of functions that dispatch included."""
    for one in may_run(value):
        yield one
        if type(one) is FunctionType:
            for implementation in implementations(one):
                yield from may_run(implementation)


def _functions_in(value: Any) -> Iterator[FunctionType]:
    return (one for one in _run_by(value) if type(one) is FunctionType)


def _items(spaces: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    return (item for facts in spaces for item in list(facts.items()))


def _classes_in(spaces: Iterable[Mapping[str, Any]], others: Iterable[type]) -> list[type]:
    """The classes of some namespaces, those within these, and others."""
    found: dict[int, type] = {}
    stack = [*others, *(value for _, value in _items(spaces) if walk.is_class(value))]
    while stack:
        cls = stack.pop()
        if id(cls) not in found:
            found[id(cls)] = cls
            stack += (value for _, value in _items([walk.class_space(cls)]) if walk.is_class(value))
    return list(found.values())


def _names_of(value: Any) -> Iterator[str]:
    for one in _run_by(value):
        yield _name_of(one)
        if type(one) is FunctionType:
            yield from named(one.__code__)


def _name_of(one: FunctionType | type) -> str:
    return one.__name__ if type(one) is FunctionType else walk.class_name(one).rpartition(".")[2]


def overrides(cls: type, name: str) -> bool:
    """Whether an attribute of a class takes the place of one of a base from another package, which asks for it."""
    above = (base for base in walk.mro(cls)[1:] if name in walk.class_space(base) and base is not object)
    packages = (walk.class_home(one).partition(".")[0] for one in above)
    return any(package != walk.class_home(cls).partition(".")[0] for package in packages)


def is_spelled(junction: Junction, name: str, cls: str = "", *, is_asked: bool = False) -> bool:
    """Whether calls of a generation may still come to something that no fork gives to them yet.

    Arguments:
        junction: the generation.
        name: that of a function, or of an attribute of a class.
        cls: the name of that class.
        is_asked: whether another package asks for it, by an object.
    """
    names = junction.spelled
    if names is None or name in names or _is_operator(name):
        return True
    return (name in _BY_CLASS or is_asked) and (cls in names or not names.isdisjoint(_ANY_CLASS))


def narrow(junction: Junction, calls: Sequence[Variables], spelled: Spelled) -> None:
    """Take the forks of a generation away that its calls can't come to; none, if one of these can't be looked into.

    Nobody may make a swap meanwhile, and nobody may be in a session of that generation, or of one before it.

    Arguments:
        junction: the generation.
        calls: what its calls hold.
        spelled: what names lead to.
    """
    told = [(code, held) for code, held in calls if held is not None]
    if len(told) < len(calls):
        return
    names = junction.spelled = spelled.reachable(told)

    def constructed(cls: type) -> bool:
        return not names.isdisjoint(spelled.names_of(cls).union(_ANY_CLASS))

    def stays(cls: type, name: str) -> bool:
        if _is_operator(name) or (name in names and name not in _BY_CLASS):
            return True
        return (name in _BY_CLASS or overrides(cls, name)) and constructed(cls)

    # A thread may have got from one of these what it is about to call: that asks, too.
    kept = {f"{walk.class_name(cls)}.{name}" for cls, name in list(junction.attributes.values()) if stays(cls, name)}

    def is__named(reference: Reference) -> bool:
        function: FunctionType | None = reference()
        if function is None:
            return False
        if type(ways_of(function.__code__)) is ClosureWays:  # who holds a closure needs no name of it
            return True
        if function.__qualname__ in kept or any(stays(*place) for place in spelled.methods.get(id(function), ())):
            return True
        return any(name in names for name in (function.__name__, *spelled.functions.get(id(function), ())))

    attributes = {key: one for key, one in list(junction.attributes.items()) if not stays(*one)}
    functions = {key: one for key, one in list(junction.functions.items()) if not is__named(one)}
    for key in attributes:
        del junction.attributes[key]
    for number in functions:
        junction.functions.pop(number, None)  # it may have gone meanwhile
    release(junction, attributes.values(), functions.values())
