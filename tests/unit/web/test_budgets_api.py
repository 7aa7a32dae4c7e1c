"""Budgets in the token API, and what each role may see and set."""

from typing import Any

import pytest

from authz.config.settings import Config
from authz.web.api.call import Services

from .conftest import Api

PATH = "/budgets"
_BODY: dict[str, Any] = {"owner": "user", "name": "alice", "period": "month", "amount": "12.50"}


@pytest.fixture(autouse=True)
def configured(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the API a configuration with budgets; a test may ask for one without."""
    config = Config.model_validate(getattr(request, "param", {"budgets": {"zone": "Asia/Tokyo"}}))
    init = Services.__init__

    def with_config(self: Services, *args: object, **named: object) -> None:
        init(self, *args, **{**named, "config": lambda: config})  # type: ignore[arg-type]

    monkeypatch.setattr(Services, "__init__", with_config)


async def test_a_budget_from_its_beginning_to_its_end(any_api: Api) -> None:
    """An owner sets a budget by name, changes it, and removes it by its id."""
    made = await any_api.call("root", "PUT", PATH, json=_BODY)
    assert made.status_code == 200, made.text
    changed = await any_api.call(
        "root", "PUT", PATH, json={**_BODY, "amount": "20", "zone": "Europe/Berlin"}
    )
    assert changed.json()["id"] == made.json()["id"]
    shown = [(one["amount"], one["spent"], one["zone"]) for one in (made.json(), changed.json())]
    assert shown == [("12.50", "0.00", "Asia/Tokyo"), ("20.00", "0.00", "Europe/Berlin")]
    (listed,) = (await any_api.call("alice", "GET", PATH)).json()
    assert (listed["owner"], listed["name"], listed["hard"]) == ("user", "alice", True)
    gone = [
        (await any_api.call("root", "DELETE", f"{PATH}/{listed['id']}")).status_code
        for _ in range(2)
    ]
    assert gone == [204, 404]
    assert (await any_api.call("root", "GET", PATH)).json() == []


async def test_each_caller_sees_what_counts_for_them(api: Api) -> None:
    """Administrators see all budgets, and others those of themselves, their groups and tokens."""
    group = await api.store.create_group("research")
    await api.store.add_members(group, [api.users["alice"]])
    _, key = await api.store.create_token(api.users["bob"], "ci")
    for owner, name in (("user", "alice"), ("group", "research"), ("token", key.id)):
        body = {**_BODY, "owner": owner, "name": name, "hard": False}
        assert (await api.call("root", "PUT", PATH, json=body)).status_code == 200
    seen = {
        who: [one["owner"] for one in (await api.call(who, "GET", PATH)).json()]
        for who in ("root", "helper", "alice", "bob")
    }
    everything = ["group", "token", "user"]
    assert seen == {
        "root": everything, "helper": everything, "alice": ["group", "user"], "bob": ["token"]
    }  # fmt: skip


@pytest.mark.parametrize(("who", "status"), [(None, 401), ("alice", 403), ("helper", 403)])
async def test_only_owners_change_budgets(api: Api, who: str | None, status: int) -> None:
    """A member could raise their own budget, and a user administrator everyone's."""
    (await api.call("root", "PUT", PATH, json=_BODY)).raise_for_status()
    (budget,) = (await api.call("root", "GET", PATH)).json()
    put = await api.call(who, "PUT", PATH, json={**_BODY, "amount": "1000"})
    delete = await api.call(who, "DELETE", f"{PATH}/{budget['id']}")
    assert [put.status_code, delete.status_code] == [status, status]
    (left,) = (await api.call("root", "GET", PATH)).json()
    assert left["amount"] == "12.50"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"amount": "-1"}, "amount"),
        ({"amount": "NaN"}, "amount"),
        ({"amount": 12.5}, "amount"),
        ({"zone": "Mars"}, "zone"),
        ({"name": "carol"}, "name"),
        ({"owner": "group", "name": "none"}, "name"),
        ({"owner": "token", "name": "Abcdefghi1"}, "name"),
        ({"owner": "token", "name": "%"}, "name"),
        ({"owner": "provider"}, "owner"),
        ({"period": "year"}, "period"),
        ({"hard": "no"}, "hard"),
    ],
)
async def test_what_can_not_be_a_budget(api: Api, changes: dict[str, Any], field: str) -> None:
    """A refusal is a 400 that names the field."""
    refused = await api.call("root", "PUT", PATH, json={**_BODY, **changes})
    assert refused.status_code == 400, refused.text
    assert [one["field"] for one in refused.json()["validations"]] == [field]


@pytest.mark.parametrize("configured", [{}], indirect=True)
async def test_a_gateway_without_budgets_has_none(api: Api) -> None:
    """Without budgets, the calls are a 404, as a stored budget would have no effect."""
    for method, path in (("GET", PATH), ("PUT", PATH), ("DELETE", f"{PATH}/x")):
        options = {"json": _BODY} if method == "PUT" else {}
        assert (await api.call("root", method, path, **options)).status_code == 404
