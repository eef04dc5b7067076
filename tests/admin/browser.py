"""A headless Chromium of Debian, driven by Selenium with Debian's driver: nothing is downloaded."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from selenium.webdriver import Chrome, ChromeOptions, ChromeService, Keys
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.waiting import until

__all__ = ["MISSING", "Browser", "browsing"]

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = "" if CHROMIUM and DRIVER else "no headless browser: apt-get install chromium chromium-driver"


class Browser:
    """A window, and what it has met. Lives as long as the browser.

    Arguments:
        driver: Selenium's.
    """

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, address: str) -> None:
        """Open a page; each test has a port, and so an origin, of its own: nothing is stored there."""
        self.driver.get(address)

    def leave(self) -> None:
        """Leave the page, and so the streams of its service."""
        self.driver.get("about:blank")

    def find(self, selector: str) -> WebElement:
        """Return an element, when it is there and is seen."""
        found = until(
            lambda: [one for one in self.driver.find_elements(By.CSS_SELECTOR, selector) if one.is_displayed()]
        )
        assert found, f"{selector} is not there, or is not seen:\n{self.text()}"
        element: WebElement = found[0]
        return element

    def text(self, selector: str = "body") -> str:
        """Return what is seen of an element; "" if there is none, or it is hidden."""
        script = "const one = document.querySelector(arguments[0]); return one?.checkVisibility() ? one.innerText : ''"
        return str(self.driver.execute_script(script, selector))

    def says(self, text: str, selector: str = "body", within: float = 20.0) -> None:
        """Wait for a text to be seen."""
        until(lambda: text in self.text(selector), within)
        assert text in self.text(selector), self.text()

    def script(self, script: str, *arguments: object) -> Any:
        """Run a script in the page, the last argument of which takes its answer."""
        return self.driver.execute_async_script(script, *arguments)

    def focused(self) -> str:
        """Return the id, or else what there is to read, of what has the focus."""
        script = "const a = document.activeElement; return a.id || a.dataset.act || a.innerText"
        return str(self.driver.execute_script(script))

    def press(self, *keys: str) -> None:
        """Press keys, one after another."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def tab_to(self, wanted: str, most: int = 60) -> None:
        """Press the tabulator until something has the focus; it must show where it is."""
        for _ in range(most):
            self.press(Keys.TAB)
            if self.focused() == wanted:
                outline = "return getComputedStyle(document.activeElement).outlineStyle"
                assert self.driver.execute_script(outline) != "none", f"nobody sees that {wanted} has the focus"
                return
        raise AssertionError(f"the tabulator does not lead to {wanted}")

    def sign_in(self, token: str) -> None:
        self.find("#token").send_keys(token + Keys.ENTER)

    def media(self, **features: str) -> None:
        """Prefer something: `scheme="dark"`."""
        told = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": told})

    def size(self, width: int, height: int) -> None:
        told = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", told)

    def _log(self, name: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.driver.execute("getLog", {"type": name})["value"]
        return entries

    def logs(self) -> tuple[list[str], set[str]]:
        """Return what the console has of errors and warnings since it was asked last, and which hosts were asked."""
        told = [f"{one['level']}: {one['message']}" for one in self._log("browser")]
        hosts = set()
        for entry in self._log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                address = urlsplit(message["params"]["request"]["url"])
                if address.scheme in ("http", "https", "ws", "wss"):  # not those of the empty tab
                    hosts.add(address.netloc)
        return told, hosts


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """Start a browser.

    Arguments:
        profile: an empty directory for what it writes.
    """
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    arguments = [
        "--headless=new",
        "--disable-dev-shm-usage",  # in a container it is small
        "--disable-gpu",
        "--disable-background-networking",  # it asks for updates otherwise
        "--disable-component-update",
        "--no-first-run",
        "--lang=en-GB",
        "--window-size=1000,900",
        f"--user-data-dir={profile}",
    ]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        arguments.append("--no-sandbox")  # it refuses to be root in one
    for argument in arguments:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "WARNING", "performance": "ALL"})
    driver = Chrome(options, ChromeService(str(DRIVER)))
    try:
        driver.set_script_timeout(30)
        yield Browser(driver)
    finally:
        driver.quit()
