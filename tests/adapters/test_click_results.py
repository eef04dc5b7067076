"""Click: what module bodies set on groups and commands of other modules: result callbacks, parameters, settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from hotswap import LoadError
from tests.adapters.programs import Program

pytest.importorskip("click", reason="Click is not installed here")
pytestmark = pytest.mark.threads

from click.testing import CliRunner  # noqa: E402 - the library may be missing

CALLS: tuple[list[str], ...] = (["--help"], ["a"], ["--x", "1", "a"], ["--y", "1", "a"], ["a", "--help"], [])


def look(cli: Any) -> Any:
    runner = CliRunner()
    results = [(call, runner.invoke(cli, call, prog_name="cli")) for call in CALLS]
    return [(call, result.exit_code, result.output, repr(result.exception)) for call, result in results]


@pytest.fixture
def program(start: Callable[..., Program]) -> Callable[[Mapping[str, str]], Program]:
    return lambda files: start(files, hold=lambda package: package.root.cli, look=look)


Start = Callable[[Mapping[str, str]], Program]

ROOT = "import click\n@click.group()\ndef cli(**given): pass\n@cli.command()\ndef a(): click.echo('a1')\n"
DONE = "@cli.result_callback()\ndef {0}(result, **given): click.echo('{1}')\n"
HEAD = "import click\nfrom .root import cli, a\n"


class TestResultCallback:
    CMDS: ClassVar = HEAD + DONE.format("done", "done1")
    FILES: ClassVar = {"__init__.py": "from . import root, cmds\n", "root.py": ROOT, "cmds.py": CMDS}
    TWO: ClassVar = {
        **FILES,
        "__init__.py": "from . import root, cmds, more\n",
        "more.py": HEAD + DONE.format("also", "also1"),
    }

    def test_changed(self, program: Start) -> None:
        program(self.FILES).goes({"cmds.py": self.CMDS.replace("done1", "done2")})

    def test_something_beside_it_changed(self, program: Start) -> None:
        program(self.FILES).goes({"cmds.py": self.CMDS + "X = 1\n"})

    def test_renamed(self, program: Start) -> None:
        program(self.FILES).goes({"cmds.py": HEAD + DONE.format("after", "done2")})

    def test_removed(self, program: Start) -> None:
        program(self.FILES).goes({"cmds.py": ""})

    def test_registered_no_more(self, program: Start) -> None:
        program(self.FILES).goes({"cmds.py": self.CMDS.replace("@cli.result_callback()\n", "")})

    def test_added(self, program: Start) -> None:
        program({**self.FILES, "cmds.py": HEAD}).goes({"cmds.py": self.CMDS})

    def test_its_group_changed(self, program: Start) -> None:
        program(self.FILES).goes({"root.py": ROOT.replace("@click.group()", "@click.group(help='Text.')")})

    def test_in_the_module_of_its_group(self, program: Start) -> None:
        files = {"__init__.py": "from . import root\n", "root.py": ROOT + DONE.format("done", "done1")}
        program(files).goes({"root.py": files["root.py"].replace("done1", "done2")})

    def test_the_first_of_two_modules_changed(self, program: Start) -> None:
        program(self.TWO).goes({"cmds.py": self.CMDS.replace("done1", "done2")})

    def test_the_second_of_two_modules_changed(self, program: Start) -> None:
        program(self.TWO).goes({"more.py": self.TWO["more.py"].replace("also1", "also2") + DONE.format("b", "b2")})

    def test_both_modules_changed(self, program: Start) -> None:
        changes = {"more.py": self.TWO["more.py"].replace("also1", "also2"), "cmds.py": HEAD}
        program(self.TWO).goes(changes)

    def test_one_that_replaces_the_others(self, program: Start) -> None:
        program(self.TWO).goes({"more.py": self.TWO["more.py"].replace("callback()", "callback(replace=True)")})

    def test_a_patch_that_fails_leaves_nothing(self, program: Start) -> None:
        service = program(self.FILES)
        service.is_left_alone_by({"cmds.py": self.CMDS.replace("done1", "done2") + "1 / 0\n"}, LoadError)


class TestSetByAnotherModule:
    FILES: ClassVar = {"__init__.py": "from . import root, cmds\n", "root.py": ROOT}

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("click.option('--x')(cli)", "click.option('--x', help='It helps.')(cli)"),
            ("cli.params.append(click.Option(['--x']))", "cli.params.append(click.Option(['--y']))"),
            ("cli.help = 'One.'", "cli.help = 'Two.'"),
            ("a.callback = lambda: click.echo('one')", "a.callback = lambda: click.echo('two')"),
            ("a.params.append(click.Option(['--n']))", "a.params.append(click.Option(['--m']))"),
            ("cli.context_settings['max_content_width'] = 50", "cli.context_settings['max_content_width'] = 60"),
            ("cli.context_settings = {'obj': 1}", "cli.context_settings = {'help_option_names': ['-h', '--help']}"),
            ("cli.invoke_without_command = False", "cli.invoke_without_command = True"),
        ],
    )
    def test_changed(self, program: Start, before: str, after: str) -> None:
        service = program({**self.FILES, "cmds.py": f"{HEAD}{before}\n"})
        service.is_left_alone_by({"cmds.py": f"{HEAD}{after}\n1 / 0\n"}, LoadError)
        service.files["cmds.py"] = f"{HEAD}{before}\n"
        service.goes({"cmds.py": f"{HEAD}{after}\n"})
