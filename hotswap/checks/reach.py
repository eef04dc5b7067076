"""Whether what was called of a candidate is the candidate's code, or could be.

A module that a patch leaves alone has the live functions in the candidate, too: they call live code until the swap. Who
compares such a function with itself finds no difference, although the patch may change what it calls.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any, NamedTuple

from hotswap.checks.generations import Call
from hotswap.generation import Candidate
from hotswap.verification import Answer, Inconclusive, Verdict

__all__ = ["Sides", "Watched", "sides"]


class Watched(Mapping[str, ModuleType]):
    """A candidate that knows what was asked of it. Lives as long as a check runs.

    Arguments:
        candidate: the candidate.
    """

    def __init__(self, candidate: Candidate) -> None:
        self._candidate = candidate
        self._asked: set[str] = set()

    def require_reached(self) -> None:
        """Raise Inconclusive if only live code was called, and the patch may change what that does after the swap."""
        if not self._asked or self._asked & self._candidate.modules.keys():
            return
        changed = {*self._candidate.modules, *self._candidate.removed}
        through = sorted(changed & self._imported(self._asked))
        if through:
            raise Inconclusive(
                f"{', '.join(sorted(self._asked))} is not in the patch, and calls live code until the swap; "
                f"but it imports {', '.join(through)}, so nothing can be told: put it into the patch, or have "
                "checks.pytest test it"
            )

    def _imported(self, names: set[str]) -> set[str]:
        """The managed modules that some modules import, straight or by way of others; all, where one has no source."""
        live = self._candidate.live
        known = {*live, *self._candidate.modules}
        found: set[str] = set()
        left = [*names]
        while left:
            name = left.pop()
            if name not in live.sources:
                return {*self._candidate}
            package = name if hasattr(live[name], "__path__") else name.rpartition(".")[0]
            for target in _targets(live.sources[name], package):
                if target in known and target not in found:
                    found.add(target)
                    if target in live:
                        left.append(target)
        return found

    def __getitem__(self, name: str) -> ModuleType:
        module = self._candidate[name]
        self._asked.add(name)
        return module

    def __iter__(self) -> Iterator[str]:
        return iter(self._candidate)

    def __len__(self) -> int:
        return len(self._candidate)


class Sides(NamedTuple):
    """The two that are compared: what the live version has, and what the candidate has, which is watched."""

    live: Callable[..., Any]
    successor: Callable[..., Any]
    new: Watched


def sides(call: Call, candidate: Candidate) -> Sides | Answer:
    """Return what a call leads to in both versions; the answer of the check, if it leads nowhere in the candidate.

    Raises Inconclusive if it leads nowhere in the live version.
    """
    new = Watched(candidate)
    try:
        live = call.of(candidate.live)
    except LookupError as error:
        raise Inconclusive(f"there is nothing to compare with: in the live version {error}") from error
    try:
        return Sides(live, call.of(new), new)
    except LookupError as error:
        return Answer(Verdict.FAILED, f"in the candidate {error}")


def _targets(source: str, package: str) -> Iterator[str]:
    """What may be a module among what a source imports."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) - node.level + 1] if node.level else []
            place = ".".join([*above, *([node.module] if node.module else [])])
            yield place
            yield from (f"{place}.{alias.name}" for alias in node.names)
