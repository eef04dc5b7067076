"""Checks that come with the library: each is made by a function here, and registered with `Patcher.check`.

    patcher.check(hotswap.checks.pytest("tests/"), timeout=120)

A check of your own may raise `Inconclusive`, return an `Answer`, and ask how much of its time is left (`time_left`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hotswap.checks.generations import Call, Generation, Given, Inputs, Subject, given
from hotswap.checks.imports import IMPORT_FINDINGS, CleanImports
from hotswap.checks.kinds import Kind
from hotswap.checks.memories import Memory, size
from hotswap.checks.results import SameResult
from hotswap.checks.signatures import Severity, Signatures
from hotswap.checks.speed import NotSlower
from hotswap.checks.suites import Suite
from hotswap.checks.type_checkers import Checker, Types
from hotswap.generation import Candidate
from hotswap.stopping import check_limit
from hotswap.verification import Answer, Inconclusive, Verdict, time_left

__all__ = [
    "IMPORT_FINDINGS",
    "Answer",
    "Candidate",
    "Given",
    "Inconclusive",
    "Kind",
    "Verdict",
    "api_compatible",
    "given",
    "imports_clean",
    "memory",
    "not_slower",
    "pytest",
    "same_result",
    "time_left",
    "types",
]


def pytest(*arguments: str, folder: str | os.PathLike[str] | None = None) -> Kind:
    """Return a check that runs a suite of pytest in a fresh interpreter, with the candidate laid over the live code.

    Arguments:
        arguments: of pytest: paths, and options such as ``-k``, ``-x`` or ``--pyargs``.
        folder: the working directory; by default that of the process when the check runs.

    It passes if at least one test has passed, and none failed. It fails if one failed, a test could not be imported, or
    the process died; its message names the first ones. It is inconclusive if no tests were collected, all were skipped,
    or the tests have run code of the packages from elsewhere: by a path on disk, say. One that passes though nothing
    imported what the patch changes passes, and its message says so. When its time is up, the process is killed with
    all that it has started, and the message names the test that ran.

    Raises TypeError for arguments that are no texts.
    """
    if not all(isinstance(argument, str) for argument in arguments):
        raise TypeError(f"pytest takes its arguments as texts, not {arguments!r}")
    return Suite(arguments, None if folder is None else Path(folder))


def api_compatible(severity: Mapping[str, Severity] = MappingProxyType({})) -> Kind:
    """Return a check that compares the public signatures of the live version and the candidate, with griffe.

    Arguments:
        severity: what a breaking change does: ``"fail"``, ``"warn"`` (it passes, and its message tells) or
            ``"ignore"``. The keys are kinds of griffe (``"parameter-removed"``), or patterns of paths
            (``"shop.internal.*"``), which go before kinds. What is not named fails, but for values of attributes
            (ignored) and defaults of parameters (warned of).

    Without griffe (``pip install 'hotswap[checks]'``) its verdict is an error. Nothing of either version is executed.

    Raises ValueError for what is no severity.
    """
    return Signatures(severity)


def types(*arguments: str, tool: Checker | None = None, all_errors: bool = False) -> Kind:
    """Return a check that fails if a type checker finds an error in the candidate that the live version has not.

    Arguments:
        arguments: of the type checker, besides its configuration.
        tool: ``"mypy"`` or ``"pyright"``; without it mypy, where it is installed, else pyright.
        all_errors: whether errors that the live version has, too, count as well.

    It is inconclusive where there is no such tool. The configuration of mypy is that in the working directory.

    Raises ValueError for another tool.
    """
    if tool not in {None, "mypy", "pyright"}:
        raise ValueError(f"there are 'mypy' and 'pyright', not {tool!r}")
    return Types(tool, arguments, all_errors=all_errors)


def imports_clean(allow: Iterable[str] = ()) -> Kind:
    """Return a check that imports the modules of the patch in a fresh interpreter, where they do nothing else.

    Arguments:
        allow: kinds of findings that are no failure: some of `IMPORT_FINDINGS`.

    It fails if a module raises, warns, writes to stdout or stderr, starts a thread or a process, changes the import
    path, the environment, signals, hooks, filters of warnings, logging or other settings; and if it imports, anywhere
    in its code, what is not installed. What the live version does as well does not count.

    Raises TypeError or ValueError for what is no kind.
    """
    return CleanImports(allow)


def same_result(
    call: Subject,
    inputs: Iterable[object] | Callable[[Generation], Iterable[object]],
    *,
    compare: Callable[[Any, Any], object] | None = None,
) -> Kind:
    """Return a check that calls the live function and the candidate's with the same inputs, and compares the results.

    Arguments:
        call: a dotted name (``"shop.pricing.quote"``), or a function that gets a generation (module name -> module) and
            then the arguments. Both may be asynchronous.
        inputs: one for each call: a tuple of arguments, what `given` returns, or the one argument. Each side gets
            copies. Or a function that gets a generation and returns these: for objects of classes that are patched.
        compare: gets both results, and says whether they are the same. By default they are if they are equal, or are
            objects of the same class (by its name) with the same state. Elements of iterators are compared, too. Two
            functions, or classes that a function has made, are the same if their code, defaults and closures are; of
            others it is inconclusive. Other classes are the same if their names are.

    Exceptions are the same if their types (by name) and texts are. The message shows the first input that differs.
    It is inconclusive if each input ends in a TypeError of the call itself: no function has begun then.
    It runs in the process itself: what the live function does, it does. So give it functions that only answer.

    Raises TypeError or ValueError for what can't be called, and for inputs that are none.
    """
    return SameResult(Call(call), Inputs(inputs), compare)


def not_slower(
    call: Subject,
    inputs: Iterable[object] | Callable[[Generation], Iterable[object]],
    *,
    ratio: float = 1.2,
    seconds: float = 10.0,
) -> Kind:
    """Return a check that times the live function and the candidate's in turn, and fails if the candidate is slower.

    Arguments:
        call, inputs: as those of `same_result`.
        ratio: how many times as long the candidate may take.
        seconds: how long it may go on until it is sure; it is inconclusive then. It never takes more than four fifths
            of the check's time.

    It runs when no other check does. It is sure if the median of the ratios lies on one side of `ratio` at a level of
    99.9 %, which takes eleven rounds at least. Iterators that are returned are run to their end, or for 10,000
    elements, within the time of the call.

    Raises TypeError or ValueError for what can't be called, for inputs that are none, and for what is no limit.
    """
    check_limit(ratio, "ratio", "a candidate")
    check_limit(seconds, "seconds", "a measurement")
    return NotSlower(Call(call), Inputs(inputs), ratio, seconds)


def memory(
    limit: int | str,
    call: str | None = None,
    inputs: Iterable[object] = ((),),
    *,
    kept: int | str | None = None,
    rounds: int = 20,
) -> Kind:
    """Return a check that fails if the candidate takes more memory than a limit, in a process of its own.

    Arguments:
        limit: bytes at the peak, or a text such as ``"50 MB"``.
        call: the dotted name of a function; without it the memory is that of importing the modules of the patch.
        inputs: as those of `same_result`; they are pickled.
        kept: bytes that may be left when all calls are over, for leaks; None: they are told, and don't count.
        rounds: how often all inputs are called. A first round that is not counted fills caches.

    It counts what Python allocates (`tracemalloc`), also as iterators that are returned are run, for 10,000 elements at
    most. A process that takes far more than the limit is stopped, on Linux. It is inconclusive if every call raises:
    what the service has set up is not there.

    Raises TypeError or ValueError for what is no size, no name, or no inputs.
    """
    if call is not None and not isinstance(call, str):
        raise TypeError("a function that runs in another process is given by its dotted name")
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise ValueError(f"rounds is a number of 1 and more, not {rounds!r}")
    most = None if kept is None else size(kept)
    return Memory(size(limit), None if call is None else Call(call), Inputs(inputs), most, rounds)
