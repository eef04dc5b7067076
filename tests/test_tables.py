"""Tables: dicts, sets and sequences that functions are keys or elements of go on finding them by their names."""

from __future__ import annotations

import gc
import importlib
import itertools
import sys
import weakref
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher, Rollout
from hotswap.swap.writes import Writes

Make = Callable[..., ModuleType]

_versions = itertools.count(2)

SHAPES = {
    "dict": ("T = {f: 1}", "T[f] == 1"),
    "dict-filled-by-a-statement": ("T = {}\nT[f] = 1", "T[f] == 1"),
    "dict-filled-by-a-decorator": ("T = {}\ndef add(g): T[g] = 1; return g\n@add\ndef h(): return 1", "T[h] == 1"),
    "defaultdict": ("import collections\nT = collections.defaultdict(list, {f: [1]})", "T[f] == [1]"),
    "ordered-dict": (
        "import collections\nT = collections.OrderedDict([(f, 1), ('b', 2)])",
        "T[f] == 1 and list(T) == [f, 'b'] and next(reversed(T)) == 'b'",
    ),
    "dict-subclass": ("class Table(dict): pass\nT = Table({f: 1})", "T[f] == 1"),
    "tuple-key": ("T = {(f, 1): 1, ('a', (f,)): 2}", "T[f, 1] == 1 and T['a', (f,)] == 2"),
    "frozenset-key": ("T = {frozenset({f}): 1}", "T[frozenset({f})] == 1"),
    "method-key": (
        "class Shop:\n    def sell(self): return 1\nshop = Shop()\nT = {shop.sell: 1}",
        "T[shop.sell] == 1",
    ),
    "cached-function-key": ("import functools\n@functools.lru_cache\ndef h(): return 1\nT = {h: 1}", "T[h] == 1"),
    "chain-map": ("import collections\nT = collections.ChainMap({}, {f: 1})", "T[f] == 1 and len(T) == 1"),
    "weak-keys": ("import weakref\nT = weakref.WeakKeyDictionary({f: 1})", "T[f] == 1 and len(T) == 1"),
    "weak-values": ("import weakref\nT = weakref.WeakValueDictionary({'f': f})", "T['f'] is f and len(T) == 1"),
    "weak-set": ("import weakref\nT = weakref.WeakSet([f])", "f in T and len(T) == 1"),
    "mapping-proxy": ("import types\nT = types.MappingProxyType({f: 1})", "T[f] == 1"),
    "set": ("T = {f, 'b'}", "f in T and len(T) == 2"),
    "set-of-tuples": ("T = {(f, 1)}", "(f, 1) in T and len(T) == 1"),
    "list": ("T = ['a', f]", "T.index(f) == 1"),
    "list-of-tuples": ("T = [('a', f)]", "('a', f) in T"),
    "deque": ("import collections\nT = collections.deque(['a', f])", "T.index(f) == 1"),
    "tuple": ("T = ('a', f)", "T.index(f) == 1"),
    "frozenset": ("T = frozenset({f})", "f in T"),
    "named-tuple": (
        "import collections\nP = collections.namedtuple('P', 'a b')\nT = P(f, 1)",
        "T.a is f and type(T) is P",
    ),
    "tuple-value": ("T = {'a': (f,)}", "f in T['a']"),
    "nested": ("T = {'a': {'b': {f: 1}}}", "T['a']['b'][f] == 1"),
    "class-body": ("class T:\n    table = {f: 1}\n    group = (f,)", "T.table[f] == 1 and f in T.group"),
    "instance": (
        "class Shop:\n    def __init__(self): self.table = {f: 1}; self.group = frozenset({f})\nT = Shop()",
        "T.table[f] == 1 and f in T.group",
    ),
}


@pytest.fixture
def applied(make_package: Make) -> Callable[..., tuple[Callable[[str], Any], Callable[..., Rollout]]]:
    """Make a package of some modules, and return what evaluates in a module, and what applies changed ones."""

    def start(**sources: str) -> tuple[Callable[[str], Any], Callable[..., Rollout]]:
        package = make_package({f"{name}.py": text for name, text in sources.items()}).__name__
        for name in sources:
            importlib.import_module(f"{package}.{name}")
        patcher = Patcher(packages=[package])

        def ask(question: str, module: str = "m") -> Any:
            return eval(question, vars(sys.modules[f"{package}.{module}"]))

        def apply(**changed: str) -> Rollout:
            named = {f"{package}.{name}": text for name, text in changed.items()}
            return patcher.apply(Patch.from_sources(named, version=f"{next(_versions)}.0"))

        return ask, apply

    return start


class TestShapes:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_finds_what_its_names_stand_for(self, applied: Any, shape: str) -> None:
        table, question = SHAPES[shape]
        source = f"def f(): return 1\n{table}\ndef other(): return 1\n"
        ask, apply = applied(m=source)
        assert ask(question)
        kept = ask("T")
        second = apply(m=source.replace("return 1", "return 2"))
        assert ask(question)
        assert second.plan.warnings == []
        third = apply(m=source.replace("return 1", "return 3"))
        assert ask(question)
        third.rollback()
        assert ask(question)
        rebuilt = type(kept) in (tuple, frozenset) or shape == "named-tuple"
        assert (ask("T") is kept) is not rebuilt

    @pytest.mark.parametrize("shape", SHAPES)
    def test_does_so_where_the_function_did_not_change(self, applied: Any, shape: str) -> None:
        table, question = SHAPES[shape]
        source = f"def f(): return 1\n{table}\ndef other(): return 'old'\n"
        ask, apply = applied(m=source)
        rollout = apply(m=source.replace("'old'", "'new'"))
        assert ask(question)
        rollout.rollback()
        assert ask(question)

    @pytest.mark.parametrize(
        "shape", [s for s in SHAPES if s not in ("method-key", "cached-function-key", "dict-filled-by-a-decorator")]
    )
    def test_does_so_in_a_module_that_did_not_change(self, applied: Any, shape: str) -> None:
        table, question = SHAPES[shape]
        ask, apply = applied(n="def f(): return 1\n", m=f"from .n import f\n{table}\n")
        for version in (2, 3):
            rollout = apply(n=f"def f(): return {version}\n")
            assert "m" not in [name.rpartition(".")[2] for name, s in rollout.plan.modules.items() if s == "changed"]
            assert ask(question)
        rollout.rollback()
        assert ask("f()") == 2
        assert ask(question)

    @pytest.mark.parametrize(
        "shape", ["dict", "ordered-dict", "tuple-key", "weak-keys", "set", "list", "tuple", "deque"]
    )
    def test_does_so_in_a_module_of_somebody_else(self, applied: Any, make_package: Make, shape: str) -> None:
        table, question = SHAPES[shape]
        ask, apply = applied(m="def f(): return 1\n")
        home = ask("__name__")
        other = make_package({"app.py": f"from {home} import f\n{table}\n"}).__name__
        app = importlib.import_module(f"{other}.app")
        rollout = apply(m="def f(): return 2\n")
        assert eval(question, vars(app))
        rollout.rollback()
        assert eval(question, vars(app))


class TestEntries:
    SOURCE = "T = {}\ndef f(): return 1\ndef g(): return 1\n"

    def test_made_at_run_time_are_led_there_and_back(self, applied: Any) -> None:
        ask, apply = applied(m=self.SOURCE)
        ask("T.update({f: 'f', 'a': 1, g: 'g'})")
        rollout = apply(m=self.SOURCE.replace("return 1", "return 2"))
        assert ask("list(T.items()) == [(f, 'f'), ('a', 1), (g, 'g')]")
        ask("T.update({(g, 1): 'since'})")
        ask("T.pop(f)")
        rollout.rollback()
        assert ask("list(T.items()) == [('a', 1), (g, 'g'), ((g, 1), 'since')]")

    def test_made_by_one_of_an_earlier_generation_follow_with_the_next_swap(self, applied: Any) -> None:
        ask, apply = applied(m=self.SOURCE)
        held = ask("f")
        apply(m=self.SOURCE.replace("return 1", "return 2"))
        ask("T")[held] = 1
        assert ask("f not in T")
        apply(m=self.SOURCE.replace("return 1", "return 3"))
        assert ask("T == {f: 1}")

    def test_of_two_generations_stay_apart(self, applied: Any) -> None:
        ask, apply = applied(m=self.SOURCE)
        held = ask("f")
        apply(m=self.SOURCE.replace("return 1", "return 2"))
        ask("T.update({f: 'live'})")
        ask("T")[held] = "held"
        apply(m=self.SOURCE.replace("return 1", "return 3"))
        assert ask("T[f]") == "live"
        assert ask("T")[held] == "held"

    def test_a_function_of_an_earlier_generation_is_not_kept_alive(self, applied: Any) -> None:
        ask, apply = applied(m=self.SOURCE)
        held = ask("f")
        apply(m=self.SOURCE.replace("return 1", "return 2"))
        apply(m=self.SOURCE.replace("return 1", "return 3"))
        reference = weakref.ref(held)
        del held
        gc.collect()
        assert reference() is None

    def test_of_what_is_registered_anew_are_new(self, applied: Any) -> None:
        source = """
T = {}
S = set()

def rated(rate):
    def add(function):
        T[function] = rate
        S.add((function, "rated"))
        return function
    return add

@rated(1)
def f():
    return 1

@rated(2)
def g():
    return 1

@rated(3)
def h():
    return 1
"""
        ask, apply = applied(m=source)
        ask("T.update({h: 'set at run time', len: 'plug-in'})")
        new = source.replace("rated(1)", "rated(7)").replace("def g", "def k").replace("return 1", "return 2")
        rollout = apply(m=new)
        assert ask("T == {f: 7, h: 'set at run time', len: 'plug-in', k: 2}")
        assert ask("S == {(f, 'rated'), (h, 'rated'), (k, 'rated')}")
        rollout.rollback()
        assert ask("T == {f: 1, g: 2, h: 'set at run time', len: 'plug-in'}")
        assert ask("S == {(f, 'rated'), (g, 'rated'), (h, 'rated')}")

    def test_of_what_is_new_join_weak_containers(self, applied: Any) -> None:
        source = """
import weakref
KEYS = weakref.WeakKeyDictionary()
ALL = weakref.WeakSet()

def add(function):
    KEYS[function] = function.__name__
    ALL.add(function)
    return function

@add
def f():
    return 1
"""
        ask, apply = applied(m=source)
        rollout = apply(m=source + "\n@add\ndef g():\n    return 1\n")
        assert ask("dict(KEYS) == {f: 'f', g: 'g'} and set(ALL) == {f, g}")
        rollout.rollback()
        assert ask("dict(KEYS) == {f: 'f'} and set(ALL) == {f}")

    def test_a_loop_over_the_table_goes_on(self, applied: Any) -> None:
        ask, apply = applied(m=self.SOURCE)
        ask("T.update({f: 1, g: 2, 'a': 3})")
        loop = iter(ask("T"))
        first = next(loop)
        apply(m=self.SOURCE.replace("return 1", "return 2"))
        assert [*map(ask("T").get, loop)] == [2, 3]
        assert first() == 2

    def test_of_a_large_table_follow_too(self, applied: Any) -> None:
        ask, apply = applied(m=self.SOURCE)
        ask("T.update(dict.fromkeys(range(5000)), **{})")
        ask("T.update({f: 1})")
        rollout = apply(m=self.SOURCE.replace("return 1", "return 2"))
        assert ask("T[f]") == 1
        rollout.rollback()
        assert ask("T[f]") == 1
        assert len(ask("T")) == 5001


class TestLimits:
    def test_a_key_whose_hash_is_python_code_stays_and_is_not_asked(self, applied: Any) -> None:
        source = """
ASKED = []
class Key:
    def __hash__(self):
        ASKED.append(self)
        return 1
    def __eq__(self, other):
        return True
KEY = Key()
def f(): return 1
T = {KEY: 1, (f, KEY): 2, f: 3}
"""
        ask, apply = applied(m=source)
        old = ask("f")
        rollout = apply(m=source.replace("return 1\nT", "return 2\nT"))
        asked = len(ask("ASKED"))
        assert ask("T[f]") == 3
        assert [key[0] for key in ask("list(T)") if type(key) is tuple] == [old]
        rollout.rollback()
        assert ask("T[f]") == 3
        assert len(ask("ASKED")) == asked

    def test_a_value_that_a_name_stood_for_is_not_taken_for_the_function(self, applied: Any) -> None:
        source = "T = {'a': None, 'b': 0}\nhook = None\ndef f(): return 1\n"
        ask, apply = applied(m=source)
        apply(m=source.replace("hook = None", "def hook(): return 1"))
        assert ask("T") == {"a": None, "b": 0}

    def test_the_namespace_of_a_class_is_not_written_past_it(self, applied: Any) -> None:
        ask, apply = applied(
            n="def f(): return 1\n",
            m="from .n import f\nclass C:\n    run = staticmethod(f)\n    own = f\nT = vars(C)\n",
        )
        apply(n="def f(): return 2\n")
        assert ask("C.run()") == ask("C.own.__func__() if hasattr(C.own, '__func__') else C.own()") == 2

    def test_what_a_commit_that_fails_has_written_is_taken_back(
        self, applied: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = "def f(): return 1\nT = {f: 1, (f, 2): 2}\nS = {f}\nL = [f]\nI = (f,)\nW = {'a': f}\n"
        ask, apply = applied(n="from .m import f\nOTHER = {f: 1}\nGROUP = (f,)\n", m=source)
        whole = Writes._ops

        def failing(self: Writes, forward: bool) -> list[Any]:
            return [*whole(self, forward), *([(int, "x")] if forward else [])]

        before = ask("f, list(T), list(S), L, I, W")
        monkeypatch.setattr(Writes, "_ops", failing)
        with pytest.raises(Exception, match="invalid literal"):
            apply(m=source.replace("return 1", "return 2"))
        monkeypatch.undo()
        assert ask("f, list(T), list(S), L, I, W") == before
        assert ask("I is not None and f in I and W['a'] is f")
        assert ask("list(OTHER) == [f] and GROUP == (f,)", "n")


class TestCommit:
    def test_runs_no_code(self, applied: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        tables = [f"T{number} = {{}}\n{table}\nT{number} = T\n" for number, (table, _) in enumerate(SHAPES.values())]
        loud = """
class Loud(dict):
    def loud(self, *_): raise RuntimeError("it was asked")
    __iter__ = __len__ = __getitem__ = __contains__ = __delitem__ = keys = items = values = pop = update = loud
"""
        source = f"def f(): return 1\n{loud}LOUD = Loud({{f: 1}})\n{''.join(tables)}\ndef other(): return 1\n"
        source = source.replace("Loud({f: 1})", "dict.__new__(Loud)\ndict.__setitem__(LOUD, f, 1)")
        ask, apply = applied(m=source, n="from .m import *\nMORE = {f: 1, (f, 1): 2}\n")
        seen: list[str] = []

        def profile(frame: FrameType, event: str, _: object) -> None:
            if event == "call":
                seen.append(f"{frame.f_code.co_qualname} in {frame.f_code.co_filename}")

        whole = Writes._ops

        def watched(writes: Writes, forward: bool) -> list[Any]:
            return [(sys.setprofile, profile), *whole(writes, forward), (sys.setprofile, None)]

        monkeypatch.setattr(Writes, "_ops", watched)
        rollout = apply(m=source.replace("return 1", "return 2"))
        assert ask("dict.__getitem__(LOUD, f)") == 1
        rollout.rollback()
        assert ask("dict.__getitem__(LOUD, f)") == 1
        assert seen == []


class TestPlan:
    def test_says_that_an_immutable_table_is_made_again(self, applied: Any) -> None:
        source = "def f(): return 1\nT = (f,)\nU = (1,)\nDEFAULT = {'t': T}\ndef g(t=T): return t\n"
        ask, apply = applied(m=source)
        rollout = apply(m=source.replace("return 1", "return 2"))
        why = {change.name: change.why for change in rollout.plan.names}
        assert why["U"] == "its definition did not change"
        assert why["T"] == "its definition did not change; the functions in it are the new ones"
        assert ask("f in T and g() is T")


class TestDecoratorsWithClasses:
    """A registry of objects that a decorator's class makes: what is registered no more goes, what is new comes."""

    TOOLS = """
REGISTERED = {}

class dispatched:
    def __init__(self, function):
        self.__wrapped__ = function
        self.__name__ = function.__name__
        REGISTERED[self.__name__] = self

    def __call__(self, *args):
        return self.__wrapped__(*args)

def guarded(function):
    @functools.wraps(function)
    def guard(*args):
        return function(*args)
    if function.__name__ in REGISTERED:
        REGISTERED[function.__name__] = guard
    return guard
"""
    OLD = """
@dispatched
def stays():
    return 1

@dispatched
def becomes_plain():
    return 1

@dispatched
def goes():
    return 1

@guarded
def becomes_dispatched():
    return 1
"""
    NEW = """
@dispatched
def stays():
    return 2

def becomes_plain():
    return 2

@guarded
@dispatched
def becomes_dispatched():
    return 2

@guarded
@guarded
@dispatched
def comes():
    return 2
"""

    def test_follow_the_new_import(self, applied: Any) -> None:
        ask, apply = applied(tools=f"import functools\n{self.TOOLS}", m=f"from .tools import *\n{self.OLD}")
        self.check(
            ask, apply, "tools", tools=f"import functools\n{self.TOOLS}# \n", m=f"from .tools import *\n{self.NEW}"
        )

    def test_follow_it_in_one_module_too(self, applied: Any) -> None:
        ask, apply = applied(m=f"import functools\n{self.TOOLS}{self.OLD}")
        self.check(ask, apply, "m", m=f"import functools\n{self.TOOLS}{self.NEW}")

    def test_follow_it_in_a_registry_of_a_module_that_did_not_change(self, applied: Any) -> None:
        ask, apply = applied(tools=f"import functools\n{self.TOOLS}", m=f"from .tools import *\n{self.OLD}")
        self.check(ask, apply, "tools", m=f"from .tools import *\n{self.NEW}")

    def check(self, ask: Any, apply: Any, home: str, **changed: str) -> None:
        registered = "{name: found() for name, found in REGISTERED.items()}"
        ask("REGISTERED", home)["plug-in"] = lambda: "kept"
        rollout = apply(**changed)
        assert ask(registered, home) == {"stays": 2, "becomes_dispatched": 2, "comes": 2, "plug-in": "kept"}
        rollout.rollback()
        assert ask(registered, home) == {"stays": 1, "becomes_plain": 1, "goes": 1, "plug-in": "kept"}
