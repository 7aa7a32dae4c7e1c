"""The page of budgets: what each role sees and sets."""

import pytest

from authz.budgets.admin import BudgetStore
from authz.budgets.money import parse_dollars
from authz.budgets.periods import Period
from authz.config.budgets import Budgets
from authz.identity.owners import OwnerKind
from tests.support.browsing import Parsed

from .conftest import Site

PAGE = "/ui/budgets"
_FORM = {"owner": "user", "name": "alice", "amount": "12.50", "period": "month", "effect": "refuse"}


@pytest.fixture
async def budgets(site: Site) -> Site:
    """The site of a gateway with budgets."""
    object.__setattr__(site.config, "budgets", Budgets(zone="Asia/Tokyo"))
    return site


def _column(page: Parsed, label: str) -> list[str]:
    return [cell.text for cell in page.elements if cell.attributes.get("data-label") == label]


async def test_a_budget_from_its_beginning_to_its_end(budgets: Site) -> None:
    """An owner sets, changes, sees and removes a budget, and each change is audited."""
    root = await budgets.signed_in("root")
    page = await root.post(PAGE, **_FORM)
    says = 'The budget of user "alice" is now $12.50 a month.'
    assert page.one("p", role="status").text == says
    assert not page.unclosed
    assert _column(page, "Owner") == ['user "alice"']
    assert "$0.00 of $12.50 a month" in _column(page, "Budget")[0]
    assert "Asia/Tokyo" in _column(page, "Starts again")[0]
    await root.post(PAGE, **{**_FORM, "amount": "$20", "zone": "UTC"})
    page = await root.post(PAGE, **{**_FORM, "effect": "warn", "amount": "10"})
    assert sorted(text.split(" a month")[0] for text in _column(page, "Budget")) == [
        "$0.00 of $10.00",
        "$0.00 of $20.00",
    ]
    assert page.all("meter", aria_label="0 % used")
    removes = [one for one in page.all("a") if one.attributes.get("href", "").endswith("/remove")]
    for link in removes:
        asked = await root.get(link.attributes["href"])
        assert asked.one("h1").text == 'Remove the budget of user "alice"?'
        page = await root.post(link.attributes["href"])
        assert page.one("p", role="status").text == 'The budget of user "alice" was removed.'
    await root.post(removes[0].attributes["href"], page.csrf)
    assert root.last.status_code == 404
    subjects = _column(await root.get("/ui/audit"), "Subject")
    assert subjects.count("budget of user alice") == 5


@pytest.mark.parametrize(
    ("field", "value", "status", "says"),
    [
        ("name", "nobody-here", 400, "There is no such user."),
        ("name", "<b>evil", 400, "There is no such user."),
        ("amount", "much", 400, "An amount is a number of dollars, such as 12.50."),
        ("amount", "-1", 400, "An amount must be greater than 0"),
        ("zone", "Mars/Base", 400, "An unknown time zone"),
        ("period", "year", 400, "Choose one from the list."),
        ("owner", "everyone", 400, "Choose one from the list."),
    ],
)
async def test_a_wrong_form(budgets: Site, field: str, value: str, status: int, says: str) -> None:
    """The page says what is wrong, keeps the fields, and sets nothing."""
    root = await budgets.signed_in("root")
    page = await root.post(PAGE, **{**_FORM, field: value})
    assert root.last.status_code == status
    assert says in page.one("main").text
    assert "<b>evil" not in root.last.text
    assert await budgets.store.part(BudgetStore).list_budgets() == []


async def test_who_sees_which(budgets: Site) -> None:
    """Members see the budgets that count for them, administrators all; only owners change any."""
    store = budgets.store.part(BudgetStore)
    await store.prepare()
    group = await budgets.store.create_group("research")
    await budgets.store.add_members(group, [budgets.users["bob"]])
    for kind, owner_id in (
        (OwnerKind.USER, budgets.users["alice"].id),
        (OwnerKind.GROUP, group.id),
    ):
        await store.set_budget(kind, owner_id, Period.DAY, parse_dollars("5"))
    everything = ['group "research"', 'user "alice"']
    seen = {
        "root": everything,
        "helper": everything,
        "alice": ['user "alice"'],
        "bob": ['group "research"'],
    }
    [budget, _] = await store.list_budgets()
    for name, owners in seen.items():
        browser = await budgets.signed_in(name)
        page = await browser.get(PAGE)
        assert sorted(_column(page, "Owner")) == owners, name
        assert bool(page.all("input", name="amount")) == (name == "root")
        if name != "root":
            for path in (PAGE, f"{PAGE}/{budget.id}/remove"):
                await browser.post(path, page.csrf, **_FORM)
                assert browser.last.status_code == 404, (name, path)
    assert len(await store.list_budgets()) == 2
    page = await (await budgets.signed_in("root")).get(f"{PAGE}?search=RESEARCH")
    assert _column(page, "Owner") == ['group "research"']


async def test_off(site: Site) -> None:
    """Without budgets there is no such page and no link to it."""
    root = await site.signed_in("root")
    assert PAGE not in root.last.text
    await root.get(PAGE)
    assert root.last.status_code == 404
    await root.get("/ui/usage?by=user")
    assert "Budgets" not in root.last.text
