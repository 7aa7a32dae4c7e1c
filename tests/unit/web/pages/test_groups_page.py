"""Groups in the page: what each role sees and may do, and why a user may use a provider."""

from authz.core.rules import make_rules

from .conftest import Site

_IDP = "https://idp.example.com"


async def test_an_owner_manages_groups(site: Site) -> None:
    """An owner creates, limits, fills, empties, renames and deletes a group; each is audited."""
    root, alice = await site.signed_in("root"), site.users["alice"]
    assert "no groups" in (await root.get("/ui/groups")).one("div", **{"class": "empty"}).text
    page = await root.post("/ui/groups/new", name="labs", display_name="The labs")
    assert page.one("h1").text == "labs"
    labs = await site.store.get_group("labs")
    path = f"/ui/groups/{labs.id}"
    assert root.last.url.path == path
    await root.post(f"{path}/members/add", page.csrf, user="alice")
    edited = {"name": "lab", "display_name": "", "provider": "openai", "mode": "byok"}
    page = await root.post(f"{path}/edit", page.csrf, **edited)
    assert page.one("h1").text == "lab"
    changed = await site.store.get_group("lab")
    assert (changed.display_name, changed.rules) == ("", make_rules(["openai"], ["byok"]))
    assert [user.id for user in await site.store.members_of(changed)] == [alice.id]
    listed = await root.get("/ui/groups")
    assert "openai; byok" in [cell.text for cell in listed.all("td")]
    assert "lab" in (await root.get(f"/ui/users/{alice.id}")).one("dl").text
    await root.post(f"{path}/members/remove", page.csrf, user=alice.id)
    assert await site.store.members_of(changed) == []
    await root.post(f"{path}/delete", page.csrf)
    assert root.last.url.path == "/ui/groups"
    assert await site.store.list_groups() == []
    audited = [cell.text for cell in (await root.get("/ui/audit")).all("td")]
    assert {"add member", "group labs and user alice", "group lab"} <= set(audited)


async def test_wrong_forms_of_a_group(site: Site) -> None:
    """A problem appears beside its field, and nothing changes."""
    root = await site.signed_in("root")
    page = await root.post("/ui/groups/new", name="a b")
    assert root.last.status_code == 400
    assert "letters and digits" in page.one("p", id="name-problem").text
    await root.post("/ui/groups/new", page.csrf, name="labs")
    page = await root.post("/ui/groups/new", page.csrf, name="LABS")
    assert "exists" in page.one("p", id="name-problem").text
    labs = await site.store.get_group("labs")
    path = f"/ui/groups/{labs.id}"
    for field, form in (
        ("name", {"name": "new"}),
        ("display_name", {"name": "labs", "display_name": "a" * 129}),
        ("rules", {"name": "labs", "provider": "nowhere"}),
    ):
        page = await root.post(f"{path}/edit", page.csrf, **form)
        assert root.last.status_code == 400
        assert page.one("p", id=f"{field}-problem").text
    page = await root.post(f"{path}/members/add", page.csrf, user="nobody")
    assert "no such user" in page.one("p", id="user-problem").text
    assert await site.store.get_group("labs") == labs


async def test_a_group_of_an_identity_provider(site: Site) -> None:
    """An issuer's group can get rules but has no form for members, and a forged form is a 409."""
    root, alice = await site.signed_in("root"), site.users["alice"]
    await site.store.sync_groups(alice, _IDP, ["/staff"])
    group = await site.store.get_group("/staff")
    page = await root.get(f"/ui/groups/{group.id}")
    assert not page.all("input", id="user")
    page = await root.post(f"/ui/groups/{group.id}/edit", page.csrf, mode="byok")
    assert (await site.store.get_group("/staff")).rules == make_rules(None, ["byok"])
    for action, user in (("add", "bob"), ("remove", alice.id)):
        await root.post(f"/ui/groups/{group.id}/members/{action}", page.csrf, user=user)
        assert root.last.status_code == 409
    assert [user.id for user in await site.store.members_of(group)] == [alice.id]


async def test_a_user_administrator_moves_others_only(site: Site) -> None:
    """A user administrator moves members other than owners and themselves, and edits no group."""
    group = await site.store.create_group("labs")
    path, helper = f"/ui/groups/{group.id}", await site.signed_in("helper")
    page = await helper.get(path)
    assert not page.all("input", id="name")
    await helper.post(f"{path}/members/add", page.csrf, user="alice")
    assert (await site.store.get_group("labs")).member_count == 1
    for name in ("helper", "root"):
        await helper.post(f"{path}/members/add", page.csrf, user=name)
        assert helper.last.status_code == 403
    for action, form in (("edit", {"name": "x"}), ("delete", {})):
        await helper.post(f"{path}/{action}", page.csrf, **form)
        assert helper.last.status_code == 404
    await helper.post("/ui/groups/new", page.csrf, name="x")
    assert helper.last.status_code == 404
    await helper.post(f"{path}/members/remove", page.csrf, user=site.users["alice"].id)
    assert (await site.store.list_groups()) == [group]


async def test_a_member_sees_their_own_groups(site: Site) -> None:
    """A member has no page of groups, but sees their groups and the reasons for their access."""
    labs = await site.store.create_group("labs", rules=make_rules(["openai"]))
    await site.store.add_members(labs, [site.users["alice"]])
    alice = await site.signed_in("alice")
    home = await alice.get("/ui/account/tokens")
    assert "Your groups: labs." in alice.last.text
    for path in ("", "/new", f"/{labs.id}", f"/{labs.id}/delete"):
        await alice.get(f"/ui/groups{path}")
        assert alice.last.status_code == 404, path
    for path in ("new", f"{labs.id}/edit", f"{labs.id}/members/remove", f"{labs.id}/delete"):
        await alice.post(f"/ui/groups/{path}", home.csrf, user=site.users["alice"].id, name="x")
        assert alice.last.status_code == 404, path
    assert (await site.store.get_group("labs")).member_count == 1
    text, key = await site.store.create_token(
        site.users["alice"], "ci", rules=make_rules(["anthropic"])
    )
    page = await alice.get("/ui/account/access")
    assert page.one("h1").text == "What you may use"
    reasons = {cell.text for cell in page.all("td")}
    assert any("labs" in reason and "does not allow it" in reason for reason in reasons)
    await alice.get(f"/ui/account/access?token={key.id}")
    assert "is limited to anthropic" in alice.last.text
    assert text not in alice.last.text
    await alice.get(f"/ui/users/{site.users['bob'].id}/access")
    assert alice.last.status_code == 404
    helper = await site.signed_in("helper")
    page = await helper.get(f"/ui/users/{site.users['alice'].id}/access?token={key.id}")
    assert page.one("h1").text == "What alice may use"
    # A user administrator may not see the tokens of a person.
    assert not page.all("select")
    assert "is limited to anthropic" not in helper.last.text


async def test_lines_to_paste_respect_the_groups_of_the_owner(site: Site) -> None:
    """A new token's page shows no client for a provider that the groups refuse."""
    labs = await site.store.create_group("labs", rules=make_rules(["openai"]))
    await site.store.add_members(labs, [site.users["alice"]])
    alice = await site.signed_in("alice")
    page = await alice.post("/ui/account/tokens/new", name="x")
    ids = [block.attributes.get("id", "") for block in page.all("pre")]
    assert ids
    assert not any("anthropic" in one for one in ids)
