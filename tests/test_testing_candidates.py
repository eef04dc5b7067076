"""Candidates without a patcher: they are what checks are given, and each check that is shipped runs on them."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hotswap import Patch, Patcher, checks
from hotswap.testing import candidate, run_check

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]

SOURCE = "LIMIT = 3\ndef rate(n):\n    return n + {0}\n"
SLOW = 120.0
"""Seconds for checks that start an interpreter."""


@pytest.fixture
def core(make_package: Make) -> Any:
    """A module of a package that hands on what the module has."""
    package = make_package(
        {
            "__init__.py": "from .core import *\nfrom .core import rate as price\nfrom . import till\n",
            "core.py": SOURCE.format(0),
            "till.py": "from .core import LIMIT, rate\ndef total(n):\n    return rate(n)\n",
            "other.py": "own = 1\n",
        }
    ).__name__
    return importlib.import_module(f"{package}.core")


class TestCandidate:
    def test_modules_import_each_other_and_else_the_program(self, core: Any) -> None:
        package = core.__name__.partition(".")[0]
        sources = {
            f"{package}.tax": f"import json\nimport {package}.core\nfrom {package} import core\nRATE = core.rate(1)\n"
            f"whole = {package}.core\n",
            f"{package}.core": "from . import words\nimport os.path\nrate = lambda n: words.more + n\n",
            f"{package}.words": "more = 41\nexecuted = []\n",
        }
        made = candidate(sources)
        assert set(made) == {*sources, package, f"{package}.till"}
        assert len(made) == 5
        tax: Any = made[f"{package}.tax"]
        assert tax.RATE == 42
        assert tax.whole is tax.core is made[f"{package}.core"]
        assert sys.modules[core.__name__] is core
        assert core.rate(1) == 1
        assert f"{package}.tax" not in sys.modules
        with pytest.raises(KeyError):
            made["missing"]

    def test_modules_that_it_lacks_are_those_of_the_program(self, core: Any) -> None:
        package = core.__name__.partition(".")[0]
        made = candidate({f"{package}.tax": f"from {package}.core import rate, LIMIT\nfrom {package} import core\n"})
        tax: Any = made[f"{package}.tax"]
        assert tax.rate is core.rate
        assert tax.core is core

    def test_packages_from_nowhere(self) -> None:
        made = candidate(
            {"nowhere.a.b": "from nowhere.a import c\nimport nowhere.a.c as d\nx = c.x\n", "nowhere.a.c": "x = 1\n"}
        )
        assert made["nowhere.a.b"].x == made["nowhere.a.b"].d.x == 1
        assert "nowhere" not in sys.modules

    def test_an_import_that_fails_says_what_is_missing(self) -> None:
        made = candidate({"nowhere.a": "from nowhere import missing\n"})
        with pytest.raises(ImportError, match="missing"):
            made["nowhere.a"]
        with pytest.raises(ImportError, match="missing"):
            made["nowhere.a"]  # it was not kept half made

    def test_checks_run_on_it(self) -> None:
        made = candidate({"shop.tax": "def apply(net):\n    return -net\n"})

        def is_positive(new: Any) -> None:
            assert new["shop.tax"].apply(1) > 0, "it would cost less than nothing"

        async def hangs(new: Any) -> None:
            await asyncio.sleep(60)

        result = run_check(is_positive, made)
        assert (result.name, result.verdict) == ("is_positive", "failed")
        assert "it would cost less than nothing" in result.message
        assert run_check(hangs, made, timeout=0.05).verdict == "timed_out"
        assert run_check(lambda new: new["shop.tax"].apply(-1) == 1, made).verdict == "passed"

    def test_a_module_that_it_leaves_alone_shows_what_it_got_from_those_of_the_patch(self, core: Any) -> None:
        """As the candidate of a rollout does, to which it is compared."""
        package = core.__name__.partition(".")[0]
        importlib.import_module(f"{package}.other")
        sources: dict[str, str | bytes] = {core.__name__: SOURCE.format(5).replace("3", "4")}
        rollout = Patcher([package]).stage(Patch.from_sources(sources))
        made = candidate(sources)

        def seen(one: Any) -> list[object]:
            top, till = one[package], one[f"{package}.till"]
            values = [top.rate(1), top.LIMIT, till.LIMIT, till.rate(1), till.total(1), one[f"{package}.other"].own]
            return [*values, sorted(one), sorted(one.live), sorted(one.modules), one.removed, one.sources, one.version]

        try:
            assert seen(made) == seen(rollout.candidate)
            assert made[package].price(1) == made[package].core.rate(1) == 6
            assert made[f"{package}.other"] is sys.modules[f"{package}.other"]
        finally:
            rollout.abort()
        assert [core.rate(1), sys.modules[f"{package}.till"].rate(1)] == [1, 1]

    def test_a_module_of_the_patch_comes_before_that_of_the_program_which_its_package_has(self, core: Any) -> None:
        package = core.__name__.partition(".")[0]
        made = candidate({core.__name__: SOURCE.format(7), f"{package}.new": f"from {package} import core\n"})
        assert made[f"{package}.new"].core.rate(1) == 8

    def test_what_is_live_is_the_module_of_the_program_which_is_imported_for_it(self, core: Any) -> None:
        package = core.__name__.partition(".")[0]
        made: Any = candidate({core.__name__: SOURCE.format(1), f"{package}.other": "own = 2\n"})
        assert f"{package}.other" not in sys.modules
        assert made.live[core.__name__] is core
        assert made.live.sources[core.__name__] == SOURCE.format(0)
        assert made.live[f"{package}.other"].own == 1
        assert made[f"{package}.other"].own == 2

    def test_what_is_live_can_be_given(self, core: Any) -> None:
        package = core.__name__.partition(".")[0]
        made: Any = candidate({core.__name__: SOURCE.format(1)}, live={core.__name__: SOURCE.format(8)})
        assert made.live[core.__name__].rate(1) == made.live[f"{package}.till"].rate(1) == 9
        assert made.live[package].price(1) == 9
        assert made[core.__name__].rate(1) == made[package].price(1) == 2
        assert core.rate(1) == 1

    def test_an_error_of_the_program_is_its_own(self, core: Any, make_package: Make) -> None:
        broken = make_package({"bad.py": "import nothing_of_that_name\n"}).__name__
        made: Any = candidate({f"{broken}.bad": "fine = 1\n"})
        with pytest.raises(ModuleNotFoundError, match="nothing_of_that_name"):
            made.live
        assert made[f"{broken}.bad"].fine == 1


class TestShippedChecks:
    """Each is run on a candidate against what the program has, and on one against what is given."""

    @pytest.fixture(params=["the program's", "given"])
    def judged(self, request: pytest.FixtureRequest, core: Any) -> Callable[..., tuple[str, str]]:
        """Judges two sources: of what is live, and of the candidate."""

        def judge(check: checks.Kind, new: str) -> tuple[str, str]:
            if request.param == "given":
                name = "nowhere.of.it"
                made = candidate({name: new}, live={name: SOURCE.format(0)})
            else:
                made = candidate({core.__name__: new})
            result = run_check(check, made, timeout=SLOW)
            return result.verdict, result.message

        self.module = core.__name__ if request.param != "given" else "nowhere.of.it"
        return judge

    def test_same_result(self, judged: Any) -> None:
        check = checks.same_result(f"{self.module}.rate", [1, 2])
        assert judged(check, SOURCE.format("0 * n")) == ("passed", "2 inputs alike")
        assert judged(check, SOURCE.format(1)) == ("failed", "input 1, (1): live 1; candidate 2")

    def test_same_result_of_a_module_that_calls_what_is_live(self, core: Any) -> None:
        package = core.__name__.partition(".")[0]
        made = candidate({core.__name__: SOURCE.format(1)})
        found = run_check(checks.same_result(f"{package}.till.total", [1]), made)
        assert (found.verdict, "it imports" in found.message) == ("inconclusive", True)

    def test_imports_clean(self, judged: Any) -> None:
        assert judged(checks.imports_clean(), SOURCE.format(1)) == ("passed", "1 module imported")
        verdict, message = judged(checks.imports_clean(), SOURCE.format(1) + "print('hello')\n")
        assert (verdict, message) == ("failed", f"{self.module} writes to stdout: 'hello'")

    def test_api_compatible(self, judged: Any) -> None:
        assert judged(checks.api_compatible(), SOURCE.format(1))[0] == "passed"
        verdict, message = judged(checks.api_compatible(), SOURCE.format(1).replace("(n)", "(n, m)"))
        assert (verdict, "rate(m)" in message) == ("failed", True)

    def test_types(self, judged: Any) -> None:
        assert judged(checks.types(tool="mypy"), SOURCE.format(1))[0] == "passed"
        assert judged(checks.types(tool="mypy"), SOURCE.format(1) + "word: str = LIMIT\n")[0] == "failed"

    def test_not_slower(self, judged: Any) -> None:
        check = checks.not_slower(f"{self.module}.rate", [1], ratio=50)
        assert judged(check, SOURCE.format(1))[0] == "passed"

    def test_memory(self, judged: Any) -> None:
        check = checks.memory(1 << 20, call=f"{self.module}.rate", inputs=[1])
        assert judged(check, SOURCE.format(1))[0] == "passed"
        assert judged(check, SOURCE.format("len(bytearray(1 << 24))"))[0] == "failed"

    def test_pytest(self, judged: Any, tmp_path: Path) -> None:
        (tmp_path / "test_it.py").write_text(
            f"from {self.module} import rate\n\ndef test_it():\n    assert rate(1) == 3\n"
        )
        check = checks.pytest(str(tmp_path), "-p", "no:cacheprovider")
        assert judged(check, SOURCE.format(2)) == ("passed", "1 passed")
        assert judged(check, SOURCE.format(3))[0] == "failed"
