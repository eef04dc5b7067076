"""Booting: what a fresh process imports, what it knows of it, and what it does when the store is of no use."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

import hotswap

pytestmark = [pytest.mark.threads, pytest.mark.slow]  # each test starts some processes

LIMIT = 60.0

BEGIN = """
import json, os, sys
import hotswap
booted = hotswap.boot("var")
import shop, shop.web
def patcher(**more):
    return hotswap.Patcher(["shop"], store="var", **more)
def sources(version=None, **modules):
    return hotswap.Patch.from_sources({f"shop.{name}": text for name, text in modules.items()}, version)
def say(**facts):
    print(json.dumps(facts, default=str))
"""

PICTURE = """
import importlib, importlib.metadata, importlib.resources, inspect, pkgutil
def picture(names):
    found = {}
    for name in names:
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            found[name] = f"{type(error).__name__}: {error}"
            continue
        source = module.__spec__.loader.get_source(name)
        found[name] = {
            "functions": {key: inspect.getsource(value) for key, value in vars(module).items() if callable(value)},
            "data": {key: value for key, value in vars(module).items() if type(value) is int or key == "__version__"},
            "file": os.path.basename(module.__file__ or ""),
            "spec": [module.__spec__.name, module.__package__, os.path.basename(module.__spec__.origin or "")],
            "source": [source, source and inspect.getsource(module)],
            "modules": sorted(info.name for info in pkgutil.iter_modules(getattr(module, "__path__", ()))),
        }
    found["data"] = importlib.resources.files("shop").joinpath("rates.txt").read_text()
    found["version"] = importlib.metadata.version("shop")
    return found
"""


class Service:
    """A program with a package, and the processes that run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("shop/__init__.py", '__version__ = "1.2.0"\nfrom shop.tax import rate\n')
        self.write("shop/tax.py", "LIMIT = 1\ndef rate(): return 19\n")
        self.write("shop/web.py", 'from . import tax\ndef hello(): return f"disk {tax.rate()}"\n')
        self.write("shop/late.py", "def late(): return 'disk'\n")
        self.write("shop/sub/__init__.py", "")
        self.write("shop/sub/deep.py", "from ..tax import rate\ndef deep(): return rate()\n")
        self.write("shop/rates.txt", "nineteen")
        self.write("shop-1.2.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: shop\nVersion: 1.2.0\n")

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).write_text(text)

    def raw(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(Path(hotswap.__file__).parent.parent), str(self.folder)])
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": path, **env},
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )

    def run(self, code: str, *, begin: str = BEGIN, dies: bool = False) -> dict[str, Any]:
        """Run code in a fresh process; return what it said last."""
        done = self.raw("-c", begin + textwrap.dedent(code))
        assert done.returncode == (-9 if dies else 0), done.stderr
        said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
        return {**said, "stderr": done.stderr}


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


SAY = "say(rate=shop.rate(), hello=shop.web.hello(), versions=booted.versions, file=shop.tax.__file__)\n"
DIE = "os.kill(os.getpid(), 9)\n"


class TestWhatComesUp:
    def test_is_the_code_on_disk_without_a_store(self, service: Service) -> None:
        said = service.run(SAY)
        assert (said["rate"], said["versions"]) == (19, {})
        assert not (service.folder / "var").exists()

    def test_is_what_is_permanent(self, service: Service) -> None:
        service.run('patcher().apply(sources(tax="def rate(): return 16\\n")).confirm()')
        said = service.run(SAY + "say(**json.loads(json.dumps(dict(v=str(patcher().versions['shop'])))))")
        assert said["v"] == "1.2.0+hot.1"
        said = service.run(SAY)
        assert (said["rate"], said["hello"], said["versions"]) == (16, "disk 16", {"shop": "1.2.0+hot.1"})
        assert said["file"] != str(service.folder / "shop/tax.py")

    def test_is_not_what_is_on_trial(self, service: Service) -> None:
        service.run('patcher().apply(sources(tax="def rate(): return 16\\n")).confirm()')
        service.run('patcher().apply(sources(tax="def rate(): return 7\\n"))\n' + DIE, dies=True)
        said = service.run(SAY)
        assert (said["rate"], "died within its trial" in said["stderr"]) == (16, True)

    def test_is_what_a_living_process_has(self, service: Service, tmp_path: Path) -> None:
        names = ["shop", "shop.tax", "shop.web", "shop.late", "shop.sub", "shop.sub.deep", "shop.more", "shop.gone"]
        whole = tmp_path / "whole" / "shop"
        for path, text in {
            "__init__.py": 'from shop.tax import rate\n__version__ = "2.0"\n',
            "tax.py": "def rate(): return 12\n",
            "web.py": "from . import tax\ndef hello(): return f'whole {tax.rate()}'\n",
            "late.py": "def late(): return 'whole'\n",
            "sub/__init__.py": "",
            "gone.py": "",
            "sub/deep.py": "from ..tax import rate\ndef deep(): return rate() * 2\n",
            "rates.txt": "twelve",
        }.items():
            (whole / path).parent.mkdir(parents=True, exist_ok=True)
            (whole / path).write_text(text)
        steps = [
            'sources(tax="LIMIT = 2\\ndef rate(): return 16\\n")',
            'sources(more="from shop.tax import LIMIT\\ndef more(): return LIMIT\\n", late="def late(): return 2\\n")',
            f"hotswap.Patch.from_path({str(whole)!r})",
            'sources(late="def late(): return 3\\n")',
            'hotswap.Patch.from_sources({"shop.gone.__init__": "x = 1\\n", "shop.gone.sub": "y = 1\\n"})',
        ]
        for count in range(1, len(steps) + 1):
            told = service.run(
                PICTURE + f"p = patcher()\nfor patch in [{', '.join(steps[:count])}]:\n    p.apply(patch).confirm()\n"
                f"say(picture=picture({names}), versions=p.versions)"
            )
            booted = service.run(PICTURE + f"say(picture=picture({names}), versions=patcher().versions)")
            again = service.run(PICTURE + f"say(picture=picture({names}), versions=patcher().versions)")
            told.pop("stderr"), booted.pop("stderr"), again.pop("stderr")
            assert booted == told, f"after {count} patches"
            assert again == booted
            shutil.rmtree(service.folder / "var")

    def test_has_the_unchanged_modules_of_the_disk_with_their_bytecode(self, service: Service) -> None:
        service.run('patcher().apply(sources(__init__="from shop.tax import rate\\n")).confirm()')
        said = service.run("import shop.sub.deep\nsay(file=shop.sub.deep.__file__, path=shop.__path__)")
        assert said["file"] == str(service.folder / "shop/sub/deep.py")
        assert said["path"][0] != str(service.folder / "shop")

    def test_of_two_packages_is_of_both(self, service: Service) -> None:
        service.write("lib/__init__.py", "")
        service.write("lib/a.py", "def a(): return 0\n")
        both = 'import lib.a\np = hotswap.Patcher(["shop", "lib"], store="var")\n'
        one = both + 'p.apply(sources(tax="def rate(): return 16\\n")).confirm()\n'
        service.run(one + 'p.apply(hotswap.Patch.from_sources({"lib.a": "def a(): return 1\\n"}, "2.0")).confirm()')
        said = service.run(both + "say(rate=shop.rate(), a=lib.a.a(), v=p.versions, b=booted.versions)")
        assert (said["rate"], said["a"], said["v"]) == (16, 1, {"shop": "1.2.0+hot.1", "lib": "2.0"})
        assert said["b"] == said["v"]
        said = service.run(both + "p.rollback()\nsay(rate=shop.rate(), a=lib.a.a(), v=p.versions)")
        assert (said["rate"], said["a"]) == (16, 0)
        said = service.run("import lib.a\nsay(rate=shop.rate(), a=lib.a.a(), b=booted.versions)")
        assert (said["rate"], said["a"], said["b"]) == (16, 0, {"shop": "1.2.0+hot.1"})

    def test_of_two_patchers_is_of_both(self, service: Service) -> None:
        service.write("lib/__init__.py", "")
        service.write("lib/a.py", "def a(): return 0\n")
        lib = 'import lib.a\nq = hotswap.Patcher(["lib"], store="var")\np = patcher()\n'
        first = 'q.apply(hotswap.Patch.from_sources({"lib.a": "def a(): return 1\\n"}, "2.0")).confirm()\n'
        service.run(lib + first + 'p.apply(sources(tax="def rate(): return 16\\n")).confirm()\n')
        back = "q.rollback()\nsay(rate=shop.rate(), a=lib.a.a(), b=booted.versions)"
        said = service.run(lib + back)
        assert (said["rate"], said["a"], said["b"]) == (16, 0, {"shop": "1.2.0+hot.1", "lib": "2.0"})

    APART = 'import lib.a\nq, p = hotswap.Patcher(["lib"], store="var"), patcher()\n'
    ONE = "import lib.a\np = hotswap.Patcher(['shop', 'lib'], store='var')\n"
    RUNS = "say(runs=[shop.rate(), lib.a.a(), shop.web.hello()], v=p.versions)\n"

    @pytest.fixture
    def apart(self, service: Service) -> Service:
        """Two packages, each made permanent by somebody who knew nothing of the other."""
        service.write("lib/__init__.py", "")
        service.write("lib/a.py", "def a(): return 0\n")
        service.write("lib/late.py", "def late(): return 0\n")
        service.run(
            self.APART + 'p.apply(sources(tax="def rate(): return 16\\n")).confirm()\n'
            'lib = {"lib.a": "def a(): return 1\\n", "lib.late": "def late(): return 1\\n"}\n'
            'q.apply(hotswap.Patch.from_sources(lib, "2.0")).confirm()\n'
        )
        return service

    def test_is_what_several_have_made_permanent_side_by_side(self, apart: Service) -> None:
        said = apart.run(self.ONE + "import lib.late\nsay(late=lib.late.late())\n" + self.RUNS)
        assert (said["runs"], said["v"]) == ([16, 1, "disk 16"], {"shop": "1.2.0+hot.1", "lib": "2.0"})
        said = apart.run(self.ONE + "label = p.current.label\nwas = p.rollback()\n" + self.RUNS)
        assert (said["runs"], said["v"]["shop"]) == ([16, 0, "disk 16"], "1.2.0+hot.1")
        assert apart.run(self.ONE + self.RUNS)["runs"] == [16, 0, "disk 16"]
        said = apart.run(self.ONE + "p.rollback()\n" + self.RUNS)
        assert (said["runs"], said["v"]) == ([19, 0, "disk 19"], {"shop": "1.2.0", "lib": "0"})
        assert apart.run(self.ONE + self.RUNS)["runs"] == [19, 0, "disk 19"]

    def test_goes_on_from_several_side_by_side(self, apart: Service) -> None:
        """What lies over both goes back to both, also in the process that has made it."""
        back = 'p.apply(sources(tax="def rate(): return 9\\n")).confirm()\np.rollback()\n'
        assert apart.run(self.ONE + back + self.RUNS)["runs"] == [16, 1, "disk 16"]
        said = apart.run(self.ONE + back.replace("p.rollback()", "") + self.RUNS)
        assert said["runs"] == [9, 1, "disk 9"]
        assert apart.run(self.ONE + self.RUNS)["runs"] == [9, 1, "disk 9"]
        assert apart.run(self.ONE + "p.rollback()\n" + self.RUNS)["runs"] == [16, 1, "disk 16"]
        said = apart.run(self.ONE + self.RUNS)
        assert (said["runs"], said["v"]) == ([16, 1, "disk 16"], {"shop": "1.2.0+hot.1", "lib": "2.0"})

    def test_is_of_each_package_what_was_permanent_last(self, apart: Service) -> None:
        """A worker has put something over both, and another one then something over one of them."""
        apart.run(self.ONE + 'p.apply(sources(tax="def rate(): return 9\\n")).confirm()')
        apart.run(
            self.APART.replace("q, p", "q, r")
            + 'p = patcher()\np.apply(sources(tax="def rate(): return 8\\n")).confirm()'
        )
        said = apart.run(self.ONE + self.RUNS)
        assert said["runs"] == [8, 1, "disk 8"]

    def test_can_be_patched_again(self, service: Service) -> None:
        service.run('patcher().apply(sources(tax="def rate(): return 16\\n")).confirm()')
        service.run('patcher().apply(sources(web="def hello(): return 2\\n")).confirm()')
        said = service.run(SAY)
        assert (said["rate"], said["hello"], said["versions"]) == (16, 2, {"shop": "1.2.0+hot.2"})

    def test_has_the_package_that_the_environment_names(self, service: Service) -> None:
        service.run('patcher().apply(sources(tax="def rate(): return 16\\n")).confirm()')
        service.write("program.py", "import hotswap\nhotswap.boot()\nimport shop\nprint(shop.rate())\n")
        assert service.raw("program.py", HOTSWAP_STORE="var").stdout == "16\n"
        assert service.raw("program.py").stdout == "19\n"


class TestRun:
    PROGRAM = """
        import sys, threading, __main__
        from shop import rate
        class Here: pass
        if __name__ == "__main__":
            print(rate(), sys.argv, sys.path[0], __file__, __main__.Here is Here)
            threading.Timer(0.1, lambda: print("late", Here.__name__)).start()
            sys.exit(3)
    """

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork server")
    @pytest.mark.parametrize("method", ["spawn", "forkserver"])
    def test_has_the_processes_that_it_starts_boot_too(self, service: Service, method: str) -> None:
        service.run('patcher().apply(sources(tax="def rate(): return 16\\n")).confirm()')
        program = f"""
            import multiprocessing
            from shop import rate
            if __name__ == "__main__":
                with multiprocessing.get_context("{method}").Pool(1) as pool:
                    print(rate(), pool.apply(rate))
        """
        service.write("bin/program.py", textwrap.dedent(program))
        done = service.raw("-m", "hotswap", "run", "--store", "var", "bin/program.py")
        assert (done.stdout, done.returncode) == ("16 16\n", 0), done.stderr

    @pytest.mark.parametrize("how", ["file", "module", "folder"])
    def test_is_what_python_does(self, service: Service, how: str) -> None:
        service.run('patcher().apply(sources(tax="def rate(): return 16\\n")).confirm()')
        service.write("bin/program.py", textwrap.dedent(self.PROGRAM))
        service.write(
            "bin/__main__.py", textwrap.dedent(self.PROGRAM).replace("threading.Timer", "str and threading.Timer")
        )
        service.write("bin/__init__.py", "")
        command = {"file": ["bin/program.py"], "module": ["-m", "bin.program"], "folder": ["bin"]}[how]
        plain = service.raw(*command, "-x", "--store", "y")
        booted = service.raw("-m", "hotswap", "run", *command, "-x", "--store", "y", HOTSWAP_STORE="var")
        assert booted.stdout == plain.stdout.replace("19", "16", 1), booted.stderr
        assert (booted.returncode, plain.returncode) == (3, 3)

    def test_of_nothing_is_told(self, service: Service) -> None:
        done = service.raw("-m", "hotswap", "run", "--store", "var", "nothing.py")
        assert (done.returncode, "there is no nothing.py" in done.stderr) == (2, True)


class TestHook:
    """`PYTHONPATH=$(python -m hotswap hook) HOTSWAP_STORE=var python service.py`"""

    def started(self, service: Service, *command: str, store: str = "var", more: str = "") -> tuple[str, str]:
        """Start Python with the hook; return what it wrote, and what it wrote of trouble."""
        hook = service.raw("-m", "hotswap", "hook").stdout.rstrip("\n")
        path = os.pathsep.join(filter(None, [hook, more]))
        done = service.raw(*command, PYTHONPATH=path, HOTSWAP_STORE=store)
        return done.stdout, done.stderr

    @pytest.fixture
    def patched(self, service: Service) -> Service:
        service.run('patcher().apply(sources(tax="def rate(): return 16\\n")).confirm()')
        service.write("service.py", "import shop, shop.tax\nprint(shop.rate(), shop.tax.rate())\n")
        return service

    @pytest.mark.parametrize("how", [["service.py"], ["-m", "service"], ["-c", "import service"]])
    def test_boots_any_program(self, patched: Service, how: list[str]) -> None:
        out, err = self.started(patched, *how)
        assert (out, "store.booted" in err) == ("16 16\n", False)
        assert self.started(patched, *how, store="nowhere") == ("19 19\n", "")

    def test_leaves_alone_who_imports_none_of_it(self, patched: Service) -> None:
        patched.run('patcher().apply(sources(tax="def rate(): return 7\\n"))\n' + DIE, dies=True)
        tells = "import sys; print([type(f).__name__ for f in sys.meta_path][:1])"
        assert self.started(patched, "-c", tells) == ("['_Hooked']\n", "")
        out, err = self.started(patched, "service.py")
        assert (out, "died within its trial" in err) == ("16 16\n", True)

    def test_gives_way_to_a_boot(self, patched: Service) -> None:
        patched.write("own.py", "import hotswap\nprint(hotswap.boot().versions)\nimport service\n")
        assert self.started(patched, "own.py") == ("{'shop': '1.2.0+hot.1'}\n16 16\n", "")
        assert self.started(patched, "-m", "hotswap", "run", "service.py")[0] == "16 16\n"

    def test_a_patcher_takes_over(self, patched: Service) -> None:
        code = "import hotswap, shop\np = hotswap.Patcher(['shop'], store='var')\np.rollback()\nprint(shop.rate())"
        assert self.started(patched, "-c", code)[0] == "19\n"

    def test_chains_to_the_next_one(self, patched: Service) -> None:
        patched.write("site/sitecustomize.py", "import shop\nprint('next', __name__, shop.rate())\n")
        more = os.pathsep.join(str(patched.folder / folder) for folder in ("site", "."))
        out, _ = self.started(patched, "-c", "import sitecustomize as s; print(s.__file__)", more=more)
        assert out == f"next sitecustomize 16\n{patched.folder / 'site' / 'sitecustomize.py'}\n"

    def test_starts_the_service_whatever_is_wrong(self, patched: Service) -> None:
        (patched.folder / "var/journal.db").write_bytes(b"x" * 8192)
        out, err = self.started(patched, "service.py")
        assert (out, "store.troubled" in err) == ("19 19\n", True)

    def test_says_where_hotswap_can_not_be_imported(self, patched: Service) -> None:
        patched.write("broken/packaging.py", "raise ImportError('not here')\n")
        out, err = self.started(patched, "service.py", more=str(patched.folder / "broken"))
        assert (out, err.count("\n"), "not here" in err) == ("19 19\n", 1, True)


class TestRollback:
    def test_is_to_the_code_on_disk(self, service: Service) -> None:
        service.run('patcher().apply(sources(tax="def rate(): return 16\\n", more="")).confirm()')
        said = service.run("""
            from shop.tax import rate
            p = patcher()
            held, back = (rate, shop.web), p.current
            taken = p.rollback(reason="wrong", by="ann")
            import importlib.util
            say(rate=[rate(), shop.rate(), held[0](), held[1].hello()], state=taken.state, same=taken is back,
                versions=p.versions, more=importlib.util.find_spec("shop.more"), current=p.current, reason=taken.reason,
                history=[(record.state, record.reason, record.by) for record in p.history()])
        """)
        assert said["rate"] == [19, 19, 19, "disk 19"]
        assert (said["state"], said["same"], said["reason"]) == ("rolled_back", True, "wrong")
        assert (said["versions"], said["more"], said["current"]) == ({"shop": "1.2.0"}, None, None)
        assert [entry[:2] for entry in said["history"]] == [["rolled_back", "wrong"]]
        said = service.run(SAY)
        assert (said["rate"], said["versions"]) == (19, {})

    def test_is_to_the_permanent_one_below(self, service: Service) -> None:
        for rate in (16, 12):
            service.run(f'patcher().apply(sources(tax="def rate(): return {rate}\\n")).confirm()')
        said = service.run("p = patcher()\np.rollback()\nsay(rate=shop.rate(), v=p.versions)")
        assert (said["rate"], said["v"]) == (16, {"shop": "1.2.0+hot.1"})
        assert service.run(SAY)["rate"] == 16

    def test_is_made_once(self, service: Service) -> None:
        for rate in (16, 12):
            service.run(f'patcher().apply(sources(tax="def rate(): return {rate}\\n")).confirm()')
        said = service.run("""
            p = patcher()
            p.rollback()
            try:
                p.rollback()
            except hotswap.NothingToRollBackError as error:
                say(rate=shop.rate(), error=str(error))
        """)
        assert said["rate"] == 16

    def test_keeps_objects_and_runs_no_checks(self, service: Service) -> None:
        service.write("shop/cart.py", "carts = []\nclass Cart:\n    def total(self): return 1\n")
        new = 'sources(cart="carts = []\\nclass Cart:\\n    def total(self): return 2\\n")'
        service.run(f"patcher().apply({new}).confirm()")
        said = service.run("""
            import shop.cart
            cart = shop.cart.Cart()
            shop.cart.carts.append(cart)
            p = patcher()
            @p.check
            def no(candidate):
                return False
            before = cart.total()
            p.rollback()
            say(total=[before, cart.total()], same=isinstance(cart, shop.cart.Cart), kept=shop.cart.carts == [cart])
        """)
        assert (said["total"], said["same"], said["kept"]) == ([2, 1], True, True)

    def test_that_fails_leaves_it_permanent(self, service: Service) -> None:
        service.run('patcher().apply(sources(tax="def rate(): return 16\\n")).confirm()')
        said = service.run("""
            p = patcher()
            import hotswap.heritage
            def broken(package):
                raise hotswap.StoreError("it went away")
            hotswap.heritage.on_disk = broken
            try:
                p.rollback()
            except hotswap.NothingToRollBackError as error:
                say(rate=shop.rate(), error=str(error), state=p.current.state)
        """)
        assert (said["rate"], said["state"], "it went away" in said["error"]) == (16, "permanent", True)
        assert service.run(SAY)["rate"] == 16

    def test_gives_up_what_is_in_progress(self, service: Service) -> None:
        service.run('patcher().apply(sources(tax="def rate(): return 16\\n")).confirm()')
        said = service.run("""
            p = patcher()
            staged = p.stage(sources(web="def hello(): return 3\\n"))
            p.rollback()
            say(rate=shop.rate(), state=staged.state)
        """)
        assert (said["rate"], said["state"]) == (19, "rejected")

    def test_is_of_what_is_newest(self, service: Service) -> None:
        service.run('patcher().apply(sources(tax="def rate(): return 16\\n")).confirm()')
        said = service.run("""
            p = patcher()
            old = p.current
            new = p.apply(sources(tax="def rate(): return 12\\n"))
            try:
                old.rollback()
            except hotswap.StateError as error:
                rates = [shop.rate()]
            p.rollback()
            say(rates=[*rates, shop.rate()], states=[old.state, new.state])
        """)
        assert (said["rates"], said["states"]) == ([12, 16], ["permanent", "rolled_back"])
        assert service.run(SAY)["rate"] == 16


class TestNoCrashLoop:
    def test_it_is_quarantined(self, service: Service) -> None:
        bad = 'sources(tax="def rate(): return 7\\n")'
        for _ in range(2):
            service.run(f"patcher().apply({bad})\n{DIE}", dies=True)
        said = service.run(f"""
            try:
                patcher().apply({bad})
            except hotswap.QuarantinedError as error:
                say(error=str(error), rate=shop.rate(), digest={bad}.digest)
        """)
        assert said["rate"] == 19
        service.run(f"hotswap.Store('var').release({said['digest']!r})\npatcher().apply({bad}).confirm()")
        assert service.run(SAY)["rate"] == 7

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
    def test_also_if_workers_die_that_were_forked_from_one_that_lives(self, service: Service) -> None:
        """As those of `gunicorn --preload` do, where each begins its watch after the fork."""
        said = service.run("""
            mine, ends = patcher(), []
            bad = sources(tax="def rate(): return 7\\n")
            for _ in range(3):
                worker = os.fork()
                if not worker:
                    try:
                        mine.apply(bad)
                        os.kill(os.getpid(), 9)
                    except hotswap.QuarantinedError:
                        os._exit(3)
                ends.append(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]))
            say(ends=ends)
        """)
        assert said["ends"] == [-9, -9, 3]
        assert said["stderr"].count("store.died") == 2

    def test_also_if_it_dies_while_it_is_loaded(self, service: Service) -> None:
        bad = 'sources(tax="import os; os.kill(os.getpid(), 9)\\n")'
        for _ in range(2):
            service.run(f"patcher().apply({bad})", dies=True)
        assert "quarantined" in service.raw("-c", BEGIN + f"patcher().apply({bad})").stderr


class TestWhatDoesNotStart:
    """A patch that loads beside live modules need not load in a fresh process, as with a circular import."""

    PATCH = 'sources(tax="from shop.web import NAME\\ndef rate(): return 16\\n")'

    @pytest.fixture
    def circular(self, service: Service) -> Service:
        service.write("shop/__init__.py", "")
        service.write("shop/web.py", "from shop.tax import rate\nNAME = 'web'\n")
        service.write("service.py", BEGIN.replace("shop.web", "shop.tax") + "say(rate=shop.tax.rate())\n")
        return service

    def test_is_taken_back_by_a_program_that_imports_nothing(self, circular: Service) -> None:
        circular.run(f"import shop.tax\npatcher().apply({self.PATCH}).confirm()")
        done = circular.raw("service.py")
        assert (done.returncode, "circular import" in done.stderr) == (1, True)
        code = "import hotswap; hotswap.boot('var'); hotswap.Patcher(['shop'], store='var').rollback()"
        assert circular.raw("-c", code).returncode == 0
        assert json.loads(circular.raw("service.py").stdout) == {"rate": 19}

    def test_is_refused_by_a_check_that_imports_it_afresh(self, circular: Service) -> None:
        said = circular.run(f"""
            import hotswap.checks, shop.tax
            mine = patcher()
            mine.check(hotswap.checks.imports_clean())
            try:
                mine.apply({self.PATCH})
            except hotswap.CheckFailedError as error:
                say(error=str(error))
        """)
        assert "circular import" in said["error"]


class TestDrops:
    WATCH = """
        import time
        from pathlib import Path
        def marks():
            found = [*Path("drops").glob("*.live"), *Path("drops").glob("*.failed")]
            return {path.name: json.loads(path.read_text())["state"] for path in found}
        p, until = patcher(), time.monotonic() + 30
        with p.watch("drops", interval=0.05, single_files=True) as watch:
            while not watch.outcomes and time.monotonic() < until:
                time.sleep(0.01)
        current = p.current
        THEN
        say(rate=shop.rate(), marks=marks(), count=len(p.history()), current=str(current and current.state))
    """

    def test_that_are_permanent_are_not_applied_again(self, service: Service) -> None:
        service.write("drops/shop.tax.py", "def rate(): return 16\n")
        said = service.run(self.WATCH.replace("THEN", "current.confirm()"))
        assert (said["rate"], said["marks"]) == (16, {"shop.tax.py.live": "permanent"})
        said = service.run(self.WATCH.replace("THEN", ""))
        assert (said["rate"], said["marks"]) == (16, {"shop.tax.py.live": "permanent"})
        assert (said["count"], said["current"]) == (1, "permanent")

    def test_that_died_in_their_trial_are_tried_once_more(self, service: Service) -> None:
        service.write("drops/shop.tax.py", "def rate(): return 16\n")
        for _ in range(2):
            service.run(self.WATCH.replace("THEN", "os.kill(os.getpid(), 9)"), dies=True)
        said = service.run(self.WATCH.replace("THEN", ""))
        assert (said["rate"], said["marks"]) == (19, {"shop.tax.py.failed": "rejected"})


class TestTrouble:
    @pytest.fixture
    def patched(self, service: Service) -> Service:
        service.run('patcher().apply(sources(tax="def rate(): return 16\\n")).confirm()')
        return service

    def test_another_deployment_wins(self, patched: Service) -> None:
        patched.write("shop/web.py", "def hello(): return 'deployed'\n")
        said = patched.run(SAY)
        assert (said["rate"], said["hello"], said["versions"]) == (19, "deployed", {})
        assert "store.overtaken" in said["stderr"]
        assert "did not come up on it" not in patched.run("patcher()")["stderr"]
        patched.write("shop/web.py", 'from . import tax\ndef hello(): return f"disk {tax.rate()}"\n')
        assert patched.run(SAY)["rate"] == 16  # the code to which it was applied is back, and so is the patch

    def test_other_programs_take_nothing_away(self, patched: Service) -> None:
        """A program that has no such package, or another of the same name, boots from the same store."""
        patched.write("cron/job.py", "import hotswap\nbooted = hotswap.boot('../var')\nprint(*booted.troubles)\n")
        for shop, told in ((None, "is not found on this path"), ("RATE = 1\n", "is another than the one")):
            if shop is not None:
                patched.write("cron/shop/__init__.py", shop)
            done = subprocess.run(
                [sys.executable, "job.py"],
                cwd=patched.folder / "cron",
                env={**os.environ, "PYTHONPATH": str(Path(hotswap.__file__).parent.parent)},
                capture_output=True,
                text=True,
                timeout=LIMIT,
                check=True,
            )
            assert told in done.stdout
            assert ("store.overtaken" in done.stderr) == (shop is not None)
            assert patched.run(SAY)["rate"] == 16

    def test_the_same_code_installed_anew_is_the_same(self, patched: Service) -> None:
        path = patched.folder / "shop/web.py"
        text = path.read_text()
        path.unlink()
        path.write_text(text)
        os.utime(path, (1, 1))
        assert patched.run(SAY)["rate"] == 16

    def test_a_damaged_patch(self, patched: Service) -> None:
        for path in (patched.folder / "var/patches").iterdir():
            path.write_bytes(path.read_bytes()[:-2])
        said = patched.run(SAY)
        assert (said["rate"], said["versions"], "is damaged" in said["stderr"]) == (19, {}, True)

    def test_a_damaged_journal(self, patched: Service) -> None:
        (patched.folder / "var/journal.db").write_bytes(b"x" * 8192)
        said = patched.run(SAY)
        assert (said["rate"], "not a database" in said["stderr"]) == (19, True)

    @pytest.mark.skipif(os.name == "nt", reason="links need a right there")
    def test_a_link_that_leads_nowhere(self, patched: Service) -> None:
        """A volume that is not mounted."""
        (patched.folder / "var").rename(patched.folder / "volume")
        (patched.folder / "var").symlink_to("volume/elsewhere")
        said = patched.run(SAY)
        assert (said["rate"], "is a link to volume/elsewhere, and nothing is there" in said["stderr"]) == (19, True)
        (patched.folder / "var").unlink()
        (patched.folder / "var").symlink_to("volume")
        assert patched.run(SAY)["rate"] == 16

    @pytest.mark.parametrize("left", [None, b""])
    def test_a_journal_that_is_gone(self, patched: Service, left: bytes | None) -> None:
        """What a crash of the machine may leave, or who restores half of a backup: else nobody would know."""
        journal = patched.folder / "var/journal.db"
        journal.unlink()
        if left is not None:
            journal.write_bytes(left)
            journal.chmod(0o600)
        said = patched.run(SAY)
        assert (said["rate"], "the journal that says what of them is permanent is gone" in said["stderr"]) == (19, True)
        patched.run('patcher().apply(sources(tax="def rate(): return 17\\n")).confirm()')
        said = patched.run(SAY)
        assert (said["rate"], "store.troubled" in said["stderr"]) == (17, False)

    @pytest.mark.parametrize(
        ("column", "value", "rate"),
        [
            ("packages", '["shop"', 19),
            ("packages", "7", 19),
            ("base", "null", 19),
            ("started", "x", 19),
            ("changed", "2026-01-01", 19),
            ("report", "[{}]", 16),
            ("report", "[1]", 19),
            ("state", "foo", 19),
            ("after", '{"shop": "new"}', 19),
            ("version", "new", 19),
            ("pause", "long", 19),
            ("generation", None, 19),
            ("generation", "../journal.db", 19),
        ],
    )
    def test_damaged_values_in_the_journal(self, patched: Service, column: str, value: str | None, rate: int) -> None:
        """Whatever stands in a column, the service starts, on what is permanent or on the code on disk."""
        with sqlite3.connect(patched.folder / "var/journal.db") as connection:
            connection.execute(f"UPDATE rollout SET {column} = ?", (value,))
            connection.execute("UPDATE incarnation SET id = '/' || id, how = NULL")
        connection.close()
        said = patched.run(SAY.replace("say(", "say(n=len(patcher().history()), "))
        assert (said["rate"], "store.troubled" in said["stderr"]) == (rate, True), said

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names here")
    @pytest.mark.parametrize("what", ["patches/*", "journal.db"])
    def test_a_pipe_in_the_place_of_a_file(self, patched: Service, what: str) -> None:
        for path in (patched.folder / "var").glob(what):
            path.unlink()
            os.mkfifo(path, 0o600)
        said = patched.run(SAY)
        told = "no regular file" in said["stderr"] or "neither a file nor a folder" in said["stderr"]
        assert (said["rate"], told) == (19, True)

    @pytest.mark.skipif(os.name == "nt", reason="there are no such permissions")
    @pytest.mark.parametrize("denied", ["var", "journal.db"])
    def test_a_folder_that_may_not_be_looked_into(self, patched: Service, denied: str) -> None:
        """Tests may run as root, who may do anything: the system is made to say no."""
        deny = f"""
import os, os.path
real = os.stat
def stat(path, *more, **options):
    if isinstance(path, (str, os.PathLike)) and {denied!r} in os.fspath(path).split(os.sep):
        raise PermissionError(13, "Permission denied", path)
    return real(path, *more, **options)
os.stat = stat
"""
        said = patched.run(SAY, begin=deny + BEGIN)
        assert (said["rate"], said["versions"], "store.troubled" in said["stderr"]) == (19, {}, True)

    def test_a_name_that_is_too_long(self, service: Service) -> None:
        said = service.run(SAY, begin=BEGIN.replace('boot("var")', 'boot("v" * 300)'))
        assert (said["rate"], "store.troubled" in said["stderr"]) == (19, True)

    def test_a_folder_that_others_may_write(self, patched: Service) -> None:
        for path, mode in (("", 0o777), ("", 0o770), ("patches", 0o730), ("running", 0o777), ("journal.db", 0o620)):
            place = patched.folder / "var" / path
            kept = place.stat().st_mode
            place.chmod(mode)
            said = patched.run(SAY)
            assert (said["rate"], "others than its owner" in said["stderr"]) == (19, True), path
            place.chmod(kept)
        patched.folder.chmod(0o777)
        said = patched.run(SAY)
        assert (said["rate"], "everybody may write into" in said["stderr"]) == (19, True)
        patched.folder.chmod(0o1777)
        assert patched.run(SAY)["rate"] == 16

    def test_a_store_is_made_for_its_owner_only(self, service: Service) -> None:
        umask = BEGIN + "os.umask(0)\n"
        service.run('patcher().apply(sources(tax="def rate(): return 16\\n")).confirm()', begin=umask)
        modes = {path.stat().st_mode & 0o077 for path in (service.folder / "var").rglob("*")}
        assert modes | {(service.folder / "var").stat().st_mode & 0o077} == {0}
        assert service.run(SAY)["rate"] == 16

    def test_packages_that_are_imported_already(self, patched: Service) -> None:
        """In another version than the one that is permanent: the code on disk runs, as a whole."""
        done = patched.raw(
            "-c",
            "import shop, hotswap\nprint(hotswap.boot('var').versions, shop.rate(), shop.web.hello())".replace(
                "shop, hotswap", "shop, shop.web, hotswap"
            ),
        )
        assert done.stdout == "{} 19 disk 19\n"
        assert "shop.tax is imported already" in done.stderr
        assert "first line" in done.stderr

    def test_a_package_that_is_started_as_a_program(self, service: Service) -> None:
        """`python -m shop` imports `shop` before the first line of `shop.__main__` runs."""
        service.write("shop/__init__.py", '__version__ = "1.2.0"\n')
        service.write(
            "shop/__main__.py",
            "import sys, hotswap\nbooted = hotswap.boot('var')\nfrom shop import tax, web\n"
            "p = hotswap.Patcher(['shop'], store='var')\n"
            "new = hotswap.Patch.from_sources({'shop.tax': 'def rate(): return 16\\n'})\n"
            "new = {'tax': new, 'all': hotswap.Patch.from_sources({'shop.__init__': 'x = 1\\n'})}\n"
            "if sys.argv[1:]: p.apply(new[sys.argv[1]]).confirm()\n"
            "if sys.argv[2:]: p.rollback()\n"
            "print(tax.rate(), web.hello(), *booted.versions.values())\n",
        )
        first = service.raw("-m", "shop", "tax")
        assert first.stdout == "16 disk 16\n"
        assert "was imported before hotswap.boot()" in first.stderr
        then = service.raw("-m", "shop")
        assert (then.stdout, "imported" in then.stderr) == ("16 disk 16 1.2.0+hot.1\n", False)
        assert service.raw("-m", "shop", "all").stdout == "16 disk 16 1.2.0+hot.1\n"
        last = service.raw("-m", "shop")  # it comes up on the code on disk, whose __init__ has run already
        assert (last.returncode, last.stdout) == (0, "19 disk 19\n")
        assert "shop is imported already" in last.stderr
        assert "python -m hotswap run -m NAME" in last.stderr
        assert service.raw("-m", "hotswap", "run", "--store", "var", "-m", "shop").stdout.startswith("16 disk 16 ")

    def test_a_forgotten_boot_is_told(self, patched: Service) -> None:
        done = patched.raw("-c", "import shop, hotswap\nhotswap.Patcher(['shop'], store='var')")
        assert "did not come up on it" in done.stderr

    def test_a_second_boot_is_none(self, patched: Service) -> None:
        said = patched.run("say(same=hotswap.boot('var') == booted, rate=shop.rate())")
        assert (said["same"], said["rate"]) == (True, 16)

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
    def test_a_read_only_folder(self, patched: Service) -> None:
        for path in ((patched.folder / "var"), *(patched.folder / "var").rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        assert patched.run(SAY)["rate"] == 16

    def test_a_read_only_file_system(self, patched: Service) -> None:
        """SQLite and the system are told that nothing can be written; a process has died before, and left its log."""
        patched.run('patcher().apply(sources(tax="def rate(): return 7\\n"))\n' + DIE, dies=True)
        begin = "import os\nos.access = lambda path, mode: mode != os.W_OK\n" + BEGIN
        said = patched.run(SAY, begin=begin)
        assert said["rate"] == 16
