"""The journal of what the import of a candidate did to the process around it.

`before` looks, `after` looks again, takes back what can be taken back, and keeps the rest by name. What went live is
made again by `make`, right before the commit, and taken back by `take_back`.

Guarantees: nothing of this is in the way while nothing is loaded. `make` either makes all or
takes back what it has made.

Assumes: what other threads of the service do to the same places while a candidate is loaded is rare. Where it can be
told apart (threads, tasks, registrations, files, signals), it is; a change of the environment, of `sys.path`, of a
filter or of a setting is taken for the candidate's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Iterable, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Protocol

from hotswap.effects.abstract import Registration, registrations
from hotswap.effects.actors import Actors, put_back
from hotswap.effects.authorship import Authorship
from hotswap.effects.entries import Environment, Lists
from hotswap.effects.exits import Exits
from hotswap.effects.facts import Deed, Effect, Outcome
from hotswap.effects.handles import handles
from hotswap.effects.holding_deeds import Holding
from hotswap.effects.holdings import holdings
from hotswap.effects.log_deeds import Entries
from hotswap.effects.log_handlers import Successors
from hotswap.effects.log_names import Named, Replacements, following, withdrawals
from hotswap.effects.logs import Loggers
from hotswap.effects.overloads import Overloads
from hotswap.effects.settings import Settings
from hotswap.effects.snapshot import Snapshot
from hotswap.effects.threads import Threads, tasks
from hotswap.effects.traces import Traces
from hotswap.effects.weak import WeakValues
from hotswap.namespaces import imported
from hotswap.patch import Word

__all__ = ["Journal", "Look", "Survey"]


class LiveModule(Protocol):
    """A managed module as it is imported now."""

    @property
    def name(self) -> str:
        """Its dotted name."""

    @property
    def module(self) -> ModuleType:
        """The object in `sys.modules`."""


class Young(Protocol):
    """What was created in some time: `objects`, and the ids of `tuples`, which somebody may be building.

    `mark` is as old as that time, and nobody holds it but this, and who passes over the heap.
    """

    objects: list[object] | None
    tuples: set[int]
    mark: object


class Look:
    """The process before something is loaded. Lives until `Journal.enter` has looked again.

    Arguments:
        modules: the live managed modules.
        work: for which `hotswap.stage` says that a thread works that runs the candidate's module bodies.
    """

    def __init__(self, modules: Iterable[LiveModule], work: object | None = None) -> None:
        self.imported = set(sys.modules)
        self.exits = Exits()
        self.actors = Actors(work)
        self.threads = Threads(self.actors)
        self.overloads = Overloads({entry.name.partition(".")[0] for entry in modules})
        self.loggers = Loggers(self.actors.present)
        self.environment = Environment()
        self.lists = Lists()
        self.settings = Settings()
        self.actors.watch()

    def end(self, ran: Iterable[dict[str, Any]]) -> None:
        """Take off what had to be put in place to look.

        Arguments:
            ran: the globals of the candidate's modules.
        """
        self.loggers.end()
        self.actors.end()
        put_back([*ran, *(facts for name, _, facts in imported() if name not in self.imported)])


class Survey(Look):
    """A look that also copies what live code could register something in. Lives until the look after loading.

    Arguments:
        modules: the live managed modules.
        work: for which `hotswap.stage` says that a thread works that runs the candidate's module bodies.
        libraries: packages for which somebody else looks after what is registered in them.
    """

    def __init__(self, modules: Iterable[LiveModule], work: object, libraries: frozenset[str]) -> None:
        self.libraries = libraries
        self.snapshot = Snapshot([(entry.name, entry.module) for entry in modules], libraries)
        super().__init__(modules, work)

    def meet(self, module: str, names: Iterable[str]) -> None:
        """Look at what a module body has imported, before it can change it.

        Arguments:
            module: an absolute name.
            names: what is taken from it.
        """
        self.snapshot.nearby.meet(module, names)


class Journal:
    """What a candidate did. Lives as long as its generation is kept.

    Arguments:
        allowed: kinds of effects that may be left behind.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self.allowed = frozenset(allowed)
        self.deeds: list[Deed] = []
        self.setters: dict[str, frozenset[Word]] = {}
        """What the setters of the properties say that the candidate's import has set."""
        self._made: list[Deed] = []
        self._named: list[Deed] = []
        self._assigned: list[Any] = []

    def enter(
        self,
        look: Survey,
        young: Young,
        own: tuple[Mapping[int, dict[str, object]], Iterable[object], list[type]],
        inside: Container[int],
        keepers: Iterable[object],
        authorship: Authorship,
    ) -> None:
        """Take back what was done since a look, and enter it.

        Arguments:
            look: taken before loading.
            young: what was created since; held by nobody else.
            own: id of the globals of each of the candidate's modules -> them; its modules; its classes.
            inside: ids of what the candidate's modules hold themselves.
            keepers: objects of ours that keep something for the candidate.
            authorship: tells whose plain data in live registries is.
        """
        ran, modules, classes = own
        assigned, self._assigned = self._assigned, []
        objects = young.objects or []
        self.enter_settings(look)
        snapshot = look.snapshot
        traces = Traces(objects, young.tuples, young.mark, ran, modules, classes, snapshot.knows, snapshot.gained)
        traces.trust(keepers)
        traces.trust_alone(assigned)
        self.deeds += look.threads.changed(traces.leads, ran, objects)
        self.deeds += tasks(objects, ran, inside)
        self.deeds += registrations(classes)
        for found in holdings(traces, look.snapshot, list(self.deeds), authorship, look.libraries):
            self.deeds.append(found)

    def enter_settings(self, look: Look) -> None:
        """Take back what can be told without knowing which objects are the candidate's, and enter it."""
        fresh = {name for name in sys.modules if name not in look.imported}
        self.deeds += [*look.settings.changed(), *look.lists.changed(), *look.environment.changed()]
        self.deeds += [*look.loggers.changed(), *look.overloads.changed()]
        self.deeds += look.exits.changed(lambda function: _module_of(function) in fresh)

    def enter_late(self, look: Look) -> None:
        """Do the same for a module that is loaded on demand, and enter the threads that were started for it."""
        self.enter_settings(look)
        self.deeds += look.threads.changed(lambda _: False, (), ())

    def enter_assigned(self, assignments: Mapping[str, tuple[dict[str, Any], dict[str, Any]]]) -> None:
        """Enter the attributes of live modules that were set; nobody but the candidate has seen them.

        Arguments:
            assignments: name of a module -> (its globals, the attributes).
        """
        self._assigned = [assignments, *assignments.values(), *(names for _, names in assignments.values())]
        for module, (facts, names) in assignments.items():
            what = f"sets {', '.join(names)} in the module {module}"
            before = [facts[name] for name in names if name in facts]
            held = Holding("registrations", what, Outcome.UNDONE, facts, dict(names), names=True, replaced=before)
            self.deeds.append(held)

    def enter_wrapped(self, names: Iterable[str]) -> None:
        """Enter functions of the candidate that wrap what the running version has put in their place.

        Arguments:
            names: of what they wrap.
        """
        for name in names:
            what = f"wraps {name} of the running version, since what that has taken the place of isn't known"
            self.deeds.append(Deed("registrations", what, Outcome.LEFT))

    def enter_held(self, owned: Iterable[object]) -> None:
        """Enter what the candidate's own objects hold open."""
        self.deeds += handles(owned)

    def lead(self, kept: Iterable[Named], replaced: Iterable[tuple[Any, Any]]) -> list[str]:
        """Learn what becomes of the names of the candidate's modules: what is on loggers goes with them.

        Arguments:
            kept: the objects that are kept, each with its twin.
            replaced: what names stood for, and what they stand for now.

        Returns a sentence for each statement of the new version that has no effect on a kept handler. What was learnt
        before is forgotten.
        """
        every, pairs = list(kept), list(replaced)
        for deed in self.deeds:
            if isinstance(deed, Successors):
                deed.lead([(named.twin, named.living) for named in every], pairs)
        self._named = [Replacements(pairs)]
        left: list[str] = []
        for named in every:
            deeds, sentences = following(named)
            self._named += deeds
            left += sentences
        return left

    def withdraw(self, items: Iterable[tuple[Any, str, Any]]) -> None:
        """Learn what goes from loggers, because no statement puts it there any more.

        Arguments:
            items: each a logger, the name of its list, and what goes. What the candidate's import puts there stays.
        """
        deeds = [deed for deed in self.deeds if isinstance(deed, Entries)]
        found = [one for one in items if not any(deed.puts(*one) for deed in deeds)]
        self._named[:0] = withdrawals(found)

    @property
    def effects(self) -> list[Effect]:
        """The facts, for the plan."""
        return [deed.fact(self.allowed) for deed in (*self.deeds, *self._named) if not deed.silent]

    @property
    def holdings(self) -> list[Holding]:
        """What was registered in live objects, for the swap to register."""
        return [deed for deed in self.deeds if isinstance(deed, Holding) and deed.twin is not None]

    @property
    def registered(self) -> list[Any]:
        """The entries that were taken out of live objects."""
        return [holding.twin for holding in self.holdings]

    @property
    def replaced(self) -> list[Any]:
        """What stands in live objects where the candidate's import has put something else."""
        return [o for deed in self.deeds if isinstance(deed, Holding) for o in deed.replaced]

    @property
    def registrations(self) -> list[Registration | WeakValues]:
        """What is registered with living abstract classes, and in weak dicts of values."""
        return [deed for deed in self.deeds if isinstance(deed, (Registration, WeakValues))]

    @property
    def is_spent(self) -> bool:
        """Whether something in it can be made but once."""
        return any(deed.once for deed in self.deeds)

    def make(self, living: Callable[[Any], Any]) -> None:
        """Make again what was taken back. Raises what a setting raises; all is taken back then.

        Arguments:
            living: gives the object that is live after the swap for one of the candidate.
        """
        try:
            for deed in (*self._named, *self.deeds):
                self._made.append(deed)
                deed.make(living)
        except BaseException:
            self.take_back()
            raise

    def settle(self) -> None:
        """End what was held and is not needed: the swap is made, and the living object stays in its place."""
        for deed in self.deeds:
            deed.settle()

    def take_back(self) -> list[str]:
        """Undo `make`, in reverse. Returns a sentence for each that can't be undone any more."""
        failed: list[str] = []
        while self._made:
            deed = self._made.pop()
            try:
                deed.take_back()
            except Exception as error:  # noqa: BLE001 - the others have to be undone whatever this one meets
                failed.append(f"{deed.what}: it could not be taken back: {type(error).__name__}: {error}")
        return failed

    def drop(self) -> None:
        """End what is held: the candidate is discarded."""
        deeds, self.deeds, self._named = [*self._named, *self.deeds], [], []
        for deed in reversed(deeds):
            deed.drop()


def _module_of(function: Any) -> str | None:
    """The module that a function says it is from; nothing else is asked, since it may answer by running code."""
    if type(function) is MethodType:
        function = function.__func__
    kinds = (FunctionType, BuiltinFunctionType, type)
    module = getattr(function, "__module__", None) if type(function) in kinds else None
    return module if isinstance(module, str) else None
