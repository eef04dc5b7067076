"""Pictures of the page of the admin app, for the documentation: `python -m tests.admin.pictures docs/_static`.

The example service is patched meanwhile, from the page: a dry run, and a bake with sessions of both generations.
"""

from __future__ import annotations

import base64
import contextlib
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import hotswap
from hotswap import Patcher
from hotswap.asgi import admin
from tests.admin.browser import MISSING, Browser, browsing
from tests.admin.conftest import TOKENS, WRITER, serving

WIDTH = 900
EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "shop"


def main(folder: Path) -> None:
    """Make the pictures."""
    sys.path.insert(0, str(EXAMPLES))
    import shop.tax

    patcher = Patcher(packages=["shop"], bake=hotswap.Bake(60, error_rate=None, latency=None))
    patcher.check(lambda candidate: 0 < candidate["shop.tax"].STANDARD_RATE < 50, name="rate_is_sane")
    patcher.probe(lambda: shop.tax.STANDARD_RATE < 50, every=1, name="rate_stays_sane")
    source = Path(shop.tax.__file__).read_text(encoding="utf-8")
    with (
        tempfile.TemporaryDirectory() as private,
        serving(admin(patcher, authorize=TOKENS)) as address,
        browsing(Path(private) / "profile") as page,
        load(),
    ):
        patch = Path(private) / "shop.tax.py"
        patch.write_text(source.replace("STANDARD_RATE = 19", "STANDARD_RATE = 16"), encoding="utf-8")
        page.size(WIDTH, 900)
        page.open(address)
        page.sign_in(WRITER)
        page.find("#patch").send_keys(str(patch))
        page.find("#upload summary").click()
        page.find("#version").send_keys("1.3.0")
        page.find("#upload button.main").click()
        page.says("+STANDARD_RATE = 16", "#diff")
        take(page, "#rollout", "admin-page-dry-run", folder)
        page.find("[data-act=roll-out]").click()
        page.find("#why").send_keys("lower rate from July on")
        page.find("#ask-yes").click()
        page.says("s of 60 s left", "#bake")
        page.says("50 s of 60 s left", "#bake", within=30)  # the charts have some points then
        take(page, "#content", "admin-page", folder)
        page.find("[data-act=rollback]").click()
        page.find("#why").send_keys("the invoices are wrong")
        page.find("#ask-yes").click()
        page.says("rolled back", "#steps")
        page.leave()


def take(page: Browser, selector: str, name: str, folder: Path) -> None:
    """Take pictures of a part of the page as it is, in light and dark."""
    for scheme in ("light", "dark"):
        page.media(color_scheme=scheme)
        box = page.driver.execute_script(
            "return document.querySelector(arguments[0]).getBoundingClientRect()", selector
        )
        scroll = page.driver.execute_script("return scrollY")
        clip = {"x": 0, "y": box["y"] + scroll - 8, "width": WIDTH, "height": min(box["height"] + 16, 1500), "scale": 1}
        told = {"format": "png", "clip": clip, "captureBeyondViewport": True}
        taken = page.driver.execute_cdp_cmd("Page.captureScreenshot", told)["data"]
        (folder / f"{name}-{scheme}.png").write_bytes(base64.b64decode(taken))
    page.media(color_scheme="light")


@contextlib.contextmanager
def load() -> Iterator[None]:
    """Sessions, one of forty of which fails."""
    over = threading.Event()

    def work() -> None:
        count = 0
        while not over.wait(0.02):
            count += 1
            with contextlib.suppress(LookupError), hotswap.session():
                if count % 40 == 0:
                    raise LookupError("no such customer")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    if MISSING:
        raise SystemExit(MISSING)
    main(Path(sys.argv[1]))
