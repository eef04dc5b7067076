"""Programs in two versions, started, patched, and compared with a fresh start of either version."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher, Rollout, State

_serial = itertools.count(1)

Make = Callable[..., ModuleType]
Look = Callable[[Any], Any]
"""Tells what can be seen of a program from outside: its table of routes, and what it answers."""


class Program:
    """A package that runs.

    Arguments:
        make: makes packages.
        files: the first version.
        hold: gives what a server would hold of the package; of this program it is taken once, at the start.
        look: tells what can be seen of what `hold` gave.
    """

    def __init__(self, make: Make, files: Mapping[str, str], hold: Callable[[Any], Any], look: Look) -> None:
        self.make, self.files, self.hold, self.look = make, dict(files), hold, look
        self.package = make(self.files)
        self.held = hold(self.package)
        self.name = self.package.__name__
        self.patcher = Patcher([self.name])

    def stage(self, changes: Mapping[str, str | None]) -> Rollout:
        """Stage a version with some files changed; a file that is None is removed."""
        after = {name: changes.get(name, source) for name, source in {**self.files, **changes}.items()}
        self.files = {name: source for name, source in after.items() if source is not None}
        changed = {module_name(self.name, name): source for name, source in changes.items() if source is not None}
        if None in changes.values():
            return self.patcher.stage(self._whole())
        return self.patcher.stage(Patch.from_sources(changed))

    def _whole(self) -> Patch:
        """The whole package as a patch: only that can take modules away."""
        folder = Path(str(self.package.__file__)).parent.parent.parent / f"whole{next(_serial)}" / self.name
        for name, source in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(source)
        return Patch.from_path(folder)

    def seen(self) -> Any:
        """What can be seen of the program that runs."""
        return self.look(self.held)

    def fresh(self, files: Mapping[str, str]) -> Any:
        """What can be seen of the program after a fresh start with these files."""
        return self.look(self.hold(self.make(files)))

    def goes(self, changes: Mapping[str, str | None]) -> Rollout:
        """Walk there and back, and compare at each step with a fresh start."""
        before, files = self.seen(), self.files
        assert before == self.fresh(files), "the first version as it runs, and after a fresh start"
        rollout = self.stage(changes)
        assert self.seen() == before, "nothing is seen of what is staged"
        rollout.verify()
        rollout.commit()
        assert self.seen() == self.fresh(self.files), "the second version, and after a fresh start"
        self.patcher.rollback()
        assert self.seen() == before, "rolled back"
        self.files = files
        again = self.stage(changes)
        again.verify()
        again.arm()
        assert self.seen() == before, "armed"
        for number in range(3):
            flip(again)
            assert self.seen() == self.fresh(self.files), f"and once more, flip {number}"
            assert [*map(str, again.audit())] == [], "nothing leads to what was dropped"
            again.rollback()
            assert self.seen() == before, f"taken back, flip {number}"
        flip(again)
        return again

    def is_left_alone_by(self, changes: Mapping[str, str], error: type[Exception]) -> None:
        """See that a patch that fails leaves nothing behind."""
        before = self.seen()
        with pytest.raises(error):
            self.stage(changes)
        assert self.seen() == before


def flip(rollout: Rollout) -> bool:
    """Make a rollout live that was armed before; return whether it was warm."""
    is_warm = rollout.state is State.ARMED or rollout._host.is_warm(rollout)
    if not is_warm:
        rollout.arm()
    rollout.commit()
    return is_warm


def module_name(package: str, file: str) -> str:
    """The dotted name of a module, from where its file lies in a package."""
    return ".".join([package, *file.removesuffix(".py").split("/")]).removesuffix(".__init__")
