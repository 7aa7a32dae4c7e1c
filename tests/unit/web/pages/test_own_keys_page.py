"""Stored provider keys on the page."""

import base64

import pytest

from authz.config.key_reference import KeyReference
from authz.own_keys.keyring import Keyring
from authz.web.pages.context import Pages

from .conftest import Site

PAGE = "/ui/account/keys"
KEY = "sk-ant-own-5d1e0f3a9b7c"


@pytest.fixture
def keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the page a master key, before ``site`` starts."""
    text = base64.b64encode(b"1" * 32).decode()
    ring = Keyring([KeyReference(env="K")], {"K": text})
    init = Pages.__init__

    def with_ring(self: Pages, *args: object, **more: object) -> None:
        init(self, *args, lambda: ring, **more)  # type: ignore[arg-type, call-arg]

    monkeypatch.setattr(Pages, "__init__", with_ring)


@pytest.mark.usefixtures("keyring")
class TestOn:
    """With own_keys."""

    async def test_a_key_from_its_beginning_to_its_end(self, site: Site) -> None:
        """A user stores and deletes a key; no page shows it."""
        alice = await site.signed_in("alice")
        assert "Provider keys" in alice.last.text
        assert "You have stored no keys." in (await alice.get(PAGE)).one("main").text
        stored = await alice.post(PAGE, provider="anthropic", key=f" {KEY} ")
        assert "...9b7c" in stored.one("main").text
        assert KEY not in alice.last.text
        [delete] = [a for a in stored.all("a") if a.attributes["href"].endswith("/delete")]
        asked = await alice.get(delete.attributes["href"])
        assert "Delete your key for anthropic?" in asked.one("h1").text
        await alice.post(delete.attributes["href"])
        assert "You have stored no keys." in alice.last.text
        assert "/delete" not in alice.last.text

    async def test_a_refused_key(self, site: Site) -> None:
        """A Coder token is refused, and the page does not repeat it."""
        alice = await site.signed_in("alice")
        token = "Abcdefghi1-Abcdefghijklmnopqrstu2"
        await alice.get(PAGE)
        await alice.post(PAGE, provider="anthropic", key=token)
        assert alice.last.status_code == 400
        assert "Coder token" in alice.last.text
        assert token not in alice.last.text

    async def test_only_own_keys(self, site: Site) -> None:
        """A user sees no key of another user."""
        alice = await site.signed_in("alice")
        await alice.get(PAGE)
        await alice.post(PAGE, provider="anthropic", key=KEY)
        bob = await site.signed_in("bob")
        assert "You have stored no keys." in (await bob.get(PAGE)).one("main").text
        await bob.get(f"{PAGE}/anthropic/delete")
        assert bob.last.status_code == 404


async def test_off(site: Site) -> None:
    """Without own_keys there is no such page and no link to it."""
    alice = await site.signed_in("alice")
    assert "Provider keys" not in alice.last.text
    await alice.get(PAGE)
    assert alice.last.status_code == 404
