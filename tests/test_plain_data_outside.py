"""Plain data that an import writes into objects of packages that nobody manages, or whose classes come from there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.test_registrations import Service, commit

Make = Callable[..., ModuleType]

LIBRARY = """
    import dataclasses

    TABLE, ROLES, LIMITS = {}, {}, [1]

    class Conf:
        def __init__(self):
            self.opts, self.names, self.nested = {"a": 1}, ["x"], {"k": {"z": [1]}}
            self.level, self._kept = 1, None

        def set(self, key, value):
            self.opts[key] = value

        @property
        def kept(self):
            return self._kept

        @kept.setter
        def kept(self, value):
            self._kept = value
            if self.level is not None:
                conf.names.append(value)

    class State:
        def __init__(self):
            super().__setattr__("_state", {"x": 1})

        def __setattr__(self, name, value):
            self._state[name] = value

        def __getattr__(self, name):
            return self._state[name]

    class App:
        def __init__(self):
            self.state, self.router, self._key = State(), Conf(), None

        @property
        def key(self):
            return self._key

        @key.setter
        def key(self, value):
            self._key = value
            self.router.level = value

    class Slotted:
        __slots__ = ("first", "last", "unset")

        def __init__(self):
            self.first, self.last = 1, {}

    @dataclasses.dataclass
    class Data:
        items: list = dataclasses.field(default_factory=list)

    conf, slotted, data = Conf(), Slotted(), Data()

    def grant(name, role):
        TABLE.setdefault(name, set()).add(role)

    def configure(**options):
        conf.opts.update(options)
"""

LIVE = "from LIBRARY import App\napp = App()\n"
IMPORT = "import LIBRARY\nfrom LIBRARY import *\nfrom PACKAGE.live import app\nX = 1\n"


def facts(service: Service) -> str:
    library, app = service.library, service.live.app
    named = [library.TABLE, library.ROLES, library.LIMITS, library.data.items]
    slots = [library.slotted.first, library.slotted.last, getattr(library.slotted, "unset", "nothing")]
    own = {name: value for name, value in vars(app).items() if name not in ("state", "router")}
    return repr([named, slots, vars(library.conf), vars(app.router), own, app.state._state])


def check(make_package: Make, old: str, new: str) -> None:
    service, fresh = (Service(make_package, LIVE, code, LIBRARY) for code in (old, new))
    before, wanted = facts(service), facts(fresh)
    assert before != wanted
    rollout = service.stage(new)
    assert facts(service) == before
    rollout.abort()
    assert facts(service) == before
    rollout = service.stage(new)
    assert rollout.plan.effects
    commit(rollout)
    assert facts(service) == wanted
    service.patcher.rollback()
    assert facts(service) == before


NEW = {
    "a function that is imported by name": "grant('w', 'g')\n",
    "a method of an object that is imported by name": "conf.set('b', 2)\n",
    "a function of the class": "LIBRARY.Conf.set(conf, 'b', 2)\n",
    "a function with keywords": "configure(b=3)\n",
    "an object that keeps its attributes in a dict": "app.state.limit = 99\n",
    "an attribute of what an attribute is": "app.router.level = 5\n",
    "a property": "app.router.kept = 'q'\n",
    "a property that also sets an attribute of another object": "app.key = 9\n",
    "a property by setattr": "setattr(conf, 'kept', 'q')\n",
    "what stands in the place of an element": "conf.names[0] = 'q'\n",
    "what stands in the place of all elements": "conf.names[:] = ['n', 'm']\n",
    "an element at the front": "LIMITS.insert(0, 7)\n",
    "an element that a statement of the old version says elsewhere": "data.items.append(1)\n",
    "an element that is there already": "LIMITS.insert(0, 2)\nLIMITS.append(3)\n",
    "a slot": "slotted.first = 9\n",
    "a slot that was empty": "LIBRARY.slotted.unset = 3\n",
    "an attribute and a slot": "conf.level = 8\nslotted.first = 8\n",
    "a dict in the place of another": "conf.nested['k'] = {'z': [9]}\n",
}

CHANGED = {
    "a property": ("app.key = 1\n", "app.key = 2\n"),
    "a list": ("app.hosts = ['a']\n", "app.hosts = ['b']\n"),
    "a dict in a registry": ("TABLE['f'] = {'x': [1]}\n", "TABLE['f'] = {'x': [2]}\n"),
    "a dict in an attribute": ("app.flags = {'a': 1}\n", "app.flags = {'b': 1}\n"),
    "an attribute beside others": ("app.hosts = ['a']\napp.other = 1\n", "app.hosts = ['b', 'c']\napp.other = 2\n"),
    "an element among others": ("LIMITS.append(4)\n", "LIMITS.append(4)\nLIMITS.insert(0, 5)\n"),
}


@pytest.mark.parametrize("statement", NEW.values(), ids=list(NEW))
def test_a_new_statement_is_live_with_the_commit(make_package: Make, statement: str) -> None:
    check(make_package, IMPORT, IMPORT + statement)


@pytest.mark.parametrize(("old", "new"), CHANGED.values(), ids=list(CHANGED))
def test_a_changed_statement_is_live_with_the_commit(make_package: Make, old: str, new: str) -> None:
    check(make_package, IMPORT + old, IMPORT + new)


def test_a_slot_of_an_object_of_a_managed_module(make_package: Make) -> None:
    live = """
        class Limits:
            __slots__ = "low", "high"

            def __init__(self):
                self.low = 1

        limits = Limits()
    """
    code = "from PACKAGE.live import limits\n"
    service = Service(make_package, live, code)
    limits = service.live.limits
    rollout = service.stage(f"{code}limits.low = 2 * 3\n")
    assert limits.low == 1
    commit(rollout)
    assert limits.low == 6
    service.patcher.rollback()
    assert limits.low == 1


class TestWhatTheProgramHasChanged:
    def test_in_a_list_stays(self, make_package: Make) -> None:
        service = Service(make_package, LIVE, f"{IMPORT}app.hosts = ['a', 'b']\n", LIBRARY)
        service.live.app.hosts.remove("b")
        commit(service.stage(f"{IMPORT}app.hosts = ['a', 'b', 'c']\n"))
        assert service.live.app.hosts == ["a", "c"]

    def test_in_a_list_stays_in_its_place(self, make_package: Make) -> None:
        service = Service(make_package, LIVE, IMPORT, LIBRARY)
        rollout = service.stage(f"{IMPORT}conf.names[0] = 'q'\n")
        service.library.conf.names.append("by hand")
        commit(rollout)
        assert service.library.conf.names == ["x", "by hand", "q"]

    def test_an_attribute_lives_on_without_its_statement(self, make_package: Make) -> None:
        live = "class App:\n    def __init__(self):\n        self.name, self.flag = '', None\napp = App()\n"
        code = "from PACKAGE.live import app\n"
        service = Service(make_package, live, f"{code}app.flag = 1\napp.name = 'a'\n")
        commit(service.stage(f"{code}app.name = 'b'\n"))
        assert vars(service.live.app) == {"name": "b", "flag": 1}


def test_a_registry_that_only_the_library_names(make_package: Make) -> None:
    base = "from LIBRARY import TABLE, grant\n"
    check(make_package, base, f"{base}grant('w', 'g')\n")


def test_attributes_of_which_somebody_asks_for_the_dict_meanwhile(make_package: Make) -> None:
    check(make_package, IMPORT, f"{IMPORT}app.router.level = 5\nvars(app.router)\n")


OTHERS: dict[str, Callable[[Any, Any], object]] = {
    "an item of a registry": lambda library, _: library.TABLE.update(w={"h"}),
    "an item with the same value": lambda library, _: library.ROLES.update(v="g"),
    "an element": lambda library, _: library.LIMITS.append(7),
    "an option": lambda library, _: library.conf.set("b", 3),
    "an attribute": lambda _, app: setattr(app.router, "level", 6),
    "a slot": lambda library, _: setattr(library.slotted, "first", 5),
    "an empty slot": lambda library, _: setattr(library.slotted, "unset", 5),
    "a property": lambda _, app: setattr(app, "key", "else"),
}


@pytest.mark.threads
@pytest.mark.parametrize("write", OTHERS.values(), ids=list(OTHERS))
def test_what_another_thread_writes_meanwhile_stays(make_package: Make, write: Callable[[Any, Any], object]) -> None:
    service = Service(make_package, LIVE, IMPORT, LIBRARY)
    begun, written = threading.Event(), threading.Event()
    vars(service.library).update(begun=begun, written=written)

    def work() -> None:
        begun.wait(10)
        write(service.library, service.live.app)
        written.set()

    writer = threading.Thread(target=work)
    writer.start()
    waits = "LIBRARY.begun.set()\nassert LIBRARY.written.wait(10)\n"
    before = facts(service)
    rollout = service.stage(f"{IMPORT}{waits}conf.set('z', 1)\nslotted.last['y'] = 4\ndata.items.append('x')\n")
    writer.join()
    rollout.abort()
    after = facts(service)
    other = Service(make_package, LIVE, IMPORT, LIBRARY)
    assert facts(other) == before
    write(other.library, other.live.app)
    assert after == facts(other)
