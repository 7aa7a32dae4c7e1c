"""The usage page: what each role sees, the table, its CSV and the charts."""

import csv
import io
import re
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from authz.config.prices import Prices
from authz.usage.entry import Tokens, Usage, UsageEntry
from authz.web.pages.chart import TOP, stacked
from tests.support.browsing import Parsed

from .conftest import Site


async def _use(
    site: Site,
    user: str,
    model: str,
    ago_days: int = 0,
    token: str = "",
    groups: tuple[str, ...] = (),
) -> None:
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
                groups=groups,
            )
        ]
    )


def _column(page: Parsed, label: str) -> list[str]:
    return [cell.text for cell in page.elements if cell.attributes.get("data-label") == label]


async def test_a_member_sees_their_own_usage(site: Site) -> None:
    """A member sees their own figures, charts and table, and an owner sees those of all users."""
    await _use(site, "alice", "claude-sonnet-4-5")
    await _use(site, "alice", "claude-sonnet-4-5", ago_days=2)
    await _use(site, "alice", "old", ago_days=20)
    await _use(site, "bob", "gpt-5")
    alice, root = await site.signed_in("alice"), await site.signed_in("root")
    page = await alice.get("/ui/usage?days=7")
    assert _column(page, "Model") == ["claude-sonnet-4-5"]
    assert not page.unclosed
    assert "Requests2" in page.one("dl", class_="cards").text.replace("\n", "")
    requests, tokens = page.all("svg", role="group")
    for chart, name in ((requests, "requests"), (tokens, "tokens")):
        assert chart.attributes["aria-labelledby"] == f"{name}-title"
        assert page.one("p", id=f"{name}-desc").text
    assert "2 in all" in page.one("p", id="requests-desc").text
    assert "2,468 in all" in page.one("p", id="tokens-desc").text
    bars = page.all("g", role="img")
    assert len(bars) == 6
    today = datetime.now(UTC)
    assert (
        bars[0].attributes["aria-label"].startswith(f"{today - timedelta(days=2):%d %b}: 1 served")
    )
    assert bars[2].attributes["aria-label"] == f"{today:%d %b}: 1 served, 0 refused"
    # One bar of each chart is in the order of the Tab key; the arrow keys move from there.
    assert [bar.attributes["tabindex"] for bar in bars] == ["-1", "-1", "0"] * 2
    page = await alice.get("/ui/usage?days=7&by=day")
    assert _column(page, "Day") == [f"{today - timedelta(days=ago):%Y-%m-%d}" for ago in (0, 2)]
    page = await alice.get("/ui/usage?by=user&user=bob&group=x")
    assert not _column(page, "User")
    assert sorted(_column(page, "Model")) == ["claude-sonnet-4-5", "old"]
    page = await root.get("/ui/usage")
    assert sorted(_column(page, "User")) == ["alice", "bob"]
    page = await root.get("/ui/usage?by=model&user=alice")
    assert sorted(_column(page, "Model")) == ["claude-sonnet-4-5", "old"]
    await root.get("/ui/usage?user=nobody-here")
    assert root.last.status_code == 404


async def test_the_table_is_searched_sorted_and_downloaded(site: Site) -> None:
    """Each column sorts both ways, a search keeps part of the lines, and the CSV has the same."""
    for number, model in enumerate(("=gpt-5", "gpt-5-mini", "<claude>")):
        for ago in range(number + 1):
            await _use(site, "alice", model, ago_days=ago)
    alice = await site.signed_in("alice")
    page = await alice.get("/ui/usage?sort=requests")
    assert _column(page, "Model") == ["<claude>", "gpt-5-mini", "=gpt-5"]
    (sorted_by,) = page.all("th", aria_sort="descending")
    assert sorted_by.text.split()[0] == "Requests"
    (link,) = [one for one in page.all("a") if one.text.startswith("Requests")]
    page = await alice.get(link.attributes["href"])
    assert _column(page, "Model") == ["=gpt-5", "gpt-5-mini", "<claude>"]
    page = await alice.get("/ui/usage?sort=name&search=GPT")
    assert _column(page, "Model") == ["=gpt-5", "gpt-5-mini"]
    (link,) = [one for one in page.all("a") if one.text == "Download as CSV"]
    await alice.get(link.attributes["href"])
    assert alice.last.headers["content-type"] == "text/csv; charset=utf-8"
    assert alice.last.headers["content-disposition"] == (
        'attachment; filename="usage-by-model-30-days.csv"'
    )
    head, *rows = csv.reader(io.StringIO(alice.last.text))
    assert head[:3] == ["model", "requests", "refusals"]
    assert [row[:2] for row in rows] == [["'=gpt-5", "1"], ["gpt-5-mini", "2"]]
    page = await alice.get("/ui/usage?search=nothing-like-it")
    assert "No model has this in its name." in page.one("main").text
    await alice.get("/ui/usage?sort=__class__&by=evil&days=1e9&order=x")
    assert alice.last.status_code == 200


async def test_days_are_those_of_the_reader(site: Site) -> None:
    """A request counts for the day in the zone that the browser names."""
    rows = await site.usage.get()
    assert rows is not None
    await _use(site, "alice", "gpt-5")
    alice = await site.signed_in("alice")
    for zone in ("Pacific/Kiritimati", "Pacific/Niue", "Asia/Kolkata"):
        alice.client.cookies.set("authz_zone", zone, path="/ui")
        page = await alice.get("/ui/usage?by=day&days=7")
        assert _column(page, "Day") == [f"{datetime.now(ZoneInfo(zone)):%Y-%m-%d}"]
        assert f"A day begins at midnight in {zone}." in page.one("main").text
        alice.client.cookies.delete("authz_zone")


async def test_an_owner_sees_the_requests_of_a_group(site: Site) -> None:
    """The figures and the table include users who were in the group at the time of the requests."""
    await _use(site, "alice", "gpt-5", groups=("research",))
    await _use(site, "bob", "gpt-5")
    await site.store.create_group("research")
    root = await site.signed_in("root")
    page = await root.get("/ui/usage?by=user&group=research")
    assert _column(page, "User") == ["alice"]
    assert "Requests1" in page.one("dl", class_="cards").text.replace("\n", "")
    assert not page.all("svg", role="group")
    await root.get("/ui/usage?by=day&group=research")
    assert root.last.status_code == 400


async def test_the_list_says_when_a_token_was_used(site: Site) -> None:
    """A token's last use is the time of its last request to a provider."""
    _, key = await site.store.create_token(site.users["alice"])
    await _use(site, "alice", "gpt-5", token=key.id)
    alice = await site.signed_in("alice")
    page = await alice.get("/ui/account/tokens")
    [shown] = _column(page, "Last used")
    assert re.fullmatch(r"just now \d{4}-\d\d-\d\d \d\d:\d\d UTC", shown)
    assert page.all("time", data_local="")


async def test_no_usage_is_said(site: Site) -> None:
    """A page without requests says so and has no chart."""
    alice = await site.signed_in("alice")
    page = await alice.get("/ui/usage?days=evil")
    assert "No requests in the last 30 days." in alice.last.text
    assert not page.all("svg")


async def test_costs_are_shown_only_with_prices(site: Site) -> None:
    """With prices, the page shows sums, a chart, columns, and the models without a price."""
    rows = await site.usage.get()
    assert rows is not None
    one = UsageEntry(
        id="0123456789ab-000000000001",
        time_ms=int(time.time() * 1000),
        decision="allow",
        status=200,
        usage=Usage.COMPLETE,
        duration_ms=1,
        username="alice",
        provider="anthropic",
        mode="centralized",
        model="claude-x",
        tokens=Tokens(input=1, output=1),
        cost=12_340_000_000,
    )
    await rows.add([one, replace(one, id="0123456789ab-000000000002", cost=None, model="new<b>")])
    root = await site.signed_in("root")
    page = await root.get("/ui/usage")
    assert "$12.34" not in root.last.text
    assert len(page.all("svg", role="group")) == 2
    object.__setattr__(site.config, "prices", Prices())
    page = await root.get("/ui/usage?sort=cost")
    assert "Cost$12.34$0.00 with own keys" in page.one("dl", class_="cards").text.replace("\n", "")
    assert _column(page, "Cost") == ["$12.34"]
    assert "$12.34 in all" in page.one("p", id="cost-desc").text
    assert "anthropic/new&lt;b&gt; (1)" in root.last.text
    await root.get("/ui/usage/csv?by=model")
    assert "claude-x,1,0,1,0,1,0,12.340000000,0" in root.last.text


@pytest.mark.parametrize("count", [1, 3, 30, 90])
def test_bars_stand_on_the_ground_and_fit(count: int) -> None:
    """Stacked parts touch, the tallest stays below the top, and nothing leaves the plot."""
    days = [date(2026, 1, 1) + timedelta(days=day) for day in range(count)]
    values = [[day * 7 + 1, day * 3] for day in range(count)]
    made = stacked("c", "Things", days, values, ("in", "out"))
    assert len(made.columns) == count
    for column in made.columns:
        assert column.x <= column.bar_x < column.bar_x + column.width <= column.x + column.step
        assert column.x + column.step <= 100.01
        below = 100.0
        for part in column.parts:
            assert part.y + part.height == pytest.approx(below, abs=0.01)
            assert part.y >= TOP - 0.01
            below = part.y
    assert [mark.text for mark in made.values][-1] == "0"
    assert len(made.days) <= 8
    assert sum(not mark.is_minor for mark in made.days) <= 4
    assert f"the most on {days[-1]} with {sum(values[-1]):,}" in made.description
    assert made.columns[-1].text == f"{days[-1]:%d %b}: {values[-1][0]} in, {values[-1][1]} out"
