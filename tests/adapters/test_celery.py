"""Celery: tasks of living applications, called, sent to workers in this process, and compared with a fresh start."""

from __future__ import annotations

import gc
import inspect
import logging
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest

from hotswap import CheckFailedError, LoadError, PlanError, Rollout, State
from tests.adapters.programs import Program

pytest.importorskip("celery", reason="Celery is not installed here")
pytestmark = pytest.mark.threads

from celery import Celery, _state, chain, signals  # noqa: E402 - the library may be missing
from celery.app import trace  # noqa: E402 - the library may be missing
from celery.contrib.testing.worker import start_worker  # noqa: E402 - the library may be missing
from celery.worker import state as worker_state  # noqa: E402 - the library may be missing

from hotswap.adapters.celery_tasks import ARGUMENTS, OPTIONS  # noqa: E402 - the library may be missing

APP = """from celery import Celery
app = Celery(__name__.partition('.')[0], broker='memory://', backend='cache+memory://')
app.conf.broker_transport_options = {'polling_interval': 0.01}
"""
HEAD = "from celery import shared_task\nfrom .app import app\n"
FILES = {"__init__.py": "from . import app, tasks\n", "app.py": APP}


@pytest.fixture(autouse=True)
def state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the state of Celery as it was: applications are known to each other there."""
    receivers = list(signals.task_prerun.receivers)
    # What is logged with its traceback holds frames of old code, until the end of the test.
    monkeypatch.setattr(logging.getLogger("celery.app.trace"), "disabled", True)
    monkeypatch.setattr(_state, "_apps", weakref.WeakSet())  # those of other tests would get shared tasks
    finalizers, default = set(_state._on_app_finalizers), _state.default_app
    current = getattr(_state._tls, "current_app", None)
    yield
    _state._on_app_finalizers.clear()
    _state._on_app_finalizers.update(finalizers)
    _state.default_app, _state._tls.current_app = default, current
    signals.task_prerun.receivers[:] = receivers


def names(app: Celery) -> list[str]:
    prefix = f"{app.main}."
    return sorted(name.removeprefix(prefix) for name in app.tasks if name.startswith(prefix))


def look(app: Celery) -> Any:
    """What can be seen of tasks that take no arguments: their names, options, and what they return."""
    app.set_current()
    found = []
    for name in names(app):
        task = app.tasks[f"{app.main}.{name}"]
        result = task.apply()
        found.append((name, task.max_retries, task.rate_limit, result.state, str(result.result)))
    return found


@pytest.fixture
def program(start: Callable[..., Program]) -> Callable[[Mapping[str, str]], Program]:
    return lambda files: start({**FILES, **files}, hold=lambda package: package.app.app, look=look)


Start = Callable[[Mapping[str, str]], Program]


def commit(service: Program, rollout: Rollout) -> None:
    """Make a patch live that is staged."""
    if rollout.state is State.STAGED:
        rollout.verify()
    rollout.commit()


def everything(app: Celery) -> Any:
    """All that Celery keeps of tasks, by identity."""
    own = {name: value for name, value in vars(app).items() if name not in ("_tasks", "_pending", "_local", "clock")}
    tasks = [(name, id(task), type(task), dict(vars(task))) for name, task in sorted(app._tasks.items())]
    promises = [(id(each), ARGUMENTS.__get__(each), OPTIONS.__get__(each)) for each in app._pending]
    settings = repr(app._conf.__dict__["changes"] if app.configured else app._preconf)
    gc.collect()
    return (
        own,
        tasks,
        promises,
        settings,
        set(_state._on_app_finalizers),
        {id(each) for each in _state._get_active_apps()},
        (_state.default_app, _state._tls.current_app),
    )


class TestTasksOfALivingApplication:
    V1 = f"""{HEAD}
def helper(): return 'h1'
@app.task
def a(): return 'a1', helper()
@app.task(bind=True, max_retries=1)
def b(self): return 'b1', self.max_retries, self.request.called_directly
@app.task
def c(): return 'c1'
@shared_task
def d(): return 'd1'
"""
    V2 = f"""{HEAD}
def helper(): return 'h2'
@app.task(rate_limit='10/s')
def a(x=2): return 'a2', helper(), x
@app.task(bind=True, max_retries=7)
def b(self): return 'b2', self.max_retries, self.request.called_directly
@shared_task
def d(): return 'd2'
@shared_task
def e(): return 'e2'
@app.task
def f(): return 'f2'
"""

    def test_there_and_back(self, program: Start) -> None:
        service = program({"tasks.py": self.V1})
        rollout = service.goes({"tasks.py": self.V2})
        told = {
            (str(change.fate), change.name.rpartition(".")[2]) for change in rollout.plan.names if change.why == "task"
        }
        assert told == {("added", "e"), ("added", "f"), ("removed", "c")}

    def test_a_patch_that_fails_leaves_nothing(self, program: Start) -> None:
        service = program({"tasks.py": self.V1})
        service.seen()
        before = everything(service.held)
        service.is_left_alone_by({"tasks.py": self.V2 + "1 / 0\n"}, LoadError)
        assert everything(service.held) == before

    def test_a_rejected_candidate_leaves_nothing(self, program: Start) -> None:
        service = program({"tasks.py": self.V1})
        service.seen()
        before, seen = everything(service.held), []

        def fails(candidate: Any) -> bool:
            tasks = candidate[f"{service.name}.tasks"]
            seen.append((tasks.a(), tasks.b(), tasks.f()))
            return False

        service.patcher.check(fails)
        rollout = service.stage({"tasks.py": self.V2})
        assert everything(service.held) == before
        with pytest.raises(CheckFailedError):
            rollout.verify()
        assert seen == [(("a2", "h2", 2), ("b2", 7, True), "f2")]
        assert everything(service.held) == before

    def test_a_task_stays_the_object_that_it_is(self, program: Start) -> None:
        service = program({"tasks.py": self.V1})
        held = service.package.tasks.a
        task, signature = service.held.tasks[held.name], held.s()
        service.goes({"tasks.py": self.V2})
        assert service.held.tasks[held.name] is task
        assert service.package.tasks.a is held
        assert held() == ("a2", "h2", 2)
        assert held.rate_limit == "10/s"
        assert signature.apply().get() == ("a2", "h2", 2)

    def test_all_removed(self, program: Start) -> None:
        program({"tasks.py": self.V1}).goes({"tasks.py": ""})

    def test_a_module_removed_and_one_added(self, program: Start) -> None:
        more = {"__init__.py": "from . import app, more\n", "more.py": self.V2, "tasks.py": None}
        program({"tasks.py": self.V1}).goes(more)

    def test_rolled_back_means_as_before(self, program: Start) -> None:
        service = program({"tasks.py": self.V1})
        service.seen()
        before = everything(service.held)
        commit(service, service.stage({"tasks.py": self.V2}))
        assert service.package.tasks.f() == "f2"
        service.patcher.rollback()
        assert everything(service.held) == before


class TestOptions:
    def test_bind_base_and_name(self, program: Start) -> None:
        v1 = f"""{HEAD}
class Base(app.Task):
    abstract = True
    max_retries = 4
    def word(self): return 'base1'
@app.task
def a(): return 'a1'
@app.task(base=Base, bind=True)
def b(self): return self.word(), self.max_retries
@app.task(bind=True)
def c(self): return self.name.rpartition('.')[2]
"""
        v2 = (
            v1.replace("@app.task\ndef a():", "@app.task(base=Base, bind=True)\ndef a(self):")
            .replace("'a1'", "self.word()")
            .replace("base1", "base2")
            .replace("max_retries = 4", "max_retries = 5")
            .replace("@app.task(bind=True)\ndef c", "@app.task(bind=True, name=__package__ + '.x')\ndef c")
        )
        service = program({"tasks.py": v1})
        held = service.package.tasks.c
        service.goes({"tasks.py": v2})
        assert held.name == f"{service.name}.x"
        assert held() == "x"

    def test_what_a_task_remembers_stays(self, program: Start) -> None:
        v1 = f"{HEAD}@app.task(bind=True)\ndef a(self): return 'a1', self.connection\n"
        service = program({"tasks.py": v1})
        service.package.tasks.a.connection = "open"
        rollout = service.stage({"tasks.py": v1.replace("a1", "a2")})
        assert service.package.tasks.a() == ("a1", "open")
        commit(service, rollout)
        assert service.package.tasks.a() == ("a2", "open")

    def test_autoretry(self, program: Start) -> None:
        plain = f"{HEAD}tries = []\n@app.task\ndef a(): tries.append(1); raise ValueError(len(tries))\n"
        retry = "@app.task(autoretry_for=(ValueError,), max_retries={}, retry_kwargs={{'countdown': 0}})"
        v1 = plain.replace("@app.task", retry.format(2))
        service = program({"tasks.py": v1})
        task = service.package.tasks.a
        assert str(task.apply().result) == "3"
        for version, tries in (
            (plain, "4"),
            (v1.replace("=2", "=4"), "9"),
            (v1.replace("(ValueError,)", "(KeyError,)"), "10"),
        ):
            commit(service, service.stage({"tasks.py": version}))
            assert str(task.apply().result) == tries
        service.patcher.rollback()
        assert str(task.apply().result) == "15"

    @pytest.mark.parametrize("decorator", ["app.task", "shared_task"])
    def test_how_often_it_is_retried_by_itself(self, program: Start, decorator: str) -> None:
        v1 = (
            f"{HEAD}tries = []\nRETRY = {{'max_retries': 2, 'countdown': 0}}\n"
            f"@{decorator}(autoretry_for=(ValueError,), retry_kwargs=RETRY)\n"
            "def a(): tries.append(1); raise ValueError(len(tries))\n"
        )
        service = program({"tasks.py": v1})
        service.package.app.app.set_current()
        tries = service.package.tasks.tries
        before = 0
        for version, expected in ((None, 3), (v1.replace("2", "4"), 5), (v1.replace("2", "1"), 2), (None, 5)):
            if version is not None:
                commit(service, service.stage({"tasks.py": version}))
            elif tries:
                service.patcher.rollback()
            service.package.tasks.a.apply()
            assert len(tries) - before == expected
            before = len(tries)

    def test_the_signature_is_checked(self, program: Start) -> None:
        v1 = f"{HEAD}@app.task\ndef a(x): return x\n"
        service = program({"tasks.py": v1})
        task = service.package.tasks.a
        commit(service, service.stage({"tasks.py": v1.replace("(x)", "(x, y)")}))
        with pytest.raises(TypeError, match="'y'"):
            task.delay(1)


class TestTasksMadeOfClasses:
    V1 = f"""{HEAD}
class A(app.Task):
    name = __package__ + '.a'
    def __init__(self): self.calls = 0
    def run(self):
        self.calls += 1
        return 'a1', self.calls > 0
a = app.register_task(A())
class B(app.Task):
    name = __package__ + '.b'
    def run(self): return 'b1'
app.register_task(B())
"""

    def test_there_and_back(self, program: Start) -> None:
        service = program({"tasks.py": self.V1})
        task = service.package.tasks.a
        more = "class C(app.Task):\n    name = __package__ + '.c'\n    def run(self): return 'c2'\n"
        more += "c = app.register_task(C)\n"
        service.goes({"tasks.py": self.V1.replace("a1", "a2").replace("b1", "b2") + more})
        assert service.package.tasks.a is task
        assert task() == ("a2", True)
        assert task.calls > 4

    def test_removed(self, program: Start) -> None:
        program({"tasks.py": self.V1}).goes({"tasks.py": HEAD})

    def test_registered_no_more(self, program: Start) -> None:
        program({"tasks.py": self.V1}).goes({"tasks.py": self.V1.replace("app.register_task(B())", "")})

    def test_registered_by_an_unchanged_module(self, program: Start) -> None:
        tasks = (
            "from .app import app\nclass A(app.Task):\n    name = __package__ + '.a'\n    def run(self): return 'a1'\n"
        )
        functions = "def b(): return 'b1'\n"
        more = f"{HEAD}from . import tasks\napp.register_task(tasks.A())\napp.task(tasks.b)\n"
        files = {"__init__.py": "from . import app, tasks, more\n", "tasks.py": tasks + functions, "more.py": more}
        program(files).goes({"tasks.py": (tasks + functions).replace("a1", "a2").replace("b1", "b2")})
        assert [name for name, *_ in program(files).seen()] == ["a", "tasks.b"]


class TestApplicationInTheChangedModule:
    V1 = APP + "@app.task\ndef a(): return 'a1'\n@app.task\ndef b(): return 'b1'\n"
    FILES: ClassVar = {"__init__.py": "from . import app\n", "app.py": V1}

    def test_there_and_back(self, program: Start) -> None:
        service = program(self.FILES)
        before = service.package.app.a
        service.goes({"app.py": self.V1.replace("a1", "a2").replace("def b", "def c")})
        assert service.package.app.app is service.held
        assert service.package.app.a is before
        assert before.app is service.held

    def test_another_definition(self, program: Start) -> None:
        service = program(self.FILES)
        rollout = service.goes({"app.py": self.V1.replace("memory://',", "memory://x',").replace("a1", "a2")})
        assert service.package.app.app is service.held
        assert [line for line in rollout.plan.warnings if "broker_url will be the new one" in line]
        assert service.held.conf.broker_url == "memory://"

    def test_a_base_class_of_its_own(self, program: Start) -> None:
        base = "class Base(app.Task):\n    def word(self): return 'w1'\n"
        v1 = f"{APP}{base}@app.task(base=Base, bind=True)\ndef a(self): return self.word()\n"
        service = program({**self.FILES, "app.py": v1})
        service.goes({"app.py": v1.replace("w1", "w2")})
        assert service.package.app.Base.__mro__[1] is service.held.Task
        assert service.package.app.a.app is service.held

    def test_tasks_in_other_modules(self, program: Start) -> None:
        files = {**FILES, "tasks.py": TestTasksOfALivingApplication.V1}
        changes = {"app.py": APP + "X = 1\n", "tasks.py": TestTasksOfALivingApplication.V2}
        service = program(files)
        service.goes(changes)
        assert service.package.app.app is service.held

    def test_a_patch_that_fails_leaves_nothing(self, program: Start) -> None:
        service = program(self.FILES)
        service.seen()
        before = everything(service.held)
        service.is_left_alone_by({"app.py": self.V1.replace("a1", "a2") + "app.set_default()\n1 / 0\n"}, LoadError)
        assert everything(service.held) == before

    def test_one_more_application(self, program: Start) -> None:
        service = program(self.FILES)
        more = "other = Celery('other', set_as_current=False, broker='memory://')\n@other.task\ndef x(): return 'x'\n"
        rollout = service.stage({"app.py": self.V1 + more})
        before = everything(service.held)
        commit(service, rollout)
        other = service.package.app.other
        assert other in _state._get_active_apps()
        assert other.tasks[f"{service.name}.app.x"]() == "x"
        service.patcher.rollback()
        assert other not in _state._get_active_apps()
        assert everything(service.held) == before


class TestAnotherApplication:
    def test_it_has_the_tasks_too(self, program: Start) -> None:
        service = program({"tasks.py": TestTasksOfALivingApplication.V1})
        other = Celery("other", set_as_current=False, broker="memory://")
        task = other.tasks[f"{service.name}.tasks.a"]
        service.goes({"tasks.py": TestTasksOfALivingApplication.V2})
        assert task() == ("a2", "h2", 2)
        assert other.tasks[f"{service.name}.tasks.e"]() == "e2"
        late = Celery("late", set_as_current=False, broker="memory://")
        assert late.tasks[f"{service.name}.tasks.a"]() == ("a2", "h2", 2)
        assert f"{service.name}.tasks.c" not in late.tasks


class TestAnApplicationThatNobodyHasUsed:
    V1 = f"{HEAD}@app.task\ndef a(): return 'a1'\n@app.task\ndef b(): return 'b1'\n"
    V2 = f"{HEAD}@app.task(max_retries=9)\ndef a(): return 'a2'\n@app.task\ndef c(): return 'c2'\n"

    def test_its_promises_follow(self, program: Start) -> None:
        service = program({"tasks.py": self.V1})
        before, held = everything(service.held), service.package.tasks.a
        rollout = service.stage({"tasks.py": self.V2})
        assert everything(service.held) == before
        commit(service, rollout)
        assert not service.held.finalized
        assert service.package.tasks.a is held
        assert [name for name, *_ in service.seen()] == ["tasks.a", "tasks.c"]
        assert (held(), held.max_retries) == ("a2", 9)

    def test_there_and_back(self, program: Start) -> None:
        service = program({"tasks.py": self.V1})
        before = everything(service.held)
        commit(service, service.stage({"tasks.py": self.V2}))
        service.patcher.rollback()
        assert everything(service.held) == before
        assert [name for name, *_ in service.seen()] == ["tasks.a", "tasks.b"]
        assert (service.package.tasks.a(), service.package.tasks.a.max_retries) == ("a1", 3)

    def test_its_module_changes_too(self, program: Start) -> None:
        service = program({"tasks.py": self.V1})
        commit(service, service.stage({"app.py": APP + "X = 1\n", "tasks.py": self.V2}))
        assert [name for name, *_ in service.seen()] == ["tasks.a", "tasks.c"]
        assert service.package.tasks.a() == "a2"

    def test_one_task_was_used(self, program: Start) -> None:
        service = program({"tasks.py": self.V1})
        task = service.package.tasks.a
        assert task() == "a1"
        assert not service.held.finalized
        commit(service, service.stage({"tasks.py": self.V2}))
        assert (task(), task.max_retries) == ("a2", 9)
        service.patcher.rollback()
        assert (task(), task.max_retries) == ("a1", 3)

    def test_a_check_makes_tasks_aside(self, program: Start) -> None:
        service = program({"tasks.py": self.V1})
        service.patcher.check(lambda candidate: candidate[f"{service.name}.tasks"].a() == "a2")
        rollout = service.stage({"tasks.py": self.V2})
        before = everything(service.held)
        rollout.verify()
        assert everything(service.held)[1:3] == before[1:3]
        rollout.commit()
        assert service.package.tasks.a() == "a2"

    def test_first_used_while_a_patch_is_staged(self, program: Start) -> None:
        service = program({"tasks.py": self.V1})
        rollout = service.stage({"tasks.py": self.V2})
        rollout.verify()
        assert len(service.seen()) == 2
        with pytest.raises(PlanError, match="used for the first time"):
            rollout.commit()
        assert service.package.tasks.a() == "a1"
        commit(service, service.stage({"tasks.py": self.V2}))
        assert service.package.tasks.a() == "a2"


class TestSignalsAndSettings:
    V1 = f"""{HEAD}
from celery.signals import task_prerun
calls = []
@task_prerun.connect
def note(sender, **_): calls.append('n1')
@app.task
def a(): return 'a1'
@task_prerun.connect(sender=a)
def only(sender, **_): calls.append('o1')
@app.task
def b(): return 'b1'
"""

    def test_receivers(self, program: Start) -> None:
        service = program({"tasks.py": self.V1})
        service.held.finalize()

        def heard(name: str) -> list[str]:
            tasks = service.package.tasks
            tasks.calls.clear()
            getattr(tasks, name).apply()
            return sorted(tasks.calls)

        assert (heard("a"), heard("b")) == (["n1", "o1"], ["n1"])
        before = list(signals.task_prerun.receivers)
        v2 = (
            self.V1.replace("n1", "n2").replace("o1", "o2")
            + "@task_prerun.connect\ndef more(**_): calls.append('m2')\n"
        )
        rollout = service.stage({"tasks.py": v2})
        assert signals.task_prerun.receivers == before
        commit(service, rollout)
        assert (heard("a"), heard("b")) == (["m2", "n2", "o2"], ["m2", "n2"])
        service.patcher.rollback()
        assert (heard("a"), heard("b")) == (["n1", "o1"], ["n1"])
        commit(service, service.stage({"tasks.py": v2.replace("@task_prerun.connect\ndef note", "def note")}))
        assert (heard("a"), heard("b")) == (["m2", "o2"], ["m2"])

    def test_a_receiver_that_is_called_again_if_it_fails(self, program: Start) -> None:
        v1 = self.V1.replace("@task_prerun.connect\n", "@task_prerun.connect(retry=True)\n")
        service = program({"tasks.py": v1})
        service.held.finalize()
        for version, heard in ((v1, "n1"), (v1.replace("n1", "n2"), "n2"), (v1.replace("n1", "n3"), "n3")):
            if version is not v1:
                commit(service, service.stage({"tasks.py": version}))
            service.package.tasks.calls.clear()
            service.package.tasks.b.apply()
            assert service.package.tasks.calls == [heard]

    @pytest.mark.parametrize("used", [True, False])
    def test_settings(self, program: Start, used: bool) -> None:
        v1 = f"""{HEAD}
app.conf.task_routes = {{'a': 'q1'}}
app.conf.beat_schedule = {{'one': {{'task': 'a', 'schedule': 1.0}}}}
"""
        v2 = v1.replace("q1", "q2").replace("1.0", "2.0") + "app.conf.task_default_queue = 'q2'\n"
        v2 += "app.add_periodic_task(9.0, app.signature('a'), name='more')\n"
        service = program({"tasks.py": v1})

        def told() -> Any:
            conf = service.held.conf
            schedule = {name: entry["schedule"] for name, entry in conf.beat_schedule.items()}
            return conf.task_routes, conf.task_default_queue, schedule

        if used:
            assert told() == ({"a": "q1"}, "celery", {"one": 1.0})
        rollout = service.stage({"tasks.py": v2})
        assert service.held.configured is used
        commit(service, rollout)
        if used:
            assert told() == ({"a": "q2"}, "q2", {"one": 2.0, "more": 9.0})
            service.patcher.rollback()
            assert told() == ({"a": "q1"}, "celery", {"one": 1.0})
        else:
            service.patcher.rollback()
            commit(service, service.stage({"tasks.py": v2}))
            assert told() == ({"a": "q2"}, "q2", {"one": 2.0, "more": 9.0})

    @pytest.mark.parametrize("used", [True, False])
    def test_what_is_derived_from_settings(self, program: Start, used: bool) -> None:
        v1 = f"{HEAD}app.conf.task_routes = {{'a': {{'queue': 'q1'}}}}\n"
        v2 = v1.replace("q1", "q2") + "app.conf.task_default_queue = 'q3'\napp.conf.task_serializer = 'yaml'\n"
        service = program({"tasks.py": v1})

        def routed() -> Any:
            amqp = service.held.amqp
            queues = [amqp.router.route({}, name)["queue"].name for name in ("a", "b")]
            used = inspect.getclosurevars(amqp.send_task_message).nonlocals
            return [*queues, amqp.default_queue.name, used["default_serializer"]]

        before = ["q1", "celery", "celery", "json"]
        if used:
            assert routed() == before
        commit(service, service.stage({"tasks.py": v2}))
        assert routed() == ["q2", "q3", "q3", "yaml"]
        service.patcher.rollback()
        assert routed() == before
        commit(service, service.stage({"tasks.py": v2}))
        assert routed() == ["q2", "q3", "q3", "yaml"]
        service.patcher.rollback()
        service.stage({"tasks.py": v2}).abort()
        assert routed() == before

    def test_settings_of_an_application_that_changes(self, program: Start) -> None:
        v1 = APP + "app.conf.task_default_queue = 'q1'\n"
        files = {"__init__.py": "from . import app\n", "app.py": v1}
        service = program(files)
        assert service.held.conf.task_default_queue == "q1"
        service.held.finalize()
        service.held.conf.worker_prefetch_multiplier = 9
        commit(service, service.stage({"app.py": v1.replace("q1", "q2")}))
        assert (service.held.conf.task_default_queue, service.held.conf.worker_prefetch_multiplier) == ("q2", 9)
        service.patcher.rollback()
        assert service.held.conf.task_default_queue == "q1"


@contextmanager
def working(app: Celery, pool: str) -> Iterator[Any]:
    """Run a worker in this process."""
    options = {"pool": pool, "concurrency": 2, "perform_ping_check": False, "loglevel": "CRITICAL"}
    with start_worker(app, **options) as worker:
        try:
            yield worker
        finally:
            worker_state.should_terminate = 0
            app.send_task("wake")  # otherwise it would look around once in two seconds only
            if pool == "threads":
                worker.pool.executor.shutdown()  # Celery leaves that to the collector


@pytest.mark.parametrize("pool", ["solo", "threads"])
class TestWorkersInThisProcess:
    V1 = f"""{HEAD}
@app.task
def a(x): return 'a1', x
@app.task
def c(): return 'c1'
"""
    V2 = f"""{HEAD}
@app.task(bind=True, rate_limit='1000/s')
def a(self, x, y=2): return 'a2', x, y, self.name.rpartition('.')[2]
@shared_task
def b(): return 'b2'
"""

    def test_messages_by_name(self, program: Start, pool: str) -> None:
        service = program({"tasks.py": self.V1})
        app, refused = service.held, threading.Event()

        def unknown(**_: Any) -> None:
            refused.set()

        def sent(name: str, *arguments: Any) -> Any:
            return app.send_task(f"{service.name}.tasks.{name}", arguments).get(timeout=10, interval=0.01)

        def is_refused(name: str) -> bool:
            refused.clear()
            app.send_task(f"{service.name}.tasks.{name}")
            return refused.wait(10)

        signals.task_unknown.connect(unknown)
        with working(app, pool) as worker:
            strategies = worker.consumer.strategies
            assert (sent("a", 1), sent("c")) == (["a1", 1], "c1")
            assert is_refused("b")
            rollout = service.stage({"tasks.py": self.V2})
            assert (sent("a", 1), sent("c")) == (["a1", 1], "c1")
            assert is_refused("b")
            commit(service, rollout)
            assert (sent("a", 1), sent("b")) == (["a2", 1, 2, "a"], "b2")
            assert is_refused("c")
            assert worker.consumer.task_buckets[f"{service.name}.tasks.a"] is not None
            service.patcher.rollback()
            assert (sent("a", 1), sent("c")) == (["a1", 1], "c1")
            assert is_refused("b")
            assert worker.consumer.task_buckets[f"{service.name}.tasks.a"] is None
            assert f"{service.name}.tasks.b" not in strategies
        signals.task_unknown.disconnect(unknown)

    def test_executions_in_flight(self, program: Start, pool: str) -> None:
        v1 = f"""{HEAD}
import threading
begun, go_on, heard = threading.Event(), threading.Event(), []
def helper(): return 'h1'
@app.task(bind=True, max_retries=2)
def a(self):
    if self.request.retries == 0:
        begun.set()
        go_on.wait(20)
        heard.append(helper())
        raise self.retry(countdown=0)
    return 'a1', helper(), self.request.retries
"""
        service = program({"tasks.py": v1})
        with working(service.held, pool):
            tasks = service.package.tasks
            result = tasks.a.delay()
            assert tasks.begun.wait(10)
            commit(service, service.stage({"tasks.py": v1.replace("a1", "a2").replace("h1", "h2")}))
            tasks.go_on.set()
            assert result.get(timeout=20, interval=0.01) == ["a2", "h2", 1]
            assert service.package.tasks.heard == ["h1"]

    def test_a_worker_of_the_command_line(self, program: Start, pool: str) -> None:
        service = program({"tasks.py": self.V1})
        app = service.held
        trace.setup_worker_optimizations(app)  # it calls what traces a task without asking whether there is one
        try:
            with working(app, pool):
                for version, answer in ((self.V1, ["a1", 1]), (self.V2, ["a2", 1, 2, "a"])):
                    if version is not self.V1:
                        commit(service, service.stage({"tasks.py": version}))
                    assert service.package.tasks.a.delay(1).get(timeout=10, interval=0.01) == answer
                service.patcher.rollback()
                assert service.package.tasks.a.delay(1).get(timeout=10, interval=0.01) == ["a1", 1]
        finally:
            trace.reset_worker_optimizations(app)

    def test_canvas(self, program: Start, pool: str) -> None:
        v1 = f"{HEAD}@app.task\ndef a(x): return x + 1\n@app.task\ndef b(x): return x * 10\n"
        service = program({"tasks.py": v1})
        tasks = service.package.tasks
        line = chain(tasks.a.s(1), tasks.b.s())
        with working(service.held, pool):
            assert line.clone().delay().get(timeout=10, interval=0.01) == 20
            commit(service, service.stage({"tasks.py": v1.replace("x + 1", "x + 2").replace("x * 10", "x * 100")}))
            assert line.clone().delay().get(timeout=10, interval=0.01) == 300

    def test_a_strategy_that_can_not_be_made(self, program: Start, pool: str) -> None:
        service = program({"tasks.py": self.V1})
        with working(service.held, pool):
            before = everything(service.held)
            bad = self.V1.replace("@app.task\ndef c", "@app.task(Strategy='nowhere:strategy')\ndef c")
            with pytest.raises(ModuleNotFoundError, match="nowhere"):
                service.stage({"tasks.py": bad})
            assert everything(service.held) == before

    def test_child_processes_are_named(self, program: Start, pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
        from celery.concurrency import prefork

        service = program({"tasks.py": self.V1})
        with working(service.held, pool) as worker:
            children = prefork.TaskPool(1, app=service.held)
            children._pool = object()  # as it is while children run
            monkeypatch.setattr(worker.consumer, "pool", children)
            rollout = service.stage({"tasks.py": self.V2})
            assert [line for line in rollout.plan.warnings if "child processes" in line]
            rollout.abort()
            monkeypatch.undo()
