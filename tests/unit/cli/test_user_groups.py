"""authz.cli.user_groups and authz.cli.explain."""

import json
import re
from pathlib import Path

import pytest

from authz.errors import StoreError

from .conftest import Run


@pytest.fixture
def store(run: Run) -> None:
    """Alice and bob, and the group research."""
    for name in ("alice", "bob"):
        run("users", "create", name)
    run("groups", "create", "research", "--display-name", "Research and labs")


@pytest.mark.usefixtures("store")
def test_a_group_from_its_beginning_to_its_end(run: Run) -> None:
    """Each command says what it did, and the list shows it."""
    assert run("groups", "add", "research", "alice", "bob").stdout == (
        "2 members added to group research.\n"
    )
    assert run("groups", "add", "Research", "alice").stdout == (
        "0 members added to group research.\n"
    )
    said = run("groups", "rules", "research", "--provider", "openai", "--mode", "byok").stdout
    assert said == "Group research is limited to openai; byok.\n"
    assert run("groups", "rules", "research").stdout == said
    table = run("groups", "ls").stdout.splitlines()
    columns = ["NAME", "DISPLAY NAME", "SOURCE", "MEMBERS", "LIMITED TO", "ID"]
    assert re.split(" {2,}", table[0]) == columns
    cells = ["research", "Research and labs", "local", "2", "openai; byok"]
    assert re.split(" {2,}", table[1])[:-1] == cells
    (group,) = json.loads(run("groups", "list", "-o", "json").stdout)
    assert (group["total_member_count"], group["source"], group["rules"]) == (
        2,
        "user",
        {"providers": ["openai"], "modes": ["byok"]},
    )
    assert run("groups", "remove", group["id"], "bob").stdout == (
        "1 member removed from group research.\n"
    )
    assert run("groups", "list", "--user", "bob").stderr == "No groups found.\n"
    assert run("groups", "members", "research").stdout.split()[3] == "alice"
    assert [
        one["username"]
        for one in json.loads(run("groups", "members", "research", "-o", "json").stdout)
    ] == ["alice"]
    assert run("groups", "edit", "research", "--name", "labs").stdout == (
        "Group labs has been changed.\n"
    )
    assert run("groups", "rules", "labs", "--none").stdout == "Group labs has no rules.\n"
    assert run("groups", "delete", "labs").stdout == "Group labs has been deleted, with 1 member.\n"
    assert run("groups", "list").stderr == "No groups found.\n"
    assert "add_member" in run("audit").stdout


@pytest.mark.usefixtures("store")
def test_a_group_of_an_identity_provider(run: Run) -> None:
    """An identity provider's group can have rules before a sign-in, but no manual members."""
    issuer = "https://idp.example.com"
    run("groups", "create", "/staff", "--source", issuer)
    run("groups", "rules", "/staff", "--provider", "anthropic")
    result = run("groups", "add", "/staff", "alice", fails=StoreError)
    assert issuer in str(result.exception)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("groups edit research", 2),
        ("groups add research", 2),
        ("groups rules research --none --mode byok", 2),
        ("groups rules research --provider nowhere", 2),
        ("groups add research carol", StoreError),
        ("groups add nothing alice", StoreError),
        ("groups create research", StoreError),
        ("groups create new", StoreError),
        ("explain --user alice --provider openai --token nothing", StoreError),
        ("explain --user carol --provider openai", StoreError),
    ],
)
def test_wrong_lines(run: Run, line: str, status: type[StoreError] | int) -> None:
    """A mistake changes nothing and says what to do."""
    run(*line.split(), fails=status)
    assert run("groups", "members", "research").stderr == "No members found.\n"


@pytest.mark.usefixtures("store")
def test_explain_a_model(run: Run) -> None:
    """With a model the output has the verdict of its rules, and a refused model is a failure."""
    rules = [{"groups": ["research"], "allow": ["claude-*"]}, {"users": ["bob"], "deny": ["*"]}]
    Path("gateway.yaml").write_text(json.dumps({"models": {"rules": rules}}))
    run("groups", "add", "research", "alice")
    line = ["explain", "-u", "alice", "--provider", "anthropic", "--mode", "byok", "--model"]
    assert run(*line, "claude-x").stdout.endswith('The rules for models allow "claude-x".\n')
    said = run(*line, "gpt-5", fails=1).stdout
    assert "alice may not use anthropic" in said
    assert said.endswith('The rules for models refuse "gpt-5": allowed are only claude-*.\n')
    run("groups", "remove", "research", "alice")
    assert "No rule for models is for alice" in run(*line, "gpt-5").stdout


@pytest.mark.usefixtures("store")
def test_explain(run: Run) -> None:
    """Each rule is printed as a sentence, and the exit status says if the user is allowed."""
    run("groups", "add", "research", "alice")
    run("groups", "rules", "research", "--provider", "openai", "--mode", "central")
    run("tokens", "create", "-u", "alice", "-n", "ci", "--provider", "anthropic")
    said = run("explain", "--user", "alice", "--provider", "openai").stdout
    assert said.splitlines() == [
        "alice may use openai with the company's key (centralized).",
        '  The group "research" allows it: it is limited to openai; centralized.',
        "  The gateway has a credential for openai.",
        "alice may not use openai with an own provider credential (byok).",
        '  The group "research" does not allow it: it is limited to openai; centralized.',
        "  The gateway allows own credentials (allow_byok: true).",
    ]
    line = ["explain", "-u", "alice", "--provider", "openai", "--token", "ci", "-o", "json"]
    answers = json.loads(run(*line, fails=1).stdout)
    assert [(one["mode"], one["allowed"]) for one in answers] == [
        ("centralized", False),
        ("byok", False),
    ]
    assert answers[0]["reasons"][0] == (
        'The token "ci" does not allow it: it is limited to anthropic.'
    )
    (answer,) = json.loads(run(*line[:5], "--mode", "central", "-o", "json").stdout)
    assert answer["allowed"]
    run("users", "suspend", "alice")
    assert "  alice is suspended." in run(*line[:5], fails=1).stdout
    assert (
        "no provider nowhere"
        in run("explain", "-u", "bob", "--provider", "nowhere", fails=1).stdout
    )
