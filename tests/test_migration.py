"""Migrations: `__hotswap__(old, new)` makes new state of the old, `__hotswap_undo__` takes it back."""

from __future__ import annotations

import asyncio
import gc
import importlib
import itertools
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import Patch, Patcher, State, walk
from hotswap.errors import BusyError, CheckFailedError, MigrationError, StateError
from tests.fingerprint import Fingerprint, differences

Make = Callable[..., ModuleType]

_versions = itertools.count(2)

OLD = """
CACHE = {"a": 1}

class Entry:
    def __init__(self, value):
        self.value = value
    def show(self):
        return ("old", self.value)

def get(key):
    return CACHE[key]
"""

NEW = """
CACHE = {}

class Entry:
    def __init__(self, value):
        self.value = value
    def show(self):
        return ("new", self.value)

def get(key):
    return CACHE[key].value
"""

MIGRATION = """
def __hotswap__(old, new):
    new.CACHE = {key: new.Entry(value) for key, value in old.CACHE.items()}
"""

UNDO = """
def __hotswap_undo__(old, new):
    old.CACHE = {key: entry.value for key, entry in new.CACHE.items()}
"""


class Service:
    """A throw-away package with one module `m`, and its patcher."""

    def __init__(self, make: Make, source: str = OLD, *, others: dict[str, str] | None = None, **options: Any) -> None:
        files = {f"{name}.py": text for name, text in (others or {}).items()}
        self.package = make({**files, "m.py": source}).__name__
        self.name = f"{self.package}.m"
        for name in ("m", *(others or {})):
            importlib.import_module(f"{self.package}.{name}")
        self.patcher = Patcher(packages=[self.package], **options)

    def __getattr__(self, name: str) -> Any:
        return importlib.import_module(f"{self.package}.{name}")

    def patch(self, source: str, **others: str) -> Patch:
        sources = {f"{self.package}.{name}": text for name, text in others.items()}
        return Patch.from_sources({self.name: source, **sources}, version=f"{next(_versions)}.0")

    def apply(self, source: str, **others: str) -> hotswap.Rollout:
        return self.patcher.apply(self.patch(source, **others))


@pytest.fixture
def service(make_package: Make) -> Callable[..., Service]:
    return lambda *arguments, **options: Service(make_package, *arguments, **options)


class TestThere:
    def test_writes_new_state_of_the_old(self, service: Callable[..., Service]) -> None:
        live = service()
        cache, entry = live.m.CACHE, live.m.Entry
        live.m.CACHE["b"] = 2
        rollout = live.apply(NEW + MIGRATION)
        assert live.m.get("b") == 2
        assert cache == {"a": 1, "b": 2}
        assert type(live.m.CACHE["a"]) is entry is live.m.Entry  # made of the candidate's class, and led to the living
        assert live.m.CACHE["a"].show() == ("new", 1)
        assert f"migrated  {live.name}:CACHE (written by __hotswap__)" in str(rollout.plan)

    def test_wins_over_an_unchanged_definition(self, service: Callable[..., Service]) -> None:
        live = service("hits = 0\nROWS = []\n\ndef hit():\n    global hits\n    hits += 1\n")
        live.m.hit()
        live.m.ROWS.append(1)
        source = "hits = 0\nROWS = []\n\ndef hit():\n    global hits\n    hits += 10\n"
        # The very value that the module body has bound: that it was written is what counts, not that it differs.
        live.apply(source + "\ndef __hotswap__(old, new):\n    new.hits = 0\n    new.ROWS = [*old.ROWS, 2]\n")
        live.m.hit()
        assert (live.m.hits, live.m.ROWS) == (10, [1, 2])
        live.patcher.rollback()
        assert (live.m.hits, live.m.ROWS) == (1, [1])

    def test_reaches_who_had_imported_the_name(self, service: Callable[..., Service]) -> None:
        others = {"changed": "from .m import CACHE, LIMIT\nX = 1\n", "same": "from .m import CACHE, LIMIT\n"}
        live = service("CACHE = {}\nLIMIT = 1\n", others=others)
        migration = "CACHE = {}\nLIMIT = 1\n\ndef __hotswap__(old, new):\n    new.CACHE = {'m': 1}\n    new.LIMIT = 7\n"
        live.apply(migration, changed=others["changed"].replace("X = 1", "X = 2\ndef f(c=CACHE): return c"))
        for module in (live.changed, live.same):
            assert module.CACHE is live.m.CACHE
            assert module.LIMIT == 7
        assert live.changed.f() is live.m.CACHE
        live.patcher.rollback()
        for module in (live.changed, live.same):
            assert module.CACHE is live.m.CACHE == {}
            assert module.LIMIT == 1

    def test_may_take_living_objects_over(self, service: Callable[..., Service]) -> None:
        """The candidate is led to living classes; nobody rewrites what was living before."""
        live = service("def f():\n    return 1\nROWS = [f]\n")
        rows, function = live.m.ROWS, live.m.f
        live.apply(
            "def f():\n    return 2\nTABLE = {}\n\n"
            "def __hotswap__(old, new):\n    new.TABLE = {'rows': old.ROWS, 'f': old.f}\n"
        )
        assert live.m.TABLE["rows"] is rows
        assert rows == [function]
        assert rows[0]() == live.m.TABLE["f"]() == 2

    def test_all_run_those_that_others_import_first(self, service: Callable[..., Service]) -> None:
        base = "ORDER = []\nVALUE = 1\n"
        live = service("from . import base\nSUM = 1\n", others={"base": base})
        hook = "\ndef __hotswap__(old, new):\n    new.VALUE = old.VALUE + 1\n"
        above = "from . import base\nSUM = 2\n\ndef __hotswap__(old, new):\n    new.SUM = base.VALUE * 10\n"
        rollout = live.apply(above, base=base + hook)
        assert (live.base.VALUE, live.m.SUM) == (2, 20)
        assert rollout.plan.warnings == [
            f"{name}:__hotswap__ has no inverse, __hotswap_undo__: a rollback brings back the values from before "
            f"the swap, without what is written since"
            for name in (live.base.__name__, live.name)
        ]

    def test_of_a_module_that_is_loaded_again_only_does_not_run(self, service: Callable[..., Service]) -> None:
        """`base` has changed data that `m` has read; the text of `m` is the same, and so has nothing to migrate."""
        source = "from .base import MAX\nTABLE = list(range(MAX))\nN = 1\n"
        source += "\ndef __hotswap__(old, new):\n    new.N = old.N + 1\n"
        live = service(source, others={"base": "MAX = 1\n"})
        rollout = live.patcher.apply(Patch.from_sources({f"{live.package}.base": "MAX = 2\n"}))
        assert (live.m.TABLE, live.m.N) == ([0, 1], 1)
        assert "__hotswap__" not in str(rollout.plan)

    def test_of_a_new_module_does_not_run(self, service: Callable[..., Service]) -> None:
        live = service()
        rollout = live.apply(OLD + "X = 1\n", fresh="def __hotswap__(old, new):\n    new.RAN = True\n")
        name = f"{live.package}.fresh"
        assert rollout.plan.warnings == [f"{name}:__hotswap__ does not run: there is no old module to migrate from"]
        assert not hasattr(live.fresh, "RAN")

    def test_that_the_live_version_has_too_runs_with_a_warning(self, service: Callable[..., Service]) -> None:
        hook = "\ndef __hotswap__(old, new):\n    new.N = old.N + 1\n"
        hook += "\ndef __hotswap_undo__(old, new):\n    old.N = new.N\n"
        live = service("N = 1\nX = 1\n" + hook)
        rollout = live.apply("N = 1\nX = 2\n" + hook)
        assert live.m.N == 2
        assert rollout.plan.warnings == [
            f"{live.name}:__hotswap__ is the same as in the live version, and runs once more"
        ]

    def test_is_announced_by_the_dry_run(self, service: Callable[..., Service]) -> None:
        live = service()
        with live.patcher.stage(live.patch(NEW + MIGRATION)) as rollout:
            assert [str(change) for change in rollout.plan.names if change.fate == "migrated"] == [
                f"migrated  {live.name}:__hotswap__ (it runs right before the swap)",
                f"migrated  {live.name}:CACHE (__hotswap__ writes it)",
            ]
            assert not [change for change in rollout.plan.names if change.name == "CACHE" and change.fate != "migrated"]
        assert live.m.CACHE == {"a": 1}

    def test_does_not_run_before_every_check_has_passed(self, service: Callable[..., Service]) -> None:
        live = service()
        live.patcher.check(lambda candidate: candidate[live.name].CACHE != {})
        with pytest.raises(CheckFailedError):
            live.apply(NEW + "\ndef __hotswap__(old, new):\n    old.CACHE['ran'] = True\n")
        assert live.m.CACHE == {"a": 1}

    @pytest.mark.threads
    def test_runs_under_no_lock(self, service: Callable[..., Service]) -> None:
        live = service()
        seen: list[object] = []
        live.m.ask = lambda: seen.append(ask(live.patcher))
        hook = "\ndef __hotswap__(old, new):\n    old.ask()\n"
        live.apply(NEW + hook)
        assert seen == [1]

    def test_may_not_call_back(self, service: Callable[..., Service]) -> None:
        live = service()
        seen: list[object] = []

        def back() -> None:
            calls: list[Callable[[], object]] = [live.patcher.rollback, lambda: live.apply(NEW)]
            for call in calls:
                with pytest.raises(BusyError, match="migrates its state"):
                    call()
                seen.append(call)

        live.m.back = back
        live.apply(NEW + "\ndef __hotswap__(old, new):\n    old.back()\n")
        assert len(seen) == 2

    def test_old_is_read_only(self, service: Callable[..., Service]) -> None:
        live = service()
        for statement in ("old.CACHE = 1", "del old.CACHE", "vars(old)['CACHE'] = 1", "del new.CACHE"):
            with pytest.raises(MigrationError) as caught:
                live.apply(f"{NEW}\ndef __hotswap__(old, new):\n    {statement}\n")
            assert isinstance(caught.value.__cause__, AttributeError | TypeError)
        assert live.m.CACHE == {"a": 1}

    def test_old_is_like_a_module(self, service: Callable[..., Service]) -> None:
        live = service(OLD + "\ndef __getattr__(name):\n    return name.upper()\n")
        hook = """
def __hotswap__(old, new):
    assert old.dynamic == "DYNAMIC" and not hasattr(new, "dynamic")
    assert "CACHE" in dir(old) and "CACHE" in vars(old) and old.get("a") == 1
    assert old.__name__ == new.__name__ == __name__ and __name__ in repr(old)
    new.SEEN = True
"""
        live.apply(NEW + hook)
        assert live.m.SEEN is True

    def test_leaves_no_object_behind(self, service: Callable[..., Service]) -> None:
        live = service()
        first = live.m.Entry
        for number in range(3):
            live.m.CACHE = {"a": 1}
            live.apply(NEW + f"X = {number}\n" + MIGRATION)
        gc.collect()
        # Classes of other tests are among them, and their metaclasses must not be asked.
        entries = [
            cls
            for cls in object.__subclasses__()
            if walk.class_name(cls) == "Entry" and walk.class_dict(cls).get("__module__") == live.name
        ]
        assert entries[0] is first
        assert len(entries) == 2  # the twin of the last swap, which is kept for as long as it can be taken back


def ask(patcher: Patcher) -> int:
    """Have another thread ask for what is guarded by the patcher's lock."""
    asking = threading.Thread(target=patcher.history)
    asking.start()
    asking.join(10)
    return 0 if asking.is_alive() else 1


class TestFailure:
    def test_leaves_the_process_as_it_was(self, service: Callable[..., Service]) -> None:
        live = service(others={"base": "VALUE = 1\n"})
        patch = live.patch(
            "from . import base\n" + NEW + "\ndef __hotswap__(old, new):\n    new.CACHE = {}\n    1 // 0\n",
            base="VALUE = 1\n\ndef __hotswap__(old, new):\n    new.VALUE = 2\n",
        )
        gc.collect()
        before = Fingerprint(live.patcher)
        with pytest.raises(MigrationError) as caught:
            live.patcher.apply(patch)
        assert differences(before, Fingerprint(live.patcher), collected=False) == []
        assert "__hotswap__ of" in str(caught.value)
        assert caught.value.module == live.name
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        del caught
        gc.collect()
        assert differences(before, Fingerprint(live.patcher)) == []
        del before  # it holds the old code, for which the import hook waits
        assert live.patcher.history()[0].state is State.REJECTED
        assert (live.m.CACHE, live.base.VALUE) == ({"a": 1}, 1)
        live.apply(NEW + MIGRATION)
        assert live.m.get("a") == 1

    @pytest.mark.parametrize("body", ["async def __hotswap__(old, new): pass", "def __hotswap__(old, new): yield"])
    def test_that_would_do_nothing_is_refused(self, service: Callable[..., Service], body: str) -> None:
        live = service()
        with pytest.raises(MigrationError, match="a coroutine or generator function"):
            live.apply(f"{NEW}\n{body}\n")

    @pytest.mark.parametrize("hook", ["__hotswap__", "__hotswap_undo__"])
    @pytest.mark.parametrize("value", ["5", "None"])
    def test_that_is_no_function_is_refused_while_it_is_staged(
        self, service: Callable[..., Service], hook: str, value: str
    ) -> None:
        live = service()
        before = Fingerprint(live.patcher)
        with pytest.raises(MigrationError, match=f"{hook} of {live.name} is no function, but (int|NoneType)") as caught:
            live.patcher.stage(live.patch(f"{NEW}\n{hook} = {value}\n"))
        assert caught.value.module == live.name
        del caught
        while gc.collect():  # what is held by something with a finalizer takes a second round
            pass
        assert differences(before, Fingerprint(live.patcher)) == []
        del before  # it holds the old code, for which the import hook waits
        assert live.m.get("a") == 1

    def test_to_end_the_process_is_refused(self, service: Callable[..., Service]) -> None:
        live = service()
        with pytest.raises(MigrationError, match="SystemExit"):
            live.apply(NEW + "\ndef __hotswap__(old, new):\n    raise SystemExit(3)\n")

    def test_without_a_limit_runs_in_the_thread_that_applies(self, service: Callable[..., Service]) -> None:
        live = service(load_timeout=None)
        live.apply(NEW + "\nimport threading\n\ndef __hotswap__(old, new):\n    new.THREAD = threading.get_ident()\n")
        assert threading.get_ident() == live.m.THREAD

    @pytest.mark.threads
    def test_that_never_returns_is_given_up(self, service: Callable[..., Service]) -> None:
        live = service(load_timeout=1.0)
        with pytest.raises(MigrationError) as caught:
            live.apply(NEW + "\ndef __hotswap__(old, new):\n    while True:\n        pass\n")
        assert "was given up: it took more than 1 s; its thread has ended" in str(caught.value)
        assert live.m.CACHE == {"a": 1}
        live.apply(NEW + MIGRATION)
        assert live.m.get("a") == 1

    @pytest.mark.threads
    def test_that_is_cancelled_is_given_up(self, service: Callable[..., Service]) -> None:
        live = service()
        live.m.begun = threading.Event()
        live.m.Barrier = threading.Event()
        hook = (
            "\ndef __hotswap__(old, new):\n    old.begun.set()\n    while not old.Barrier.wait(0.01):\n        pass\n"
        )

        async def main() -> None:
            work = asyncio.create_task(live.patcher.apply_async(live.patch(NEW + hook)))
            await asyncio.to_thread(live.m.begun.wait, 10)
            work.cancel()
            with pytest.raises(asyncio.CancelledError):
                await work

        asyncio.run(main())
        record = live.patcher.history()[0]
        assert record.state is State.REJECTED
        assert "the caller was cancelled" in record.reason
        assert live.m.CACHE == {"a": 1}

    @pytest.mark.threads
    def test_an_abort_meanwhile_ends_it(self, service: Callable[..., Service]) -> None:
        live = service()
        live.m.abort = lambda: live.patcher.current.abort()  # type: ignore[union-attr]
        rollout = live.patcher.stage(live.patch(NEW + "\ndef __hotswap__(old, new):\n    old.abort()\n"))
        rollout.verify()
        # It is stopped, or returns a moment earlier.
        with pytest.raises((StateError, MigrationError)):
            rollout.commit()
        assert rollout.state is State.REJECTED
        assert rollout.reason == "aborted"
        assert live.patcher.current is None
        assert live.m.CACHE == {"a": 1}

    @pytest.mark.threads
    def test_runs_once_when_two_commit(self, service: Callable[..., Service]) -> None:
        live = service()
        ran: list[int] = []
        other: list[BaseException] = []

        def second() -> None:
            try:
                rollout.commit()
            except BaseException as error:
                other.append(error)

        def meanwhile() -> None:
            ran.append(1)
            thread = threading.Thread(target=second)
            thread.start()
            thread.join(10)

        live.m.meanwhile = meanwhile
        rollout = live.patcher.stage(live.patch(NEW + "\ndef __hotswap__(old, new):\n    old.meanwhile()\n"))
        rollout.verify()
        rollout.commit()
        assert ran == [1]
        assert [type(error) for error in other] == [StateError]
        assert rollout.state is State.LIVE

    def test_without_a_look_at_new_objects_is_refused(
        self, service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the application has switched the collector off and has frozen objects, new ones can't be told."""
        live = service()
        rollout = live.patcher.stage(live.patch(NEW + MIGRATION))
        rollout.verify()
        monkeypatch.setattr("hotswap.generation.young._FROZEN_AT_START", 0)
        gc.disable()
        gc.freeze()
        try:
            with pytest.raises(MigrationError, match="the collector is off"):
                rollout.commit()
        finally:
            gc.enable()
        assert live.m.CACHE == {"a": 1}


class TestBack:
    def test_without_an_inverse_the_old_values_come_back(self, service: Callable[..., Service]) -> None:
        live = service()
        cache = live.m.CACHE
        rollout = live.apply(NEW + MIGRATION)
        hook = f"{live.name}:__hotswap__ has no inverse, __hotswap_undo__"
        assert rollout.plan.warnings == [
            f"{hook}: a rollback brings back the values from before the swap, without what is written since",
            f"{live.name}:CACHE is a new object; who holds the old one elsewhere keeps it",
        ]
        live.m.CACHE["b"] = live.m.Entry(2)
        live.patcher.rollback()
        assert live.m.CACHE is cache == {"a": 1}
        assert live.m.get("a") == 1

    def test_an_inverse_brings_what_was_written_since(self, service: Callable[..., Service]) -> None:
        live = service()
        rollout = live.apply(NEW + MIGRATION + UNDO)
        assert not [warning for warning in rollout.plan.warnings if "no inverse" in warning]
        live.m.CACHE["b"] = live.m.Entry(2)
        live.patcher.rollback()
        assert live.m.CACHE == {"a": 1, "b": 2}
        assert live.m.get("b") == 2
        assert rollout.reason == "rolled back on request"

    def test_an_inverse_goes_before_what_is_carried(self, service: Callable[..., Service]) -> None:
        live = service("hits = 1\n")
        live.apply(
            "hits = 1\nX = 1\n\n"
            "def __hotswap_undo__(old, new):\n    old.hits = new.hits * 2\n    old.hits += old.hits\n"
        )
        live.m.hits = 5
        live.patcher.rollback()
        assert live.m.hits == 20

    def test_an_inverse_writes_nothing_before_the_way_back(self, service: Callable[..., Service]) -> None:
        live = service("A = 1\n")
        facts = vars(live.m)
        live.apply("A = 2\n\ndef __hotswap_undo__(old, new):\n    old.A = 3\n    new.probe()\n")
        seen: list[object] = []
        live.m.probe = lambda: seen.append((facts["A"], live.m.A))
        live.patcher.rollback()
        assert seen == [(1, 2)]
        assert live.m.A == 3

    @pytest.mark.parametrize("statement", ["1 // 0", "raise SystemExit", "new.CACHE = 1", "nonsense"])
    def test_a_failed_inverse_does_not_keep_the_old_code_away(
        self, service: Callable[..., Service], statement: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        live = service()
        rollout = live.apply(NEW + MIGRATION + UNDO + f"    {statement}\n")
        live.patcher.rollback(reason="it is slow")
        assert live.m.CACHE == {"a": 1}
        assert live.m.get("a") == 1
        assert rollout.state is State.ROLLED_BACK
        assert rollout.reason.startswith(
            f"it is slow; the values are those from before the swap, because __hotswap_undo__ of {live.name} raised"
        )
        assert [record.levelname for record in caplog.records if "migration.failed" in record.getMessage()] == ["ERROR"]

    def test_all_inverses_or_none(self, service: Callable[..., Service]) -> None:
        base = "VALUE = 1\n"
        live = service("from . import base\nSUM = 1\n", others={"base": base})
        undo = "\ndef __hotswap_undo__(old, new):\n    old.{} = 5\n    {}\n"
        live.apply(
            "from . import base\nSUM = 2\n" + undo.format("SUM", "pass"),
            base="VALUE = 2\n" + undo.format("VALUE", "1 // 0"),
        )
        live.patcher.rollback()
        assert (live.base.VALUE, live.m.SUM) == (1, 1)

    @pytest.mark.threads
    def test_an_inverse_that_never_returns_is_given_up(
        self, service: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("hotswap.swap.migration.UNDO_SECONDS", 0.3)
        live = service()
        rollout = live.apply(NEW + MIGRATION + UNDO + "    while True:\n        pass\n")
        live.patcher.rollback()
        assert live.m.get("a") == 1
        assert "was given up: it took more than 0.3 s" in rollout.reason

    def test_the_same_patch_may_be_applied_again(self, service: Callable[..., Service]) -> None:
        live = service()
        for number in range(3):
            live.apply(NEW + MIGRATION + UNDO)
            live.m.CACHE[f"n{number}"] = live.m.Entry(number)
            live.patcher.rollback()
        assert live.m.CACHE == {"a": 1, "n0": 0, "n1": 1, "n2": 2}

    @pytest.mark.parametrize("table", ["TABLE = {}", "TABLE = {'a': 1}"], ids=["changed", "kept"])
    def test_an_inverse_reaches_who_had_imported_the_name(self, service: Callable[..., Service], table: str) -> None:
        show = "def show(): return TABLE\n"
        others = {
            "same": f"from .m import TABLE\n{show}",
            "through": f"from .same import TABLE\n{show}",
            "star": f"from .m import *\n{show}",
            "changed": f"from .m import TABLE as T\nTABLE = T\n{show}",
            "further": f"from .through import TABLE\nX = 1\n{show}",
            "galaxy": f"from .m import *\nX = 1\n{show}",
            "own": f"from .m import TABLE\nTABLE = dict(TABLE)\nX = 1\n{show}",
        }
        live = service("TABLE = {'a': 1}\n", others=others)
        hooks = (
            "def __hotswap__(old, new):\n    new.TABLE = {k: [v] for k, v in old.TABLE.items()}\n"
            "def __hotswap_undo__(old, new):\n    old.TABLE = {k: v[0] for k, v in new.TABLE.items()}\n"
        )
        again = {name: text.replace("X = 1", "X = 2") for name, text in others.items() if "X = 1" in text}
        live.apply(f"{table}\nTABLE.get('b')\n\n{hooks}", **again)
        live.m.TABLE["q"] = [9]
        live.patcher.rollback()
        assert live.m.TABLE == {"a": 1, "q": 9}
        for name in ("same", "through", "star", "further", "galaxy"):
            module = getattr(live, name)
            assert module.TABLE is module.show() is live.m.TABLE, name
        assert live.changed.T is live.m.TABLE
        assert live.own.TABLE == {"a": 1}
