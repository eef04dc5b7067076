"""What failed in one process is not tried again by one that begins later, also when the first has ended."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hotswap.errors import HotswapError, LoadError, WrongPackageError
from hotswap.watching import Outcome, failures, ledger
from hotswap.watching.outcome import read_marker
from tests.test_watch_processes import Start, Worker, begin_workers, told, until
from tests.test_watching import NEVER, Recorder, Watch, marker, markers, put, settle

if sys.platform == "win32":
    pytest.skip("there is no flock", allow_module_level=True)

pytestmark = pytest.mark.threads


@pytest.fixture
def start(drops: Path) -> Iterator[Start]:
    with begin_workers(drops) as begin:
        yield begin


def report(drops: Path, infix: str, digest: str, *, drop: str = "shop.py", error: str | None = "LoadError") -> Path:
    """What another process left beside a drop."""
    outcome = Outcome(drop, digest, None, None, "rejected", "no", error, 1, datetime.now(UTC), name=infix.lstrip("."))
    path = drops / f"{drop}{infix}.failed"
    path.write_text(outcome.to_json())
    return path


def digest_of(drops: Path, content: str = "PRICE = 1\n") -> str:
    """The digest of what is dropped, by which reports speak of it."""
    path = put(drops, "shop.py", content)
    apply = Recorder()
    settle(Watch(apply, drops, settle=0.0))
    for name in markers(drops):
        (drops / name).unlink()
    assert path.exists()
    return apply.patches[0].digest


class TestRestarts:
    def test_a_failure_that_is_told_again_is_told_by_who_tells_it(self, drops: Path) -> None:
        report(drops, "", digest_of(drops))
        settle(Watch(Recorder(), drops, settle=0.0))
        told = marker(drops / "shop.py", "failed")
        assert (told["reason"], told["process"]) == ("no", os.getpid())

    @pytest.mark.slow  # it starts some processes
    @pytest.mark.parametrize(("end", "name"), [(Worker.stop, ("worker-2",)), (Worker.kill, ())])
    def test_what_failed_in_another_than_the_first(
        self, end: Callable[[Worker], None], name: tuple[str, ...], drops: Path, start: Start
    ) -> None:
        start("first")
        second = start(*name, fails=True)
        both = sorted(["shop.py.live", f"shop.py.{second.name}.failed"])
        put(drops, "shop.py")
        until(lambda: told(drops) == both)
        end(second)
        until(lambda: told(drops) == ["shop.py.ended.failed", "shop.py.live"])
        again = start(*name)
        until((drops / f"shop.py.{again.name}.failed").exists)
        assert again.tried() == 0

    @pytest.mark.slow  # it starts some processes
    def test_what_failed_in_the_first_while_another_is_live(self, drops: Path, start: Start) -> None:
        first = start("first", fails=True)
        second = start("second")
        put(drops, "shop.py")
        until(lambda: told(drops) == ["shop.py.failed", "shop.py.second.live"])
        first.stop()
        until(lambda: told(drops) == ["shop.py.ended.failed", "shop.py.live"])
        assert marker(drops / "shop.py", "ended.failed")["name"] == "first"
        again = start("first")
        until(lambda: (drops / "shop.py.first.failed").exists())
        assert again.tried() == 0
        second.stop()  # who did not try it takes the first place, and says nothing else there
        until(lambda: told(drops) == ["shop.py.failed"])
        assert marker(drops / "shop.py", "failed")["reason"] == "no"

    def test_each_that_is_running_tries_a_new_drop_for_itself(self, drops: Path, apply: Recorder) -> None:
        """Whichever comes first to it: what one of them comes to says nothing of the others."""
        watch = Watch(apply, drops, settle=0.0)
        watch.scan()
        digest = digest_of(drops)
        report(drops, ".other-1", digest)
        settle(watch)
        assert apply.count == 1
        assert markers(drops) == ["shop.py.live", "shop.py.other-1.failed"]

    def test_all_that_stands_when_it_begins_holds(self, drops: Path) -> None:
        digest = digest_of(drops)
        for infix in ("", ".other-1", ".ended"):
            path = report(drops, infix, digest)
            apply = Recorder()
            settle(Watch(apply, drops, settle=0.0))
            assert apply.count == 0
            assert (drops / "shop.py.failed").exists()
            for name in {path.name, "shop.py.failed"} & set(markers(drops)):
                (drops / name).unlink()
        apply = Recorder()
        settle(Watch(apply, drops, settle=0.0))
        assert apply.count == 1

    def test_but_not_for_other_bytes_or_packages(self, drops: Path, apply: Recorder) -> None:
        digest = digest_of(drops)
        report(drops, ".other-1", "0" * 64)
        report(drops, ".other-2", digest, error=WrongPackageError.__name__)
        report(drops, ".other-3", digest, drop="other.py").rename(drops / "shop.py.other-3.failed")
        settle(Watch(apply, drops, settle=0.0))
        assert apply.count == 1

    def test_who_begins_to_watch_again_hears_what_was_told_meanwhile(self, drops: Path, apply: Recorder) -> None:
        watch = Watch(apply, drops, NEVER, settle=0.0)
        with watch:
            watch.scan()
        report(drops, ".other-1", digest_of(drops))
        with watch:
            until(lambda: (drops / "shop.py.failed").exists())
        assert apply.count == 0

    def test_a_report_that_was_moved_meanwhile_holds_still(self, drops: Path, apply: Recorder) -> None:
        path = report(drops, ".other-1", digest_of(drops))
        watch = Watch(apply, drops, settle=0.0)
        watch.scan()
        path.rename(drops / "shop.py.ended.failed")
        watch.scan()
        assert apply.count == 0

    def test_what_this_process_came_up_on_is_live_whatever_others_say(self, drops: Path, apply: Recorder) -> None:
        digest = digest_of(drops)
        report(drops, "", digest)
        settle(Watch(apply, drops, settle=0.0, stood=lambda asked: asked == digest))
        assert apply.count == 1
        assert (drops / "shop.py.live").exists()


class TestKept:
    """`NAME.ended.failed`: one for each drop, as long as it may be of use."""

    def first(self, drops: Path, apply: Recorder) -> Watch:
        watch = Watch(apply, drops, settle=0.0)
        settle(watch)
        return watch

    def kept(self, drops: Path) -> bool:
        return (drops / "shop.py.ended.failed").exists()

    def test_goes_when_the_drop_has_other_bytes(self, drops: Path, apply: Recorder) -> None:
        digest = digest_of(drops)
        watch = self.first(drops, apply)
        report(drops, ".ended", digest)
        settle(watch)
        assert self.kept(drops)
        put(drops, "shop.py", "PRICE = 2\n")
        settle(watch)
        assert not self.kept(drops)
        assert apply.count == 2

    def test_goes_when_the_drop_goes(self, drops: Path, apply: Recorder) -> None:
        digest = digest_of(drops)
        watch = self.first(drops, apply)
        report(drops, ".ended", digest)
        (drops / "shop.py").unlink()
        watch.scan()
        assert not self.kept(drops)

    def test_goes_when_the_first_says_the_same(self, drops: Path, apply: Recorder) -> None:
        report(drops, ".ended", digest_of(drops))
        self.first(drops, apply)
        assert markers(drops) == ["shop.py.failed"]
        assert apply.count == 0

    def test_is_not_made_of_what_is_told_already(self, drops: Path) -> None:
        digest = digest_of(drops)
        report(drops, "", digest)
        failures.retire(report(drops, ".other-1", digest), "shop.py")
        assert markers(drops) == ["shop.py.failed"]

    def test_is_not_made_of_what_is_gone(self, drops: Path) -> None:
        failures.retire(report(drops, ".other-1", "0" * 64), "shop.py")
        assert markers(drops) == []

    def test_is_the_latest(self, drops: Path) -> None:
        put(drops, "shop.py")
        earlier, later = report(drops, ".other-1", "1" * 64), report(drops, ".other-2", "2" * 64)
        failures.retire(later, "shop.py")
        failures.retire(earlier, "shop.py")
        found = read_marker(drops, "shop.py", ".ended.failed")
        assert found is not None
        assert found.digest == "2" * 64
        assert markers(drops) == ["shop.py.ended.failed"]

    def test_takes_the_place_of_no_other_drop_s_report(self, drops: Path) -> None:
        digest = digest_of(drops)
        other = report(drops, "", "0" * 64, drop="shop.py.ended")
        failures.retire(report(drops, ".other-1", digest), "shop.py")
        assert json.loads(other.read_text())["drop"] == "shop.py.ended"
        assert markers(drops) == [other.name]

    def test_stops_no_other_report_where_its_name_is_taken(self, drops: Path, apply: Recorder) -> None:
        digest = digest_of(drops)
        watch = self.first(drops, apply)
        (drops / "shop.py.ended.failed").mkdir()
        report(drops, "", digest)
        failures.retire(report(drops, ".other-1", "0" * 64), "shop.py")
        put(drops, "shop.py", "PRICE = 2\n")
        settle(watch)
        assert markers(drops) == ["shop.py.ended.failed", "shop.py.live"]

    def test_what_somebody_forged_ends_no_pass(self, drops: Path, apply: Recorder) -> None:
        digest = digest_of(drops)
        early = json.dumps({"time": "0001-01-01T00:00:00+23:00"}).encode()
        for number, data in enumerate([b"[" * 100_000, early, b"", b"{}", b"[]", b"\xff"]):
            (drops / f"shop.py.other-{number}.failed").write_bytes(data)
        naive = report(drops, ".ended", digest)
        naive.write_text(naive.read_text().replace("+00:00", ""))
        failures.retire(report(drops, ".other-9", digest), "shop.py")
        settle(Watch(apply, drops, settle=0.0))
        assert apply.count == 0
        assert (drops / "shop.py.failed").exists()

    def test_no_watch_has_its_name(self, drops: Path, apply: Recorder) -> None:
        with pytest.raises(HotswapError, match="can't be named 'ended'"):
            Watch(apply, drops, name="ended")

    def test_whoever_removes_all_of_them_has_it_tried_again(self, drops: Path, apply: Recorder) -> None:
        apply.fails(LoadError("no"))
        digest = digest_of(drops)
        watch = self.first(drops, apply)
        report(drops, ".ended", digest)
        for name in markers(drops):
            (drops / name).unlink()
        apply.effect = lambda patch: None
        settle(watch)
        assert apply.count == 2
        assert markers(drops) == ["shop.py.live"]
        assert ledger.ledger_of(apply, drops).outcomes["shop.py"].applied
