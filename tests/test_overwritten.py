"""Names and attributes of what a patch leaves alone that its modules set, and elements that they put into lists."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.test_swap_registries import Make, Service

CONF = """
LIMIT = 5
BOTH = 1
BOTH = 2
LIST = []
SET = set()
NAMES = []

class X:
    pass

class Guarded:
    __slots__ = ("level",)

x = X()
y = X()
guarded = Guarded()

def register(function):
    LIST.append(function)
    return function
"""


class App(Service):
    """A throw-away package: `conf` is left alone, `user` has imported from it, and `app` sets something in it."""

    def warnings(self, app: str) -> list[str]:
        """What the plan of a patch says stays, without the package's name, and why."""
        found = [text.removeprefix(f"{self.package}.") for text in self.apply(app=app).plan.warnings]
        return [text.partition(":")[0] + ":" + text.partition(":")[2].partition(":")[0] for text in found]


@pytest.fixture
def service(make_package: Make) -> Callable[..., Service]:
    return lambda app, **more: App(make_package, conf=CONF, app=app, **more)


GONE = "def f(): return 2\n"


class TestStatementsThatAreGone:
    @pytest.mark.parametrize(
        ("statement", "told"),
        [
            ("conf.x.flag = True", "conf:x.flag"),
            ("conf.X.kind = 'k'", "conf:X.kind"),
            ("conf.NEW = 5", "conf:NEW"),
            ("conf.BOTH = 50", "conf:BOTH"),
            ("conf.LIMIT = len('ab')", "conf:LIMIT"),
            ("conf.guarded.level = 3", "conf:guarded.level"),
            ("conf.register.limit = 3", "conf:register.limit"),
            ("conf.x.one, conf.y.other = 1, 2", "conf:x.one"),
            ("conf.x.flag: bool = True", "conf:x.flag"),
            ("setattr(conf.x, 'flag', True)", "conf:x.flag"),
            ("from .conf import x\nx.flag = True", "app:x.flag"),
        ],
    )
    def test_what_they_have_set_is_named(self, service: Callable[..., Service], statement: str, told: str) -> None:
        running = service(f"from . import conf\n{statement}\n")
        before = vars(running.conf.x).copy(), running.conf.LIMIT
        assert f"{told} stays as the old version has set it" in running.warnings(GONE)
        assert (vars(running.conf.x), running.conf.LIMIT) == before

    @pytest.mark.parametrize(
        "app",
        [
            "from . import conf\nconf.x.flag = False\n",
            "from . import conf as c\nc.x.flag = False\n",
            "from .conf import x\nx.flag = False\n",
            "from . import conf\ndef arrange(one): one.flag = False\narrange(conf.x)\n",
        ],
    )
    def test_what_the_new_version_sets_too_is_not(self, service: Callable[..., Service], app: str) -> None:
        running = service("from . import conf\nconf.x.flag = True\n")
        assert running.warnings(app) == []
        assert running.conf.x.flag is False
        running.patcher.rollback()
        assert running.conf.x.flag is True

    def test_another_object_is_told_apart(self, service: Callable[..., Service]) -> None:
        running = service("from . import conf\nconf.x.flag = True\nconf.y.flag = True\n")
        assert running.warnings("from . import conf\nconf.y.flag = True\n") == [
            "conf:x.flag stays as the old version has set it"
        ]

    def test_what_the_program_has_taken_away_is_not_named(self, service: Callable[..., Service]) -> None:
        running = service("from . import conf\nconf.x.flag = True\nconf.NEW = 1\n")
        del running.conf.x.flag, running.conf.NEW
        assert running.warnings(GONE) == []

    def test_attributes_of_what_is_their_own_are_not_named(self, service: Callable[..., Service]) -> None:
        running = service("from .conf import X\nclass Y: pass\nclass Z(X): pass\nY.a = 1\nZ.b = 1\n")
        assert not [text for text in running.warnings(GONE) if "has set it" in text]

    def test_constant_that_its_module_states_is_given_back(self, service: Callable[..., Service]) -> None:
        user = "from .conf import LIMIT\ndef limit(): return LIMIT\n"
        running = service("from . import conf\nconf.LIMIT = 50\n", user=user)
        rollout = running.apply(app=GONE)
        assert (running.conf.LIMIT, running.user.limit()) == (5, 5)
        assert rollout.plan.warnings == []
        assert f"changed   {running.package}.conf:LIMIT" in str(rollout.plan)
        running.patcher.rollback()
        assert (running.conf.LIMIT, running.user.limit()) == (50, 50)

    def test_constant_that_the_program_has_set_since_stays(self, service: Callable[..., Service]) -> None:
        running = service("from . import conf\nconf.LIMIT = 50\n")
        running.conf.LIMIT = 60
        assert running.warnings(GONE) == ["conf:LIMIT stays as the old version has set it"]
        assert running.conf.LIMIT == 60

    def test_constant_that_another_module_sets_too_stays(self, service: Callable[..., Service]) -> None:
        running = service("from . import conf\nconf.LIMIT = 50\n", other="from . import conf\nconf.LIMIT = 50\n")
        assert running.warnings(GONE) == ["conf:LIMIT stays as the old version has set it"]
        assert running.conf.LIMIT == 50


class TestImportedNames:
    @pytest.mark.parametrize("statement", ["from .conf import LIMIT", "from .conf import *"])
    def test_follow_what_a_patch_sets(self, service: Callable[..., Service], statement: str) -> None:
        user = f"{statement}\ndef limit(): return LIMIT\n"
        running = service("from . import conf\nconf.LIMIT = 50\n", user=user)
        running.apply(app="from . import conf\nconf.LIMIT = 70\n")
        assert (running.conf.LIMIT, running.user.limit()) == (70, 70)
        running.patcher.rollback()
        assert (running.conf.LIMIT, running.user.limit()) == (50, 50)

    def test_stay_where_the_program_has_bound_them(self, service: Callable[..., Service]) -> None:
        running = service("from . import conf\nconf.LIMIT = 50\n", user="from .conf import LIMIT\n")
        running.user.LIMIT = 1
        running.apply(app="from . import conf\nconf.LIMIT = 70\n")
        assert (running.conf.LIMIT, running.user.LIMIT) == (70, 1)


class TestElements:
    @pytest.mark.parametrize(
        ("statement", "told"),
        [
            ("conf.LIST.append('a')", "conf:LIST keeps what it has for 'a'"),
            ("conf.SET.add('a')", "conf:SET keeps what it has for 'a'"),
            ("conf.register(f)", "conf:LIST keeps what it has for f"),
            ("conf.LIST.append(f)", "conf:LIST keeps what it has for f"),
        ],
    )
    @pytest.mark.parametrize("also", ["", "conf.LIST.append('b')\n", "conf.LIST.append(g)\n"])
    def test_are_named(self, service: Callable[..., Service], statement: str, told: str, also: str) -> None:
        text = "from . import conf\ndef f(): return 1\ndef g(): return 1\n"
        running = service(f"{text}{statement}\n")
        assert told in running.warnings(f"{text.replace('return 1', 'return 2')}{also}")

    def test_that_another_statement_puts_in_are_not_named(self, service: Callable[..., Service]) -> None:
        text = "from . import conf\ndef f(): return 1\ndef g(): return 1\n"
        running = service(f"{text}conf.LIST.append(f)\nconf.LIST.append(g)\n")
        assert running.warnings(f"{text}for one in (f, g): conf.LIST.append(one)\n") == []
        assert [one.__name__ for one in running.conf.LIST] == ["f", "g"]
