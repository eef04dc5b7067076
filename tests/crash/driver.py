"""Runs a service that dies, or whose disk fails, at one point after another; prints what was wrong, as JSON.

It is started with the shim in `LD_PRELOAD`. Each life of the service is a forked child: what takes long, importing
hotswap, was done by their parent.

    python driver.py FOLDER SCENARIO MODE FIRST STEP
"""

from __future__ import annotations

import ctypes
import errno
import faulthandler
import importlib
import json
import logging
import os
import shutil
import signal
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hotswap
import hotswap.watching

COUNT, KILL, TORN, FAIL_ONCE, FAIL_ON = range(1, 6)
MODES = {"kill": (KILL, 0), "torn": (TORN, 0), "io": (FAIL_ONCE, errno.EIO), "full": (FAIL_ON, errno.ENOSPC)}
LIMIT = 30.0
UNSTARTABLE = 7
"""The version that can't be imported afresh."""
SOURCE = "N = {n}\ndef number(): return {n}\n"
FRESH = "import os\nos.environ['APPLIED']\n"
"""What can't be imported but where it was applied."""

shim = ctypes.CDLL(None)
shim.crash_arm.argtypes = (ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int)
shim.crash_count.restype = ctypes.c_long


def patch(number: int) -> hotswap.Patch:
    """Two modules that have to be of one version."""
    source = FRESH * (number == UNSTARTABLE) + SOURCE.format(n=number)
    sources = {f"service.{name}": source for name in ("one", "two")}
    return hotswap.Patch.from_sources(sources, f"{number}.0")


def number() -> int:
    """The version that runs; -1 where the modules are not of one."""
    one, two = (importlib.import_module(f"service.{name}") for name in ("one", "two"))
    found = {one.N, two.N, one.number(), two.number()}
    return found.pop() if len(found) == 1 else -1


class Life:
    """One life of the service: it boots, and does some things. Says of each when it began, and when it was done."""

    def __init__(self, tell: Callable[..., None], *, failing: bool) -> None:
        self.tell, self.failing = tell, failing
        self.rollouts: dict[int, hotswap.Rollout] = {}

    def begin(self) -> None:
        """Boot, and adopt what was booted."""
        sys.path.insert(0, str(Path.cwd()))
        hotswap.boot("var")
        importlib.import_module("service")
        self.tell("up", number())
        self.patcher = hotswap.Patcher(["service"], store=hotswap.Store("var", keep=4))

    def do(self, act: str, which: int, up: int) -> None:
        """Do one thing, after which `up` comes up after a restart."""
        self.tell("began", act, which, up)
        before = number()
        try:
            done = getattr(self, act)(which)
        except hotswap.HotswapError as error:
            if not self.failing and act != "refuse":
                raise
            running = number()
            wrong = running not in (before, which) or (act == "apply" and running != before)
            self.tell("wrong" if wrong else "failed", act, which, type(error).__name__, running)
        else:
            self.tell("done" if done is None else done, act, which, up)

    def apply(self, which: int) -> None:
        os.environ["APPLIED"] = str(which)
        self.rollouts[which] = self.patcher.apply(patch(which))
        assert number() == which

    def refuse(self, which: int) -> None:
        self.patcher.apply(hotswap.Patch.from_sources({"service.one": "raise ValueError"}, f"{which}.0"))

    def confirm(self, which: int) -> str | None:
        if which not in self.rollouts:
            return "skipped"
        self.rollouts[which].confirm()
        return None

    def rollback(self, which: int) -> str | None:
        """Take back what is live; a failing disk does not hinder that."""
        current = self.patcher.current
        if which not in self.rollouts and (current is None or current.state != "permanent"):
            return "skipped"
        self.patcher.rollback()
        return "owed" if self.failing else None

    def trusted(self, which: int) -> str | None:
        """Do what `drop` does, under a policy: what died on its way is no replay."""
        return self.drop(which, hotswap.Trust(unsigned=True, kinds=["folder"]))

    def drop(self, which: int, trust: hotswap.Trust | None = None) -> str | None:
        """Apply what lies in the drop directory, and confirm it."""
        until = time.monotonic() + LIMIT
        with self.patcher.watch("drops", interval=0.01, trust=trust) as watch:
            while not watch.outcomes and time.monotonic() < until:
                time.sleep(0.002)
        current = self.patcher.current
        if current is None:
            return "skipped"
        if current.state == "live":
            current.confirm()
        return None


# What each scenario does: what is done before, in lives without faults, and then in the life that dies. One that does
# nothing is one that can't be started.
Acts = list[tuple[str, int, int]]
SCENARIOS: dict[str, tuple[list[Acts], Acts]] = {
    "first": ([], [("apply", 2, 1), ("confirm", 2, 2)]),
    "above": (
        [[("apply", 2, 1), ("confirm", 2, 2)]],
        [("apply", 3, 2), ("refuse", 4, 2), ("apply", 5, 3), ("confirm", 5, 5), ("rollback", 5, 3)],
    ),
    "home": ([[("apply", 2, 1), ("confirm", 2, 2)], [("apply", 3, 2), ("confirm", 3, 3)]], [("rollback", 3, 2)]),
    "drop": ([], [("drop", 9, 9)]),
    "trusted": ([], [("trusted", 9, 9)]),
    "unstartable": (
        [
            [("apply", 2, 1), ("confirm", 2, 2)],
            [("apply", UNSTARTABLE, 2), ("confirm", UNSTARTABLE, UNSTARTABLE)],
            [],
            [],
        ],
        [("apply", 4, 2), ("confirm", 4, 4)],
    ),
    "dead": ([[("apply", 2, 1), ("confirm", 2, 2), ("apply", 3, 2)]], [("apply", 4, 2), ("confirm", 4, 4)]),
}


def child(work: Callable[[Callable[..., None]], None]) -> tuple[int, list[list[Any]]]:
    """Do something in a forked child; return how it ended, and what it told."""
    reader, writer = os.pipe()
    process = os.fork()
    if not process:
        os.close(reader)

        def tell(*facts: object) -> None:
            os.write(writer, json.dumps(facts).encode() + b"\n")

        status = 1
        faulthandler.dump_traceback_later(2 * LIMIT, exit=True)  # a life that hangs is a failure, and says where
        try:
            work(tell)
            status = 0
        except BaseException:
            tell("wrong", traceback.format_exc())
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader) as told:
        lines = [json.loads(line) for line in told.read().splitlines() if line.endswith("]")]
    return os.waitpid(process, 0)[1], lines


def live(acts: Acts, *, mode: int = 0, at: int = 0, error: int = 0) -> Callable[[Callable[..., None]], None]:
    """A life of the service, in its folder, with a fault at one point."""

    def work(tell: Callable[..., None]) -> None:
        life = Life(tell, failing=mode in (FAIL_ONCE, FAIL_ON))
        shim.crash_arm(os.fsencode(Path.cwd()) + b"/", at, mode or COUNT, error)
        try:
            life.begin()
        except KeyError:
            if not life.failing:
                raise
            return  # that it could not be started before could not be written down
        for act in acts:
            life.do(*act)
        tell("points", shim.crash_count())

    return work


def recover(wants: int | None, how: str = "drop") -> Callable[[Callable[..., None]], None]:
    """The life after it: what comes up, whether the books are in order, and whether it goes on from there."""

    def work(tell: Callable[..., None]) -> None:
        life = Life(tell, failing=False)
        life.begin()
        for line in problems():
            tell("wrong", line)
        if wants is not None:
            life.do(how, wants, wants)
            tell("drop", number(), [str(record.state) for record in life.patcher.history()])
        life.do("apply", 50, 0)
        life.do("confirm", 50, 50)
        for line in problems():
            tell("wrong", line)

    return work


def problems() -> Iterator[str]:
    """What is not in order in the store, after a boot and with nothing on trial of another process."""
    if not Path("var/journal.db").exists():
        return
    connection = sqlite3.connect("var/journal.db")
    if (whole := connection.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
        yield f"the database: {whole}"
    if not connection.execute("PRAGMA application_id").fetchone()[0]:
        connection.close()  # it died while it was made: nothing stands in it
        return
    last_step = "SELECT state FROM step WHERE rollout = rollout.id ORDER BY number DESC LIMIT 1"
    for name, state, last in connection.execute(f"SELECT id, state, ({last_step}) FROM rollout"):
        if state != last:
            yield f"{name} is {state}, and its last step {last}"
    store = hotswap.Store("var")
    for package, state, generation in connection.execute(
        "SELECT package, state, generation FROM standing LEFT JOIN rollout ON rollout.id = rollout"
    ):
        if state != "permanent":
            yield f"{package} stands on what is {state}"
        store.patches.get(generation)
    on_trial = "SELECT count(*) FROM rollout WHERE state NOT IN ('permanent', 'rolled_back', 'rejected', 'died')"
    if (left := connection.execute(on_trial).fetchone()[0]) > 0:
        yield f"{left} rollouts of dead processes are on trial"
    connection.close()
    for path in Path("var/patches").glob("[0-9a-f]*"):
        store.patches.get(path.name)


def judge(scenario: str, mode: int, status: int, told: list[list[Any]], after: list[list[Any]]) -> Iterator[str]:
    """Say what is wrong about a life that ended somehow, and the life after it."""
    failing = mode in (FAIL_ONCE, FAIL_ON)
    yield from (str(line[1:]) for line in (*told, *after) if line[0] == "wrong")
    if status not in (0, signal.SIGKILL):
        yield f"it ended with {status}"
    before = next((line[1] for line in told if line[0] == "up"), None)
    allowed = {START[scenario]} if before is None or failing else {before}
    for line in told:
        if line[0] == "began":
            allowed |= {line[3]}
            if failing and line[1] == "rollback":
                allowed |= {START[scenario]}  # what it would lead to may have been refused
        elif line[0] == "done" and (not failing or line[1] in ("confirm", *DROPS)):
            allowed = {line[3]}  # what a failing disk did not take of anything else is owed
    came = next((line[1] for line in after if line[0] == "up"), None)
    if came not in allowed:
        yield f"{came} came up, and not one of {sorted(allowed)}"
    if scenario in DROPS:
        running, states = next((line[1:] for line in after if line[0] == "drop"), (None, [""]))
        if running != 9 or states.count("permanent") != 1 or set(states) - {"permanent", "died", "rejected"}:
            yield f"the drop: {running} runs, and the history has {states}"
    if ["done", "confirm", 50, 50] not in after:
        yield f"it does not go on: {after}"


START = {"first": 1, "above": 2, "home": 3, "drop": 1, "trusted": 1, "unstartable": 2, "dead": 2}
DROPS = ("drop", "trusted")
"""The scenarios in which something is dropped."""


def main() -> None:
    """Prepare the folder of a scenario, and have its last life die at every point."""
    logging.disable(logging.CRITICAL)
    root, scenario, mode_name = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    first, step = int(sys.argv[4]), int(sys.argv[5])
    mode, error = MODES[mode_name]
    before, acts = SCENARIOS[scenario]
    template = root / "template"
    (template / "service").mkdir(parents=True)
    (template / "service" / "__init__.py").write_text("from service import one, two\n")
    for name in ("one", "two"):
        (template / "service" / f"{name}.py").write_text(SOURCE.format(n=1))
    if scenario in DROPS:
        folder = template / "drops" / "service"
        folder.mkdir(parents=True)
        (folder / "hotswap.toml").write_text('note = "dropped"\n')
        (folder / "__init__.py").write_text('__version__ = "9.0"\nfrom service import one, two\n')
        for name in ("one", "two"):
            (folder / f"{name}.py").write_text(SOURCE.format(n=9))
    warm(root)
    os.chdir(template)
    for earlier in before:
        status, told = child(live(earlier))
        assert (status == 0) == bool(earlier), told
    found, counts, at = [], {"points": 0, "died": 0}, first
    work = root / "work"
    while True:
        shutil.copytree(template, work)
        os.chdir(work)
        if (work / "drops" / "service").is_dir():
            (work / "drops" / "service.go").touch()  # last of all: the folder is complete
        status, told = child(live(acts, mode=mode, at=at, error=error))
        _, after = child(recover(9, scenario) if scenario in DROPS else recover(None))
        found += [
            f"{scenario}, {mode_name}, point {at}: {wrong}" for wrong in judge(scenario, mode, status, told, after)
        ]
        os.chdir(root)
        shutil.rmtree(work)
        counts["points"] += 1
        counts["died"] += status == signal.SIGKILL
        points = next((line[1] for line in told if line[0] == "points"), None)
        if points is not None and at > points:
            break  # it went through without a fault
        at += step
    print(json.dumps({"found": found[:20], "wrong": len(found), "last": at, **counts}))


def warm(root: Path) -> None:
    """Have everything imported that a patcher imports when it is first used."""
    folder = root / "warm"
    folder.mkdir()
    (folder / "warm.py").write_text("x = 1\n")
    sys.path.insert(0, str(folder))
    importlib.import_module("warm")
    hotswap.Patcher(["warm"], store=folder / "var").apply(hotswap.Patch.from_sources({"warm": "x = 2\n"})).rollback()
    sys.path.remove(str(folder))
    until = time.monotonic() + LIMIT
    while len(list(Path("/proc/self/task").iterdir())) > 1 and time.monotonic() < until:
        time.sleep(0.001)


if __name__ == "__main__":
    main()
