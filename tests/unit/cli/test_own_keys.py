"""authz.cli.own_keys."""

import base64
import json
from pathlib import Path

import pytest

from authz.cli.main import main
from authz.errors import AuthzError, ConfigError, StoreError

from .conftest import Run

KEY = "sk-ant-own-5d1e0f3a9b7c"
FIRST, SECOND = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


@pytest.fixture
def store(run: Run) -> None:
    """Alice, and a gateway with a master key."""
    Path("first.key").write_text(FIRST)
    Path("second.key").write_text(SECOND)
    _configure("first")
    run("users", "create", "alice")


def _configure(*names: str, more: str = "") -> None:
    keys = ", ".join(f"{{file: {name}.key}}" for name in names)
    Path("gateway.yaml").write_text(
        f"identity: sqlite:///./identity.db\nown_keys: {{keys: [{keys}]}}\n{more}"
    )


@pytest.mark.usefixtures("store")
def test_a_key_from_its_beginning_to_its_end(run: Run) -> None:
    """A key is read from standard input, shown by its end, encrypted again, and deleted."""
    said = run("own-keys", "set", "anthropic", stdin=f"{KEY}\n").stdout
    assert said == "The key of alice for provider anthropic has been stored.\n"
    said = run("own-keys", "set", "anthropic", stdin=KEY).stdout
    assert said == "The key of alice for provider anthropic has been replaced.\n"
    assert run("own-keys", "list").stdout.splitlines()[1].split()[:2] == ["anthropic", "...9b7c"]
    (shown,) = json.loads(run("own-keys", "ls", "-o", "json").stdout)
    assert KEY not in str(shown)
    assert run("own-keys", "rotate").stdout.startswith("0 stored keys encrypted")
    _configure("second", "first")
    assert run("own-keys", "rotate").stdout.startswith("1 stored key encrypted")
    _configure("second")
    assert run("own-keys", "rotate").stdout.startswith("0 stored keys encrypted")
    said = run("own-keys", "remove", "anthropic").stdout
    assert said == "The key of alice for provider anthropic has been deleted.\n"
    run("own-keys", "remove", "anthropic", fails=StoreError)
    assert run("own-keys", "list").stderr == "No keys found.\n"
    assert KEY not in run("audit").stdout


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("text", [f"Abcdefghi1-{'A' * 22}", "", "two words", "a" * 20_000])
def test_what_can_not_be_a_key(run: Run, text: str) -> None:
    """A refusal does not quote the text, and nothing is stored."""
    refused = run("own-keys", "set", "anthropic", stdin=text, fails=StoreError)
    assert not text or text not in str(refused.exception)
    assert run("own-keys", "list").stderr == "No keys found.\n"


@pytest.mark.usefixtures("store")
def test_the_key_is_no_argument(run: Run) -> None:
    """A key on the command line is refused, because every user can list processes."""
    run("own-keys", "set", "anthropic", KEY, fails=2)


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("names", "more", "problem"),
    [
        (("first",), "allow_byok: false", "allow_byok"),
        (("missing",), "", r"own_keys.keys\[0\].file: missing.key: No such file"),
        (("bad",), "", "openssl rand -base64 32"),
    ],
)
def test_where_no_key_can_be_stored(
    run: Run, names: tuple[str, ...], more: str, problem: str
) -> None:
    """The error names the setting that prevents a key from being stored."""
    Path("bad.key").write_text("not-a-master-key")
    _configure(*names, more=more)
    refused = run("own-keys", "set", "anthropic", stdin=KEY, fails=AuthzError)
    with pytest.raises(AuthzError, match=problem):
        raise refused.exception  # type: ignore[misc]


def test_stored_keys_are_off(run: Run) -> None:
    """Without own_keys nothing can be stored, and the error says how to switch it on."""
    run("users", "create", "alice")
    refused = run("own-keys", "set", "anthropic", stdin=KEY, fails=ConfigError)
    assert "own_keys" in str(refused.exception)
    run("own-keys", "rotate", fails=ConfigError)


@pytest.mark.usefixtures("store")
def test_config_check_reads_the_master_keys(capsys: pytest.CaptureFixture[str]) -> None:
    """The check of the configuration names a master key that can't be used, without its text."""
    Path("bad.key").write_text("not-a-master-key")
    for names, status in ((("first",), 0), (("first", "bad", "missing"), 1)):
        _configure(*names)
        with pytest.raises(SystemExit) as ended:
            main(["config", "check"])
        assert ended.value.code == status
        errors = capsys.readouterr().err
        assert ("own_keys.keys[1]: must be 32" in errors) is (status == 1)
        assert ("own_keys.keys[2].file: missing.key: No such file" in errors) is (status == 1)
        assert "not-a-master-key" not in errors


@pytest.mark.usefixtures("store")
def test_a_rotation_names_what_it_can_not_open(run: Run) -> None:
    """Without the old master key, the command fails and names user and provider."""
    run("own-keys", "set", "anthropic", stdin=KEY)
    _configure("second")
    refused = run("own-keys", "rotate", fails=1)
    assert "alice, provider anthropic" in str(refused.exception)


@pytest.mark.usefixtures("store")
def test_explain_knows_of_a_stored_key(run: Run) -> None:
    """A stored key takes the place of the company's key, until own_keys is switched off."""
    run("own-keys", "set", "anthropic", stdin=KEY)
    run("groups", "create", "labs")
    run("groups", "rules", "labs", "--mode", "central")
    run("groups", "add", "labs", "alice")
    line = ("explain", "--user", "alice", "--provider", "anthropic", "--mode", "central")
    said = run(*line, fails=1).stdout.splitlines()
    assert said[0] == "alice may not use anthropic with the company's key (centralized)."
    assert "'authz own-keys remove anthropic --user alice'" in said[1]
    run("explain", "--user", "alice", "--provider", "anthropic", fails=1)
    run("explain", "--user", "alice", "--provider", "openai")
    Path("gateway.yaml").write_text("identity: sqlite:///./identity.db\n")
    run(*line)
    _configure("first")
    run("own-keys", "remove", "anthropic", "--user", "alice")
    run(*line)
