"""Logging that a candidate sets up: live, it is as after a fresh import, and no living handler is harmed."""

from __future__ import annotations

import io
import logging
import logging.config
import logging.handlers
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from hotswap import CheckFailedError, LoadError
from tests.test_effects import Service

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]

CONFIG = (
    "import logging, logging.config\n"
    "logging.config.dictConfig({'version': 1, 'disable_existing_loggers': False,\n"
    " 'formatters': {'f': {'format': '%(levelname)s %(message)s'}},\n"
    " 'filters': {'only': {'name': 'PACKAGE'}},\n"
    " 'handlers': {'out': {'class': 'logging.StreamHandler', 'stream': 'ext://sys.stdout', 'formatter': 'f'},\n"
    "             'PACKAGE none': {'class': 'logging.NullHandler'}},\n"
    " 'loggers': {'PACKAGE': {'handlers': ['out'], 'level': 'INFO', 'propagate': False, 'filters': ['only']},\n"
    "             'PACKAGE.db': {'handlers': ['PACKAGE none', 'out'], 'level': 'DEBUG'}}})\n"
)
REPLACED = (
    "import logging, sys\nlog = logging.getLogger('PACKAGE')\nfor h in list(log.handlers): log.removeHandler(h)\n"
    "log.addHandler(logging.StreamHandler(sys.stdout)); log.addHandler(logging.NullHandler()); log.setLevel(20)\n"
)
CLEARED = (
    "import logging, sys\nlog = logging.getLogger('PACKAGE')\nlog.handlers.clear()\nlog.filters = []\n"
    "class H(logging.StreamHandler): pass\nclass F(logging.Filter): pass\n"
    "log.addHandler(H(sys.stdout)); log.addFilter(F()); log.propagate = False; log.setLevel('INFO')\n"
)
ASSIGNED = (
    "import logging, sys\nlog = logging.getLogger('PACKAGE')\nhandler = logging.StreamHandler(sys.stdout)\n"
    "log.handlers = [handler]; log.disabled = False\n"
)
TWO = (
    "import logging, sys\nlog = logging.getLogger('PACKAGE')\n"
    "for h in log.handlers[:]: log.removeHandler(h); h.close()\n"
    "log.addHandler(logging.StreamHandler(sys.stdout)); log.addHandler(logging.StreamHandler(sys.stderr))\n"
)
FORCED = "import logging, sys as s\nlogging.basicConfig(force=True, stream=s.stdout, level=20, format='%(message)s')\n"
FILE = (
    "import io, logging.config, configparser\np = configparser.ConfigParser(interpolation=None)\np.read_string('''\n"
    "[loggers]\nkeys=root,ours\n[handlers]\nkeys=out\n[formatters]\nkeys=f\n"
    "[logger_root]\nlevel=WARNING\nhandlers=\n"
    "[logger_ours]\nlevel=INFO\nhandlers=out\nqualname=PACKAGE\npropagate=0\n"
    "[handler_out]\nclass=StreamHandler\nargs=(sys.stdout,)\nformatter=f\n[formatter_f]\nformat=%(message)s\n"
    "''')\nlogging.config.fileConfig(p, disable_existing_loggers=False)\n"
)
CHAINED = (
    "import logging, logging.config\n"
    "class Form(logging.Formatter): pass\nclass Own(logging.StreamHandler): pass\n"
    "logging.config.dictConfig({'version': 1, 'disable_existing_loggers': False,\n"
    " 'formatters': {'f': {'()': Form, 'fmt': '%(message)s'}},\n"
    " 'handlers': {'own': {'()': Own, 'stream': 'ext://sys.stdout', 'formatter': 'f'},\n"
    "             'out': {'class': 'logging.StreamHandler', 'stream': 'ext://sys.stderr', 'formatter': 'f'},\n"
    "             'net': {'class': 'logging.handlers.SocketHandler', 'host': '127.0.0.1', 'port': 9, 'level': 50},\n"
    "             'mem': {'class': 'logging.handlers.MemoryHandler', 'capacity': 9, 'target': 'out'}},\n"
    " 'loggers': {'PACKAGE': {'handlers': ['own', 'mem', 'net', 'out'], 'level': 'INFO', 'propagate': False}}})\n"
)
BODIES = {
    "chained": CHAINED,
    "dictConfig": CONFIG,
    "replaced": REPLACED,
    "cleared": CLEARED,
    "assigned": ASSIGNED,
    "two of a class": TWO,
    "basicConfig": FORCED,
    "fileConfig": FILE,
}


@pytest.fixture(autouse=True)
def logging_left_as_found() -> Iterator[None]:
    """What a test does to loggers is undone."""
    module: Any = logging
    references, names = list(module._handlerList), dict(module._handlers.items())
    level, known = logging.root.level, dict(logging.root.manager.loggerDict)
    disabled = {name for name, logger in known.items() if getattr(logger, "disabled", False)}
    yield
    module._handlerList[:] = references
    module._handlers.clear()
    module._handlers.update(names)
    logging.root.handlers[:] = [one for one in logging.root.handlers if type(one).__module__.startswith("_pytest")]
    logging.root.setLevel(level)
    for name, logger in list(logging.root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger):
            logger.disabled = name in disabled
            if name not in known:
                logger.handlers, logger.filters, logger.propagate = [], [], True
                logger.setLevel(logging.NOTSET)


def made(make: Make, body: str = "") -> Service:
    """A service that was started with a body. It meets no handlers but its own; pytest has some at the root."""
    vars(logging)["_handlerList"][:] = []
    logging.root.handlers[:] = []
    return Service(make, body)


def loggers(service: Service) -> list[logging.Logger]:
    names = sorted(name for name in logging.root.manager.loggerDict if name.partition(".")[0] == service.name)
    return [logging.root, *map(logging.getLogger, names)]


def identities(service: Service) -> dict[str, Any]:
    """Everything that logging consists of, by identity."""
    module: Any = logging
    found: dict[str, Any] = {
        logger.name: (
            logger.level,
            logger.propagate,
            logger.disabled,
            id(logger.handlers),
            [(id(h), *handler(h)) for h in logger.handlers],
            [*map(id, logger.filters)],
        )
        for logger in loggers(service)
    }
    known = {id(one) for logger in loggers(service) for one in logger.handlers}
    found["references"] = [id(one()) for one in module._handlerList if id(one()) in known]
    found["names"] = {name: id(handler) for name, handler in module._handlers.items()}
    return found


def handler(one: logging.Handler) -> tuple[Any, ...]:
    return one.level, one.name, id(one.formatter), [*map(id, one.filters)], "close" in one.__dict__


def shape(service: Service) -> dict[str, Any]:
    """How it is configured, whichever objects it is made of."""

    def of(one: Any) -> tuple[Any, ...]:
        stream = getattr(one, "stream", None)
        form = getattr(getattr(one, "formatter", None), "_fmt", None)
        return type(one).__name__, getattr(one, "level", None), form, id(stream) if stream else None

    return {
        logger.name.replace(service.name, "PACKAGE"): (
            logger.level,
            logger.propagate,
            logger.disabled,
            [*map(of, logger.handlers)],
            [*map(of, logger.filters)],
        )
        for logger in loggers(service)
    }


def code(tail: str) -> str:
    return f"import logging\ndef work(): logging.getLogger('PACKAGE').error('work {tail}')\n"


class TestUnrelatedChange:
    """A body that sets up logging, and a patch that changes something else in the module."""

    @pytest.mark.parametrize("case", BODIES)
    def test_it_logs_as_after_a_fresh_import(
        self, make_package: Make, case: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        service = made(make_package, BODIES[case] + code("1"))
        logging.getLogger(service.name)
        before, configured = identities(service), shape(service)
        with service.stage(BODIES[case] + code("2")) as rollout:
            assert identities(service) == before
            rollout.verify()
            rollout.commit()
        assert shape(service) == configured
        assert identities(service) == before  # what is configured alike stays the object that it is
        sys.modules[f"{service.name}.code"].work()
        assert capsys.readouterr().out.count("work 2") == 1
        rollout.rollback()
        assert identities(service) == before

    @pytest.mark.parametrize("case", BODIES)
    def test_after_a_rejection_nothing_is_different(self, make_package: Make, case: str) -> None:
        service = made(make_package, BODIES[case])
        before = identities(service)

        @service.patcher.check
        def no(candidate: object) -> bool:
            return False

        with pytest.raises(CheckFailedError):
            service.patcher.apply(service.patch(BODIES[case] + "x = 1\n"))
        assert identities(service) == before
        with pytest.raises(LoadError):
            service.patcher.apply(service.patch(BODIES[case] + "1 / 0\n"))
        assert identities(service) == before

    @pytest.mark.parametrize("case", BODIES)
    def test_patch_that_brings_it_sets_it_up_as_an_import_does(self, make_package: Make, case: str) -> None:
        fresh = made(make_package, BODIES[case])
        expected = shape(fresh)
        logging.root.setLevel(logging.WARNING)
        service = made(make_package)
        before = identities(service)
        rollout = service.patcher.apply(service.patch(BODIES[case]))
        assert shape(service) == expected
        rollout.rollback()
        after = identities(service)
        assert {name: after[name] for name in before} == before

    def test_three_patches_on_end(self, make_package: Make) -> None:
        service = made(make_package, CONFIG)
        before = identities(service)
        for number in range(3):
            service.patcher.apply(service.patch(CONFIG + f"x = {number}\n"))
            assert identities(service) == before

    def test_the_plan_says_that_they_stay(self, make_package: Make) -> None:
        service = made(make_package, REPLACED)
        with service.stage(REPLACED + "x = 1\n") as rollout:
            (effect,) = rollout.plan.effects
            assert effect.what == (
                f"sets up handlers of the logger '{service.name}' again (a StreamHandler and a NullHandler), "
                "as they are: they stay"
            )


class TestChanged:
    """The patch changes how logging is set up."""

    def test_handler_that_is_configured_otherwise_takes_the_place_of_the_old_one(self, make_package: Make) -> None:
        service = made(make_package, CONFIG)
        before = identities(service)
        (old,) = logging.getLogger(service.name).handlers
        body = CONFIG.replace("%(levelname)s %", "%(name)s %")
        rollout = service.patcher.apply(service.patch(body))
        (new,) = logging.getLogger(service.name).handlers
        assert new is not old
        assert new.formatter is not None
        assert new.formatter._fmt == "%(name)s %(message)s"
        assert logging.getLogger(f"{service.name}.db").handlers[1] is new
        assert vars(logging)["_handlers"]["out"] is new
        rollout.rollback()
        assert identities(service) == before

    def test_logger_that_gets_the_handler_of_another_one_gets_the_living_one(self, make_package: Make) -> None:
        service = made(make_package, CONFIG)
        (old,) = logging.getLogger(service.name).handlers
        body = CONFIG.replace("'loggers': {", "'loggers': {'PACKAGE.web': {'handlers': ['out']}, ")
        rollout = service.patcher.apply(service.patch(body))
        assert logging.getLogger(service.name).handlers == [old]
        assert logging.getLogger(f"{service.name}.web").handlers == [old]
        rollout.rollback()
        assert logging.getLogger(f"{service.name}.web").handlers == []

    def test_handler_that_the_patch_adds_and_one_that_it_drops(self, make_package: Make) -> None:
        service = made(make_package, REPLACED)
        logger = logging.getLogger(service.name)
        stream, null = logger.handlers
        more = REPLACED.replace("logging.NullHandler()", "logging.StreamHandler(sys.stderr)")
        rollout = service.patcher.apply(service.patch(more))
        assert logger.handlers[0] is stream
        assert [type(one) for one in logger.handlers] == [logging.StreamHandler] * 2
        rollout.rollback()
        assert logger.handlers == [stream, null]

    def test_handler_of_the_main_program_stays_where_the_body_takes_off_its_own(self, make_package: Make) -> None:
        body = (
            "import logging, sys\nlog = logging.getLogger('PACKAGE')\n"
            "for h in log.handlers[:]:\n  if h.name == 'ours': log.removeHandler(h)\n"
            "h = logging.StreamHandler(sys.stdout); h.name = 'ours'; LEVEL\nlog.addHandler(h)\ndel h\n"
        )
        service = made(make_package, body.replace("LEVEL", "h.setLevel(10)"))
        logger = logging.getLogger(service.name)
        (ours,) = logger.handlers
        theirs = logging.StreamHandler(sys.stderr)
        logger.handlers.insert(0, theirs)
        rollout = service.patcher.apply(service.patch(body.replace("LEVEL", "h.setLevel(20)")))
        assert logger.handlers[0] is theirs
        assert [one.level for one in logger.handlers] == [0, 20]
        rollout.rollback()
        assert logger.handlers == [theirs, ours]

    def test_handler_that_another_one_adds_after_the_commit_stays(self, make_package: Make) -> None:
        service = made(make_package, REPLACED)
        logger = logging.getLogger(service.name)
        before = list(logger.handlers)
        rollout = service.patcher.apply(service.patch(REPLACED.replace("sys.stdout", "sys.stderr")))
        late = logging.NullHandler()
        logger.addHandler(late)
        rollout.rollback()
        assert logger.handlers == [*before, late]

    def test_handler_that_hands_on_to_one_that_stays_hands_on_to_the_living_one(self, make_package: Make) -> None:
        service = made(make_package, CHAINED)
        logger = logging.getLogger(service.name)
        old = list(logger.handlers)
        rollout = service.patcher.apply(service.patch(CHAINED.replace("'capacity': 9", "'capacity': 8")))
        (new,) = [one for one in logger.handlers if one not in old]
        assert isinstance(new, logging.handlers.MemoryHandler)
        assert new.capacity == 8
        assert new.target is old[3]
        rollout.rollback()
        assert logger.handlers == old

    def test_levels_and_switches(self, make_package: Make) -> None:
        service = made(make_package, CONFIG)
        before = identities(service)
        body = CONFIG.replace("'INFO', 'propagate': False", "'ERROR', 'propagate': True")
        rollout = service.patcher.apply(service.patch(body))
        logger = logging.getLogger(service.name)
        assert (logger.level, logger.propagate) == (logging.ERROR, True)
        rollout.rollback()
        assert identities(service) == before

    def test_incremental_configuration_sets_the_level_of_a_living_handler(self, make_package: Make) -> None:
        service = made(make_package, CONFIG)
        before = identities(service)
        body = (
            "import logging.config\nlogging.config.dictConfig({'version': 1, 'incremental': True,\n"
            " 'handlers': {'out': {'level': 'ERROR'}}, 'loggers': {'PACKAGE': {'level': 'DEBUG'}}})\n"
        )
        with service.stage(body) as rollout:
            assert identities(service) == before
            rollout.verify()
            rollout.commit()
        logger = logging.getLogger(service.name)
        assert (logger.level, logger.handlers[0].level) == (logging.DEBUG, logging.ERROR)
        rollout.rollback()
        assert identities(service) == before

    def test_formatter_and_filter_of_a_living_handler(self, make_package: Make) -> None:
        service = made(make_package)
        logger = logging.getLogger(service.name)
        logger.addHandler(logging.StreamHandler())
        before = identities(service)
        body = (
            "import logging\nclass Form(logging.Formatter): pass\ndef only(record): return True\n"
            "for h in logging.getLogger('PACKAGE').handlers: h.setFormatter(Form('%(message)s')); h.addFilter(only)\n"
        )
        with service.stage(body) as rollout:
            assert identities(service) == before
            rollout.verify()
            rollout.commit()
        module = sys.modules[f"{service.name}.code"]
        assert type(logger.handlers[0].formatter) is module.Form
        assert logger.handlers[0].filters == [module.only]
        rollout.rollback()
        assert identities(service) == before

    def test_filters_of_loggers(self, make_package: Make) -> None:
        body = (
            "import logging\nlog = logging.getLogger('PACKAGE')\nfor f in log.filters[:]: log.removeFilter(f)\n"
            "log.addFilter(logging.Filter('A'))\n"
        )
        service = made(make_package, body)
        logger = logging.getLogger(service.name)
        (old,) = logger.filters
        rollout = service.patcher.apply(service.patch(body + "x = 1\n"))
        assert logger.filters == [old]
        rollout = service.patcher.apply(service.patch(body.replace("'A'", "'B'")))
        assert [getattr(one, "name", "") for one in logger.filters] == ["B"]
        rollout.rollback()
        assert logger.filters == [old]


class TestOthers:
    """Loggers and handlers that other modules have set up, which are not run again."""

    DISABLING = CONFIG.replace("'disable_existing_loggers': False", "'disable_existing_loggers': True")

    def test_logger_that_is_there_is_not_disabled(self, make_package: Make) -> None:
        early = logging.getLogger("effective_early")
        service = made(make_package, self.DISABLING)
        assert early.disabled
        late = logging.getLogger("effective_late")
        with service.stage(self.DISABLING + "x = 1\n") as rollout:
            assert "they stay enabled" in str(rollout.plan)
            assert "'effective_late'" in str(rollout.plan)
            rollout.verify()
            rollout.commit()
        assert not late.disabled
        assert early.disabled
        assert not logging.getLogger(service.name).disabled
        rollout.rollback()
        assert (early.disabled, late.disabled) == (True, False)

    def test_patch_may_enable_one(self, make_package: Make) -> None:
        early = logging.getLogger("effective_early")
        service = made(make_package, self.DISABLING)
        rollout = service.patcher.apply(service.patch(CONFIG))
        assert not early.disabled
        rollout.rollback()
        assert early.disabled

    def test_body_may_disable_one(self, make_package: Make) -> None:
        noisy = logging.getLogger("effective_noisy")
        service = made(make_package)
        rollout = service.patcher.apply(
            service.patch("import logging\nlogging.getLogger('effective_noisy').disabled = 1\n")
        )
        assert noisy.disabled
        rollout.rollback()
        assert noisy.disabled is False

    def test_logger_below_one_that_is_configured_keeps_what_it_has(self, make_package: Make) -> None:
        service = made(make_package, CONFIG)
        below = logging.getLogger(f"{service.name}.audit")
        below.addHandler(logging.NullHandler())
        below.setLevel(logging.ERROR)
        below.propagate = False
        before = identities(service)
        with service.stage(CONFIG + "x = 1\n") as rollout:
            assert f"empties the logger '{service.name}.audit'" in str(rollout.plan)
            assert "it stays as it is" in str(rollout.plan)
            rollout.verify()
            rollout.commit()
        assert identities(service) == before
        rollout.rollback()
        assert identities(service) == before

    @pytest.mark.parametrize("case", ["dictConfig", "fileConfig"])
    def test_living_handlers_are_not_closed(self, make_package: Make, tmp_path: Path, case: str) -> None:
        service = made(make_package, BODIES[case])
        other = logging.getLogger("effective_other")
        file = logging.FileHandler(tmp_path / "written anew.log", mode="w")
        target = logging.StreamHandler(io.StringIO())
        buffer = logging.handlers.MemoryHandler(100, target=target)
        other.handlers[:] = [file, buffer]
        other.warning("one")
        rollout = service.patcher.apply(service.patch(BODIES[case] + "x = 1\n"))
        other.warning("two")
        rollout.rollback()
        other.warning("three")
        buffer.flush()
        assert (tmp_path / "written anew.log").read_text().split() == ["one", "two", "three"]
        assert target.stream.getvalue().split() == ["one", "two", "three"]
        assert "close" not in file.__dict__
        file.close()
        assert file.stream is None

    def test_root_handler_is_not_closed_by_force(self, make_package: Make, tmp_path: Path) -> None:
        path = str(tmp_path / "root.log")
        body = (
            f"import logging\nlogging.basicConfig(force=True, filename={path!r}, filemode='a', format='%(message)s')\n"
        )
        service = made(make_package, body)
        (file,) = logging.root.handlers
        logging.root.warning("one")
        rollout = service.patcher.apply(service.patch(body + "x = 1\n"))
        logging.root.warning("two")
        assert logging.root.handlers == [file]
        rollout.rollback()
        logging.root.warning("three")
        assert [line for line in Path(path).read_text().splitlines() if "=" not in line] == ["one", "two", "three"]
        file.close()

    def test_handler_that_the_service_closes_meanwhile_is_closed(self, make_package: Make, tmp_path: Path) -> None:
        service = made(make_package)
        file = logging.FileHandler(tmp_path / "closed.log", mode="w")
        asked, done = threading.Event(), threading.Event()

        def close() -> None:
            assert asked.wait(20)
            file.close()
            done.set()

        thread = threading.Thread(target=close)
        thread.start()
        sys.modules["effective_events"] = events = ModuleType("effective_events")
        events.__dict__.update(asked=asked, done=done)
        try:
            body = "import effective_events as e\ne.asked.set()\nassert e.done.wait(20)\n"
            with service.stage(body) as rollout:
                assert rollout.plan.effects == []
            assert file.stream is None
        finally:
            del sys.modules["effective_events"]
            asked.set()
            thread.join()
