"""Logging that a candidate sets up: live, it is as after a fresh import, and no living handler is harmed."""

from __future__ import annotations

import importlib
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

from hotswap import CheckFailedError, CommitError, LoadError, Patch, Patcher
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


NAMED = (
    "import logging, sys\nlog = logging.getLogger('PACKAGE')\nlog.propagate = False\n"
    "handler = logging.StreamHandler(sys.stdout)\nhandler.setFormatter(logging.Formatter('v1 %(message)s'))\n"
    "log.addHandler(handler)\n"
)
"""A module that has a handler under a name, and puts it on a logger."""


class TestKeptUnderAName:
    """The definition of a handler is the same, and the living one stays; statements on it are followed."""

    def logger(self, service: Service) -> logging.Logger:
        return logging.getLogger(service.name)

    def live(self, service: Service) -> Any:
        return sys.modules[f"{service.name}.code"]

    def test_formatter_that_changed_is_seen_in_what_the_logger_prints(
        self, make_package: Make, capsys: pytest.CaptureFixture[str]
    ) -> None:
        service = made(make_package, NAMED)
        before, handler = identities(service), service.live.handler
        with service.stage(NAMED.replace("v1", "v2")) as rollout:
            assert identities(service) == before
            assert [effect.what for effect in rollout.plan.effects] == [
                f"sets up handlers of the logger '{service.name}' again (a StreamHandler), as they are: they stay",
                f"sets formatter of {service.name}.code:handler to a Formatter",
            ]
            rollout.verify()
            rollout.commit()
        assert self.logger(service).handlers == [handler] == [self.live(service).handler]
        self.logger(service).warning("one")
        assert rollout.audit() == ()
        rollout.rollback()
        assert identities(service) == before
        assert self.live(service).handler is handler
        self.logger(service).warning("two")
        assert capsys.readouterr().out.split("\n") == ["v2 one", "v1 two", ""]

    def test_rejection_leaves_it_alone(self, make_package: Make) -> None:
        service = made(make_package, NAMED)
        before = identities(service)
        service.stage(NAMED.replace("v1", "v2").replace("handler.set", "handler.setLevel(40); handler.set")).abort()
        assert identities(service) == before

    def test_three_on_end(self, make_package: Make, capsys: pytest.CaptureFixture[str]) -> None:
        service = made(make_package, NAMED)
        for number in range(2, 5):
            service.patcher.apply(service.patch(NAMED.replace("v1", f"v{number}")))
            self.logger(service).warning("one")
        service.patcher.rollback()
        self.logger(service).warning("one")
        assert capsys.readouterr().out.split() == ["v2", "one", "v3", "one", "v4", "one", "v3", "one"]

    def test_formatter_that_the_program_has_set_stays_where_no_statement_changed(self, make_package: Make) -> None:
        service = made(make_package, NAMED)
        ours = logging.Formatter("ours %(message)s")
        service.live.handler.setFormatter(ours)
        service.patcher.apply(service.patch(NAMED + "x = 1\n"))
        assert self.live(service).handler.formatter is ours

    @pytest.mark.parametrize(
        ("before", "after", "level"),
        [
            ("", "handler.setLevel(logging.ERROR)\n", 40),
            ("handler.setLevel(logging.INFO)\n", "handler.setLevel('ERROR')\n", 40),
            ("handler.setLevel(20)\n", "", 0),
            ("if log:\n  handler.setLevel(20)\n", "if log:\n  handler.setLevel(30)\n", 30),
        ],
    )
    def test_level(self, make_package: Make, before: str, after: str, level: int) -> None:
        service = made(make_package, NAMED + before)
        handler = service.live.handler
        there = handler.level
        rollout = service.patcher.apply(service.patch(NAMED + after))
        assert self.live(service).handler is handler and handler.level == level
        rollout.rollback()
        assert handler.level == there

    def test_level_that_an_operator_has_set_stays(self, make_package: Make) -> None:
        service = made(make_package, NAMED + "handler.setLevel(logging.INFO)\n")
        service.live.handler.setLevel(logging.DEBUG)
        rollout = service.patcher.apply(service.patch(NAMED + "handler.setLevel(logging.ERROR)\n"))
        assert self.live(service).handler.level == logging.DEBUG
        assert rollout.plan is not None
        assert (
            f"{service.name}.code:handler is kept, and a statement calls its setLevel otherwise than before: it keeps "
            in str(rollout.plan)
        )

    def test_what_is_set_after_the_swap_survives_a_rollback(self, make_package: Make) -> None:
        service = made(make_package, NAMED)
        rollout = service.patcher.apply(service.patch(NAMED.replace("v1", "v2")))
        ours = logging.Formatter("ours %(message)s")
        self.live(service).handler.setFormatter(ours)
        rollout.rollback()
        assert self.live(service).handler.formatter is ours

    def test_filters(self, make_package: Make) -> None:
        filters = "only = logging.Filter('A')\nhandler.addFilter(only)\nhandler.addFilter(logging.Filter('B'))\n"
        service = made(make_package, NAMED + filters)
        handler, theirs = service.live.handler, logging.Filter("theirs")
        handler.addFilter(theirs)
        there = list(handler.filters)
        more = filters.replace("'B'", "'C'") + "class Own(logging.Filter): pass\nhandler.addFilter(Own())\n"
        rollout = service.patcher.apply(service.patch(NAMED + more))
        assert handler.filters[:2] == [there[0], theirs]
        assert [one.name for one in handler.filters] == ["A", "theirs", "C", ""]
        assert type(handler.filters[3]) is self.live(service).Own
        late = logging.Filter("late")
        handler.addFilter(late)
        rollout.rollback()
        assert handler.filters == [*there, late]

    def test_constant_that_its_formatter_is_made_of(
        self, make_package: Make, capsys: pytest.CaptureFixture[str]
    ) -> None:
        body = NAMED.replace("'v1 %(message)s'", "FORMAT").replace("log.prop", "FORMAT = 'v1 %(message)s'\nlog.prop")
        service = made(make_package, body + "handler.setLevel(20)\n")
        handler, level = service.live.handler, 10
        handler.setLevel(level)  # by an operator: no statement says it otherwise now
        before = identities(service)
        rollout = service.patcher.apply(service.patch(body.replace("v1", "v2") + "handler.setLevel(20)\n"))
        assert self.logger(service).handlers == [handler] == [self.live(service).handler]
        assert handler.level == level and rollout.plan is not None and not rollout.plan.warnings
        self.logger(service).warning("one")
        rollout.rollback()
        self.logger(service).warning("two")
        assert identities(service) == before
        assert capsys.readouterr().out == "v2 one\nv1 two\n"

    def test_formatter_of_a_class_that_is_new(self, make_package: Make, capsys: pytest.CaptureFixture[str]) -> None:
        service = made(make_package, NAMED)
        handler = service.live.handler
        form = "class Form(logging.Formatter):\n  def format(self, record): return 'own'\n"
        body = NAMED.replace("handler = ", f"{form}handler = ").replace("logging.Formatter('v1 %(message)s')", "Form()")
        rollout = service.patcher.apply(service.patch(body))
        assert self.logger(service).handlers == [handler] == [self.live(service).handler]
        assert type(handler.formatter) is self.live(service).Form
        self.logger(service).warning("one")
        service.patcher.apply(service.patch(body.replace("'own'", "'new'")))
        self.logger(service).warning("one")
        service.patcher.rollback()
        assert self.live(service).handler is handler
        self.logger(service).warning("one")
        assert rollout.state.value != "live"
        assert capsys.readouterr().out.split() == ["own", "new", "own"]

    def test_formatter_of_another_module(self, make_package: Make, capsys: pytest.CaptureFixture[str]) -> None:
        name = "effective_forms"
        vars(logging)["_handlerList"][:] = []
        make_package(
            {
                "__init__.py": "",
                "forms.py": "FORMAT = 'v1 %(message)s'\n",
                "code.py": NAMED.replace("import logging", "from . import forms\nimport logging")
                .replace("'v1 %(message)s'", "forms.FORMAT")
                .replace("PACKAGE", name),
            },
            name=name,
        )
        handler = importlib.import_module(f"{name}.code").handler
        patcher = Patcher([name])
        logging.getLogger(name).warning("one")
        patch = Patch.from_sources({f"{name}.forms": "FORMAT = 'v2 %(message)s'\n"}, version="2.0")
        rollout = patcher.apply(patch)
        logging.getLogger(name).warning("two")
        assert logging.getLogger(name).handlers == [handler] == [sys.modules[f"{name}.code"].handler]
        rollout.rollback()
        logging.getLogger(name).warning("three")
        assert capsys.readouterr().out == "v1 one\nv2 two\nv1 three\n"

    def test_other_calls_are_named(self, make_package: Make) -> None:
        service = made(make_package, NAMED + "handler.set_name('one')\n")
        rollout = service.patcher.apply(service.patch(NAMED + "handler.set_name('two')\n"))
        assert rollout.plan is not None
        assert "calls its set_name otherwise than before: that stays as it is" in str(rollout.plan)

    def test_open_file_stays_open(self, make_package: Make, tmp_path: Path) -> None:
        path = str(tmp_path / "kept.log")
        body = NAMED.replace("StreamHandler(sys.stdout)", f"FileHandler({path!r})")
        service = made(make_package, body)
        handler = service.live.handler
        stream = handler.stream
        self.logger(service).warning("one")
        rollout = service.patcher.apply(service.patch(body.replace("v1", "v2")))
        self.logger(service).warning("two")
        assert self.live(service).handler is handler and handler.stream is stream
        rollout.rollback()
        self.logger(service).warning("three")
        handler.close()
        assert Path(path).read_text().splitlines() == ["v1 one", "v2 two", "v1 three"]

    def test_handler_that_stays_though_the_body_clears_the_logger(self, make_package: Make) -> None:
        body = NAMED.replace("log.prop", "log.handlers.clear(); log.prop")
        service = made(make_package, body)
        handler = service.live.handler
        rollout = service.patcher.apply(service.patch(body.replace("v1", "v2")))
        assert self.logger(service).handlers == [handler] == [self.live(service).handler]
        assert handler.formatter._fmt == "v2 %(message)s"
        rollout.rollback()
        assert self.logger(service).handlers == [handler] and handler.formatter._fmt == "v1 %(message)s"

    def test_second_handler_of_the_class_is_added(self, make_package: Make) -> None:
        service = made(make_package, NAMED)
        handler = service.live.handler
        more = NAMED + "other = logging.StreamHandler(sys.stderr)\nlog.addHandler(other)\n"
        rollout = service.patcher.apply(service.patch(more))
        assert self.logger(service).handlers == [handler, self.live(service).other]
        rollout.rollback()
        assert self.logger(service).handlers == [handler]


class TestReplacedUnderAName:
    """The definition of a handler is another one, and the new one takes its place wherever loggers have the old one."""

    def logger(self, service: Service) -> logging.Logger:
        return logging.getLogger(service.name)

    def live(self, service: Service) -> Any:
        return sys.modules[f"{service.name}.code"]

    @pytest.mark.parametrize("clear", ["", "log.handlers.clear(); "])
    def test_handler_of_another_class(
        self, make_package: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], clear: str
    ) -> None:
        path = tmp_path / "new.log"
        body = NAMED.replace("log.prop", f"{clear}log.prop")
        service = made(make_package, body)
        old, theirs = service.live.handler, logging.NullHandler()
        self.logger(service).addHandler(theirs)
        before = identities(service)
        with service.stage(body.replace("StreamHandler(sys.stdout)", f"FileHandler({str(path)!r})")) as rollout:
            assert identities(service) == before
            assert (
                f"undone logging: puts a FileHandler in the place of a StreamHandler on the logger '{service.name}'"
                in str(rollout.plan)
            )
            rollout.verify()
            rollout.commit()
        new = self.live(service).handler
        assert {*self.logger(service).handlers} == {new, theirs} - ({theirs} if clear else set())
        assert clear or self.logger(service).handlers == [new, theirs]
        self.logger(service).warning("one")
        assert capsys.readouterr().out == ""
        rollout.rollback()
        assert identities(service) == before
        self.logger(service).warning("two")
        new.close()
        assert path.read_text() == "v1 one\n"
        assert capsys.readouterr().out == "v1 two\n"
        assert self.live(service).handler is old

    def test_file_of_the_old_one_is_open_for_a_rollback(self, make_package: Make, tmp_path: Path) -> None:
        path = tmp_path / "old.log"
        body = NAMED.replace("StreamHandler(sys.stdout)", f"FileHandler({str(path)!r})")
        service = made(make_package, body)
        old = service.live.handler
        rollout = service.patcher.apply(service.patch(NAMED))
        assert old.stream is not None and not old.stream.closed
        self.logger(service).warning("new")
        rollout.rollback()
        self.logger(service).warning("old")
        old.close()
        assert path.read_text() == "v1 old\n"

    def test_on_a_logger_on_which_the_program_has_put_it(self, make_package: Make) -> None:
        service = made(make_package, NAMED)
        old = service.live.handler
        other = logging.getLogger(f"{service.name}.other")
        other.handlers[:] = [logging.NullHandler(), old, logging.NullHandler()]
        there = list(other.handlers)
        rollout = service.patcher.apply(service.patch(NAMED.replace("sys.stdout", "sys.stderr")))
        new = self.live(service).handler
        assert other.handlers == [there[0], new, there[2]] and self.logger(service).handlers == [new]
        late = logging.NullHandler()
        other.addHandler(late)
        self.logger(service).removeHandler(new)
        rollout.rollback()
        assert other.handlers == [*there, late]
        assert self.logger(service).handlers == []  # somebody has taken it off since

    def test_target_filter_and_formatter(self, make_package: Make) -> None:
        body = (
            "import logging, logging.handlers, sys\nlog = logging.getLogger('PACKAGE')\n"
            "target = logging.StreamHandler(sys.stdout)\nonly = logging.Filter('A')\n"
            "form = logging.Formatter('v1 %(message)s')\n"
            "def start():\n  handler = logging.handlers.MemoryHandler(9, target=target)\n"
            "  handler.addFilter(only); handler.setFormatter(form)\n  log.addFilter(only); log.addHandler(handler)\n"
        )
        service = made(make_package, body)
        service.live.start()
        (handler,) = self.logger(service).handlers
        there = service.live.target, service.live.only, service.live.form

        def found() -> tuple[Any, ...]:
            assert self.logger(service).filters == handler.filters
            return handler.target, *handler.filters, handler.formatter  # type: ignore[attr-defined]

        changed = body.replace("'A'", "'B'").replace("v1", "v2").replace("stdout", "stderr")
        rollout = service.patcher.apply(service.patch(changed))
        live = self.live(service)
        assert found() == (live.target, live.only, live.form) and live.only is not there[1]
        rollout.rollback()
        assert found() == there

    def test_class_of_the_patch(self, make_package: Make) -> None:
        body = NAMED.replace(
            "handler = logging.StreamHandler(", "class Own(logging.StreamHandler): pass\nhandler = Own("
        )
        service = made(make_package, body)
        old = service.live.handler
        rollout = service.patcher.apply(service.patch(body.replace("stdout", "stderr")))
        (new,) = self.logger(service).handlers
        assert new is self.live(service).handler is not old and type(new) is service.live.Own is type(old)
        rollout.rollback()
        assert self.logger(service).handlers == [old]

    def test_commit_that_fails_puts_it_back(self, make_package: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        service = made(make_package, NAMED)
        before = identities(service)
        with service.stage(NAMED.replace("stdout", "stderr").replace("v1", "v2")) as rollout:
            rollout.verify()

            def fail(*_: object) -> float:
                assert identities(service) != before
                raise MemoryError

            monkeypatch.setattr("hotswap.swap.writes.Writes.apply", fail)
            with pytest.raises(CommitError):
                rollout.commit()
        assert identities(service) == before


class TestStatementsThatAreGone:
    """What they have put on a logger is not there after a restart."""

    HEAD = "import logging\nlog = logging.getLogger('PACKAGE')\nh = logging.StreamHandler()\n"
    ON = HEAD + "log.addHandler(h)\n"

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (ON, HEAD),
            (ON, "import logging\nlog = logging.getLogger('PACKAGE')\n"),
            (ON, "\n"),
            (ON, ON.replace("h)", "g)").replace("h =", "g =")),
            (ON + "g = logging.StreamHandler()\nlog.addHandler(g)\n", ON),
            (HEAD + "logging.getLogger('PACKAGE').addHandler(h)\n", HEAD),
            (HEAD + "log.addFilter(lambda record: True)\n", HEAD),
            (HEAD + "f = logging.Filter('a')\nlog.addFilter(f)\n", HEAD),
        ],
    )
    def test_take_it_off_until_a_rollback(self, make_package: Make, before: str, after: str) -> None:
        fresh = shape(made(make_package, after))
        service = made(make_package, before)
        logger = logging.getLogger(service.name)
        there, handlers = identities(service), list(logger.handlers)
        service.patcher.stage(service.patch(after)).abort()
        assert identities(service) == there
        rollout = service.patcher.apply(service.patch(after))
        assert rollout.plan is not None and not rollout.plan.warnings
        assert {name: facts for name, facts in shape(service).items() if name == "PACKAGE"} == {
            name: facts for name, facts in fresh.items() if name == "PACKAGE"
        } or after == "\n"
        assert not logger.filters and len(logger.handlers) == after.count("addHandler")
        theirs = logging.NullHandler()
        logger.addHandler(theirs)
        rollout.rollback()
        assert logger.handlers == [*handlers, theirs]
        logger.removeHandler(theirs)
        assert identities(service) == there

    def test_handler_that_another_statement_puts_there_stays(self, make_package: Make) -> None:
        service = made(make_package, self.ON)
        logger = logging.getLogger(service.name)
        handlers = list(logger.handlers)
        service.patcher.apply(service.patch(self.HEAD + "logging.getLogger('PACKAGE').addHandler(h)\n"))
        assert logger.handlers == handlers

    def test_what_can_not_be_told_stays_and_is_named(self, make_package: Make) -> None:
        body = "log.addHandler(logging.StreamHandler())\nlog.setLevel(10)\nlog.propagate = False\n"
        service = made(make_package, self.HEAD + body)
        logger = logging.getLogger(service.name)
        rollout = service.patcher.apply(service.patch(self.HEAD))
        assert rollout.plan is not None
        warnings = " ".join(rollout.plan.warnings)
        assert f"a handler without a name on the logger '{service.name}' is gone: it stays there" in warnings
        assert f"the level of the logger '{service.name}' is gone: it stays as it is" in warnings
        assert f"the propagate of the logger '{service.name}' is gone: it stays as it is" in warnings
        assert (len(logger.handlers), logger.level, logger.propagate) == (1, 10, False)
