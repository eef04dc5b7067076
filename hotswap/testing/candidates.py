"""Candidates without a patcher: what a check is given, made of sources."""

from __future__ import annotations

import asyncio
import builtins
import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from hotswap.patch import Patch
from hotswap.verification import Check, CheckResult, run_checks

__all__ = ["candidate", "run_check"]


class _Candidate(Mapping[str, ModuleType]):
    """Modules that are executed when they are asked for, and import each other. Lives as long as a test."""

    def __init__(self, patch: Patch) -> None:
        self._sources = patch.sources
        self._modules: dict[str, ModuleType] = {}
        self._ours: set[str] = set()
        """The names of modules that are no module of the program."""
        self._roots = {name.partition(".")[0] for name in patch.sources}
        self._builtins = {**vars(builtins), "__import__": self._import}

    def __getitem__(self, name: str) -> ModuleType:
        if name not in self._sources:
            raise KeyError(name)
        return self._module(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._sources)

    def __len__(self) -> int:
        return len(self._sources)

    def _module(self, name: str) -> ModuleType:
        """Return a module as the candidate sees it; packages come before what lies in them."""
        if name in self._modules:
            return self._modules[name]
        above, _, last = name.rpartition(".")
        parent = self._module(above) if above else None
        if name in self._sources:
            made = self._execute(name)
        elif any(one.startswith(f"{name}.") for one in self._sources):
            made = self._package(name)
        else:
            made = self._modules[name] = importlib.import_module(name)
        if parent is not None and above in self._ours:
            setattr(parent, last, made)
        return made

    def _made(self, name: str, *, package: bool) -> ModuleType:
        module = self._modules[name] = ModuleType(name)
        self._ours.add(name)
        module.__dict__["__builtins__"] = self._builtins
        module.__dict__["__package__"] = name if package else name.rpartition(".")[0]
        if package:
            module.__dict__["__path__"] = []
        return module

    def _execute(self, name: str) -> ModuleType:
        source = self._sources[name]
        module = self._made(name, package=source.package)
        file = module.__dict__["__file__"] = f"<candidate {name}>"
        try:
            exec(compile(source.data, file, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - what is tested
        except BaseException:
            del self._modules[name]
            raise
        return module

    def _package(self, name: str) -> ModuleType:
        """Return what stands for a package that has no source here: it has what the program's has, if there is one."""
        try:
            facts = vars(importlib.import_module(name))
        except ModuleNotFoundError as error:
            if not f"{name}.".startswith(f"{error.name}."):
                raise  # it is there, and lacks something else
            facts = {}
        made = self._made(name, package=True)
        made.__dict__.update({key: value for key, value in facts.items() if key not in made.__dict__})
        return made

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - as `builtins.__import__` has it
        locals: Mapping[str, Any] | None = None,  # noqa: A002 - as above
        fromlist: tuple[str, ...] | None = (),
        level: int = 0,
    ) -> Any:
        """Do what `builtins.__import__` does, with the modules of the candidate before those of the program."""
        if level:
            name = importlib.util.resolve_name("." * level + name, (globals or {}).get("__package__", ""))
        root = name.partition(".")[0]
        if root not in self._roots:
            return builtins.__import__(name, None, None, fromlist or (), 0)
        module = self._module(name)
        if not fromlist:
            return self._module(root)
        for part in fromlist:
            below = f"{name}.{part}"
            if not hasattr(module, part):
                try:
                    self._module(below)
                except ModuleNotFoundError as error:
                    if not f"{below}.".startswith(f"{error.name}."):  # else the statement says what is missing
                        raise
        return module


def candidate(sources: Mapping[str, str | bytes]) -> Mapping[str, ModuleType]:
    """Return what a check is given, made of sources, without a patcher.

    Modules are executed when they are asked for, by the check or by an import of another one. What they import of the
    sources is the candidate's; everything else is the program's. Nothing of it gets into `sys.modules`.

    Arguments:
        sources: dotted module name -> source.

    Raises PatchError as `Patch.from_sources` does. What a module raises while it is executed goes to who asks for it.
    """
    return _Candidate(Patch.from_sources(sources))


def run_check(
    check: Callable[[Any], object],
    candidate: Mapping[str, ModuleType],
    *,
    timeout: float = 5.0,
    loop: asyncio.AbstractEventLoop | None = None,
) -> CheckResult:
    """Run a check on a candidate, as `Rollout.verify` does: in a thread, within a time limit. Returns what it found.

    Arguments:
        check: a function or coroutine function that gets the candidate.
        candidate: what it is given.
        timeout: seconds that it may take.
        loop: for a coroutine function: a loop that runs in another thread; without it, one of its own.

    Raises TypeError or ValueError for what can be no check.
    """
    name = getattr(check, "__name__", None) or type(check).__name__
    (result,) = run_checks([Check(name, check, timeout)], candidate, loop=loop)
    return result
