"""The desk: rollouts that somebody has asked for over HTTP, and what is done with rollouts, beyond one request.

Each piece of work runs in a thread of its own. What it came to is kept as JSON: a rollout that is over holds no code.

Guarantees: two pieces of work never run for one rollout at once, the second is refused. Every method may be called from
any thread; none but `find` and `view` waits for a rollout. Assumes: nothing of the event loop.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Literal, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary

from hotswap.admin.problems import ProblemError, problem_of
from hotswap.admin.views import of_record, of_rollout
from hotswap.errors import StateError
from hotswap.events import emit
from hotswap.outline import diff_of
from hotswap.patch import Patch
from hotswap.patcher import Patcher
from hotswap.place import Terms
from hotswap.records import BEFORE_LIVE
from hotswap.rollout import Rollout
from hotswap.session import context_outside

__all__ = ["Act", "Asked", "Desk", "Work"]

Act: TypeAlias = Literal["verify", "commit", "confirm", "rollback", "abort"]

_KEPT = 200
"""Rollouts of which it is kept what they came to, besides what the history has."""
_KEPT_DIFFS = 8 << 20
"""Characters of the last diffs that are kept."""


class Asked(NamedTuple):
    """How somebody wants a patch rolled out.

    Attributes:
        by, why: for the history.
        commit: whether it is to go live, once its checks have passed.
        dry_run: whether it is given up after its checks.
        undo: whether it may be older than what is live, if it was live here before.
        rehearse: whether it is rehearsed first; None: as the patcher has it.
        bake: seconds; `...`: as the patcher has it.
        allow_effects: kinds of effects that its import may leave.
        remark: what has to be said of the upload, or "".
    """

    by: str
    why: str = ""
    commit: bool = True
    dry_run: bool = False
    undo: bool = False
    rehearse: bool | None = None
    bake: Any = ...
    allow_effects: tuple[str, ...] = ()
    remark: str = ""


class Work:
    """Something that goes on for a rollout. Lives as long as somebody waits for it.

    `begun` has the id of the rollout, once it is known; `over` the view of it, or what went wrong.
    """

    def __init__(self) -> None:
        self.begun: Future[str] = Future()
        self.over: Future[dict[str, Any]] = Future()


class Desk:
    """Lives as long as the app.

    Arguments:
        patcher: whose rollouts they are.
    """

    def __init__(self, patcher: Patcher) -> None:
        self._patcher = patcher
        self._lock = threading.Lock()  # guards what follows, for a few assignments
        self._rollouts: WeakValueDictionary[str, Rollout] = WeakValueDictionary()
        self._remarks: WeakKeyDictionary[Rollout, str] = WeakKeyDictionary()
        self._busy: dict[str, str] = {}
        self._came_to: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._diffs: OrderedDict[str, str] = OrderedDict()

    # --- work --------------------------------------------------------------------------------------------------------

    def roll_out(self, patch: Patch, asked: Asked) -> Work:
        """Begin to roll out a patch."""
        work = Work()

        def run() -> dict[str, Any]:
            rollout: Rollout | None = None

            def began(found: Rollout) -> None:
                nonlocal rollout
                rollout = found
                with self._lock:
                    self._rollouts[found.id] = found
                    self._busy[found.id] = "roll_out"
                    self._remarks[found] = asked.remark
                work.begun.set_result(found.id)

            try:
                terms = Terms.of(
                    0.0,
                    asked.allow_effects,
                    ...,
                    "undo" if asked.undo else "never",
                    by=asked.by,
                    why=asked.why,
                    bake=asked.bake,
                    through=asked.commit and not asked.dry_run,
                    rehearsal=self._patcher.rehearsal_for(asked.rehearse),
                    began=began,
                    staged=self._keep_diff,
                )
                made = self._patcher.roll_out(patch, terms)
                if not asked.dry_run:
                    return self._keep(self._fresh(made))
                shown = self._fresh(made)  # what there is to be seen goes with its end
                made.abort("a dry run")
                return self._keep({**shown, **of_record(made.record), "report": shown["report"], "actions": []})
            except BaseException as error:
                if rollout is not None:
                    self._keep({**self._fresh(rollout), "problem": problem_of(error).body})
                raise
            finally:
                if rollout is not None:
                    with self._lock:
                        self._busy.pop(rollout.id, None)

        return self._start(work, run, f"hotswap admin {patch.label}")

    def act(self, id_: str, act: Act, by: str, why: str) -> Work:
        """Begin to do something with a rollout.

        Raises ProblemError: 404 if nobody knows it, 409 if it is over, or something is being done with it.
        """
        rollout = self.find(id_)
        if rollout is None:
            state = self.view(id_)["state"]  # 404 if nobody knows it
            raise ProblemError(
                409, "state", f"the rollout is {state.replace('_', ' ')}: there is nothing left to {act}"
            )
        urgent = act == "abort" or (act == "rollback" and rollout.state not in BEFORE_LIVE)
        with self._lock:
            busy = self._busy.get(id_)
            if busy is not None and not urgent:
                raise ProblemError(409, "busy", f"{busy.replace('_', ' ')} goes on for this rollout")
            self._busy.setdefault(id_, act)
        acts: dict[Act, Callable[[], None]] = {
            "verify": rollout.verify,
            "commit": lambda: self._commit(rollout),
            "confirm": rollout.confirm,
            "rollback": lambda: rollout.rollback(why, by=by),
            "abort": lambda: rollout.abort(why),
        }

        def run() -> dict[str, Any]:
            try:
                acts[act]()
                return self._keep(self._fresh(rollout))
            finally:
                with self._lock:
                    if self._busy.get(id_) == act:
                        del self._busy[id_]

        work = Work()
        work.begun.set_result(id_)
        return self._start(work, run, f"hotswap admin {act}")

    def undo(self, by: str, why: str) -> Work:
        """Begin to take back what went live last."""
        work = Work()

        def run() -> dict[str, Any]:
            return self._keep(self._fresh(self._patcher.rollback(reason=why, by=by)))

        return self._start(work, run, "hotswap admin undo")

    def _commit(self, rollout: Rollout) -> None:
        if rollout.state == "staged":
            rollout.verify()
        rollout.commit()

    def _start(self, work: Work, run: Callable[[], dict[str, Any]], name: str) -> Work:
        context = context_outside()

        def main() -> None:
            try:
                shown = context.run(run)
            except BaseException as error:  # noqa: BLE001 - whoever waits gets it, or reads it later
                problem = problem_of(error)
                if problem.status == 500:
                    emit("admin.failed", level="error", reason=error, work=name)
                work.over.set_exception(problem)
                if not work.begun.done():
                    work.begun.set_exception(problem)
            else:
                work.over.set_result(shown)
                if not work.begun.done():
                    work.begun.set_result(shown["id"])

        # A daemon: a service that is told to end does not wait for a check that hangs.
        threading.Thread(target=main, name=name, daemon=True).start()
        return work

    # --- what is known -----------------------------------------------------------------------------------------------

    def find(self, id_: str) -> Rollout | None:
        """Return a rollout with which something may be done still; None if there is none."""
        current = self._patcher.current
        if current is not None and current.id == id_:
            return current
        with self._lock:
            return self._rollouts.get(id_)

    def view(self, id_: str) -> dict[str, Any]:
        """Return what is known of a rollout. Raises ProblemError, 404, if nobody knows it."""
        rollout = self.find(id_)
        with self._lock:
            kept = self._came_to.get(id_)
            has_diff = id_ in self._diffs
        if rollout is not None:
            fresh = self._fresh(rollout)
            fresh["has_diff"] = has_diff or (rollout.state in BEFORE_LIVE and bool(rollout.plan.modules))
            if kept is not None and "problem" in kept and kept["changed"] == fresh["changed"]:
                fresh["problem"] = kept["problem"]
            return fresh
        if kept is not None:
            return {**kept, "has_diff": has_diff}
        for record in self._patcher.history():
            if record.id == id_:
                return of_record(record)
        raise ProblemError(404, "not-found", "there is no such rollout")

    def _fresh(self, rollout: Rollout) -> dict[str, Any]:
        with self._lock:
            remark = self._remarks.get(rollout, "")
        return {**of_rollout(rollout), "remark": remark}

    def diff(self, id_: str) -> str:
        """Return what a rollout changes, as a unified diff; the last ones are kept.

        Raises ProblemError: 404 if nobody knows the rollout, 409 if its diff is not kept any more, or it was live
        before anybody asked.
        """
        with self._lock:
            kept = self._diffs.get(id_)
        if kept is not None:
            return kept
        rollout = self.find(id_)
        if rollout is None:
            self.view(id_)
            raise ProblemError(409, "state", "the rollout is over: what it changed is not kept")
        try:
            return self._keep_diff(rollout)
        except StateError as error:
            raise problem_of(error) from None

    def page(self, most: int, before: str | None = None) -> tuple[list[dict[str, Any]], bool]:
        """Return the facts of rollouts, newest first, and whether there are older ones.

        Arguments:
            most: how many.
            before: the id of a rollout: those that are older than it.

        Raises ProblemError, 404, if nobody knows that one.
        """
        records, first = self._patcher.history(), 0
        if before is not None:
            first = next((place for place, one in enumerate(records, 1) if one.id == before), 0)
            if not first:
                raise ProblemError(404, "not-found", "before: there is no such rollout")
        return list(map(of_record, records[first : first + most])), len(records) > first + most

    def _keep_diff(self, rollout: Rollout) -> str:
        """Compare while there is something to compare with; a dry run is over when somebody asks."""
        diff = diff_of(rollout)
        with self._lock:
            self._diffs[rollout.id] = diff
            while len(self._diffs) > 1 and sum(map(len, self._diffs.values())) > _KEPT_DIFFS:
                self._diffs.popitem(last=False)
        return diff

    def _keep(self, shown: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self._came_to[shown["id"]] = shown
            self._came_to.move_to_end(shown["id"])
            while len(self._came_to) > _KEPT:
                self._came_to.popitem(last=False)
        return shown
