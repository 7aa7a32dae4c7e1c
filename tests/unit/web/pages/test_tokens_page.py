"""Tokens in the page: making, seeing and ending them."""

import asyncio

import pytest

from authz.core.identity import Identity
from authz.core.tokens import ID_LENGTH, hash_secret, parse
from authz.identity.open import open_source
from authz.web.pages import paging, users
from authz.web.pages.forms import reveal_digest
from authz.web.pages.paging import COUNT
from tests.support.browsing import Browser, Parsed

from .conftest import Site

NEW = "/ui/account/tokens/new"


async def _works(site: Site, text: str) -> bool:
    source = await open_source(site.config.identity)
    try:
        token = parse(text)
        assert token is not None
        return isinstance(await source.verify(token), Identity)
    finally:
        await source.close()


async def test_a_token_is_made_shown_once_and_deleted(site: Site) -> None:
    """A new token is shown on one page only, works at once, and stops working once deleted."""
    alice = await site.signed_in("alice")
    assert "You have no tokens yet." in alice.last.text
    made = await alice.post(NEW, name="laptop", preset="30d")
    text = made.one("pre", id="token").text
    assert await _works(site, text)
    listed = await alice.get("/ui/account/tokens")
    assert text[11:] not in alice.last.text
    assert "laptop" in listed.one("th", scope="row").text
    [delete] = [a for a in listed.all("a") if a.attributes["href"].endswith("/delete")]
    asked = await alice.get(delete.attributes["href"])
    assert "Delete the token laptop?" in asked.one("h1").text
    await alice.post(delete.attributes["href"])
    assert "You have no tokens yet." in alice.last.text
    assert not await _works(site, text)


async def test_an_expired_token_stays_in_the_list(site: Site) -> None:
    """An expired token stays in the list, and can't be expired again."""
    alice = await site.signed_in("alice")
    text = (await alice.post(NEW, name="laptop")).one("pre", id="token").text
    listed = await alice.post(f"/ui/account/tokens/{text[:10]}/expire")
    assert not await _works(site, text)
    assert "expired " in listed.one("tr", class_="over").text
    assert not [a for a in listed.all("a") if a.attributes["href"].endswith("/expire")]


async def test_the_lines_to_paste_are_this_gateways(site: Site) -> None:
    """Snippets for Claude Code, Codex and curl have the token and the address the browser used."""
    alice = await site.signed_in("alice")
    made = await alice.post(NEW)
    text = made.one("pre", id="token").text
    blocks = {pre.attributes["id"]: pre.text for pre in made.all("pre")}
    assert list(blocks) == [
        "token",
        "claude-code-anthropic",
        "codex-openai",
        "curl-anthropic",
        "curl-openai",
    ]
    base = "https://gateway.test/api/v2/ai-gateway"
    assert blocks["claude-code-anthropic"].splitlines()[:2] == [
        f"export CODER_TOKEN={text}",
        f"export ANTHROPIC_BASE_URL={base}/anthropic",
    ]
    assert f'base_url="{base}/openai/v1"' in blocks["codex-openai"]
    for button in made.all("button"):
        if target := button.attributes.get("data-copy"):
            assert target in blocks


async def test_the_lines_to_paste_can_work(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snippets use the central key if the gateway has it now, and else the user's own."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-0123456789")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    alice = await site.signed_in("alice")
    made = await alice.post(NEW)
    blocks = {pre.attributes["id"]: pre.text for pre in made.all("pre")}
    assert "ANTHROPIC_AUTH_TOKEN" in blocks["claude-code-anthropic"]
    assert "authorization: Bearer $OPENAI_API_KEY" in blocks["curl-openai"]


async def test_an_unknown_provider_is_refused(site: Site) -> None:
    """A form with a provider that is not configured makes no token and says which there are."""
    alice = await site.signed_in("alice")
    await alice.post(NEW, name="ci", provider=["nope"])
    assert alice.last.status_code == 400
    assert "no such provider" in alice.last.text
    assert await site.store.find_named(site.users["alice"], "ci") is None


async def test_rules_limit_a_token_and_its_lines(site: Site) -> None:
    """Chosen providers and modes are the token's rules; only what they allow is shown to paste."""
    alice = await site.signed_in("alice")
    made = await alice.post(NEW, name="ci", provider=["openai"], mode=["byok"])
    [key] = await site.store.list_tokens(site.users["alice"])
    assert key.rules.as_json() == {"providers": ["openai"], "modes": ["byok"]}
    blocks = {pre.attributes["id"]: pre.text for pre in made.all("pre")}
    assert list(blocks) == ["token", "codex-openai", "curl-openai"]
    assert "authorization: Bearer $OPENAI_API_KEY" in blocks["curl-openai"]
    listed = await alice.get("/ui/account/tokens")
    assert listed.one("td", data_label="Limited to").text == "openai; byok"


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": " ok\u200b"}, "a token name has 1 to 64 printable characters"),
        ({"preset": "other", "lifetime": "soon"}, "not a lifetime"),
        ({"preset": "other", "lifetime": "200y"}, "at most 876600h"),
        ({"preset": "0s"}, "greater than 0"),
        ({"provider": "Not A Provider"}, "a provider is named as in the URL"),
        ({"mode": "none"}, "a mode is centralized or byok"),
        ({"name": "taken"}, "A token with this name exists"),
    ],
)
async def test_a_form_with_a_mistake_says_which(
    site: Site, fields: dict[str, str], problem: str
) -> None:
    """The form comes back with its values and the problem at its field, and creates no token."""
    await site.store.create_token(site.users["alice"], "taken")
    alice = await site.signed_in("alice")
    page = await alice.post(NEW, **fields)
    assert alice.last.status_code == 400
    described = [
        e.attributes["aria-describedby"] for e in page.elements if "aria-invalid" in e.attributes
    ]
    assert problem in page.one("p", id=described[0]).text
    assert len(await site.store.list_tokens(site.users["alice"])) == 1


async def test_an_owners_tokens_live_a_week_at_most(site: Site) -> None:
    """An owner's tokens live a week at most, as in the API, and longer presets are not offered."""
    root = await site.signed_in("root")
    form = await root.get(NEW)
    offered = [radio.attributes["value"] for radio in form.all("input", type="radio")]
    assert offered == ["8h", "1d", "7d", "other"]
    await root.post(NEW, preset="30d")
    assert root.last.status_code == 400
    assert "The longest lifetime is 7 days." in root.last.text


@pytest.mark.parametrize("what", ["delete", "expire"])
async def test_nobody_reaches_anothers_token(site: Site, what: str) -> None:
    """Another user's token is a 404 by URL, by id and by its owner's pages, and keeps working."""
    text, key = await site.store.create_token(site.users["bob"], "bobs")
    for name in ("alice", "helper"):
        browser = await site.signed_in(name)
        csrf = (await browser.get(NEW)).csrf
        for path in (
            f"/ui/account/tokens/{key.id}/{what}",
            f"/ui/users/{site.users['bob'].id}/tokens/{key.id}/{what}",
            f"/ui/users/{site.users[name].id}/tokens/{key.id}/{what}",
        ):
            await browser.get(path)
            assert browser.last.status_code == 404
            await browser.post(path, csrf=csrf)
            assert browser.last.status_code == 404
        await browser.get(f"/ui/users/{site.users['bob'].id}/tokens/new")
        assert browser.last.status_code == 404
    assert await _works(site, text)


@pytest.mark.parametrize(
    "name",
    ["<script>alert(1)</script>", '" onmouseover="alert(1)', "'><img src=x onerror=alert(1)>"],
)
async def test_a_name_is_text(site: Site, name: str) -> None:
    """A token's name with HTML is shown as text on every page that has it."""
    alice = await site.signed_in("alice")
    made = await alice.post(NEW, name=name)
    key_id = made.one("pre", id="token").text[:10]
    pages = {
        path: await alice.get(path)
        for path in ("/ui/account/tokens", f"/ui/account/tokens/{key_id}/delete", "/ui/audit")
    }
    pages["again"] = await alice.post(NEW, name=name)
    for path, page in [*pages.items(), ("made", made)]:
        assert not page.unclosed, path
        assert not page.all("img"), path
        assert all("src" in script.attributes for script in page.all("script")), path
        assert not any(n.startswith("on") for e in page.elements for n in e.attributes), path
    assert name in pages["/ui/account/tokens"].one("th", scope="row").text
    assert pages["again"].one("input", id="name").attributes["value"] == name
    _is_static(pages["/ui/audit"])


def _is_static(page: Parsed) -> None:
    assert not [e for e in page.elements if "style" in e.attributes or e.tag == "style"]


async def test_many_tokens_come_in_parts(site: Site) -> None:
    """Each token is on one page, the newest first; an invalid number shows the first page."""
    for number in range(COUNT + 3):
        await site.store.create_token(site.users["alice"], f"t{number}")
    alice = await site.signed_in("alice")
    seen: list[str] = []
    path: str | None = "/ui/account/tokens"
    while path is not None:
        page = await alice.get(path)
        assert page.unclosed == []
        seen += [cell.text[:-ID_LENGTH] for cell in page.all("th", scope="row")]
        older = [link for link in page.all("a") if link.text == "Older tokens"]
        path = older[0].attributes["href"] if older else None
    assert seen == [f"t{number}" for number in reversed(range(COUNT + 3))]
    for asked in ("-1", "x", "9" * 30, "\u0663"):
        page = await alice.get(f"/ui/account/tokens?from={asked}")
        assert len(page.all("th", scope="row")) == COUNT, asked
    page = await alice.get("/ui/account/tokens?from=5000")
    assert "There are no older tokens." in alice.last.text


async def test_many_users_come_in_parts(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users are listed by name, each on one page, and the pages link to each other."""
    monkeypatch.setattr(users, "COUNT", 2)
    monkeypatch.setattr(paging, "COUNT", 2)
    root = await site.signed_in("root")
    names = []
    for first in (0, 2, 4):
        page = await root.get(f"/ui/users?from={first}")
        names += [cell.text for cell in page.all("th", scope="row")]
        links = {link.text: link.attributes["href"] for link in page.all("a")}
        assert links.get("Next users") == (f"/ui/users?from={first + 2}" if first < 4 else None)
        assert links.get("Previous users") == (f"/ui/users?from={first - 2}" if first else None)
    assert names == ["alice", "bob", "bot", "helper", "root"]


async def test_a_reload_creates_nothing_and_shows_nothing(site: Site) -> None:
    """Reloading the page of a new token neither shows the token again nor creates another.

    The token that was shown keeps working, and it stays the only one.
    """
    alice = await site.signed_in("alice")
    made = await alice.post(NEW, name="laptop")
    text = made.one("pre", id="token").text
    [sent] = alice.last.history
    assert (sent.status_code, alice.last.request.method) == (303, "GET")
    for url in (sent.headers["location"], str(alice.last.url)):
        assert text[11:] not in url
        assert url.endswith(f"/ui/account/tokens/{text[:10]}/created")
    assert text[11:] not in str(sent.headers) + str(alice.last.headers) + sent.text
    assert "set-cookie" not in {*sent.headers, *alice.last.headers}
    assert alice.last.headers["cache-control"] == "no-store"
    for _ in range(2):
        again = await alice.get(str(alice.last.url))
        assert alice.last.status_code == 410
        assert text[11:] not in alice.last.text
        assert "can't be shown again" in again.one("h1").text
        assert not again.all("pre")
    assert await _works(site, text)
    assert [key.id for key in await site.store.list_tokens(site.users["alice"])] == [text[:10]]


async def _created(alice: Browser, name: str) -> str:
    """Send the form, stop at the redirect, and return its location."""
    csrf = (await alice.get(NEW)).csrf
    data = {"csrf": csrf, "name": name}
    sent = await alice.client.post(NEW, data=data, headers={"origin": alice.origin})
    assert sent.status_code == 303
    return str(sent.headers["location"])


async def test_a_token_is_shown_to_the_session_that_created_it(site: Site) -> None:
    """Another session, an owner and HEAD do not see the token and do not use it up."""
    alice, other = await site.signed_in("alice"), await site.signed_in("alice")
    root, bob = await site.signed_in("root"), await site.signed_in("bob")
    place = await _created(alice, "laptop")
    await other.get(place)
    assert other.last.status_code == 410
    await bob.get(place)
    assert bob.last.status_code == 404
    key_id = place.split("/")[-2]
    await root.get(f"/ui/users/{site.users['alice'].id}/tokens/{key_id}/created")
    assert root.last.status_code == 410
    assert (await alice.client.head(place)).status_code == 410
    shown = await alice.get(place)
    assert await _works(site, shown.one("pre", id="token").text)


async def test_two_at_once_show_a_token_once(site: Site) -> None:
    """Only one of several simultaneous loads of the page gets the token."""
    alice = await site.signed_in("alice")
    place = await _created(alice, "laptop")
    answers = await asyncio.gather(*(alice.client.get(place) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [410] * 7
    [shown] = [answer for answer in answers if answer.status_code == 200]
    assert await _works(site, Parsed(shown.text).one("pre", id="token").text)


@pytest.mark.parametrize("how", ["expire", "delete"])
async def test_a_token_that_has_ended_is_not_shown(site: Site, how: str) -> None:
    """A token that ended before it was shown gets no secret."""
    alice = await site.signed_in("alice")
    place = await _created(alice, "laptop")
    await alice.post(place.replace("created", how))
    await alice.get(place)
    assert alice.last.status_code == {"expire": 410, "delete": 404}[how]


async def test_a_form_sent_twice_makes_one_token_that_works(site: Site) -> None:
    """A token that was never shown has no secret, so nothing in the store matches it."""
    alice = await site.signed_in("alice")
    first, second = await _created(alice, ""), await _created(alice, "")
    assert first != second
    shown = (await alice.get(second)).one("pre", id="token").text
    rows = await site.store._database.fetch(
        "SELECT hashed_secret FROM api_keys WHERE id = $1", first.split("/")[-2]
    )
    session = alice.client.cookies["authz_session"]
    guesses = (shown[11:], session, session[11:], reveal_digest(session).hex()[:22])
    assert bytes(rows[0]["hashed_secret"]) not in map(hash_secret, guesses)
    assert await _works(site, shown)


@pytest.mark.parametrize(
    "referer",
    [
        "https://evil.test/ui/account/tokens/new",
        "https://gateway.test@evil.test/",
        "https://user@gateway.test/",
        "https://[",
        "ftp://gateway.test/",
        "",
    ],
)
async def test_no_other_site_gets_into_the_lines_to_paste(site: Site, referer: str) -> None:
    """The snippets use the address that the browser came from only if it is this host's."""
    alice = await site.signed_in("alice")
    place = await _created(alice, "laptop")
    answer = await alice.client.get(place, headers={"referer": referer})
    assert answer.status_code == 200
    assert "evil.test" not in answer.text
    assert "ftp:" not in answer.text
    assert "export ANTHROPIC_BASE_URL=" in answer.text


async def test_a_token_is_rotated(site: Site) -> None:
    """The new token is shown once and has the name; the old one works for the chosen time."""
    alice = await site.signed_in("alice")
    old = (await alice.post(NEW, name="laptop", provider="openai")).one("pre", id="token").text
    listed = await alice.get("/ui/account/tokens")
    [rotate] = [a for a in listed.all("a") if a.attributes["href"].endswith("/rotate")]
    asked = await alice.get(rotate.attributes["href"])
    assert "Rotate the token laptop?" in asked.one("h1").text
    new = (await alice.post(rotate.attributes["href"], overlap="1h")).one("pre", id="token").text
    assert await _works(site, new)
    assert await _works(site, old)
    key = await site.store.find_key(site.users["alice"], new[:10])
    assert key is not None
    assert (key.token_name, str(key.rules)) == ("laptop", "openai")
    listed = await alice.get("/ui/account/tokens")
    assert f"laptop-old-{old[:10]}" in alice.last.text
    again = f"/ui/account/tokens/{new[:10]}/rotate"
    newest = (await alice.post(again, overlap="0s")).one("pre", id="token").text
    assert await _works(site, newest)
    assert not await _works(site, new)


async def test_a_refused_rotation(site: Site) -> None:
    """Another user's token is a 404; a bad time and a token that has ended are clear errors."""
    alice = await site.signed_in("alice")
    text = (await alice.post(NEW, name="laptop")).one("pre", id="token").text
    path = f"/ui/account/tokens/{text[:10]}/rotate"
    bob = await site.signed_in("bob")
    await bob.get(path)
    assert bob.last.status_code == 404
    page = await alice.post(path, overlap="1y")
    assert alice.last.status_code == 400
    assert "Choose how long" in page.one("p", role="alert").text
    await alice.post(f"/ui/account/tokens/{text[:10]}/expire")
    page = await alice.post(path, overlap="1h")
    assert alice.last.status_code == 400
    assert "has ended" in page.one("p", role="alert").text


async def test_too_many_tokens_are_refused(site: Site) -> None:
    """The form says how many a user may have."""
    alice = await site.signed_in("alice")
    (await site.own_store.get())._memory.max_tokens = 1
    await alice.post(NEW, name="laptop")
    page = await alice.post(NEW, name="more")
    assert alice.last.status_code == 400
    assert "at most 1 are allowed" in page.one("p", id="name-problem").text
