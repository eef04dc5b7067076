"""Patches that are taken back at the end of a test, whatever happened, with a proof that nothing of them is left."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from os import PathLike, getpid
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from hotswap import walk
from hotswap.errors import HotswapError, NothingToRollBackError, StateError
from hotswap.generation import gate
from hotswap.patch import Patch
from hotswap.patcher import Patcher
from hotswap.records import BEFORE_LIVE, State
from hotswap.rollout import Rollout
from hotswap.swap.forwarding import code_of

__all__ = ["Applying", "NotRestoredError", "apply_and_restore"]

_GLANCE = 0.001
"""Seconds between two looks at whether imports are wrapped still."""


class NotRestoredError(HotswapError, AssertionError):
    """The process is not as it was before the patches of a test. `differences` has a line for each thing."""

    def __init__(self, differences: list[str]) -> None:
        super().__init__("the process is not as it was before the patch:\n  " + "\n  ".join(differences))
        self.differences = tuple(differences)


class _Seen:
    """What the packages of a patcher are at a moment: modules, functions and classes, and whether imports are wrapped.

    Data is the service's, and may have changed: it is not looked at. Code is noted by what it does, since a rollback
    puts back a copy of it, and whoever keeps code keeps an old generation from draining. What a fork gives is noted in
    its place: it may stand here because of a call that an earlier test has left, and go at any time.
    """

    def __init__(self, patcher: Patcher) -> None:
        packages = patcher.versions
        names = [name for name, module in list(sys.modules.items()) if module is not None]
        managed = [name for name in names if name.partition(".")[0] in packages]
        self.facts: dict[str, Any] = {}
        self.facts |= {f"version of {name}": str(version) for name, version in packages.items()}
        self.wraps_imports = gate.installed
        self.held: list[Any] = []  # what is compared by identity must not die, or another one may have its identity
        for name in managed:
            module = sys.modules[name]
            if issubclass(type(module), ModuleType):
                self._note(name, module)
                self._namespace(name, ModuleType.__getattribute__(module, "__dict__"), name)

    def _note(self, place: str, value: Any) -> None:
        self.held.append(value)
        self.facts[place] = id(value)

    def _namespace(self, place: str, facts: Mapping[str, Any], module: str) -> None:
        for name, value in list(facts.items()):
            inner = value
            if type(value) in (staticmethod, classmethod):
                inner = value.__func__
            elif type(value) is property:
                inner = value.fget
            if type(inner) is FunctionType and inner.__module__ == module:
                self._note(f"{place}.{name}", value)
                self.facts[f"code of {place}.{name}"] = _shape(code_of(inner))
            elif walk.is_class_of(value, module) and f"{place}.{name}" not in self.facts:
                self._note(f"{place}.{name}", value)
                self._namespace(f"{place}.{name}", walk.class_dict(value), module)

    def differences(self, before: _Seen) -> list[str]:
        """Return what is not as it was, a line each. Modules that were imported meanwhile may stay."""
        found = ["imports are wrapped"] if self.wraps_imports and not before.wraps_imports else []
        for place in dict.fromkeys([*before.facts, *self.facts]):
            was, now = before.facts.get(place), self.facts.get(place)
            if now is None:
                found.append(f"{place} is gone")
            elif was is None and not self._is_late(place, before):
                found.append(f"{place} is left")
            elif was is not None and was != now:
                found.append(f"{place} is another one" if type(was) is int else f"{place}: was {was}, is {now}")
        return found

    def _is_late(self, place: str, before: _Seen) -> bool:
        """Whether something belongs to a module that was imported since, and that is no patch's."""
        place = place.removeprefix("code of ")
        late = [n for n in self.facts if n not in before.facts and n in sys.modules and f"{place}.".startswith(f"{n}.")]
        trees = str(Path(tempfile.gettempdir(), f"hotswap-{getpid()}-"))
        return any(not str(getattr(sys.modules[name], "__file__", "")).startswith(trees) for name in late)


def _shape(code: CodeType) -> tuple[Any, ...]:
    constants = tuple(_shape(one) if type(one) is CodeType else repr(one) for one in code.co_consts)
    return code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_qualname, constants


Given = Patch | Mapping[str, str | bytes] | str | PathLike[str]


class Applying:
    """Applies patches, one at a time, and takes them back. Made by `apply_and_restore`; lives as long as its block.

    Call it with a patch. Each is applied to the code that the test began with: one that is live is taken back first.
    """

    def __init__(self, packages: tuple[str, ...], within: float, options: Mapping[str, Any]) -> None:
        self._packages, self._within, self._options = packages, within, options
        self._known: list[tuple[Patcher, _Seen]] = []
        self._rollouts: list[Rollout] = []
        self.on_first_patch: Callable[[], object] | None = None
        """Called once, before a patch is applied or staged for the first time."""
        if packages:
            self._patcher_of(packages)

    def manage(self, *packages: str, **options: Any) -> Patcher:
        """Have a patcher manage packages before any patch of them is applied: to register checks, probes and hooks.

        Arguments:
            packages: as of `Patcher`.
            options: of the patcher, besides those of the block.

        Returns the patcher. Raises what `Patcher` raises, and ValueError for options of packages that one manages
        already.
        """
        if options and any(patcher.versions.keys() & {*packages} for patcher, _ in self._known):
            raise ValueError(f"{', '.join(packages)} is managed already: options come too late")
        return self._patcher_of(packages, **options)

    @property
    def patcher(self) -> Patcher:
        """The patcher that is used. Raises LookupError if no packages were given, and no patch yet."""
        if not self._known:
            raise LookupError("there is no patcher yet: name the packages (manage), or apply a patch")
        return self._known[-1][0]

    def __call__(self, patch: Given, **options: Any) -> Rollout:
        """Apply a patch, and return its rollout.

        Arguments:
            patch: a patch, sources by module names, or a path.
            options: as those of `Patcher.apply`.

        Raises what `Patcher.apply` raises.
        """
        made, patcher = self._ready(patch)
        return self._noted(patcher.apply(made, **options))

    def stage(self, patch: Given, **options: Any) -> Rollout:
        """Stage a patch and go no further: for tests of what is between. Otherwise as a call."""
        made, patcher = self._ready(patch)
        return self._noted(patcher.stage(made, **options))

    def _noted(self, rollout: Rollout) -> Rollout:
        self._rollouts.append(rollout)
        return rollout

    def _ready(self, patch: Given) -> tuple[Patch, Patcher]:
        if not isinstance(patch, Patch):
            patch = Patch.from_sources(patch) if isinstance(patch, Mapping) else Patch.from_path(patch)
        names = self._packages or tuple(sorted({name.partition(".")[0] for name in patch.sources}))
        patcher = self._patcher_of(names)
        self._take_back(patcher)
        self._left(patcher)  # what goes on all the same is told at the end
        if self.on_first_patch is not None:
            self.on_first_patch()
            self.on_first_patch = None
        return patch, patcher

    def _patcher_of(self, packages: tuple[str, ...], **options: Any) -> Patcher:
        for patcher, _ in self._known:
            if set(packages) <= patcher.versions.keys():
                return patcher
        patcher = Patcher(packages, **{**self._options, **options})
        self._known.append((patcher, _Seen(patcher)))
        return patcher

    def restore(self) -> None:
        """Take back what is live. Raises NotRestoredError if the process is not as it was; what can be is restored."""
        found: list[str] = []
        for patcher, before in self._known:
            self._take_back(patcher)
            left = self._left(patcher)
            until = time.monotonic() + self._within
            while gate.installed and not before.wraps_imports and time.monotonic() < until:
                time.sleep(_GLANCE)  # the thread that has settled what drained takes it out last
            found += left or _Seen(patcher).differences(before)
        if found:
            raise NotRestoredError(found)

    def _take_back(self, patcher: Patcher) -> None:
        rollout = patcher.current
        if rollout is not None and rollout.state in BEFORE_LIVE:
            with suppress(StateError):  # it is rejected in this very moment
                rollout.abort("the test is over")
        rollout = patcher.current
        if rollout is not None and rollout.state in (State.LIVE, State.PERMANENT):
            try:
                patcher.rollback(reason="the test is over")
            except StateError:  # its bake may take it back in this very moment
                if not rollout.wait_baked(self._within) or rollout.record.state is not State.ROLLED_BACK:
                    raise
            except NothingToRollBackError:
                pass  # it was taken back since we looked
            self._noted(rollout)  # it may be one of whoever asked the patcher itself

    def _left(self, patcher: Patcher) -> list[str]:
        """Return what goes on of the patches that were taken back, also in the middle of the test; a line each."""
        found: dict[str, None] = {}
        until = time.monotonic() + self._within
        for rollout in dict.fromkeys(one for one in self._rollouts if one.patcher is patcher):
            if rollout.record.state is not State.ROLLED_BACK or rollout.wait_settled(max(0, until - time.monotonic())):
                continue
            calls = [f"{call} goes on with code of the patch" for call in rollout.in_flight()]
            sessions = [f"{session!r} is open" for session in rollout.open_sessions()]
            found |= dict.fromkeys(calls + sessions or ["somebody keeps code of the patch from going"])
        return list(found)


@contextmanager
def apply_and_restore(*packages: str, within: float = 10.0, **options: Any) -> Iterator[Applying]:
    """Return a block in which patches are applied, and at the end of which all is taken back, whatever happened.

    Arguments:
        packages: those that may be patched, as of `Patcher`; without them, those of each patch.
        within: seconds for calls of the patch to end, after the rollback.
        options: of the patcher.

    Raises what `Patcher` raises, and at the end NotRestoredError if modules, functions or classes of the packages are
    not what they were. An error of the block goes first, with that one as a note.
    """
    applying = Applying(packages, within, options)
    try:
        yield applying
    except BaseException as error:
        try:
            applying.restore()
        except NotRestoredError as wrong:
            error.add_note(str(wrong))
        raise
    applying.restore()
