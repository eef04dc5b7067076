"""The patcher owns what is live: one rollout at a time, and the public face of it all.

Concurrency. Guarantees: at most one rollout is staged, verified or being committed; changes of the state of a rollout,
and of what is live, are made under one lock, which is held for as long as a swap is prepared and committed. User code
(module bodies, checks, log handlers) never runs under it, so a check that calls back can't deadlock: it is refused.
Assumes: nothing; every entry may be called from any thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any

from packaging.version import Version

from hotswap.admission import checked_packages
from hotswap.bake import Bake, Baked
from hotswap.bookkeeping import Books
from hotswap.effects import checked_kinds
from hotswap.entrance import Entrance
from hotswap.errors import NothingToRollBackError
from hotswap.footing import Footing
from hotswap.hosting import HISTORY
from hotswap.patch import Patch
from hotswap.place import Older, Place, Seconds, Terms
from hotswap.records import State
from hotswap.rehearsal import Wish, wished
from hotswap.rollout import Host, Record, Rollout
from hotswap.settlement import Settlement
from hotswap.stopping import check_limit, check_wait
from hotswap.store import Store
from hotswap.succession import Succession
from hotswap.trials import Registering, Trials
from hotswap.trust import Memory, Trust, checked_trust
from hotswap.verification import Check

if TYPE_CHECKING:
    from hotswap.watching import Watch

__all__ = ["Patcher"]


class Patcher(Registering, Entrance):
    """Patches the packages of a running service. Lives as long as the service.

    Arguments:
        packages: the top-level packages or modules that may be patched. They are adopted as they are imported;
            nothing has to be prepared in them.
        store: a folder, or a `Store`: what is about to become live is made durable there before it is live, and
            `hotswap.boot` brings up what became permanent. Without one, nothing survives the process.
        check_timeout: seconds that a check may take, unless it says otherwise.
        load_timeout: seconds that the module bodies of a patch may take together. They run in a thread of their own,
            which is stopped when time is up, or left behind; the rollout is rejected. With None there is no limit, and
            they run in the thread that stages. The same holds for what a rollback loads, which goes on without it.
        closures: whether closures that old functions made are found and led to new code, when old calls have ended.
        allow_effects: kinds of import-time effects that patches may leave; one that leaves another is refused.
        handover: seconds that calls in flight have to finish on old code. What goes on after that (an endless loop)
            calls new code where the patch did not change its own; 0 hands over at once, None never.
        trust: the policy for what comes from watched directories, unless `watch` gets another; None: all of it is
            applied. What is given to `apply` is as trusted as the code that does so.
        bake: seconds that a rollout is on trial until it is permanent by itself, or a `Bake`; None: until somebody
            confirms it.
        rehearse: whether each patch, also what is dropped, is rehearsed in a copy of the process first: True, or a
            `Rehearsal` with limits. `stage` and `apply` may say otherwise.

    Raises ValueError for names that are no top-level packages, TypeError or ValueError for what is no time limit or no
    kind of effect, WrongPackageError for packages that do not exist, RehearsalError where no process can be copied.
    """

    _admitted = staticmethod(checked_packages)
    _succeeding: type[Succession] = Succession
    _rolling: Callable[[Host, Patch, Version], Rollout] = Rollout  # a fake has others of these three

    def __init__(
        self,
        packages: Sequence[str],
        *,
        store: str | PathLike[str] | Store | None = None,
        check_timeout: float = 30.0,
        load_timeout: float | None = 60.0,
        closures: bool = True,
        allow_effects: Iterable[str] = (),
        handover: float | None = 10.0,
        trust: Trust | None = None,
        bake: float | Bake | None = None,
        rehearse: Wish = False,
    ) -> None:
        names = self._admitted(packages)
        if load_timeout is not None:
            check_limit(load_timeout, "load_timeout", "a module")
        check_wait(handover, "handover")
        self._load_timeout, self._handover = load_timeout, handover
        self._allow_effects = checked_kinds(allow_effects)
        self._packages = names
        self._check_timeout = check_timeout
        self._checks: list[Check] = []
        self._rehearsal = wished(rehearse)
        self._history: OrderedDict[str, Record] = OrderedDict()
        # `_change` guards what is live and the states of rollouts; `_place` the right to have a rollout in progress.
        self._change = threading.RLock()
        self._books = Books(Store(store) if isinstance(store, (str, PathLike)) else store, names)
        self._succession = self._succeeding(names, Settlement(self._change, closures=closures))
        self._trials = Trials(self, bake, self.note, lambda: self._place.wake())
        self._place = Place(self, self.running, self._trials.baking)
        self._followers: list[Callable[[Record], None]] = []
        self._trust = checked_trust(trust)
        self._memory = Memory(None if trust is None else trust.seen, self._stands, self._books.lived, self._books.dated)
        self._resumed = self._resume()
        self._footing = Footing(self, self._books, self._resumed)
        self._books.distrust(frozenset() if self._trust is None else self._trust.revoked)

    def __repr__(self) -> str:
        return f"<Patcher of {', '.join(f'{name} {version}' for name, version in self.versions.items())}>"

    # --- what is known -------------------------------------------------------------------------------------------

    @property
    def current(self) -> Rollout | None:
        """The rollout in progress, else the one that is live, else None."""
        return self._place.rollout or self._succession.newest or self._resumed

    def history(self) -> tuple[Record, ...]:
        """Return the facts of every rollout, newest first; the last thousand are kept.

        With a store, those of other processes and of earlier ones are among them, and so are drops that were refused
        before they came to a rollout: the last thousand, besides the rollouts.
        """
        with self._change:
            known = tuple(reversed(self._history.values()))
        found = self._books.history(known, HISTORY)
        self._books.tell()
        return found

    # --- rollouts ------------------------------------------------------------------------------------------------

    def stage(
        self,
        patch: Patch,
        *,
        wait: float | None = 0.0,
        allow_effects: Iterable[str] = (),
        handover: Seconds = ...,
        undo: bool = False,
        by: str = "",
        why: str = "",
        bake: Baked = ...,
        rehearse: Wish | None = None,
    ) -> Rollout:
        """Load a patch side by side with what is live, and plan the swap. Live code is not touched.

        Arguments:
            patch: what to stage.
            wait: seconds to wait for another rollout that is in progress; 0 refuses at once, None waits for ever.
            allow_effects: kinds of import-time effects that this patch may leave, besides those of the patcher.
            handover: seconds, as those of the patcher, for this rollout and its rollback.
            undo: the patch was live here before, and may be older than what is live.
            by: who has it rolled out, for the history; without it, the account, host and process.
            why: what for, for the history.
            bake: as that of the patcher, for this rollout.
            rehearse: whether all of it is done in a copy of the process first; None: as the patcher has it.

        Raises BusyError if another rollout is in progress, VetoError if a hook refuses it, and a HotswapError that says
        what is wrong with the patch; the process is as it was then.
        """
        rehearsal = self.rehearsal_for(rehearse)
        return self._stage(
            patch,
            Terms.of(wait, allow_effects, handover, _older(undo), by=by, why=why, bake=bake, rehearsal=rehearsal),
        )

    def apply(
        self,
        patch: Patch,
        *,
        wait: float | None = 0.0,
        allow_effects: Iterable[str] = (),
        handover: Seconds = ...,
        undo: bool = False,
        by: str = "",
        why: str = "",
        bake: Baked = ...,
        rehearse: Wish | None = None,
    ) -> Rollout:
        """Stage, verify and commit a patch.

        Arguments and errors are those of `stage`, `Rollout.verify` and `Rollout.commit`. If anything fails, the
        rollout is rejected and the process is as it was.
        """
        older, rehearsal = _older(undo), self.rehearsal_for(rehearse)
        terms = Terms.of(
            wait, allow_effects, handover, older, by=by, why=why, bake=bake, through=True, rehearsal=rehearsal
        )
        return self._walk(patch, terms)

    async def apply_async(
        self,
        patch: Patch,
        *,
        wait: float | None = 0.0,
        allow_effects: Iterable[str] = (),
        handover: Seconds = ...,
        undo: bool = False,
        by: str = "",
        why: str = "",
        bake: Baked = ...,
        rehearse: Wish | None = None,
    ) -> Rollout:
        """Do what `apply` does in a thread, so that the event loop goes on; asynchronous checks run on the loop.

        If the caller is cancelled before the commit has begun, what is running (a module body, a check) is stopped as
        if its time were up, and the rollout is rejected; after that it is live, and the history tells.
        """
        loop, older, wish = asyncio.get_running_loop(), _older(undo), self.rehearsal_for(rehearse)
        more: dict[str, Any] = {"by": by, "why": why, "bake": bake, "through": True, "loop": loop, "rehearsal": wish}
        terms = Terms.of(wait, allow_effects, handover, older, **more)
        # A thread of its own: waiting for another rollout must not take one of the loop's few away from the service.
        executor = ThreadPoolExecutor(1, thread_name_prefix="hotswap-apply")
        run = contextvars.copy_context().run
        work = asyncio.ensure_future(loop.run_in_executor(executor, run, self._walk, patch, terms))
        executor.shutdown(wait=False)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            terms.cancelled.set()
            self._place.wake()
            while not work.done():
                with suppress(asyncio.CancelledError):  # a second one asks for what is being done already
                    await asyncio.wait([work])
            if not work.cancelled():
                work.exception()  # seen: the caller gets the cancellation, the history has the reason
            raise

    def rollback(self, *, reason: str = "", by: str = "") -> Rollout:
        """Go back to the previous generation, and return the rollout that was taken back.

        A rollout in progress is aborted: what it was staged on is gone. In a process that came up on a patched version
        the one before it comes from the store, or from the code on disk.

        Arguments:
            reason: why, for the history and the log.
            by: who takes it back, for the journal; without it, the account, host and process.

        Raises NothingToRollBackError if there is no previous generation, BusyError within a check.
        """
        self._place.refuse_reentry("roll back")
        with self._change:  # a commit that is just being made is waited for
            newest = self._succession.newest or self._resumed
        if newest is None or newest.state is State.ROLLED_BACK:
            raise NothingToRollBackError(
                "there is no previous generation to go back to",
                running=self.versions,
                advice="only the last rollout can be taken back, once",
            )
        newest.rollback(reason, by=by)
        return newest

    def watch(
        self,
        directory: str | PathLike[str],
        *,
        interval: float = 2.0,
        trust: Trust | None = None,
        single_files: bool = False,
        name: str | None = None,
    ) -> Watch:
        """Return a context manager that applies what is dropped into a directory.

        Arguments:
            directory: where patches are dropped; it is made if it is missing.
            interval: seconds between full looks at it, besides those that the file system asks for.
            trust: the policy for what is dropped there; that of the patcher by default.
            single_files: whether single ``.py`` files are taken, not only wheels and folders; where there is a policy,
                its ``kinds`` say so instead.
            name: what this process is called, where several watch the directory and each reports under its own name; by
                default by its host and its id.
        """
        from hotswap.watching import Gate, Watch, follow  # a way in that few need, and the only import that points up

        if follow not in self._followers:
            self._followers.append(follow)
        policy = self._trust if trust is None else checked_trust(trust)
        older: Older = "always" if policy is not None and policy.downgrade else "never"
        return Watch(
            partial(self._apply_dropped, older, str(directory)),
            directory,
            interval=interval,
            patcher=self,
            running=self.running,
            gate=None if policy is None else partial(Gate, policy, self._memory, self.running),
            single_files=single_files,
            name=name,
            stood=self._footing.holds,
            runs=self._succession.runs,
            came_to=self._books.came_to,
            told=partial(self._refused, str(directory)),
        )


def _older(undo: bool) -> Older:
    return "undo" if undo else "never"
