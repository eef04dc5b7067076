"""A time limit for module bodies: they run in a thread of their own, which is stopped and left behind when it is over.

| limit | module bodies run in |
|---|---|
| some seconds | a daemon thread of their own, with a copy of the caller's context variables |
| None, or no thread can be started | the caller's thread |

It is nothing that a unit of work does: in a session a body would meet what is of the version before the live one.

What is left behind can do no harm through imports: the candidate's world refuses managed packages from then on, and the
import wrapper stays until the thread has ended.
"""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import FrameType
from typing import TYPE_CHECKING

from hotswap import frames
from hotswap.errors import HotswapError, LoadError
from hotswap.session import outside
from hotswap.stopping import Stopped, Worker, answer_of

if TYPE_CHECKING:
    from hotswap.generation.files import Tree
    from hotswap.generation.loading import Candidate

__all__ = ["Limit"]


@dataclass(frozen=True)
class Limit:
    """How long the module bodies of a candidate may take together.

    Arguments:
        seconds: until they are given up; None for ever.
        cancelled: once it is set, they are given up as if the time were over.
        inside: makes the block in which they run, in the thread in which they run.
    """

    seconds: float | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    inside: Callable[[], AbstractContextManager[None]] = nullcontext

    def run(self, candidate: Candidate) -> None:
        """Run the module bodies. Raises what they raise, and LoadError when they are given up."""
        name = f"hotswap load {candidate.patch.label}"
        self.call(name, candidate.load_modules, lambda worker: self._give_up(candidate, worker))

    def call(self, name: str, work: Callable[[], object], give_up: Callable[[Worker], HotswapError]) -> None:
        """Run code of others within the limit. Raises what it raises.

        Arguments:
            name: of the thread in which it runs.
            work: runs it.
            give_up: asks the thread to stop, or leaves it behind, when time is up; returns the error to raise.
        """
        worker = Worker(name)
        answers: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        seconds = None if sys.platform in ("emscripten", "wasi") else self.seconds
        try:
            # Starting is inside too: the module body may be running before `start` returns, and Ctrl-C may come then.
            if seconds is None or not worker.start(self._main, work, answers):
                self._run(work)
                return
            error = answer_of(answers, seconds, self.cancelled)
        except queue.Empty:
            if worker.thread is None:
                raise  # what ran here said so
            raise give_up(worker) from None
        except BaseException:
            # Somebody wants to end the process, or to stop the thread in which we run: leave nothing behind.
            if worker.thread is not None:
                give_up(worker)
            raise
        # Until it has left, its frames hold the candidate, which the caller may want to be the last to hold.
        worker.join()
        try:
            if error is not None:
                raise error
        finally:
            del error  # a frame that its own exception holds is a cycle, which would keep the candidate

    def _run(self, work: Callable[[], object]) -> None:
        with outside(), self.inside():
            work()

    def _main(self, work: Callable[[], object], answers: queue.SimpleQueue[BaseException | None]) -> None:
        failure: BaseException | None = None
        try:
            self._run(work)
        except Stopped:
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            failure = error
        answers.put(failure)
        del failure  # as above

    def _give_up(self, candidate: Candidate, worker: Worker) -> LoadError:
        """Stop the thread, or leave it behind; return the error that says so."""
        module = candidate.world.running[-1] if candidate.world.running else None
        place = worker.look(lambda frame: _place(frame, candidate.tree)) or module or "a module"
        candidate.give_up(worker)
        worker.ask()
        fate = worker.fate()
        if worker.thread is not None and worker.thread.is_alive():
            fate += ", and was left behind: it waits in a call that can't be interrupted, or refuses to end"
        if self.cancelled.is_set():
            reason = f"the caller was cancelled while {place} was being imported; {fate}"
        else:
            reason = f"{place} did not return within {self.seconds:g} s while it was imported; {fate}"
        return LoadError(
            reason,
            module=module,
            patch=candidate.patch.label,
            advice="mend the module, or give it more time: Patcher(load_timeout=...)",
        )


def _place(frame: FrameType | None, tree: Tree) -> str:
    """The innermost line of the patch that a thread is in, as ``file:line``; empty if it is in none."""
    for one in frames.stack(frame):
        place = tree.place(one.f_code.co_filename)
        if place is not None:
            return f"{place}:{one.f_lineno}"
    return ""
