"""The store: patches by digest, the journal, who lives, what is forgotten, and what is wrong with a folder."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hotswap
from hotswap import Patch, Patcher, Rollout, State, Store
from hotswap.errors import LoadError, NothingToRollBackError, QuarantinedError, StoreError
from hotswap.store import Refusal, database
from hotswap.store.blobs import packed, unpacked
from hotswap.store.entries import STATES, Entry
from hotswap.store.incarnations import alive, incarnation
from tests.waiting import until

pytestmark = pytest.mark.threads  # files, locks and subprocesses; there is no sqlite3 on Pyodide

Make = Callable[..., ModuleType]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "var" / "hotswap")


@pytest.fixture
def service(make_package: Make, store: Store) -> tuple[ModuleType, Patcher]:
    package = make_package({"__init__.py": '__version__ = "1.2.0"\n', "a.py": "def quote(): return 0\n"})
    sys.modules[f"{package.__name__}.a"] = __import__(f"{package.__name__}.a", fromlist=["quote"])
    return package, Patcher([package.__name__], store=store)


def patch(package: ModuleType, number: object, version: str | None = None) -> Patch:
    return Patch.from_sources({f"{package.__name__}.a": f"def quote(): return {number}\n"}, version)


def query(store: Store, text: str) -> list[tuple[Any, ...]]:
    with sqlite3.connect(store.journal.path) as connection:
        found = connection.execute(text).fetchall()
    connection.close()
    return found


def entry(name: str, state: str, **facts: Any) -> Entry:
    known = dict.fromkeys(("reason", "by", "why", "actor"), "")
    times = dict.fromkeys(("started", "changed"), "2026-01-01T00:00:00.000+00:00")
    return Entry(
        id=name, name="shop", version="1.0", state=state, **{"given": "d", "digest": "d", **known, **times, **facts}
    )


def refused(path: str | Path, *_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


class TestPatches:
    def test_are_the_same_when_they_come_back(self, store: Store) -> None:
        made = Patch.from_sources({"shop.tax": "RATE = 19\n"}, "1.0", keep=["shop.tax:RATE"])
        assert store.patches.put(made) == made.digest
        found = store.patches.get(made.digest)
        assert (found, found.files, found.keep, found.sources) == (made, made.files, made.keep, made.sources)

    @settings(suppress_health_check=[HealthCheck.too_slow])  # it looks at the clock
    @given(
        st.dictionaries(st.from_regex(r"[a-z]{1,4}(/[a-z\udc80]{1,4}){0,2}", fullmatch=True), st.binary(), min_size=1)
    )
    def test_of_any_bytes_come_back(self, files: dict[str, bytes]) -> None:
        made = Patch(name="x", version=None, files=files)
        assert unpacked(packed(made)).digest == made.digest

    def test_do_not_say_where_they_came_from(self, tmp_path: Path) -> None:
        (tmp_path / "one.py").write_text("x = 1\n")
        made = Patch.from_path(tmp_path / "one.py", "1.0")
        assert str(tmp_path).encode() not in packed(made)

    @pytest.mark.parametrize("place", [0, 20, 200, -1])
    def test_that_are_damaged_are_refused(self, store: Store, place: int) -> None:
        digest = store.patches.put(Patch.from_sources({"shop.tax": "RATE = 19\n" * 50}))
        path = store.folder / "patches" / digest
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)
        with pytest.raises(StoreError, match="is damaged"):
            store.patches.get(digest)

    def test_of_another_digest_are_refused(self, store: Store) -> None:
        one, two = (store.patches.put(Patch.from_sources({"shop.tax": f"RATE = {n}\n"})) for n in (1, 2))
        folder = store.folder / "patches"
        (folder / one).write_bytes((folder / two).read_bytes())
        with pytest.raises(StoreError, match="holds something else"):
            store.patches.get(one)

    def test_that_are_not_there_are_told(self, store: Store) -> None:
        with pytest.raises(StoreError, match="can't be read"):
            store.patches.get("0" * 64)

    def test_leave_nothing_half_written(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "fsync", refused)
        with pytest.raises(StoreError, match="No space left"):
            store.patches.put(Patch.from_sources({"shop.tax": "RATE = 19\n"}))
        assert [path for path in store.folder.rglob("*") if path.is_file()] == []


class TestJournal:
    def test_has_who_and_when_and_why_and_how_long(self, service: tuple[ModuleType, Patcher], store: Store) -> None:
        package, patcher = service
        patcher.check(lambda candidate: True, name="fine")
        patcher.apply(patch(package, 1, "2.0"), by="ann", why="ticket 7").rollback("wrong", by="bob")
        (row,) = query(store, 'SELECT name, version, state, "by", why, reason, pause > 0 FROM history')
        assert row == (package.__name__, "2.0", "rolled_back", "ann", "ticket 7", "wrong", 1)
        steps = query(store, 'SELECT state, "by", reason FROM step ORDER BY number')
        before = [("staged", "ann", ""), ("verified", "ann", ""), ("live", "ann", "")]
        assert steps == [*before, ("rolled_back", "bob", "wrong")]
        (report,) = query(store, "SELECT json_extract(report, '$[0].name', '$[0].verdict') FROM rollout")
        assert report == ('["fine","passed"]',)

    def test_has_who_took_it_back_if_nobody_says_it(self, service: tuple[ModuleType, Patcher], store: Store) -> None:
        package, patcher = service
        patcher.apply(patch(package, 1), by="ann").rollback()
        ((who,),) = query(store, "SELECT \"by\" FROM step WHERE state = 'rolled_back'")
        assert f"process {os.getpid()}" in who

    def test_has_what_was_rejected(self, service: tuple[ModuleType, Patcher], store: Store) -> None:
        package, patcher = service
        with pytest.raises(LoadError):
            patcher.apply(patch(package, "1\nraise ValueError('no')"))
        (row,) = query(store, "SELECT state, reason FROM history")
        assert row[0] == "rejected"
        assert "no" in row[1]

    def test_says_live_before_it_is(self, service: tuple[ModuleType, Patcher], store: Store) -> None:
        package, patcher = service
        rollout = patcher.stage(patch(package, 1))
        told: list[Any] = []
        rollout.verify()
        advance = patcher._succession.advance

        def looked_at(made: Any) -> Any:
            told.append((query(store, "SELECT state, generation FROM rollout"), package.a.quote()))
            return advance(made)

        patcher._succession.advance = looked_at  # type: ignore[method-assign,assignment]
        rollout.commit()
        (((state, generation),), quote) = told[0]
        assert (state, quote, package.a.quote()) == ("live", 0, 1)
        assert store.patches.get(generation).files

    def test_is_read_by_the_command(self, service: tuple[ModuleType, Patcher], store: Store) -> None:
        package, patcher = service
        patcher.apply(patch(package, 1, "2.0"))
        try:
            command = ["sqlite3", str(store.journal.path), "SELECT version, state FROM history"]
            told = subprocess.run(command, capture_output=True, text=True, check=True)
        except FileNotFoundError:
            pytest.skip("there is no sqlite3 command here")
        assert told.stdout == "2.0|live\n"

    def test_reaches_the_history_of_another_patcher(self, service: tuple[ModuleType, Patcher], store: Store) -> None:
        package, patcher = service
        rollout = patcher.apply(patch(package, 1, "2.0"), by="ann")
        (record,) = Patcher([package.__name__], store=store.folder).history()
        assert (record.id, record.state, record.by) == (rollout.id, State.LIVE, "ann")
        assert record.report == rollout.report
        assert patcher.history()[0] == rollout.record

    def test_says_what_comes_up(self, service: tuple[ModuleType, Patcher], store: Store) -> None:
        package, patcher = service
        first = patcher.apply(patch(package, 1))
        assert store.journal.standing() == {}
        first.confirm()
        assert store.journal.standing()[package.__name__].id == first.id
        second = patcher.apply(patch(package, 2))
        third = patcher.apply(patch(package, 3))  # which ends the trial of the second
        assert store.journal.standing()[package.__name__].id == second.id
        third.confirm()
        third.rollback()
        assert store.journal.standing()[package.__name__].id == second.id

    def test_says_that_the_code_on_disk_comes_up(self, service: tuple[ModuleType, Patcher], store: Store) -> None:
        package, patcher = service
        rollout = patcher.apply(patch(package, 1))
        rollout.confirm()
        rollout.rollback()
        assert store.journal.standing() == {}

    def test_of_several_processes_is_one(self, store: Store) -> None:
        store.journal.write(entry("one", "live"))
        code = f"""
from hotswap import Store
from hotswap.store.entries import Entry
Store({str(store.folder)!r}).journal.write(Entry(id="two", name="shop", version=None, state="live", reason="", by="",
    why="", actor="", started="2026-01-01T00:00:00+00:00", changed="2026-01-01T00:00:00+00:00", given="d", digest="d"))
"""
        for_child = {**os.environ, "PYTHONPATH": str(Path(hotswap.__file__).parent.parent)}
        subprocess.run([sys.executable, "-c", code], check=True, env=for_child)
        assert {found.id for found in store.journal.entries(10)} == {"one", "two"}
        assert query(store, "SELECT count(DISTINCT incarnation) FROM rollout") == [(2,)]


class TestDeath:
    def dead(self, store: Store, name: str, state: str = "live") -> None:
        """A process writes that a rollout is on trial, and dies."""
        child = os.fork()
        if not child:
            try:
                store.journal.write(entry(name, state))
            finally:
                os.kill(os.getpid(), 9)
        assert os.waitpid(child, 0)[1] == 9

    def test_ends_what_was_on_trial(self, store: Store) -> None:
        self.dead(store, "one")
        self.dead(store, "two", "permanent")
        self.dead(store, "three", "rejected")
        (died,) = store.journal.bury()
        assert (died.label, died.quarantined) == ("shop 1.0", False)
        states = {found.id: found.state for found in store.journal.entries(10)}
        assert states == {"one": "died", "two": "permanent", "three": "rejected"}
        assert store.journal.bury() == []

    @pytest.mark.parametrize("state", ["staged", "verified", "armed", "live"])
    def test_that_comes_twice_quarantines(self, store: Store, state: str) -> None:
        self.dead(store, "one", state)
        assert [died.quarantined for died in store.journal.bury()] == [False]
        self.dead(store, "two", state)
        assert [died.quarantined for died in store.journal.bury()] == [True]
        assert store.quarantined().keys() == {"d"}

    def test_of_several_workers_at_once_counts_once(self, store: Store) -> None:
        for name in ("one", "two", "three"):
            self.dead(store, name)
        assert [died.quarantined for died in store.journal.bury()] == [False]

    @contextmanager
    def worker(self, store: Store, *entries: Entry) -> Iterator[None]:
        """A process that writes that rollouts are on trial, lives, and is killed in the end."""
        child = os.fork()
        if not child:
            try:
                store.journal.write(*entries)
                (store.folder / entries[0].id).touch()
                time.sleep(60)
            finally:
                os._exit(1)
        assert until((store.folder / entries[0].id).exists)
        yield
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)

    def test_of_workers_one_after_another_counts_once(self, store: Store) -> None:
        """In a rolling restart each worker has begun its trial before the first of them was known to have died."""
        (store.folder).mkdir(parents=True, mode=0o700)
        with self.worker(store, entry("three", "live")):
            with self.worker(store, entry("two", "live")):
                with self.worker(store, entry("one", "live")):
                    pass
                assert [died.quarantined for died in store.journal.bury()] == [False]
                again = self.worker(store, entry("one again", "live"))
                again.__enter__()
            assert [died.quarantined for died in store.journal.bury()] == [False]
        assert [died.quarantined for died in store.journal.bury()] == [False]
        again.__exit__(None, None, None)
        assert [died.quarantined for died in store.journal.bury()] == [True]

    def test_while_another_is_loaded_counts_against_that(self, store: Store) -> None:
        (store.folder).mkdir(parents=True, mode=0o700)
        for number in ("1", "2"):
            live = entry(f"a{number}", "live", given="a")
            with self.worker(store, live, entry(f"b{number}", "staged", given="b")):
                pass
            store.journal.bury()
        assert store.quarantined().keys() == {"b"}
        assert {found.state for found in store.journal.entries(10)} == {"died"}

    def test_is_forgotten_after_a_week(self, store: Store) -> None:
        """Two deaths that far from each other are no loop."""
        for name, last in (("one", "2020-01-01T00:00:00.000+00:00"), ("two", None)):
            self.dead(store, name)
            assert [died.quarantined for died in store.journal.bury()] == [False]
            if last is not None:
                with sqlite3.connect(store.journal.path) as connection:
                    connection.execute("UPDATE death SET last = ?", (last,))
                connection.close()
        self.dead(store, "three")
        assert [died.quarantined for died in store.journal.bury()] == [True]

    def test_is_not_that_of_a_living_one_whose_store_was_moved_away(self, store: Store) -> None:
        store.journal.write(entry("mine", "live"))
        store.folder.rename(store.folder.with_name("away"))
        store.journal.write(entry("mine", "live"))
        here = incarnation(store.folder / "running", lambda _: None)
        assert (store.folder / "running" / here.id).exists()
        child = os.fork()  # what another process sees of it
        if not child:
            os._exit(0 if alive(store.folder / "running", here.id) else 1)
        assert os.waitpid(child, 0)[1] == 0

    def test_is_forgiven_to_what_becomes_permanent(self, store: Store) -> None:
        self.dead(store, "one")
        store.journal.bury()
        store.journal.write(entry("two", "permanent"))
        self.dead(store, "three")
        assert [died.quarantined for died in store.journal.bury()] == [False]

    def test_leaves_what_other_processes_do(self, store: Store) -> None:
        store.journal.write(entry("mine", "live"))
        self.dead(store, "other")
        store.journal.bury()
        assert {found.id: found.state for found in store.journal.entries(10)} == {"mine": "live", "other": "died"}

    def test_of_a_child_is_not_that_of_its_parent(self, store: Store) -> None:
        locks = store.folder / "running"
        store.journal.write(entry("mine", "live"))
        mine = incarnation(locks, lambda _: None)
        self.dead(store, "child")
        assert alive(locks, mine.id)
        handle = os.open(locks / mine.id, os.O_RDWR)  # as another process would look
        try:
            import fcntl

            with pytest.raises(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(handle)

    def test_is_not_what_ends_in_good_order(self, store: Store) -> None:
        code = f"""
from hotswap import Store
from hotswap.store.entries import Entry
Store({str(store.folder)!r}).journal.write(Entry(id="two", name="shop", version=None, state="live", reason="", by="",
    why="", actor="", started="2026-01-01T00:00:00+00:00", changed="2026-01-01T00:00:00+00:00", given="d", digest="d"))
"""
        for_child = {**os.environ, "PYTHONPATH": str(Path(hotswap.__file__).parent.parent)}
        for _ in range(3):
            subprocess.run([sys.executable, "-c", code], check=True, env=for_child)
            assert [died.quarantined for died in store.journal.bury()] == [False]
        assert [found.state for found in store.journal.entries(10)] == ["died"]
        assert store.quarantined() == {}


class TestQuarantine:
    def test_refuses_the_patch_until_it_is_released(self, service: tuple[ModuleType, Patcher], store: Store) -> None:
        package, patcher = service
        bad = patch(package, 1)
        store.journal.write(entry("x", "rejected"))
        with sqlite3.connect(store.journal.path) as connection:
            values = (bad.digest, "shop", 2, "", 1, "it died 2 times")
            connection.execute("INSERT INTO death VALUES (?, ?, ?, ?, ?, ?)", values)
        connection.close()
        with pytest.raises(QuarantinedError, match="it died 2 times") as caught:
            patcher.apply(bad)
        assert f".release('{bad.digest}')" in str(caught.value)
        assert package.a.quote() == 0
        patcher.apply(patch(package, 2))
        assert store.release(bad.digest)
        assert not store.release(bad.digest)
        patcher.apply(bad)
        assert package.a.quote() == 1

    def quarantine(self, store: Store, digest: str) -> None:
        """Two other processes die of a patch, one after the other."""
        for name in ("one", "two"):
            child = os.fork()
            if not child:
                try:
                    store.journal.write(entry(name, "live", given=digest))
                finally:
                    os.kill(os.getpid(), 9)
            os.waitpid(child, 0)
            store.journal.bury()
        assert store.quarantined().keys() == {digest}

    def test_is_not_ended_by_a_process_that_lives_on_with_the_patch(
        self, service: tuple[ModuleType, Patcher], store: Store
    ) -> None:
        """Permanent, it would come up at every start, and no death would count any more."""
        package, patcher = service
        bad = patch(package, 1)
        rollout = patcher.apply(bad)
        self.quarantine(store, bad.digest)
        with pytest.raises(QuarantinedError, match="died 2 times") as caught:
            rollout.confirm()
        assert f".release('{bad.digest}')" in str(caught.value)
        assert (rollout.state, package.a.quote()) == (State.LIVE, 1)
        assert (store.journal.standing(), len(store.quarantined())) == ({}, 1)
        assert store.release(bad.digest)
        rollout.confirm()
        assert [found.id for found in store.journal.standing().values()] == [rollout.id]

    def test_is_not_ended_by_the_patch_that_follows(self, service: tuple[ModuleType, Patcher], store: Store) -> None:
        """The mend goes live and becomes permanent; what it lies over does not come up, not even without it."""
        package, patcher = service
        bad = patch(package, 1)
        patcher.apply(bad)
        self.quarantine(store, bad.digest)
        mend = patcher.apply(patch(package, 2))
        assert (store.journal.standing(), len(store.quarantined())) == ({}, 1)
        mend.confirm()
        assert [found.id for found in store.journal.standing().values()] == [mend.id]
        mend.rollback()
        assert (package.a.quote(), store.journal.standing()) == (1, {})


class Full:
    """A connection to a database beside which there is no room for the memory that its users share."""

    def __init__(self, connection: sqlite3.Connection, code: int) -> None:
        self.close, self.code = connection.close, code

    def execute(self, *_: object) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = self.code
        raise error


class TestFullDisk:
    @pytest.fixture(
        params=[
            pytest.param(sqlite3.SQLITE_IOERR | 19 << 8, id="no room"),  # SQLITE_IOERR_SHMSIZE
            pytest.param(sqlite3.SQLITE_CANTOPEN, id="no file more"),
        ]
    )
    def full(
        self,
        service: tuple[ModuleType, Patcher],
        store: Store,
        monkeypatch: pytest.MonkeyPatch,
        request: pytest.FixtureRequest,
    ) -> Iterator[str]:
        """A store on a disk that has become full while its newest word is in the log; gives what is permanent."""
        package, patcher = service
        patcher.apply(patch(package, 1)).confirm()
        reader = sqlite3.connect(store.journal.path, isolation_level=None)
        reader.execute("SELECT count(*) FROM rollout").fetchall()  # so that the log is not folded in
        rollout = patcher.apply(patch(package, 2))
        rollout.confirm()
        assert store.journal.path.with_name("journal.db-wal").stat().st_size
        connected = database._connected

        def connect(path: Path) -> Any:
            connection = connected(path)
            return Full(connection, request.param) if path == store.journal.path else connection

        monkeypatch.setattr(database, "_connected", connect)
        yield rollout.id
        reader.close()

    def test_what_is_permanent_is_read_all_the_same(self, full: str, store: Store) -> None:
        assert [found.id for found in store.journal.standing().values()] == [full]

    def test_what_is_written_meanwhile_is_copied_anew(
        self, full: str, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        copyfile, copies = shutil.copyfile, []

        def copy(source: Path, target: Path) -> None:
            copyfile(source, target)
            copies.append(source.name)
            if len(copies) <= 2:
                os.utime(source, ns=(len(copies), len(copies)))

        monkeypatch.setattr(shutil, "copyfile", copy)
        assert [found.id for found in store.journal.standing().values()] == [full]
        assert copies == ["journal.db", "journal.db-wal"] * 2

    def test_what_is_written_again_and_again_can_not_be_read(
        self, full: str, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        times = iter(range(100))

        def copy(source: Path, _: Path) -> None:
            number = next(times)
            os.utime(source, ns=(number, number))

        monkeypatch.setattr(shutil, "copyfile", copy)
        with pytest.raises(StoreError, match="it is written while it is copied"):
            store.journal.standing()


class TestRetention:
    def test_is_by_count(self, tmp_path: Path) -> None:
        store = Store(tmp_path / "s", keep=3, days=1e5)
        for number in range(6):
            store.journal.write(entry(str(number), "rejected"))
        store.tidy()
        assert [found.id for found in store.journal.entries(10)] == ["5", "4", "3"]

    @pytest.mark.parametrize("jump", [0, 3650])
    def test_is_by_age(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float) -> None:
        """Also if the clock jumps by ten years: that is not the age of what was there before."""
        store, then = Store(tmp_path / "s", days=10), datetime.now(UTC)
        for hours in range(600, 0, -12):
            store.journal.write(entry(str(hours), "rejected", changed=(then - timedelta(hours=hours)).isoformat()))
        monkeypatch.setattr("hotswap.store.retention.now", lambda: (then + timedelta(days=jump)).isoformat())
        store.journal.write(entry("new", "rejected", changed=(then + timedelta(days=jump)).isoformat()))
        store.tidy()
        known = [found.id for found in store.journal.entries(100)]
        assert known == ["new", *(str(hours) for hours in range(12, 241 if jump == 0 else 229, 12))]

    def test_passes_over_a_time_that_is_none(self, store: Store) -> None:
        store.journal.write(entry("one", "rejected", changed="x"))
        store.tidy()
        assert query(store, "SELECT id FROM rollout") == [("one",)]

    def test_keeps_what_comes_up_and_what_it_lies_over(self, tmp_path: Path) -> None:
        store = Store(tmp_path / "s", keep=1)
        for name, below in (("a", None), ("b", "a"), ("c", "b")):
            store.journal.write(entry(name, "permanent", packages=("shop",), below=below))
        store.journal.write(entry("trial", "live"), entry("no", "rejected"), entry("last", "rejected"))
        store.tidy()
        assert {found.id for found in store.journal.entries(10)} == {"b", "c", "trial", "last"}

    def test_deletes_patches_that_nobody_speaks_of_when_they_are_old(self, store: Store) -> None:
        made = [Patch.from_sources({"shop.tax": f"RATE = {n}\n"}) for n in range(3)]
        for one in made:
            store.patches.put(one)
        store.journal.write(entry("a", "permanent", packages=("shop",), generation=made[0].digest))
        folder = store.folder / "patches"
        (folder / ".aside-1").write_bytes(b"half")
        for name in (made[0].digest, made[1].digest, ".aside-1"):
            os.utime(folder / name, (time.time() - 7200,) * 2)
        store.tidy()
        assert {path.name for path in folder.iterdir()} == {made[0].digest, made[2].digest}

    def test_leaves_an_old_patch_that_is_put_again(self, store: Store) -> None:
        made = Patch.from_sources({"shop.tax": "RATE = 19\n"})
        store.patches.put(made)
        os.utime(store.folder / "patches" / made.digest, (1, 1))
        store.patches.put(made)
        assert store.patches.sweep(()) == []

    def test_takes_nothing_away_that_is_about_to_be_live(
        self, service: tuple[ModuleType, Patcher], store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another process sweeps after the files were put there, and before the journal speaks of them."""
        package, patcher = service
        intend = patcher._books.intend

        def swept_before(rollout: Any) -> None:
            for path in (store.folder / "patches").iterdir():
                os.utime(path, (1, 1))
            assert len(store.patches.sweep(())) == 3
            intend(rollout)

        patcher.apply(Patch.from_sources({f"{package.__name__}.b": ""})).confirm()
        monkeypatch.setattr(patcher._books, "intend", swept_before)
        rollout = patcher.apply(patch(package, 1))
        *_, (given, generation) = query(store, "SELECT digest, generation FROM rollout")
        assert store.patches.get(given) == rollout.patch
        assert store.patches.get(generation).files

    @pytest.mark.parametrize("wrong", [{"keep": 0}, {"days": 0}, {"days": float("nan")}])
    def test_is_a_number_above_zero(self, tmp_path: Path, wrong: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="above zero"):
            Store(tmp_path, **wrong)


class TestTrouble:
    def test_full_disk_rejects(
        self, service: tuple[ModuleType, Patcher], store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package, patcher = service
        monkeypatch.setattr(os, "fsync", refused)
        with pytest.raises(StoreError, match="No space left"):
            patcher.apply(patch(package, 1))
        monkeypatch.undo()
        assert (package.a.quote(), patcher.current) == (0, None)
        patcher.apply(patch(package, 2))
        assert package.a.quote() == 2

    def test_of_the_journal_rejects(
        self, service: tuple[ModuleType, Patcher], store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package, patcher = service
        rollout = patcher.stage(patch(package, 1))
        rollout.verify()
        monkeypatch.setattr(store.journal, "write", lambda *_: (_ for _ in ()).throw(StoreError("no")))
        with pytest.raises(StoreError, match="no"):
            rollout.commit()
        assert (rollout.state, package.a.quote()) == (State.REJECTED, 0)

    def test_after_the_swap_is_owed(
        self, service: tuple[ModuleType, Patcher], store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package, patcher = service
        rollout = patcher.stage(patch(package, 1))
        rollout.verify()
        advance = patcher._succession.advance

        def then_fails(made: Any) -> Any:
            found = advance(made)
            monkeypatch.setattr(store.journal, "write", lambda *_: (_ for _ in ()).throw(StoreError("no")))
            return found

        monkeypatch.setattr(patcher._succession, "advance", then_fails)
        rollout.commit()
        assert (rollout.state, package.a.quote()) == (State.LIVE, 1)
        with pytest.raises(StoreError):
            rollout.confirm()
        assert rollout.state is State.LIVE
        monkeypatch.undo()
        rollout.confirm()
        assert query(store, "SELECT state, pause > 0 FROM rollout") == [("permanent", 1)]

    def test_of_a_store_that_was_moved_away_keeps_its_files_again(
        self, service: tuple[ModuleType, Patcher], store: Store
    ) -> None:
        """It is what the docs say to do with a damaged one, and may be done while the service runs."""
        package, patcher = service
        for number, then in ((1, Rollout.confirm), (2, lambda _: patcher.apply(patch(package, 3)))):
            rollout = patcher.apply(patch(package, number))
            store.folder.rename(store.folder.with_name(f"away{number}"))
            then(rollout)
            assert rollout.state is State.PERMANENT
            found = store.journal.standing()[package.__name__]
            assert found.id == rollout.id
            assert store.patches.get(found.digest).files == rollout.patch.files
            assert store.patches.get(found.generation or "").files

    def test_does_not_hinder_a_rollback(
        self, service: tuple[ModuleType, Patcher], store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package, patcher = service
        rollout = patcher.apply(patch(package, 1))
        rollout.confirm()
        monkeypatch.setattr(store.journal, "write", lambda *_: (_ for _ in ()).throw(StoreError("no")))
        patcher.rollback()
        assert (rollout.state, package.a.quote()) == (State.ROLLED_BACK, 0)
        assert store.journal.standing() != {}
        monkeypatch.undo()
        patcher.apply(patch(package, 2))  # takes along what is owed
        assert store.journal.standing() == {}
        assert store.journal.entry(rollout.id).state == "rolled_back"  # type: ignore[union-attr]

    def test_of_the_way_back_leaves_it_permanent(
        self, service: tuple[ModuleType, Patcher], store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        package, patcher = service
        rollout = patcher.apply(patch(package, 1))
        rollout.confirm()
        monkeypatch.setattr(patcher._succession, "retreat", lambda *_: (_ for _ in ()).throw(ValueError("no")))
        with pytest.raises(hotswap.CommitError):
            patcher.rollback()
        assert rollout.state is State.PERMANENT
        assert store.journal.standing()[package.__name__].id == rollout.id

    @pytest.mark.parametrize(
        ("content", "told"),
        [(b"not a database at all, but long enough" * 90, "not a database"), (None, "something else")],
    )
    def test_of_a_folder_that_is_no_store(
        self, service: tuple[ModuleType, Patcher], store: Store, content: bytes | None, told: str
    ) -> None:
        package, _ = service
        store.folder.mkdir(parents=True)
        if content is None:
            with sqlite3.connect(store.journal.path) as connection:
                connection.execute("CREATE TABLE customers (name)")
            connection.close()
            content = store.journal.path.read_bytes()
        else:
            store.journal.path.write_bytes(content)
        patcher = Patcher([package.__name__], store=store)  # the service starts
        with pytest.raises(StoreError, match=told) as caught:
            patcher.apply(patch(package, 1))
        assert "what to do" in str(caught.value)
        assert package.a.quote() == 0
        assert store.journal.path.read_bytes() == content
        assert hotswap.boot(store).versions == {}

    def test_of_which_a_part_is_damaged(self, service: tuple[ModuleType, Patcher], store: Store) -> None:
        """A start comes up on the disk: so it takes nothing, which would not come up either."""
        package, patcher = service
        first = patcher.apply(patch(package, 1))
        first.confirm()
        with sqlite3.connect(store.journal.path) as connection:
            connection.execute("UPDATE standing SET rollout = 'gone'")
        connection.close()
        with pytest.raises(StoreError, match="the journal is damaged"):
            patcher.apply(patch(package, 2))
        assert package.a.quote() == 1
        patcher.rollback()
        assert package.a.quote() == 0

    @pytest.mark.parametrize(("version", "told"), [(99, "a newer hotswap"), (1, "an older hotswap")])
    def test_of_another_schema(self, store: Store, version: int, told: str) -> None:
        store.journal.write(entry("a", "live"))
        with sqlite3.connect(store.journal.path) as connection:
            connection.execute(f"PRAGMA user_version={version}")
        connection.close()
        with pytest.raises(StoreError, match=told):
            store.journal.entries(1)

    @pytest.mark.skipif(os.name == "nt", reason="there are no such permissions")
    def test_of_a_folder_that_others_may_write(self, service: tuple[ModuleType, Patcher], store: Store) -> None:
        package, patcher = service
        store.folder.mkdir(parents=True)
        store.folder.chmod(0o777)
        with pytest.raises(StoreError, match="others than its owner"):
            patcher.apply(patch(package, 1))

    def test_leaves_the_history_of_this_process(self, service: tuple[ModuleType, Patcher], store: Store) -> None:
        package, patcher = service
        rollout = patcher.apply(patch(package, 1))
        store.journal.path.write_bytes(b"damaged" * 1000)
        assert [record.id for record in patcher.history()] == [rollout.id]

    def test_does_not_arise_where_nothing_is_asked_for(self, make_package: Make, store: Store) -> None:
        package = make_package({"a.py": "def quote(): return 0\n"})
        Patcher([package.__name__], store=store)
        assert not store.folder.exists()
        assert hotswap.boot(store) == hotswap.Boot()
        assert hotswap.boot() == hotswap.Boot()

    def test_nothing_to_roll_back(self, service: tuple[ModuleType, Patcher]) -> None:
        with pytest.raises(NothingToRollBackError):
            service[1].rollback()


class TestRefusals:
    def refusal(self, number: object, **facts: Any) -> Refusal:
        known = {"directory": "drops", "drop": f"{number}.whl", "digest": "d", "reason": "no", "error": "TrustError"}
        times = dict.fromkeys(("first", "last"), "2026-01-01T00:00:00.000+00:00")
        return Refusal(**{**known, **times, "version": None, "code": None, **facts})

    def test_push_no_rollout_out(self, service: tuple[ModuleType, Patcher], store: Store) -> None:
        package, patcher = service
        rollout = patcher.apply(patch(package, 1))
        patcher._books.refuse(map(self.refusal, range(5000)))
        history = patcher.history()
        assert len(history) == 1001
        assert rollout.id in {record.id for record in history}
        assert rollout.id in {found.id for found in store.journal.entries(1)}
        assert query(store, 'SELECT count(*), min("drop"), max("drop") FROM refusal') == [
            (1000, "4000.whl", "4999.whl")
        ]

    def test_are_counted_where_they_come_again(self, store: Store) -> None:
        one = self.refusal(1)
        store.refusals.write([one, self.refusal(2)])
        store.refusals.write([replace(one, last="2026-01-02T00:00:00.000+00:00")])
        first, second = store.refusals.newest([])
        assert (first.drop, first.count, first.first < first.last, second.count) == ("1.whl", 2, True, 1)

    def test_are_written_once_by_a_process(self, service: tuple[ModuleType, Patcher], store: Store) -> None:
        for _ in range(3):
            service[1]._books.refuse([self.refusal(1)])
        assert query(store, "SELECT count FROM refusal") == [(1,)]

    def test_are_one_line_of_text(self, store: Store) -> None:
        store.refusals.write([self.refusal("a\nb\udc80", reason="x" * 5000 + "\x1b")])
        (found,) = store.refusals.newest([])
        assert (found.drop, len(found.reason)) == ("a\\nb\\udc80.whl", 1000)

    def test_that_are_damaged_are_left_out(self, service: tuple[ModuleType, Patcher], store: Store) -> None:
        store.refusals.write([self.refusal(1), self.refusal(2)])
        with sqlite3.connect(store.journal.path) as connection:
            connection.execute("UPDATE refusal SET first = 'x' WHERE number = 1")
        connection.close()
        assert [record.name for record in service[1].history()] == ["2.whl"]


class TestEntries:
    def test_have_the_states_of_rollouts(self) -> None:
        assert set(STATES) == {str(state) for state in State}

    def test_come_back(self, store: Store) -> None:
        made = entry("a", "live", packages=("shop",), base={"shop": "x"}, report=({"name": "c", "verdict": "passed"},))
        store.journal.write(made)
        assert store.journal.entries(5) == [made]
        store.journal.write(replace(made, state="permanent"))
        assert [found.state for found in store.journal.entries(5)] == ["permanent"]
