"""Audit hooks: assigning `__code__` raises an audit event, and a hook written in Python would run in a commit.

`hotswap/swap/writes.py` asks whether there is a hook by an event that is not text: CPython 3.11 to 3.13 look at the
arguments only if somebody listens. A hook can't be removed, so each test has a process of its own.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.threads


def told_by(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip()


ASK = """
try:
    sys.audit(0)
except TypeError:
    print("a hook")
else:
    print("no hook")
"""


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="CPython 3.14 checks the arguments first, and so does not tell")
class TestAudit:
    def test_of_a_number_is_ignored_without_a_hook(self) -> None:
        assert told_by("import sys" + ASK) == "no hook"

    def test_of_a_number_raises_with_a_hook(self) -> None:
        assert told_by("import sys\nsys.addaudithook(lambda *_: None)" + ASK) == "a hook"


class TestHook:
    def test_runs_when_code_is_assigned(self) -> None:
        program = """
import sys
def old(): ...
def new(): ...
sys.addaudithook(lambda event, arguments: event == "object.__setattr__" and print(arguments[0] is old, arguments[1]))
type(old).__dict__["__code__"].__set__(old, new.__code__)
"""
        assert told_by(program) == "True __code__"
