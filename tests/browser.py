"""A real browser on a page of the system, and ways to wait for what it shows."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

AWAIT_S = 30.0
POLL_S = 0.05
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
    "--window-size=1400,1000",
)
WATCH = """
window.__wrong = [];
document.addEventListener("securitypolicyviolation", (e) => window.__wrong.push(`policy: ${e.violatedDirective}`));
window.addEventListener("error", (e) => window.__wrong.push(`error: ${e.message}`), true);
window.addEventListener("unhandledrejection", (e) => window.__wrong.push(`rejection: ${e.reason}`));
"""


class Page:
    """The browser, and ways to wait for what it shows."""

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self.driver, self.address = driver, address

    def wait(self, look: Callable[[], Any], what: str) -> Any:
        return WebDriverWait(self.driver, AWAIT_S, POLL_S).until(lambda _: look(), f"did not show: {what}")

    def script(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def all(self, selector: str) -> list[Any]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def order(self) -> list[str]:
        return list(self.script("return [...document.querySelectorAll('#rows tr')].map((row) => row.dataset.patient)"))

    def text(self, selector: str) -> str:
        return str(self.script("return document.querySelector(arguments[0])?.textContent ?? ''", selector))

    def above(self, upper: str, lower: str) -> bool:
        order = self.order()
        return upper in order and lower in order and order.index(upper) < order.index(lower)

    def scored(self, key: str) -> bool:
        return bool(self.all(f'#rows tr[data-patient="{key}"] .risk b'))


@contextmanager
def opened(address: str, profile: Path) -> Iterator[Page]:
    """The page in Chromium, its stream live; skips the test without one."""
    if not CHROMIUM or not DRIVER:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        driver.get(address)
        shown = Page(driver, address)
        shown.wait(lambda: shown.text("#live") == "live", "the live stream")
        yield shown
    finally:
        driver.quit()
