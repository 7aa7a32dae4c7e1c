"""authz.cli.budgets and authz.cli.notices."""

import json
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from authz.errors import ConfigError, StoreError
from authz.notices.webhook import NotDelivered
from tests.support.threaded import served
from tests.unit.notices.conftest import SECRET

from .conftest import Run


def _configure(more: str = "budgets: {zone: Europe/Berlin}") -> None:
    Path("gateway.yaml").write_text(f"identity: sqlite:///./identity.db\n{more}\n")


@pytest.fixture
def store(run: Run) -> None:
    """Alice in a group, with a token, and a gateway with budgets."""
    _configure()
    run("users", "create", "alice")
    run("users", "create", "bob")
    run("groups", "create", "research")
    run("groups", "add", "research", "alice")
    run("tokens", "create", "--user", "alice", "--name", "ci")


@pytest.mark.usefixtures("store")
def test_a_budget_from_its_beginning_to_its_end(run: Run) -> None:
    """A budget is set by names, listed, shown, changed and removed, and the audit log has it."""
    said = run("budgets", "set", "$100", "--user", "alice", "--per", "month").stdout
    assert said.startswith("User alice may spend $100.00 a month. $0.00 is spent; it starts again ")
    assert said.endswith("-01 00:00 (Europe/Berlin).\n")
    run("budgets", "set", "250", "--user", "alice", "--per", "month")
    run("budgets", "set", "9.5", "-g", "research", "--per", "day", "--soft", "--zone", "UTC")
    run("budgets", "set", "1", "--token", "ci", "--user", "alice", "--per", "week")
    run("budgets", "set", "1", "--user", "bob", "--per", "week")
    rows = [line.split() for line in run("budgets", "list").stdout.splitlines()[1:]]
    assert [row[:2] for row in rows] == [
        ["group", "research"], ["token", "ci"], ["user", "alice"], ["user", "bob"]
    ]  # fmt: skip
    shown = json.loads(run("budgets", "show", "--user", "alice", "-o", "json").stdout)
    assert [(one["owner"], one["amount"], one["hard"]) for one in shown] == [
        ("group", "9.50", False),
        ("token", "1.00", True),
        ("user", "250.00", True),
    ]
    (group,) = json.loads(run("budgets", "show", "-g", "research", "-o", "json").stdout)
    assert (group["spent"], group["reserved"], group["zone"]) == ("0.00", "0.00", "UTC")
    # A soft budget of the same owner and period is another budget.
    run("budgets", "remove", "--group", "research", "--per", "day", fails=StoreError)
    said = run("budgets", "rm", "--group", "research", "--per", "day", "--soft").stdout
    assert said == "Group research no longer has a budget of $9.50 a day (soft).\n"
    assert json.loads(run("budgets", "show", "-g", "research", "-o", "json").stdout) == []
    assert run("audit").stdout.count(" budget ") == 6


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "line",
    [
        ("0", "--user", "alice", "--per", "day"),
        ("nan", "--user", "alice", "--per", "day"),
        ("1e12", "--user", "alice", "--per", "day"),
        ("1", "--per", "day"),
        ("1", "--user", "alice"),
        ("1", "--user", "alice", "--per", "year"),
        ("1", "--user", "alice", "--group", "research", "--per", "day"),
        ("1", "--user", "alice", "--per", "day", "--zone", "Mars"),
    ],
)
def test_what_can_not_be_a_budget(run: Run, line: tuple[str, ...]) -> None:
    """Wrong usage stores nothing."""
    run("budgets", "set", *line, fails=2)
    assert run("budgets", "list").stderr == "No budgets found.\n"


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "owner",
    [("--user", "carol"), ("--group", "none"), ("--token", "none"), ("-t", "ci", "-u", "bob")],
)
def test_an_owner_that_does_not_exist(run: Run, owner: tuple[str, ...]) -> None:
    """A budget needs an owner, and the error does not quote what may be a token."""
    refused = run("budgets", "set", "1", *owner, "--per", "day", fails=StoreError)
    assert "token" not in owner[0] or "none" not in str(refused.exception)


def test_a_gateway_without_budgets(run: Run) -> None:
    """A budget is not stored if budgets are off; the error says how to switch them on."""
    _configure("")
    run("users", "create", "alice")
    refused = run("budgets", "set", "1", "--user", "alice", "--per", "day", fails=ConfigError)
    assert "budgets: is not set" in str(refused.exception)


def test_a_test_notice(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each receiver of the configuration gets a notice, and a refusal names the setting."""
    run("notices", "test", fails=ConfigError)
    got: list[bytes] = []
    status = [204]

    async def receive(request: Request) -> Response:
        got.append(await request.body())
        return Response(status_code=status[0])

    monkeypatch.setenv("HOOK", SECRET)
    app = Starlette(routes=[Route("/hook", receive, methods=["POST"])])
    with served(app) as port:
        hook = f"webhook: {{url: 'http://127.0.0.1:{port}/hook', secret: {{env: HOOK}}}}"
        _configure(f"notices: {{{hook}}}\ntokens: {{notices: {{{hook}}}}}")
        said = run("notices", "test").stdout
        assert said == (
            "notices.webhook: the receiver has accepted a test notice.\n"
            "tokens.notices.webhook: the receiver has accepted a test notice.\n"
        )
        assert [json.loads(body)["type"] for body in got] == ["test", "test"]
        status[0] = 500
        refused = run("notices", "test", fails=NotDelivered)
    assert "notices.webhook: the receiver has not accepted" in str(refused.exception)
    assert SECRET not in str(refused.exception)
