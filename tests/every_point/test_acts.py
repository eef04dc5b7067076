"""Others look in at every point of what hotswap does itself: while it arms, disarms, commits and takes back.

Units of work of two versions are open, and loops of both are suspended. At some line of the act, whatever thread it
runs in, each of them is run: it must be of its own version, and everybody else of one of the two.
"""

from __future__ import annotations

import contextvars
import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher
from tests.races.threads import forks_go

pytestmark = pytest.mark.threads

EVERY = 97 * int(os.environ.get("HOTSWAP_EVERY_NTH_POINT", "1"))
"""Each 97th line is taken; ``HOTSWAP_EVERY_NTH_POINT=10`` takes each 970th one."""

OURS = str(Path(hotswap.__file__).parent) + os.sep

LOW = """
import functools
STATE = "{v}"

def helper({more}x): return "{v}"
part = functools.partial(helper, {pass_}1)

class Job:
    kind = "{v}"
    def __init__(self, {more}x): self.made = self.deep({pass_}x)
    def deep(self, {more}x): return "{v}"
    @property
    def shown(self): return self.deep({pass_}1)
"""
MID = """
import sys
from {package} import low
from {package}.low import Job, helper

def unit():
    from {package} import low as late
    job = low.Job({pass_}1)
    return {{
        "{v}", helper({pass_}1), low.helper({pass_}1), low.part(), low.STATE, late.STATE, low.Job.kind,
        sys.modules["{package}.low"].STATE, job.made, job.shown, Job({pass_}1).deep({pass_}1),
    }}

def loop():
    while True:
        yield unit() | {{"{v}", helper({pass_}1), low.STATE}}
"""
API = "from {package} import mid\nfrom {package}.mid import unit\ndef everything(): return unit() | mid.unit()\n"


class Onlookers:
    """What was begun under some version, and looks in at what the act shows.

    Attributes:
        wrong: what they have seen that is not of their version.
        looks: how often they have looked.
    """

    def __init__(self, make: Callable[..., ModuleType]) -> None:
        package = self.package = make({"low.py": "", "mid.py": "", "api.py": ""}).__name__
        folder = Path(str(sys.modules[package].__file__)).parent
        for name, source in self.texts("1").items():
            (folder / f"{name}.py").write_text(source)
        (folder / "api.py").write_text(API.format(package=package))
        self.api: Any = importlib.import_module(f"{package}.api")
        self.patcher = Patcher([package], handover=None)
        self.sessions: list[tuple[str, hotswap.Session, contextvars.Context]] = []
        self.loops: list[tuple[str, Any]] = []
        self.wrong: list[str] = []
        self.looks = self._lines = 0
        self._busy = threading.Lock()

    def texts(self, version: str) -> dict[str, str]:
        how = {"v": version, "package": self.package}
        how |= {"more": "", "pass_": ""} if version == "1" else {"more": "z, ", "pass_": "0, "}
        return {"low": LOW.format(**how), "mid": MID.format(**how)}

    def armed(self) -> hotswap.Rollout:
        sources = {f"{self.package}.{name}": source for name, source in self.texts("2").items()}
        rollout = self.patcher.stage(Patch.from_sources(sources, version="2"))
        rollout.verify()
        rollout.arm()
        return rollout

    def begin(self, version: str) -> None:
        session, context = hotswap.session(), contextvars.Context()
        context.run(session.__enter__)
        self.sessions.append((version, session, context))
        self.loops.append((version, sys.modules[f"{self.package}.mid"].loop()))
        with self._busy:  # a thread that has begun in an earlier act may be looked at still
            self.look("the beginning")

    def look(self, where: str) -> None:
        self.looks += 1
        for version, _, context in self.sessions:
            self._see(where, f"session of {version}", {version}, lambda: context.run(self.api.everything))  # noqa: B023  # called at once
        for version, loop in self.loops:
            self._see(where, f"loop of {version}", {version}, lambda: next(loop))  # noqa: B023  # called at once
        self._see(where, "anybody", None, lambda: contextvars.Context().run(self.api.everything))

    def _see(self, where: str, who: str, expected: set[str] | None, call: Callable[[], set[str]]) -> None:
        try:
            seen = call()
        except Exception as error:  # shown as what was seen
            seen = {repr(error)}
        if seen != expected and (expected is not None or len(seen) != 1):
            self.wrong.append(f"{where}: {who} saw {seen}")

    @contextmanager
    def looking(self, act: str) -> Iterator[None]:
        """Look in at lines of ours that are run in the block, in any thread that it starts."""

        def trace(frame: FrameType, event: str, _: Any) -> Any:
            if not frame.f_code.co_filename.startswith(OURS):
                return None
            if event == "line" and self._busy.acquire(blocking=False):
                try:
                    self._lines += 1
                    if self._lines % EVERY == 0:
                        self.look(f"{act}, {frame.f_code.co_filename.removeprefix(OURS)}:{frame.f_lineno}")
                finally:
                    self._busy.release()
            return trace

        before = sys.gettrace(), threading.gettrace()
        threading.settrace(trace)
        sys.settrace(trace)
        try:
            yield
        finally:
            sys.settrace(before[0])
            threading.settrace(before[1])
        with self._busy:
            self.look(f"after {act}")

    def end(self) -> None:
        for _, session, context in self.sessions:
            context.run(session.__exit__, None, None, None)
        for _, loop in self.loops:
            loop.close()
        self.sessions.clear()
        self.loops.clear()


FLIPS = ["commit", "rollback", "commit", "rollback"]
AGAIN = ["commit", "rollback", "arm", "disarm", "arm", "commit"]


@pytest.mark.parametrize("acts", [FLIPS, AGAIN], ids=["flips", "armed-again"])
def test_others_stay_on_their_version(make_package: Callable[..., ModuleType], acts: list[str]) -> None:
    onlookers = Onlookers(make_package)
    onlookers.begin("1")
    rollout = onlookers.armed()
    for number, act in enumerate(acts):
        with onlookers.looking(f"{act} {number}"):
            getattr(rollout, act)()
        if number < 2:
            onlookers.begin({"commit": "2", "rollback": "1"}[act])
    onlookers.end()
    assert onlookers.looks > len(acts) + 10, "it has looked in"
    assert not onlookers.wrong, "\n".join([f"{len(onlookers.wrong)} looks:", *onlookers.wrong[:20]])
    assert rollout.drained.wait(10)
    assert forks_go()
