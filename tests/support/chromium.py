"""A real Chromium without a screen, where Debian's packages are installed."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

_CHROMIUM, _DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
HAS_CHROMIUM = _CHROMIUM is not None and _DRIVER is not None
needs_chromium = pytest.mark.skipif(
    not HAS_CHROMIUM or not os.environ.get("AUTHZ_SOAK"),
    reason="in `make soak` only, with Debian's packages chromium and chromium-driver",
)


@contextlib.contextmanager
def chromium(*arguments: str) -> Iterator[Chrome]:
    """Run a Chromium without a screen."""
    folder = tempfile.mkdtemp(prefix="chromium-")
    options = ChromeOptions()
    options.binary_location = str(_CHROMIUM)
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={folder}",
        *arguments,
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=ChromeService(str(_DRIVER)))
    try:
        yield driver
    finally:
        driver.quit()
        shutil.rmtree(folder, ignore_errors=True)


def fill(driver: Chrome, **fields: str) -> None:
    """Fill in fields by their ids."""
    for name, value in fields.items():
        driver.find_element(By.ID, name).send_keys(value)


def submit(driver: Chrome, text: str) -> None:
    """Press the button of that text by keyboard, and wait for the next page."""
    [button] = [b for b in driver.find_elements(By.TAG_NAME, "button") if b.text == text]
    body = driver.find_element(By.TAG_NAME, "html")
    button.send_keys(Keys.ENTER)
    WebDriverWait(driver, 10).until(lambda _: is_gone(body))


def is_gone(element: WebElement) -> bool:
    """Return whether an element belongs to an earlier page."""
    try:
        element.is_enabled()
    except StaleElementReferenceException:
        return True
    except WebDriverException as error:
        # While the page is replaced, the driver may not find the word for it.
        if "does not belong to the document" not in str(error):
            raise
        return True
    return False


def sign_in(driver: Chrome, token: str) -> None:
    """Sign in with a token, on the sign-in page that the browser shows."""
    fill(driver, token=token)
    submit(driver, "Sign in with the token")


def approve_code(driver: Chrome, url: str, token: str, code: str) -> None:
    """Sign in with a token as a person does, open the link with a code, and approve it."""
    driver.get(f"{url}/ui/device/{code}")
    sign_in(driver, token)
    approve_shown_code(driver, code)


def approve_shown_code(driver: Chrome, code: str) -> None:
    """Approve a code on the page that the browser shows."""
    field = driver.find_element(By.ID, "code")
    assert field.get_attribute("value") == code
    submit(driver, "Continue")
    assert code in driver.page_source
    submit(driver, "Approve")
    assert "Approved" in driver.page_source
