"""Checks that come with the library: each is made by a function here, and registered with `Patcher.check`.

    patcher.check(hotswap.checks.pytest("tests/"), timeout=120)

A check of your own may raise `Inconclusive`, return an `Answer`, and ask how much of its time is left (`time_left`).
"""

from __future__ import annotations

import os
from pathlib import Path

from hotswap.checks.kinds import Kind
from hotswap.checks.suites import Suite
from hotswap.generation import Candidate
from hotswap.verification import Answer, Inconclusive, Verdict, time_left

__all__ = ["Answer", "Candidate", "Inconclusive", "Kind", "Verdict", "pytest", "time_left"]


def pytest(*arguments: str, folder: str | os.PathLike[str] | None = None) -> Kind:
    """Return a check that runs a suite of pytest in a fresh interpreter, with the candidate laid over the live code.

    Arguments:
        arguments: of pytest: paths, and options such as ``-k``, ``-x`` or ``--pyargs``.
        folder: the working directory; by default that of the process when the check runs.

    It passes if at least one test has passed, and none failed. It fails if one failed, a test could not be imported, or
    the process died; its message names the first ones. It is inconclusive if no tests were collected, all were skipped,
    or the tests have imported the packages of the patch from elsewhere. When its time is up, the process is killed with
    all that it has started, and the message names the test that ran.

    Raises TypeError for arguments that are no texts.
    """
    if not all(isinstance(argument, str) for argument in arguments):
        raise TypeError(f"pytest takes its arguments as texts, not {arguments!r}")
    return Suite(arguments, None if folder is None else Path(folder))
