"""Celery: the tasks of living applications, and the workers in this process that run them.

A task stays the object that it is: signatures, schedules and from-imports lead to it, and so do messages, by its name.
At the swap it gets the class that Celery made for the new version, with its function and its options; what it remembers
stays. Workers in this process run the new version from the next message on.

While a module body of the candidate runs, the tasks of the modules that go look to it as if they had never been
registered, so that it makes new ones; these stay aside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from celery import Celery, _state
from celery.app.task import Task
from celery.local import maybe_evaluate
from celery.utils.dispatch import Signal
from celery.worker.consumer import Consumer

from hotswap import walk
from hotswap.adapters import celery_gates
from hotswap.adapters.celery_changes import (
    adopt_class,
    change_apps,
    change_finalizers,
    change_tasks,
    gone_tasks,
    lead_classes,
    paired,
    takes_class,
)
from hotswap.adapters.celery_promises import Promises, promised_name
from hotswap.adapters.celery_settings import (
    SHOWN,
    change_periodic_tasks,
    change_settings,
    settings_of,
    settings_shown,
    warn_of_arguments,
)
from hotswap.adapters.celery_signals import change_receivers, receivers_shown
from hotswap.adapters.celery_tasks import (
    LOCAL,
    function_behind,
    function_of,
    home_of,
    is_promise,
    is_shared,
    is_task,
    made_by,
    shared_name,
    task_of,
)
from hotswap.adapters.celery_workers import Consumers
from hotswap.adapters.overlay import Overlay, copied
from hotswap.adapters.parts import bound_twins, drop
from hotswap.swap import Adapter, Change, Facts

__all__ = ["CeleryAdapter"]

_ON_CLASSES = ("_app", "__bound__", "__trace__", "_backend", "_exec_options", "request_stack")
"""What Celery sets on the class of a task when it is first used. Executions in flight find their request by it."""

_FROM_SETTINGS = {name for name, _ in Task.from_config} | {"acks_on_failure", "acks_on_timeout", "typing"}


class CeleryAdapter(Adapter):
    """Adapts the tasks, the settings and the receivers of signals of Celery."""

    roots = (Consumer,)

    def __init__(self) -> None:
        self._old: Mapping[str, ModuleType] = {}
        self._new: Mapping[str, ModuleType] = {}
        self._overlay = Overlay(
            {
                Celery: {
                    "_duplicate_task_names_warned": copied,
                    "_pending": lambda _, __: deque(),
                    "_tasks": self._registry,
                    "finalized": lambda _, value: value,
                    "tasks": lambda app, _: app._tasks,
                    "_conf": self._settings,
                    **SHOWN,
                },
                Signal: {"_dead_receivers": lambda _, __: False, "receivers": self._receivers},
            }
        )
        self._before: dict[int, Any] = {}
        """Id of a living object -> a copy of what was shown of it first."""
        self._finalizers: list[Any] = []
        self._foreign: set[int] = set()
        self._default: Any = None
        self._living: list[Any] = []
        self._consumers: dict[int, Consumers] = {}
        self._twins: dict[int, tuple[str, Any]] = {}
        self._promises: dict[int, Promises] = {}
        self._renames: dict[int, dict[str, str]] = {}
        self._unchangeable: list[Change] = []
        self._apps: list[Any] = []
        self._are_loaded = False
        self.current: Any = None

    # --- staging -------------------------------------------------------------------------------------------------

    def begin(self, old: Mapping[str, ModuleType], new: Mapping[str, ModuleType]) -> None:
        """Note which modules go: what they registered is not shown to the candidate."""
        self._old, self._new = old, new

    @contextmanager
    def staging(self, module: str) -> Iterator[None]:
        """Keep what a module body registers out of living applications and signals."""
        with self._block():
            yield
        if self._are_loaded:
            self._prepare()  # a check has imported one more module

    @contextmanager
    def _block(self) -> Iterator[None]:
        with self._overlay.block(), celery_gates.lead(self):
            yield

    def staged(self) -> None:
        """Find the living applications and workers; make the tasks that the candidate has only promised."""
        self._living = list(_state._get_active_apps())
        consumers = self.instances()
        self._consumers = {id(app): Consumers(app, consumers) for app in self._living}
        self._are_loaded = True
        self._prepare()

    def _prepare(self) -> None:
        self._twins = {
            id(living): (f"{module}:{name}", twin)
            for module, name, living, twin in bound_twins(self._old, self._new, (Celery,))
        }
        self._unchangeable = []
        for app in self._living:
            _, twin = self._twins.get(id(app), ("", None))
            if twin is not None:
                lead_classes(twin, app)
            if app.__dict__["finalized"]:
                with self._block():
                    self._finalize(app, twin)
            bound = list(self._bound())
            self._promises[id(app)] = Promises(app, list(self._promised(app, twin, bound)))
            self._renames[id(app)] = dict(_renamed(app, bound))
            self._try_out(app)

    def _finalize(self, app: Any, twin: Any) -> None:
        """Make the tasks that an application would have if it was finalized now.

        An application that was finalized after a module was imported has its tasks, too, as tasks of its own.
        """
        if twin is not None:
            twin.finalize()
            return
        known = {_place(function_of(task)) for task in list(app.__dict__["_tasks"].values())}
        before = {
            _place(function) for function in map(made_by, list(_state._on_app_finalizers)) if function is not None
        }
        for callback in list(self._finalizers):
            place = _place(made_by(callback))
            siblings = {each for each in before if each[0] == place[0]}
            if place in known or (place not in before and siblings and siblings <= known):
                callback(app)

    def _bound(self) -> Iterator[tuple[Any, Any]]:
        """What the names stand for that are tasks in both versions of a module."""
        for name, module in self._old.items():
            after = self._new[name].__dict__ if name in self._new else {}
            for attribute, living in list(module.__dict__.items()):
                if is_task(living) and is_task(after.get(attribute)):
                    yield living, after[attribute]

    def _promised(self, app: Any, twin: Any, bound: list[tuple[Any, Any]]) -> Iterator[Any]:
        """The promises of the candidate that stay promises; the tasks of others are made, as the living ones were."""
        own = app.__dict__
        used = {id(after) for before, after in bound if task_of(before) is not None}
        for queue in (self._overlay.aside(app, "_pending"), twin.__dict__["_pending"] if twin is not None else None):
            for promise in filter(is_promise, list(queue or ())):
                if own["finalized"] or id(promise) in used or promised_name(app, promise) in own["_tasks"]:
                    with self._block():
                        maybe_evaluate(promise)
                else:
                    LOCAL.__set__(promise, self._aside(LOCAL.__get__(promise)))
                    yield promise

    def _aside(self, make: Callable[..., Any]) -> Callable[..., Any]:
        """Have a check that uses a task of the candidate make it aside."""

        def made(*arguments: Any, **options: Any) -> Any:
            with self._block():
                return make(*arguments, **options)

        return made

    def _try_out(self, app: Any) -> None:
        """Find out whether the living tasks can follow, and workers can run the new ones."""
        new = self._registered(app)
        pairs = paired(app.__dict__["_tasks"], new, self._renames[id(app)])
        for name, task in new.items():
            _, living = pairs.get(name, ("", None))
            if living is not None:
                if not takes_class(living, type(task)):
                    sentence = "objects of its new class are laid out differently; the task is held by others"
                    self._unchangeable.append(Change("layout-changed", home_of(task), name, sentence))
                stack = type(living).request_stack
                if stack is not None and "request_stack" in walk.class_dict(type(task)):
                    # Executions in flight ask the living task for their request; so they go on finding it.
                    type(task).request_stack = stack
            self._consumers[id(app)].try_out(name, task, living)

    def _registered(self, app: Any) -> dict[str, Any]:
        """The tasks that the candidate registered with a living application, or with its twin."""
        before = self._before.get(id(app), {})
        aside = self._overlay.aside(app, "_tasks") or {}
        return {**self._of_twin(app), **{name: task for name, task in aside.items() if before.get(name) is not task}}

    def _of_twin(self, app: Any) -> dict[str, Any]:
        _, twin = self._twins.get(id(app), ("", None))
        tasks = twin.__dict__["_tasks"] if twin is not None else {}
        return {name: task for name, task in tasks.items() if id(task) not in self._foreign}

    # --- what a module body sees of living objects, and what it leaves in the state of Celery ----------------------

    def _registry(self, app: Any, tasks: Any) -> Any:
        """The tasks of a living application, without those of the modules that go."""
        made = type(tasks)({name: task for name, task in list(tasks.items()) if home_of(task) not in self._old})
        self._before[id(app)] = dict(made)
        return made

    def _receivers(self, signal: Any, receivers: list[Any]) -> list[Any]:
        made = receivers_shown(receivers, self._old)
        self._before[id(signal)] = list(made)
        return made

    def _settings(self, app: Any, conf: Any) -> Any:
        made = settings_shown(app, conf)
        self._before[-id(app)] = copied(None, settings_of({**app.__dict__, "_conf": conf}))
        return made

    def made(self, app: Any) -> None:
        """Take an application that the candidate made: nobody else is to know it yet."""
        self._apps.append(app)
        app.__dict__["finalize"] = self._aside(app.finalize)

    def finalizer(self, callback: Callable[[Any], Any]) -> None:
        """Take what registers a task with applications that are finalized later."""
        self._finalizers.append(callback)

    def announce(self, app: Any) -> None:
        """Register shared tasks with an application that is finalized: others' first, then the candidate's."""
        before = {id(task) for task in list(app._tasks.values())}
        for callback in list(_state._on_app_finalizers):
            if getattr(made_by(callback), "__module__", None) not in self._old:
                callback(app)
        self._foreign.update({id(task) for task in list(app._tasks.values())} - before)
        for callback in list(self._finalizers):
            callback(app)

    def default(self, app: Any) -> None:
        """Take the application that is to be the default one."""
        self._default = app

    # --- the swap ------------------------------------------------------------------------------------------------

    def aside(self) -> Iterable[object]:
        """Return what was registered: tasks with their classes, promises, receivers, what finalizes."""
        for app in self._living:
            for task in (*self._registered(app).values(), *self._of_twin(app).values()):
                yield type(task)
                yield task.__dict__
            yield from self._overlay.aside(app, "_pending") or ()
        for signal in self._signals():
            yield from (receiver for _, receiver in self._connected(signal))
        yield from self._finalizers
        yield from self._apps

    def functions(self, living: Any, twin: Any) -> Iterable[tuple[Any, Any]]:
        """Return the functions of a task in both versions."""
        if is_task(living) and is_task(twin):
            yield function_behind(living), function_behind(twin)

    def keeps(self, living: Any, twin: Any) -> bool:
        """Return whether both are applications of one class, or tasks of one kind: others hold the living one."""
        if issubclass(type(living), Celery):
            return issubclass(type(twin), Celery) and _class_name(living) == _class_name(twin)
        kinds = (is_shared, is_promise, lambda value: task_of(value) is not None)
        return any(kind(living) and kind(twin) for kind in kinds)

    def keeps_attribute(self, living: type, twin: type, name: str) -> bool:
        """Keep what Celery has set on the class of a task when it was first used."""
        if not issubclass(living, Task) or name not in walk.class_dict(living):
            return False
        return name in _ON_CLASSES or (name in _FROM_SETTINGS and name not in walk.class_dict(twin))

    def swap(self, facts: Facts) -> None:
        """Bring the tasks, the settings and the receivers up to date."""
        facts.plan.unsupported += self._unchangeable
        for app in self._living:
            goes = gone_tasks(facts, app)
            renames = self._renames[id(app)]
            self._promises[id(app)].change(facts, renames, goes)
            _, twin = self._twins.get(id(app), ("", None))
            others = twin.__dict__["_tasks"] if twin is not None else {}
            change_tasks(facts, app, self._registered(app), others, renames, goes, self._consumers[id(app)])
            self._change_settings(facts, app)
            facts.plan.warnings += [
                f"the worker {name} runs tasks in child processes, which were forked before: they keep the old code "
                f"until its pool is restarted (app.control.pool_restart())"
                for name in self._consumers[id(app)].prefork()
            ]
        for living, twin in self._bound():
            if is_shared(living) and is_shared(twin):
                there, then = LOCAL.__get__(living), LOCAL.__get__(twin)
                facts.writes.both([(LOCAL.__set__, living, then)], [(LOCAL.__set__, living, there)])
        change_finalizers(facts, self._finalizers, self._living)
        change_apps(facts, self._apps, self._default)
        for signal in self._signals():
            change_receivers(facts, signal, self._connected(signal), facts.redirection.twins)

    def _change_settings(self, facts: Facts, app: Any) -> None:
        own = app.__dict__
        shown = {name: self._overlay.aside(app, name, own.get(name)) for name in own}
        if -id(app) in self._before:
            change_settings(facts, app, self._before[-id(app)], settings_of(shown))
        change_periodic_tasks(facts, app, shown)
        name, twin = self._twins.get(id(app), ("", None))
        if twin is None:
            return
        drop(facts, twin)
        adopt_class(facts, app, twin)
        stay = warn_of_arguments(facts, name, app, twin)
        if any(pair.touched for pair in facts.kept if pair.living is app):
            wanted = {key: value for key, value in settings_of(twin.__dict__).items() if key not in stay}
            change_settings(facts, app, settings_of(own), wanted)

    def _signals(self) -> list[Any]:
        return [o for o in self._overlay.touched() if issubclass(type(o), Signal)]

    def _connected(self, signal: Any) -> list[Any]:
        """What the candidate has connected with a living signal."""
        known = {id(entry) for entry in self._before.get(id(signal), ())}
        return [entry for entry in self._overlay.aside(signal, "receivers") or () if id(entry) not in known]


def _place(function: Any) -> tuple[Any, Any]:
    """Where the function of a task stands."""
    return getattr(function, "__module__", None), getattr(function, "__qualname__", None)


def _class_name(value: Any) -> tuple[str, str]:
    cls = type(value)
    return str(walk.class_dict(cls).get("__module__")), walk.class_name(cls)


def _renamed(app: Any, bound: Iterable[tuple[Any, Any]]) -> Iterator[tuple[str, str]]:
    """Yield (new name, old name) of the tasks that a name stands for in both versions and that have another one."""
    for pair in bound:
        before, after = (_name_of(app, each) for each in pair)
        if None not in (before, after) and before != after:
            yield str(after), str(before)


def _name_of(app: Any, value: Any) -> str | None:
    if is_shared(value):
        return shared_name(value, app)
    task = task_of(value)
    return promised_name(app, value) if task is None else str(task.name)
