"""The page of limits and rules for models: what each role sees and sets."""

import pytest

from authz.assigned.store import AssignedStore
from authz.config.limits import Limits
from authz.config.model_rules import Models
from authz.config.shared_limits import SharedLimits
from tests.support.browsing import Parsed

from .conftest import Site

PAGE = "/ui/rules"
_FORM = {"owner": "user", "name": "alice", "kind": "requests_per_minute", "value": "60"}


@pytest.fixture
async def ruled(site: Site) -> Site:
    """The site of a gateway with limits and rules for models."""
    object.__setattr__(site.config, "limits", Limits(shared=SharedLimits()))
    object.__setattr__(site.config, "models", Models(assigned=True))
    return site


def _column(page: Parsed, label: str) -> list[str]:
    return [cell.text for cell in page.elements if cell.attributes.get("data-label") == label]


async def test_rules_from_their_beginning_to_their_end(ruled: Site) -> None:
    """An owner sets, changes and removes a limit and models, and each change is audited."""
    root = await ruled.signed_in("root")
    page = await root.post(PAGE, **_FORM)
    says = 'The rule of user "alice" about requests per minute is now 60.'
    assert page.one("p", role="status").text == says
    assert not page.unclosed
    await root.post(PAGE, **{**_FORM, "value": "70"})
    page = await root.post(PAGE, **{**_FORM, "kind": "deny_models", "value": "*opus*, gpt-5 gpt-5"})
    assert _column(page, "Owner") == ['user "alice"'] * 2
    assert _column(page, "Value") == ["*opus*, gpt-5", "70"]
    removes = [one for one in page.all("a") if one.attributes.get("href", "").endswith("/remove")]
    assert len(removes) == 2
    for link in removes:
        asked = await root.get(link.attributes["href"])
        assert asked.one("h1").text == 'Remove a rule of user "alice"?'
        page = await root.post(link.attributes["href"])
        assert page.one("p", role="status").text.endswith(" was removed.")
    await root.post(removes[0].attributes["href"], page.csrf)
    assert root.last.status_code == 404
    subjects = _column(await root.get("/ui/audit"), "Subject")
    assert subjects.count("requests per minute of user alice") == 3
    assert subjects.count("deny models of user alice") == 2


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("name", "nobody-here", "There is no such user."),
        ("value", "much", "Must be a whole number greater than 0."),
        ("value", "0", "Must be a whole number greater than 0."),
        ("value", "9999999", "must be a number from 1 to 1000000"),
        ("kind", "everything", "Choose one from the list."),
        ("owner", "everyone", "Choose one from the list."),
    ],
)
async def test_a_wrong_form(ruled: Site, field: str, value: str, says: str) -> None:
    """The page says what is wrong and sets nothing."""
    root = await ruled.signed_in("root")
    page = await root.post(PAGE, **{**_FORM, field: value})
    assert root.last.status_code == 400
    assert says.casefold() in page.one("main").text.casefold()
    rules = ruled.store.part(AssignedStore)
    await rules.prepare()
    assert await rules.list_rules() == []


async def test_who_may(ruled: Site) -> None:
    """Members get a 404, and so does everyone if the gateway has no such rules."""
    alice = await ruled.signed_in("alice")
    await alice.get(PAGE)
    assert alice.last.status_code == 404
    csrf = (await alice.get("/ui/usage")).csrf
    await alice.post(PAGE, csrf, **_FORM)
    assert alice.last.status_code == 404
    root = await ruled.signed_in("root")
    await root.get("/ui/usage")
    assert "Limits and models" in root.last.text
    object.__setattr__(ruled.config, "limits", Limits())
    object.__setattr__(ruled.config, "models", None)
    await root.get(PAGE)
    assert root.last.status_code == 404
