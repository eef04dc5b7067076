"""Registries of packages that are not managed, in their classes, objects and closures; and what wraps what is there."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from hotswap import LoadError, UnsupportedChangeError
from tests.test_registrations import Make, Service, commit


class Registry(NamedTuple):
    """A library, a module that registers something with it, what it registers besides then, and what is there."""

    library: str
    code: str
    more: str
    seen: Callable[[Any], object]


REGISTRIES: dict[str, Registry] = {
    "a dict of a class": Registry(
        "class Base:\n  known = {}\n  def __init_subclass__(cls): Base.known[cls.__name__] = cls\n",
        "import LIBRARY\nclass Mail(LIBRARY.Base):\n  def run(self): return 'NOW'\n",
        "class Post(LIBRARY.Base):\n  def run(self): return 'NOW'\n",
        lambda library: {name: cls().run() for name, cls in library.Base.known.items()},
    ),
    "a dict of a class that is imported by name": Registry(
        "class Base:\n  known = {}\n  def __init_subclass__(cls): Base.known[cls.__name__] = cls\n",
        "from LIBRARY import Base\nclass Mail(Base):\n  def run(self): return 'NOW'\n",
        "class Post(Base):\n  def run(self): return 'NOW'\n",
        lambda library: {name: cls().run() for name, cls in library.Base.known.items()},
    ),
    "a dict of a metaclass": Registry(
        "class Meta(type):\n  known = {}\n  def __init__(cls, *a): Meta.known[cls.__name__] = cls\n"
        "class Base(metaclass=Meta):\n  def run(self): return 'base'\n",
        "from LIBRARY import Base\nclass Mail(Base):\n  def run(self): return 'NOW'\n",
        "class Post(Base):\n  def run(self): return 'NOW'\n",
        lambda library: {name: cls().run() for name, cls in library.Meta.known.items()},
    ),
    "a class method": Registry(
        "class C:\n  known = {}\n  @classmethod\n  def on(cls, f): cls.known[f.__name__] = f; return f\n",
        "import LIBRARY\n@LIBRARY.C.on\ndef f(): return 'NOW'\n",
        "@LIBRARY.C.on\ndef g(): return 'NOW'\n",
        lambda library: {name: f() for name, f in library.C.known.items()},
    ),
    "lists in a dict of an object": Registry(
        "class Bus:\n  def __init__(self): self.subs = {}\n"
        "  def on(self, e):\n    def r(f): self.subs.setdefault(e, []).append(f); return f\n    return r\n"
        "bus = Bus()\n",
        "import LIBRARY\n@LIBRARY.bus.on('e')\ndef f(): return 'NOW'\n",
        "@LIBRARY.bus.on('e2')\ndef g(): return 'NOW'\n",
        lambda library: {e: [f() for f in fs] for e, fs in library.bus.subs.items()},
    ),
    "an attribute of an object": Registry(
        "class App:\n  def __init__(self): self.handler = self.other = None\n"
        "  def set(self, f): self.handler = f\napp = App()\n",
        "import LIBRARY\ndef f(): return 'NOW'\nLIBRARY.app.set(f)\n",
        "LIBRARY.app.other = LIBRARY.app.third = f\n",
        lambda library: {name: f and f() for name, f in vars(library.app).items()},
    ),
    "an attribute of a class": Registry(
        "class C:\n  def m(self): return 'first'\n",
        "import LIBRARY\ndef m(self): return 'NOW'\nLIBRARY.C.m = m\n",
        "LIBRARY.C.n = m\n",
        lambda library: [library.C().m(), library.C().n() if hasattr(library.C, "n") else None],
    ),
    "a variable of a closure": Registry(
        "def make():\n  known, last = {}, None\n"
        "  def on(f):\n    nonlocal last\n    known[f.__name__] = last = f\n    return f\n"
        "  def answers(): return {name: f() for name, f in known.items()}, last()\n"
        "  return on, answers\non, answers = make()\n",
        "import LIBRARY\n@LIBRARY.on\ndef f(): return 'NOW'\n",
        "@LIBRARY.on\ndef g(): return 'NOW'\n",
        lambda library: library.answers(),
    ),
    "singledispatch": Registry(
        "import functools\n@functools.singledispatch\ndef show(o): return 'any'\n",
        "import LIBRARY\n@LIBRARY.show.register\ndef _(o: list): return 'NOW'\n",
        "@LIBRARY.show.register\ndef _(o: int): return 'NOW'\n",
        lambda library: [library.show([]), library.show(1), library.show(True), library.show("")],
    ),
    "a weak set": Registry(
        "import weakref\nclass Base: known = weakref.WeakSet()\n",
        "import LIBRARY\nclass A: value = 'NOW'\nLIBRARY.Base.known.add(A)\n",
        "class B: value = 'NOW'\nLIBRARY.Base.known.add(B)\n",
        lambda library: sorted((cls.__name__, cls.value) for cls in library.Base.known),
    ),
    "a weak dict": Registry(
        "import weakref\nknown = weakref.WeakKeyDictionary()\n",
        "import LIBRARY\nclass A: value = 'NOW'\ndef f(): return 'NOW'\nLIBRARY.known[A] = f\n",
        "class B: value = 'NOW'\nLIBRARY.known[B] = f\n",
        lambda library: sorted((cls.__name__, cls.value, f()) for cls, f in library.known.items()),
    ),
    "a weak dict of values": Registry(
        "import weakref\nknown = weakref.WeakValueDictionary()\n",
        "import LIBRARY\nclass A: value = 'NOW'\nLIBRARY.known['a'] = A\n",
        "class B: value = 'NOW'\nLIBRARY.known['b'] = B\n",
        lambda library: sorted((name, cls.value) for name, cls in library.known.items()),
    ),
}


class TestNearby:
    """Registries of packages that are not managed, in classes, objects and closures."""

    @pytest.mark.parametrize("kind", REGISTRIES)
    def test_none_while_staged_all_at_the_commit_and_gone_at_a_rollback(self, make_package: Make, kind: str) -> None:
        library, code, more, seen = REGISTRIES[kind]
        service = Service(make_package, "", code.replace("NOW", "1.0"), library)
        before = seen(service.library)
        assert "1.0" in str(before)
        with service.stage((code + more).replace("NOW", "1.1")) as rollout:
            assert {effect.outcome for effect in rollout.plan.effects} == {"undone"}
            assert seen(service.library) == before
        assert seen(service.library) == before
        rollout = service.stage((code + more).replace("NOW", "1.1"))
        commit(rollout)
        after = seen(service.library)
        assert "1.0" not in str(after)
        rollout.rollback()
        assert seen(service.library) == before
        commit(service.stage((code + more).replace("NOW", "1.1")))
        assert seen(service.library) == after
        commit(service.stage((code + more).replace("NOW", "1.2")))
        assert str(seen(service.library)) == str(after).replace("1.1", "1.2")

    @pytest.mark.parametrize("kind", REGISTRIES)
    def test_refused_for_something_else_it_leaves_nothing(self, make_package: Make, kind: str) -> None:
        library, code, more, seen = REGISTRIES[kind]
        service = Service(make_package, "", code.replace("NOW", "1.0"), library)
        before = seen(service.library)
        with pytest.raises(LoadError):
            service.stage((code + more).replace("NOW", "1.1") + "1 / 0\n")
        assert seen(service.library) == before

    def test_living_classes_stay_those_that_are_registered(self, make_package: Make) -> None:
        library, code, more, _ = REGISTRIES["a dict of a class"]
        service = Service(make_package, "", code, library)
        known, living = service.library.Base.known, service.code.Mail
        with service.stage(code.replace("NOW", "new") + more):
            assert known == {"Mail": living}
        commit(service.stage(code.replace("NOW", "new") + more))
        assert known == {"Mail": living, "Post": service.code.Post}
        assert service.code.Mail is living

    def test_library_that_is_imported_for_the_first_time(self, make_package: Make) -> None:
        library, code, _, seen = REGISTRIES["a dict of a class"]
        service = Service(make_package, "", "x = 1\n", "x = 1\n")
        name = f"{service.foreign}_more"
        make_package({"__init__.py": library + "handler, known = print, {'first': 1}\n"}, name=name)
        del sys.modules[name]
        body = code.replace("LIBRARY", "LIBRARY_more").replace("NOW", "1.1")
        body += "def f(): return 1\nLIBRARY_more.handler = LIBRARY_more.known['first'] = f\n"
        with service.stage(body):
            more: Any = sys.modules[name]
            assert (seen(more), more.handler, more.known) == ({}, print, {"first": 1})
        commit(service.stage(body))
        assert (seen(more), more.handler) == ({"Mail": "1.1"}, service.code.f)
        del sys.modules[name]

    def test_what_the_application_has_frozen(self, make_package: Make) -> None:
        library, code, more, seen = REGISTRIES["a dict of a class"]
        service = Service(make_package, "", code.replace("NOW", "1.0"), library)
        gc.freeze()
        try:
            with service.stage((code + more).replace("NOW", "1.1")):
                assert seen(service.library) == {"Mail": "1.0"}
        finally:
            gc.unfreeze()
        assert seen(service.library) == {"Mail": "1.0"}

    def test_what_was_set_on_an_object_since_stays(self, make_package: Make) -> None:
        library, code, _, seen = REGISTRIES["an attribute of an object"]
        service = Service(make_package, "", code.replace("NOW", "1.0"), library)
        app: Any = service.library.app
        app.other = lambda: "run time"
        with service.stage(code.replace("NOW", "1.1")):
            assert seen(service.library) == {"handler": "1.0", "other": "run time"}
        commit(service.stage(code.replace("NOW", "1.1")))
        assert seen(service.library) == {"handler": "1.1", "other": "run time"}


class TestWrapping:
    """Functions that are put in the place of what they wrap."""

    LIBRARY = "class C:\n  def m(self): return 'first'\ndef f(): return 'first'\nknown = {'f': f}\n"

    @pytest.mark.parametrize(
        ("code", "asked"),
        [
            ("o = X.C.m\ndef m(self): return 'NOW ' + o(self)\nX.C.m = m\n", lambda x: x.C().m()),
            ("o = X.C.m\nX.C.m = lambda self: 'NOW ' + o(self)\n", lambda x: x.C().m()),
            ("o = X.f\ndef f(): return 'NOW ' + o()\nX.f = f\n", lambda x: x.f()),
            ("o = X.known['f']\ndef f(): return 'NOW ' + o()\nX.known['f'] = f\n", lambda x: x.known["f"]()),
        ],
    )
    @pytest.mark.parametrize("where", ["import LIBRARY as X\n", "from PACKAGE import live as X\n"])
    def test_new_version_wraps_what_the_old_one_has_wrapped(
        self, make_package: Make, where: str, code: str, asked: Callable[[Any], str]
    ) -> None:
        service = Service(make_package, self.LIBRARY, where + code.replace("NOW", "1.0"), self.LIBRARY)
        there = service.library if "LIBRARY" in where else service.live
        assert asked(there) == "1.0 first"
        for version in ("1.1", "1.2"):
            with service.stage(where + code.replace("NOW", version)):
                assert asked(there) != f"{version} first"
            rollout = service.stage(where + code.replace("NOW", version))
            commit(rollout)
            assert asked(there) == f"{version} first"
        rollout.rollback()
        assert asked(there) == "1.1 first"

    @pytest.mark.parametrize(
        "code",
        [
            "before = LIBRARY.C.m\ndef m(self): return 'new ' + before(self)\nLIBRARY.C.m = m\n",
            "def m(self, o=LIBRARY.C.m): return 'new ' + o(self)\nLIBRARY.C.m = m\n",
        ],
    )
    def test_what_stood_there_before_is_not_known(self, make_package: Make, code: str) -> None:
        old = "import LIBRARY\no = LIBRARY.C.m\ndef m(self): return 'old ' + o(self)\nLIBRARY.C.m = m\n"
        service = Service(make_package, "", old, self.LIBRARY)
        with pytest.raises(UnsupportedChangeError, match=r"import-effect.* wraps m of the running version"):
            service.stage("import LIBRARY\n" + code)
        assert service.library.C().m() == "old first"
