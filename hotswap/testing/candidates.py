"""Candidates without a patcher: what a check is given, made of sources."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from types import ModuleType
from typing import Any

from packaging.version import Version

from hotswap.admission import Numbers, resolve, roots
from hotswap.errors import LoadError
from hotswap.generation import Candidate, Limit, Live, Shelf, Tree, told
from hotswap.generation.failures import innermost
from hotswap.generation.live import live_version
from hotswap.generation.live_modules import LiveModules
from hotswap.patch import Patch, decode
from hotswap.stopping import Stopped, Worker, is_interrupt
from hotswap.testing.worlds import World, program
from hotswap.verification import Check, CheckResult, run_checks

__all__ = ["FakeCandidate", "candidate", "run_check"]


class _Laid:
    """Modules of sources that stand for what is live, over those of the program. Lives as long as the candidate."""

    def __init__(self, patch: Patch, names: tuple[str, ...]) -> None:
        self._patch, self._names = patch, names
        self.world = World(patch, lambda: self.tree, texts=lambda: LiveModules(Live(names)).sources)

    @cached_property
    def tree(self) -> Tree:
        return _tree(self._patch, self._names, Live(self._names))

    @cached_property
    def modules(self) -> LiveModules:
        return _GivenModules(self._patch, self.world, LiveModules(Live(self._names)))


class _GivenModules(LiveModules):
    def __init__(self, patch: Patch, world: World, base: LiveModules) -> None:
        names = dict.fromkeys(name.rpartition(".")[0] or name for name in patch.sources)
        above = {".".join(name.split(".")[: count + 1]) for name in names for count in range(name.count(".") + 1)}
        self._modules = {name: world.module(name) for name in sorted({*base, *above, *patch.sources})}
        self.sources = {**base.sources, **_texts(patch)}
        self.files = dict(base.files)
        self.files |= {name: str(self._modules[name].__dict__["__file__"]) for name in patch.sources}


class FakeCandidate(Candidate):
    """A candidate that is executed beside the program, and of which nothing gets into it. Lives as long as a test.

    Arguments:
        patch: what is rolled out.
        version: the version that its packages get.
        live: stands for what is live; without it, that is what the program has imported.
    """

    def __init__(self, patch: Patch, version: Version, live: Patch | None = None) -> None:
        # Nothing of the base: that one lives in the registry of worlds, and has imports wrapped until it is discarded.
        self.patch, self.version = patch, version
        self.removed = frozenset()
        self.changed = tuple(patch.sources)
        self._names = tuple(sorted({name.partition(".")[0] for name in patch.sources}))
        self._laid = None if live is None else _Laid(live, self._names)
        below = program if self._laid is None else self._laid.world.module
        self._own = World(patch, lambda: self.tree, below, self._texts_below)

    @cached_property
    def tree(self) -> Tree:  # type: ignore[override]  # it is made when somebody wants files
        """The files, on disk."""
        laid = self._laid
        below = {} if laid is None else {name: [laid.tree.package_path(name)] for name in laid.tree.roots}
        return _tree(self.patch, self._names, Live(self._names), below)

    def _texts_below(self) -> Mapping[str, str]:
        """What the modules say that it leaves alone, as far as they are imported."""
        return (LiveModules(Live(self._names)) if self._laid is None else self._laid.modules).sources

    @property
    def live(self) -> LiveModules:
        """What is live beside it: that which was given, or the modules of the program.

        Those that the patch changes are imported for it, as they would be in a service.
        """
        if self._laid is not None:
            return self._laid.modules
        for name in self.patch.sources:
            try:
                program(name)
            except ModuleNotFoundError as error:
                if not f"{name}.".startswith(f"{error.name}."):
                    raise  # it is there, and lacks something else
        return LiveModules(Live(self._names))

    @property
    def modules(self) -> dict[str, ModuleType]:
        """The modules of the patch; those that were not executed yet are now."""
        for name in self.patch.sources:
            self._own.module(name)
        return self._own.own

    def load(self, limit: Limit | None = None) -> None:
        """Execute its modules.

        Arguments:
            limit: how long they may take; None: they run here, without a limit.

        Raises LoadError if one raises, or does not return in time. Ctrl-C goes through.
        """
        (limit or Limit()).call(f"hotswap load {self.patch.label}", self.load_modules, self._given_up)

    def load_module(self, name: str) -> None:
        """Execute one module. Raises as `load` does."""
        try:
            self._own.module(name)
        except BaseException as error:
            if isinstance(error, Stopped) or is_interrupt(error):
                raise
            raise LoadError(
                f"{innermost(error, self.tree)} raised {told(error)}",
                module=name,
                patch=self.patch.label,
                advice="mend the module; the traceback is chained to this error",
            ) from error

    def load_modules(self) -> None:
        """Execute its modules, in whatever thread this is. Raises as `load` does."""
        for name in self.patch.sources:
            self.load_module(name)

    def _given_up(self, worker: Worker) -> LoadError:
        worker.ask()
        return LoadError(
            f"a module did not return in time while it was imported; {worker.fate()}", patch=self.patch.label
        )

    def discard(self, afterwards: Callable[[Callable[[], None]], None] | None = None) -> None:
        """Do nothing: nothing of it is in the process but what others hold."""

    def missed(self) -> list[str]:
        """What was imported meanwhile is the program's, of which nothing is changed."""
        return []

    def __getitem__(self, name: str) -> ModuleType:
        if name not in self.patch.sources and (
            name.partition(".")[0] not in self._names or (name not in self.live and not self._own.has(name))
        ):
            raise KeyError(name)
        return self._own.module(name)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self.patch.sources, *self.live)))


def _texts(patch: Patch) -> dict[str, str]:
    return {name: decode(source.data) for name, source in patch.sources.items()}


def _tree(patch: Patch, names: tuple[str, ...], live: Live, below: Mapping[str, list[str]] | None = None) -> Tree:
    """Lay out the files of a patch, over those of the program."""
    paths: dict[str, Any] = {**Shelf().base_paths(live), **(below or {})}
    regular = {entry.name for entry in live if entry.package and not entry.namespace}
    return Tree(patch, names, patch.version or Version("0"), None, paths, regular)


def _placed(sources: Mapping[str, str | bytes]) -> tuple[Patch, Version]:
    """Make a patch as a patcher would."""
    patch = Patch.from_sources(sources)
    names = tuple(sorted({name.partition(".")[0] for name in patch.sources}))
    patch = resolve(patch, Live(names))
    versions = {name: live_version(name) for name in names}
    patch = patch.with_versions(Numbers().versions_for(patch, versions))
    return patch, patch.version or versions[roots(patch, versions)[0]]


def candidate(
    sources: Mapping[str, str | bytes], *, live: Mapping[str, str | bytes] | None = None
) -> Mapping[str, ModuleType]:
    """Return what a check is given, made of sources, without a patcher. Every check of `hotswap.checks` runs on it.

    Modules are executed when they are asked for, by the check or by an import of another one. What they import of the
    sources is the candidate's; everything else is the program's. Nothing of it gets into `sys.modules`.

    Arguments:
        sources: dotted module name -> source.
        live: the same of what stands for the live version, over the modules of the program. Without it `.live` has
            those alone: the ones that the sources name are imported, if they are there.

    Raises PatchError as `Patch.from_sources` does. What a module raises while it is executed goes to who asks for it.
    """
    patch, version = _placed(sources)
    return FakeCandidate(patch, version, None if live is None else _placed(live)[0])


def run_check(
    check: Callable[[Any], object],
    candidate: Mapping[str, ModuleType],
    *,
    timeout: float = 5.0,
    loop: asyncio.AbstractEventLoop | None = None,
) -> CheckResult:
    """Run a check on a candidate, as `Rollout.verify` does: in a thread, within a time limit. Returns what it found.

    Arguments:
        check: a function or coroutine function that gets the candidate, or what `hotswap.checks` has made.
        candidate: what it is given.
        timeout: seconds that it may take.
        loop: for a coroutine function: a loop that runs in another thread; without it, one of its own.

    Raises TypeError or ValueError for what can be no check.
    """
    name = getattr(check, "__name__", None) or type(check).__name__
    (result,) = run_checks([Check(name, check, timeout)], candidate, loop=loop)
    return result
