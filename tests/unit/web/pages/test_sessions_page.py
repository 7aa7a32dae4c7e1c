"""Sessions of the page: signing in and out, what a form must contain, and the headers."""

import re
import time
from datetime import timedelta

import httpx
import pytest

from authz.config.settings import Config
from authz.core.rules import make_rules
from authz.identity.open import open_store
from authz.identity.store import Store
from authz.secret import Secret
from authz.web import first_link
from authz.web.own_store import OwnStore
from authz.web.pages.app import _PAGES, create_pages
from authz.web.pages.context import Pages
from authz.web.pages.responses import HEADERS
from authz.web.sign_in import PER_USER, SignIn
from authz.web.usage_rows import UsageRows
from tests.support.browsing import Browser, Parsed

from .conftest import ORIGIN, PASSWORD, Site

TOKENS = "/ui/account/tokens"
_GROUP = "00000000-0000-4000-8000-000000000000"
_COMMAND = {"code": "BCDF-GHJK", "port": "4000", "state": "s" * 43, "challenge": "c" * 43}


async def test_the_session_is_a_cookie_that_no_script_sees(site: Site) -> None:
    """The cookie is HttpOnly, Secure, SameSite=Lax and for /ui only; the visitor's is removed."""
    browser = site.browser()
    csrf = (await browser.get("/ui/sign-in")).csrf
    answer = await browser.client.post(
        "/ui/sign-in", data={"csrf": csrf, "name": "alice", "password": PASSWORD}
    )
    assert (answer.status_code, answer.headers["location"]) == (303, TOKENS)
    session, visitor = answer.headers.get_list("set-cookie")
    assert re.fullmatch(
        r"authz_session=[0-9A-Za-z]{10}-[0-9A-Za-z]{22}; HttpOnly; Path=/ui; SameSite=lax; Secure",
        session,
    )
    assert visitor.startswith('authz_visitor="";')


async def test_who_is_not_signed_in_is_sent_to_sign_in_and_back(site: Site) -> None:
    """Each page redirects to the sign-in, which leads back to the page that was asked for."""
    browser = site.browser()
    for place in _PAGES:
        path = f"/ui{place.path}".format(
            user=site.users["bob"].id,
            key="a" * 10,
            group=_GROUP,
            provider="openai",
            budget=_GROUP,
            owner="user",
            owner_id=_GROUP,
            kind="deny_models",
            **_COMMAND,
        )
        if place.is_open or place.get is None:
            continue
        answer = await browser.client.get(path)
        assert answer.status_code == 303, path
        assert answer.headers["location"].startswith("/ui/sign-in?next=/ui/"), path
    form = await browser.get("/ui/usage")
    next_path = form.all("input", name="next")[0].attributes["value"]
    assert next_path == "/ui/usage"
    page = await browser.post("/ui/sign-in", name="alice", password=PASSWORD, next=next_path)
    assert page.one("h1").text == "Usage"


@pytest.mark.parametrize(
    "next_path",
    [
        "https://evil.test/",
        "//evil.test/",
        "/\\evil.test",
        "/ui/\\evil.test",
        "javascript:alert(1)",
        "/ui/..//evil.test",
        "/api/v2/users/me",
        "/ui/usage\r\nset-cookie: a=b",
        "/ui@evil.test",
    ],
)
async def test_no_sign_in_leads_elsewhere(site: Site, next_path: str) -> None:
    """A next path outside the pages is dropped, in the form and after signing in."""
    browser = site.browser()
    form = await browser.client.get("/ui/sign-in", params={"next": next_path})
    assert 'name="next" value=""' in form.text
    csrf = (await browser.get("/ui/sign-in")).csrf
    answer = await browser.client.post(
        "/ui/sign-in",
        data={"csrf": csrf, "name": "alice", "password": PASSWORD, "next": next_path},
    )
    assert (answer.status_code, answer.headers["location"]) == (303, TOKENS)


async def test_a_session_that_was_planted_is_not_kept(site: Site) -> None:
    """Signing in gives a new secret and ends the session that the browser had (fixation)."""
    planted, _ = await site.store.create_session(site.users["alice"])
    browser = site.browser()
    csrf = (await browser.get("/ui/sign-in")).csrf
    browser.client.cookies.set("authz_session", planted, domain="gateway.test", path="/ui")
    # Signed in by what was planted, the form is bound to it: one from before does not fit.
    await browser.post("/ui/sign-in", csrf, name="alice", password=PASSWORD)
    assert browser.last.status_code == 403
    csrf = (await browser.get(TOKENS)).csrf
    await browser.post("/ui/sign-in", csrf, name="alice", password=PASSWORD)
    assert browser.last.status_code == 200
    other = site.browser()
    other.client.cookies.set("authz_session", planted, domain="gateway.test", path="/ui")
    assert (await other.get(TOKENS)).one("h1").text == "Sign in"
    planted_visitor = site.browser()
    planted_visitor.client.cookies.set("authz_visitor", "x" * 43, domain="gateway.test")
    await planted_visitor.sign_in("alice", PASSWORD)
    other.client.cookies.set("authz_session", "x" * 43, domain="gateway.test", path="/ui")
    assert (await other.get(TOKENS)).one("h1").text == "Sign in"


async def test_a_token_is_no_session(site: Site) -> None:
    """A long-lived token does not sign a user in, in the session's cookie or in any other."""
    text, _ = await site.store.create_token(site.users["alice"])
    for cookie in ("authz_session", "coder_session_token", "authz_visitor"):
        browser = site.browser()
        browser.client.cookies.set(cookie, text, domain="gateway.test")
        assert (await browser.get(TOKENS)).one("h1").text == "Sign in"
    answer = await site.browser().client.get(TOKENS, headers={"coder-session-token": text})
    assert answer.status_code == 303


async def test_signing_in_with_a_token(site: Site) -> None:
    """A user's own token signs them in, but not a limited, a deleted or a machine's one."""
    text, key = await site.store.create_token(site.users["bob"])
    browser = site.browser()
    await browser.post("/ui/sign-in", token=text)
    assert browser.last.url.path == TOKENS
    limited, _ = await site.store.create_token(
        site.users["bob"], rules=make_rules(["openai"], None)
    )
    machine, _ = await site.store.create_token(site.users["bot"])
    await site.store.delete_token(key)
    for bad, why in (
        (text, "The Coder token is not valid."),
        (limited, "This token is limited"),
        (machine, "A service account can't sign in."),
        ("nonsense", "The Coder token is not valid."),
    ):
        page = await site.browser().post("/ui/sign-in", token=bad)
        assert why in page.one("p", role="alert").text


async def test_signing_out_ends_the_session(site: Site) -> None:
    """Signing out ends the session; signing out everywhere ends all sessions, but no token."""
    token, _ = await site.store.create_token(site.users["alice"], "kept")
    first, second, third = [await site.signed_in("alice") for _ in range(3)]
    kept = first.client.cookies.get("authz_session")
    page = await first.post("/ui/sign-out", (await first.get(TOKENS)).csrf)
    assert page.one("h1").text == "Sign in"
    assert first.client.cookies.get("authz_session") is None
    first.client.cookies.set("authz_session", str(kept), domain="gateway.test", path="/ui")
    assert (await first.get(TOKENS)).one("h1").text == "Sign in"
    assert (await second.get(TOKENS)).one("h1").text == "Tokens"
    await second.post("/ui/sign-out", (await second.get(TOKENS)).csrf, everywhere="1")
    assert (await third.get(TOKENS)).one("h1").text == "Sign in"
    assert await site.store.find_token(token) is not None


def _forms(site: Site) -> list[str]:
    bob = site.users["bob"].id
    return [
        f"/ui{place.path}".format(
            user=bob,
            key="a" * 10,
            group=_GROUP,
            budget=_GROUP,
            owner="user",
            owner_id=_GROUP,
            kind="deny_models",
            provider="openai",
            **_COMMAND,
        )
        for place in _PAGES
        if place.post is not None
    ]


async def test_no_form_without_the_sessions_token(site: Site) -> None:
    """A form gets a 403 if its CSRF token is missing, wrong, another session's or a visitor's."""
    root, alice = await site.signed_in("root"), await site.signed_in("alice")
    visitors = (await site.browser().get("/ui/sign-in")).csrf
    others = (await alice.get(TOKENS)).csrf
    before = [user.username for user in await site.store.list_users()]
    for path in _forms(site):
        for csrf in ("", "0" * 64, others, visitors):
            await root.post(path, csrf, name="mallory", status="suspended", role="owner")
            assert root.last.status_code == 403, path
        answer = await root.client.post(path, data={"name": "mallory"})
        assert answer.status_code == 403, path
    assert [user.username for user in await site.store.list_users()] == before
    assert (await site.store.get_user("bob")).status == "active"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.test"},
        {"origin": "null"},
        {"origin": "https://gateway.test.evil.test"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_no_form_from_another_site(site: Site, headers: dict[str, str]) -> None:
    """A form from another site gets a 403 even with the right CSRF token."""
    alice = await site.signed_in("alice")
    csrf = (await alice.get(TOKENS)).csrf
    answer = await alice.client.post(f"{TOKENS}/new", data={"csrf": csrf}, headers=headers)
    assert answer.status_code == 403
    assert not await site.store.list_tokens(site.users["alice"])


async def test_a_form_is_a_form(site: Site) -> None:
    """Another content type gets a 415, a long body a 413, and too many fields a 400."""
    alice = await site.signed_in("alice")
    csrf = (await alice.get(TOKENS)).csrf
    path, client = f"{TOKENS}/new", alice.client
    assert (await client.post(path, json={"csrf": csrf})).status_code == 415
    assert (await client.post(path, data={"csrf": csrf, "x": "y" * 70_000})).status_code == 413
    many = {"csrf": csrf, **{f"f{number}": "" for number in range(300)}}
    assert (await client.post(path, data=many)).status_code == 400
    assert (await client.put(path, data={"csrf": csrf})).status_code == 405


async def test_every_answer_has_the_headers(site: Site) -> None:
    """All answers have their security headers, and only files may be cached."""
    alice = await site.signed_in("alice")
    paths = ["/ui/", TOKENS, "/ui/users", "/ui/nothing", "/ui/usage", "/ui/audit", "/ui/sign-in"]
    for path in paths:
        answer = await alice.client.get(path)
        assert answer.headers.items() >= HEADERS.items(), path
    page = await alice.get(TOKENS)
    files = [page.all("link", rel="stylesheet")[0].attributes["href"]]
    files += [script.attributes["src"] for script in page.all("script")]
    for path in files:
        answer = await alice.client.get(path)
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "public, max-age=86400"
    assert (await alice.client.get("/ui/static/..%2f__init__.py")).status_code == 404
    assert "unsafe" not in HEADERS["content-security-policy"]


async def test_no_redirect_names_a_scheme_or_host(site: Site) -> None:
    """``/ui`` redirects to ``/ui/`` without a host; another trailing slash is a page not found."""
    browser = site.browser()
    answer = await browser.client.get("/ui", headers={"host": "other.example"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/")
    answer = await browser.client.get("/ui/sign-in/")
    assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store")


async def test_too_many_tries_are_refused(site: Site) -> None:
    """The API's limit applies too: even the right password gets a 429 that says when to retry."""
    browser = site.browser()
    csrf = (await browser.get("/ui/sign-in")).csrf
    for _ in range(PER_USER):
        await browser.post("/ui/sign-in", csrf, name="alice", password="wrong")
        assert browser.last.status_code == 401
    await browser.post("/ui/sign-in", csrf, name="alice", password=PASSWORD)
    assert browser.last.status_code == 429
    assert int(browser.last.headers["retry-after"]) > 0


async def test_a_suspended_user_is_out_with_the_next_page(site: Site) -> None:
    """A user who is suspended, or whose session has expired, is signed out with the next page."""
    alice, bob = await site.signed_in("alice"), await site.signed_in("bob")
    await site.store.set_status(site.users["alice"], "suspended")
    assert (await alice.get(TOKENS)).one("h1").text == "Sign in"
    short, _ = await site.store.create_session(site.users["bob"], timedelta(microseconds=1))
    bob.client.cookies.set("authz_session", short, domain="gateway.test", path="/ui")
    assert "Sign in" in (await bob.get(TOKENS)).all("h1")[0].text


async def test_where_coder_keeps_the_tokens_the_page_says_so() -> None:
    """Each page links to Coder's, and none asks for a password."""
    url = "https://coder.example.com"
    pages = create_pages(
        Pages(OwnStore(url, 365), SignIn(), True, _no_config, UsageRows(_no_config))
    )
    transport = httpx.ASGITransport(pages)
    browser = Browser(httpx.AsyncClient(transport=transport, base_url=ORIGIN), ORIGIN)
    for path in ("/sign-in", "/account/tokens", "/users", "/first-administrator"):
        page = await browser.get(path)
        assert "https://coder.example.com/settings/tokens" in [
            a.attributes["href"] for a in page.all("a")
        ]
        assert not page.all("form")


def _no_config() -> Config:
    raise AssertionError("nothing asks for it")


async def test_the_one_time_link_makes_the_first_administrator_once(site: Site) -> None:
    """The code makes one owner with a password; using the same code again is refused."""
    await site.store.delete_user(site.users["root"])
    code = first_link.make_code(site.config).reveal()
    assert code not in first_link.link_file(site.config).read_text()
    assert first_link.link_file(site.config).stat().st_mode & 0o777 == 0o600
    fields = {"name": "admin", "password": "a long new one", "again": "a long new one"}
    browser = site.browser()
    for change, why in (
        ({"code": "wrong"}, "is invalid"),
        ({"password": "short", "again": "short"}, "a password has 8 to 128"),
        ({"again": "something else"}, "passwords differ"),
        ({"name": "bot"}, "can't be an administrator"),
        ({"name": "a b"}, "a user name has"),
    ):
        page = await browser.post("/ui/first-administrator", **{"code": code, **fields, **change})
        assert why in page.one("p", role="alert").text
        # The script has taken a good code out of the address, so the form keeps it.
        kept = page.one("input", name="code").attributes["value"]
        assert kept == ("" if "code" in change else code)
    page = await browser.post("/ui/first-administrator", code=code, **fields)
    assert browser.last.url.path == TOKENS
    assert (await site.store.get_user("admin")).roles == ("owner",)
    page = await site.browser().post("/ui/first-administrator", code=code, **fields)
    assert "is invalid" in page.one("p", role="alert").text


async def test_the_link_is_of_no_use_later_or_beside_an_owner(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code is refused after 15 minutes, or once an owner has a password."""
    code = first_link.make_code(site.config)
    fields = {"name": "admin", "password": "a long new one", "again": "a long new one"}
    page = await site.browser().post("/ui/first-administrator", code=code.reveal(), **fields)
    assert "is invalid" in page.one("p", role="alert").text
    assert first_link.is_valid(site.config, code)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 901)
    assert not first_link.is_valid(site.config, code)
    assert not first_link.take(site.config, code)


async def test_a_code_is_taken_once(site: Site) -> None:
    """A code can be taken only once, and a broken file holds no code."""
    code = first_link.make_code(site.config)
    assert [first_link.take(site.config, code) for _ in range(3)] == [True, False, False]
    first_link.link_file(site.config).write_text("[]")
    assert not first_link.is_valid(site.config, Secret(""))


async def test_no_store_is_a_503(site: Site) -> None:
    """A store that can't be asked gives a 503 without any detail of the failure."""
    alice = await site.signed_in("alice")
    store = await open_store(site.config.identity, create=False)
    await store._database.execute("ALTER TABLE api_keys RENAME TO gone")
    await alice.get(TOKENS)
    assert alice.last.status_code == 503
    assert "api_keys" not in alice.last.text
    await store.close()


async def test_a_machines_session_opens_no_page(site: Site) -> None:
    """A session that ``coder login`` made for a service account does not sign a browser in."""
    for name, target in (("bot", "/ui/sign-in"), ("alice", "/ui/account/tokens")):
        text, _ = await site.store.create_session(site.users[name])
        browser = site.browser()
        browser.client.cookies.set("authz_session", text)
        await browser.get("/ui/account/tokens")
        assert browser.last.url.path == target


@pytest.mark.parametrize("who", ["alice", None])
async def test_every_path_of_the_page_is_a_page(site: Site, who: str | None) -> None:
    """An unknown path, a wrong method and a malformed or too long form are answered in HTML.

    This also applies to a browser that is not signed in.
    """
    browser = await site.signed_in(who) if who else site.browser()
    await browser.get("/ui/sign-in")
    kind = {"content-type": "application/x-www-form-urlencoded"}
    status = 303 if who is None else 404
    for method, path, headers, body, expected in (
        ("GET", "/ui/nope", {}, b"", 404),
        ("GET", "/ui/users/x/y/z/a/b/c", {}, b"", 404),
        ("GET", "/ui/static/nope", {}, b"", 404),
        ("GET", "/ui/account/tokens/", {}, b"", 404),
        ("GET", "/ui/users/nope", {}, b"", status),
        ("POST", "/ui/nope", kind, b"", 404),
        ("PUT", "/ui/account/tokens", {}, b"", 405),
        ("POST", "/ui/usage", kind, b"", 405),
        ("GET", "/ui/sign-out", {}, b"", 405),
        ("DELETE", "/ui/", {}, b"", 405),
        ("OPTIONS", "/ui/users", {}, b"", 405),
        ("POST", "/ui/sign-in", {"content-type": "application/json"}, b"{}", 415),
        ("POST", "/ui/sign-in", kind, b"x" * 70_000, 413),
        ("POST", "/ui/sign-in", kind, b"\xff", 400),
        ("POST", "/ui/sign-in", kind, b"csrf=no", 403),
    ):
        answer = await browser.client.request(method, path, headers=headers, content=body)
        assert answer.status_code == expected, (method, path)
        if expected != 303:
            assert answer.headers["content-type"] == "text/html; charset=utf-8", path
            assert Parsed(answer.text).one("p", role="alert").text, path
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")


async def test_a_failure_is_a_page(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """An internal error is a 500 in HTML that reveals no detail."""

    async def fail(*_: object) -> None:
        raise RuntimeError("a secret")

    alice = await site.signed_in("alice")
    monkeypatch.setattr(Store, "newest_tokens", fail)
    await alice.get("/ui/account/tokens")
    assert alice.last.status_code == 500
    assert "An internal error occurred." in alice.last.text
    assert "a secret" not in alice.last.text
