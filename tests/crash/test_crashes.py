"""A service is killed, or its disk fails, at the points of its rollouts, and is started again.

A point is whatever it does to a file below its folder: each write, fsync, rename, truncation, creation and removal,
SQLite's own among them. `shim.c` counts them, and `driver.py` runs the lives. What came up is permanent and whole, the
journal is consistent, a drop is neither lost nor applied twice, and it goes on from there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import hotswap

pytestmark = [pytest.mark.threads, pytest.mark.slow]

HERE = Path(__file__).resolve().parent
SCENARIOS = ("first", "above", "home", "drop", "trusted", "unstartable", "dead")
LIMIT = 900.0

# Every how many points: a share that takes less than a minute on two cores, spread over all scenarios and faults.
SHARES = {"kill": 13, "torn": 31, "io": 37, "full": 61}


@pytest.fixture(scope="module")
def shim() -> Iterator[Path]:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("it takes Linux and a C compiler to stand between a process and the system")
    with tempfile.TemporaryDirectory(prefix="hotswap-shim-") as folder:
        library = Path(folder, "shim.so")
        command = [compiler, "-O1", "-shared", "-fPIC", "-o", str(library), str(HERE / "shim.c"), "-ldl"]
        subprocess.run(command, check=True, capture_output=True)
        yield library


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where an fsync is cheap: it is a point all the same."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="hotswap-crash-", dir="/dev/shm") as folder:
        yield Path(folder)


def drive(shim: Path, folder: Path, scenario: str, mode: str, first: int, step: int) -> dict[str, object]:
    folder = folder / f"{scenario}-{mode}-{first}"
    folder.mkdir()
    path = os.pathsep.join([str(Path(hotswap.__file__).parent.parent)])
    done = subprocess.run(
        [sys.executable, str(HERE / "driver.py"), str(folder), scenario, mode, str(first), str(step)],
        env={**os.environ, "PYTHONPATH": path, "LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


class TestEveryPoint:
    @pytest.mark.parametrize("mode", list(SHARES))
    def test_of_a_share(self, shim: Path, memory: Path, mode: str) -> None:
        step = SHARES[mode] * int(os.environ.get("HOTSWAP_EVERY_NTH_POINT", "1"))
        first = 1 + int.from_bytes(os.urandom(2)) % step  # over many runs, every point; what fails names its own
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda scenario: drive(shim, memory, scenario, mode, first, step), SCENARIOS))
        assert [wrong for one in found for wrong in one["found"]] == []  # type: ignore[attr-defined]
        if mode == "kill":
            assert all(int(str(one["died"])) >= int(str(one["points"])) - 1 for one in found)

    @pytest.mark.stress
    @pytest.mark.timeout(1800)
    @pytest.mark.parametrize("scenario", SCENARIOS)
    @pytest.mark.parametrize("mode", list(SHARES))
    def test_of_all(self, shim: Path, memory: Path, mode: str, scenario: str) -> None:
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda first: drive(shim, memory, scenario, mode, first, 2), (1, 2)))
        assert [wrong for one in found for wrong in one["found"]] == []  # type: ignore[attr-defined]
