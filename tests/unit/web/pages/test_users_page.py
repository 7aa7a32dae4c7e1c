"""Users, usage and the audit log in the page: what each role sees and may do."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from authz.web.pages import chart as module

from .conftest import PASSWORD, Site

_CSS = Path(module.__file__).parent / "static" / "page.css"


async def test_an_administrator_makes_and_ends_users(site: Site) -> None:
    """Creating, suspending, activating, deleting and setting a password take effect at once."""
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
    assert page.one("p", class_="notice done").text == "The user carol was deleted."
    assert "carol" not in (await helper.get("/ui/users")).one("main").text
    assert (await carols.get("/ui/usage")).one("h1").text == "Sign in"


async def test_a_service_account_gets_its_tokens_from_an_administrator(site: Site) -> None:
    """A service account has no sign-in; a user administrator makes, sees and deletes its tokens."""
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
    """A member has no link to the users page, and each of its paths is a 404 by GET and POST."""
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
    """A user administrator can't change owners, roles or themselves; an owner can give roles."""
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
    """The form comes back with its values as text."""
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
    """An owner sees all entries, a member only those about them, not about an earlier namesake."""
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


def _colours(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", css))


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_what_is_written_can_be_read(scheme: int) -> None:
    """Both colour schemes meet WCAG 2.2 AA: text 4.5:1, borders of controls and bars 3:1."""
    css = _CSS.read_text()
    colours = _colours(css.split(":root {")[1 + scheme].partition("}")[0])

    def contrast(one: str, other: str) -> float:
        high, low = sorted((_luminance(colours[one]), _luminance(colours[other])), reverse=True)
        return (high + 0.05) / (low + 0.05)

    for text in ("text", "faint", "accent", "danger"):
        for ground in ("ground", "raised"):
            assert contrast(text, ground) >= 4.5, (text, ground)
    for text in ("text", "faint"):
        assert contrast(text, "notice") >= 4.5
    assert contrast("on-accent", "accent") >= 4.5
    assert contrast("on-danger", "danger") >= 4.5
    for shape in ("line", "accent", "second"):
        for ground in ("ground", "raised"):
            assert contrast(shape, ground) >= 3, (shape, ground)


async def test_who_was_suspended_meanwhile_makes_nobody(site: Site) -> None:
    """A form that ends after its sender was suspended changes nothing and is no error."""
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
