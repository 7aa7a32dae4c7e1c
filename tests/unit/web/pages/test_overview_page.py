"""The overview page."""

import time

from authz.keys.pool import KeyPool
from authz.keys.refusal import Requester
from authz.open_streams.metrics import StreamMetrics
from authz.secret import Secret
from authz.usage.entry import Usage, UsageEntry
from tests.support.browsing import Parsed

from .conftest import Site

KEYS = [Secret("sk-ant-first-0123456789abcd"), Secret("sk-ant-second-0123456789wxyz"), None]


class _Key:
    def __init__(self, key: Secret | None) -> None:
        self._key = key

    def current(self) -> Secret | None:
        return self._key


def _pool(site: Site) -> KeyPool:
    pool = KeyPool("anthropic", [_Key(key) for key in KEYS], has_cooldown=True)
    pool.on_cooldown = site.metrics.cooldown_began
    site.pools["anthropic"] = pool
    return pool


async def _record(site: Site, number: int, reason: str | None, minutes_ago: int = 0) -> None:
    rows = await site.usage.get()
    assert rows is not None
    await rows.add(
        [
            UsageEntry(
                id=f"test-{number}",
                time_ms=int(time.time() * 1000) - minutes_ago * 60_000,
                decision="allow" if reason is None else "deny",
                status=200 if reason is None else 403,
                usage=Usage.NONE if reason is None else Usage.REFUSED,
                duration_ms=1,
                user_id=site.users["alice"].id,
                provider="anthropic",
                reason=reason,
            )
        ]
    )


def _row(page: Parsed, label: str) -> list[str]:
    return [cell.text for cell in page.elements if cell.attributes.get("data-label") == label]


async def test_keys_that_rest(site: Site) -> None:
    """An owner sees which key is on cooldown, why and until when, but not the key itself."""
    pool = _pool(site)
    root = await site.signed_in("root")
    page = await root.get("/ui/overview")
    assert not page.unclosed
    assert not page.all("time", data_local="")[1:]
    alice = Requester(site.users["alice"].id, "Abcdefghi1", "alice")
    pool.refused(0, KEYS[0].hint if KEYS[0] else "", 429, "1800", alice)
    page = await root.get("/ui/overview")
    keys = " ".join(_row(page, "Keys now")[0].split())
    assert keys.startswith(
        "keys[0] sk-a...abcd on cooldown: the provider limited its rate (429). Available again in "
    )
    assert "in 30 minutes" in keys
    assert keys.endswith("keys[1] sk-a...wxyz available keys[2] can't be read")
    assert "Keys on cooldown1of 3" in page.one("dl", class_="cards").text.replace("\n", "")
    for key in KEYS[:2]:
        assert key is not None
        assert key.reveal() not in root.last.text


async def test_refusals_of_the_last_hour(site: Site) -> None:
    """Refusals are counted by reason; older ones, and requests that passed, are left out."""
    for number, reason in enumerate(("group_rule_mode", "token_rule_mode", "group_rule_mode")):
        await _record(site, number, reason)
    await _record(site, 8, "byok_disabled", minutes_ago=61)
    await _record(site, 9, None)
    page = await (await site.signed_in("root")).get("/ui/overview")
    assert _row(page, "Reason") == ["group_rule_mode", "token_rule_mode"]
    assert _row(page, "Users") == ["1", "1"]
    assert "Requests4" in page.one("dl", class_="cards").text.replace("\n", "")


async def test_requests_in_progress(site: Site) -> None:
    """The number of requests in progress is exact if authz knows each of them."""
    rows = await site.usage.get()
    assert rows is not None
    await rows.set_issued("test", int(time.time() * 1000), 7)
    root = await site.signed_in("root")
    cards = (await root.get("/ui/overview")).one("dl", class_="cards").text.replace("\n", "")
    assert "In progress7or without a record" in cards
    streams = StreamMetrics(site.metrics.registry)
    streams.opened()
    streams.opened()
    streams.closed()
    cards = (await root.get("/ui/overview")).one("dl", class_="cards").text.replace("\n", "")
    assert "In progress1on this machine" in cards


async def test_only_owners_see_it(site: Site) -> None:
    """Users other than owners get neither the page nor a link to it."""
    for name in ("alice", "helper"):
        browser = await site.signed_in(name)
        assert "/ui/overview" not in browser.last.text
        await browser.get("/ui/overview")
        assert browser.last.status_code == 404
