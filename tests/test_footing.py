"""What lies in a watched directory since before a process began: it is told of under its own rollout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.test_store_boot import Service
from tests.test_store_trust import dropped

pytestmark = [pytest.mark.threads, pytest.mark.slow]  # each test starts some processes

BOTH = """
    live = patcher()
    {before}
    with live.watch("drops") as watch:
        outcomes = [watch.wait_for(name, timeout=30) for name in {names!r}]
        {within}
    states = [str(one.state) for one in live.history()]
    say(rate=shop.rate(), rollouts=[one.rollout for one in outcomes], history=states)
    """


@pytest.fixture
def service(tmp_path: Path) -> Service:
    made = Service(tmp_path)
    (tmp_path / "drops").mkdir(mode=0o755)
    return made


@pytest.fixture
def names(service: Service) -> list[str]:
    """Two versions, one above the other, both dropped and permanent."""
    names = [dropped(service, "1.3.0", 16), dropped(service, "1.4.0", 17)]
    assert run(service, names, within="live.current.confirm()")["rate"] == 17
    return names


def run(service: Service, names: list[str], *, before: str = "", within: str = "") -> dict[str, Any]:
    return service.run(BOTH.format(names=names, before=before, within=within))


def told(service: Service) -> dict[str, str]:
    return {
        path.name: json.loads(path.read_text())["state"]
        for path in (service.folder / "drops").iterdir()
        if path.suffix in {".live", ".failed", ".pending"}
    }


def test_each_has_the_rollout_that_it_was(service: Service, names: list[str]) -> None:
    first, second = run(service, names)["rollouts"]
    assert first != second
    assert told(service) == {f"{name}.live": "permanent" for name in names}


@pytest.mark.parametrize("when", ["within", "before"])
def test_a_rollback_is_told_of_what_was_taken_back(when: str, service: Service, names: list[str]) -> None:
    """Also if nobody watched when it happened: then it is not applied again."""
    lower, upper = names
    said = run(service, names, **{when: "live.rollback(reason='it is bad')"})
    assert (said["rate"], said["history"]) == (16, ["rolled_back", "permanent"])
    assert told(service) == {f"{lower}.live": "permanent", f"{upper}.failed": "rolled_back"}
    assert run(service, names)["rate"] == 16
    assert told(service) == {f"{lower}.live": "permanent", f"{upper}.failed": "rolled_back"}


def test_what_is_live_above_it_makes_it_history(service: Service, names: list[str]) -> None:
    """Then it is judged as everything that is dropped: it is older than what is live."""
    newer = "live.apply(sources('1.5.0', tax='LIMIT = 1\\ndef rate(): return 18\\n'))"
    said = run(service, names, before=newer)
    assert said["rate"] == 18
    assert told(service) == {f"{name}.failed": "rejected" for name in names}


def test_what_it_came_up_on_is_live_whatever_failed_elsewhere(service: Service, names: list[str]) -> None:
    upper = service.folder / "drops" / f"{names[1]}.live"
    facts = json.loads(upper.read_text())
    upper.unlink()
    upper.with_suffix(".failed").write_text(json.dumps({**facts, "state": "rejected", "error": "CheckFailedError"}))
    assert run(service, names)["rate"] == 17
    ended = {f"{names[1]}.ended.failed": "rejected"}  # whoever does not come up on it goes by that still
    assert told(service) == {f"{name}.live": "permanent" for name in names} | ended
