"""How a program ends, as its exit handlers see it: what `hotswap.store.exits` is built on."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

pytestmark = pytest.mark.threads

PROGRAM = """
    import atexit, gc, opcode, os, sys
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
    def end():
        name = opcode.opname[frame.f_code.co_code[frame.f_lasti]]
        left = [one for one in gc.get_objects() if isinstance(one, SystemExit)]
        print(name in ("RETURN_VALUE", "RETURN_CONST"), sys.exception(), left, type(getattr(sys, "last_value", None)))
    atexit.register(end)
"""

LISTENS = """
    import faulthandler, os, signal, sys, threading, time
    note = os.open("note", os.O_RDWR | os.O_CREAT)
    def listen():
        faulthandler.register(signal.SIGTERM, note, all_threads=False, chain=True)
"""


def run(folder: Path, code: str, *command: str) -> subprocess.CompletedProcess[str]:
    (folder / "program.py").write_text(code)
    return subprocess.run(
        [sys.executable, *(command or ("program.py",))],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class TestOutermostFrame:
    @pytest.mark.parametrize("command", [(), ("-m", "program"), ("-c", "import runpy; runpy.run_path('program.py')")])
    @pytest.mark.parametrize(
        ("end", "returned", "died_of"),
        [
            ("", True, "NoneType"),
            ("try: sys.exit(1)\nexcept SystemExit: print(end='')", True, "NoneType"),
            ("sys.exit(1)", False, "NoneType"),
            ("raise SystemExit(1)", False, "NoneType"),
            ("try: sys.exit(1)\nfinally: print(end='')", False, "NoneType"),
            ("1 / 0", False, "ZeroDivisionError"),
            ("raise KeyboardInterrupt", False, "KeyboardInterrupt"),
        ],
    )
    def test_has_returned_or_not_and_the_exit_itself_is_gone(
        self, tmp_path: Path, end: str, returned: bool, died_of: str, command: tuple[str, ...]
    ) -> None:
        done = run(tmp_path, textwrap.dedent(PROGRAM) + end + "\n", *command)
        assert done.stdout == f"{returned} None [] <class '{died_of}'>\n"


@pytest.mark.skipif(not hasattr(__import__("faulthandler"), "register"), reason="it can't listen to signals here")
class TestFaulthandler:
    @pytest.mark.parametrize(
        ("code", "status", "noted"),
        [
            ("listen()\nos.kill(os.getpid(), 15)\ntime.sleep(60)", -15, True),
            ("t = threading.Thread(target=listen); t.start(); t.join()\nos.kill(os.getpid(), 15)", -15, True),
            ("signal.signal(15, lambda *_: sys.exit(7))\nlisten()\nos.kill(os.getpid(), 15)\ntime.sleep(60)", 7, True),
            ("listen()\nsignal.signal(15, lambda *_: sys.exit(7))\nos.kill(os.getpid(), 15)\ntime.sleep(60)", 7, False),
            ("listen()\nfaulthandler.unregister(15)\nos.kill(os.getpid(), 15)\ntime.sleep(60)", -15, False),
        ],
    )
    def test_notes_a_signal_and_lets_it_go_its_way(self, tmp_path: Path, code: str, status: int, noted: bool) -> None:
        done = run(tmp_path, textwrap.dedent(LISTENS) + code + "\n")
        assert (done.returncode, (tmp_path / "note").read_bytes() != b"") == (status, noted)
