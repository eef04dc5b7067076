"""Promises of Celery: tasks of an application that nobody has used yet.

Celery makes a task when it is first used, or when its application is finalized. Until then a name stands for a promise,
which knows the function and the options. It goes on as the promise that it is, with those of the new version.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from hotswap.adapters.celery_tasks import ARGUMENTS, LOCAL, OPTIONS, is_promise, task_of
from hotswap.adapters.parts import definition
from hotswap.errors import PlanError
from hotswap.swap import Facts, Fate, NameChange, Op

__all__ = ["Promises", "promised_name"]


def promised_name(app: Any, promise: Any) -> str:
    """Return the name that the task of a promise will have."""
    (fun,) = ARGUMENTS.__get__(promise)
    return str(OPTIONS.__get__(promise).get("name") or app.gen_task_name(fun.__name__, fun.__module__))


class Promises:
    """The promises of a living application, and those that the candidate made. Lives as long as the candidate.

    Arguments:
        app: the application.
        new: what the candidate made for it, in order.
    """

    def __init__(self, app: Any, new: list[Any]) -> None:
        self._app = app
        self._living = {promised_name(app, each): each for each in list(app.__dict__["_pending"]) if is_promise(each)}
        # Read now: a check may use them, and then they forget how they were made.
        self._new = {promised_name(app, each): (each, ARGUMENTS.__get__(each), OPTIONS.__get__(each)) for each in new}

    def change(self, facts: Facts, renames: Mapping[str, str], goes: Callable[[Any, Any], bool]) -> None:
        """Add the writes that bring the promises up to date.

        Arguments:
            facts: receives the writes.
            renames: new name -> old name, of tasks that have another one.
            goes: whether a promise goes, of it and the function in it, if the candidate has not made it again.

        Raises PlanError if the application was used for the first time after the patch was staged.
        """
        app = self._app
        changed: dict[str, tuple[Any, Any]] = {}
        for name, (promise, _, _) in self._new.items():
            living = self._living.get(renames.get(name, name))
            if living is not None:
                changed[name] = (promise, living)
        kept = {id(living) for _, living in changed.values()}
        gone = {
            name: promise
            for name, promise in self._living.items()
            if id(promise) not in kept
            and is_promise(promise)
            and goes(promise, definition(ARGUMENTS.__get__(promise)[0]))
        }
        if not self._new and not gone:
            return
        if app.__dict__["finalized"] or any(task_of(living) is not None for _, living in changed.values()):
            raise PlanError(
                f"the Celery application {app.main or ''!r} was used for the first time after the patch was staged: "
                f"its tasks are made otherwise from then on",
                advice="stage the patch again; the service goes on meanwhile",
            )
        make = app._task_from_fun
        added = [promise for name, (promise, _, _) in self._new.items() if name not in changed]
        for name, (promise, arguments, options) in self._new.items():
            if name in changed:
                living = changed[name][1]
                facts.redirect(promise, living)
                was = (ARGUMENTS.__get__(living), OPTIONS.__get__(living))
                facts.writes.both(
                    [(ARGUMENTS.__set__, living, arguments), (OPTIONS.__set__, living, options)],
                    [(ARGUMENTS.__set__, living, was[0]), (OPTIONS.__set__, living, was[1])],
                )
            elif is_promise(promise):
                facts.writes.both([(LOCAL.__set__, promise, make)], [])
                facts.plan.names.append(NameChange(arguments[0].__module__, name, Fate.ADDED, "task"))
        for name, promise in gone.items():
            home = ARGUMENTS.__get__(promise)[0].__module__
            facts.plan.names.append(NameChange(home, name, Fate.REMOVED, "task"))
        self._queue(facts, added, list(gone.values()))

    def _queue(self, facts: Facts, added: list[Any], gone: list[Any]) -> None:
        app = self._app
        names = [name for name, (promise, _, _) in self._new.items() if any(promise is each for each in added)]

        def late(forward: bool) -> list[Op]:
            came, went = (added, gone) if forward else (gone, added)
            own = app.__dict__
            waiting = own["_pending"]
            facts.writes.hold(waiting, dict(own["_tasks"]))
            there = {id(promise) for promise in (*came, *went)}
            after = deque([promise for promise in list(waiting) if id(promise) not in there] + came)
            ops: list[Op] = [(dict.__setitem__, own, "_pending", after)]
            if not forward:
                # Those that were used since have become tasks.
                ops += [(dict.pop, own["_tasks"], name, None) for name in names]
            return ops

        if added or gone:
            facts.writes.late(late)
