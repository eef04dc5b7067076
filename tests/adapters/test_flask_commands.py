"""Flask: the commands of applications and blueprints, called as `flask` would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from hotswap import LoadError
from tests.adapters.programs import Program

pytest.importorskip("flask", reason="Flask is not installed here")
pytestmark = pytest.mark.threads

from click import Group  # noqa: E402 - the library may be missing
from flask import Flask  # noqa: E402 - the library may be missing

CALLS = (["hello"], ["bye"], ["hello", "--n", "3"], ["hi"])
GROUPS = ("bp", "grp", "other", "users", "sub")


def tree(group: Any) -> Any:
    return {name: tree(c) if isinstance(c, Group) else c.help for name, c in sorted(group.commands.items())}


def look(app: Flask) -> Any:
    runner = app.test_cli_runner()
    calls = [*CALLS, *([name, *call] for name in GROUPS for call in CALLS), ["grp", "users", "hello"]]
    results = [(call, runner.invoke(args=call)) for call in calls]
    return tree(app.cli), [(call, result.output) for call, result in results if result.exit_code == 0]


@pytest.fixture
def program(start: Callable[..., Program]) -> Callable[[Mapping[str, str]], Program]:
    return lambda files: start(files, hold=lambda package: package.app.app, look=look)


Start = Callable[[Mapping[str, str]], Program]

HEAD = "import click\nfrom flask import Blueprint, Flask\nfrom flask.cli import AppGroup\n"
APP = f"{HEAD}app = Flask('x')\n"
HELLO = "@app.cli.command('hello')\ndef hello(): click.echo('hello 1')\n"
BYE = "@app.cli.command()\ndef bye():\n    'It says goodbye.'\n    click.echo('bye 1')\n"


class TestAppInTheChangedModule:
    FILES: ClassVar = {"__init__.py": "from . import app\n", "app.py": APP + HELLO}

    def test_a_changed_command(self, program: Start) -> None:
        service = program(self.FILES)
        group, command = service.held.cli, service.package.app.hello
        rollout = service.goes({"app.py": APP + HELLO.replace("1", "2") + "LIMIT = 3\n"})
        assert service.held.cli is group
        assert group.commands["hello"] is command
        assert not [change for change in rollout.plan.names if change.why.startswith("command")]
        service.goes({"app.py": APP + HELLO.replace("1", "3")})

    def test_its_options(self, program: Start) -> None:
        more = HELLO.replace("def hello()", "@click.option('--n', default=1)\ndef hello(n)").replace("'hello 1'", "n")
        program(self.FILES).goes({"app.py": APP + more})

    def test_one_more(self, program: Start) -> None:
        service = program(self.FILES)
        rollout = service.goes({"app.py": APP + HELLO + BYE})
        assert {(c.fate, c.why) for c in rollout.plan.names if "command" in c.why} == {("added", "command bye")}

    def test_one_less(self, program: Start) -> None:
        service = program({**self.FILES, "app.py": APP + HELLO + BYE})
        rollout = service.goes({"app.py": APP + HELLO})
        assert {(c.fate, c.why) for c in rollout.plan.names if "command" in c.why} == {("removed", "command bye")}

    @pytest.mark.parametrize(
        "hi",
        [HELLO.replace("'hello'", "'hi'"), HELLO.replace("def hello", "def hi")],
        ids=["the command", "the function"],
    )
    def test_another_name(self, program: Start, hi: str) -> None:
        program(self.FILES).goes({"app.py": APP + hi})

    def test_with_rules(self, program: Start) -> None:
        route = "@app.get('/a')\ndef a(): return 'a'\n"
        files = {**self.FILES, "app.py": APP + route + HELLO}
        program(files).goes({"app.py": APP + route.replace("/a", "/b") + HELLO.replace("1", "2") + BYE})

    def test_no_function_any_more(self, program: Start) -> None:
        program(self.FILES).goes({"app.py": APP})
        program({**self.FILES, "app.py": APP}).goes({"app.py": APP + HELLO})

    def test_of_a_loop(self, program: Start) -> None:
        loop = "for n in ('hello', 'bye'):\n    @app.cli.command(n)\n    def made(n=n): click.echo(n + ' 1')\n"
        service = program({**self.FILES, "app.py": APP + loop})
        service.goes({"app.py": APP + loop.replace("'bye'", "'hi'").replace("1", "2")})

    def test_of_a_factory(self, program: Start) -> None:
        body = "".join(f"    {line}\n" for line in ("app = Flask('x')\n" + HELLO).splitlines())
        factory = f"{HEAD}def create_app():\n{body}    return app\napp = create_app()\n"
        program({**self.FILES, "app.py": factory}).goes({"app.py": factory.replace("hello", "hi").replace("1", "2")})

    def test_at_run_time(self, program: Start) -> None:
        service = program(self.FILES)
        service.held.cli.add_command(Group("later"))
        rollout = service.stage({"app.py": APP + BYE})
        rollout.verify()
        rollout.commit()
        assert sorted(service.held.cli.commands) == ["bye", "later"]

    def test_a_patch_that_fails_leaves_nothing(self, program: Start) -> None:
        program(self.FILES).is_left_alone_by({"app.py": APP + BYE + "1 / 0\n"}, LoadError)


class TestAppInAnUnchangedModule:
    MORE = f"{HEAD}from .app import app\n"
    FILES: ClassVar = {"__init__.py": "from . import app, more\n", "app.py": APP, "more.py": MORE + HELLO}

    @pytest.mark.parametrize(
        "more",
        [
            HELLO.replace("1", "2"),
            HELLO + BYE,
            BYE,
            "",
            HELLO.replace("'hello'", "'hi'"),
            "for n in ('hello', 'hi'):\n    @app.cli.command(n)\n    def made(n=n): click.echo(n + ' 1')\n",
        ],
        ids=["changed", "one more", "another", "none", "renamed", "a loop"],
    )
    def test_commands(self, program: Start, more: str) -> None:
        program(self.FILES).goes({"more.py": self.MORE + more})

    def test_a_loop_that_changes(self, program: Start) -> None:
        loop = "for n in ('hello', 'bye'):\n    @app.cli.command(n)\n    def made(n=n): click.echo(n + ' 1')\n"
        service = program({**self.FILES, "more.py": self.MORE + loop})
        service.goes({"more.py": self.MORE + loop.replace("'bye'", "'hi'").replace("1", "2")})

    def test_a_module_removed(self, program: Start) -> None:
        program(self.FILES).goes({"__init__.py": "from . import app\n", "more.py": None})

    def test_a_patch_that_fails_leaves_nothing(self, program: Start) -> None:
        program(self.FILES).is_left_alone_by({"more.py": self.MORE + BYE + "1 / 0\n"}, LoadError)


class TestGroups:
    USERS = (
        "users = AppGroup('users')\n@users.command()\ndef hello(): click.echo('user 1')\napp.cli.add_command(users)\n"
    )
    INNER = "@app.cli.group()\ndef sub(): pass\n@sub.command()\ndef hello(): click.echo('sub 1')\n"
    FILES: ClassVar = {"__init__.py": "from . import app\n", "app.py": APP + USERS}

    def test_added_by_a_statement(self, program: Start) -> None:
        service = program(self.FILES)
        service.goes({"app.py": APP + self.USERS.replace("1", "2") + "LIMIT = 1\n"})
        service.goes({"app.py": APP + self.USERS.replace("def hello", "def hi")})
        service.goes({"app.py": APP + HELLO})

    def test_made_by_the_application(self, program: Start) -> None:
        service = program({**self.FILES, "app.py": APP + self.INNER})
        service.goes({"app.py": APP + self.INNER.replace("1", "2")})
        service.goes({"app.py": APP + self.INNER.replace("def hello", "def bye")})
        service.goes({"app.py": APP})

    def test_of_a_factory(self, program: Start) -> None:
        body = "".join(f"    {line}\n" for line in ("app = Flask('x')\n" + self.INNER).splitlines())
        factory = f"{HEAD}def create_app():\n{body}    return app\napp = create_app()\n"
        service = program({**self.FILES, "app.py": factory})
        group = service.held.cli.commands["sub"]
        service.goes({"app.py": factory.replace("def hello", "def hi").replace("1", "2")})
        assert service.held.cli.commands["sub"] is group


CHOICES = ("", ", cli_group=None", ", cli_group='grp'")
NAMES = ("its own", "none", "named")


class TestBlueprints:
    BP = f"{HEAD}bp = Blueprint('bp', __name__)\n{HELLO.replace('app', 'bp')}"
    APP = f"{HEAD}from .bp import bp\napp = Flask('x')\napp.register_blueprint(bp)\n"
    FILES: ClassVar = {"__init__.py": "from . import app\n", "bp.py": BP, "app.py": APP}

    @pytest.mark.parametrize("group", CHOICES, ids=NAMES)
    @pytest.mark.parametrize("app", [False, True], ids=["alone", "with the application"])
    def test_commands(self, program: Start, group: str, app: bool) -> None:
        bp = self.BP.replace("__name__", "__name__" + group)
        service = program({**self.FILES, "bp.py": bp})
        more = {"app.py": self.APP + "LIMIT = 1\n"} if app else {}
        inner = service.package.bp.bp.cli
        service.goes({"bp.py": bp.replace("1", "2"), **more})
        assert service.package.bp.bp.cli is inner
        service.goes({"bp.py": bp + BYE.replace("app", "bp"), **more})
        service.goes({"bp.py": bp.replace("'hello'", "'hi'"), **more})
        service.goes({"bp.py": bp.replace(HELLO.replace("app", "bp"), BYE.replace("app", "bp")), **more})
        service.goes({"bp.py": bp.replace(HELLO.replace("app", "bp"), ""), **more})
        service.goes({"bp.py": bp, **more})

    @pytest.mark.parametrize("before", CHOICES, ids=NAMES)
    @pytest.mark.parametrize("after", [*CHOICES[:2], ", cli_group='other'"], ids=NAMES)
    def test_another_group(self, program: Start, before: str, after: str) -> None:
        bp = self.BP.replace("__name__", "__name__" + before)
        service = program({**self.FILES, "bp.py": bp})
        service.goes({"bp.py": self.BP.replace("__name__", "__name__" + after)})

    @pytest.mark.parametrize("group", CHOICES[:2], ids=NAMES[:2])
    def test_registered_no_more(self, program: Start, group: str) -> None:
        service = program({**self.FILES, "bp.py": self.BP.replace("__name__", "__name__" + group)})
        service.goes({"app.py": f"{HEAD}from .bp import bp\napp = Flask('x')\n"})

    def test_registered_with_a_group(self, program: Start) -> None:
        app = self.APP.replace("(bp)", "(bp, cli_group='grp')")
        service = program({**self.FILES, "app.py": app})
        service.goes({"bp.py": self.BP.replace("1", "2")})
        service.goes({"app.py": app.replace("grp", "other")})
        service.goes({"app.py": self.APP, "bp.py": self.BP})

    def test_views_in_a_module_of_their_own(self, program: Start) -> None:
        files = {
            **self.FILES,
            "bp.py": f"{HEAD}bp = Blueprint('bp', __name__, cli_group='grp')\nfrom . import views\n",
            "views.py": f"{HEAD}from .bp import bp\n{HELLO.replace('app', 'bp')}",
        }
        service = program(files)
        service.goes({"views.py": files["views.py"].replace("1", "2") + BYE.replace("app", "bp")})
        service.goes({"views.py": files["views.py"].replace("'hello'", "'hi'")})

    def test_a_group_in_it(self, program: Start) -> None:
        more = "@bp.cli.group()\ndef users(): pass\n@users.command('hello')\ndef one(): click.echo('one 1')\n"
        bp = (self.BP + more).replace("__name__", "__name__, cli_group='grp'")
        service = program({**self.FILES, "bp.py": bp})
        service.goes({"bp.py": bp.replace("1", "2")})
        service.goes({"bp.py": bp.replace("'hello'", "'hi'")})

    @pytest.mark.parametrize("group", CHOICES, ids=NAMES)
    def test_a_patch_that_fails_leaves_nothing(self, program: Start, group: str) -> None:
        bp = self.BP.replace("__name__", "__name__" + group)
        service = program({**self.FILES, "bp.py": bp})
        before = service.seen()
        service.stage({"bp.py": bp.replace("'hello'", "'hi'") + BYE.replace("app", "bp")}).abort()
        assert service.seen() == before
