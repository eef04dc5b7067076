"""The page of the admin app, as people use it: in a headless Chromium, against a real server."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from selenium.webdriver import Keys
from starlette.applications import Starlette
from starlette.routing import Mount

import hotswap
import hotswap.admin
from hotswap import State
from hotswap.asgi import admin
from tests.admin.browser import Browser
from tests.admin.conftest import NOT_SIGNED_IN, READER, WRITER, Service, client, showing
from tests.waiting import until

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]
PAGE = Path(hotswap.admin.__file__).parent / "page"


def upload_from(page: Browser, service: Service, folder: Path, source: str | None = None) -> None:
    name, data = service.file() if source is None else (f"{service.name}.tax.py", source.encode())
    (folder / name).write_bytes(data)
    page.find("#patch").send_keys(str(folder / name))


class TestFiles:
    def test_are_served(self, service: Service) -> None:
        """All that there are: a module that is not served would be missed by the others."""
        types = {".js": "text/javascript", ".css": "text/css"}
        names = {path.name for path in PAGE.iterdir()} - {"index.html"}
        assert {"page.js", "page.css"} <= names
        with client(service.address, None) as nobody:
            for name in names:
                answer = nobody.get(f"/{name}")
                assert (answer.status_code, answer.text) == (200, (PAGE / name).read_text(encoding="utf-8")), name
                assert answer.headers["content-type"].partition(";")[0] == types[Path(name).suffix]
                assert "default-src 'none'" in answer.headers["content-security-policy"]

    def test_for_browsers_only(self, service: Service) -> None:
        page = service.http.get("/", headers={"accept": "text/html,*/*;q=0.8"})
        assert page.headers["content-type"].startswith("text/html")
        assert page.headers["vary"] == "accept"
        assert service.http.get("/").json()["who"] == "pipeline"


class TestJourney:
    def test_by_keyboard(self, baking: Service, page: Browser, tmp_path: Path) -> None:
        baking.patcher.check(lambda _: True, name="sane")
        baking.patcher.probe(lambda: True, every=0.2, name="alive")
        page.open(baking.address)
        page.find("#token")
        assert until(lambda: page.focused() == "token")
        page.press(WRITER, Keys.ENTER)
        page.says("You are pipeline")
        page.says("Connected")

        # Nobody can press a key in the window of the operating system that asks for a file.
        upload_from(page, baking, tmp_path)
        page.tab_to("More")
        page.press(Keys.ENTER)
        page.tab_to("version")
        page.press("1.3.0")
        page.tab_to("Dry run")
        page.press(Keys.ENTER)
        page.says("dry run passed", "#steps")
        page.says("+    return 16", "#diff")
        page.says("-    return 19", "#diff")
        page.says("sane\tpassed", "#checks")
        page.says(f"{baking.name}.tax:rate\tchanged", "#plan")
        assert baking.module.rate() == 19
        assert page.focused() == "rollout-title"

        page.tab_to("roll-out")
        page.press(Keys.ENTER)
        assert until(lambda: page.focused() == "why")
        page.press("a lower rate", Keys.TAB)
        assert page.focused() == "ask-yes"
        page.press(Keys.ENTER)
        page.says("s of 120 s left", "#bake")
        assert baking.module.rate() == 16
        for _ in range(9):
            with hotswap.session():
                baking.module.rate()
        with contextlib.suppress(ZeroDivisionError), hotswap.session():
            raise ZeroDivisionError
        page.says("Sessions\t0\t10", "#bake")
        page.says("Error rate\t0.00 %\t10.00 %", "#bake")
        page.says("alive\tpassed", "#bake")
        assert until(lambda: page.driver.execute_script("return !document.querySelector('#charts').hidden"))
        assert page.find("#chart-rate polyline").get_attribute("points")

        page.tab_to("rollback")
        page.press(Keys.ENTER)
        assert until(lambda: page.focused() == "why")
        page.press("too low", Keys.TAB, Keys.ENTER)
        page.says("rolled back", "#steps")
        assert baking.module.rate() == 19
        assert until(lambda: page.focused() == "rollout-title")  # the button that was pressed has gone
        assert page.focused() == "rollout-title"
        assert until(lambda: "rolled back" in page.text("#announced"))
        assert "rolled back, too low" in page.text("#announced")
        newest = baking.patcher.history()[0]
        assert (newest.state, newest.reason, newest.by, newest.why) == (
            State.ROLLED_BACK,
            "too low",
            "pipeline",
            "a lower rate",
        )

    def test_what_is_staged(self, service: Service, page: Browser) -> None:
        """By somebody else; it is committed, confirmed, and taken back from the page."""
        page.open(service.address)
        page.sign_in(WRITER)
        page.says("Connected")
        service.upload(data={"version": "1.0"}, params={"commit": "false"})
        page.says("+    return 16", "#diff")  # an event has told of it
        for act, state in (("commit", "live"), ("confirm", "permanent"), ("rollback", "rolled back")):
            page.find(f"[data-act={act}]").click()
            page.find("#ask-yes").click()
            page.says(state, "#steps [aria-current=step]")
        assert service.patcher.history()[0].state is State.ROLLED_BACK
        page.says("No rollout is in progress")

    def test_given_up(self, service: Service, page: Browser) -> None:
        """Not in haste: the dialog can be left, and nothing is done then."""
        service.upload(data={"version": "1.0"}, params={"commit": "false"})
        page.open(service.address)
        page.sign_in(WRITER)
        page.find("[data-act=abort]").click()
        page.find("#why")
        page.press(Keys.ESCAPE)
        assert until(lambda: page.focused() == "abort")
        assert page.focused() == "abort"
        current = service.patcher.current
        assert current is not None
        assert current.state is State.VERIFIED
        page.press(Keys.ENTER)
        page.find("#why").send_keys("not today")
        page.find("#ask-yes").click()
        page.says("rejected", "#steps")
        assert (current.state, current.reason) == (State.REJECTED, "not today")

    def test_who_still_runs_old_code(self, page: Browser, make_package: Make) -> None:
        held, go = threading.Event(), threading.Event()
        service = Service(make_package)
        service.patcher.apply(
            service.patch(source="def rate(held, go):\n    held.set()\n    go.wait()\n    return {rate}\n")
        )
        old = threading.Thread(target=service.module.rate, args=(held, go), name="a slow request")
        old.start()
        try:
            held.wait()
            service.patcher.apply(service.patch(17, "1.1"))
            with showing(page, admin(service.patcher, authorize=None)):
                page.says("a slow request", "#in-flight")
                assert "rate" in page.text("#flights")
                go.set()
                assert until(lambda: page.text("#in-flight") == "")
                assert page.text("#in-flight") == ""
        finally:
            go.set()
            old.join()


class TestRights:
    def test_a_wrong_token(self, service: Service, page: Browser) -> None:
        page.open(service.address)
        page.sign_in("nobody-has-this-one")
        page.says("Nobody knows this token.")
        assert page.focused() == "token"
        assert page.find("#token").get_attribute("value") == ""
        page.sign_in(WRITER)
        page.says("You are pipeline")
        page.driver.refresh()
        page.find("#token")  # it was in memory alone
        assert page.driver.execute_script("return sessionStorage.length + localStorage.length") == 0

    def test_a_token_that_is_kept(self, service: Service, page: Browser) -> None:
        page.open(service.address)
        page.find("#keep").click()
        page.sign_in(WRITER)
        page.says("You are pipeline")
        page.driver.refresh()
        page.says("You are pipeline")
        assert page.driver.execute_script("return localStorage.length") == 0
        page.find("#forget").click()
        page.find("#token")
        page.driver.refresh()
        page.find("#token")

    def test_who_may_read(self, service: Service, page: Browser) -> None:
        service.upload(data={"version": "1.0"})
        page.open(service.address)
        page.sign_in(READER)
        page.says("You are dashboard, and may read")
        page.says("Rollout of")
        assert buttons(page) == ["Forget the token"]

    def test_a_signature_that_nobody_reads(self, service: Service, page: Browser) -> None:
        files = {"patch": service.file(), "signature": ("tax.minisig", b"nonsense")}
        service.post("/rollouts", files=files, data={"version": "1.0"})
        page.open(service.address)
        page.sign_in(READER)
        page.says("Warning: its signature was not checked: the patcher has no policy", "#warnings")

    def test_nobody_is_asked(self, service: Service, page: Browser) -> None:
        """Without `authorize=`; and mounted somewhere."""
        app = Starlette(routes=[Mount("/ops/patches", admin(service.patcher, authorize=None))])
        with showing(page, app, "/ops/patches"), service.patcher.stage(service.patch()):
            page.says("You are anybody, and may read")
            page.says("Connected")
            page.says("+    return 16", "#diff")
            assert buttons(page) == []


def buttons(page: Browser) -> list[str]:
    script = "return [...document.querySelectorAll('button')].filter(b => b.offsetParent).map(b => b.innerText)"
    found: list[str] = page.driver.execute_script(script)
    return found


class TestRefusals:
    def test_a_check(self, service: Service, page: Browser, tmp_path: Path) -> None:
        """And whatever others have written is text."""
        markup = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"

        def says_no(_: Any) -> None:
            raise AssertionError(markup)

        service.patcher.check(says_no, name="<b>says no</b>")
        service.upload(data={"version": "1.0", "why": f"why {markup}"})
        page.open(f"{service.address}/#<img src=x>")
        page.sign_in(WRITER)
        page.says(f"why {markup}", "#timeline")
        assert page.find("#timeline [aria-current=true]").text == f"{service.name} 1.0"
        upload_from(page, service, tmp_path, f'def rate():\n    return "</pre>{markup}"\n')
        page.find("#upload summary").click()
        page.find("#version").send_keys("1.1", Keys.ENTER)
        page.says(f'return "</pre>{markup}"', "#diff")
        page.says("rejected", "#steps")
        page.says("<b>says no</b>", "#rollout-problem")
        page.says(markup, "#rollout-problem")
        page.says(markup, "#checks")
        page.says("<b>says no</b>", "#events")
        assert page.driver.execute_script("return document.querySelectorAll('img, b, script:not([src])').length") == 0
        assert "owned" not in page.driver.title

    def test_somebody_was_faster(self, service: Service, page: Browser) -> None:
        shown = service.upload(data={"version": "1.0"}).json()
        page.open(service.address)
        page.sign_in(WRITER)
        page.find("[data-act=rollback]").click()
        page.find("#why")
        service.post(shown["links"]["confirm"])
        page.find("#ask-yes").click()
        page.says("It had changed after you looked, so nothing was done.", "#told")
        page.says("permanent", "#steps [aria-current=step]")
        assert service.module.rate() == 16
        page.find("#told button").click()
        assert page.focused() == "rollback"
        assert page.text("#told") == ""
        seen, _ = page.logs()
        assert ["status of 412" in one for one in seen if NOT_SIGNED_IN not in one] == [True]

    def test_nothing_to_take_back(self, service: Service, page: Browser) -> None:
        page.open(service.address)
        page.sign_in(WRITER)
        page.find("#undo").click()
        page.find("#ask-yes").click()
        page.says("It could not be done now. Nothing was changed by it.", "#told")
        seen, _ = page.logs()
        assert ["status of 409" in one for one in seen if NOT_SIGNED_IN not in one] == [True]

    def test_what_is_no_patch(self, service: Service, page: Browser, tmp_path: Path) -> None:
        page.open(service.address)
        page.sign_in(WRITER)
        (tmp_path / "notes.whl").write_bytes(b"PK")
        page.find("#patch").send_keys(str(tmp_path / "notes.whl"))
        page.find("#upload button[type=submit]").click()
        page.says("It was refused. What was live is live.", "#told")
        assert list(service.patcher.history()) == []
        seen, _ = page.logs()
        assert ["status of 422" in one for one in seen if NOT_SIGNED_IN not in one] == [True]
