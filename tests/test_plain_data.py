"""Plain data that an import writes into objects of modules which the patch leaves alone: nothing until the commit."""

from __future__ import annotations

import builtins
import copy
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

from hotswap import LoadError, Rollout
from tests.test_registrations import Service, commit

Make = Callable[..., ModuleType]

LIVE = """
    ROLES = {}
    TAGS = []
    NAMES = set()
    LIMIT = 1
    COUNTS = {"loads": 0}

    class Settings:
        debug = False

        def __init__(self):
            self.name = "unnamed"

        def configure(self, **options):
            for name, value in options.items():
                setattr(self, name, value)

    settings = Settings()

    class Base:
        limit = 1
        kinds = {}

        def __init_subclass__(cls, kind=None):
            cls.kinds[kind] = "known"

    class Registry:
        def __init__(self):
            self.entries = {}

        def add(self, key, value):
            self.entries[key] = value

    registry = Registry()

    def _made():
        items = {}

        def put(key, value):
            items[key] = value

        put.items = lambda: dict(items)
        return put

    put = _made()

    def grant(name, role):
        ROLES[name] = role

    def describe(name, **options):
        ROLES[name] = dict(options)

    def limit(value):
        global LIMIT
        LIMIT = value

    def needs(role):
        def mark(function):
            ROLES[function.__name__] = role
            return function
        return mark
"""

IMPORT = "import PACKAGE.live as live\nfrom PACKAGE.live import *\n"


def facts(service: Service) -> dict[str, Any]:
    """What stands in the objects of the module that no patch changes."""
    live = service.live
    return copy.deepcopy(
        {
            "roles": live.ROLES,
            "tags": live.TAGS,
            "names": live.NAMES,
            "limit": live.LIMIT,
            "counts": live.COUNTS,
            "settings": vars(live.settings),
            "base": live.Base.limit,
            "kinds": live.Base.kinds,
            "entries": live.registry.entries,
            "closure": live.put.items(),
        }
    )


def served(make_package: Make, code: str) -> Service:
    return Service(make_package, LIVE, IMPORT + code)


def staged(service: Service, code: str) -> Rollout:
    return service.stage(IMPORT + code)


CASES = {
    "what a decorator notes": ("@needs('admin')\ndef wipe(): ...\n", "@needs('guest')\ndef wipe(): ...\n"),
    "a call": ("grant('wipe', 'admin')\n", "grant('wipe', 'guest')\n"),
    "one call more": ("", "grant('wipe', 'guest')\n"),
    "one call less": ("grant('wipe', 'admin')\n", ""),
    "one of two calls less": ("grant('wipe', 'admin')\ngrant('b', 'c')\n", "grant('b', 'd')\n"),
    "a loop": ("for n in ('a', 'b'): grant(n, 'x')\n", "NAMED = 'a', 'b', 'c'\nfor n in NAMED: grant(n, 'y')\n"),
    "a function of its own": ("", "def set_up():\n    live.ROLES['q'] = 'r'\nset_up()\n"),
    "a class of its own": ("", "class A:\n    def __init__(self, n):\n        grant(n, 'r')\nA('q')\n"),
    "a value that is computed": ("", "grant('wipe', 'r' * 3)\n"),
    "a dict in a dict": ("describe('a', x=1)\n", "describe('a', x=2, y=3)\n"),
    "an element of a list": ("live.TAGS.append('m')\n", "live.TAGS.append('m')\nlive.TAGS.append('n')\n"),
    "an element of a set": ("live.NAMES.add('m')\n", "live.NAMES.add('m')\nlive.NAMES.add('n')\n"),
    "a name": ("live.LIMIT = 5\n", "live.LIMIT = 6\n"),
    "a name that a function binds": ("limit(5)\n", "limit(6)\n"),
    "an attribute of an object": ("settings.name = 'a'\n", "settings.name = 'b'\n"),
    "an attribute that is new": ("", "live.settings.debug = True\n"),
    "attributes by a method": ("settings.configure(name='a')\n", "settings.configure(name='b', debug=True)\n"),
    "an attribute of a class": ("Base.limit = 3\n", "Base.limit = 4\n"),
    "what a base class notes": ("", "class B(Base, kind='b'): ...\n"),
    "what a method keeps": ("registry.add('a', 1)\n", "registry.add('a', 2)\nregistry.add('b', 3)\n"),
    "what a closure keeps": ("put('a', 1)\n", "put('a', 2)\nput('b', 3)\n"),
}


UNTOLD = pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="one is new, one is another: the order of CPython 3.14 does not tell which"
)


@pytest.mark.parametrize(
    ("old", "new"),
    [pytest.param(*case, marks=[UNTOLD] if name == "attributes by a method" else ()) for name, case in CASES.items()],
    ids=list(CASES),
)
class TestOfUnchangedModules:
    def test_is_live_with_the_commit_and_gone_with_a_rollback(self, make_package: Make, old: str, new: str) -> None:
        service, fresh = served(make_package, old), served(make_package, new)
        before = facts(service)
        rollout = staged(service, new)
        assert facts(service) == before
        commit(rollout)
        assert facts(service) == facts(fresh) != before
        service.patcher.rollback()
        assert facts(service) == before

    def test_is_not_touched_by_what_is_rejected(self, make_package: Make, old: str, new: str) -> None:
        service = served(make_package, old)
        before = facts(service)
        staged(service, new).abort()
        with pytest.raises(LoadError):
            staged(service, new + "1 / 0\n")
        assert facts(service) == before


class TestChangesOfTheProgram:
    def test_stay_where_the_statement_is_the_same(self, make_package: Make) -> None:
        service = served(make_package, "grant('wipe', 'admin')\nlive.COUNTS['loads'] += 1\n")
        service.live.ROLES["wipe"] = "root"
        service.live.COUNTS["loads"] = 7
        commit(staged(service, "grant('wipe', 'admin')\nlive.COUNTS['loads'] += 1\nMORE = 1\n"))
        assert service.live.ROLES == {"wipe": "root"}
        assert service.live.COUNTS == {"loads": 7}

    def test_stay_where_the_statement_is_another_and_are_named(self, make_package: Make) -> None:
        service = served(make_package, "grant('wipe', 'admin')\n")
        service.live.ROLES["wipe"] = "root"
        rollout = staged(service, "grant('wipe', 'guest')\n")
        (warning,) = rollout.plan.warnings
        assert "live:ROLES keeps what it has for 'wipe'" in warning
        commit(rollout)
        assert service.live.ROLES == {"wipe": "root"}

    def test_stay_in_a_dict_that_a_statement_makes(self, make_package: Make) -> None:
        service = served(make_package, "describe('a', x=1)\n")
        service.live.ROLES["a"]["x"] = 7
        commit(staged(service, "describe('a', x=1, y=3)\n"))
        assert service.live.ROLES == {"a": {"x": 7, "y": 3}}

    def test_what_was_taken_out_stays_out(self, make_package: Make) -> None:
        service = served(make_package, "grant('wipe', 'admin')\nlive.TAGS.append('m')\n")
        service.live.ROLES.clear()
        service.live.TAGS.clear()
        commit(staged(service, "grant('wipe', 'admin')\nlive.TAGS.append('m')\nMORE = 1\n"))
        assert (service.live.ROLES, service.live.TAGS) == ({}, [])

    def test_since_the_commit_outlast_a_rollback(self, make_package: Make) -> None:
        service = served(make_package, "grant('wipe', 'admin')\n")
        commit(staged(service, "grant('wipe', 'guest')\ngrant('more', 'guest')\n"))
        service.live.ROLES["wipe"] = "root"
        service.patcher.rollback()
        assert service.live.ROLES == {"wipe": "root"}

    @pytest.mark.threads
    def test_by_another_thread_while_it_is_staged_stay(self, make_package: Make) -> None:
        """The candidate speaks of none of the keys where its import runs, but in a method that does not run."""
        service = served(make_package, "")
        service.live.written = threading.Event()
        service.live.begun = threading.Event()

        def write() -> None:
            service.live.begun.wait(10)
            service.live.COUNTS["loads"] += 1
            service.live.ROLES["operator"] = "root"
            service.live.TAGS.append("by hand")
            service.live.settings.name = "renamed"
            service.live.written.set()

        writer = threading.Thread(target=write)
        writer.start()
        code = "class A:\n    def count(self):\n        live.COUNTS['loads'] += 1\nA()\n"
        rollout = staged(service, f"{code}live.begun.set()\nassert live.written.wait(10)\ngrant('wipe', 'guest')\n")
        writer.join()
        rollout.abort()
        assert service.live.COUNTS == {"loads": 1}
        assert service.live.ROLES == {"operator": "root"}
        assert service.live.TAGS == ["by hand"]
        assert service.live.settings.name == "renamed"


class TestPlan:
    def test_names_what_is_registered(self, make_package: Make) -> None:
        service = served(make_package, "grant('b', 'c')\n")
        rollout = staged(service, "grant('wipe', 'guest')\n")
        assert [effect.what.replace(service.name, "service") for effect in rollout.plan.effects] == [
            "registers 'wipe' in service.live:ROLES"
        ]
        rollout.abort()


class TestOfLibraries:
    @pytest.fixture(autouse=True)
    def _level(self) -> Iterator[None]:
        yield
        names: dict[int, str] = logging._levelToName
        numbers: dict[str, int] = logging._nameToLevel
        names.pop(25, None)
        numbers.pop("NOTE", None)
        builtins.__dict__.pop("MADE_BY_A_TEST", None)

    def test_a_level_of_logging(self, make_package: Make) -> None:
        service = Service(make_package, "", "")
        rollout = service.stage("import logging\nlogging.addLevelName(25, 'NOTE')\n")
        assert logging.getLevelName(25) == "Level 25"
        commit(rollout)
        assert (logging.getLevelName(25), logging.getLevelName("NOTE")) == ("NOTE", 25)
        service.patcher.rollback()
        assert (logging.getLevelName(25), logging.getLevelName("NOTE")) == ("Level 25", "Level NOTE")

    def test_a_builtin(self, make_package: Make) -> None:
        service = Service(make_package, "", "")
        rollout = service.stage("import builtins\nbuiltins.MADE_BY_A_TEST = 1\n")
        assert not hasattr(builtins, "MADE_BY_A_TEST")
        commit(rollout)
        assert builtins.MADE_BY_A_TEST == 1  # type: ignore[attr-defined]
        service.patcher.rollback()
        assert not hasattr(builtins, "MADE_BY_A_TEST")


class TestAttributes:
    def test_of_objects_and_functions_are_not_dropped_as_entries_are(self, make_package: Make) -> None:
        """A name in the old source is the value of an attribute, too: that of what was registered under it."""
        live = """
            class Command:
                def __init__(self, name):
                    self.name = name

            COMMANDS = {}

            def command(name):
                COMMANDS[name] = Command(name)
                command.name = name
        """
        code = "from PACKAGE.live import command\n"
        service = Service(make_package, live, f"{code}command(name='x')\n")
        held = service.live.COMMANDS["x"]
        assert vars(held) == {"name": "x"}  # from now on its attributes are a dict
        commit(service.stage(code))
        assert vars(held) == {"name": "x"}
        assert vars(service.live.command) == {"name": "x"}
