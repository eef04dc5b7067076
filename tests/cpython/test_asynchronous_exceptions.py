"""An exception that is requested for a thread, and taken back: what `hotswap.stopping.forget_stop` makes up for."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.threads

PROGRAM = """
    import ctypes, faulthandler, sys, threading

    faulthandler.dump_traceback_later({limit}, exit=True)
    set_exception = ctypes.pythonapi.PyThreadState_SetAsyncExc
    ready, go = threading.Event(), threading.Event()

    def work():
        ready.set()
        go.wait()

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait()
    set_exception(ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit))
    set_exception(ctypes.c_ulong(thread.ident), None)
    {then}
    go.set()
    thread.join()

    def traced():
        return 1

    sys.setprofile(lambda *_: None)
    traced()
    sys.setprofile(None)
    print("traced")
"""

AGAIN = "from hotswap.stopping import forget_stop; forget_stop(thread.ident)"


def traces(then: str, limit: float) -> bool:
    """Whether a function can be profiled after an exception was requested for another thread, and taken back."""
    program = textwrap.dedent(PROGRAM).format(
        limit=limit, then="; ".join(textwrap.dedent(then).split("\n")).strip("; ")
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "traced\n" or "Timeout" in done.stderr
    return done.stdout == "traced\n"


class TestTakenBack:
    @pytest.mark.skipif(sys.version_info >= (3, 12), reason="mended in 3.12: the next test says so")
    def test_leaves_a_signal_that_makes_profiling_hang(self) -> None:
        assert not traces("", 2)

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="it hangs in 3.11: the test before says so")
    def test_leaves_nothing(self) -> None:
        assert traces("", 30)

    def test_leaves_nothing_if_one_was_raised_since(self) -> None:
        assert traces(AGAIN, 30)
