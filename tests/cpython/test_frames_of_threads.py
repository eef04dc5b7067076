"""Frames that another thread runs: what ends the process, why `frames` walks as it does, and `swap.variables` reads so.

Each of these programs reads a frame while something that dies lets the thread leave that frame, and end: its stack is
given back to the system.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import hotswap

pytestmark = pytest.mark.threads

LEAVES = """
    import gc, sys, threading
    stood, dropped, go = threading.Event(), threading.Event(), threading.Event()
    class Held:
        def __init__(self): self.me = self
        def __del__(self):
            dropped.set()
            thread.join()
    class Dropped(Held):
        def __init__(self): pass
    def frame_of(code):
        frame = sys._current_frames()[thread.ident]
        while frame.f_code is not code: frame = frame.f_back
        return frame
"""


LOCALS = """
    def loop():
        value = Dropped()
        stood.set()
        go.wait()
        value = None
        stood.set()
        dropped.wait()
        after = 1
    thread = threading.Thread(target=loop)
    thread.start()
    stood.wait()
    frame = frame_of(loop.__code__)
    frame.f_locals.get("value")
    stood.clear()
    go.set()
    stood.wait()
    {read}
    dropped.set()
    thread.join()
    print("read")
"""

BACK = """
    from hotswap import frames
    def inner(more):
        if more: return inner(more - 1)
        stood.set()
        dropped.wait()
    thread = threading.Thread(target=inner, args=(500,))
    thread.start()
    stood.wait()
    frame = frame_of(inner.__code__)
    gc.collect()
    gc.disable()
    Held()
    gc.set_threshold(100)
    {walk}
    gc.enable()
    dropped.set()
    thread.join()
    print("read")
"""

BY_HAND = "\n    while frame is not None: frame = frame.f_back"

CLOSED = """
    def generator():
        value = [object()]
        yield
    made = generator()
    next(made)
    frame = made.gi_frame
    held = len(gc.get_referents(made))
    made.close()
    print(held > len(gc.get_referents(made)))
    del made
    print(repr(frame.f_locals.get("value")))
"""


def leaving(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    return run(folder, textwrap.dedent(LEAVES) + textwrap.dedent(code))


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(code)
    return subprocess.run(
        [sys.executable, "-u", "program.py"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        # What is freed is overwritten.
        env={**os.environ, "PYTHONMALLOC": "debug", "PYTHONPATH": str(Path(hotswap.__file__).parents[1])},
    )


def is_crash(done: subprocess.CompletedProcess[str]) -> bool:
    return done.returncode in (-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="there it is a view")
def test_what_dies_when_the_locals_are_read_again_may_end_the_call(tmp_path: Path) -> None:
    assert is_crash(leaving(tmp_path, LOCALS.format(read="frame.f_locals")))


@pytest.mark.skipif(sys.version_info < (3, 13), reason="there it is a dict, which holds what was in it")
def test_locals_that_are_a_view_hold_nothing(tmp_path: Path) -> None:
    """The variable is set to None by the loop, which nobody can see after it: it has ended by then."""
    done = leaving(tmp_path, LOCALS.format(read="assert frame.f_locals['value'] is None"))
    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr


@pytest.mark.skipif(not (3, 12) <= sys.version_info < (3, 13), reason="new in 3.12, and not wanted since 3.13")
def test_one_variable_is_read_without_the_others(tmp_path: Path) -> None:
    read = """
    import ctypes
    get = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object, ctypes.py_object)(("PyFrame_GetVar", ctypes.pythonapi))
    assert get(frame, "value") is None
    try:
        get(frame, "after")
    except NameError:
        pass
    else:
        raise AssertionError
    """
    done = leaving(tmp_path, LOCALS.format(read=read))
    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="there a collection does not begin in an allocation")
def test_what_is_collected_while_a_stack_is_walked_may_end_the_call(tmp_path: Path) -> None:
    assert is_crash(leaving(tmp_path, BACK.format(walk=f"gc.enable(){BY_HAND}")))


@pytest.mark.parametrize("walk", [BY_HAND, "gc.enable(); assert len(frames.stack(frame)) > 500"])
def test_with_the_collector_off_a_stack_is_walked_safely(tmp_path: Path, walk: str) -> None:
    done = leaving(tmp_path, BACK.format(walk=walk))
    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr


@pytest.mark.skipif(not (3, 13) <= sys.version_info < (3, 13, 5), reason="mended in 3.13.6")
def test_the_locals_of_a_closed_generator_are_gone(tmp_path: Path) -> None:
    done = leaving(tmp_path, CLOSED)
    assert done.stdout.startswith("True\n")
    assert is_crash(done) or "object object" not in done.stdout


@pytest.mark.skipif((3, 13) <= sys.version_info < (3, 13, 6), reason="mended in 3.13.6")
def test_the_locals_of_a_closed_generator_stay_with_its_frame(tmp_path: Path) -> None:
    done = leaving(tmp_path, CLOSED)
    assert done.stdout.startswith("True\n")
    assert not is_crash(done), done.stderr
