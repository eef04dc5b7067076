"""The plan of a swap: what would change, in words."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hotswap.effects import Effect

__all__ = ["Change", "Fate", "NameChange", "Plan"]


class Fate(enum.StrEnum):
    """What becomes of a name in a swap."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"
    KEPT = "kept"
    CARRIED = "carried"
    REPLACED = "replaced"
    MIGRATED = "migrated"
    REBOUND = "rebound"


@dataclass(frozen=True, slots=True)
class NameChange:
    """One line of a plan: what becomes of one name of one module, and why."""

    module: str
    name: str
    fate: Fate
    why: str = ""

    def __str__(self) -> str:
        return f"{self.fate:<9} {self.module}:{self.name}{f' ({self.why})' if self.why else ''}"


@dataclass(frozen=True, slots=True)
class Change:
    """A change that can't be made in a living process.

    `code` names the kind (docs/reference/unsupported-changes.md has a section for each).
    """

    code: str
    module: str
    name: str
    sentence: str

    def __str__(self) -> str:
        where = f"{self.module}:{self.name}" if self.name else self.module
        return f"[{self.code}] {where}: {self.sentence}"


@dataclass
class Plan:
    """What a patch would do to the process: a dry run. `str()` is for reading.

    Arguments:
        patch: name and version.
        modules: module name -> "changed", "new", "removed" or "unchanged".
        names: what becomes of each name.
        unsupported: changes that can't be made; a rollout with any is rejected.
        warnings: what will work, but not as a restart would, each a sentence.
        effects: what importing the candidate did to the process around it, and what became of it.
    """

    patch: str
    modules: Mapping[str, str] = field(default_factory=dict)
    names: list[NameChange] = field(default_factory=list)
    unsupported: list[Change] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)

    @property
    def supported(self) -> bool:
        """Whether nothing in the patch is unsupported."""
        return not self.unsupported

    def __str__(self) -> str:
        by_state: dict[str, list[str]] = {}
        for name, state in self.modules.items():
            by_state.setdefault(state, []).append(name)
        lines = [f"plan for {self.patch}"]
        lines += [
            f"  {state} modules: {', '.join(by_state[state])}"
            for state in ("changed", "new", "removed")
            if state in by_state
        ]
        if "unchanged" in by_state:
            lines.append(f"  unchanged modules: {len(by_state['unchanged'])}")
        names = sorted(self.names, key=lambda change: (change.module, change.fate, change.name))
        sections: tuple[tuple[str, Sequence[object]], ...] = (
            ("unsupported changes", self.unsupported),
            ("warnings", self.warnings),
            ("effects", self.effects),
            ("names", names),
        )
        lines += [
            line
            for title, entries in sections
            if entries
            for line in (f"  {title}:", *(f"    {entry}" for entry in entries))
        ]
        return "\n".join(lines)
