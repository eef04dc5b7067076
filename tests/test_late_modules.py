"""Modules that are imported after a swap: a rollback leads them to their old version, wherever they are held."""

from __future__ import annotations

import functools
import importlib
import sys
import textwrap
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher
from hotswap.errors import CommitError
from hotswap.generation import ModuleView, World
from hotswap.rollout import Rollout
from hotswap.swap import Swap
from hotswap.swap.forwarding import SupersededModule, target_of
from hotswap.swap.standing_in import clashes
from tests.races.threads import Repeaters
from tests.test_swap_modules import stand_ins

Make = Callable[..., ModuleType]


class Shop:
    """A package of which some modules are imported only after a patch. `PKG` in sources stands for its name."""

    def __init__(self, make: Make, files: Mapping[str, str], *imports: str, **options: Any) -> None:
        self.package = make({path: textwrap.dedent(text) for path, text in files.items()})
        self.name = self.package.__name__
        self.root = Path(str(self.package.__file__)).parent
        for file in self.root.rglob("*.py"):
            file.write_text(file.read_text().replace("PKG", self.name))
        for name in imports:
            self.load(name)
        self.patcher = Patcher([self.name], **options)

    def load(self, name: str) -> Any:
        return importlib.import_module(f"{self.name}.{name}")

    def patch(self, **sources: str) -> Rollout:
        texts = {name.replace("__", "."): textwrap.dedent(text) for name, text in sources.items()}
        full = {f"{self.name}.{name}": text.replace("PKG", self.name) for name, text in texts.items()}
        return self.patcher.apply(Patch.from_sources(full))

    def folder(self, folder: Path, files: Mapping[str, str], version: str = "2.0") -> Rollout:
        """Apply a patch that holds the whole package."""
        for path, text in {"__init__.py": "", **files}.items():
            file = folder / self.name / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(textwrap.dedent(text).replace("PKG", self.name))
        return self.patcher.apply(Patch.from_path(folder / self.name, version))

    def back(self) -> list[str]:
        """Roll back, and return what the plan says of modules that keep something."""
        return [line for line in self.patcher.rollback().plan.warnings if "keeps" in line]


LAZY = """
    _pdf = None
    def quote():
        global _pdf
        if _pdf is None:
            from PKG import pdf
            _pdf = pdf
        return _pdf.render(1)
    """
FILES = {
    "pricing.py": "_pdf = None\ndef quote():\n    global _pdf\n    from PKG import pdf\n    _pdf = _pdf or pdf\n"
    "    return _pdf.render(1)\n",
    "pdf.py": "def render(a): return 'pdf 1', a\n",
}
NEW = {
    "pricing": FILES["pricing.py"].replace("render(1)", "render(1, extra=2)"),
    "pdf": "def render(a, *, extra): return 'pdf 2', a, extra\n",
}


class TestEveryReference:
    def test_changed_signatures_on_both_sides(self, make_package: Make) -> None:
        shop = Shop(make_package, FILES, "pricing")
        quote = shop.load("pricing").quote
        shop.patch(**NEW)
        assert quote() == ("pdf 2", 1, 2)
        assert shop.back() == []
        assert quote() == shop.load("pricing").quote() == ("pdf 1", 1)
        assert shop.load("pricing")._pdf is shop.load("pdf") is shop.package.pdf
        assert stand_ins(shop.name) == []

    def test_module_functions_and_what_wraps_them(self, make_package: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        shop = Shop(make_package, FILES, "pricing")
        shop.patch(pdf="def render(a): return 'pdf 2', a\n", pricing="def quote(): return 2\n")
        pdf = shop.load("pdf")
        render = pdf.render
        held = [pdf.render, functools.partial(render, 1), {"render": render}, lambda a: pdf.render(a)]
        program = ModuleType("plugin")
        exec(f"from {shop.name}.pdf import render\nimport {shop.name}.pdf\n", program.__dict__)
        monkeypatch.setitem(sys.modules, "plugin", program)
        shop.back()
        live = shop.load("pdf")
        assert live is not pdf
        assert (live.render(1), render(1), held[1](), held[2]["render"](1), held[3](1)) == (("pdf 1", 1),) * 5
        assert (pdf.render is live.render) and (program.render is live.render)
        assert getattr(program, shop.name).pdf is live
        assert str(pdf.__file__) == str(shop.root / "pdf.py")

    def test_unchanged_module_that_took_something_of_a_late_one(self, make_package: Make) -> None:
        reports = "from . import pdf\nfrom .pdf import render, SIZE\nseen = []\n"
        reports += "def report(): return pdf.render(1), render(1), SIZE\n"
        shop = Shop(make_package, {**FILES, "pdf.py": "SIZE = 1\n" + FILES["pdf.py"], "reports.py": reports}, "pricing")
        shop.patch(pdf="SIZE = 2\ndef render(a): return 'pdf 2', a\n", pricing="def quote(): return 2\n")
        live = shop.load("reports")
        live.seen.append("seen")
        report = live.report
        assert report() == (("pdf 2", 1), ("pdf 2", 1), 2)
        shop.back()
        assert report() == shop.load("reports").report() == (("pdf 1", 1), ("pdf 1", 1), 1)
        assert shop.load("reports") is live
        assert (live.seen, live.render) == (["seen"], shop.load("pdf").render)

    def test_unchanged_late_module_whose_data_was_made_of_a_changed_one(
        self, make_package: Make, tmp_path: Path
    ) -> None:
        files = {"limits.py": "MAX = 1\n", "table.py": "from .limits import MAX\nTABLE = [MAX]\nSEEN = []\n"}
        shop = Shop(make_package, files, "limits")
        shop.folder(tmp_path, {**files, "limits.py": "MAX = 2\n"})
        table = shop.load("table")
        table.SEEN.append(1)
        assert table.TABLE == [2]
        shop.back()
        assert shop.load("table").TABLE == table.TABLE == [1]
        assert shop.load("table").SEEN == [1]

    def test_whole_package_with_the_package_itself(
        self, make_package: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shop = Shop(make_package, {**FILES, "pricing.py": "def quote(): return 1\n"}, "pricing")
        shop.folder(tmp_path, {"__init__.py": "V = 2\n", "pricing.py": "def quote(): return 1\n", "pdf.py": NEW["pdf"]})
        program = ModuleType("plugin")
        exec(
            f"import {shop.name}.pdf\ndef invoice(*a, **k): return {shop.name}.pdf.render(*a, **k)\n", program.__dict__
        )
        monkeypatch.setitem(sys.modules, "plugin", program)
        assert program.invoice(1, extra=3) == ("pdf 2", 1, 3)
        shop.back()
        assert program.invoice(1) == ("pdf 1", 1)

    @pytest.mark.parametrize("imported", [True, False])
    def test_package_that_nobody_had_imported(self, make_package: Make, imported: bool) -> None:
        shop = Shop(make_package, {"z.py": "v = 1\ndef g(): return v\n"})
        if not imported:
            del sys.modules[shop.name]
            shop.patcher = Patcher([shop.name])
        shop.patch(z="v = 2\ndef g(): return v\n")
        z, package = shop.load("z"), sys.modules[shop.name]
        g = z.g
        assert (z.v, g()) == (2, 2)
        assert shop.back() == []
        assert (z.v, g(), z.g(), package.z.v, package.z.g(), shop.load("z").g()) == (1,) * 6

    def test_classes_with_instances(self, make_package: Make) -> None:
        shop = Shop(
            make_package, {"a.py": "x = 1\n", "doc.py": "class Doc:\n    def text(self): return 'old', self.n\n"}, "a"
        )
        shop.patch(
            a="x = 2\n",
            doc="class Doc:\n    kind = 2\n    def text(self): return 'new', self.n\n    def more(self): pass\n",
        )
        doc = shop.load("doc")
        cls, instance = doc.Doc, doc.Doc()
        instance.n = 1
        bound, heir = instance.text, type("Heir", (cls,), {})()
        heir.n = 2
        assert bound() == ("new", 1)
        assert shop.back() == [
            f"{shop.name}.doc:Doc.more has no counterpart in the new version; who still holds it keeps the old code"
        ]
        assert shop.load("doc").Doc is cls is doc.Doc
        assert (bound(), heir.text(), instance.text()) == (("old", 1), ("old", 2), ("old", 1))
        assert isinstance(instance, shop.load("doc").Doc)
        assert not hasattr(instance, "more")
        assert not hasattr(cls, "kind")

    def test_package_with_submodules(self, make_package: Make, tmp_path: Path) -> None:
        files = {
            "x.py": "",
            "sub/__init__.py": "def f(): return 1\n",
            "sub/a.py": "from . import b, f\ndef g(): return f(), b.h()\n",
        }
        files |= {"sub/b.py": "seen = []\ndef h(): return 'b'\n"}
        shop = Shop(make_package, files, "x")
        shop.folder(
            tmp_path, {**files, "sub/__init__.py": "def f(): return 2\n", "sub/a.py": files["sub/a.py"] + "N = 2\n"}
        )
        sub, a, b = shop.load("sub"), shop.load("sub.a"), shop.load("sub.b")
        g = a.g
        b.seen.append(1)
        assert g() == (2, "b")
        assert shop.back() == []
        live = shop.load("sub")
        assert (g(), a.g(), live.f(), sub.f()) == ((1, "b"), (1, "b"), 1, 1)
        assert (live.b, live.a, a.b) == (b, shop.load("sub.a"), b)
        assert (shop.load("sub.b"), b.seen) == (b, [1])
        assert not hasattr(live.a, "N")
        assert Path(b.__file__).parent == Path(live.__file__).parent == shop.root / "sub"

    def test_closures_that_late_functions_made(self, make_package: Make) -> None:
        shop = Shop(
            make_package,
            {"a.py": "x = 1\n", "late.py": "def make(n):\n    def inner(): return 'old', n\n    return inner\n"},
            "a",
        )
        shop.patch(a="x = 2\n", late="def make(n):\n    def inner(): return 'new', n\n    return inner\n")
        made = shop.load("late").make(3)
        assert made() == ("new", 3)
        rollout = shop.patcher.rollback()
        assert rollout.wait_settled(10)
        assert made() == ("old", 3)


class TestWhatTheOldBodyMeets:
    def test_is_the_old_version(self, make_package: Make) -> None:
        files = {
            "a.py": "RATE = 1\ndef f(): return RATE\ndef via(): return f()\nclass K:\n    pass\n",
            "u.py": "from .a import f, RATE\n",
            "late.py": """
                import PKG.a, PKG
                from . import u, a
                from .a import f, RATE, K
                from .u import f as again
                seen = f(), PKG.a.via(), u.f(), u.RATE, RATE, a.RATE
                held = {"f": f, "a": PKG.a, "again": again}
                def now(): return f(), a.via(), held["f"](), u.f()
                """,
        }
        files = {path: textwrap.dedent(text) for path, text in files.items()}
        shop = Shop(make_package, files, "a", "u")
        f = shop.load("a").f
        shop.patch(a=files["a.py"].replace("= 1", "= 2") + "# new\n", late=files["late.py"] + "\nseen = 'new'\n")
        assert shop.load("late").now() == (2, 2, 2, 2)
        assert shop.back() == []
        late, a = shop.load("late"), shop.load("a")
        assert late.seen == (1, 1, 1, 1, 1, 1)
        assert late.now() == (1, 1, 1, 1)
        assert late.f is late.again is a.f is f
        assert late.a is a and late.K is a.K
        assert getattr(late, shop.name) is sys.modules[shop.name]
        assert target_of(f.__code__) is None
        assert stand_ins(shop.name) == []

    def test_has_no_module_that_only_the_new_version_has(self, make_package: Make) -> None:
        body = "try:\n    from PKG import extra\nexcept ImportError:\n    extra = None\nV = {}\n"
        shop = Shop(make_package, {"a.py": "x = 1\n", "late.py": body.format(1)}, "a")
        shop.patch(a="x = 2\n", late=body.format(2), extra="")
        assert shop.load("late").extra is shop.load("extra")
        shop.back()
        assert shop.load("late").extra is None

    def test_a_module_that_was_never_imported_is_loaded_in_its_old_version(
        self, make_package: Make, tmp_path: Path
    ) -> None:
        files = {"a.py": "x = 1\n", "late.py": "from . import other\nV = other.V\n", "other.py": "V = 1\n"}
        shop = Shop(make_package, files, "a")
        shop.folder(tmp_path, {"a.py": "x = 2\n", "late.py": "V = 2\n", "other.py": "V = 2\n"})
        assert shop.load("late").V == 2
        assert f"{shop.name}.other" not in sys.modules
        shop.back()
        assert (shop.load("late").V, shop.load("late").other) == (1, sys.modules[f"{shop.name}.other"])

    def test_must_not_be_made_of_a_class_attribute_that_is_about_to_change(self, make_package: Make) -> None:
        base = "import dataclasses\n@dataclasses.dataclass\nclass Base:\n    a: int = 1\n"
        late = "import dataclasses\nfrom .a import Base\n@dataclasses.dataclass\nclass Heir(Base):\n    b: int = 2\n"
        shop = Shop(make_package, {"a.py": base, "late.py": late, "ok.py": "def f(): return 1\n"}, "a")
        shop.patch(a=base + "    c: int = 3\n", late=late + "    d: int = 4\n", ok="def f(): return 2\n")
        f = shop.load("ok").f
        told = shop.back()
        assert [
            line for line in told if "its Heir is made of Base, which is the new one until the rollback" in line
        ] == told
        assert len(told) == 1
        assert f() == 1
        fields = shop.load("late").Heir.__dataclass_fields__
        assert list(fields) == ["a", "b"]


class TestWithoutAnOldVersion:
    def test_it_is_dropped_and_the_plan_says_so(self, make_package: Make, tmp_path: Path) -> None:
        shop = Shop(make_package, {"a.py": "x = 1\n", "late.py": "V = 1\n"}, "a")
        shop.folder(
            tmp_path, {"a.py": "x = 2\n", "late.py": "V = 2\n", "sub/__init__.py": "", "sub/only.py": "V = 2\n"}
        )
        sub, late = shop.load("sub"), shop.load("late")
        rollout = shop.patcher.rollback()
        assert late.V == 1
        assert f"{shop.name}.sub" not in sys.modules
        assert not hasattr(shop.package, "sub")
        assert sub.__name__ == f"{shop.name}.sub"
        with pytest.raises(ModuleNotFoundError):
            shop.load("sub")
        assert not [line for line in rollout.plan.warnings if "late " in line]

    @pytest.mark.parametrize(
        ("old", "why", "everything"),
        [
            ("1/0\n", "late.py:1 raised ZeroDivisionError", True),
            ("def\n", "SyntaxError", True),
            ("import sys\nsys.exit(3)\n", "SystemExit", True),
            pytest.param(
                "import socket\nOPEN = socket.socket()\nOPEN.listen()\n",
                "import-effect",
                False,
                marks=pytest.mark.threads,  # and sockets
            ),
        ],
        ids=["raises", "is no Python", "exits", "leaves an effect"],
    )
    def test_a_body_that_fails_does_not_keep_the_rollback_from_going_through(
        self, make_package: Make, old: str, why: str, everything: bool
    ) -> None:
        shop = Shop(
            make_package,
            {"a.py": "def f(): return 1\n", "late.py": old, "ok.py": "V = 1\n", "up.py": "from . import late\n"},
            "a",
        )
        f = shop.load("a").f
        shop.patch(a="def f(): return 2\n", late="V = 2\n", ok="V = 2\n", up="V = 2\n")
        late, ok, up = shop.load("late"), shop.load("ok"), shop.load("up")
        told = shop.back()
        assert f() == 1
        assert (late.V, up.V) == (2, 2)
        (line,) = [line for line in told if f"{shop.name}.late was imported after the swap" in line]
        assert why in line
        if "raised" in why:
            assert f"{shop.root / 'late.py'}:1 raised" in line
        assert f"{shop.name}.late" not in sys.modules
        assert (ok.V == 1) is everything
        assert shop.patch(a="def f(): return 3\n").state == "live"

    def test_one_that_was_empty_comes_back_empty(self, make_package: Make) -> None:
        shop = Shop(make_package, {"a.py": "x = 1\n", "late.py": ""}, "a")
        shop.patch(a="x = 2\n", late="V = 2\n")
        late = shop.load("late")
        assert shop.back() == []
        assert not hasattr(late, "V")
        assert sys.modules[f"{shop.name}.late"].__name__ == late.__name__

    @pytest.mark.threads  # where there are none, nothing ends a body
    def test_a_body_that_hangs_has_the_time_limit_of_loading(self, make_package: Make) -> None:
        shop = Shop(
            make_package,
            {"a.py": "def f(): return 1\n", "late.py": "import time\nwhile True:\n    time.sleep(0.001)\n"},
            "a",
            load_timeout=0.3,
        )
        f = shop.load("a").f
        shop.patch(a="def f(): return 2\n", late="V = 2\n")
        told = shop.back()
        assert f() == 1
        assert len(told) == 1
        assert "did not return within 0.3 s" in told[0]

    def test_an_interrupt_while_the_old_version_is_loaded_leaves_the_new_one_live(self, make_package: Make) -> None:
        shop = Shop(
            make_package,
            {"a.py": "def f(): return 1\n", "late.py": "raise KeyboardInterrupt\n"},
            "a",
            load_timeout=None,
        )
        f = shop.load("a").f
        rollout = shop.patch(a="def f(): return 2\n", late="V = 2\n")
        with pytest.raises(KeyboardInterrupt):
            shop.patcher.rollback()
        assert (f(), shop.load("late").V, rollout.state) == (2, 2, "live")
        (shop.root / "late.py").write_text("V = 1\n")
        importlib.invalidate_caches()
        late = shop.load("late")
        shop.back()
        assert (f(), late.V) == (1, 1)

    def test_a_body_can_not_call_the_patcher(self, make_package: Make) -> None:
        body = "import PKG.a\nPKG.a.hook()\n"
        shop = Shop(make_package, {"a.py": "hook = None\nx = 1\n", "late.py": body}, "a")
        shop.load("a").hook = lambda: None
        shop.patch(a="hook = None\nx = 2\n", late="V = 2\n")
        shop.load("a").hook = shop.patcher.rollback
        told = shop.back()
        assert [line for line in told if "BusyError" in line]
        assert shop.load("a").x == 1


class TestSeveralPatches:
    def test_there_and_back_again(self, make_package: Make) -> None:
        shop = Shop(make_package, FILES, "pricing")
        quote = shop.load("pricing").quote
        held = []
        for _ in range(3):
            shop.patch(**NEW)
            held.append(shop.load("pdf"))
            assert quote() == ("pdf 2", 1, 2)
            assert [module.render(1, extra=1) for module in held] == [("pdf 2", 1, 1)] * len(held)
            assert shop.back() == []
            assert quote() == ("pdf 1", 1)
            assert [module.render(1) for module in held] == [("pdf 1", 1)] * len(held)

    def test_late_after_the_first_and_changed_by_the_second(self, make_package: Make) -> None:
        shop = Shop(
            make_package, {"a.py": "x = 1\n", "late.py": "def f(): return 1\n", "later.py": "def f(): return 1\n"}, "a"
        )
        shop.patch(a="x = 2\n", late="def f(): return 2\n", later="def f(): return 2\n")
        f = shop.load("late").f
        shop.patch(late="def f(): return 3\n", a="x = 3\n", other="V = 3\n")
        later = shop.load("later").f
        assert (f(), later()) == (3, 2)
        shop.back()
        assert (f(), shop.load("late").f(), later(), shop.load("a").x) == (2, 2, 2, 2)

    def test_late_after_a_second_patch_comes_back_to_the_first(self, make_package: Make, tmp_path: Path) -> None:
        files = {"a.py": "x = 1\n", "late.py": "def f(): return 1\n"}
        shop = Shop(make_package, files, "a")
        shop.folder(tmp_path / "two", {"a.py": "x = 2\n", "late.py": "def f(): return 2\n"})
        shop.folder(tmp_path / "three", {"a.py": "x = 3\n", "late.py": "def f(): return 3\n"}, "3.0")
        late = shop.load("late")
        f = late.f
        assert f() == 3
        assert shop.back() == []
        assert (f(), late.f(), shop.load("late").f(), shop.load("a").x) == (2, 2, 2, 2)
        assert shop.load("late").f.__code__.co_filename == late.__file__


@pytest.mark.threads
class TestCallsInFlight:
    def test_go_on_in_the_version_that_goes(self, make_package: Make) -> None:
        late = "import PKG.a\nfrom PKG.a import helper\ndef own({0}): return {1}\n"
        late += "def call(inside, go):\n    inside.set()\n    go.wait(10)\n    from PKG import a\n"
        late += "    return own({0}), helper({0}), PKG.a.helper({0}), a.helper({0})\n"
        a = "_late = None\ndef helper({0}): return {1}\ndef call(inside, go):\n    global _late\n"
        a += "    from PKG import late as _late\n    inside.set()\n    go.wait(10)\n    from PKG import late\n"
        a += "    return _late.own({0}), late.own({0}), helper({0})\n"
        shop = Shop(make_package, {"a.py": a.format("", 1), "late.py": late.format("", 1)}, "a")
        shop.patch(a=a.format("x=2", "2").replace("x=2)", "x=2)", 1), late=late.format("x=2", "2"))
        answers: list[Any] = []
        go = threading.Event()
        threads = []
        for function in (shop.load("late").call, shop.load("a").call):
            inside = threading.Event()
            thread = threading.Thread(target=lambda f=function, i=inside: answers.append(f(i, go)))
            threads.append(thread)
            thread.start()
            assert inside.wait(10)
        assert shop.back() == []
        assert shop.load("late").own() == shop.load("a").helper() == 1
        go.set()
        for thread in threads:
            thread.join(10)
        assert sorted(answers, key=len) == [(2, 2, 2), (2, 2, 2, 2)]

    def test_nobody_sees_a_mixture(self, make_package: Make) -> None:
        for _ in range(8):
            shop = Shop(make_package, {**FILES, "pricing.py": LAZY}, "pricing")
            quote = shop.load("pricing").quote
            shop.patch(pricing=LAZY.replace("render(1)", "render(1, extra=2)"), pdf=NEW["pdf"])
            wrong: list[TypeError] = []
            seen: set[object] = set()

            def ask(_: int, quote: Any = quote, wrong: Any = wrong, seen: Any = seen) -> bool:
                try:
                    seen.add(quote())
                except TypeError as error:
                    wrong.append(error)
                return True

            with Repeaters(ask) as threads, threads.racing():
                shop.back()
            assert (wrong, seen) == ([], {("pdf 1", 1), ("pdf 2", 1, 2)})


class TestWhatIsTold:
    def test_the_event_names_the_modules(self, make_package: Make, caplog: pytest.LogCaptureFixture) -> None:
        shop = Shop(make_package, {"a.py": "x = 1\n", "late.py": "V = 1\n"}, "a")
        shop.patch(a="x = 2\n", late="V = 2\n")
        with caplog.at_level("WARNING", logger="hotswap"):
            shop.back()
        facts = [record.__dict__ for record in caplog.records if "rolled_back" in record.getMessage()]
        assert len(facts) == 1
        assert f"returned=['{shop.name}.late'] dropped=[]" in caplog.text

    def test_a_held_view_of_a_module_that_is_gone_reads_the_old_one(self, make_package: Make) -> None:
        shop = Shop(make_package, {"a.py": "x = 1\n"}, "a")
        world = World((shop.name,))
        world.live = True
        view = ModuleView(f"{shop.name}.gone", world, {"v": 1})
        assert view.v == 1
        with pytest.raises(AttributeError, match="has no attribute 'w'"):
            _ = view.w


def test_module_objects_forward(make_package: Make) -> None:
    shop = Shop(make_package, FILES, "pricing")
    shop.patch(**NEW)
    pdf = shop.load("pdf")
    shop.back()
    assert type(pdf) is SupersededModule
    assert pdf.render is shop.load("pdf").render


class TestTheOneCall:
    FILES: Mapping[str, str] = {"a.py": "def f(): return 1\n", "late.py": "def f(): return 1\n"}
    NEW: Mapping[str, str] = {"a": "def f(): return 2\n", "late": "def f(): return 2\n"}

    def test_a_write_that_fails_takes_all_back_and_the_next_rollback_goes_through(
        self, make_package: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shop = Shop(make_package, self.FILES, "a")
        f = shop.load("a").f
        shop.patch(**self.NEW)
        late = shop.load("late")
        held = late.f
        make_ready = Swap.make_ready

        def failing(swap: Swap) -> None:
            make_ready(swap)
            swap._writes.both([(int, "no number")], [])

        with monkeypatch.context() as patched:
            patched.setattr(Swap, "make_ready", failing)
            with pytest.raises(CommitError, match="no number"):
                shop.patcher.rollback()
        assert (f(), held(), late.f(), shop.load("late") is late) == (2, 2, 2, True)
        assert shop.patcher.history()[0].state == "live"
        assert shop.back() == []
        assert (f(), held(), late.f()) == (1, 1, 1)

    def test_what_can_not_be_made_ready_is_dropped(self, make_package: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        shop = Shop(make_package, self.FILES, "a")
        f = shop.load("a").f
        shop.patch(**self.NEW)
        late = shop.load("late")
        monkeypatch.setattr(Swap, "make_ready", lambda _: 1 / 0)
        told = shop.back()
        assert [line.rpartition(": ")[2] for line in told] == ["division by zero"]
        assert (f(), late.f()) == (1, 2)
        assert shop.load("late").f() == 1

    def test_two_swaps_that_would_write_different_things_into_one_place(self) -> None:
        table: dict[str, int] = {}
        shared = [1]
        one = [(dict.__setitem__, table, "a", 1), (dict.pop, table, "b", None), (list.append, shared, 1)]
        assert clashes(one, [(dict.__setitem__, table, "a", 1), (dict.__setitem__, table, "c", 1)], []) == []
        assert clashes(one, [(dict.__setitem__, table, "a", 2)], []) == [table]
        assert clashes(one, [(dict.__setitem__, table, "b", 2)], [(id(table), "b")]) == []
        assert clashes(one, [(dict.__setitem__, table, "b", 2)], [(id(table), None)]) == []
        assert clashes(one, [(list.append, shared, 2)], []) == [shared]

    def test_a_rollout_in_progress_is_aborted(self, make_package: Make) -> None:
        shop = Shop(make_package, self.FILES, "a")
        shop.patch(**self.NEW)
        late = shop.load("late")
        source = {f"{shop.name}.a": "def f(): return 3\n"}
        staged = shop.patcher.stage(Patch.from_sources(source))
        assert shop.back() == []
        assert (late.f(), staged.state) == (1, "rejected")

    @pytest.mark.threads
    def test_what_is_imported_while_the_old_versions_are_loaded_is_dropped(self, make_package: Make) -> None:
        body = "def f(): return 1\nimport PKG.a\nPKG.a.hook()\n"
        shop = Shop(make_package, {"a.py": "hook = int\nx = 1\n", "late.py": body, "other.py": "V = 1\n"}, "a")
        files = {"a.py": "hook = int\nx = 2\n", "late.py": "def f(): return 2\n", "other.py": "V = 2\n"}
        shop.folder(shop.root.parent / "new", files)
        late = shop.load("late")
        thread: Any = None

        def request() -> None:
            nonlocal thread
            thread = threading.Thread(target=lambda: shop.load("other"))
            thread.start()
            thread.join(10)

        shop.load("a").hook = request
        told = shop.back()
        assert thread is not None
        assert [line for line in told if f"{shop.name}.other" in line and "while the rollback was made" in line] == told
        assert (late.f(), shop.load("other").V) == (1, 1)

    def test_a_registry_that_both_versions_use(self, make_package: Make) -> None:
        base = "HANDLERS = {}\ndef handler(name):\n    def note(f):\n        HANDLERS[name] = f\n        return f\n"
        base += "    return note\n"
        late = "from .base import handler\n@handler('x')\ndef f(): return {0}\n@handler({1!r})\ndef g(): return {0}\n"
        files = {"base.py": base, "a.py": "def f(): return 1\n", "late.py": late.format(1, "one")}
        shop = Shop(make_package, files, "a", "base")
        shop.patch(a="def f(): return 2\n", late=late.format(2, "two"))
        handlers = shop.load("base").HANDLERS
        assert {name: f() for name, f in handlers.items()} == {"x": 2, "two": 2}
        shop.back()
        assert {name: f() for name, f in handlers.items()} == {"x": 1, "one": 1}
        assert handlers["x"] is shop.load("late").f
