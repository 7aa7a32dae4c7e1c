"""People sign in with a real OpenID provider, npm's oidc-provider over HTTPS."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from authz.identity.audit import Action
from authz.identity.store_links import Subject
from tests.support.openid import OpenIdProvider
from tests.unit.oidc.conftest import ORIGIN, Gateway

_DAY = timedelta(days=1)


async def test_first_sign_in(any_gateway: Gateway, openid: OpenIdProvider) -> None:
    """The first sign-in makes a user of the issuer's subject, with name, address and groups."""
    openid.set_account(
        "first-1",
        preferred_username="ada@example.com",
        name="Ada  Lovelace",
        email="ada@example.com",
        email_verified=True,
        groups=["dev", "math"],
    )
    ada = any_gateway.person()
    page = await ada.get("/ui/sign-in")
    link = page.one("a", href="/ui/sign-in/company")
    assert "Acme" in link.text
    await ada.enter(openid.login("first-1"))
    assert ada.last.status_code == 200, ada.last.text
    assert ada.last.url == f"{ORIGIN}/ui/account/tokens"
    user = await any_gateway.store.find_linked(Subject(openid.issuer, openid.subject("first-1")))
    assert user is not None
    assert (user.username, user.name, user.email) == ("ada", "Ada Lovelace", "ada@example.com")
    assert (user.login_type, user.status, user.roles) == ("oidc", "active", ())
    groups = await any_gateway.store.groups_of(user)
    assert [(one.name, one.source) for one in groups] == [
        ("dev", openid.issuer),
        ("math", openid.issuer),
    ]
    # The same person again is the same user, whose name and groups follow the provider.
    openid.set_account("first-1", preferred_username="other", name="A. King", groups=["dev"])
    again = any_gateway.person()
    await again.enter(openid.login("first-1"))
    assert again.last.status_code == 200, again.last.text
    changed = await any_gateway.store.find_linked(Subject(openid.issuer, openid.subject("first-1")))
    assert changed is not None
    assert (changed.id, changed.username, changed.name) == (user.id, "ada", "A. King")
    assert [one.name for one in await any_gateway.store.groups_of(user)] == ["dev"]


async def test_authorization_request(gateway: Gateway, openid: OpenIdProvider) -> None:
    """The request has PKCE with S256, a nonce, a state and the exact redirect URI."""
    person = gateway.person()
    response = await person.client.get("/ui/sign-in/company?next=/ui/usage")
    assert response.status_code == 303
    query = parse_qs(urlsplit(response.headers["location"]).query)
    assert response.headers["location"].startswith(openid.issuer)
    assert query["redirect_uri"] == [f"{ORIGIN}/ui/sign-in/company/callback"]
    assert query["code_challenge_method"] == ["S256"]
    assert query["response_type"] == ["code"]
    values = [query[name][0] for name in ("state", "nonce", "code_challenge")]
    assert all(len(value) == 43 for value in values)
    assert len(set(values)) == 3
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("__Host-authz_sign_in=")
    for attribute in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"):
        assert attribute in cookie
    assert "Domain" not in cookie
    # No value of the request can be read off the cookie.
    assert not any(value in cookie for value in values)


async def test_back_to_the_page(gateway: Gateway, openid: OpenIdProvider) -> None:
    """The person gets to the page that asked for the sign-in."""
    openid.set_account("back-1", preferred_username="back")
    person = gateway.person()
    await person.enter(openid.login("back-1"), "/ui/sign-in/company?next=/ui/usage")
    assert person.last.url.path == "/ui/usage"


async def test_roles_of_groups(any_gateway: Gateway, openid: OpenIdProvider) -> None:
    """Groups give a role at each sign-in, in the audit log; a role given locally stays."""

    async def enter(*groups: str) -> tuple[str, ...]:
        openid.set_account("roles-1", preferred_username="rose", groups=["dev", *groups])
        person = any_gateway.person()
        await person.enter(openid.login("roles-1"))
        assert person.last.status_code == 200, person.last.text
        subject = Subject(openid.issuer, openid.subject("roles-1"))
        user = await any_gateway.store.find_linked(subject)
        assert user is not None
        return user.roles

    assert await enter("helpdesk") == ("user-admin",)
    assert await enter("helpdesk", "admins") == ("owner",)
    assert await enter() == ()
    user = await any_gateway.store.get_user("rose")
    await any_gateway.store.set_role(user, "user-admin")
    assert await enter() == ("user-admin",)
    assert await enter("admins") == ("user-admin",)
    entries = await any_gateway.store.audit_entries(datetime.now(UTC) - _DAY, "rose")
    changes = [one.change.fields for one in entries if one.change.action is Action.ROLES]
    assert [one["after"] for one in changes] == [["owner"], ["member"], ["user-admin"]]
    assert [one.get("issuer") for one in changes] == [openid.issuer, openid.issuer, None]


async def test_who_may_sign_in(any_gateway: Gateway, openid: OpenIdProvider) -> None:
    """A group or a verified address lets a person in; an address that is not verified does not."""
    cases: dict[str, tuple[dict[str, Any], int]] = {
        "may-1": ({"groups": ["dev"]}, 200),
        "may-2": ({"email": "may-2@example.com", "email_verified": True}, 200),
        "may-3": ({"email": "may-3@example.com", "email_verified": False}, 403),
        "may-4": ({"email": "may-4@example.com"}, 403),
        "may-5": ({"email": "may-5@example.com.evil.test", "email_verified": True}, 403),
        "may-6": ({"groups": ["DEV", "dev2"]}, 403),
        "may-7": ({"groups": [1]}, 403),
    }
    for account, (claims, status) in cases.items():
        openid.set_account(account, **claims)
        person = any_gateway.person()
        await person.enter(account)
        assert (account, person.last.status_code) == (account, status)
        user = await any_gateway.store.find_linked(Subject(openid.issuer, account))
        assert (user is not None) == (status == 200)


async def test_names_collide(any_gateway: Gateway, openid: OpenIdProvider) -> None:
    """A person whose name is taken gets a number, and never the other user's account."""
    await any_gateway.store.create_user("grace")
    for account, expected in {"grace-1": "grace-2", "grace-2": "grace-3"}.items():
        openid.set_account(account, preferred_username="grace", groups=["dev"])
        await any_gateway.person().enter(account)
        user = await any_gateway.store.find_linked(Subject(openid.issuer, account))
        assert user is not None
        assert user.username == expected


async def test_address_of_another_user(any_gateway: Gateway, openid: OpenIdProvider) -> None:
    """An address never gives a person another user's account; the page names the command."""
    alice = await any_gateway.store.create_user("alice", "alice@example.com")
    openid.set_account("mail-1", email="ALICE@example.com", email_verified=True)
    person = any_gateway.person()
    await person.enter("mail-1")
    assert person.last.status_code == 403
    assert "authz users link alice --issuer" in person.last.text
    openid.set_account("mail-2", email="alice@example.com", groups=["dev"])
    other = any_gateway.person()
    await other.enter("mail-2")
    assert other.last.status_code == 403
    assert "authz users link NAME --issuer" in other.last.text
    await any_gateway.store.link_user(alice, Subject(openid.issuer, "mail-1"))
    again = any_gateway.person()
    page = await again.enter("mail-1")
    assert again.last.status_code == 200
    assert "alice" in page.one("summary").text


async def test_suspended_stays_out(any_gateway: Gateway, openid: OpenIdProvider) -> None:
    """A user who is suspended stays out, whatever the provider says; a deleted one starts anew."""
    openid.set_account("out-1", preferred_username="otto", groups=["dev"])
    person = any_gateway.person()
    await person.enter(openid.login("out-1"))
    user = await any_gateway.store.get_user("otto")
    await any_gateway.store.set_status(user, "suspended")
    await person.get("/ui/account/tokens")
    assert person.last.url.path == "/ui/sign-in"
    openid.set_account("out-1", preferred_username="otto", groups=["dev", "admins"])
    await person.enter(openid.login("out-1"))
    assert person.last.status_code == 403
    assert "suspended" in person.last.text
    assert (await any_gateway.store.get_user("otto")).roles == ()
    await any_gateway.store.delete_user(user)
    await person.enter(openid.login("out-1"))
    assert person.last.status_code == 200
    assert (await any_gateway.store.get_user("otto")).id != user.id


async def test_passwords_off(gateway: Gateway, openid: OpenIdProvider) -> None:
    """With passwords off, neither the page nor the API accepts one; tokens still work."""
    user = await gateway.store.create_user("root", "root@example.com", role="owner")
    text, _ = await gateway.store.create_token(user, "main")
    person = gateway.person()
    page = await person.get("/ui/sign-in")
    assert not page.all("input", name="password")
    await person.post("/ui/sign-in", name="root", password="correct horse battery")
    assert person.last.status_code == 401
    assert "switched off" in person.last.text
    login = {"email": "root@example.com", "password": "correct horse battery"}
    response = await person.client.post("/api/v2/users/login", json=login)
    assert response.status_code == 401
    await person.get("/ui/first-administrator")
    assert person.last.status_code == 403
    await person.post("/ui/sign-in", token=text)
    assert person.last.status_code == 200


async def test_logout(gateway: Gateway, openid: OpenIdProvider) -> None:
    """Signing out ends the session here, then at the provider, and leads back to the sign-in."""
    openid.set_account("logout-1", preferred_username="lena")
    person = gateway.person()
    await person.enter("logout-1")
    session = person.client.cookies["authz_session"]
    csrf = (await person.get("/ui/account/tokens")).csrf
    await person.post("/ui/sign-out", csrf)
    assert person.last.status_code == 200
    assert f"url={openid.issuer}" in person.last.headers["refresh"]
    page = await person.open(person.last.headers["refresh"].partition("url=")[2])
    assert person.last.status_code == 200, person.last.text
    form = page.one("form")
    fields = {one.attributes["name"]: one.attributes["value"] for one in page.all("input")}
    await person.open(form.attributes["action"], method="POST", data={**fields, "logout": "yes"})
    assert person.last.url.path == "/ui/sign-in"
    # The old cookie is worth nothing, and the provider asks for the password again.
    person.client.cookies.set("authz_session", session, domain="gateway.test", path="/ui")
    await person.get("/ui/account/tokens")
    assert person.last.url.path == "/ui/sign-in"
    await person.open(f"{ORIGIN}/ui/sign-in/company")
    assert 'name="login"' in person.last.text
