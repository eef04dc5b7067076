"""Programs in two versions, and who drives them: what a program is, and what a driver can do."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.every_point.tracing import Tracer

__all__ = ["Drive", "Outcome", "Program", "Texts", "rows", "stepped", "written"]

_DIFFERS = re.compile(r"<<(.*?)\|(.*?)>>", re.DOTALL)


Texts = Mapping[str, str]
"""The modules of a package."""


@dataclass(frozen=True)
class Program:
    """A package, and a driver that is not in it.

    Arguments:
        name: for people.
        drive: makes the calls that are judged. What they return depends on nothing but the version.
        versions: the old modules and the new ones.
        forked: whether a call in flight would be a mixture, or fail, if there were no forks.
    """

    name: str
    drive: Callable[[Drive], None]
    versions: tuple[Texts, Texts]
    forked: bool = False


def written(files: Texts) -> tuple[Texts, Texts]:
    """The modules in both versions: `<<old|new>>` stands wherever they differ."""

    def version(group: int) -> Texts:
        return {name: _DIFFERS.sub(lambda found: found[group], textwrap.dedent(text)) for name, text in files.items()}

    return version(1), version(2)


@dataclass(frozen=True)
class Outcome:
    """What one call of the driver came to.

    Attributes:
        label: names the call.
        late: whether it began after the swap.
        got: what it returned or raised.
        either: whether both versions are right: old code has handed out what is called, and is in flight, or nothing
            of what it left behind is settled yet.
    """

    label: str
    late: bool
    got: object
    either: bool = False


class Drive:
    """What a driver works with in one run.

    Attributes:
        outcomes: what its calls came to.
        later: what is called when everything is settled: a label, what is called, and an argument.
    """

    def __init__(self, package: str, tracer: Tracer) -> None:
        self._package, self._tracer = package, tracer
        self.outcomes: list[Outcome] = []
        self.later: list[tuple[str, Callable[[Any], Any], Any]] = []

    def __getattr__(self, name: str) -> Any:
        """The live module of that name."""
        return sys.modules[f"{self._package}.{name}"]

    def __call__(self, label: str, call: Callable[..., Any], *args: Any, either: bool = False) -> Any:
        """Make one call, which is judged, and return what it returned."""
        late = self._tracer.committed
        got: Any
        try:
            got = call(*args)
        except Exception as error:
            got = f"{type(error).__name__}: {error}"
        self.outcomes.append(Outcome(label, late, got, either))
        return got

    def point(self, what: str) -> None:
        """A point of the driver's own: what it drives may be suspended here."""
        self._tracer.reach(f"the driver: {what}")


def rows(drive: Drive, iterable: Any) -> list[Any]:
    """Read an iterator to its end; between two values it is suspended at a point of the driver."""
    found = []
    iterator = iter(iterable)
    while True:
        drive.point("between two values")
        try:
            found.append(next(iterator))
        except StopIteration as end:
            return [*found, end.value]


def stepped(drive: Drive, coroutine: Any) -> Any:
    """Run a coroutine as a loop would: where it waits, there is a point of the driver."""
    drive.point("before it begins")
    while True:
        try:
            coroutine.send(None)
        except StopIteration as end:
            return end.value
        drive.point("while it waits")
