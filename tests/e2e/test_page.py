"""The pages of a real pair: through Envoy, and in a real Chromium if it is installed."""

import asyncio
import os
import re
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest
from selenium.webdriver import ActionChains, Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from authz.identity.open import open_database
from authz.usage.entry import Tokens, Usage, UsageEntry
from authz.usage.store import UsageStore
from tests.support.browsing import Parsed
from tests.support.chromium import chromium, fill, is_gone, needs_chromium, submit
from tests.support.pair import Pair, Provider, pair

PASSWORD = "correct horse battery"
IMAGES = os.environ.get("AUTHZ_SCREENSHOTS")
"""A folder to save screenshots in, such as docs/images."""


@pytest.fixture(scope="module")
def page_pair(provider: Provider) -> Iterator[Pair]:
    """A pair at its first start."""
    with pair(provider, prices={}, budgets={}) as running:
        yield running


@pytest.fixture(scope="module")
def administrator(page_pair: Pair) -> Iterator[httpx.Client]:
    """A client that has opened the one-time link and is signed in."""
    file = page_pair.folder / f"first-administrator-link-{page_pair.port}"
    assert f"cat {file}" in page_pair.stdout
    assert file.stat().st_mode & 0o777 == 0o600
    link = re.fullmatch(r"http://\S+/ui/first-administrator#(\S+)\n", file.read_text())
    assert link is not None
    with httpx.Client(base_url=page_pair.url, follow_redirects=True) as client:
        csrf = Parsed(client.get("/ui/first-administrator").text).csrf
        fields = {"name": "admin", "password": PASSWORD, "again": PASSWORD}
        answer = client.post(
            "/ui/first-administrator", data={"csrf": csrf, "code": link[1], **fields}
        )
        assert answer.url.path == "/ui/account/tokens", answer.text
        assert link[1] not in page_pair.stderr
        assert link[1] not in page_pair.stdout
        yield client


def test_the_cookie_is_no_credential_at_a_provider(
    page_pair: Pair, administrator: httpx.Client
) -> None:
    """The page's cookie, with any path, is not a token at a provider, and is not sent to it."""
    session = administrator.cookies["authz_session"]
    page_pair.provider.take()
    for name in ("authz_session", "coder_session_token"):
        for path in ("/anthropic/v1/models", "/api/v2/ai-gateway/openai/v1/models", "/"):
            answer = httpx.get(f"{page_pair.url}{path}", headers={"cookie": f"{name}={session}"})
            assert answer.status_code == 401, path
    assert not page_pair.provider.take()
    token = page_pair.create_token("admin")
    answer = httpx.get(
        f"{page_pair.url}/openai/v1/models",
        headers={"cookie": f"authz_session={session}", "authorization": f"Bearer {token}"},
    )
    assert answer.status_code == 200
    [seen] = page_pair.provider.take()
    assert session[11:] not in str(seen)
    assert session[11:] not in page_pair.stdout + page_pair.stderr


def test_the_front_leads_browsers_to_the_page(page_pair: Pair) -> None:
    """A GET of / for HTML is redirected to the page by a bare path, and others need a token."""
    html = {"accept": "text/html,application/xhtml+xml"}
    answer = httpx.get(f"{page_pair.url}/", headers=html)
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/")
    assert httpx.get(f"{page_pair.url}/").status_code == 401
    assert httpx.post(f"{page_pair.url}/", headers=html).status_code == 401
    assert httpx.get(f"{page_pair.url}/ui/../metrics").status_code == 401
    page = httpx.get(f"{page_pair.url}/ui/sign-in")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


def test_a_reload_of_a_new_token_creates_none(page_pair: Pair, administrator: httpx.Client) -> None:
    """Through Envoy the form redirects to a page that shows the token once.

    The token is in no address, cookie or log, and works at a provider.
    """
    form = "/ui/account/tokens/new"
    csrf = Parsed(administrator.get(form).text).csrf
    made = administrator.post(
        form,
        data={"csrf": csrf, "name": "once"},
        headers={"origin": page_pair.url, "referer": f"{page_pair.url}{form}"},
    )
    assert [one.status_code for one in (*made.history, made)] == [303, 200]
    page = Parsed(made.text)
    token = page.one("pre", id="token").text
    assert f"{page_pair.url}/api/v2/ai-gateway" in page.one("pre", id="curl-anthropic").text
    again = administrator.get(str(made.url))
    assert (again.status_code, token[11:] in again.text) == (410, False)
    listed = page_pair.command("tokens", "list", "--all", "-o", "json").stdout
    assert listed.count('"token_name": "once"') == 1
    answer = httpx.get(
        f"{page_pair.url}/openai/v1/models", headers={"authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 200
    assert token[11:] not in page_pair.stdout + page_pair.stderr
    assert token[11:] not in str(made.url) + str(administrator.cookies)
    page_pair.provider.take()


HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def test_every_path_of_the_page_is_a_page(page_pair: Pair) -> None:
    """A browser gets HTML even without a sign-in, and even if Envoy itself refuses the request."""
    for method, path, status in (
        ("GET", "/ui/nope", 404),
        ("GET", "/ui/metrics", 404),
        ("GET", "/ui/users/a/b/c/d/e/f", 404),
        ("GET", "/ui/users/nope", 303),
        ("PUT", "/ui/users", 405),
        ("POST", "/ui/nope", 404),
        ("GET", "/ui/a%2Fb", 400),
        ("GET", "/ui?x=1", 303),
    ):
        answer = httpx.request(method, f"{page_pair.url}{path}", headers=HTML)
        assert answer.status_code == status, path
        if status != 303:
            assert answer.headers["content-type"] == "text/html; charset=utf-8", path
            assert Parsed(answer.text).one("h1").text, path
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    form = b"csrf=x&name=" + b"x" * 3_000_000
    kind = {"content-type": "application/x-www-form-urlencoded"}
    answer = httpx.post(f"{page_pair.url}/ui/sign-in", content=form, headers=HTML | kind)
    assert answer.status_code == 413
    assert "The form is too long." in answer.text


def test_what_is_no_browser_and_no_page_gets_json(page_pair: Pair) -> None:
    """Envoy's own answers are JSON for clients that want no HTML, and outside the page's paths."""
    for path, headers, status in (
        ("/ui/a%2Fb", {}, 400),
        ("/uix/a%2Fb", HTML, 401),
        ("/anthropic/a%2Fb", HTML, 401),
    ):
        answer = httpx.get(f"{page_pair.url}{path}", headers=headers)
        assert answer.status_code == status, path
        assert answer.json()["type"] == "error", path
    assert httpx.get(f"{page_pair.url}/uix", headers=HTML).json()["type"] == "error"


def _picture(driver: Chrome, name: str, width: int = 1100, height: int = 760) -> None:
    if IMAGES:
        driver.set_window_size(width, height)
        driver.save_screenshot(str(Path(IMAGES) / f"page-{name}.png"))


def _follow(driver: Chrome, name: str) -> None:
    """Follow the link with this accessible name, by keyboard."""
    links = driver.find_elements(By.TAG_NAME, "a")
    [link] = [link for link in links if link.accessible_name == name]
    body = driver.find_element(By.TAG_NAME, "html")
    link.send_keys(Keys.ENTER)
    WebDriverWait(driver, 60).until(lambda _: is_gone(body))


def _sign_in(driver: Chrome, running: Pair) -> None:
    driver.get(f"{running.url}/ui/")
    fill(driver, name="admin", password=PASSWORD)
    submit(driver, "Sign in")
    assert driver.find_element(By.TAG_NAME, "h1").text == "Tokens"


async def _use(running: Pair) -> None:
    """Add three weeks of requests to the rows."""
    url = running.identity.replace("sqlite:///./", f"sqlite:///{running.folder}/")
    rows = UsageStore(await open_database(url))
    try:
        await rows.prepare()
        now = int(time.time() * 1000)
        await rows.add(
            UsageEntry(
                id=f"test-{day}-{number}",
                time_ms=now - day * 86_400_000,
                decision="allow",
                status=200,
                usage=Usage.COMPLETE,
                duration_ms=900,
                username="alice",
                model=("claude-sonnet-4-5", "gpt-5")[number % 2],
                mode=("centralized", "byok")[day % 2],
                tokens=Tokens(input=900 + 40 * day, cached=300, output=250 + 10 * number),
                cost=1_000_000 * (40 + 3 * day + 10 * number),
            )
            for day in range(1, 22)
            for number in range(3 + day * 7 % 11)
        )
    finally:
        await rows.close()


def _run(lines: str) -> str:
    """Run lines in a shell, and return the output with the status of the answer at the end."""
    lines = lines.replace("curl ", "curl -sS -w '\\n%{http_code}' ")
    return subprocess.run(
        ["bash", "-c", lines], capture_output=True, text=True, check=True, timeout=120
    ).stdout


@needs_chromium
def test_from_the_sign_in_to_an_answer_and_back(
    page_pair: Pair, administrator: httpx.Client
) -> None:
    """In Chromium, by keyboard: sign in, create a token, use the curl lines, and delete it."""
    assert administrator.cookies
    with chromium() as driver:
        driver.get(f"{page_pair.url}/ui/")
        _picture(driver, "sign-in", 1100, 620)
        _sign_in(driver, page_pair)
        _follow(driver, "Create a token")
        fill(driver, name="laptop")
        _picture(driver, "new-token", 1100, 1000)
        submit(driver, "Create the token")
        lines = driver.find_element(By.ID, "curl-anthropic").text
        assert f"{page_pair.url}/api/v2/ai-gateway/anthropic" in lines
        driver.find_element(By.CSS_SELECTOR, "button[data-copy=token]").send_keys(Keys.ENTER)
        WebDriverWait(driver, 60).until(
            lambda d: d.find_element(By.ID, "copied").get_attribute("textContent")
        )
        assert _run(lines).endswith("\n200")
        _picture(driver, "token", 1100, 1000)
        _follow(driver, "I have copied it: back to the tokens")
        _picture(driver, "tokens")
        page_pair.create_user("alice")
        asyncio.run(_use(page_pair))
        page_pair.command("budgets", "set", "10", "--user", "alice", "--per", "month")
        for place in ("overview", "users", "usage", "budgets", "audit"):
            driver.get(f"{page_pair.url}/ui/{place}")
            if place == "usage":
                _walk_along_the_bars(driver)
            _picture(driver, place, 1100, 1000)
        driver.get(f"{page_pair.url}/ui/account/tokens")
        _follow(driver, "Delete laptop")
        submit(driver, "Delete the token")
        done = driver.find_element(By.CSS_SELECTOR, "p[role=status]")
        assert done.text == "The token laptop was deleted."
        assert _run(lines).endswith("\n401")
        # Whatever the policy of the page forbids would be here.
        assert driver.get_log("browser") == []  # type: ignore[no-untyped-call]
    page_pair.provider.take()


def _walk_along_the_bars(driver: Chrome) -> None:
    """Assert that charts have names, one bar of each takes the focus, and arrow keys move on."""
    cost, requests, tokens = driver.find_elements(By.CSS_SELECTOR, "svg[role=group]")
    assert cost.accessible_name.startswith("Cost by day")
    assert requests.accessible_name.startswith("Requests by day")
    assert tokens.accessible_name.startswith("Tokens by day")
    [bar] = requests.find_elements(By.CSS_SELECTOR, "g[tabindex='0']")
    tip = bar.find_element(By.CSS_SELECTOR, ".tip")
    assert not tip.is_displayed()
    driver.execute_script("arguments[0].focus()", bar)
    assert tip.is_displayed()
    assert bar.accessible_name == tip.text
    names = {bar.accessible_name}
    for key in (Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.HOME):
        ActionChains(driver).send_keys(key).perform()
        here = driver.switch_to.active_element
        assert here.find_element(By.CSS_SELECTOR, ".tip").is_displayed()
        names.add(here.accessible_name)
    assert len(names) == 4
    assert len(requests.find_elements(By.CSS_SELECTOR, "g[tabindex='0']")) == 1


@needs_chromium
def test_times_are_those_of_the_reader(page_pair: Pair, administrator: httpx.Client) -> None:
    """Times are in the browser's zone with the script, and in UTC without it."""
    assert administrator.cookies
    zone = {"timezoneId": "Asia/Kolkata"}
    with chromium() as driver:
        driver.execute_cdp_cmd("Emulation.setTimezoneOverride", zone)
        _sign_in(driver, page_pair)
        driver.get(f"{page_pair.url}/ui/audit")
        exact = driver.find_element(By.CSS_SELECTOR, "time[data-local]")
        utc = datetime.fromisoformat(str(exact.get_attribute("datetime")))
        local = utc.astimezone(ZoneInfo(zone["timezoneId"]))
        assert exact.text == f"{local:%Y-%m-%d %H:%M} GMT+5:30"
        assert "Times are in Asia/" in driver.find_element(By.TAG_NAME, "main").text
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        driver.get(f"{page_pair.url}/ui/audit")
        exact = driver.find_element(By.CSS_SELECTOR, "time[data-local]")
        assert exact.text == f"{utc:%Y-%m-%d %H:%M} UTC"


@needs_chromium
def test_the_account_menu(page_pair: Pair, administrator: httpx.Client) -> None:
    """The menu opens and closes by keyboard, and signs out everywhere."""
    assert administrator.cookies
    with chromium() as driver:
        _sign_in(driver, page_pair)
        summary = driver.find_element(By.TAG_NAME, "summary")
        button = driver.find_element(By.NAME, "everywhere")
        summary.send_keys(Keys.ENTER)
        assert button.is_displayed()
        button.send_keys(Keys.ESCAPE)
        assert not button.is_displayed()
        assert driver.switch_to.active_element == summary
        summary.send_keys(Keys.ENTER)
        _picture(driver, "menu", 1100, 620)
        submit(driver, "Sign out")
        assert "You are signed out." in driver.find_element(By.TAG_NAME, "main").text


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_phone(page_pair: Pair, administrator: httpx.Client, scheme: str) -> None:
    """At 360 pixels no page scrolls sideways, and every field has a name, in both schemes."""
    with chromium("--force-dark-mode") if scheme == "dark" else chromium() as driver:
        phone = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        places = ("sign-in", "account/tokens", "account/tokens/new", "users", "users/new", "usage")
        for place in (*places, "audit", "overview", "budgets"):
            if place == "account/tokens":
                _sign_in(driver, page_pair)
            driver.get(f"{page_pair.url}/ui/{place}")
            for menu in driver.find_elements(By.TAG_NAME, "summary"):
                menu.click()
            width = driver.execute_script("return document.documentElement.scrollWidth")
            assert width <= 360, place
            for tag in ("input:not([type=hidden])", "select", "button", "a"):
                for element in driver.find_elements(By.CSS_SELECTOR, tag):
                    if element.is_displayed():
                        assert element.accessible_name, (place, element.get_attribute("outerHTML"))
            if IMAGES and scheme == "dark" and place == "account/tokens/new":
                driver.save_screenshot(str(Path(IMAGES) / "page-phone-dark.png"))
        ground = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 22, 28)"}[scheme]


@needs_chromium
def test_the_code_of_the_link_goes_into_the_form(page_pair: Pair) -> None:
    """The code behind # is filled into the form and removed from the address."""
    with chromium() as driver:
        driver.get(f"{page_pair.url}/ui/first-administrator#the-code")
        assert driver.find_element(By.ID, "code").get_attribute("value") == "the-code"
        assert driver.current_url == f"{page_pair.url}/ui/first-administrator"
