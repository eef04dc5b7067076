"""The store and the policy together: what was live here is known after a restart, too."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from hotswap.trust import Comment
from tests.signing import ALICE, sign
from tests.test_store_boot import Service
from tests.test_watching import put, wheel

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
