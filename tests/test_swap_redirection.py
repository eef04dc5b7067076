"""References of the candidate to its own twins: every kind of holder leads to the living class after the swap."""

from __future__ import annotations

import gc
import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import hotswap

Make = Callable[..., ModuleType]

HEAD = """
import collections, contextvars, dataclasses, enum, functools, inspect, itertools, operator, threading, types, typing
import weakref
from collections.abc import Callable

class Rate:
    def version(self): return {n}
    def __add__(self, other): return {n}

class Other:
    def version(self): return {n}

class Same:
    def __init__(self, r): self.r = r
    def __hash__(self): return hash(self.r)
    def __eq__(self, other): return self.r is other.r
"""

# What a holder is made of in the new version, and how the class in it is got out again. `{n}` makes its definition
# another one than before, so that the new object wins.
HOLDERS: dict[str, tuple[str, str]] = {
    "list": ("X = [{n}, Rate]", "X[1]"),
    "list subclass": ("class L(list): pass\nX = L([{n}, Rate])", "X[1]"),
    "dict value": ("X = {{'n': {n}, 'r': Rate}}", "X['r']"),
    "dict key": ("X = {{Rate: {n}}}", "next(k for k in X if X[k] == {n} and X[Rate] == {n})"),
    "dict subclass": ("class D(dict): pass\nX = D(n={n}, r=Rate)", "X['r']"),
    "set": ("X = {{{n}, Rate}}", "next(x for x in X if x != {n} and Rate in X)"),
    "set subclass": ("class S(set): pass\nX = S([{n}, Rate])", "next(x for x in X if x != {n} and Rate in X)"),
    "frozenset": ("X = frozenset([{n}, Rate])", "next(x for x in X if x != {n} and Rate in X)"),
    "frozenset of tuples": ("X = frozenset([({n}, Rate)])", "next(iter(X))[1]"),
    "dict with tuples as keys": ("X = {{({n}, Rate): 1}}", "next(k[1] for k in X if ({n}, Rate) in X)"),
    "deque": ("X = collections.deque([{n}, Rate])", "X[1]"),
    "defaultdict": ("X = collections.defaultdict(list, n={n}, r=Rate)", "X['r']"),
    "default_factory": ("X = collections.defaultdict(Rate, n={n})", "type(X['r'])"),
    "OrderedDict": ("X = collections.OrderedDict(n={n}, r=Rate)", "list(X.items())[1][1]"),
    "OrderedDict key": (
        "X = collections.OrderedDict([(Rate, {n}), ('b', 1), ('a', 2)]); X.move_to_end('b')",
        "[*X] == [Rate, 'a', 'b'] and next(iter(X))",
    ),
    "Counter": ("X = collections.Counter([{n}, Rate, Rate])", "next(k for k in X if X[k] == 2 and X[Rate] == 2)"),
    "ChainMap": ("X = collections.ChainMap({{'n': {n}}}, {{'r': Rate}})", "X['r']"),
    "UserDict": ("X = collections.UserDict(n={n}, r=Rate)", "X['r']"),
    "UserList": ("X = collections.UserList([{n}, Rate])", "X[1]"),
    "mapping proxy": ("X = types.MappingProxyType({{'n': {n}, 'r': Rate}})", "X['r']"),
    "mapping proxy of a class": ("X = {n}, vars(Rate)", "X[1]['version'](None) == {n} and Rate"),
    "mapping proxy of a kept dict": (
        "TABLE = {{}}\nX = {n}, types.MappingProxyType(TABLE)",
        "TABLE.setdefault('r', Rate) and X[1]['r']",
    ),
    "view of a kept dict": (
        "TABLE = {{}}\nX = {n}, TABLE.values()",
        "TABLE.setdefault('r', Rate) and next(iter(X[1]))",
    ),
    "tuple": ("X = ({n}, (1, [Rate]), Rate)", "X[1][1][0] is X[2] and X[2]"),
    "named tuple": ("P = collections.namedtuple('P', 'a b')\nX = P({n}, Rate)", "isinstance(X, P) and X.b"),
    "instance of a new named tuple": (
        "class P(typing.NamedTuple):\n    a: int\n    def version(self): return {n}\nX = [P({n})]",
        "type(X[0]) is P and X[0].version() == {n} and Rate",
    ),
    "weak reference": ("X = {n}, weakref.ref(Rate)", "X[1]()"),
    "weak reference with a callback": ("X = {n}, weakref.ref(Rate, print)", "X[1]()"),
    "weak proxy": ("X = {n}, weakref.proxy(Rate)", "X[1].version(None) == {n} and Rate"),
    "WeakValueDictionary": ("X = weakref.WeakValueDictionary({{{n}: Rate}})", "X[{n}]"),
    "WeakKeyDictionary": ("X = weakref.WeakKeyDictionary({{Rate: {n}}})", "X[Rate] == {n} and next(iter(X))"),
    "WeakSet": ("X = weakref.WeakSet([Rate]); X.n = {n}", "Rate in X and next(iter(X))"),
    "default": ("def X(r=Rate): return r, {n}", "X()[0]"),
    "default by name": ("def X(*, r=Rate): return r, {n}", "X()[0]"),
    "annotation of a function": (
        "def X(r: Rate) -> list[Rate]: return {n}",
        "X.__annotations__['return'].__args__[0] is X.__annotations__['r'] and X.__annotations__['r']",
    ),
    "annotation of a class": ("class C:\n    r: Rate\n    n = {n}\nX = C", "X.__annotations__['r']"),
    "type hints": ("class C:\n    r: Rate\nX = {n}, typing.get_type_hints(C)", "X[1]['r']"),
    "closure": ("def make(r): return lambda: (r, {n})\nX = make(Rate)", "X()[0]"),
    "partial": ("X = functools.partial(isinstance, {n}, Rate)", "X.args[1]"),
    "function of a partial": ("X = functools.partial(Rate); X.n = {n}", "type(X())"),
    "keyword of a partial": ("X = functools.partial(dict, n={n}, r=Rate)", "X()['r']"),
    "partialmethod": (
        "class C:\n    n = {n}\n    m = functools.partialmethod(lambda self, r: r, Rate)\nX = C()",
        "X.m()",
    ),
    "bound method": ("X = {n}, Rate().version", "type(X[1].__self__)"),
    "method bound to the class": ("X = {n}, types.MethodType(lambda cls: cls, Rate)", "X[1]()"),
    "C method of a kept list": ("STATE = []\nX = {n}, STATE.append", "X[1](Rate) or STATE[-1]"),
    "C method of the class": ("X = {n}, Rate.mro", "X[1]()[0]"),
    "method-wrapper": ("X = {n}, Rate.__call__", "type(X[1]())"),
    "property": (
        "class C: n = {n}\nC.q = property(functools.partial(lambda r, _: r, Rate), doc='d')\nX = C()",
        "X.q",
    ),
    "property of the class": (
        "class C:\n    n = {n}\nC.p = property(typing.cast('typing.Any', Rate))\nX = C",
        "vars(X)['p'].fget",
    ),
    "staticmethod": ("class C:\n    n = {n}\n    s = staticmethod(Rate)\nX = C", "type(X.s())"),
    "classmethod": ("class C:\n    n = {n}\n    s = classmethod(Rate)\nX = C", "vars(X)['s'].__func__"),
    "cached_property": ("class C:\n    n = {n}\n    p = functools.cached_property(Rate)\nX = C", "vars(X)['p'].func"),
    "generic alias": ("X = {n}, list[Rate]", "X[1].__args__[0]"),
    "starred generic alias": ("X = {n}, next(iter(tuple[Rate, ...]))", "X[1].__unpacked__ and X[1].__args__[0]"),
    "Callable": (
        "X = {n}, Callable[[int], Rate]",
        "X[1].__args__[1] is Rate and type(X[1]) is type(Callable[[], int]) and Rate",
    ),
    "typing alias": ("X = {n}, typing.List[Rate]", "X[1].__args__[0]"),
    "union": (
        "X = {n}, Rate | None | list[Rate]",
        "X[1].__args__[2].__args__[0] is X[1].__args__[0] and X[1].__args__[0]",
    ),
    "Optional": ("X = {n}, typing.Optional[Rate]", "X[1].__args__[0]"),
    "Annotated": (
        "X = {n}, typing.Annotated[Rate, Rate]",
        "X[1].__metadata__[0] is X[1].__origin__ and X[1].__origin__",
    ),
    "NewType": ("X = {n}, typing.NewType('N', Rate)", "X[1].__supertype__"),
    "ForwardRef": (
        "class C:\n    r: 'Rate'\nX = {n}, typing.get_type_hints(C), typing.ForwardRef('Rate')",
        "X[1]['r']",
    ),
    "slots": ("class C:\n    __slots__ = ('r', 'n')\nX = C(); X.r = Rate; X.n = {n}", "X.r"),
    "slots under a guard": (
        "class C:\n    __slots__ = ('r',)\n    def __setattr__(self, *_): return {n}\nX = C(); C.r.__set__(X, Rate)",
        "X.r",
    ),
    "instance made at import": ("X = [{n}, Rate()]", "isinstance(X[1], Rate) and type(X[1])"),
    "instance of a subclass made at import": (
        "class Sub(Rate):\n    n = {n}\nX = [{n}, Sub()]",
        "type(X[1]) is Sub and Sub.__mro__[1]",
    ),
    "base of a new class": ("class Fresh(Rate): pass\nX = {n}, Fresh", "X[1].__bases__[0]"),
    "second base of a new class": (
        "class Plain: pass\nclass Fresh{n}(Plain, Rate): pass\nX = {n}, Fresh{n}",
        "X[1].__mro__[2]",
    ),
    "original bases": (
        "T = typing.TypeVar('T')\nclass Fresh{n}(Rate, typing.Generic[T]): pass\nX = {n}, Fresh{n}[Rate]",
        "X[1].__args__[0] is X[1].__origin__.__orig_bases__[0] and X[1].__args__[0]",
    ),
    "singledispatch": (
        "@functools.singledispatch\ndef X(o): return {n}\n@X.register\ndef _(o: Rate): return Rate",
        "X(Rate())",
    ),
    "lru_cache": ("@functools.lru_cache(8)\ndef X(n={n}): return Rate\nX()", "X()"),
    "unbounded cache": ("@functools.cache\ndef X(n={n}): return Rate\nX()", "X()"),
    "iterator of a list": ("X = {n}, iter([Rate])", "X[1].__reduce__()[1][0][0]"),
    "iterator of a tuple": (
        "X = {n}, iter((1, Rate)); next(X[1])",
        "X[1].__reduce__()[2] == 1 and X[1].__reduce__()[1][0][1]",
    ),
    "map": ("X = {n}, map(Rate.__call__, iter([]))", "type(X[1]) is map and Rate"),
    "half-consumed map": (
        "X = {n}, map(isinstance, iter((1, Rate(), Rate())), iter((int, Rate, Rate))); next(X[1])",
        "all(X[1]) and Rate",
    ),
    "zip": (
        "X = {n}, zip((1, Rate), (1, 2), strict=True); next(X[1])",
        "X[1].__reduce__()[1][0].__reduce__()[1][0][1]",
    ),
    "cycle": ("X = {n}, itertools.cycle([Rate]); next(X[1])", "next(X[1])"),
    "enumerate": (
        "X = {n}, enumerate((1, Rate)); next(X[1])",
        "X[1].__reduce__()[1][1] == 1 and X[1].__reduce__()[1][0].__reduce__()[1][0][1]",
    ),
    "signature": (
        "def f(r: Rate = Rate): pass\nf.__signature__ = inspect.signature(f)\nX = f, {n}",
        "(lambda r: r.default is r.annotation and r.default)(X[0].__signature__.parameters['r'])",
    ),
    "exception": ("X = ValueError({n}, Rate)", "X.args[1]"),
    "attribute of an exception": ("X = ValueError({n}); X.r = Rate", "X.r"),
    "dataclass field": (
        "@dataclasses.dataclass\nclass C:\n  r: Rate = dataclasses.field(default=Rate, metadata={{'r': Rate}})\nX = C",
        "(lambda f: f.type is f.default is f.metadata['r'] and f.type)(dataclasses.fields(X)[0])",
    ),
    "simple namespace": ("X = types.SimpleNamespace(n={n}, r=Rate)", "X.r"),
    "attribute of a function": ("def X(): return {n}\nX.r = Rate", "X.r"),
    "attribute of a class": (
        "class C:\n    n = {n}\n    r = Rate\n    t = (Rate, {n})\nX = C",
        "X.r is X.t[0] and X.r",
    ),
    "metaclass": (
        "class M(type):\n    def version(cls): return {n}\nclass C{n}(metaclass=M): pass\nX = C{n}, {n}",
        "X[0].version() == {n} and type(X[0]) is M and Rate",
    ),
    "hash that follows the class": (
        "class Key(Same): pass\nX = {n}, {{Key(Rate): 1}}, {{Key(Rate)}}, frozenset([Key(Rate)])",
        "[Key(Rate) in x for x in X[1:]] == [True] * 3 and Rate",
    ),
    "class that says to be of a library": (
        "X = type('Made', (Rate,), {{'__module__': 'library', 'n': {n}, 'r': Rate}})",
        "X.__base__ is X.r and X.r",
    ),
    "module": ("X = types.ModuleType('compat')\nX.n, X.r, X.rs = {n}, Rate, [Rate]", "X.r is X.rs[0] and X.r"),
    "instance in a module": ("X = types.ModuleType('compat')\nX.n, X.r = {n}, Rate()", "type(X.r)"),
    "module subclass": (
        "class M(types.ModuleType):\n    __slots__ = ('s',)\n    n = {n}\nX = M('m')\nX.r, X.s, X.n = Rate, Rate, {n}",
        "type(X) is M and X.s is X.r and X.r",
    ),
    "module in a module": (
        "X = types.ModuleType('compat')\nX.n, X.inner = {n}, types.ModuleType('compat.inner')\nX.inner.r = Rate",
        "X.inner.r",
    ),
    "module in sys.modules": (
        "import sys\nX = sys.modules[__name__ + '.c'] = types.ModuleType(__name__ + '.c')\nX.n, X.r = {n}, Rate",
        "sys.modules[__name__ + '.c'] is X and X.r",
    ),
}
if sys.version_info < (3, 14):  # from then on a module computes them when it is asked, and has no such name before
    HOLDERS["annotation of the module"] = ("X: Rate = {n}", "__annotations__['X']")

if sys.version_info >= (3, 12):
    HOLDERS["type parameters"] = ("exec('def X[T](r: T) -> Rate: return {n}')", "X.__annotations__['return']")


def text(name: str, n: int) -> str:
    return (HEAD + HOLDERS[name][0] + "\n").format(n=n)


class Results:
    """What one history of swaps gives for all holders: version 1, 2, a rollback to 1, and 3."""

    HISTORY = (1, 2, 1, 3)

    def __init__(self, folder: Path) -> None:
        self.names = {f"h{number}": name for number, name in enumerate(HOLDERS)}
        self.package = "redirected"
        (folder / self.package).mkdir()
        (folder / self.package / "__init__.py").touch()
        for module, name in self.names.items():
            (folder / self.package / f"{module}.py").write_text(text(name, 1))
        sys.path.insert(0, str(folder))
        modules = {m: importlib.import_module(f"{self.package}.{m}") for m in self.names}
        self.rates = {module: vars(namespace)["Rate"] for module, namespace in modules.items()}
        self.got: dict[str, list[Any]] = {name: [] for name in HOLDERS}
        patcher = hotswap.Patcher([self.package])
        self.ask(1)
        first = patcher.apply(self.patch(2))
        self.warnings = [warning for warning in first.plan.warnings if "is a new object" not in warning]
        self.left = first.audit()
        self.ask(2)
        patcher.rollback()
        self.ask(1)
        patcher.apply(self.patch(3))
        self.ask(3)

    def patch(self, n: int) -> hotswap.Patch:
        sources = {f"{self.package}.{module}": text(name, n) for module, name in self.names.items()}
        return hotswap.Patch.from_sources(sources, version=f"{n}.{n}")

    def ask(self, n: int) -> None:
        for module, name in self.names.items():
            facts = vars(sys.modules[f"{self.package}.{module}"])
            living = self.rates[module]
            try:
                found = eval(HOLDERS[name][1].format(n=n), facts)
                self.got[name].append((found is living, living().version()))
            except Exception as error:
                self.got[name].append(error)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    path, finders, modules = list(sys.path), list(sys.meta_path), set(sys.modules)
    try:
        found = Results(tmp_path_factory.mktemp("redirection"))
        gc.collect()  # some of the old code is held by circles; it drains when they are gone
        yield found
    finally:
        # pytest-xdist may want it once more in this process: the finder of its last version must not answer then.
        sys.path[:], sys.meta_path[:] = path, finders
        for name in [name for name in sys.modules if name not in modules and name.startswith("redirected")]:
            del sys.modules[name]


class TestHolders:
    @pytest.mark.parametrize("name", HOLDERS)
    def test_leads_to_the_living_class(self, name: str, results: Results) -> None:
        assert results.got[name] == [(True, n) for n in Results.HISTORY]

    def test_nothing_is_left(self, results: Results) -> None:
        assert [str(leftover) for leftover in results.left] == []

    def test_nothing_is_warned_of(self, results: Results) -> None:
        assert results.warnings == []


class Program:
    """A package of one module, in as many versions as a test wants."""

    def __init__(self, make_package: Make, source: str) -> None:
        self.source = textwrap.dedent(source)
        self.name = make_package({"__init__.py": self.text(1)}).__name__
        self.patcher = hotswap.Patcher([self.name])

    def text(self, n: int) -> str:
        return HEAD.format(n=n) + self.source.replace("{n}", str(n))

    def patch(self, n: int) -> hotswap.Patch:
        return hotswap.Patch.from_sources({self.name: self.text(n)})

    def __getattr__(self, name: str) -> Any:
        return vars(sys.modules[self.name])[name]


STAYING = {
    "suspended generator in a module": (
        "def steps(r):\n    yield {n}\n    yield r\nX = types.ModuleType('x'); X.made = steps(Rate); next(X.made)",
        "a generator",
    ),
    "suspended generator": (
        "def steps(r):\n    yield {n}\n    yield r\nX = steps(Rate); next(X); X = X if {n} else None",
        "a generator",
    ),
    "repeat": ("X = {n}, itertools.repeat(Rate)", "a repeat"),
    "context variable": ("X = {n}, contextvars.ContextVar('x', default=Rate)", "a ContextVar"),
    "traceback": (
        "def fails(r): raise ValueError({n})\ntry:\n    fails(Rate)\nexcept ValueError as error:\n    X = {n}, error",
        "a frame",
    ),
}


KEPT_IN_PYODIDE = ("traceback",)
"""What Pyodide goes on keeping when the test is over, code and all, so that old code never drains there."""


class TestLeftovers:
    @pytest.mark.parametrize(
        "name", [pytest.param(n, marks=[pytest.mark.threads] * (n in KEPT_IN_PYODIDE)) for n in STAYING]
    )
    def test_are_named_in_the_plan_before_anything_is_touched_and_found_by_the_audit(
        self, name: str, make_package: Make
    ) -> None:
        source, holder = STAYING[name]
        program = Program(make_package, source)
        rollout = program.patcher.stage(program.patch(2))
        sentence = f"{program.name}:X: {holder} can't be rewritten, and keeps the dropped class {program.name}.Rate"
        assert sentence in rollout.plan.warnings
        old = vars(sys.modules[program.name])
        rollout.verify()
        rollout.commit()
        assert rollout.plan.warnings.count(sentence) == 1
        assert {(left.holder, left.what) for left in rollout.audit()} >= {
            (holder.removeprefix("a "), f"the dropped class {program.name}.Rate")
        }
        old.pop("X")  # the generator is an old call, for which the old generation waits

    def test_a_module_that_a_statement_makes_keeps_none_where_nobody_knows_what_is_young(
        self, make_package: Make
    ) -> None:
        source = "X = types.ModuleType('compat')\nX.n, X.r, X.rs, X.made = {n}, Rate, [Rate], Rate()"
        program = Program(make_package, source)
        rate = program.Rate
        gc.disable()
        gc.freeze()  # as a service does that switches the collector off
        try:
            rollout = program.patcher.apply(program.patch(2))
            made = program.X
            assert [made.n, made.r, *made.rs, type(made.made)] == [2, rate, rate, rate]
            assert rollout.audit() == ()
        finally:
            gc.enable()

    def test_staging_writes_nothing(self, make_package: Make) -> None:
        source = "class Fresh{n}(Rate): pass\nX = [{n}, Rate, Fresh{n}(), Rate(), (Rate,), {Rate: 1}]"
        program = Program(make_package, source)
        rollout = program.patcher.stage(program.patch(2))
        twin, fresh = rollout.candidate[program.name].Rate, rollout.candidate[program.name].Fresh2
        held = rollout.candidate[program.name].X
        assert twin is not program.Rate
        assert held[1] is held[4][0] is next(iter(held[5])) is twin
        assert (type(held[2]), type(held[3]), fresh.__bases__) == (fresh, twin, (twin,))
        assert program.Rate.__subclasses__() == [program.Fresh1]
        rollout.abort()

    def test_an_instance_that_cant_change_its_class_is_refused_while_staging(self, make_package: Make) -> None:
        # Their layouts are the same, but CPython changes no class of something that is no instance of a heap type's.
        source = "class Number(int):\n    __slots__ = ()\n    def version(self): return {n}\nX = [{n}, Number(5)]"
        program = Program(make_package, source)
        try:
            program.X[1].__class__ = type("Other", (int,), {"__slots__": ()})
        except TypeError:
            with pytest.raises(hotswap.UnsupportedChangeError) as caught:
                program.patcher.stage(program.patch(2))
            assert [str(change).partition(" ")[0] for change in caught.value.changes] == ["[reference-left]"]
        else:
            program.patcher.apply(program.patch(2))
            assert type(program.X[1]) is program.Number


class TestSharedContainers:
    """What the candidate put into a container of somebody else's is seen by others: it is rewritten in the commit."""

    def test_registered_twins_lead_to_the_living_class(self, make_package: Make) -> None:
        package = make_package({"__init__.py": "", "shared.py": "TABLE, NAMES, ROWS = {}, set(), [[]]"})
        shared = importlib.import_module(f"{package.__name__}.shared")
        source = f"""
from {package.__name__}.shared import NAMES, ROWS, TABLE
class Rate:
    def version(self): return {{n}}
TABLE[{{n}}] = Rate; TABLE[Rate] = {{n}}; NAMES.add(Rate); ROWS[0].append(Rate)
"""
        name = f"{package.__name__}.rates"
        (Path(str(package.__file__)).parent / "rates.py").write_text(source.format(n=1))
        rate = importlib.import_module(name).Rate
        patcher = hotswap.Patcher([package.__name__])
        rollout = patcher.stage(hotswap.Patch.from_sources({name: source.format(n=2)}))
        assert ({1: rate, rate: 1}, {rate}, [[rate]]) == (shared.TABLE, shared.NAMES, shared.ROWS)
        rollout.verify()
        rollout.commit()
        assert dict(shared.TABLE) == {2: rate, rate: 2}, "as after a restart"
        assert set(shared.NAMES) == {rate}
        assert list(shared.ROWS) == [[rate]], "the old registration leads to the new version already"
        assert rollout.audit() == ()


class TestInstancesOfSlottedClasses:
    def test_below_a_base_of_the_module_change_their_class(self, make_package: Make) -> None:
        """CPython lets them only if the bases are the same, and those of the twin are twins until the commit."""
        source = (
            "class Base:\n    def shown(self): return {n}\n"
            "class Symbol(Base):\n    __slots__ = ('name',)\n    def __init__(self, name): self.name = name\n"
            "class Special(Symbol):\n    __slots__ = ('more',)\n"
            "MADE = [Symbol('a'), Special('b'), {n}]\n"
        )
        name = make_package({"core.py": source.format(n=1)}).__name__
        core: Any = importlib.import_module(f"{name}.core")
        symbol, special = core.Symbol, core.Special
        patcher = hotswap.Patcher([name])
        for version in (2, 3):
            patcher.apply(hotswap.Patch.from_sources({f"{name}.core": source.format(n=version)}, str(version)))
            live: Any = sys.modules[f"{name}.core"]
            assert [type(made) for made in live.MADE[:2]] == [symbol, special]
            assert [(made.shown(), made.name) for made in live.MADE[:2]] == [(version, "a"), (version, "b")]
            assert (live.Symbol, live.Special) == (symbol, special)
        patcher.rollback()
        assert symbol("c").shown() == 2
