"""Handler classes of a patch: a dropped one leaves nothing behind that `logging` closes when the process ends."""

from __future__ import annotations

import gc
import importlib
import logging
import logging.config
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from hotswap import LoadError, Patch, Patcher

Make = Callable[..., ModuleType]

SOURCE = (
    "import logging\n"
    "class Ring(logging.Handler):\n"
    "    def emit(self, record): self.last = {}\n"
    "RING = Ring()\n"
    "RING.set_name('RING of PACKAGE')\n"
)


class TestOfADroppedClass:
    home = ""

    @pytest.fixture
    def swap(self, make_package: Make) -> Callable[[str], Any]:
        name = make_package({"core.py": SOURCE.format(1)}).__name__
        module = importlib.import_module(f"{name}.core")
        patcher = Patcher([name])
        sources = iter(range(1, 100))

        def apply(end: str) -> Any:
            version = str(next(sources))
            patcher.apply(Patch.from_sources({f"{name}.core": SOURCE.format(version) + end}, version=version))
            return patcher

        self.home = module.__name__
        apply.ring = module.RING  # type: ignore[attr-defined]
        return apply

    def own(self) -> list[logging.Handler]:
        handlers = (reference() for reference in list(logging._handlerList))  # type: ignore[attr-defined]
        return [handler for handler in handlers if handler is not None and type(handler).__module__ == self.home]

    def test_none_is_known_after_a_rejection(self, swap: Any) -> None:
        with pytest.raises(LoadError):
            swap("raise ValueError\n")
        assert self.own() == [swap.ring]
        logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, "incremental": False})

    def test_all_that_are_known_are_whole_after_swaps_and_a_rollback(self, swap: Any) -> None:
        swap("")
        swap("")
        swap("").rollback()
        for handler in self.own():
            with handler.lock or threading.Lock():
                handler.flush()
        gc.collect()
        held = self.own()
        assert held[0] is swap.ring
        assert len(held) <= 2, "the journal of the live swap holds what it has dropped"
        assert logging._handlers["RING of PACKAGE"] is swap.ring  # type: ignore[attr-defined]
