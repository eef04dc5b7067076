"""The page of the admin app where the connection is lost, and for who sees little of it, or uses no mouse."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

import pytest

from hotswap.admin import Access
from hotswap.asgi import admin
from tests.admin.browser import Browser
from tests.admin.conftest import WRITER, Service, client, serving
from tests.waiting import until

pytestmark = pytest.mark.threads

Make = Callable[..., ModuleType]


class TestConnection:
    def test_lost_and_found(self, page: Browser, make_package: Make) -> None:
        service = Service(make_package)
        app = admin(service.patcher, authorize=None)
        with serving(app) as address:
            page.open(address)
            page.says("Connected")
        page.says("Connection lost")
        page.says("What is shown is")
        page.says(" s old")
        seen, _ = page.logs()
        assert seen
        assert all("net::ERR_" in one for one in seen), seen
        service.patcher.apply(service.patch())
        with serving(app, urlsplit(address).port or 0):
            page.says("Rollout of", "#rollout")
            page.says("1.0", "#versions")
            page.says("Connected")
            page.leave()
            page.logs()  # those of the attempts meanwhile

    def test_who_may_enter_can_not_be_found_out(self, page: Browser, make_package: Make) -> None:
        """The accounts are not to be had for a while: that is said, and it is tried again."""
        service, broken = Service(make_package), True

        def authorize(_: object) -> Access:
            if broken:
                raise OSError("the directory does not answer")
            return Access("reader")

        with serving(admin(service.patcher, authorize=authorize)) as address:
            page.open(address)
            page.says("Connection lost. Trying again.", "#connection")
            broken = False
            page.says("Connected", "#connection")
            page.says("You are reader", "#account")
            page.leave()
            page.logs()  # of what was refused

    def test_without_events(self, service: Service, page: Browser) -> None:
        app = admin(service.patcher, authorize=None, max_streams=1)
        with serving(app) as address, client(address, None) as other, other.stream("GET", "/events"):
            page.open(address)
            page.says("Connected, without events")
            # Not committed: the diff of what goes live between two looks of the page is none of this app's.
            id_ = service.upload(data={"version": "1.0"}, params={"commit": "false"}).json()["id"]
            page.says("Rollout of", "#rollout")
            seen, _ = page.logs()
            assert all("status of 503" in one for one in seen), seen
            page.leave()
            page.logs()
            service.post(f"/rollouts/{id_}/abort")

    def test_events_in_pieces(self, service: Service, page: Browser) -> None:
        """Of any size, with any ends of lines, within a letter."""
        page.open(service.address)
        script = """
        const done = arguments[1];
        import("/stream.js").then(({ parser }) => {
          const all = new TextEncoder().encode(arguments[0]);
          const found = [];
          for (const size of [1, 2, 3, 7, 1000]) {
            const one = parser();
            const events = [];
            for (let at = 0; at < all.length; at += size) events.push(...one.feed(all.slice(at, at + size)));
            found.push([events, one.lastId, one.retry]);
          }
          done(found);
        }, (error) => done(String(error)));
        """
        text = ': here\r\n\r\nretry: 10\nid: a-1\nevent: one\ndata: {"ü":\ndata: 1}\n\n'
        text += "id: a-2\rdata:x\r\rdata\n\nevent: no\n\n"
        events = [
            {"event": "one", "data": '{"ü":\n1}', "id": "a-1"},
            {"event": "message", "data": "x", "id": "a-2"},
            {"event": "message", "data": "", "id": "a-2"},
        ]
        assert page.script(script, text) == [[events, "a-2", 10]] * 5

    def test_silence(self, service: Service, page: Browser) -> None:
        """A connection that says nothing is given up, and made again after the last event that was seen."""
        page.open(service.address)
        script = """
        const done = arguments[0];
        import("/stream.js").then(({ follow }) => {
          const asked = [], states = [];
          const stream = follow({
            silence: 50,
            open(last, signal) {
              asked.push(last);
              if (asked.length === 3) {
                stream.stop();
                done([asked, states]);
              }
              const body = new ReadableStream({
                start(control) {
                  control.enqueue(new TextEncoder().encode("retry: 1\\nid: a-1\\ndata: x\\n\\n"));
                  signal.addEventListener("abort", () => control.error(new Error("aborted")));
                },
              });
              return new Response(body);
            },
            heard() {},
            told({ id }) { states.push(id); },
            state(now) { states.push(now); },
          });
        });
        """
        assert page.script(script) == [["", "a-1", "a-1"], ["live", "a-1", "lost", "live", "a-1", "lost"]]


class TestAccess:
    """For everybody: contrast, names, room, focus."""

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_rules(self, baking: Service, page: Browser, scheme: str) -> None:
        """Those of axe-core that can be tested by a program, WCAG 2.2 AA: names, roles, contrast, order of headings."""
        axe = axe_of()
        page.media(color_scheme=scheme, reduced_motion="reduce")
        page.open(baking.address)
        page.find("#token")
        page.driver.execute_script(axe)
        assert violations(page) == []
        page.sign_in("nobody-has-this-one")
        page.says("Nobody knows this token.")
        assert violations(page) == []
        baking.patcher.probe(lambda: False, every=60, failures=10, name="unwell")
        baking.patcher.check(lambda _: True, name="sane")
        baking.upload(17, data={"version": "1.0"}, source="def rate(:\n")
        baking.upload(data={"version": "1.0", "why": "lower"})
        page.sign_in(WRITER)
        page.says("s of 120 s left", "#bake")
        page.says("+    return 16", "#diff")
        page.find("#upload summary").click()
        assert violations(page) == []
        assert nameless(page) == []
        page.find("[data-act=rollback]").click()
        page.find("#why")
        assert violations(page) == []
        assert nameless(page) == []

    def test_events_are_reached_without_a_mouse(self, baking: Service, page: Browser) -> None:
        """They are more than there is room for, so they are moved."""
        page.open(baking.address)
        page.driver.execute_script(axe_of())
        page.sign_in(WRITER)
        page.says("Connected", "#connection")
        assert not page.driver.find_element("id", "events").is_displayed()
        for number in range(20):  # each is refused, as a rollout is in progress, and that is an event
            baking.upload(20, data={"version": f"1.{number}"})
        high = "const one = document.querySelector('#events'); return one.scrollHeight > one.clientHeight"
        assert until(lambda: page.driver.execute_script(high))
        assert violations(page) == []
        page.tab_to("events")

    @pytest.mark.parametrize("width", [320, 500])
    def test_narrow(self, baking: Service, page: Browser, width: int) -> None:
        """Nothing is cut off, and nobody has to move it sideways; a window of 1000 at 200 % has 500."""
        long = "an_unhandled_" * 30
        baking.patcher.check(lambda _: None, name=long)
        baking.upload(data={"version": "1.0", "why": long}, source="def rate():\n    return {rate}  # " + long + "\n")
        page.size(width, 800)
        page.open(baking.address)
        page.sign_in(WRITER)
        page.says("s of 120 s left", "#bake")
        page.says("+    return 16", "#diff")
        assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
        page.find("[data-act=rollback]").click()
        box = page.find("#ask").rect
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width

    def test_the_place_of_who_reads_is_kept(self, service: Service, page: Browser) -> None:
        """What changes is drawn in its place: the focus and what is chosen stay."""
        service.upload(data={"version": "1.0"})
        page.open(service.address)
        page.sign_in(WRITER)
        page.says("1.0", "#timeline")
        script = "const a = document.querySelector('#timeline a'); a.focus(); a.mark = 1;"
        script += "getSelection().selectAllChildren(a)"
        page.driver.execute_script(script)
        service.upload(17, data={"version": "1.1"})
        page.says("1.1", "#timeline")
        page.says("permanent", "#timeline")
        kept = "return [document.activeElement.mark, getSelection().toString()]"
        assert page.driver.execute_script(kept) == [1, f"{service.name} 1.0"]


def axe_of() -> str:
    found = find_spec("axe_selenium_python")
    if found is None or found.submodule_search_locations is None:
        pytest.skip("axe-core comes in a package that needs Python 3.12")
    (folder,) = found.submodule_search_locations
    return (Path(folder) / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def violations(page: Browser) -> list[str]:
    script = """
    const done = arguments[0];
    const runOnly = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
    axe.run(document, { runOnly }).then(
      ({ violations }) => done(violations.flatMap(({ id, nodes }) =>
        nodes.map((node) => `${id}: ${node.html}: ${node.failureSummary}`))),
      (error) => done([String(error)]),
    );
    """
    found: list[str] = page.script(script)
    return found


CONTROLS = {"button", "link", "textbox", "checkbox", "dialog", "region", "table", "progressbar", "image"}


def nameless(page: Browser) -> list[str]:
    """What there is to use, or to find one's way by, and has no name in the tree that screen readers get."""
    nodes = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]]
    assert {"button", "textbox"} <= {role for role, _ in roles}
    return [role for role, name in roles if role in CONTROLS and not name.strip()]
