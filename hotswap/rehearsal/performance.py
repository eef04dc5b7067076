"""The rehearsal itself, in the copy of the process: step by step, until one fails.

    load         the module bodies run, the plan is made
    checks       the checks of the patcher, on the candidate
    migrations   those of the patch
    swap         the candidate goes live, here
    live checks  those of the rehearsal, and probes: on what is live then, with the state that the service has
    rollback     and back

What is going on is told as it begins, so that the original knows it whatever becomes of the copy. It never returns to
whoever called: it leaves by `os._exit`, so that nothing is flushed, closed or called a second time.
"""

from __future__ import annotations

import errno
import os
import resource
import secrets
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import IO, Any, NoReturn

from hotswap.errors import CheckFailedError, HotswapError
from hotswap.rehearsal import limits
from hotswap.rehearsal.belongings import Belongings
from hotswap.rehearsal.channel import Teller
from hotswap.rehearsal.descriptors import Stub, guard
from hotswap.rehearsal.leftovers import MARK
from hotswap.rehearsal.mappings import make_private
from hotswap.rehearsal.quiet import hush
from hotswap.rehearsal.scene import Scene
from hotswap.rehearsal.terms import Rehearsal
from hotswap.rehearsal.waiting import Held, stack_of, suspects
from hotswap.verification import Candidate, Check, CheckResult, Report, Verdict, named_apart, run_checks

__all__ = ["Performance"]

_KEPT_BY_SYSTEM = sys.platform == "linux"
"""Whether the system keeps the limit of memory itself."""

_GLANCE = 0.1
"""Seconds between two looks of the thread that watches time, memory and the original."""

_CUT = "it used a connection, or an event loop, that is not in the copy"

_NO_FILE = (os.strerror(errno.ESPIPE), "disk I/O error")
"""What is said of a file, and by SQLite of its own, where the stub stands that has no positions."""
_FILE = "it used a file that was open to be read and written, which the copy can't"
_IN_VAIN = "it waited for what a thread was to say or do that is not in the copy"

_BODIES = ("hotswap load ", "hotswap migration ")
"""How threads are called in which modules are loaded, and migrations run."""


class _RefusedError(CheckFailedError):
    """Raised by a step whose checks have refused the patch, or can't tell."""

    def __init__(self, results: Sequence[CheckResult], *, unsure: bool = False, memory: bool = False) -> None:
        start = "" if unsure else "a check refused it: "
        super().__init__(start + "; ".join(result.sentence for result in results), Report(tuple(results)))
        self.unsure, self.memory = unsure, memory


class Performance:
    """One rehearsal, from within. Made in the original, since nothing should be imported after the fork.

    Arguments:
        rehearsal: what it may take.
        descriptor: of the pipe to the original.
        stacks: the file into which stacks are written.
        library: that of the system, or None.
    """

    def __init__(self, rehearsal: Rehearsal, descriptor: int, stacks: IO[bytes], library: Any) -> None:
        self._rehearsal = rehearsal
        self._stacks, self._library = stacks, library
        self._keep = (descriptor, stacks.fileno())
        self._teller = Teller(descriptor)
        self._original = os.getpid()
        self.mark = secrets.token_hex(8)
        """Is in the environment of the copy, and so of each process that it starts."""
        self._began = time.monotonic()
        self._unsure: list[str] = []
        self._late = threading.Event()

    # --- right after the fork ----------------------------------------------------------------------------------------

    def guard(self) -> None:
        """Cut what leads from this copy to anything else. Runs before other hooks of the fork do.

        Raises what went wrong, which the original is told.
        """
        try:
            self._guard()
        except BaseException as error:
            self._teller.tell("uncut", reason=f"{type(error).__name__}: {error}")
            raise

    def _guard(self) -> None:
        limits.stay_behind(self._library, self._original)
        os.environ[MARK] = self.mark
        self._had = limits.memory_now()
        self._stub = Stub()
        files = {} if sys.platform != "linux" else _files()
        left = make_private(self._library, files) if sys.platform == "linux" else []
        guard(self._keep, self._stub)
        hush(self._stacks)
        self._belongings = Belongings()
        self._held = Held()
        self._teller.tell("copied", left=left)

    # --- the steps ---------------------------------------------------------------------------------------------------

    def play(self, scenes: Iterable[Scene]) -> NoReturn:
        """Take the steps, tell how it went, and end this process."""
        status = 70
        try:
            threading.Thread(target=self._watch, args=(threading.current_thread(),), daemon=True).start()
            limits.limit(self._rehearsal.whole_cpu, self._rehearsal.memory)
            self._play(scenes)
            status = 0
        finally:
            os._exit(status)

    def _play(self, scenes: Iterable[Scene]) -> None:
        try:
            for name, scene in scenes:
                self._teller.tell("step", name=name)
                self._missed("")
                scene(self)
                if self._held.spent:
                    # What was let go is no lock any more, so nothing that follows would tell anything.
                    self._unsure = self._unsure or [f"{name} waited for a lock of another thread, and nothing followed"]
                    break
        except BaseException as error:  # noqa: BLE001 - it is what there is to be told
            limits.lift()
            self._fail(error)
        else:
            if self._unsure and self._rehearsal.inconclusive == "reject":
                self._end("inconclusive", error="", reason="; ".join(self._unsure))
            else:
                self._end("passed", unsure=self._unsure)

    def _fail(self, error: BaseException) -> None:
        if isinstance(error, _RefusedError):
            verdict = "inconclusive" if error.unsure else "refused"
            self._end(verdict, error=CheckFailedError.__name__, reason=error.reason, memory=error.memory)
            return
        stack = "".join(traceback.format_exception(error))
        why = self._excuse(stack)
        known = error if isinstance(error, HotswapError) else None
        reason = known.reason if known is not None else f"{type(error).__name__}: {error}"
        self._end(
            "inconclusive" if why else "refused",
            error=type(error).__name__,
            reason=f"{why}: {reason}" if why else reason,
            advice=(known.advice if known is not None else None) or "",
            stack=stack,
            memory=_of_memory(error),
        )

    def _excuse(self, stack: str) -> str:
        """What of the original a failure may be due to, in words; "" if nothing is known."""
        missed = self._missed(stack)
        if missed:
            return missed
        left = [thread for thread in threading.enumerate() if thread.name.startswith(_BODIES)]
        return next(iter(self._held.judge(left).values()), "")

    def _missed(self, told: str) -> str:
        """What was used that is not here since this was asked last, in words; "" if nothing is known.

        Arguments:
            told: what is said of a failure.
        """
        used, in_vain, refused = self._stub.was_used(), self._held.was_in_vain(), self._belongings.refused()
        if refused:
            return refused
        if used:
            return _CUT
        if in_vain:
            return _IN_VAIN
        return _FILE if self._stub.for_files and any(words in told for words in _NO_FILE) else ""

    def _end(self, verdict: str, **facts: Any) -> None:
        if self._late.is_set() and threading.current_thread() is threading.main_thread():
            # It goes on only because the other thread has let go of locks, to see whether it does. That one has the
            # last word.
            threading.Event().wait()
        used = resource.getrusage(resource.RUSAGE_SELF)
        self._teller.tell(
            "end",
            verdict=verdict,
            peak=max(0, limits.peak() - self._had),
            cpu=used.ru_utime + used.ru_stime,
            **facts,
        )

    # --- what steps call ---------------------------------------------------------------------------------------------

    def judge(self, checks: Sequence[Check], candidate: Candidate, token: object) -> None:
        """Run checks, and tell what each found. Raises if the patch is refused by them, once all have run.

        Arguments:
            checks: what to run.
            candidate: is handed to each.
            token: marks them as those of a patcher, which they must not call.
        """
        hung: dict[str, list[threading.Thread]] = {}
        numbered = named_apart(checks)
        results = {name: self._judge_one(name, check, candidate, token, hung) for name, check in numbered.items()}
        # When all have run: locks may be let go for it, and nothing that runs after that says anything.
        waits = self._held.judge([thread for threads in hung.values() for thread in threads])
        for name, threads in hung.items():
            why = next((waits[thread] for thread in threads if thread in waits), "")
            if why:
                results[name] = self._tell(self._in_doubt(results[name], why, numbered[name]))
        against = [one for one in results.values() if one.verdict is not Verdict.PASSED and not one.tolerated]
        refused = [one for one in against if one.verdict is not Verdict.INCONCLUSIVE]
        if refused:
            memory = any(result.message.startswith(MemoryError.__name__) for result in refused)
            raise _RefusedError(refused, memory=memory)
        if against:
            raise _RefusedError(against, unsure=True)
        self._unsure += [
            result.sentence
            for name, result in results.items()
            if result.verdict is Verdict.INCONCLUSIVE and not numbered[name].tolerates(Verdict.INCONCLUSIVE)
        ]

    def _judge_one(
        self, name: str, check: Check, candidate: Candidate, token: object, hung: dict[str, list[threading.Thread]]
    ) -> CheckResult:
        self._teller.tell("check", name=name)
        self._missed("")
        before = {*threading.enumerate()}
        (result,) = run_checks([replace(check, name=name)], candidate, token=token)
        missed = "" if result.verdict is Verdict.PASSED else self._missed(f"{result.message}\n{result.detail}")
        if missed:
            result = self._in_doubt(result, missed, check)
        elif result.verdict is Verdict.INCONCLUSIVE:
            result = self._in_doubt(result, "", check)
        elif result.verdict is Verdict.TIMED_OUT:
            hung[name] = [thread for thread in threading.enumerate() if thread not in before]
        return self._tell(result)

    def _in_doubt(self, result: CheckResult, why: str, check: Check) -> CheckResult:
        """The result of a check that can't tell here, and what that means for the patch."""
        verdict = Verdict.INCONCLUSIVE
        tolerated = check.tolerates(verdict) or self._rehearsal.inconclusive == "pass"
        message = f"{why}: {result.message}" if why else result.message
        return replace(result, verdict=verdict, message=message, tolerated=tolerated)

    def _tell(self, result: CheckResult) -> CheckResult:
        self._teller.tell(
            "result",
            name=result.name,
            verdict=str(result.verdict),
            duration=result.duration,
            message=result.message,
            detail=result.detail,
            tolerated=result.tolerated,
        )
        return result

    # --- the thread that watches -------------------------------------------------------------------------------------

    def _watch(self, walking: threading.Thread) -> None:
        until = self._began + self._rehearsal.time
        memory = None if _KEPT_BY_SYSTEM else self._rehearsal.memory
        while time.monotonic() < until:
            time.sleep(max(0.0, min(_GLANCE, until - time.monotonic())))
            if os.getppid() != self._original:
                os._exit(1)
            if memory is not None and limits.peak() - self._had > memory:
                self._end("refused", error="MemoryError", reason="it took too much", memory=True)
                os._exit(0)
        self._late.set()
        threads = suspects(walking)
        stack = stack_of(threads)
        why = _CUT if self._stub.was_used() else next(iter(self._held.judge(threads).values()), "")
        self._teller.tell("hung", why=why, stack=stack)
        # The stack of each thread, as C sees it, follows.
        os.kill(os.getpid(), signal.SIGABRT)


def _files() -> dict[tuple[int, int], int]:
    """The descriptors of open files, by device and inode."""
    found = {}
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - no objects to make at a fork
        try:
            facts = os.fstat(int(name))
        except OSError:
            continue  # it was the one that listed the others
        found[facts.st_dev, facts.st_ino] = int(name)
    return found


def _of_memory(error: BaseException | None) -> bool:
    """Whether an error is due to a lack of memory, or caused by one that is."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError):
            return True
        error = error.__cause__ or error.__context__
    return False
