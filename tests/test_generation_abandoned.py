"""What a process has left behind that was killed, and what another one still uses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hotswap.generation.abandoned import SUFFIX, Hold, sweep
from tests import waiting
from tests.trees import lay

pytestmark = pytest.mark.skipif(not hasattr(os, "fork") or sys.platform == "emscripten", reason="kills processes")

PATCHED = """
import os, signal, sys
import hotswap, shop
patcher = hotswap.Patcher(packages=["shop"])
patcher.apply(hotswap.Patch.from_sources({"shop": "RATE = 16\\n"}, version="2"))
tree = os.path.dirname(os.path.dirname(shop.__file__))
"""

DIES = f"{PATCHED}print(tree, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
DIES_IN_A_CHECK = """
import os, signal
import hotswap, shop
from hotswap.checks.overlays import overlaid
patcher = hotswap.Patcher(packages=["shop"])
rollout = patcher.stage(hotswap.Patch.from_sources({"shop": "RATE = 16\\n"}, version="2"))
with overlaid(rollout.candidate) as overlay:
    print(overlay.folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
DEADLY = """
import os, signal

scandir, unlink = os.scandir, os.unlink

class Listing:
    def __init__(self, path):
        with scandir(path) as found:
            self.entries = sorted(found, key=lambda entry: entry.name != ".hotswap-lock")

    def __enter__(self):
        return iter(self.entries)

    def __exit__(self, *_):
        pass

def die(path, **more):
    if str(path).endswith(".py"):
        os.kill(os.getpid(), signal.SIGKILL)
    unlink(path, **more)

def deadly():
    os.scandir, os.unlink = Listing, die
"""
"""The first module that is deleted kills; and a lock comes before all else in what the system says of a folder."""

DIES_AT_ITS_END = f"{PATCHED}{DEADLY}print(tree, flush=True)\ndeadly()\n"
DIES_AFTER_A_CHECK = DEADLY + DIES_IN_A_CHECK.replace("os.kill(os.getpid(), signal.SIGKILL)", "deadly()")
DIES_WHILE_IT_SWEEPS = f"""{DEADLY}
import tempfile
from hotswap.generation.abandoned import sweep
deadly()
sweep(tempfile.gettempdir())
"""
LIVES = f"{PATCHED}print(tree, flush=True)\nsys.stdin.read()\n"
ORPHAN = f"""{PATCHED}
if os.fork():
    os.kill(os.getpid(), signal.SIGKILL)
print(tree, flush=True)
sys.stdin.read()
"""
DAEMON = f"""{PATCHED}
if os.fork():
    os._exit(0)
os.closerange(3, 1000)
print(tree, flush=True)
sys.stdin.read()
"""
RETIRES = f"""{PATCHED}
os.closerange(3, 1000)
before = os.open("strangers", os.O_CREAT | os.O_RDWR), os.open("strangers", os.O_RDWR), os.open("strangers", os.O_RDWR)
for number in range(3, 9):
    patcher.apply(hotswap.Patch.from_sources({{"shop": f"RATE = {{number}}\\n"}}, version=str(number)))
for handle in before:
    os.fstat(handle)
print(tree, os.path.exists(tree))
"""


class Place:
    """A folder for temporary files, and a package that is patched there."""

    def __init__(self, root: Path) -> None:
        self.root, self.temporary = root, root / "tmp"
        self.temporary.mkdir()
        (root / "shop").mkdir()
        (root / "shop" / "__init__.py").write_text("RATE = 19\n")
        self.running: list[subprocess.Popen[str]] = []

    def start(self, program: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "TMPDIR": str(self.temporary), "PYTHONPATH": os.pathsep.join([*sys.path, "."])}
        environment.pop("HOTSWAP_KEEP_SOURCES", None)
        process = subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=self.root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.running.append(process)
        return process

    def tree(self, program: str) -> Path:
        """Start a program, and return where the files of its generation lie, once they do."""
        told = self.start(program).stdout
        assert told is not None
        return Path(told.readline().split()[0])

    def dead(self) -> Path:
        """Make what a process leaves that was killed."""
        tree = Path(tempfile.mkdtemp(prefix="hotswap-1-", suffix=SUFFIX, dir=self.temporary))
        lay(tree, {"shop/__init__.py": "RATE = 16\n"})
        Hold(str(tree)).end()
        return tree

    def left(self) -> list[str]:
        """What is there after somebody has looked for what is abandoned."""
        sweep(str(self.temporary))
        return sorted(entry.name for entry in self.temporary.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    for process in made.running:
        process.communicate(timeout=60)


class TestWhatAKilledProcessLeaves:
    def test_goes_with_the_next_start(self, place: Place) -> None:
        trees = [place.tree(DIES), place.tree(DIES)]
        assert [tree.parent for tree in trees] == [place.temporary] * 2
        place.running[-1].wait(timeout=60)
        after = place.start(PATCHED)
        after.communicate(timeout=60)
        assert after.returncode == 0
        assert list(place.temporary.iterdir()) == []

    def test_goes_also_if_it_was_killed_within_a_check(self, place: Place) -> None:
        folder = place.tree(DIES_IN_A_CHECK)
        assert folder.parent == place.temporary
        place.running[-1].wait(timeout=60)
        assert len(list(place.temporary.iterdir())) == 2
        assert place.left() == []

    def test_goes_and_nothing_that_its_links_lead_to(self, place: Place) -> None:
        tree = place.dead()
        outside = place.root / "outside"
        outside.mkdir()
        (outside / "precious").write_text("1")
        (tree / "link").symlink_to(outside)
        (tree / "shop" / "link").symlink_to(outside / "precious")
        assert place.left() == []
        assert (outside / "precious").read_text() == "1"


class TestWhoIsKilledWhileHeDeletes:
    """He leaves the lock, so that the rest goes with the next start."""

    @pytest.mark.parametrize(
        "program", [DIES_AT_ITS_END, DIES_AFTER_A_CHECK], ids=["its tree", "the folder of a check"]
    )
    def test_what_is_his_own(self, place: Place, program: str) -> None:
        tree = place.tree(program)
        assert place.running[0].wait(timeout=60) == -9
        assert list(tree.rglob("*.py"))
        assert place.left() == []

    def test_what_a_dead_one_has_left(self, place: Place) -> None:
        tree = place.dead()
        assert place.start(DIES_WHILE_IT_SWEEPS).wait(timeout=60) == -9
        assert list(tree.rglob("*.py"))
        assert place.left() == []


class TestWhatIsUsed:
    def test_by_a_living_process_stays(self, place: Place) -> None:
        tree = place.tree(LIVES)
        assert place.left() == [tree.name]

    @pytest.mark.parametrize("program", [ORPHAN, DAEMON], ids=["orphan", "daemon"])
    def test_by_a_child_of_a_dead_one_stays_as_long_as_that_lives(self, place: Place, program: str) -> None:
        tree = place.tree(program)
        assert place.left() == [tree.name]
        assert (tree / "shop" / "__init__.py").read_text() == "RATE = 16\n"
        place.running[0].communicate(timeout=60)
        assert waiting.until(lambda: place.left() == [], 20.0)  # the system closes a lock a moment after a pipe

    def test_goes_when_it_is_not_used_any_more_and_closes_nothing_of_others(self, place: Place) -> None:
        told, _ = (process := place.start(RETIRES)).communicate(timeout=60)
        assert (process.returncode, told.split()[1:]) == (0, ["False"])


class TestWhatIsNotOurs:
    """It is left alone, though nobody holds it."""

    @pytest.fixture
    def tree(self, place: Place) -> Path:
        return place.dead()

    def test_a_link_to_it(self, place: Place, tree: Path) -> None:
        aside = tree.rename(place.root / "aside")
        tree.symlink_to(aside)
        assert place.left() == [tree.name]
        assert (aside / "shop" / "__init__.py").exists()

    @pytest.mark.parametrize("name", [".", ".hotswap-lock"])
    def test_what_others_may_write_to(self, place: Place, tree: Path, name: str) -> None:
        (tree / name).chmod(0o770)
        assert place.left() == [tree.name]

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="gives a file to somebody else")
    @pytest.mark.parametrize("name", [".", ".hotswap-lock"])
    def test_what_others_own(self, place: Place, tree: Path, name: str) -> None:
        os.chown(tree / name, 12345, 12345)
        assert place.left() == [tree.name]

    def test_what_another_system_holds(self, place: Place, tree: Path) -> None:
        (tree / ".hotswap-lock").write_text("another kernel\n")
        assert place.left() == [tree.name]

    def test_what_has_no_lock(self, place: Place, tree: Path) -> None:
        (tree / ".hotswap-lock").unlink()
        assert place.left() == [tree.name]

    def test_a_lock_that_is_a_link_or_a_pipe(self, place: Place, tree: Path) -> None:
        lock = tree / ".hotswap-lock"
        lock.rename(place.root / "lock")
        lock.symlink_to(place.root / "lock")
        other = tree.with_name("hotswap-1-other.tree")
        shutil.copytree(tree, other, symlinks=True)
        other.chmod(0o700)
        (other / ".hotswap-lock").unlink()
        os.mkfifo(other / ".hotswap-lock", 0o600)
        assert place.left() == sorted([tree.name, other.name])

    def test_what_was_not_made_to_be_taken_away(self, place: Place, tree: Path) -> None:
        other = tree.rename(tree.with_suffix(""))
        assert place.left() == [other.name]


def test_a_process_that_is_told_to_keep_its_files_has_them_left_alone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = place.start(f"{LIVES}os.environ['HOTSWAP_KEEP_SOURCES'] = '.'\n")
    process.communicate(timeout=60)
    kept = sorted(entry.name for entry in place.temporary.iterdir())
    assert len(kept) == 1
    assert place.left() == kept


def test_where_there_are_no_locks_nothing_is_left_behind_and_nothing_taken_away(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Path(tempfile.mkdtemp(prefix="hotswap-1-", suffix=SUFFIX, dir=place.temporary))
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "fcntl", None)
        with pytest.raises(OSError, match="no locks"):
            Hold(str(tree))
    assert list(tree.iterdir()) == []
    assert place.left() == [tree.name]
