"""`checks.pytest`: suites in a fresh interpreter with the candidate laid over the live code, friendly and hostile."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap.checks import processes
from hotswap.checks import pytest as suite
from hotswap.verification import CheckResult
from tests.judged import LONG, Service
from tests.waiting import until

pytestmark = [pytest.mark.threads, pytest.mark.skipif(os.name != "posix", reason="there are no process groups")]


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files that is empty afterwards."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they take longer to import than the tests to run
    yield folder
    left = [path.name for path in folder.iterdir() if path.name.startswith("hotswap-check")]
    assert left == [], "an overlay was left behind"


@pytest.fixture
def service(make_package: Callable[..., ModuleType]) -> Service:
    return Service(make_package, {"tax.py": "RATE = 19\n", "pricing.py": "from .tax import RATE\n"})


@pytest.fixture
def run(service: Service, tmp_path: Path) -> Callable[..., CheckResult]:
    """Judge a patch of the rate by a suite of one file."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "pytest.ini").write_text("[pytest]\n")

    def judged(tests: str, *arguments: str, rate: int = 16, timeout: float = LONG, **more: Any) -> CheckResult:
        code = textwrap.dedent(tests).replace("PACKAGE", service.name)
        (folder / "test_it.py").write_text(code)
        files = sorted(folder.rglob("*"))
        check = suite(*(arguments or ("test_it.py",)), folder=folder)
        result = service.judge(check, more.get("sources") or {"tax": f"RATE = {rate}\n"}, timeout=timeout)
        assert sorted(folder.rglob("*")) == files, "files were left behind"
        return result

    return judged


class TestVerdicts:
    def test_the_candidate_is_what_is_tested(self, run: Callable[..., CheckResult], service: Service) -> None:
        result = run(
            """
            import PACKAGE.pricing, PACKAGE.tax

            def test_changed(): assert PACKAGE.tax.RATE == 16
            def test_what_imports_it(): assert PACKAGE.pricing.RATE == 16
            """
        )
        assert (result.verdict, result.message) == ("passed", "2 passed")
        assert sys.modules[f"{service.name}.tax"].RATE == 19  # the live one

    def test_failures_are_named(self, run: Callable[..., CheckResult]) -> None:
        result = run(
            """
            from PACKAGE.tax import RATE

            def test_fine(): pass
            def test_rate(): assert RATE == 16
            def test_raises(): raise OSError("the disk is full")
            """,
            rate=17,
        )
        assert result.verdict == "failed"
        assert result.message == (
            "2 failed, 1 passed: test_it.py::test_rate: assert 17 == 16; "
            "test_it.py::test_raises: OSError: the disk is full"
        )
        assert "short test summary" in result.detail

    def test_what_can_not_be_imported(self, run: Callable[..., CheckResult]) -> None:
        result = run("from PACKAGE.tax import GONE\n")
        assert result.verdict == "failed"
        assert "test_it.py: ImportError: cannot import name 'GONE'" in result.message

    def test_a_fixture_that_breaks(self, run: Callable[..., CheckResult]) -> None:
        result = run(
            """
            import pytest

            @pytest.fixture
            def broken():
                yield
                raise OSError("too late")

            def test_it(broken): pass
            """
        )
        assert result.verdict == "failed"
        assert "test_it.py::test_it (teardown): OSError: too late" in result.message

    def test_none_collected(self, run: Callable[..., CheckResult]) -> None:
        result = run("def helper(): pass\n")
        assert (result.verdict, result.message) == ("inconclusive", "no tests were collected")

    def test_all_skipped(self, run: Callable[..., CheckResult]) -> None:
        result = run("import pytest\ndef test_it(): pytest.skip('no database')\n")
        assert (result.verdict, result.message) == ("inconclusive", "no test has passed: 1 skipped")

    def test_a_path_that_is_not_there(self, run: Callable[..., CheckResult]) -> None:
        result = run("", "nowhere/")
        assert result.verdict == "error"
        assert "pytest" in result.message

    def test_arguments(self, run: Callable[..., CheckResult]) -> None:
        result = run("import PACKAGE.tax\ndef test_one(): pass\ndef test_two(): raise OSError\n", "-k", "one")
        assert (result.verdict, result.message) == ("passed", "1 passed")

    def test_arguments_that_are_none(self) -> None:
        with pytest.raises(TypeError, match="as texts"):
            suite(Path("tests"))  # type: ignore[arg-type]  # on purpose

    def test_its_name(self) -> None:
        assert suite("tests/", "-x").__name__ == "pytest tests/ -x"

    def test_pytest_is_not_there(self, run: Callable[..., CheckResult], tmp_path: Path) -> None:
        (tmp_path / "hidden").mkdir()
        (tmp_path / "hidden" / "pytest.py").write_text("raise ModuleNotFoundError(\"No module named 'pytest'\")")
        sys.path.insert(0, str(tmp_path / "hidden"))
        result = run("def test_it(): pass\n")
        assert result.verdict == "error"
        assert "pip install pytest" in result.message


class TestHostile:
    HANGS = """
        import os, subprocess, sys, time

        def test_hangs():
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            with open(PIDS + ".new", "w") as file:
                file.write(f"{os.getpid()} {child.pid}")
            os.rename(PIDS + ".new", PIDS)
            time.sleep(600)
        """

    def test_one_that_hangs(
        self, run: Callable[..., CheckResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pids = tmp_path / "pids"

        class Clock:
            """The time of the check is up as soon as the test hangs."""

            sleep = staticmethod(time.sleep)

            @staticmethod
            def monotonic() -> float:
                return time.monotonic() + (LONG if pids.exists() else 0.0)

        monkeypatch.setattr(processes, "time", Clock)
        result = run(self.HANGS.replace("PIDS", repr(str(pids))))
        assert result.verdict == "timed_out"
        assert "test_it.py::test_hangs was running" in result.message
        assert "in test_hangs" in result.detail  # the stack
        assert [pid for pid in map(int, pids.read_text().split()) if alive(pid)] == []

    def test_one_that_hangs_when_the_rollout_is_given_up(
        self, service: Service, tmp_path: Path, nothing_left: Path
    ) -> None:
        pids = tmp_path / "pids"
        (tmp_path / "test_it.py").write_text(textwrap.dedent(self.HANGS).replace("PIDS", repr(str(pids))))
        service.patcher.check(suite("test_it.py", folder=tmp_path), timeout=LONG)
        rollout = service.patcher.stage(service.patch({"tax": "RATE = 16\n"}))

        def give_up() -> None:
            until(pids.exists)
            rollout.abort()

        other = threading.Thread(target=give_up)
        other.start()
        with pytest.raises(hotswap.StateError):
            rollout.verify()
        other.join()
        # The group was ended by a signal, and only its leader is waited for: the other one may be on its way out.
        assert until(lambda: not any(alive(pid) for pid in map(int, pids.read_text().split())))

    def test_one_that_ends_the_process(self, run: Callable[..., CheckResult]) -> None:
        result = run("import os\ndef test_fine(): pass\ndef test_exits(): os._exit(0)\n")
        assert result.verdict == "failed"
        assert result.message == (
            "the process ended before the tests did: it exited with status 0; test_it.py::test_exits was running"
        )

    @pytest.mark.parametrize(
        "asks",
        [
            "pytest.exit('enough')",
            "pytest.exit(0)",
            "pytest.exit('enough', returncode=0)",
            "pytest.exit('enough', returncode=1)",
            "pytest.exit('enough', returncode=5)",
            "raise KeyboardInterrupt('enough')",
        ],
    )
    def test_one_that_ends_itself_before_all_tests_have_run(self, run: Callable[..., CheckResult], asks: str) -> None:
        tests = f"import pytest\ndef test_fine(): pass\ndef test_ends(): {asks}\ndef test_wrong(): assert False\n"
        result = run(tests)
        assert result.verdict == "inconclusive"
        said = "0" if "(0)" in asks else "enough"
        what = "KeyboardInterrupt" if "Keyboard" in asks else "Exit"
        why = f"{what}: {said}; test_it.py::test_ends was running; 1 passed"
        assert result.message == f"the tests ended themselves before all had run: {why}"

    def test_one_that_ends_itself_after_a_failure(self, run: Callable[..., CheckResult]) -> None:
        result = run("import pytest\ndef test_wrong(): assert False\ndef test_ends(): pytest.exit(0)\n")
        assert result.verdict == "failed"
        assert result.message.startswith("1 failed: test_it.py::test_wrong")

    def test_one_that_stops_at_what_was_asked(self, run: Callable[..., CheckResult]) -> None:
        result = run("def test_wrong(): assert False\ndef test_fine(): pass\n", "-x")
        assert result.verdict == "failed"
        assert result.message.startswith("1 failed")

    def test_one_that_a_plugin_stops(self, run: Callable[..., CheckResult], tmp_path: Path, service: Service) -> None:
        (tmp_path / "project" / "conftest.py").write_text(
            "def pytest_runtest_logfinish(nodeid):\n    SESSION[0].shouldstop = 'enough'\n"
            "SESSION = []\ndef pytest_sessionstart(session): SESSION.append(session)\n"
        )
        result = run("def test_fine(): pass\ndef test_wrong(): assert False\n")
        assert result.verdict == "inconclusive"
        assert "Interrupted: enough" in result.message

    def test_one_that_crashes(self, run: Callable[..., CheckResult]) -> None:
        result = run("import ctypes\ndef test_crashes(): ctypes.string_at(0)\n")
        assert result.verdict == "failed"
        assert "the process of the tests died: it was ended by SIGSEGV; test_it.py::test_crashes" in result.message
        assert "in test_crashes" in result.detail

    def test_one_that_writes_megabytes(self, run: Callable[..., CheckResult]) -> None:
        result = run(
            """
            import os

            def test_writes(capfd):
                with capfd.disabled():
                    for _ in range(200):
                        os.write(1, b"x" * 100_000)
                raise OSError("the end")
            """
        )
        assert (result.verdict, result.message) == ("failed", "1 failed: test_it.py::test_writes: OSError: the end")
        assert len(result.detail) <= 20_000
        assert "OSError: the end" in result.detail

    def test_one_that_leaves_a_child_with_the_pipe(self, run: Callable[..., CheckResult], tmp_path: Path) -> None:
        result = run(
            f"""
            import subprocess, sys

            def test_leaves():
                child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
                open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
            """
        )
        assert result.verdict == "passed"
        assert not alive(int((tmp_path / "pid").read_text()))

    def test_one_that_dies_when_all_is_over(self, run: Callable[..., CheckResult]) -> None:
        result = run("import atexit, os\natexit.register(os._exit, 7)\ndef test_it(): pass\n")
        assert result.verdict == "failed"
        assert result.message == "1 passed, and then the process died: it exited with status 7"

    def test_one_that_runs_the_code_on_disk(self, run: Callable[..., CheckResult], service: Service) -> None:
        result = run(
            f"""
            import importlib.util, sys

            def test_by_file():
                spec = importlib.util.spec_from_file_location("PACKAGE.tax", {str(service.root / "tax.py")!r})
                sys.modules["PACKAGE.tax"] = module = importlib.util.module_from_spec(spec)
                spec.loader.exec_module(module)
            """
        )
        assert result.verdict == "inconclusive"
        assert "code that is not the candidate's" in result.message
        assert f"{service.name}.tax" in result.message

    @pytest.mark.parametrize(
        "loads",
        [
            """
            import importlib.util
            spec = importlib.util.spec_from_file_location("tax_by_path", PATH)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            rate = module.RATE
            """,
            """
            import os, runpy
            rate = runpy.run_path(os.path.relpath(PATH))["RATE"]
            """,
            """
            import importlib.machinery
            rate = importlib.machinery.SourceFileLoader("tax_by_path", PATH).load_module().RATE
            """,
            """
            import importlib.util, py_compile, runpy
            rate = runpy.run_path(py_compile.compile(PATH, cfile=importlib.util.cache_from_source(PATH)))["RATE"]
            """,
            """
            import py_compile, runpy
            rate = runpy.run_path(py_compile.compile(PATH, cfile=PATH + "c"))["RATE"]
            """,
            """
            import subprocess, sys
            subprocess.run([sys.executable, PATH], check=True)
            rate = 19
            """,
        ],
    )
    def test_one_that_runs_a_file_on_disk(self, run: Callable[..., CheckResult], service: Service, loads: str) -> None:
        path = service.root / "tax.py"
        body = textwrap.indent(textwrap.dedent(loads).replace("PATH", repr(str(path))), "    ")
        test = f"import warnings\nimport PACKAGE.tax\ndef test_it():\n    warnings.simplefilter('ignore')\n{body}\n"
        result = run(f"{test}    assert rate == 19\n")
        assert result.verdict == "inconclusive"
        assert f"{path.resolve()} (it was run by its path: have the tests import it by its name)" in result.message

    def test_a_file_of_a_module_that_the_patch_leaves_alone_may_be_run(
        self, run: Callable[..., CheckResult], service: Service
    ) -> None:
        result = run(
            f"""
            import runpy
            def test_it():
                found = runpy.run_path({str(service.root / "pricing.py")!r}, run_name="PACKAGE.pricing")
                assert found["RATE"] == 16
            """
        )
        assert (result.verdict, result.message) == ("passed", "1 passed")

    def test_a_file_on_disk_that_was_deployed_since_is_none_of_the_candidate(
        self, run: Callable[..., CheckResult], service: Service
    ) -> None:
        service.patcher.apply(service.patch({"pricing": "from .tax import RATE\nPATCHED = RATE\n"}))
        path = service.root / "pricing.py"
        path.write_text("RATE = 'another deployment'\n")
        result = run(f"import PACKAGE.tax, runpy\ndef test_it(): runpy.run_path({str(path)!r})\n")
        assert result.verdict == "inconclusive"
        assert f"{path.resolve()} (it was run by its path" in result.message

    def test_one_that_reaches_nothing_of_the_patch(self, run: Callable[..., CheckResult], service: Service) -> None:
        tests = "import json, {}\ndef test_it(): pass\n"
        untouched = f"1 passed, but nothing imported what the patch changes ({service.name}.tax)"
        for imported, message in {"sys": untouched, service.name: untouched, f"{service.name}.tax": "1 passed"}.items():
            result = run(tests.format(imported))
            assert (result.verdict, result.message) == ("passed", message)

    def test_one_that_reaches_it_in_another_process(self, run: Callable[..., CheckResult]) -> None:
        result = run(
            """
            import multiprocessing, subprocess, sys

            def reach():
                import PACKAGE.tax

            def test_it():
                child = multiprocessing.get_context("fork").Process(target=reach)
                child.start()
                child.join()
                assert child.exitcode == 0
            """
        )
        assert (result.verdict, result.message) == ("passed", "1 passed")

    def test_a_child_that_ignores_being_waited_for(self, run: Callable[..., CheckResult]) -> None:
        """A service that ignores SIGCHLD is never told how its children ended."""
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            assert run("def test_it(): pass\n").verdict == "passed"
            assert run("import os\ndef test_it(): os._exit(0)\n").verdict == "failed"
        finally:
            signal.signal(signal.SIGCHLD, before)


class TestWhatItImports:
    def test_a_checkout_that_comes_first(self, run: Callable[..., CheckResult], service: Service) -> None:
        """What conftest.py and pytest itself put before everything else must not lead to the code on disk."""
        result = run(
            f"""
            import sys
            sys.path.insert(0, {str(service.root.parent)!r})
            from PACKAGE.tax import RATE

            def test_it(): assert RATE == 16
            """
        )
        assert (result.verdict, result.message) == ("passed", "1 passed")

    def test_a_conftest(self, run: Callable[..., CheckResult], tmp_path: Path, service: Service) -> None:
        (tmp_path / "project" / "conftest.py").write_text(
            f"import pytest, {service.name}.tax as tax\n@pytest.fixture\ndef rate():\n    return tax.RATE\n"
        )
        assert run("def test_it(rate): assert rate == 16\n").verdict == "passed"

    def test_processes_that_tests_start(self, run: Callable[..., CheckResult]) -> None:
        result = run(
            """
            import subprocess, sys

            def test_it():
                code = "import PACKAGE.tax; print(PACKAGE.tax.RATE)"
                assert subprocess.check_output([sys.executable, "-c", code], text=True) == "16\\n"
            """
        )
        assert (result.verdict, result.message) == ("passed", "1 passed")

    def test_environment_and_path_of_the_process(
        self, run: Callable[..., CheckResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SHOP_MODE", "night")
        monkeypatch.setenv("HOTSWAP_STORE", str(tmp_path / "store"))
        (tmp_path / "late").mkdir()
        (tmp_path / "late" / "plugin_of_shop.py").write_text("")
        monkeypatch.syspath_prepend(tmp_path / "late")
        result = run(
            f"""
            import os, sys, plugin_of_shop, PACKAGE.tax

            def test_it():
                assert os.environ["SHOP_MODE"] == "night"
                assert "HOTSWAP_STORE" not in os.environ
                assert "hotswap" not in sys.modules
                assert sys.path.index({str(tmp_path / "late")!r}) == sys.path.index(os.path.dirname(__file__)) + 1
            """
        )
        assert (result.verdict, result.message) == ("passed", "1 passed")

    @pytest.mark.slow
    def test_tests_in_the_package(self, make_package: Callable[..., ModuleType], tmp_path: Path) -> None:
        service = Service(make_package, {"tax.py": "RATE = 19\n"})
        for path, text in {"__init__.py": "", "test_tax.py": TEST_IN_PACKAGE}.items():
            (service.root / "tests").mkdir(exist_ok=True)
            (service.root / "tests" / path).write_text(text)
        new = {"tax": "RATE = 16\n", "tests.test_tax": TEST_IN_PACKAGE.replace("19", "16"), "tests.__init__": ""}
        by_name = suite("--pyargs", f"{service.name}.tests", folder=tmp_path)
        assert service.judge(by_name, new).message == "1 passed"
        assert service.judge(by_name, {**new, "tax": "RATE = 17\n"}).verdict == "failed"
        by_path = suite(str(service.root / "tests"), folder=tmp_path)
        assert service.judge(by_path, new).message == "1 passed"

    def test_what_runs_goes_before_what_was_deployed_since(
        self, run: Callable[..., CheckResult], service: Service
    ) -> None:
        (service.root / "pricing.py").write_text("RATE = 'another deployment'\n")
        result = run("from PACKAGE.pricing import RATE\ndef test_it(): assert RATE == 16\n")
        assert (result.verdict, result.message) == ("passed", "1 passed")

    def test_what_runs_in_another_encoding(
        self, make_package: Callable[..., ModuleType], tmp_path: Path, nothing_left: Path
    ) -> None:
        text = "# coding: latin-1\nNAME = 'Märkte'\n"
        service = Service(make_package, {"tax.py": "RATE = 19\n", "names.py": text.encode("latin-1")})
        (service.root / "names.py").write_text("NAME = 'deployed since'\n")
        tests = "import NAME.tax\nfrom NAME.names import NAME as told\ndef test_it(): assert told == 'M\\xe4rkte'\n"
        tests = tests.replace("NAME.", f"{service.name}.")
        (tmp_path / "test_it.py").write_text(tests)
        result = service.judge(suite("test_it.py", folder=tmp_path), {"tax": "RATE = 16\n"})
        assert (result.verdict, result.message) == ("passed", "1 passed")

    def test_over_an_earlier_patch(self, run: Callable[..., CheckResult], service: Service) -> None:
        service.patcher.apply(service.patch({"pricing": "from .tax import RATE\nPATCHED = RATE\n"}))
        result = run("from PACKAGE.pricing import PATCHED\ndef test_it(): assert PATCHED == 16\n")
        assert (result.verdict, result.message) == ("passed", "1 passed")


TEST_IN_PACKAGE = "from .. import tax\n\ndef test_rate():\n    assert tax.RATE == 19\n"


class TestPackages:
    def test_metadata_and_entry_points(self, run: Callable[..., CheckResult], service: Service, packages: Path) -> None:
        info = packages / f"{service.name}-0.9.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {service.name}\nVersion: 0.9\n\nA shop.\n")
        (info / "entry_points.txt").write_text(f"[shop.rates]\nusual = {service.name}.tax:RATE\n")
        (info / "top_level.txt").write_text(f"{service.name}\n")
        result = run(
            """
            from importlib import metadata

            def test_version():
                assert metadata.version("PACKAGE") == "1.0"

            def test_entry_points():
                (found,) = metadata.entry_points(group="shop.rates")
                assert found.load() == 16
            """
        )
        assert (result.verdict, result.message) == ("passed", "2 passed")

    def test_data_files(self, run: Callable[..., CheckResult], service: Service) -> None:
        (service.root / "data").mkdir()
        (service.root / "data" / "rates.txt").write_text("nineteen")
        (service.root / "notes.txt").write_text("of the disk")
        files = {f"{service.name}/tax.py": b"RATE = 16\n", f"{service.name}/data/rates.txt": b"sixteen"}
        patch = hotswap.Patch(name=service.name, version=service.patch({"tax": ""}).version, files=files)
        result = run(
            """
            from importlib import resources
            from pathlib import Path
            import PACKAGE.tax

            def test_resources():
                assert (resources.files("PACKAGE") / "data" / "rates.txt").read_text() == "sixteen"
                assert (resources.files("PACKAGE") / "notes.txt").read_text() == "of the disk"

            def test_files():
                assert (Path(PACKAGE.__file__).parent / "data" / "rates.txt").read_text() == "sixteen"
            """,
            sources=patch,
        )
        assert (result.verdict, result.message) == ("passed", "2 passed")

    def test_namespace_packages(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_left: Path) -> None:
        for place, module in (("one", "tax"), ("two", "pricing")):
            folder = tmp_path / place / "shop_in_parts"
            folder.mkdir(parents=True)
            (folder / f"{module}.py").write_text("RATE = 19\n")
            (folder / f"{module}.txt").write_text(module)
            monkeypatch.syspath_prepend(tmp_path / place)
        for module in ("tax", "pricing"):
            importlib.import_module(f"shop_in_parts.{module}")
        project = tmp_path / "project"
        project.mkdir()
        (project / "pytest.ini").write_text("[pytest]\n")
        (project / "test_it.py").write_text(
            f"import sys\nsys.path.insert(0, {str(tmp_path / 'one')!r})\n"
            "from importlib import resources, invalidate_caches\n"
            "invalidate_caches()\n"
            "import shop_in_parts.pricing, shop_in_parts.tax\n"
            "def test_it(): assert (shop_in_parts.tax.RATE, shop_in_parts.pricing.RATE) == (16, 19)\n"
            "def test_data():\n"
            "    for name in ('tax', 'pricing'):\n"
            "        assert (resources.files('shop_in_parts') / f'{name}.txt').read_text() == name\n"
        )
        patcher = hotswap.Patcher(["shop_in_parts"])
        patcher.check(suite("test_it.py", folder=project), timeout=LONG)
        patch = hotswap.Patch.from_sources({"shop_in_parts.tax": "RATE = 16\n"}, version="2.0")
        with patcher.stage(patch) as rollout:
            rollout.verify()
        assert [result.message for result in rollout.report] == ["2 passed"]

    def test_a_module_that_is_no_package(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_left: Path
    ) -> None:
        (tmp_path / "lone_shop.py").write_text("RATE = 19\n")
        monkeypatch.syspath_prepend(tmp_path)
        importlib.import_module("lone_shop")
        (tmp_path / "test_it.py").write_text("import lone_shop\ndef test_it(): assert lone_shop.RATE == 16\n")
        patcher = hotswap.Patcher(["lone_shop"])
        patcher.check(suite("test_it.py", folder=tmp_path), timeout=LONG)
        with patcher.stage(hotswap.Patch.from_sources({"lone_shop": "RATE = 16\n"}, version="2.0")) as rollout:
            rollout.verify()
        assert rollout.report.passed


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
