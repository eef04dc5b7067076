"""Click: commands of living groups, called as a console script would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from hotswap import LoadError
from tests.adapters.programs import Program

pytest.importorskip("click", reason="Click is not installed here")
pytestmark = pytest.mark.threads

from click.testing import CliRunner  # noqa: E402 - the library may be missing

CALLS = (["--help"], ["a"], ["a", "--n", "3"], ["b"], ["c"], ["sub"], ["sub", "a"], ["sub", "b"], ["more", "a"])


def look(cli: Any) -> Any:
    runner = CliRunner()
    results = [(call, runner.invoke(cli, call, prog_name="cli")) for call in CALLS]
    return sorted(cli.commands), [(call, result.exit_code, result.output) for call, result in results]


@pytest.fixture
def program(start: Callable[..., Program]) -> Callable[[Mapping[str, str]], Program]:
    return lambda files: start(files, hold=lambda package: package.main.cli, look=look)


Start = Callable[[Mapping[str, str]], Program]

HEAD = "import click\n"
MAIN = f"{HEAD}@click.group()\ndef cli(): pass\n"


class TestGroupInTheChangedModule:
    V1 = MAIN + "@cli.command()\ndef a(): click.echo('a1')\n@cli.command()\ndef b(): click.echo('b1')\n"
    V2 = f"""{HEAD}
@click.group()
def cli():
    "Another text."
@cli.command()
@click.option("--n", default=2)
def a(n):
    "It takes a number."
    click.echo(n)
@cli.command()
def c(): click.echo("c2")
"""
    FILES: ClassVar = {"__init__.py": "from . import main\n", "main.py": V1}

    def test_whoever_imported_the_group_is_not_said_to_keep_an_old_one(self, program: Start) -> None:
        service = program(
            {**self.FILES, "other.py": "from .main import cli\n", "__init__.py": "from . import main, other\n"}
        )
        rollout = service.goes({"main.py": self.V2})
        assert [change for change in rollout.plan.names if "command b" in change.why]
        assert [warning for warning in rollout.plan.warnings if "imported cli" in warning] == []

    def test_commands(self, program: Start) -> None:
        service = program(self.FILES)
        command = service.package.main.a
        service.goes({"main.py": self.V2})
        assert service.package.main.cli is service.held
        assert service.package.main.a is command

    def test_a_patch_that_fails_leaves_nothing(self, program: Start) -> None:
        program(self.FILES).is_left_alone_by({"main.py": self.V2 + "1 / 0\n"}, LoadError)


class TestGroupInAnUnchangedModule:
    MORE = f"{HEAD}from .main import cli\n@cli.command()\ndef a(): click.echo('a1')\n"
    FILES: ClassVar = {"__init__.py": "from . import main, more\n", "main.py": MAIN, "more.py": MORE}

    def test_commands(self, program: Start) -> None:
        service = program(self.FILES)
        more = self.MORE.replace("def a():", "@click.option('--n', default=1)\ndef a(n):")
        rollout = service.goes({"more.py": more + "@cli.command()\ndef b(): click.echo('b2')\n"})
        assert [change.fate for change in rollout.plan.names if change.why == "command b"] == ["added"]

    def test_all_removed(self, program: Start) -> None:
        program(self.FILES).goes({"more.py": ""})

    def test_a_module_removed(self, program: Start) -> None:
        program(self.FILES).goes({"__init__.py": "from . import main\n", "more.py": None})

    def test_a_patch_that_fails_leaves_nothing(self, program: Start) -> None:
        more = self.MORE + "@cli.command()\ndef b(): pass\n1 / 0\n"
        program(self.FILES).is_left_alone_by({"more.py": more}, LoadError)


class TestGroupsInGroups:
    SUB = f"{HEAD}@click.group()\ndef sub(): pass\n@sub.command()\ndef a(): click.echo('a1')\n"
    FILES: ClassVar = {
        "__init__.py": "from . import main\n",
        "sub.py": SUB,
        "main.py": MAIN + "from .sub import sub\ncli.add_command(sub)\n",
    }

    def test_commands(self, program: Start) -> None:
        program(self.FILES).goes(
            {"sub.py": self.SUB.replace("a1", "a2") + "@sub.command()\ndef b(): click.echo('b2')\n"}
        )

    def test_a_group_that_changed(self, program: Start) -> None:
        program(self.FILES).goes({"sub.py": self.SUB.replace("def sub(): pass", "def sub():\n    'Text.'")})

    def test_added_no_more(self, program: Start) -> None:
        program(self.FILES).goes({"main.py": MAIN + "from .sub import sub\n"})

    def test_added_under_another_name(self, program: Start) -> None:
        program(self.FILES).goes({"main.py": self.FILES["main.py"].replace("(sub)", "(sub, 'more')")})

    def test_put_into_the_table_under_another_name(self, program: Start) -> None:
        body = f"{MAIN}from .sub import sub\ncli.commands['sub'] = sub\n"
        program({**self.FILES, "main.py": body}).goes({"main.py": body.replace("['sub']", "['more']")})

    def test_put_into_the_table_of_another_module_under_another_name(self, program: Start) -> None:
        more = "from .main import cli\nfrom .sub import sub\ncli.commands['sub'] = sub\n"
        files = {**self.FILES, "__init__.py": "from . import main, more\n", "main.py": MAIN, "more.py": more}
        program(files).goes({"more.py": more.replace("['sub']", "['more']")})

    def test_parameter_of_another_module_added_no_more(self, program: Start) -> None:
        more = f"{HEAD}from .main import cli\n"
        main = f"{HEAD}@click.group()\ndef cli(**given): pass\n"
        body = f"{more}cli.params.append(click.Option(['--x']))\n"
        files = {"__init__.py": "from . import main, more\n", "main.py": main, "more.py": body}
        program(files).goes({"more.py": more})
