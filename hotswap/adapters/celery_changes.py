"""Changes of Celery's registries: the tasks of applications, and what registers tasks with applications to come."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from celery import _state

from hotswap import walk
from hotswap.adapters.celery_tasks import function_of, home_of, is_task, made_by, task_of
from hotswap.adapters.celery_workers import Consumers
from hotswap.adapters.parts import replace_items
from hotswap.generation import Kind
from hotswap.swap import Facts, Fate, NameChange, Op

__all__ = [
    "adopt_class",
    "change_apps",
    "change_finalizers",
    "change_tasks",
    "gone_tasks",
    "lead_classes",
    "paired",
    "takes_class",
]

_MISSING: Any = object()
_SET_CLASS = object.__dict__["__class__"].__set__

_TASK = "task"
"""What a plan calls a name that is one."""

_OF_CELERY = ("__qualname__", "_app", "_orig_run", "name", "run")
"""What Celery sets on a task when it is registered. Whatever else is there was set by its owner, and stays."""


_REMEMBERED = ("_exec_options", "override_max_retries")
"""What a task remembers of its options when it has run: those of its messages, and how often the last one was retried.

The latter stays when a message was retried too often, and then counts for all messages to come.
"""


def takes_class(living: Any, cls: type) -> bool:
    """Whether a task can get another class: tried on one that nobody knows."""
    try:
        _SET_CLASS(object.__new__(type(living)), cls)
    except TypeError:
        return False
    return True


def paired(living: Mapping[str, Any], new: Iterable[str], renames: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """Return which living tasks the tasks of the candidate take the place of: new name -> (old name, living task).

    Arguments:
        living: the living tasks by name.
        new: the names of those of the candidate.
        renames: new name -> old name, of tasks that have another one.
    """
    found: dict[str, tuple[str, Any]] = {}
    taken: set[int] = set()
    for name in sorted(new, key=lambda name: name not in renames):
        old_name = renames.get(name, name)
        task = living.get(old_name)
        if task is not None and id(task) not in taken:
            taken.add(id(task))
            found[name] = (old_name, task)
    return found


def gone_tasks(facts: Facts, app: Any) -> Callable[[Any, Any], bool]:
    """Return what says whether a task (or a promise of one) goes with its modules, of it and the function in it.

    It is asked about those that the new version has not registered again. It goes if it was registered where it is
    defined. An unchanged module may have registered it, too: then its function is there under its own name, and no
    statement of a changed module says that it was registered there.

    Arguments:
        facts: knows what is gone.
        app: the application.
    """
    went = [text for text in facts.went(app) if "'register_task'" in text or "'task'" in text]
    unbound: set[int] = set()
    for name, module in {**facts.old, **facts.removed}.items():
        body = facts.definitions[0].get(name)
        after = facts.new[name].__dict__ if name in facts.new else {}
        for attribute, value in list(module.__dict__.items()):
            imported = body is not None and body.kind(attribute) is Kind.IMPORT
            if not imported and is_task(value) and not is_task(after.get(attribute)):
                unbound.update((id(value), id(task_of(value) or value)))
    modules = {*facts.old, *facts.removed}

    def goes(task: Any, function: Any) -> bool:
        home = getattr(function, "__module__", None)
        if home not in modules or "<locals>" in getattr(function, "__qualname__", ""):
            return False  # made at run time, by code that is not loaded with a patch
        if id(task) in unbound or facts.is_gone(function) or home in facts.removed:
            return True
        if any(f"id={function.__qualname__!r}" in text for text in went):
            return True
        return not walk.is_class(function) and facts.successor(function) is function

    return goes


def change_tasks(
    facts: Facts,
    app: Any,
    new: Mapping[str, Any],
    twins: Mapping[str, Any],
    renames: Mapping[str, str],
    goes: Callable[[Any, Any], bool],
    consumers: Consumers,
) -> None:
    """Add the writes that bring the tasks of a living application up to date.

    Arguments:
        facts: receives the writes.
        app: the application.
        new: the tasks of the candidate, by name.
        twins: what is registered with the twin of the application; others may have taken their place.
        renames: new name -> old name, of tasks that have another one.
        goes: whether a task that the candidate has not registered again goes.
        consumers: the consumers of the application in this process.
    """
    living = app.__dict__["_tasks"]
    pairs = paired(living, new, renames)
    stay = {id(task) for _, task in pairs.values()}
    before = {name: task for name, task in list(living.items()) if id(task) in stay or goes(task, function_of(task))}
    for name, (_, task) in pairs.items():
        facts.redirect(new[name], task)
    after = {name: pairs[name][1] if name in pairs else task for name, task in new.items()}
    for name, task in twins.items():
        stays = after.get(name, living.get(name, task))
        if task is not stays:
            facts.redirect(task, stays)
    told = [NameChange(home_of(before[name]), name, Fate.REMOVED, _TASK) for name in before if name not in after]
    told += [NameChange(home_of(new[name]), name, Fate.ADDED, _TASK) for name in new if name not in before]
    # Another application may have it, too.
    facts.plan.names += [change for change in told if change not in facts.plan.names]
    for name, (_, task) in pairs.items():
        _change_task(facts, task, new[name])
    replace_items(facts, living, {**dict.fromkeys(before.keys() - after.keys(), _MISSING), **after}, _MISSING)
    consumers.change(facts, before, after)


def _change_task(facts: Facts, living: Any, new: Any) -> None:
    """Give a living task the class of the new one, and what Celery has set on that."""
    cls, was = facts.translate(type(new)), type(living)
    if cls is not was:
        facts.writes.both([(_SET_CLASS, living, cls)], [(_SET_CLASS, living, was)])
    own, other = living.__dict__, new.__dict__
    for name in _OF_CELERY:
        if name in other:
            value = facts.translate(other[name])
            if own.get(name, _MISSING) is not value:
                facts.writes.item(own, name, value)
        else:
            facts.writes.drop(own, name)
    for name, value in list(other.items()):
        if name not in own and name not in (*_OF_CELERY, "__trace__", *_REMEMBERED):
            facts.writes.item(own, name, facts.translate(value))
    for name in _REMEMBERED:
        facts.writes.both([(dict.pop, own, name, None)], [(dict.pop, own, name, None)])


def lead_classes(twin: Any, app: Any) -> None:
    """Give the candidate's classes of tasks the base class of the living application: the one of its twin is dropped.

    Nobody but the candidate knows them yet. An application makes this class when it is first asked for it.
    """
    base, living = twin.__dict__.get("Task"), app.__dict__.get("Task")
    if base is not None and living is not None:
        for cls in type.__subclasses__(base):
            cls.__bases__ = tuple(living if each is base else each for each in cls.__bases__)
        twin.__dict__["Task"] = living


def adopt_class(facts: Facts, app: Any, twin: Any) -> None:
    """Add the writes that give a living application the base class of its tasks, if it has made none of its own."""
    base = twin.__dict__.get("Task")
    if base is not None and "Task" not in app.__dict__:
        facts.writes.both([(type.__setattr__, base, "_app", app)], [])
        facts.writes.item(app.__dict__, "Task", base)


def change_finalizers(facts: Facts, new: Iterable[Any], known: Iterable[Any]) -> None:
    """Add the writes that have applications which are finalized later get the tasks of the new version.

    Arguments:
        facts: receives the writes.
        new: what registers the tasks of the candidate with an application.
        known: the applications whose tasks are brought up to date already. Those that are finalized after the swap
            lose at a rollback what it has added.
    """
    living = _state._on_app_finalizers
    added = list(new)
    made = {id(function) for function in map(made_by, added) if function is not None}
    modules = {*facts.old, *facts.removed}
    for callback in list(living):
        function = made_by(callback)
        if getattr(function, "__module__", None) not in modules or "<locals>" in function.__qualname__:
            continue
        successor = facts.successor(function)
        if successor is function or id(successor) in made or facts.is_gone(function):
            facts.writes.both([(set.discard, living, callback)], [(set.add, living, callback)])
    for callback in added:
        facts.writes.both([(set.add, living, callback)], [(set.discard, living, callback)])
    facts.claim(living)
    names = {change.name for change in facts.plan.names if change.fate is Fate.ADDED and change.why == _TASK}
    before = {id(app): app for app in known}

    def late(forward: bool) -> Iterator[Op]:
        for app in [] if forward else list(_state._get_active_apps()):
            tasks = app.__dict__["_tasks"]
            if id(app) not in before:
                facts.writes.hold(dict(tasks))
                yield from ((dict.pop, tasks, name, None) for name in names)

    facts.writes.late(late, again=True)


def change_apps(facts: Facts, apps: Iterable[Any], default: Any) -> None:
    """Add the writes that make applications known which the new version adds.

    Arguments:
        facts: receives the writes.
        apps: what the candidate made; twins of living applications are among them.
        default: which of them is to be the default one, or None.
    """
    known: Any = _state._apps
    for app in apps:
        facts.writes.both([(dict.pop, app.__dict__, "finalize", None)], [])
        if facts.translate(app) is app:
            reference = weakref.ref(app, known._remove)
            facts.writes.both([(set.add, known.data, reference)], [(set.discard, known.data, reference)])
    wanted = facts.translate(default)
    if default is not None and _state.default_app is not wanted:
        facts.writes.item(_state.__dict__, "default_app", wanted)
