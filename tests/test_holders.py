"""Who holds something of a candidate, while others pass over the heap."""

from __future__ import annotations

import gc
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher, UnsupportedChangeError
from hotswap.effects import traces

SOURCE = """
TABLE = {{}}

class Engine:
    def __init__(self):
        self.rate = {rate}

    @classmethod
    def warmed(cls):
        return cls()

    @property
    def label(self):
        return f"engine {{self.rate}}"

class Quoting(Engine):
    @staticmethod
    def sells():
        return {rate}

def quote():
    return Quoting.warmed().label, Quoting.sells()
"""


class Walker:
    """A thread that holds all objects, in what it likes, from the moment in which a candidate is looked at."""

    def __init__(self, hold: Callable[[], Any]) -> None:
        self.hold = hold
        self._ready, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._walk)

    def start(self) -> None:
        self._thread.start()
        assert self._ready.wait(60)

    def end(self) -> None:
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _walk(self) -> None:
        held = self.hold()
        self._ready.set()
        self._over.wait(60)
        del held


def filtered() -> list[Any]:
    return [o for o in gc.get_objects() if issubclass(type(o), (type, dict, type(filtered)))]


HELD: dict[str, Callable[[], Any]] = {
    "all": gc.get_objects,
    "the youngest": lambda: gc.get_objects(0),
    "an iterator": lambda: iter(gc.get_objects()),
    "a filter": lambda: map(id, itertools.chain(gc.get_objects(), ())),
    "classes and functions": filtered,
    "a dict": lambda: {id(o): o for o in gc.get_objects() if type(o) is not tuple},
    "lists of lists": lambda: [gc.get_objects(), [gc.get_objects()]],
}


@pytest.fixture
def walked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Walker]:
    """A walker that begins when a candidate has been loaded."""
    walker, begin = Walker(HELD[request.param]), traces.Traces.__init__

    def begun(self: Any, *arguments: Any) -> None:
        if walker._thread.ident is None:
            walker.start()
        begin(self, *arguments)

    monkeypatch.setattr(traces.Traces, "__init__", begun)
    yield walker
    walker.end()


@pytest.mark.threads
class TestPassOverTheHeap:
    @pytest.mark.parametrize("walked", HELD, indirect=True)
    def test_is_no_registry(self, walked: Walker, make_package: Callable[..., ModuleType]) -> None:
        package = make_package({"__init__.py": SOURCE.format(rate=1)})
        patcher = Patcher([package.__name__])
        source = SOURCE.format(rate=2)
        rollout = patcher.apply(Patch.from_sources({package.__name__: source}, version="2"))
        assert walked._thread.is_alive()
        assert package.quote() == ("engine 2", 2)
        assert rollout.plan.effects == []
        walked.end()  # it holds old code, too
        assert rollout.wait_settled(30)

    @pytest.mark.parametrize("walked", ["all", "lists of lists"], indirect=True)
    def test_a_registry_is_still_found_beside_it(
        self, walked: Walker, make_package: Callable[..., ModuleType], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        register: Any = ModuleType("deep_register")
        register.deep = [[[[[[{"first": None}]]]]]]
        monkeypatch.setitem(sys.modules, "deep_register", register)
        package = make_package({"__init__.py": SOURCE.format(rate=1)})
        source = (
            SOURCE.format(rate=2) + "\nimport deep_register\ndeep_register.deep[0][0][0][0][0][0]['first'] = quote\n"
        )
        with pytest.raises(UnsupportedChangeError, match="leaves quote in a dict "):
            Patcher([package.__name__]).stage(Patch.from_sources({package.__name__: source}, version="2"))
        assert walked._thread.is_alive()
