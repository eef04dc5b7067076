"""Click: commands that change their name or kind, and commands with several names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from tests.adapters.programs import Program

pytest.importorskip("click", reason="Click is not installed here")
pytestmark = pytest.mark.threads

from click.testing import CliRunner  # noqa: E402 - the library may be missing

CALLS = (["--help"], ["ex"], ["new"], ["alias"], ["a"], ["b"])


def look(cli: Any) -> Any:
    runner = CliRunner()
    results = [(call, runner.invoke(cli, call, prog_name="cli")) for call in CALLS]
    return [(call, result.exit_code, result.output, repr(result.exception)) for call, result in results]


@pytest.fixture
def program(start: Callable[..., Program]) -> Callable[[Mapping[str, str]], Program]:
    return lambda files: start(files, hold=lambda package: package.root.cli, look=look)


Start = Callable[[Mapping[str, str]], Program]

ROOT = "import click\n@click.group()\ndef cli(): pass\n"
EXTRA = "import click\n@click.command('ex')\ndef ex(): click.echo('ex1')\n"
MAIN = "from .root import cli\nfrom . import extra\ncli.add_command(extra.ex)\n"
ALIAS = "cli.add_command(extra.ex, name='alias')\n"
FILES = {"__init__.py": "from . import root, main\n", "root.py": ROOT, "extra.py": EXTRA, "main.py": MAIN + ALIAS}


class TestAddedByAnUnchangedModule:
    def test_becomes_a_group(self, program: Start) -> None:
        program(FILES).goes({"extra.py": EXTRA.replace("command('ex')", "group('ex', invoke_without_command=True)")})

    def test_gets_a_class_of_its_own(self, program: Start) -> None:
        extra = EXTRA.replace("@", "class My(click.Command): pass\n@").replace("'ex')", "'ex', cls=My)")
        program(FILES).goes({"extra.py": extra})

    def test_renamed(self, program: Start) -> None:
        program(FILES).goes({"extra.py": EXTRA.replace("'ex'", "'new'")})

    def test_renamed_to_what_another_one_is_called(self, program: Start) -> None:
        extra = EXTRA + "@click.command('new')\ndef new(): click.echo('new1')\n"
        files = {**FILES, "extra.py": extra, "main.py": MAIN + ALIAS + "cli.add_command(extra.new)\n"}
        program(files).goes({"extra.py": extra.replace("'ex'", "'old'").replace("'new'", "'ex'")})

    def test_changed_in_its_body(self, program: Start) -> None:
        program(FILES).goes({"extra.py": EXTRA.replace("ex1", "ex2")})


class TestAddedByTheChangedModule:
    def test_alias_removed(self, program: Start) -> None:
        program(FILES).goes({"main.py": MAIN})

    def test_alias_in_place_of_the_name(self, program: Start) -> None:
        program(FILES).goes({"main.py": MAIN.replace("cli.add_command(extra.ex)\n", "") + ALIAS})

    def test_alias_renamed(self, program: Start) -> None:
        program(FILES).goes({"main.py": MAIN + ALIAS.replace("name='alias'", "'new'")})

    def test_alias_of_another_module_removed(self, program: Start) -> None:
        more = "from .root import cli\nfrom . import extra\n" + ALIAS
        files = {**FILES, "__init__.py": "from . import root, main, more\n", "main.py": MAIN, "more.py": more}
        program(files).goes({"more.py": ""})

    def test_in_a_loop(self, program: Start) -> None:
        main = (
            "from .root import cli\nfrom . import extra\nfor name in ('ex', 'alias'):\n    cli.add_command({}, name)\n"
        )
        files = {**FILES, "main.py": main.format("extra.ex")}
        program(files).goes({"main.py": files["main.py"].replace(", 'alias'", ",")})


class TestDecorated:
    CMDS = "import click\nfrom .root import cli\n@cli.command('a')\ndef a(): click.echo('a1')\n"
    FILES: ClassVar = {"__init__.py": "from . import root, cmds\n", "root.py": ROOT, "cmds.py": CMDS}
    ONE: ClassVar = {"__init__.py": "from . import root\n", "root.py": ROOT + CMDS.partition("cli\n")[2]}

    def test_renamed(self, program: Start) -> None:
        program(self.FILES).goes({"cmds.py": self.CMDS.replace("'a'", "'b'")})

    def test_renamed_beside_its_group(self, program: Start) -> None:
        program(self.ONE).goes({"root.py": self.ONE["root.py"].replace("'a'", "'b'")})

    def test_put_into_no_group_any_more(self, program: Start) -> None:
        program(self.FILES).goes({"cmds.py": self.CMDS.replace("@cli.", "@click.")})

    def test_by_way_of_a_module(self, program: Start) -> None:
        cmds = "import click\nfrom . import root\n@root.cli.command('a')\ndef a(): click.echo('a1')\n"
        program({**self.FILES, "cmds.py": cmds}).goes({"cmds.py": cmds.replace("'a'", "'b'")})


class TestNamesMadeOfConstants:
    FILES: ClassVar = {
        "__init__.py": "from . import root, extra\n",
        "constants.py": "NAME = 'a'\n",
        "extra.py": EXTRA,
    }

    @pytest.mark.parametrize(
        "statements",
        ["@cli.command(NAME)\ndef x(): click.echo('x')\n", "from . import extra\ncli.add_command(extra.ex, NAME)\n"],
    )
    def test_changed(self, program: Start, statements: str) -> None:
        root = f"from .constants import NAME\n{ROOT}{statements}X = NAME\n"
        program({**self.FILES, "root.py": root}).goes({"constants.py": "NAME = 'b'\n"})
