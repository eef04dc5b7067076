"""A patcher and rollouts that roll nothing out: for tests of code that is handed one.

They are the real ones, over a succession that swaps nothing (`successions`). So states, errors, events, hooks, checks,
probes and bakes are those of the real ones, and can't come to differ from them.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

from packaging.version import Version

from hotswap import events
from hotswap.admission import checked_names
from hotswap.bake import Baked, BakeVerdict
from hotswap.patch import Patch
from hotswap.patcher import Patcher
from hotswap.records import State
from hotswap.rehearsal import Rehearsal, Rehearsed
from hotswap.rehearsal.scene import Scene
from hotswap.rollout import Host, Rollout
from hotswap.shadows import Target
from hotswap.swap import Settled
from hotswap.testing.choices import BakeChoice, Refusable
from hotswap.testing.shades import FakeShadow
from hotswap.testing.successions import FakeSuccession
from hotswap.verification import Answer, Check

__all__ = ["FakePatcher", "FakeRollout"]


Method = TypeVar("Method", bound=Callable[..., Any])


def _noted(method: Method) -> Method:
    """A method of the real rollout that notes in `calls` when it has done something."""

    @functools.wraps(method)
    def made(self: FakeRollout, *args: Any, **kwargs: Any) -> Any:
        answer = method(self, *args, **kwargs)
        self.calls.append(method.__name__)
        return answer

    return cast("Method", made)


class FakePatcher(Patcher):
    """A patcher that touches nothing. Lives as long as a test.

    Patches are admitted or refused, their modules are executed beside the program as those of `candidate` are, hooks,
    checks and probes are run, and events are emitted, all as the real one does. No module is replaced, no migration is
    run, nothing is kept on disk, and no process is copied.

    Arguments:
        packages: those that may be patched. They need not exist.
        versions: which versions of them are live to begin with; those of the packages that are there by default.
        store: is not used: a fake keeps nothing.
        options: others of `Patcher`.

    Raises what `Patcher` raises, but not for packages that do not exist.
    """

    _admitted = staticmethod(checked_names)
    _succeeding = FakeSuccession

    def __init__(
        self,
        packages: Sequence[str],
        *,
        versions: Mapping[str, str | Version] | None = None,
        store: object = None,
        **options: Any,
    ) -> None:
        self._made: FakeRollout | None = None
        super().__init__(packages, **options)
        self._fake.begin_with({name: Version(str(version)) for name, version in (versions or {}).items()})

    @property
    def _fake(self) -> FakeSuccession:
        assert isinstance(self._succession, FakeSuccession), "it makes no other"
        return self._succession

    def _rolling(self, host: Host, patch: Patch, version: Version) -> Rollout:
        made, self._made = self._made, None
        return (made or FakeRollout.__new__(FakeRollout))._begun(host, patch, version)

    def choose(
        self,
        *,
        checks: Mapping[str, str | Answer] | None = None,
        rehearsal: str | Rehearsed | None = None,
        bake: BakeChoice | None = None,
        reason: str = "",
    ) -> None:
        """Choose verdicts, for all rollouts from now on, until others are chosen. What is None stays as it is.

        Arguments:
            checks: what checks find: name -> verdict, or an `Answer`. One that is registered is not run then; one that
                is not is reported as if it were.
            rehearsal: a verdict, or all of what a rehearsal comes to; `passed` to begin with.
            bake: `passed`, `failed`, or `error`: too little could be measured. A bake that goes on ends now, and others
                do as they begin; its verdict is carried out when this returns. `baking`: it goes by the clock and its
                probes, as to begin with; sessions are not measured.
            reason: what a rehearsal or a bake is said to have found.

        Raises ValueError for what is no verdict.
        """
        choices = self._fake.choices
        if checks is not None:
            choices.choose_checks(checks)
        if rehearsal is not None:
            choices.choose_rehearsal(rehearsal, reason)
        if bake is not None:
            choices.choose_bake(bake, reason)
            self._rule(self._trials.baking())

    def refuse(self, step: Refusable, error: BaseException) -> None:
        """Have a step fail, the next time that it is taken: a rollout is rejected for it, as for an error of its own.

        Arguments:
            step: `stage`, `arm`, `commit` or `rollback`; a rollout whose rollback fails stays as it is.
            error: what is raised, such as a `LoadError`.

        Raises ValueError for what is no step.
        """
        self._fake.choices.refuse(step, error)

    def checks(self, patch: Patch) -> list[Check]:
        """Return the checks to run; some may find what the test has chosen."""
        return self._fake.choices.judged(super().checks(patch), self._check_timeout)

    def _rule(self, rollout: Rollout | None) -> None:
        """Have the verdict of a bake be the one that was chosen, and wait until it is carried out."""
        choices, baking = self._fake.choices, None if rollout is None else rollout.baking
        if rollout is None or baking is None or choices.bake == "baking":
            return
        if baking.verdict is BakeVerdict.BAKING:  # else a hook of its end may be asking, which the end waits for
            baking.rule(choices.bakes_to(), choices.bake_reason)
            rollout.wait_baked()


class FakeRollout(Rollout):
    """Goes through the states of a rollout, and touches nothing. Lives as long as a test.

    Arguments:
        sources: of its patch; dotted module name -> source.
        version: of its patch.
        state: where it stands at first. How it got there is told to nobody.
        id: names it.
        bake: as of `Patcher.stage`.

    Attributes:
        calls: the names of the methods that were called and did something, in their order.

    Raises ValueError for a state in which no rollout is.
    """

    _shadowing = FakeShadow
    _host: FakePatcher
    _quiet = False
    """Whether it is just being brought to where it stands at first."""

    def __init__(
        self,
        sources: Mapping[str, str | bytes] | None = None,
        *,
        version: str = "1.0",
        state: State = State.LIVE,
        id: str = "fake",  # noqa: A002 - the attribute of a rollout
        bake: Baked = None,
    ) -> None:
        state = State(state)
        if state not in _WAYS:
            raise ValueError(f"no rollout is {state}: that is found in a history only")
        patch = Patch.from_sources(sources or {"fake": ""}, version=version)
        names = sorted({name.partition(".")[0] for name in patch.sources})
        patcher = FakePatcher(names, versions=dict.fromkeys(names, "0"))
        self.id = id
        patcher._made, self._quiet = self, True
        patcher.stage(patch, bake=bake)
        for step in _WAYS[state]:
            getattr(self, step)()
        self._quiet = False
        self.calls.clear()

    def _begun(self, host: Host, patch: Patch, version: Version) -> FakeRollout:
        known = vars(self).get("id")
        super().__init__(host, patch, version)
        self.id = known or self.id
        self.calls: list[str] = []
        self._targets: dict[str, Target] = {}
        self._has_migrated = True  # none is run
        return self

    def __repr__(self) -> str:
        return f"<FakeRollout {self.id} {self.label} {self.state}>"

    @property
    def patcher(self) -> FakePatcher:
        """Whose rollout it is."""
        return self._host

    def choose(
        self,
        *,
        checks: Mapping[str, str | Answer] | None = None,
        rehearsal: str | Rehearsed | None = None,
        bake: BakeChoice | None = None,
        reason: str = "",
    ) -> None:
        """Choose verdicts, as `FakePatcher.choose` does."""
        self._host.choose(checks=checks, rehearsal=rehearsal, bake=bake, reason=reason)

    def refuse(self, step: Refusable, error: BaseException) -> None:
        """Have a step fail, as `FakePatcher.refuse` does."""
        self._host.refuse(step, error)

    # --- what is noted of its methods ------------------------------------------------------------------------------

    verify = _noted(Rollout.verify)
    arm = _noted(Rollout.arm)
    disarm = _noted(Rollout.disarm)
    preview = _noted(Rollout.preview)
    shadow = _noted(Rollout.shadow)
    commit = _noted(Rollout.commit)
    confirm = _noted(Rollout.confirm)
    abort = _noted(Rollout.abort)
    rehearse = _noted(Rollout.rehearse)

    def rollback(self, reason: str = "", *, by: str = "") -> None:
        """Be rolled back."""
        super().rollback(reason, by=by)
        self.calls.append("rollback")
        self._settled_down()

    # --- what is another --------------------------------------------------------------------------------------------

    def take_live(self, cancelled: threading.Event) -> None:
        """Do what `commit` does."""
        super().take_live(cancelled)
        self._settled_down()
        self._host._rule(self)

    def _settled_down(self) -> None:
        """No call was in flight."""
        self.settle_down(Settled(), "", lambda act: act())

    def _performed(self, wanted: Rehearsal, scenes: Iterator[Scene], cancelled: threading.Event) -> Rehearsed:
        return self._host._fake.choices.rehearsed(wanted)

    def _found(self, name: str) -> Target:
        if name.partition(".")[0] not in self._host.running():
            return super()._found(name)  # it says what is wrong
        return self._targets.setdefault(name, _target(name))

    def _emit(self, event: events.EventName, *, level: events.Level = "info", **facts: object) -> None:
        if not self._quiet:
            super()._emit(event, level=level, **facts)


_WAYS: dict[State, tuple[str, ...]] = {
    State.STAGED: (),
    State.VERIFIED: ("verify",),
    State.ARMED: ("verify", "arm"),
    State.LIVE: ("verify", "commit"),
    State.PERMANENT: ("verify", "commit", "confirm"),
    State.REJECTED: ("abort",),
    State.ROLLED_BACK: ("verify", "arm", "commit", "rollback"),
}
"""How a rollout comes to each state."""


def _target(name: str) -> Target:
    stands_for_it: Any = lambda: None  # noqa: E731 - one of its own for each name: by that they are known apart
    return Target(name, stands_for_it, stands_for_it, is_async=False)
