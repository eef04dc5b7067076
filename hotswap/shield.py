"""Work that no interrupt may tear apart: Ctrl-C, or whatever else a signal handler of the program raises.

Python runs signal handlers in the main thread, between any two bytecodes. A swap that is made, and not yet written down
as made, would leave a process that runs one version and says that it runs another. So what belongs together is done in
another thread, where no handler runs, and the main thread waits for it.

Guarantees: the work is done as a whole, or not begun. An interrupt that comes meanwhile is handed to the caller when
the work is done; one that comes within microseconds after another may reach the caller earlier, while the work goes on
in its thread. Assumes: nobody raises exceptions in the helping thread. Where no thread can be started (Pyodide, the end
of the interpreter) the work is done in place, and an interrupt strikes as ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

__all__ = ["outlast", "shielded"]

T = TypeVar("T")

_START = 1.0
"""Seconds for a thread whose start was interrupted to show that it was started."""


class _Work(Generic[T]):
    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._done = threading.Event()
        self._results: list[T] = []
        self._error: BaseException | None = None

    def main(self) -> None:
        try:
            self._results.append(self._work())
        except BaseException as error:  # noqa: BLE001 - it is raised again in the caller's thread
            self._error = error
        finally:
            self._done.set()

    def wait(self, thread: threading.Thread, interrupt: BaseException | None) -> BaseException | None:
        """Wait until the work is done, through any number of interrupts; return the last of them.

        Raises the one that struck while the thread was started, if it kept the work from beginning.
        """
        unsure = interrupt is not None
        while True:
            try:
                if unsure and not self._begun(thread):
                    break
                unsure = False
                self._done.wait()
                thread.join()
            except BaseException as error:  # noqa: BLE001 - handed to the caller
                interrupt = error
            else:
                return interrupt
        assert interrupt is not None
        raise interrupt

    def _begun(self, thread: threading.Thread) -> bool:
        return self._done.wait(_START) or thread.is_alive()

    def result(self, interrupt: BaseException | None) -> T:
        try:
            if self._error is not None:
                raise self._error from (self._error.__cause__ or interrupt)
            return self._results[0]
        finally:
            self._error = None  # an exception and the frame that holds it are a circle


def shielded(work: Callable[[], T]) -> tuple[T, BaseException | None]:
    """Do some work where no interrupt can strike.

    Arguments:
        work: runs no code of others. It is done in another thread if this is the main one, so it must not need locks
            that the caller holds.

    Returns what the work returned, and the interrupt that came meanwhile, if one did: the caller raises it when it has
    told of the work. Raises what the work raises, caused by the interrupt if there was one.
    """
    if threading.current_thread() is not threading.main_thread():
        return work(), None
    shield = _Work(work)
    thread = threading.Thread(target=shield.main, name="hotswap shield", daemon=True)
    interrupt: BaseException | None = None
    try:
        thread.start()
    except RuntimeError:
        return work(), None
    except BaseException as error:  # noqa: BLE001 - handed to the caller
        interrupt = error
    interrupt = shield.wait(thread, interrupt)
    return shield.result(interrupt), interrupt


def outlast(steps: Mapping[str, Callable[[], object]]) -> list[str]:
    """Take the steps that follow a swap, each of them also if one before it fails: the swap is made, and stays made.

    Arguments:
        steps: what is not as it should be if a step fails -> the step.

    Returns a sentence for each that failed.
    """
    failed: list[str] = []
    for consequence, step in steps.items():
        try:
            step()
        except Exception as error:  # noqa: BLE001 - it is told in the plan; nothing can be taken back any more
            failed.append(f"{consequence}: {type(error).__name__}: {error}")
    return failed
