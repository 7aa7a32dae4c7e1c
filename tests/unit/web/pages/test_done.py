"""authz.web.pages.done, and the sentence that a page shows after a change."""

from hypothesis import given
from hypothesis import strategies as st

from authz.web.pages.done import DONE_COOKIE, seal, unseal

from .conftest import Site


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.text())
def test_only_the_own_session_reads_its_sentence(text: str, other: str) -> None:
    """A sentence of another session, a changed one and any other cookie read as empty."""
    value = seal(text, "secret")
    assert unseal(value, "secret") in (text, f"{text[:397]}...")
    assert unseal(value, "another") == ""
    assert unseal(value, "") == ""
    assert unseal(f"{value[:-1]}{'0' if value[-1] != '0' else '1'}", "secret") == ""
    assert unseal(other, "secret") == ""


async def test_a_change_is_said_once(site: Site) -> None:
    """The page after a change says once what was done, escapes names, and shows no forged text."""
    _, key = await site.store.create_token(site.users["alice"], "laptop")
    alice = await site.signed_in("alice")
    page = await alice.post(f"/ui/account/tokens/{key.id}/expire")
    assert page.one("p", role="status").text == "The token laptop was expired."
    page = await alice.get("/ui/account/tokens")
    assert not page.all("p", role="status")
    assert DONE_COOKIE not in alice.client.cookies
    _, key = await site.store.create_token(site.users["alice"], "<b>phone")
    page = await alice.post(f"/ui/account/tokens/{key.id}/expire")
    assert page.one("p", role="status").text == "The token <b>phone was expired."
    alice.client.cookies.set(DONE_COOKIE, seal("<b>evil", "guess"), path="/ui")
    page = await alice.get("/ui/account/tokens")
    assert "evil" not in alice.last.text


async def test_signing_out_is_said(site: Site) -> None:
    """The sign-in form says which sessions have ended, and a link can't put other words there."""
    for fields, says in (({}, "You are signed out."), ({"everywhere": "1"}, "out everywhere.")):
        alice = await site.signed_in("alice")
        csrf = (await alice.get("/ui/account/tokens")).csrf
        page = await alice.post("/ui/sign-out", csrf, **fields)
        assert says in page.one("p", role="status").text
    page = await alice.get("/ui/sign-in?ended=evil")
    assert not page.all("p", role="status")
