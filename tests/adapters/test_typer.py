"""Typer: commands of living applications, called as a console script would."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from hotswap import LoadError
from tests.adapters.programs import Program

pytest.importorskip("typer", reason="Typer is not installed here")
pytestmark = pytest.mark.threads

from typer.testing import CliRunner  # noqa: E402 - the library may be missing

CALLS = (["--help"], ["a"], ["a", "--n", "3"], ["b"], ["c"], ["sub", "a"], ["sub", "b"], ["more", "a"])


def look(app: Any) -> Any:
    runner = CliRunner()
    results = [(call, runner.invoke(app, call, prog_name="app")) for call in CALLS]
    return [(call, result.exit_code, result.output) for call, result in results]


@pytest.fixture
def program(start: Callable[..., Program]) -> Callable[[Mapping[str, str]], Program]:
    return lambda files: start(files, hold=lambda package: package.main.app, look=look)


Start = Callable[[Mapping[str, str]], Program]

HEAD = "import typer\n"
TWO = "@app.command()\ndef a(): print('a1')\n@app.command()\ndef b(): print('b1')\n"


class TestAppInTheChangedModule:
    V1 = f"{HEAD}app = typer.Typer()\n{TWO}"
    V2 = f"""{HEAD}app = typer.Typer()
@app.callback()
def main():
    "What it is for."
@app.command()
def c(): print("c2")
@app.command()
def a(n: int = 2):
    "It takes a number."
    print(n)
"""
    FILES: ClassVar = {"__init__.py": "from . import main\n", "main.py": V1}

    def test_commands(self, program: Start) -> None:
        service = program(self.FILES)
        rollout = service.goes({"main.py": self.V2})
        assert service.package.main.app is service.held
        told = {(change.fate, change.why) for change in rollout.plan.names if change.why.startswith("command")}
        assert told == {("added", "command c"), ("removed", "command b")}

    def test_a_constructor_that_changed(self, program: Start) -> None:
        program(self.FILES).goes({"main.py": self.V1.replace("Typer()", "Typer(help='Text.')")})

    def test_a_patch_that_fails_leaves_nothing(self, program: Start) -> None:
        program(self.FILES).is_left_alone_by({"main.py": self.V2 + "1 / 0\n"}, LoadError)


class TestAppInAnUnchangedModule:
    FILES: ClassVar = {
        "__init__.py": "from . import main, more\n",
        "main.py": f"{HEAD}app = typer.Typer()\n",
        "more.py": f"from .main import app\n{TWO}",
    }

    def test_commands(self, program: Start) -> None:
        more = (
            "from .main import app\n@app.command()\ndef c(): print('c2')\n@app.command()\ndef a(n: int = 1): print(n)\n"
        )
        program(self.FILES).goes({"more.py": more})

    def test_a_module_added_and_one_removed(self, program: Start) -> None:
        other = "from .main import app\n@app.command()\ndef c(): print('c2')\n@app.callback()\ndef all(): pass\n"
        program(self.FILES).goes({"__init__.py": "from . import main, other\n", "more.py": None, "other.py": other})

    def test_a_patch_that_fails_leaves_nothing(self, program: Start) -> None:
        more = self.FILES["more.py"] + "@app.command()\ndef c(): pass\n1 / 0\n"
        program(self.FILES).is_left_alone_by({"more.py": more}, LoadError)


class TestAppsInApps:
    FILES: ClassVar = {
        "__init__.py": "from . import main\n",
        "sub.py": f"{HEAD}app = typer.Typer()\n{TWO}",
        "main.py": f"{HEAD}from .sub import app as sub\napp = typer.Typer()\napp.add_typer(sub, name='sub')\n{TWO}",
    }

    def test_commands(self, program: Start) -> None:
        program(self.FILES).goes({"sub.py": self.FILES["sub.py"].replace("a1", "a2").replace("def b", "def c")})

    def test_added_no_more(self, program: Start) -> None:
        program(self.FILES).goes({"main.py": self.FILES["main.py"].replace("app.add_typer(sub, name='sub')\n", "")})

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("app.add_typer(sub.app, name='sub')", "app.add_typer(sub.app, name='more')"),
            ("app.add_typer(sub.app, name='sub')", "app.add_typer(sub.app)"),
            ("app.add_typer(sub.app, name='sub')", ""),
            (
                "app.add_typer(sub.app, name='sub')\napp.add_typer(sub.app, name='more')",
                "app.add_typer(sub.app, name='sub')",
            ),
        ],
    )
    def test_an_attribute_of_a_module(self, program: Start, before: str, after: str) -> None:
        main = f"{HEAD}from . import sub\napp = typer.Typer()\n{TWO}"
        program({**self.FILES, "main.py": f"{main}{before}\n"}).goes({"main.py": f"{main}{after}\n"})

    def test_one_that_an_unchanged_module_added_stays(self, program: Start) -> None:
        files = {
            **self.FILES,
            "__init__.py": "from . import main, more, other\n",
            "main.py": f"{HEAD}app = typer.Typer()\n{TWO}",
            "more.py": "from .main import app\nfrom . import sub\napp.add_typer(sub.app, name='more')\n",
            "other.py": "from .main import app\nfrom . import sub\napp.add_typer(sub.app, name='sub')\n",
        }
        program(files).goes({"other.py": ""})


class TestNamesMadeOfConstants:
    FILES: ClassVar = {
        "__init__.py": "from . import main\n",
        "constants.py": "NAME = 'sub'\n",
        "sub.py": f"{HEAD}app = typer.Typer()\n{TWO}",
    }

    def test_of_an_application(self, program: Start) -> None:
        main = (
            "from . import sub\nfrom .constants import NAME\napp = typer.Typer()\napp.add_typer(sub.app, name=NAME)\n"
        )
        program({**self.FILES, "main.py": f"{HEAD}{main}{TWO}"}).goes({"constants.py": "NAME = 'more'\n"})

    def test_of_a_command(self, program: Start) -> None:
        main = "from .constants import NAME\napp = typer.Typer()\n@app.command(NAME)\ndef x(): print('x')\n"
        program({**self.FILES, "main.py": f"{HEAD}{main}{TWO}"}).goes({"constants.py": "NAME = 'c'\n"})


class TestSetByAnotherModule:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("app.info.help = 'One.'", "app.info.help = 'Two.'"),
            ("app._add_completion = True", "app._add_completion = False"),
        ],
    )
    def test_changed(self, program: Start, before: str, after: str) -> None:
        files = {
            "__init__.py": "from . import main, more\n",
            "main.py": f"{HEAD}app = typer.Typer()\n{TWO}",
            "more.py": f"from .main import app\n{before}\n",
        }
        program(files).goes({"more.py": f"from .main import app\n{after}\n"})
