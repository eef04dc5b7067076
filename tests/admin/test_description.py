"""The description says what the app does: each endpoint is asked what schemathesis makes of it."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from typing import Any

import hypothesis
import pytest

from hotswap import Patcher
from hotswap.admin.description import describe
from hotswap.asgi import admin
from tests.admin.conftest import TOKENS, WRITER, serving

pytest_plugins = ["schemathesis.pytest.plugin"]  # not loaded elsewhere: hundreds of modules for all tests to look at
schemathesis = pytest.importorskip("schemathesis", reason="the description is tested where schemathesis is installed")

pytestmark = [pytest.mark.threads, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

HEADERS = {"authorization": f"Bearer {WRITER}", "if-match": "*"}  # else most requests are for another state

# Events go on for ever, and are tested by themselves.
schema = schemathesis.openapi.from_dict(describe("/")).exclude(path="/events")


def test_a_checkout_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("hotswap.admin.description.version", version)
    assert describe("/")["info"]["version"] == "unknown"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with serving(admin(Patcher(["httpx"]), authorize=TOKENS)) as found:
        yield found


# Left out: that what the schema allows is accepted (a patch may be refused, a tag may be old); and requests without
# authorization, which it would send with the headers from here: `test_journey.TestRights` does that.
LEFT_OUT = [schemathesis.checks.CHECKS.get_one(name) for name in ("positive_data_acceptance", "ignored_auth")]


@schema.parametrize()  # type: ignore[untyped-decorator]
@hypothesis.settings(max_examples=10, deadline=None)
def test_each_endpoint_keeps_what_it_says(case: Any, address: str) -> None:
    case.call_and_validate(base_url=address, headers=HEADERS, excluded_checks=LEFT_OUT)
