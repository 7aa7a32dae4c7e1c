"""The page on which people change their own password."""

import pytest

from .conftest import PASSWORD, Site

PATH = "/ui/account/password"
NEW = "another horse battery"
_FORM = {"old_password": PASSWORD, "password": NEW, "again": NEW}


async def test_a_changed_password(site: Site) -> None:
    """This browser stays signed in, others are signed out, and the new password works."""
    here, there = await site.signed_in("alice"), await site.signed_in("alice")
    assert (await here.get("/ui/account/tokens")).all("a", href=PATH)
    page = await here.post(PATH, (await here.get(PATH)).csrf, **_FORM)
    assert here.last.status_code == 200
    assert "Your password is changed" in page.one("p", role="status").text
    await here.get("/ui/account/tokens")
    assert here.last.status_code == 200
    await there.get("/ui/account/tokens")
    assert "sign-in" in str(there.last.url)
    again = site.browser()
    await again.sign_in("alice", NEW)
    assert again.last.status_code == 200


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"old_password": "wrong horse battery"}, "current password is wrong"),
        ({"again": "yet another horse"}, "differ"),
        ({"password": "short", "again": "short"}, "8 to 128"),
        ({"password": PASSWORD, "again": PASSWORD}, "is the current one"),
    ],
)
async def test_a_refused_change(site: Site, change: dict[str, str], said: str) -> None:
    """The page says what is wrong, and the old password stays."""
    browser = await site.signed_in("alice")
    page = await browser.post(PATH, (await browser.get(PATH)).csrf, **{**_FORM, **change})
    assert browser.last.status_code == 400
    assert said in page.one("p", role="alert").text
    assert NEW not in browser.last.text
    await site.signed_in("alice")


async def test_without_a_password(site: Site) -> None:
    """A user without a password does not have this page."""
    browser = await site.signed_in("alice")
    await site.store._database.execute(
        "UPDATE users SET hashed_password = $1 WHERE id = $2", b"", site.users["alice"].id
    )
    assert not (await browser.get("/ui/account/tokens")).all("a", href=PATH)
    await browser.get(PATH)
    assert browser.last.status_code == 404
