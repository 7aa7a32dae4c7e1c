"""Users, usage and the audit log in the page: what each role sees and may do."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from authz.usage.entry import Tokens, Usage, UsageEntry
from authz.web.pages import chart as module
from authz.web.pages.chart import stacked
from tests.support.browsing import Parsed

from .conftest import PASSWORD, Site

_CSS = Path(module.__file__).parent / "static" / "page.css"


async def test_an_administrator_makes_and_ends_users(site: Site) -> None:
    """Create, suspend, activate, set a password and delete: each counts at once."""
    helper = await site.signed_in("helper")
    page = await helper.post("/ui/users/new", name="carol", email="carol@example.com")
    assert page.one("h1").text == "carol"
    carol = await site.store.get_user("carol")
    path = f"/ui/users/{carol.id}"
    csrf = (await helper.get("/ui/users")).csrf
    await helper.post(f"{path}/password", csrf, password=PASSWORD)
    carols = await site.signed_in("carol")
    await helper.post(f"{path}/status", csrf, status="suspended")
    assert (await carols.get("/ui/usage")).one("h1").text == "Sign in"
    await helper.post(f"{path}/status", csrf, status="active")
    assert (await carols.get("/ui/usage")).one("h1").text == "Usage"
    page = await helper.post(f"{path}/delete", csrf)
    assert "carol" not in helper.last.text
    assert (await carols.get("/ui/usage")).one("h1").text == "Sign in"


async def test_a_service_account_gets_its_tokens_from_an_administrator(site: Site) -> None:
    """It has no sign-in; a user administrator makes, sees and deletes its tokens."""
    helper = await site.signed_in("helper")
    await helper.post("/ui/users/new", name="robot", kind="service")
    robot = await site.store.get_user("robot")
    assert robot.is_service_account
    made = await helper.post(f"/ui/users/{robot.id}/tokens/new", name="nightly")
    text = made.one("pre", id="token").text
    page = await helper.get(f"/ui/users/{robot.id}")
    assert "nightly" in page.one("th", scope="row").text
    assert not page.all("input", id="password")
    await helper.post(f"/ui/users/{robot.id}/tokens/{text[:10]}/delete")
    assert helper.last.url.path == f"/ui/users/{robot.id}"
    assert not await site.store.list_tokens(robot)


async def test_a_member_has_no_users_page(site: Site) -> None:
    """No link to it, and every path of it is a 404, by GET and by POST."""
    alice = await site.signed_in("alice")
    home = await alice.get("/ui/account/tokens")
    assert "/ui/users" not in [a.attributes["href"] for a in home.all("a")]
    csrf, bob = home.csrf, site.users["bob"].id
    for path in ("/ui/users", "/ui/users/new", f"/ui/users/{bob}", f"/ui/users/{bob}/delete"):
        await alice.get(path)
        assert alice.last.status_code == 404, path
    for path in ("new", f"{bob}/delete", f"{bob}/status", f"{bob}/role", f"{bob}/password"):
        await alice.post(
            f"/ui/users/{path}", csrf, name="x", status="suspended", role="owner", password=PASSWORD
        )
        assert alice.last.status_code == 404, path
    assert len(await site.store.list_users()) == 5


async def test_a_user_administrator_becomes_no_owner(site: Site) -> None:
    """They can't touch an owner, give a role, or change themselves; an owner can give roles."""
    helper, root = await site.signed_in("helper"), await site.signed_in("root")
    csrf = (await helper.get("/ui/users")).csrf
    for name in ("root", "helper"):
        user = site.users[name].id
        for action in ("delete", "status", "role", "password"):
            fields = {"status": "suspended", "role": "member", "password": "another password"}
            await helper.post(f"/ui/users/{user}/{action}", csrf, **fields)
            assert helper.last.status_code == 404, (name, action)
    bob = site.users["bob"].id
    await helper.post(f"/ui/users/{bob}/role", csrf, role="owner")
    assert helper.last.status_code == 404
    await helper.post(f"/ui/users/{bob}/role", csrf, role="member")
    assert helper.last.status_code == 404
    await helper.post("/ui/users/new", csrf, name="mallory", role="owner")
    assert helper.last.status_code == 404
    await root.post(f"/ui/users/{bob}/role", (await root.get("/ui/users")).csrf, role="user-admin")
    assert (await site.store.get_user("bob")).roles == ("user-admin",)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"name": "<script>"}, "a user name has at most"),
        ({"name": "ALICE"}, "A user with this name exists"),
        ({"name": "carol", "email": '"><script>alert(1)</script>'}, "an e-mail address must"),
        ({"name": "carol", "email": "Alice@example.com"}, "Another user has this address."),
    ],
)
async def test_a_user_with_a_mistake_is_not_made(
    site: Site, fields: dict[str, str], problem: str
) -> None:
    """The form comes again, with what was given as text."""
    root = await site.signed_in("root")
    page = await root.post("/ui/users/new", **fields)
    assert root.last.status_code == 400
    assert problem in root.last.text
    assert page.one("input", id="name").attributes["value"] == fields["name"]
    assert all("src" in script.attributes for script in page.all("script"))
    assert len(await site.store.list_users()) == 5


async def test_an_address_that_is_html_is_text(site: Site) -> None:
    """An e-mail address may have quotes and angle brackets; the pages escape them."""
    email = "\"onmouseover='alert(1)'<b>@example.com"
    user = await site.store.create_user("eve", email)
    root = await site.signed_in("root")
    for path in ("/ui/users", f"/ui/users/{user.id}"):
        page = await root.get(path)
        assert email in "".join(e.text for e in page.elements if e.tag in ("td", "dd"))
        assert not page.all("b")
        assert not page.unclosed


async def test_a_member_sees_their_own_audit_log(site: Site) -> None:
    """An owner sees everybody's, others what concerns them, and nothing of a namesake before."""
    await site.store.delete_user(site.users["bob"])
    bob = await site.store.create_user("bob")
    text, _ = await site.store.create_token(bob)
    bobs = site.browser()
    await bobs.post("/ui/sign-in", token=text)
    page = await bobs.get("/ui/audit?days=30")
    assert "delete" not in [td.text for td in page.all("td", data_label="Action")]
    assert "alice" not in bobs.last.text
    root = await site.signed_in("root")
    page = await root.get("/ui/audit")
    assert "delete" in [td.text for td in page.all("td", data_label="Action")]
    assert "alice" in root.last.text
    # Nothing of what proves anybody.
    assert text[11:] not in root.last.text


async def _use(site: Site, user: str, model: str, ago_days: int = 0, token: str = "") -> None:
    rows = await site.usage.get()
    assert rows is not None
    at = int((time.time() - ago_days * 86400) * 1000)
    await rows.add(
        [
            UsageEntry(
                id=f"p-{user}-{model}-{ago_days}",
                time_ms=at,
                decision="allow",
                status=200,
                usage=Usage.COMPLETE,
                duration_ms=1,
                user_id=site.users[user].id,
                username=user,
                token_id=token or None,
                model=model,
                mode="centralized",
                tokens=Tokens(input=1000, output=234),
            )
        ]
    )


def _column(page: Parsed, label: str) -> list[str]:
    return [cell.text for cell in page.elements if cell.attributes.get("data-label") == label]


async def test_a_member_sees_their_own_usage(site: Site) -> None:
    """By day, model and mode, with a chart that has words; an owner sees everybody's, by user."""
    await _use(site, "alice", "claude-sonnet-4-5")
    await _use(site, "alice", "claude-sonnet-4-5", ago_days=2)
    await _use(site, "alice", "old", ago_days=20)
    await _use(site, "bob", "gpt-5")
    alice, root = await site.signed_in("alice"), await site.signed_in("root")
    page = await alice.get("/ui/usage?days=7")
    assert len(_column(page, "Day")) == 2
    assert _column(page, "Model") == ["claude-sonnet-4-5"]
    assert _column(page, "Mode") == ["centralized"]
    assert not _column(page, "User")
    assert not page.unclosed
    requests, tokens = page.all("svg", role="img")
    assert "2 in all" in requests.text
    assert "2,468 in all" in tokens.text
    page = await root.get("/ui/usage")
    assert sorted(_column(page, "Model")) == ["claude-sonnet-4-5", "gpt-5", "old"]
    assert sorted(_column(page, "User")) == ["alice", "bob"]


async def test_the_list_says_when_a_token_was_used(site: Site) -> None:
    """A token's last request at a provider is its last use."""
    _, key = await site.store.create_token(site.users["alice"])
    await _use(site, "alice", "gpt-5", token=key.id)
    alice = await site.signed_in("alice")
    page = await alice.get("/ui/account/tokens")
    assert _column(page, "Last used") == [f"{datetime.now(UTC):%Y-%m-%d}"]


async def test_no_usage_is_said(site: Site) -> None:
    """An empty page says so and has no chart; where nothing is recorded that is said."""
    alice = await site.signed_in("alice")
    page = await alice.get("/ui/usage?days=evil")
    assert "No requests in the last 30 days." in alice.last.text
    assert not page.all("svg")


def test_bars_stand_on_the_ground_and_fit() -> None:
    """Stacked parts touch, the tallest stays below the top, and nothing leaves the view box."""
    days = [date(2026, 1, day) for day in range(1, 31)]
    values = [[day * 7, day * 3] for day in range(30)]
    made = stacked("c", "Things", days, values, ("in", "out"))
    ground = module.HEIGHT - module.BOTTOM
    lower = {bar.x: bar for bar in made.bars if bar.series == 0}
    for bar in made.bars:
        assert bar.x >= module.LEFT
        assert bar.x + bar.width <= module.WIDTH
        assert bar.y >= module.TOP - 0.01
        below = ground if bar.series == 0 else lower[bar.x].y
        assert bar.y + bar.height == pytest.approx(below, abs=0.02)
    assert [mark.text for mark in made.values] == ["0", "200", "400"]
    assert len(made.days) <= 8
    assert "the most on 2026-01-30 with 290" in made.description


def _colours(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", css))


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_what_is_written_can_be_read(scheme: int) -> None:
    """WCAG 2.2 AA: text 4.5:1, borders of controls and bars 3:1, in both colour schemes."""
    css = _CSS.read_text()
    colours = _colours(css.split(":root {")[1 + scheme].partition("}")[0])

    def contrast(one: str, other: str) -> float:
        high, low = sorted((_luminance(colours[one]), _luminance(colours[other])), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for text in ("text", "faint", "accent", "danger"):
        for ground in ("ground", "raised"):
            assert contrast(text, ground) >= 4.5, (text, ground)
    assert contrast("text", "notice") >= 4.5
    assert contrast("on-accent", "accent") >= 4.5
    assert contrast("on-danger", "danger") >= 4.5
    for shape in ("line", "accent", "second"):
        assert contrast(shape, "ground") >= 3, shape


async def test_who_was_suspended_meanwhile_makes_nobody(site: Site) -> None:
    """A form whose end comes after its sender's suspension changes nothing; it is no error."""
    helper = await site.signed_in("helper")
    csrf = (await helper.get("/ui/users")).csrf
    begun, ended = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield f"csrf={csrf}&name=mal".encode()
        begun.set()
        await ended.wait()
        yield b"lory"

    form = {"content-type": "application/x-www-form-urlencoded", "origin": helper.origin}
    post = asyncio.create_task(helper.client.post("/ui/users/new", content=body(), headers=form))
    await begun.wait()
    await site.store.set_status(site.users["helper"], "suspended")
    ended.set()
    answer = await post
    assert (answer.status_code, answer.headers["location"]) == (303, "/ui/sign-in")
    assert await site.store.find_user("mallory") is None
