"""The store and the policy together: what was live here is known after a restart, too."""

from __future__ import annotations

import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hotswap.trust import Comment, SecretKey
from tests.signing import ALICE, MALLORY, sign
from tests.test_store_boot import BEGIN, Service
from tests.test_watching import put, wheel
from tests.waiting import until

pytestmark = [pytest.mark.threads, pytest.mark.slow]  # each test starts some processes

WATCH = """
    trust = hotswap.Trust(unsigned=True)
    live = patcher(trust=trust)
    with live.watch("drops") as watch:
        outcome = watch.wait_for({name!r}, timeout=30)
    {then}
    say(rate=shop.rate(), state=outcome.state, code=outcome.code, note=[one.note for one in live.history()])
    """


@pytest.fixture
def service(tmp_path: Path) -> Service:
    made = Service(tmp_path)
    (tmp_path / "drops").mkdir(mode=0o755)
    return made


def dropped(service: Service, version: str, rate: int) -> str:
    files = {
        "shop/__init__.py": f'__version__ = "{version}"\nfrom shop.tax import rate\n',
        "shop/tax.py": f"LIMIT = 1\ndef rate(): return {rate}\n",
        "shop/web.py": 'from . import tax\ndef hello(): return f"disk {tax.rate()}"\n',
        f"shop-{version}.dist-info/hotswap.toml": f'note = "rate {rate}"\n',
    }
    name, data = wheel("shop", version, files)
    put(service.folder / "drops", name, data)
    return name


def test_a_drop_that_this_process_came_up_on_is_no_replay(service: Service) -> None:
    name = dropped(service, "1.3.0", 16)
    said = service.run(WATCH.format(name=name, then="live.current.confirm()"))
    assert (said["rate"], said["state"], said["note"]) == (16, "live", ["rate 16"])
    said = service.run(WATCH.format(name=name, then=""))
    assert (said["rate"], said["state"], said["code"], said["note"]) == (16, "permanent", None, ["rate 16"])


def test_what_was_taken_back_does_not_come_again_after_a_restart(service: Service) -> None:
    name = dropped(service, "1.3.0", 16)
    said = service.run(WATCH.format(name=name, then="live.rollback()"))
    assert said["rate"] == 19
    for marker in (service.folder / "drops").glob("*.failed"):
        marker.unlink()  # whoever may write there may remove it
    said = service.run(WATCH.format(name=name, then=""))
    assert (said["rate"], said["state"], said["code"]) == (19, "rejected", "replayed")
    older = dropped(service, "1.2.5", 17)
    said = service.run(WATCH.format(name=older, then=""))
    assert (said["rate"], said["code"]) == (19, "downgraded")


FILES = """
    trust = hotswap.Trust(keys=[{key!r}], kinds=["file"])
    live = patcher(trust=trust)
    with live.watch("drops") as watch:
        outcome = watch.wait_for("shop.tax.py", timeout=30)
    if outcome.applied:
        live.current.confirm()
    say(rate=shop.rate(), state=outcome.state, code=outcome.code)
    """


def test_a_signed_file_that_was_superseded_does_not_come_after_a_restart(service: Service) -> None:
    """It was never live here, and states no version; but it is older than what was."""

    def drop(rate: int, timestamp: int) -> dict[str, Any]:
        aside = service.folder / "shop.tax.py"
        aside.write_text(f"LIMIT = 1\ndef rate(): return {rate}\n")
        sign(aside, comment=Comment(file=aside.name, timestamp=timestamp)).rename(
            service.folder / "drops/shop.tax.py.minisig"
        )
        aside.rename(service.folder / "drops/shop.tax.py")
        said = service.run(FILES.format(key=str(ALICE.public)))
        return {key: said[key] for key in ("rate", "state", "code")}

    assert drop(7, 1_800_000_001) == {"rate": 7, "state": "live", "code": None}
    assert drop(666, 1_800_000_000) == {"rate": 7, "state": "rejected", "code": "downgraded"}
    assert drop(8, 1_800_000_001) == {"rate": 8, "state": "live", "code": None}


def test_what_is_permanent_stays_so_when_its_signature_expires(service: Service) -> None:
    name = dropped(service, "1.3.0", 16)
    expires = datetime.now(UTC) + timedelta(seconds=6)
    sign(service.folder / "drops" / name, comment=Comment(file=name, expires=expires))
    watch = WATCH.replace("unsigned=True", f"keys=[{str(ALICE.public)!r}]")
    said = service.run(watch.format(name=name, then="live.current.confirm()"))
    assert (said["rate"], said["state"]) == (16, "live")
    while datetime.now(UTC) < expires:
        time.sleep(0.1)
    said = service.run(watch.format(name=name, then=""))
    assert (said["rate"], said["state"], said["code"]) == (16, "permanent", None)
    assert not (service.folder / "drops" / f"{name}.failed").exists()
    other = dropped(service, "1.4.0", 17)
    sign(service.folder / "drops" / other, comment=Comment(file=other, expires=expires))
    said = service.run(watch.format(name=other, then=""))
    assert (said["rate"], said["code"]) == (16, "expired")


def test_what_is_permanent_is_told_when_its_key_is_revoked(service: Service) -> None:
    """The drop has been tidied away: nobody judges it again, but it runs."""
    name = dropped(service, "1.3.0", 16)
    sign(service.folder / "drops" / name)
    watch = WATCH.replace("unsigned=True", f"keys=[{str(ALICE.public)!r}]")
    said = service.run(watch.format(name=name, then="live.current.confirm()"))
    assert "revoked" not in said["stderr"]
    for other in ("", 'p.apply(sources(web="def hello(): return 2\\n")).confirm()'):  # it lies below, then
        said = service.run(f"""
            trust = hotswap.Trust(keys=[{str(MALLORY.public)!r}], revoked=[{ALICE.public.name!r}])
            p = patcher(trust=trust)
            {other}
            say(rate=shop.rate())
        """)
        assert said["rate"] == 16
        assert f"key {ALICE.public.name}, which is revoked" in said["stderr"]
        assert "store.troubled" in said["stderr"]
    said = service.run(f"patcher(trust=hotswap.Trust(unsigned=True, revoked=[{ALICE.public.name!r}]))\nsay()")
    assert said["stderr"].count("which is revoked") == 1


@pytest.mark.parametrize("before", ["", "os.kill(os.getpid(), 9)"])
def test_what_was_on_trial_is_applied_again_after_a_restart(service: Service, before: str) -> None:
    name = dropped(service, "1.3.0", 16)
    service.run(WATCH.format(name=name, then=before), dies=bool(before))
    said = service.run(WATCH.format(name=name, then=""))
    assert (said["rate"], said["state"], said["code"]) == (16, "live", None)


def test_what_died_before_its_swap_is_applied_after_a_restart(service: Service) -> None:
    name = dropped(service, "1.3.0", 16)
    dies = "from hotswap.succession import Succession\nSuccession.advance = lambda *_: os.kill(os.getpid(), 9)\n"
    service.run(WATCH.format(name=name, then=""), begin=BEGIN + dies, dies=True)
    said = service.run(WATCH.format(name=name, then=""))
    assert (said["rate"], said["state"], said["code"]) == (16, "live", None)


def test_what_was_refused_at_its_commit_was_never_live(service: Service) -> None:
    name = dropped(service, "1.3.0", 16)
    refuses = """
from hotswap.succession import Succession
def refuse(*_):
    raise ValueError("not now")
Succession.advance = refuse
"""
    said = service.run(WATCH.format(name=name, then=""), begin=BEGIN + refuses)
    assert (said["rate"], said["state"]) == (19, "rejected")
    said = service.run(
        """
        try:
            patcher().apply(hotswap.Patch.from_path("drops/shop-1.3.0-py3-none-any.whl"), undo=True)
        except hotswap.DowngradeError as error:
            say(error=str(error))
        """
    )
    assert "was never live here" in said["error"]
    (service.folder / "drops" / f"{name}.failed").unlink()  # asks for another try
    said = service.run(WATCH.format(name=name, then=""))
    assert (said["rate"], said["state"], said["code"]) == (16, "live", None)


@pytest.mark.parametrize("first", ["", "live.current.confirm()\n"])
def test_a_second_worker_applies_what_the_first_has(service: Service, first: str) -> None:
    """Also one that began before the first made it permanent."""
    stay = "import time\n    until = time.monotonic() + 30\n    open('up', 'w').close()\n    "
    stay += "while not os.path.exists('over') and time.monotonic() < until: time.sleep(0.01)"
    begun = BEGIN + "open('begun', 'w').close()\nimport time\nwhile not os.path.exists('up'): time.sleep(0.01)\n"
    with ThreadPoolExecutor(2) as pool:
        name = dropped(service, "1.3.0", 16)
        two = pool.submit(service.run, WATCH.format(name=name, then=""), begin=begun)
        assert until(lambda: (service.folder / "begun").exists())
        one = pool.submit(service.run, WATCH.format(name=name, then=first.strip() + "\n    " + stay))
        said = two.result()
        (service.folder / "over").touch()
        assert one.result()["rate"] == 16
    assert (said["rate"], said["state"], said["code"]) == (16, "live", None)


def test_retention_forgets_nothing_of_what_was_live(service: Service) -> None:
    keep = BEGIN.replace('store="var"', 'store=hotswap.Store("var", keep=3)')
    newer = dropped(service, "1.4.0", 14)
    said = service.run(WATCH.format(name=newer, then="live.current.confirm(); live.rollback()"), begin=keep)
    assert said["rate"] == 19
    for path in (service.folder / "drops").iterdir():
        path.unlink()
    service.run(
        """
        p = patcher()
        for number in range(5):
            try:
                p.apply(sources(tax=f"raise ValueError({number})\\n"))
            except hotswap.LoadError:
                continue
        p.apply(sources("1.3.0", tax="def rate(): return 13\\n")).confirm()
        """,
        begin=keep,
    )
    newer, older = dropped(service, "1.4.0", 14), dropped(service, "1.3.5", 15)
    assert service.run(WATCH.format(name=newer, then=""), begin=keep)["code"] == "replayed"
    said = service.run(WATCH.format(name=older, then=""), begin=keep)
    assert (said["code"], said["rate"]) == ("downgraded", 13)


def test_a_journal_that_could_not_be_read_is_asked_again(service: Service) -> None:
    name = dropped(service, "1.3.0", 16)
    service.run(WATCH.format(name=name, then="live.current.confirm(); live.rollback()"))
    (marker,) = (service.folder / "drops").glob("*.failed")
    marker.unlink()
    said = service.run(f"""
        import pathlib
        live, path = patcher(trust=hotswap.Trust(unsigned=True)), pathlib.Path("drops", {name!r})
        lived, asked = live._books.lived, []
        def failing():
            asked.append(1)
            if len(asked) == 1:
                raise hotswap.StoreError("the journal is locked")
            return lived()
        live._memory._lived = failing
        with live.watch("drops") as watch:
            outcome = watch.wait_for(path.name, timeout=30)  # it waits while the store can't be used
        say(asked=len(asked), code=outcome.code, rate=shop.rate())
    """)
    assert said["asked"] > 1
    assert (said["code"], said["rate"]) == ("replayed", 19)


class TestHistory:
    """What is known of drops: who signed them, and what was refused."""

    SIGNED = WATCH.replace("hotswap.Trust(unsigned=True)", "hotswap.Trust(keys=[{key!r}])")

    def signed(self, service: Service, name: str, key: SecretKey) -> str:
        """Sign a drop, and return the code that drops it, as WATCH does."""
        sign(service.folder / "drops" / name, key)
        return self.SIGNED.format(name=name, then="", key=str(ALICE.public))

    def rows(self, service: Service, query: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(service.folder / "var/journal.db")
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    def test_names_the_key_of_a_drop(self, service: Service) -> None:
        said = service.run(self.signed(service, dropped(service, "1.3.0", 16), ALICE))
        assert said["state"] == "live"
        ((by, actor),) = self.rows(service, 'SELECT "by", actor FROM rollout')
        assert by.startswith(f"key {ALICE.public.name}, through ")
        assert by == actor

    def test_has_what_was_refused(self, service: Service) -> None:
        code = self.signed(service, dropped(service, "1.3.0", 16), MALLORY)
        code += "say(code=outcome.code, history=[(one.name, one.state, one.reason, one.why) for one in live.history()])"
        said = service.run(code)
        assert said["code"] == "key-unknown"
        (told,) = said["history"]
        assert told[:2] == ["shop-1.3.0-py3-none-any.whl", "rejected"]
        assert MALLORY.public.name in told[2]
        assert told[3] == "dropped into drops"
        (service.folder / "drops" / f"{told[0]}.failed").unlink()  # asks for another try
        assert service.run(code)["history"] == said["history"]
        (row,) = self.rows(service, "SELECT name, state, reason, why, id FROM history")
        assert row == (*told, None)
        assert self.rows(service, "SELECT code, count, last > first FROM refusal") == [("key-unknown", 2, 1)]
        assert self.rows(service, "SELECT * FROM rollout") == []
