"""Adapting: what an adapter for a framework is asked, and what it is told.

Frameworks keep registries of their own: tables of routes, of tasks, of commands. hotswap knows nothing of them; an
adapter does. It keeps what the candidate registers while it is loaded out of living registries, and brings them up to
date in the same commit as everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import FunctionType, ModuleType
from typing import Any, ClassVar

from hotswap import walk
from hotswap.generation import Definitions, Live, sheltered
from hotswap.swap.contents import Kept
from hotswap.swap.fields import Make
from hotswap.swap.looking import Look
from hotswap.swap.plan import Plan
from hotswap.swap.references import Redirection
from hotswap.swap.writes import Writes

__all__ = ["Adapter", "Facts", "adapt"]


@dataclass(frozen=True, eq=False)
class Facts:
    """What an adapter is told when a swap is prepared, and what it may do then. Lives as long as the call.

    Arguments:
        old: the modules that the candidate replaces, by name.
        new: the modules of the candidate, by name; those that are not in `old` are new.
        removed: the modules that go without a successor, by name.
        classes: the classes that stay, each with its twin: (living, twin). The body of the twin is transplanted.
        kept: the objects that stay, each with its twin. Containers in them are merged, unless claimed.
        redirection: knows which twin leads to which living object.
        successor: gives what takes the place of an old function, and anything else back as it is.
        gone: the ids of old functions and classes that the new modules have not any more, or register otherwise.
        definitions: what the sources of the live and of the new modules say, by name.
        writes: receives the writes that make the change; each has a C function as callable.
        plan: receives what people should know: names, warnings, unsupported changes.
        owned: everything that the candidate created, twins included.
        predecessor: gives what takes the place of a new function when the swap is taken back, and anything else back.
    """

    old: Mapping[str, ModuleType]
    new: Mapping[str, ModuleType]
    removed: Mapping[str, ModuleType]
    classes: Sequence[tuple[type, type]]
    kept: Sequence[Kept]
    redirection: Redirection
    successor: Callable[[Any], Any]
    gone: Container[int]
    definitions: tuple[Mapping[str, Definitions], Mapping[str, Definitions]]
    writes: Writes
    plan: Plan
    owned: Sequence[object] = ()
    predecessor: Callable[[Any], Any] = lambda value: value
    claimed: set[int] = field(default_factory=set)

    def translate(self, value: Any) -> Any:
        """Return the living object for a twin (a class, a kept object), and anything else as it is."""
        return self.redirection.translate(value)

    def is_gone(self, value: Any) -> bool:
        """Return whether an old function or class is gone, or has other decorators, bases or arguments of those."""
        if id(value) in self.gone:
            return True
        if walk.is_class(value):
            home, name = walk.class_dict(value).get("__module__"), walk.class_name(value)
        elif type(value) is FunctionType:
            home, name = value.__module__, value.__qualname__
        else:
            return False
        if self.successor(value) is not value:
            return False
        if home in self.removed:
            return True
        # An object of a framework may be all that leads to it: then the sources tell.
        bodies = [definitions.get(str(home)) for definitions in self.definitions]
        if home not in self.old or None in bodies:
            return False
        before, after = (body.bindings.get(name) if body is not None else None for body in bodies)
        return before is not None and (after is None or after.head != before.head)

    def went(self, living: Any) -> list[str]:
        """Return the statements about an object that the new version has not any more, as dumps of syntax trees.

        These are the statements of module bodies that make the object, or change it: ``app.mount("/files", ...)``.
        """
        return [text for _, there in self._statements(living) for text in there[0] if text not in there[1]]

    def came(self, living: Any) -> list[str]:
        """Return the statements about an object that the old version did not have."""
        return [text for _, there in self._statements(living) for text in there[1] if text not in there[0]]

    def said(self, living: Any) -> list[str]:
        """Return all statements of the old version about an object, those that the new one has too among them."""
        return [text for _, there in self._statements(living) for text in there[0]]

    def statements(self, living: Any) -> Iterator[tuple[str, str]]:
        """Yield what `said` returns, each with the module that says it."""
        yield from ((name, text) for name, there in self._statements(living) for text in there[0])

    def _statements(self, living: Any) -> Iterator[tuple[str, tuple[tuple[str, ...], tuple[str, ...]]]]:
        for name, module in [*self.old.items(), *self.removed.items()]:
            for attribute, value in list(module.__dict__.items()):
                if value is living:
                    bodies = [definitions.get(name) for definitions in self.definitions]
                    found = [body.bindings.get(attribute) if body is not None else None for body in bodies]
                    before, after = (() if one is None else (*one.text, *one.touches) for one in found)
                    yield name, (before, after)

    def redirect(self, twin: Any, living: Any) -> None:
        """Say that a part of a kept object stays too: references of the candidate to its twin will lead to it."""
        self.redirection.add(twin, living)

    def claim(self, *containers: Any) -> None:
        """Say that the adapter brings these living lists, dicts or sets up to date; hotswap leaves them alone."""
        self.claimed.update(map(id, containers))


class Adapter:
    """Knows the registries of one framework. Lives as long as the candidate that it was made for.

    A subclass is named by an entry point of the group ``hotswap.adapters``. The name of the entry point is the
    top-level module of the framework: it is loaded when that module is in `sys.modules`, and made, without arguments,
    for each patch that is staged. The methods are called in the order in which they stand here.

    Attributes:
        families: the top-level packages of metaclasses whose classes this adapter looks after. Without an adapter,
            classes of frameworks that build themselves when they are created are refused.
        roots: the classes whose living instances `instances` finds.
        look: finds them; it is shared by all adapters of a rollout.
        together: all adapters of the rollout, this one among them.
    """

    library = ""
    """The package that it is for, by the name of its entry point."""

    families: ClassVar[tuple[str, ...]] = ()
    roots: ClassVar[tuple[type, ...]] = ()
    look: Look | None = None
    together: Sequence[Adapter] = ()

    def instances(self) -> list[Any]:
        """Return the living instances of `roots` and of their subclasses, wherever they are held.

        The first adapter that asks has the whole heap looked through. So it is asked in `staged`, not in `swap`.
        """
        return (self.look or Look(self.roots)).instances(self.roots)

    def dependents(self, live: Live, changed: Iterable[str], definitions: Mapping[str, Definitions]) -> Iterable[str]:
        """Return the unchanged modules that have to be loaded too: they hold compiled copies of what changes.

        It is called before anything is loaded, and runs no code of the service.

        Arguments:
            live: the managed modules as they run now.
            changed: the names of the modules whose text the patch changes.
            definitions: what the new sources of those say.
        """
        return ()

    def begin(self, old: Mapping[str, ModuleType], new: Mapping[str, ModuleType]) -> None:
        """Note what is about to be loaded.

        Arguments:
            old: the living modules that the candidate replaces or removes.
            new: the modules of the candidate; it is filled while they are loaded.
        """

    def staging(self, module: str) -> AbstractContextManager[object]:
        """Return the block in which the body of one module of the candidate runs.

        What is registered in it must not get into living registries. It is entered in the thread that runs the body;
        blocks of modules that import each other are nested, and a module that is first imported by a check gets its
        block then. Other threads go on working with the living registries meanwhile.

        Arguments:
            module: the name of the module.
        """
        return nullcontext()

    def sheltered(self, module: str) -> AbstractContextManager[object]:
        """Return the blocks of all adapters: code of a module that an adapter runs in `staged` registers with many.

        Arguments:
            module: the name of the module.
        """
        return sheltered(self.together or (self,), module)

    def staged(self) -> None:
        """Do what may fail, take long or run code of the candidate: all module bodies have run.

        What this raises rejects the rollout as an error of the patch. No lock is held.
        """

    def aside(self) -> Iterable[object]:
        """Return the containers in which what was registered is kept aside.

        They belong to the candidate: references to dropped twins in them are replaced by the living objects. So they
        must not contain lists, dicts or sets that are living.
        """
        return ()

    def keeps(self, living: Any, twin: Any) -> bool:
        """Return whether a module-level object stays although its definition changed, since others hold it.

        The adapter has to bring it up to date then. Of an object whose definition did not change nobody is asked.

        Arguments:
            living: what a name of a living module stands for.
            twin: what it stands for in the candidate.
        """
        return False

    def functions(self, living: Any, twin: Any) -> Iterable[tuple[Any, Any]]:
        """Return the functions in an object, old and new, that nobody would find who looks into its attributes.

        The old ones lead to the new ones then, as functions do that stand in a module.

        Arguments:
            living: what a name of a living module stands for.
            twin: what it stands for in the candidate.
        """
        return ()

    def comes_back(self, gone: type, new: type) -> bool:
        """Return whether a class that an earlier version had, and the live one has not, comes back as the same class.

        Otherwise the new one is a class of its own, and objects of the other are not of it.

        Arguments:
            gone: the class of the earlier version, which others may still hold.
            new: that of the candidate.
        """
        return True

    def keeps_attribute(self, living: type, twin: type, name: str) -> bool:
        """Return whether an attribute of a class that stays is left as it is, whatever the body of its twin says.

        Arguments:
            living: the class.
            twin: its twin, which is dropped.
            name: the attribute, which one of them or both have.
        """
        return False

    def slot_values(self, living: type, twin: type) -> Mapping[str, Make]:
        """Return what makes the values of slots that objects of a class that stays may have no value for.

        A slot that is added has no place in objects that exist, and no value in the class. Each of these is called
        with an object when its value is first read.

        Arguments:
            living: the class.
            twin: its twin, which is dropped; it has these slots.
        """
        return {}

    def swap(self, facts: Facts) -> None:
        """Add the writes that bring the living registries up to date, in both directions, and describe them.

        It is called once for the plan and once more for the commit, under a lock: it runs no code of the candidate,
        and changes nothing.
        """


def adapt(adapters: Iterable[Adapter], facts: Facts) -> set[int]:
    """Have the adapters add their writes; return the ids of the containers that they care for."""
    for adapter in adapters:
        adapter.swap(facts)
    return facts.claimed


def stays_of(adapters: Sequence[Adapter]) -> Callable[[Any, Any], bool]:
    """Return what says whether an object whose definition changed stays: whether any of the adapters keeps it."""
    return lambda living, twin: any(adapter.keeps(living, twin) for adapter in adapters)


def functions_by(adapters: Sequence[Adapter]) -> Callable[[Any, Any], Iterable[tuple[Any, Any]]]:
    """Return what gives the functions in two objects that adapters know."""
    return lambda living, twin: [pair for adapter in adapters for pair in adapter.functions(living, twin)]


def adapted_by(
    adapters: Sequence[Adapter],
) -> tuple[Callable[[type, type, str], bool], Callable[[type, type], Mapping[str, Make]]]:
    """Return what says whether an attribute of a class stays as it is, and what makes the values of added slots."""
    return (
        lambda living, twin, name: any(adapter.keeps_attribute(living, twin, name) for adapter in adapters),
        lambda living, twin: {k: v for adapter in adapters for k, v in adapter.slot_values(living, twin).items()},
    )


def families_of(adapters: Sequence[Adapter]) -> frozenset[str]:
    """Return the packages of the metaclasses that the adapters look after."""
    return frozenset(family for adapter in adapters for family in adapter.families)
