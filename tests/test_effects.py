"""What the import of a candidate does to the process around it: found, undone, made at the commit, or refused."""

from __future__ import annotations

import asyncio
import atexit
import builtins
import copyreg
import gc
import importlib
import itertools
import logging
import os
import signal
import socket
import sys
import threading
import types
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import hotswap
from hotswap import CheckFailedError, LoadError, Patch, Patcher, Rollout, State, UnsupportedChangeError
from hotswap.effects import KINDS, Effect, Outcome
from hotswap.effects.exits import registered
from tests.fingerprint import Fingerprint, differences

pytestmark = pytest.mark.threads  # threads, sockets, and fingerprints of the system: not on Pyodide

Make = Callable[..., ModuleType]

_serial = itertools.count(1)


class Service:
    """A package with one module, `code`, and the patcher of it."""

    def __init__(self, make: Make, live: str = "", **options: object) -> None:
        self.name = f"effective{next(_serial)}"
        make({"__init__.py": '__version__ = "1.0"\n', "code.py": self.text(live)}, name=self.name)
        self.live: Any = importlib.import_module(f"{self.name}.code")
        self.patcher = Patcher([self.name], **options)  # type: ignore[arg-type]

    def text(self, source: str) -> str:
        return source.replace("PACKAGE", self.name)

    def patch(self, body: str) -> Patch:
        return Patch.from_sources({f"{self.name}.code": self.text(body)})

    def stage(self, body: str, **options: object) -> Rollout:
        return self.patcher.stage(self.patch(body), **options)  # type: ignore[arg-type]

    def fingerprint(self) -> Fingerprint:
        return Fingerprint(self.patcher)


@pytest.fixture
def service(make_package: Make) -> Service:
    return Service(make_package)


@pytest.fixture(autouse=True)
def settings_left_as_found() -> Iterator[None]:
    limit = sys.getrecursionlimit()
    yield
    assert sys.getrecursionlimit() == limit


def kinds(rollout: Rollout) -> list[tuple[str, str]]:
    return sorted((effect.kind, effect.outcome.value) for effect in rollout.plan.effects)


UNDONE: dict[str, tuple[str, str]] = {
    "environment": ("environment", 'import os\nos.environ["PACKAGE_MODE"] = "new"\n'),
    "variable_removed": ("environment", 'import os\nos.environ.pop("HOME", None)\n'),
    "path": ("import-path", 'import sys\nsys.path.append("/nowhere/PACKAGE")\n'),
    "finder": ("import-path", "import sys\nclass F:\n  def find_spec(self, *a): pass\nsys.meta_path.append(F())\n"),
    "path_hook": ("import-path", "import sys\ndef hook(p): raise ImportError\nsys.path_hooks.append(hook)\n"),
    "excepthook": ("hooks", "import sys\ndef hook(*a): pass\nsys.excepthook = hook\n"),
    "thread_hook": ("hooks", "import threading\ndef hook(a): pass\nthreading.excepthook = hook\n"),
    "thread_trace": ("hooks", "import threading\ndef trace(*a): pass\nthreading.settrace(trace)\n"),
    "recursion": ("settings", "import sys\nsys.setrecursionlimit(sys.getrecursionlimit() + 7)\n"),
    "switch": ("settings", "import sys\nsys.setswitchinterval(0.0071)\n"),
    "digits": ("settings", "import sys\nsys.set_int_max_str_digits(5000)\n"),
    "threshold": ("settings", "import gc\ngc.set_threshold(gc.get_threshold()[0] + 7)\n"),
    "timeout": ("settings", "import socket\nsocket.setdefaulttimeout(77.0)\n"),
    "directory": ("settings", "import os\nos.chdir(os.sep)\n"),
    "filter": ("warnings", 'import warnings\nwarnings.filterwarnings("ignore", "PACKAGE")\n'),
    "handler": ("logging", 'import logging\nlogging.getLogger("PACKAGE").addHandler(logging.NullHandler())\n'),
    "own_handler": (
        "logging",
        'import logging\nclass H(logging.Handler): pass\nlogging.getLogger("PACKAGE").addHandler(H())\n',
    ),
    "level": ("logging", 'import logging\nlogging.getLogger("PACKAGE.deep").setLevel(7)\n'),
    "record": ("logging", "import logging\nclass R(logging.LogRecord): pass\nlogging.setLogRecordFactory(R)\n"),
    "builtin": ("builtins", "import builtins\ndef shout(): pass\nbuiltins.PACKAGE_shout = shout\n"),
    "collector": ("registrations", "import gc\ndef note(*a): pass\ngc.callbacks.append(note)\n"),
    "pickling": ("registrations", "import copyreg\nclass C: pass\ndef p(c): pass\ncopyreg.pickle(C, p)\n"),
    "foreign_module": ("registrations", "import json\ndef dumps(*a): pass\njson.dumps = dumps\n"),
}


class TestUndone:
    @pytest.mark.parametrize("case", UNDONE)
    def test_staged_it_is_undone_live_it_is_made_and_rolled_back_it_is_taken_back(
        self, service: Service, case: str
    ) -> None:
        kind, body = UNDONE[case]
        gc.collect()
        before = service.fingerprint()
        rollout = service.stage(body)
        assert kinds(rollout) == [(kind, "undone")]
        assert unlike(before, service.fingerprint()) == []
        rollout.verify()
        rollout.commit()
        try:
            assert case == "foreign_module" or unlike(before, service.fingerprint()) != []
        finally:
            rollout.rollback()
        assert unlike(before, service.fingerprint()) == []
        before.release()

    def test_rejected_nothing_is_left(self, service: Service) -> None:
        gc.collect()
        before = service.fingerprint()

        @service.patcher.check
        def no(candidate: object) -> bool:
            return False

        with pytest.raises(CheckFailedError) as caught:
            service.patcher.apply(service.patch("".join(body for _, body in UNDONE.values())))
        caught.value.__traceback__ = None
        del caught
        gc.collect()
        assert differences(before, service.fingerprint(), collected=False) == []
        before.release()

    def test_module_body_that_fails_half_way_leaves_nothing_either(self, service: Service) -> None:
        gc.collect()
        before = service.fingerprint()
        body = "".join(body for _, body in UNDONE.values())
        with pytest.raises(LoadError):
            service.stage(body + "import atexit\natexit.register(hook)\n1 / 0\n")
        gc.collect()
        assert differences(before, service.fingerprint(), collected=False) == []
        before.release()

    def test_names_of_foreign_modules_are_put_back(self, service: Service) -> None:
        import json

        dumps = json.dumps
        rollout = service.stage(UNDONE["foreign_module"][1])
        assert json.dumps is dumps
        rollout.verify()
        rollout.commit()
        assert json.dumps is sys.modules[f"{service.name}.code"].dumps
        rollout.rollback()
        assert json.dumps is dumps

    def test_values_of_the_environment_are_not_told(self, service: Service) -> None:
        with service.stage('import os\nos.environ["PACKAGE_KEY"] = "very-secret"\n') as rollout:
            assert f"sets the environment variable {service.name}_KEY" in str(rollout.plan)
            assert "very-secret" not in str(rollout.plan)

    def test_what_another_thread_sets_after_the_commit_stays(self, service: Service) -> None:
        name = f"{service.name}_MODE"
        rollout = service.patcher.apply(service.patch(UNDONE["environment"][1]))
        os.environ[name] = "somebody else's"
        rollout.rollback()
        assert os.environ.pop(name) == "somebody else's"

    def test_ordinary_module_has_no_effects(self, service: Service) -> None:
        body = (
            "import dataclasses, enum, logging, re, abc, functools, collections.abc\n"
            "from typing import Dict, Generic, NamedTuple, Optional, TypeVar\n"
            "log = logging.getLogger(__name__)\nPATTERN = re.compile('PACKAGE+')\nT = TypeVar('T')\n"
            "class Base(abc.ABC):\n  def run(self, a=(1, 2)): return super().__repr__()\n"
            "class Box(Base, Generic[T]):\n  items: Optional[Dict[str, 'Box']] = None\n"
            "U = Dict[str, Optional[Box]]\nKNOWN = issubclass(Box, collections.abc.Mapping)\n"
            "class Colour(enum.Enum):\n  RED = 1\nclass Point(NamedTuple):\n  x: int\n"
            "@dataclasses.dataclass(slots=True)\nclass Order:\n  box: Box = dataclasses.field(default_factory=Box)\n"
            "@functools.lru_cache\ndef cached(x): return x\nBOX = Box()\n"
            "run = BOX.run\nhalf = functools.partial(run, 1)\n"
            "def counter():\n  n = 0\n  def tick():\n    nonlocal n\n    n += 1\n    return n\n  return tick\n"
            "tick = counter()\n"
        )
        with service.stage(body) as rollout:
            assert rollout.plan.effects == []


def unlike(before: Fingerprint, after: Fingerprint) -> list[str]:
    """What differs in the process, apart from the rollout itself and the modules of the package."""
    return [
        line
        for line in differences(before, after, collected=False)
        if not line.startswith(
            (
                "current rollout",
                "temporary directories",
                "worlds",
                "builtins.__import__",
                "importlib.import",
                "versions",
            )
        )
        and "effective" not in line.partition(": was")[0].replace("logger 'effective", "logger '")
    ]


class TestThereAlready:
    """What the running version has done when it was imported is not done twice."""

    def test_handler_of_the_same_class(self, make_package: Make) -> None:
        body = UNDONE["own_handler"][1]
        service = Service(make_package, body)
        logger = logging.getLogger(service.name)
        held = list(logger.handlers)
        rollout = service.patcher.apply(service.patch(body + "x = 1\n"))
        assert logger.handlers == held
        rollout.rollback()
        assert logger.handlers == held
        logger.removeHandler(held[0])

    def test_function_that_is_called_at_the_end(self, make_package: Make) -> None:
        body = "import atexit\ndef bye(): pass\natexit.register(bye)\n"
        service = Service(make_package, body)
        old = service.live.bye
        before = registered()
        rollout = service.patcher.apply(service.patch(body + "x = 1\n"))
        assert registered() == before
        rollout.rollback()
        assert registered() == before
        atexit.unregister(old)

    def test_path_that_stands_there(self, make_package: Make) -> None:
        body = 'import sys\nsys.path.append("/nowhere/PACKAGE")\n'
        service = Service(make_package, body)
        before = list(sys.path)
        with service.stage(body + "x = 1\n") as rollout:
            assert rollout.plan.effects == []
            assert sys.path == before
            rollout.verify()
            rollout.commit()
        assert sys.path == before
        rollout.rollback()
        assert sys.path == before


class TestExits:
    BODY = "import atexit\ndef bye(*a, **k): pass\natexit.register(bye, 1, k=2)\n"

    def test_a_new_one_is_taken_out_when_the_rollout_is_rejected(self, service: Service) -> None:
        before = registered()
        rollout = service.stage(self.BODY)
        assert kinds(rollout) == [("atexit", "held")]
        rollout.abort()
        assert registered() == before

    def test_it_stays_when_it_goes_live_and_goes_with_a_rollback(self, service: Service) -> None:
        before = registered()
        rollout = service.patcher.apply(service.patch(self.BODY))
        new = registered()
        assert len(new) == len(before) + 1
        assert new[-1] is sys.modules[f"{service.name}.code"].bye or new[0] is sys.modules[f"{service.name}.code"].bye
        rollout.rollback()
        assert registered() == before

    def test_one_of_somebody_else_registered_once_more_is_taken_out_once(self, service: Service) -> None:
        atexit.register(gc.collect)
        try:
            before = registered()
            rollout = service.stage("import atexit, gc\natexit.register(gc.collect)\n")
            assert kinds(rollout) == [("atexit", "held")]
            rollout.abort()
            assert registered() == before
        finally:
            atexit.unregister(gc.collect)


class TestLeft:
    THREAD = (
        "import threading\nstop = threading.Event()\ndef serve(): stop.wait(20)\n"
        "thread = threading.Thread(target=serve, name='PACKAGE server')\nthread.start()\n"
    )

    def test_thread_is_refused_and_named(self, service: Service) -> None:
        with pytest.raises(UnsupportedChangeError) as caught:
            service.patcher.apply(service.patch(self.THREAD))
        try:
            assert {getattr(change, "code", None) for change in caught.value.changes} == {"import-effect"}
            assert f"thread '{service.name} server' is still running serve at line" in str(caught.value)
            assert sys.modules[f"{service.name}.code"] is service.live
        finally:
            stop_thread(f"{service.name} server")

    def test_thread_is_let_if_the_rollout_allows_it(self, service: Service) -> None:
        rollout = service.patcher.apply(service.patch(self.THREAD), allow_effects=["threads"])
        sys.modules[f"{service.name}.code"].stop.set()
        assert rollout.plan.effects[0].allowed
        assert "left   threads: " in str(rollout.plan)
        assert ", allowed" in str(rollout.plan)
        rollout.rollback()

    def test_thread_is_let_if_the_patcher_allows_it(self, make_package: Make) -> None:
        service = Service(make_package, allow_effects=["threads", "sockets"])
        rollout = asyncio.run(service.patcher.apply_async(service.patch(self.THREAD)))
        sys.modules[f"{service.name}.code"].stop.set()
        assert rollout.state is State.LIVE

    def test_thread_that_has_ended_is_no_effect(self, service: Service) -> None:
        body = "import threading\nt = threading.Thread(target=lambda: None)\nt.start()\nt.join()\n"
        with service.stage(body) as rollout:
            assert rollout.plan.effects == []

    def test_timer_nobody_holds_is_found(self, service: Service) -> None:
        body = "import threading\ndef later(): pass\nthreading.Timer(30, later).start()\n"
        before = set(threading.enumerate())
        with pytest.raises(UnsupportedChangeError, match="threads: thread"):
            service.stage(body)
        for thread in set(threading.enumerate()) - before:
            assert isinstance(thread, threading.Timer)
            thread.cancel()
            thread.join()

    def test_thread_that_the_service_starts_meanwhile_is_not_the_candidates(self, service: Service) -> None:
        asked, started, stop = threading.Event(), threading.Event(), threading.Event()
        others: list[threading.Thread] = []

        def start() -> None:
            assert asked.wait(20)
            others.append(threading.Thread(target=stop.wait))
            others[0].start()
            started.set()

        of_service = threading.Thread(target=start)
        of_service.start()
        builtins.effective_events = (asked, started)  # type: ignore[attr-defined]
        try:
            # It starts one while the module body waits, in a thread that was there before.
            body = "import builtins\nasked, started = builtins.effective_events\nasked.set()\nassert started.wait(20)\n"
            with service.stage(body) as rollout:
                assert others[0].is_alive()
                assert rollout.plan.effects == []
        finally:
            del builtins.effective_events  # type: ignore[attr-defined]
            asked.set()
            stop.set()
            of_service.join()
            others[0].join()

    def test_coroutine_that_was_handed_to_a_loop_is_refused_and_cancelled(self, service: Service) -> None:
        ran: list[str] = []

        async def main() -> None:
            service.live.__dict__.update(ran=ran, loop=asyncio.get_running_loop())
            sys.modules["effective_loop"] = service.live
            body = (
                "import effective_loop as live, asyncio\n"
                "async def tick():\n    await asyncio.sleep(60)\n    live.ran.append('x')\n"
                "task = asyncio.run_coroutine_threadsafe(tick(), live.loop)\n"
            )
            try:
                with pytest.raises(
                    UnsupportedChangeError, match="tasks: the coroutine tick was handed to an event loop"
                ):
                    await service.patcher.apply_async(service.patch(body))
            finally:
                del sys.modules["effective_loop"]
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        asyncio.run(main())
        assert "x" not in ran

    def test_socket_that_listens_is_refused_and_closed(self, service: Service) -> None:
        body = "import socket\nserver = socket.create_server(('127.0.0.1', 0))\nport = server.getsockname()[1]\n"
        with pytest.raises(
            UnsupportedChangeError, match=r"sockets: opens a socket that listens on \('127.0.0.1', \d+\)"
        ) as caught:
            service.stage(body)
        with socket.create_server(("127.0.0.1", _port(str(caught.value)))):
            pass

    def test_socket_that_listens_is_let_if_allowed(self, service: Service) -> None:
        body = "import socket\nserver = socket.create_server(('127.0.0.1', 0))\n"
        rollout = service.patcher.apply(service.patch(body), allow_effects=("sockets",))
        sys.modules[f"{service.name}.code"].server.close()
        rollout.rollback()


def _port(text: str) -> int:
    return int(text.partition("('127.0.0.1', ")[2].partition(")")[0])


def stop_thread(name: str) -> None:
    """End a thread of a rejected candidate by its event."""
    (thread,) = [thread for thread in threading.enumerate() if thread.name == name]
    thread._target.__globals__["stop"].set()  # type: ignore[attr-defined]
    thread.join()


class TestFiles:
    def test_file_in_a_global_is_listed_and_closed_by_a_rejection(self, service: Service, tmp_path: Path) -> None:
        file = tmp_path / "log.txt"
        rollout = service.stage(f"LOG = open({str(file)!r}, 'a')\n")
        opened = rollout.candidate[f"{service.name}.code"].LOG
        assert kinds(rollout) == [("files", "held")]
        assert "log.txt" in str(rollout.plan)
        rollout.abort()
        assert opened.closed

    def test_twin_of_a_file_that_is_kept_is_closed_at_the_commit(self, make_package: Make, tmp_path: Path) -> None:
        body = f"LOG = open({str(tmp_path / 'log.txt')!r}, 'a')\n"
        service = Service(make_package, body)
        living = service.live.LOG
        rollout = service.stage(body + "x = 1\n")
        twin = rollout.candidate[f"{service.name}.code"].LOG
        rollout.verify()
        rollout.commit()
        assert sys.modules[f"{service.name}.code"].LOG is living
        assert twin.closed
        assert not living.closed
        rollout.rollback()
        living.close()

    def test_new_file_goes_live_open(self, service: Service, tmp_path: Path) -> None:
        rollout = service.patcher.apply(service.patch(f"LOG = open({str(tmp_path / 'log.txt')!r}, 'a')\n"))
        file = sys.modules[f"{service.name}.code"].LOG
        assert not file.closed
        rollout.rollback()
        file.close()


class TestSignals:
    BODY = "import signal\ndef handler(*a): pass\nsignal.signal(signal.SIGUSR1, handler)\n"

    def test_handler_is_put_back_and_refused(self, make_package: Make) -> None:
        service = Service(make_package, load_timeout=None)
        before = signal.getsignal(signal.SIGUSR1)
        with pytest.raises(UnsupportedChangeError, match="sets the handler of signal SIGUSR1, which was put back"):
            service.stage(self.BODY)
        assert signal.getsignal(signal.SIGUSR1) is before

    def test_if_allowed_the_patch_goes_live_without_it(self, make_package: Make) -> None:
        service = Service(make_package, load_timeout=None)
        before = signal.getsignal(signal.SIGUSR1)
        rollout = service.patcher.apply(service.patch(self.BODY), allow_effects=["signals"])
        assert rollout.state is State.LIVE
        assert signal.getsignal(signal.SIGUSR1) is before
        rollout.rollback()

    def test_what_the_service_sets_meanwhile_is_no_effect(
        self, make_package: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A patch in a thread, and the main thread begins to run an event loop while the module body runs."""
        body = types.ModuleType("a_body_at_work")
        began, go_on = threading.Event(), threading.Event()
        body.__dict__.update(began=began, go_on=go_on)
        monkeypatch.setitem(sys.modules, "a_body_at_work", body)
        service = Service(make_package)
        text = "from a_body_at_work import began, go_on\nbegan.set()\nassert go_on.wait(60)\nNEW = 1\n"

        async def main() -> object:
            handler = signal.getsignal(signal.SIGINT)
            go_on.set()
            await asyncio.to_thread(patching.result)
            assert signal.getsignal(signal.SIGINT) is handler
            return handler

        before = signal.getsignal(signal.SIGINT)
        with ThreadPoolExecutor(1) as pool:
            patching = pool.submit(service.patcher.apply, service.patch(text))
            assert began.wait(60)
            assert asyncio.run(main()) is not before
        assert sys.modules[f"{service.name}.code"].NEW == 1
        assert signal.getsignal(signal.SIGINT) is before
        patching.result().rollback()


class TestOnDemand:
    def test_module_that_a_check_loads_is_looked_at_too(self, make_package: Make, tmp_path: Path) -> None:
        service = Service(make_package)
        # A whole package: a module of it that nobody has imported is loaded when somebody asks for it.
        folder = tmp_path / "new" / service.name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text('__version__ = "2.0"\n')
        (folder / "code.py").write_text("x = 1\n")
        (folder / "late").mkdir()
        (folder / "late" / "__init__.py").write_text("")
        (folder / "late" / "inner.py").write_text(service.text(UNDONE["environment"][1]))
        rollout = service.patcher.stage(Patch.from_path(folder, version="2.0"))
        before = dict(os.environ)
        assert rollout.candidate[f"{service.name}.late.inner"].os is os
        assert dict(os.environ) == before
        rollout.verify()
        rollout.commit()
        assert os.environ[f"{service.name}_MODE"] == "new"
        assert kinds(rollout) == [("environment", "undone")]
        rollout.rollback()
        assert dict(os.environ) == before


class TestPolicy:
    def test_kinds_that_do_not_exist_are_refused(self, service: Service) -> None:
        with pytest.raises(ValueError, match="there is no kind 'thread'; there are threads, tasks"):
            Patcher([service.name], allow_effects=["thread"])
        with pytest.raises(TypeError, match="not the text 'threads'"):
            service.patcher.stage(service.patch("x = 1\n"), allow_effects="threads")
        assert service.patcher.current is None

    def test_every_kind_may_be_allowed(self, service: Service) -> None:
        Patcher([service.name], allow_effects=KINDS)

    def test_facts_say_what_is_refused(self) -> None:
        assert Effect("threads", "x", Outcome.LEFT).refused
        assert not Effect("threads", "x", Outcome.LEFT, allowed=True).refused
        assert not Effect("atexit", "x", Outcome.HELD).refused
        assert str(Effect("atexit", "x", Outcome.HELD)) == "held   atexit: x"


class TestStaging:
    BODY = "import hotswap\nSTAGED = hotswap.staging()\ndef ask(): return hotswap.staging()\n"

    def test_module_bodies_and_checks_are_told(self, make_package: Make) -> None:
        service = Service(make_package, self.BODY)
        told: list[bool] = []

        @service.patcher.check
        def plain(candidate: object) -> None:
            told.append(hotswap.staging())

        @service.patcher.check
        async def waiting(candidate: object) -> None:
            await asyncio.sleep(0)
            told.append(hotswap.staging())
            told.append(await asyncio.to_thread(hotswap.staging))

        assert not service.live.STAGED
        rollout = service.patcher.apply(service.patch(self.BODY.replace("STAGED", "NOW")))
        assert told == [True, True, True]
        live = sys.modules[f"{service.name}.code"]
        assert live.NOW
        assert not live.ask()
        assert not hotswap.staging()
        rollout.rollback()

    def test_checks_on_the_loop_of_the_service_are_told_and_nothing_else_there(self, service: Service) -> None:
        told: list[bool] = []

        @service.patcher.check
        async def waiting(candidate: object) -> None:
            await asyncio.sleep(0)
            told.append(hotswap.staging())

        async def main() -> bool:
            await service.patcher.apply_async(service.patch("x = 2\n"))
            return hotswap.staging()

        assert asyncio.run(main()) is False
        assert told == [True]

    def test_body_that_leaves_its_context_is_told(self, service: Service) -> None:
        body = "import contextvars, hotswap\nTOLD = contextvars.Context().run(hotswap.staging)\n"
        with service.stage(body) as rollout:
            assert rollout.candidate[f"{service.name}.code"].TOLD

    def test_without_a_thread_of_its_own_the_caller_is_told_only_meanwhile(self, make_package: Make) -> None:
        service = Service(make_package, load_timeout=None)
        with service.stage(self.BODY) as rollout:
            assert rollout.candidate[f"{service.name}.code"].STAGED
            assert not hotswap.staging()

    def test_module_that_asks_can_leave_its_effect_undone(self, service: Service) -> None:
        body = "import hotswap, os\nif not hotswap.staging():\n    os.environ['PACKAGE_MODE'] = 'x'\n"
        with service.stage(body) as rollout:
            assert rollout.plan.effects == []


def test_nothing_is_wrapped_while_a_patch_is_staged(service: Service) -> None:
    watched = (threading.Thread.start, atexit.register, warnings.filterwarnings, copyreg.pickle, os.environ, open)
    with service.stage(UNDONE["environment"][1]):
        now = (threading.Thread.start, atexit.register, warnings.filterwarnings, copyreg.pickle, os.environ, open)
        assert all(a is b for a, b in zip(watched, now, strict=True))
