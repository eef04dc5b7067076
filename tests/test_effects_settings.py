"""Settings and lists of the process that an import changes in ways that are seldom used."""

from __future__ import annotations

import asyncio
import faulthandler
import locale
import multiprocessing
import os
import sys
import threading
import time
import tracemalloc
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from tests.test_registrations import Service, commit

pytestmark = pytest.mark.threads  # threads, processes and traces: not on Pyodide

Make = Callable[..., ModuleType]

CASES: dict[str, tuple[str, Callable[[], Any]]] = {
    "the import path is bound anew": ("import sys\nsys.path = ['/nowhere'] + sys.path\n", lambda: sys.path[:1]),
    "the finders are bound anew": (
        "import sys\nclass F:\n  def find_spec(self, *a): pass\nsys.meta_path = [*sys.meta_path, F()]\n",
        lambda: len(sys.meta_path),
    ),
    "the environment is bound anew": (
        "import os\nos.environ = dict(os.environ, PACKAGE_MODE='new')\n",
        lambda: [type(os.environ).__name__, *(name for name in os.environ if name.endswith("_MODE"))],
    ),
    "the locale": (
        "import locale\nlocale.setlocale(locale.LC_ALL, 'C.UTF-8')\n",
        lambda: locale.setlocale(locale.LC_ALL),
    ),
    "the time zone": (
        "import os, time\nos.environ['TZ'] = 'XYZ-3'\ntime.tzset()\n",
        lambda: (time.tzname, os.environ.get("TZ")),
    ),
    "the policy of event loops": (
        """if True:
            import asyncio, warnings
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                class P(asyncio.DefaultEventLoopPolicy): pass
                asyncio.set_event_loop_policy(P())
        """,
        lambda: type(vars(asyncio.events)["_event_loop_policy"]).__name__ == "P",
    ),
    "how processes are started": (
        "import multiprocessing\nmultiprocessing.set_start_method('spawn', force=True)\n",
        lambda: multiprocessing.get_start_method(),
    ),
    "tracemalloc": ("import tracemalloc\ntracemalloc.start(3)\n", lambda: tracemalloc.is_tracing()),
    "faulthandler": ("import faulthandler\nfaulthandler.disable()\n", faulthandler.is_enabled),
}


@pytest.mark.parametrize(("code", "told"), CASES.values(), ids=list(CASES))
def test_is_set_with_the_commit_and_back_with_a_rollback(
    make_package: Make, code: str, told: Callable[[], Any], request: pytest.FixtureRequest
) -> None:
    if "faulthandler" in code and not faulthandler.is_enabled():
        faulthandler.enable(2)
        request.addfinalizer(faulthandler.disable)
    service = Service(make_package, "", "")
    before = told()
    places = [id(sys.path), id(sys.meta_path), id(os.environ)]
    service.stage(code).abort()
    assert told() == before
    rollout = service.stage(code)
    assert told() == before
    assert len(rollout.plan.effects) == 1
    commit(rollout)
    assert told() != before
    service.patcher.rollback()
    assert told() == before
    assert [id(sys.path), id(sys.meta_path), id(os.environ)] == places


def test_filters_that_another_thread_has_for_a_moment_are_not_kept(make_package: Make) -> None:
    service = Service(make_package, "", "")
    service.live.entered, service.live.left, service.live.begun = (threading.Event() for _ in range(3))

    def work() -> None:
        with warnings.catch_warnings():
            service.live.entered.set()
            service.live.begun.wait(10)
        service.live.left.set()

    filters = warnings.filters
    thread = threading.Thread(target=work)
    thread.start()
    service.live.entered.wait(10)
    service.stage("from PACKAGE.live import begun, left\nbegun.set()\nassert left.wait(10)\n").abort()
    thread.join()
    assert warnings.filters is filters
