"""A watch in the children of a fork: it goes on there, with a thread, an observer and a name of its own."""

from __future__ import annotations

import json
import os
import textwrap
from pathlib import Path

import pytest

from tests.test_watching import put, run

if not hasattr(os, "fork"):
    pytest.skip("there is no fork here", allow_module_level=True)

pytestmark = pytest.mark.threads

PRELUDE = """
import logging, os, sys, threading, time, traceback, warnings
from types import SimpleNamespace
from hotswap import errors
from hotswap.watching import Watch, children, ledger
from hotswap.watching.seats import own_name

warnings.simplefilter("ignore", DeprecationWarning)  # A fork of a process with threads is what this is about.
drops, applied, effects = sys.argv[1], [], []

def apply(patch):
    for effect in effects:
        effect(patch)
    applied.append(patch.name)
    return SimpleNamespace(id=f"r{len(applied)}", patch=patch, version="1.0", state="live", reason="by hand", bake=None)

def drop(name):
    with open(os.path.join(drops, ".aside.part"), "w") as file:
        file.write(f"# {name}")
    os.rename(os.path.join(drops, ".aside.part"), os.path.join(drops, name))

def child(work):
    forked = os.fork()
    if forked == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return forked

def ended(forked):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        gone, status = os.waitpid(forked, os.WNOHANG)
        if gone:
            assert status == 0, status
            return
        time.sleep(0.01)
    os.kill(forked, 9)
    raise AssertionError("the child hangs")

def until(holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)

def there(name):
    return os.path.exists(os.path.join(drops, name))

def watching(interval=0.05):
    return Watch(apply, drops, interval, settle=0.0, single_files=True)
"""


def script(body: str, drops: Path) -> list[str]:
    return run(PRELUDE + textwrap.dedent(body), str(drops))


class TestAChild:
    def test_goes_on(self, drops: Path) -> None:
        """By events, too: no rescan comes in time."""
        put(drops, "one.py")
        told = script(
            """
            with watching(3600) as watch:
                watch.wait_for("one.py", 20)
                def work():
                    assert watch.alive and watch._doorbell is not None
                    assert list(watch.outcomes) == ["one.py"]
                    until(lambda: there(f"one.py.{own_name()}.live"))  # what was live is live here, and says so
                    until(lambda: watch._doorbell.rings)
                    drop("two.py")
                    assert watch.wait_for("two.py", 20).applied
                    assert applied == ["one", "two"], applied
                    assert there(f"two.py.{own_name()}.live")
                    watch.scan()
                    try:
                        watch.start()
                    except errors.StateError as error:
                        assert "already running" in str(error)
                    ledger.follow(SimpleNamespace(id="r1", state="rolled_back", reason="here only"))
                    assert there(f"one.py.{own_name()}.failed")
                    watch.stop()
                    assert not watch.alive
                    with watch:
                        assert watch.wait_for("two.py", 20).applied
                ended(child(work))
                assert watch.alive
                assert watch.wait_for("two.py", 20).applied
                drop("three.py")
                assert watch.wait_for("three.py", 20).applied
            print(*applied)
            """,
            drops,
        )
        assert told == ["one two three"]
        assert json.loads((drops / "one.py.live").read_text())["state"] == "live"

    def test_of_a_child_goes_on(self, drops: Path) -> None:
        script(
            """
            with watching() as watch:
                def grandchild():
                    drop("two.py")
                    assert watch.wait_for("two.py", 20).applied
                def work():
                    drop("one.py")
                    assert watch.wait_for("one.py", 20).applied
                    ended(child(grandchild))
                    assert watch.wait_for("two.py", 20).applied
                ended(child(work))
                assert watch.wait_for("two.py", 20).applied
            """,
            drops,
        )

    def test_of_a_process_without_a_watch_has_none(self, drops: Path) -> None:
        script(
            """
            watch = watching()
            with watch:
                pass
            def work():
                assert threading.active_count() == 1
                assert not watch.alive
                with watch:
                    drop("one.py")
                    assert watch.wait_for("one.py", 20).applied
            ended(child(work))
            """,
            drops,
        )

    def test_outlives_its_parent_and_is_the_first_then(self, drops: Path) -> None:
        """The kernel shares a lock with whoever has a copy of its descriptor: a child must let go of it."""
        script(
            """
            readable, writable = os.pipe()
            def middle():
                with watching() as watch:
                    def work():
                        until(lambda: os.getppid() != parent)
                        drop("one.py")
                        assert watch.wait_for("one.py", 20).applied
                        until(lambda: there("one.py.live") and not there(f"one.py.{own_name()}.live"))
                        os.write(writable, b"x")
                    parent = os.getpid()
                    child(work)
                    os._exit(0)
            ended(child(middle))
            os.close(writable)
            assert os.read(readable, 1) == b"x"
            """,
            drops,
        )

    def test_of_a_thread_that_forks_while_the_watch_logs(self, drops: Path) -> None:
        """No lock is inherited: neither ours nor that of a handler."""
        script(
            """
            handler = logging.StreamHandler(open(os.devnull, "w"))
            logging.getLogger("hotswap").addHandler(handler)
            logging.getLogger("hotswap").setLevel(logging.DEBUG)
            with watching(0.001) as watch:
                stop = threading.Event()
                def churn():
                    number = 0
                    while not stop.is_set():
                        number += 1
                        drop(f"churn{number % 7}.py")
                        watch.scan()
                        watch._ring()
                thread = threading.Thread(target=churn)
                thread.start()
                try:
                    for number in range(30):
                        def work():
                            assert watch.alive
                            name = f"mine{number}.py"
                            with open(os.path.join(drops, name), "w") as file:
                                file.write("X = 1")
                            assert watch.wait_for(name, 20).applied
                        ended(child(work))
                finally:
                    stop.set()
                    thread.join()
            """,
            drops,
        )


class TestARollout:
    def test_is_waited_for(self, drops: Path) -> None:
        """A copy of it would never end in the child."""
        script(
            """
            entered, go_on = threading.Event(), threading.Event()
            def effect(patch):
                entered.set()
                assert go_on.wait(20)
            effects.append(effect)
            with watching() as watch:
                drop("one.py")
                assert entered.wait(20)
                effects.clear()
                threading.Timer(0.2, go_on.set).start()
                def work():
                    assert applied == ["one"], applied
                    drop("two.py")
                    assert watch.wait_for("two.py", 20).applied
                ended(child(work))
                assert watch.wait_for("two.py", 20).applied
            """,
            drops,
        )

    def test_is_not_waited_for_for_ever(self, drops: Path) -> None:
        told = script(
            """
            logging.basicConfig(stream=sys.stdout, level=logging.ERROR)
            children.PATIENCE = 0.05
            entered, go_on = threading.Event(), threading.Event()
            def effect(patch):
                entered.set()
                assert go_on.wait(20)
            effects.append(effect)
            with watching() as watch:
                drop("one.py")
                assert entered.wait(20)
                def work():
                    assert not watch.alive
                    sys.stdout.flush()
                ended(child(work))
                go_on.set()
                assert watch.wait_for("one.py", 20).applied
            """,
            drops,
        )
        assert any("forked in the middle of a rollout" in line for line in told), told

    def test_may_fork_itself(self, drops: Path) -> None:
        """A check that starts processes must not wait for itself."""
        script(
            """
            seconds = []
            def effect(patch):
                began = time.monotonic()
                def work():
                    assert not watch.alive
                ended(child(work))
                seconds.append(time.monotonic() - began)
            effects.append(effect)
            with watching() as watch:
                drop("one.py")
                assert watch.wait_for("one.py", 20).applied, watch.outcomes
                assert watch.alive
            assert seconds[0] < children.PATIENCE
            """,
            drops,
        )


def test_workers_of_a_preloaded_service(drops: Path, tmp_path: Path) -> None:
    """What gunicorn does: the service is imported and watched, then forked."""
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = '1.0'\ndef price():\n    return 1\n")
    told = script(
        f"""
        sys.path.insert(0, {str(tmp_path)!r})
        import hotswap, shop
        from shop import price
        patcher = hotswap.Patcher(["shop"])
        with patcher.watch(drops, interval=0.05, single_files=True) as watch:
            def worker():
                for version in (2, 3):
                    until(lambda: price() == version)
                    open(os.path.join(drops, f".met-{{os.getpid()}}-{{version}}"), "w").close()
                until(lambda: there(f"shop.py.{{own_name()}}.live"))
                patcher.rollback()
                assert price() == 2
                assert there(f"shop.py.{{own_name()}}.failed")
            workers = [child(worker), child(worker)]
            for version in (2, 3):
                with open(os.path.join(drops, ".aside.part"), "w") as file:
                    file.write(f"def price():\\n    return {{version}}\\n")
                os.rename(os.path.join(drops, ".aside.part"), os.path.join(drops, "shop.py"))
                until(lambda: price() == version)
                until(lambda: all(there(f".met-{{forked}}-{{version}}") for forked in workers))
            for forked in workers:
                ended(forked)
            print(price(), shop.price())
        """,
        drops,
    )
    assert told == ["3 3"]
