"""authz.config.loading."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from authz.config.loading import ALLOW_BYOK_VARIABLES, load, open_pools, parse_bool
from authz.config.settings import Config
from authz.config.uses import Uses
from authz.core.decision_types import ChosenKey
from authz.errors import ConfigError
from authz.secret import Secret

A_KEY = "sk-ant-api03-0123456789abcdef"
PROVIDER = {"name": "a", "type": "openai", "base_url": "https://a.example"}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _write(values: Any, name: str = "gateway.yaml") -> Path:
    path = Path(name)
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return path


_PLACE = re.compile(r"gateway\.yaml(:\d+)?: (?=[\w.\[\]-]+: )")


def _problems(values: Any, **environ: str) -> list[str]:
    """Return what is wrong with a file, without the file and the line."""
    return [_PLACE.sub("", problem) for problem in _located(values, **environ)]


def _located(values: Any, **environ: str) -> list[str]:
    """Return what is wrong with a file."""
    with pytest.raises(ConfigError) as caught:
        load(_write(values), environ=environ)
    assert all("\n" not in problem for problem in caught.value.problems)
    assert str(caught.value) == "; ".join(caught.value.problems)
    return caught.value.problems


def test_without_a_file_the_defaults_count() -> None:
    """An empty folder and environment give the embedded defaults."""
    assert load(environ={}) == Config()


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null\n"])
def test_an_empty_file_is_the_defaults(text: str) -> None:
    """Every key is optional."""
    assert load(_write(text), environ={}) == Config()


def test_where_the_file_is_looked_for() -> None:
    """The argument comes first, then the variable, then gateway.yaml in the working directory."""
    _write({"listen": "127.0.0.1:1"})
    _write({"listen": "127.0.0.1:2"}, "variable.yaml")
    _write({"listen": "127.0.0.1:3"}, "argument.yaml")
    environ = {"AUTHZ_CONFIG": "variable.yaml"}
    assert load(Path("argument.yaml"), environ=environ).listen.port == 3
    assert load(environ=environ).listen.port == 2
    assert load(environ={}).listen.port == 1


def test_a_file_that_was_asked_for_has_to_be_there() -> None:
    """A missing file is named; it is not replaced by the defaults."""
    for path, environ in ((Path("nope.yaml"), {}), (None, {"AUTHZ_CONFIG": "nope.yaml"})):
        with pytest.raises(ConfigError) as caught:
            load(path, environ=environ)
        assert caught.value.problems == ["nope.yaml: No such file or directory"]


def test_files_that_can_t_be_read() -> None:
    """A folder, bytes that are not text, broken YAML and a dangling link are one line each.

    None of them counts as a missing file.
    """
    Path("gateway.yaml").symlink_to("nowhere")
    with pytest.raises(ConfigError, match=r"gateway\.yaml: No such file"):
        load(environ={})
    Path("gateway.yaml").unlink()
    Path("folder").mkdir()
    with pytest.raises(ConfigError, match="folder: Is a directory"):
        load(Path("folder"), environ={})
    Path("binary").write_bytes(b"listen: \xff")
    with pytest.raises(ConfigError, match="binary: is not UTF-8 text"):
        load(Path("binary"), environ={})
    assert _problems("listen: [")[0].startswith("gateway.yaml:1: ")
    assert _problems("a\0b") == ["gateway.yaml: is not YAML"]
    assert _problems("- listen") == ["gateway.yaml: must be a mapping of keys to values"]
    assert _problems("1: 2") == ["gateway.yaml: must be a mapping of keys to values"]


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("listen: 127.0.0.1:1\nlisten: 127.0.0.1:2\n", 2, "listen"),
        ("authz:\n  http: 127.0.0.1:1\n  http: 127.0.0.1:2\n", 3, "http"),
        ("providers:\n- {name: a, name: b}\n", 2, "name"),
    ],
)
def test_a_key_that_stands_twice(text: str, line: int, key: str) -> None:
    """A duplicate key is an error, since YAML would silently drop the first one."""
    assert f"gateway.yaml:{line}: key '{key}' appears twice" in _located(text)


@pytest.mark.parametrize("key", ["[a, b]", "{a: b}", "&x [*x]"])
def test_a_key_that_is_no_text(key: str) -> None:
    """A list or mapping as a key is an error, although YAML allows it."""
    (problem,) = _problems(f"? {key}\n: c\n")
    assert problem.startswith("gateway.yaml")


def test_a_merged_mapping_is_no_duplicate() -> None:
    """A key that YAML's merge key adds is not reported as a duplicate."""
    config = load(
        _write(
            "providers:\n"
            "- &a {name: a, type: openai, base_url: 'https://a.example'}\n"
            "- {<<: *a, name: b}\n"
        ),
        environ={},
    )
    assert [provider.name for provider in config.providers] == ["a", "b"]


def test_a_tag_runs_no_code() -> None:
    """YAML's tags for Python objects are refused."""
    (problem,) = _problems("listen: !!python/object/apply:os.system ['touch pwned']")
    assert problem.startswith("gateway.yaml:1: ")
    assert not Path("pwned").exists()


def test_all_problems_at_once() -> None:
    """All problems are reported at once, each beginning with the path of its key."""
    problems = _problems(
        {
            "listn": "127.0.0.1:8080",
            "listen": 8080,
            "allow_byok": "yes",
            "identity": "mysql://x",
            "tls": {"cert_file": "nope.pem"},
            "providers": [
                {**PROVIDER, "name": "A"},
                {"name": "b", "type": "openai"},
                {**PROVIDER, "base_url": "a.example", "kye": {"env": "A"}},
            ],
            "authz": {"grpc": "0.0.0.0:1", "htp": "x"},
            "envoy": {"drain_timeout": -1, "max_connections": True},
        },
        CODER_AI_GATEWAY_ALLOW_BYOK="perhaps",
    )
    paths = [problem.partition(": ")[0] for problem in problems]
    assert set(paths) >= {
        "$CODER_AI_GATEWAY_ALLOW_BYOK",
        "listn",
        "listen",
        "allow_byok",
        "identity",
        "tls.cert_file",
        "tls.key_file",
        "providers[0].name",
        "providers[1].base_url",
        "providers[2].base_url",
        "providers[2].kye",
        "authz.htp",
        "envoy.drain_timeout",
        "envoy.max_connections",
    }
    by_path = {problem.partition(": ")[0]: problem.partition(": ")[2] for problem in problems}
    assert by_path["listn"] == "unknown key: did you mean listen?"
    assert by_path["providers[2].kye"] == "unknown key: did you mean key?"
    assert by_path["providers[1].base_url"] == by_path["tls.key_file"] == "is required"
    assert by_path["listen"] == "use HOST:PORT, for example 127.0.0.1:8080"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("listen", None),
        ("allow_byok", "true"),
        ("allow_byok", 1),
        ("identity", 5),
        ("providers", {}),
        ("providers", "openai"),
        ("authz", []),
        ("authz", "x"),
        ("envoy", {"drain_timeout": "5"}),
        ("envoy", {"drain_timeout": 5.5}),
        ("tls", "cert.pem"),
    ],
)
def test_a_wrong_type_names_its_key(key: str, value: object) -> None:
    """A value of a wrong type is an error, and is not converted."""
    (problem,) = _problems({key: value})
    assert problem.startswith(key)


def test_sections_have_to_be_mappings() -> None:
    """A scalar in place of a section is reported in the words of YAML, not of Python."""
    (problem,) = _problems({"authz": "x"})
    assert problem.startswith("authz: must be a mapping of keys to values: grpc, transport, ")
    (problem,) = _problems({"providers": ["x"]})
    assert problem.startswith("providers[0]: must be a mapping of keys to values: name, type, ")


@pytest.mark.parametrize(
    "provider",
    [
        {**PROVIDER, "key": A_KEY},
        {**PROVIDER, "key": {"env": A_KEY}},
        {**PROVIDER, "key": {"value": A_KEY}},
        {**PROVIDER, "key": [A_KEY]},
        {**PROVIDER, "key": {A_KEY: None}},
        {**PROVIDER, A_KEY: "key"},
        {**PROVIDER, "base_url": f"https://x:{A_KEY}@a.example"},
        {**PROVIDER, "base_url": f"https://a.example/?key={A_KEY}"},
        {**PROVIDER, "name": A_KEY.upper()},
        {**PROVIDER, "type": A_KEY},
    ],
)
def test_a_pasted_key_is_never_repeated(provider: dict[str, Any]) -> None:
    """An error shows the place where a key was put by mistake, but not the key."""
    for problem in _problems({"providers": [provider]}):
        assert problem.startswith("providers[0]")
        assert A_KEY.lower() not in problem.lower()


def test_a_password_in_the_identity_url_is_never_repeated() -> None:
    """An error in the identity URL does not repeat a password in it."""
    (problem,) = _problems({"identity": "mysql://user:hunter2@db/coder"})
    assert problem.startswith("identity: ")
    assert "hunter2" not in problem


def test_keys_that_can_t_be_opened_are_all_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and variables of keys are checked while the configuration is loaded."""
    Path("empty").write_text("")
    problems = _problems(
        {
            "providers": [
                {**PROVIDER, "name": "a", "key": {"file": "missing"}},
                {**PROVIDER, "name": "b", "key": {"file": "empty"}},
                {**PROVIDER, "name": "c", "key": {"env": "BAD"}},
                {**PROVIDER, "name": "d", "key": {"env": "UNSET"}},
            ]
        },
        BAD=f"{A_KEY} {A_KEY}",
    )
    assert problems == [
        "providers[0].key.file: missing: No such file or directory",
        "providers[1].key: holds no key",
        "providers[2].key: holds a key with white space or characters outside visible ASCII",
    ]


def test_open_pools() -> None:
    """Providers without a reference have no pool, and an unset variable is a missing key."""
    environ = {"ANTHROPIC_API_KEY": A_KEY}
    pools = open_pools(Config(), environ)
    assert {name: pool.choose() for name, pool in pools.items()} == {
        "anthropic": ChosenKey(Secret(A_KEY)),
        "openai": None,
    }
    with pytest.raises(ConfigError, match=r"providers\[1\]\.key"):
        open_pools(Config(), {"OPENAI_API_KEY": "a b"})


def test_a_pool_of_keys() -> None:
    """`keys` are tried in their order; each problem names the key's place."""
    references = [{"env": name} for name in ("A", "B", "C")]
    _write({"providers": [{**PROVIDER, "keys": references}]})
    environ = {"B": "sk-b", "C": "sk-c"}
    pools = open_pools(load(environ=environ), environ)
    assert pools["a"].choose() == ChosenKey(Secret("sk-b"), 1)
    with pytest.raises(ConfigError) as caught:
        load(environ={"A": "sk-a", "B": "a b", "C": "sk-a"})
    assert [
        line.partition(" holds")[0].partition(" is the")[0] for line in caught.value.problems
    ] == [
        "gateway.yaml:5: providers[0].keys[1]:",
        "gateway.yaml:6: providers[0].keys[2]:",
    ]
    assert "sk-a" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"keys": [{"env": "A"}], "key": {"env": "B"}}, "key and keys are mutually exclusive"),
        ({"keys": [{"env": f"A{n}"} for n in range(6)]}, "keys: must have at most 5 entries"),
        ({"keys": [{"env": "A"}, {"env": "A"}]}, "keys[1]: appears twice"),
        ({"keys": [{"env": "A"}], "type": "copilot"}, "keys: type copilot takes the user's own"),
    ],
)
def test_wrong_pools(values: dict[str, object], problem: str) -> None:
    """A pool has one to five different keys, and only a provider with central keys has one."""
    _write({"providers": [{**PROVIDER, **values}]})
    with pytest.raises(ConfigError) as caught:
        load(environ={})
    assert problem in str(caught.value)


def test_what_uses_no_key_needs_none() -> None:
    """Envoy's configuration can be rendered on a machine without provider keys."""
    provider = PROVIDER | {"key": {"file": "not-here.key"}}
    path = _write({"providers": [provider]})
    assert load(path, uses=Uses.NOTHING, environ={}).providers[0].name == "a"
    with pytest.raises(ConfigError, match=r"providers\[0\]\.key\.file"):
        load(path, environ={})


@pytest.mark.parametrize("variable", ALLOW_BYOK_VARIABLES)
def test_flag_over_environment_over_file_over_default(variable: str) -> None:
    """A flag overrides the environment, which overrides the file, which overrides the default."""
    _write({"allow_byok": False})
    assert load(environ={}).allow_byok is False
    assert load(environ={variable: "true"}).allow_byok is True
    assert load(environ={variable: "0"}, allow_byok=True).allow_byok is True
    assert load(environ={variable: "1"}, allow_byok=False).allow_byok is False
    assert load(environ={variable: ""}).allow_byok is False
    Path("gateway.yaml").unlink()
    assert load(environ={}).allow_byok is True
    assert load(environ={variable: "F"}).allow_byok is False


def test_both_names_of_the_variable() -> None:
    """Both variables may be set if they agree; different values are an error."""
    new, old = ALLOW_BYOK_VARIABLES
    assert (new, old) == ("CODER_AI_GATEWAY_ALLOW_BYOK", "CODER_AIBRIDGE_ALLOW_BYOK")
    assert load(environ={new: "0", old: "false"}).allow_byok is False
    with pytest.raises(ConfigError, match="have different values"):
        load(environ={new: "0", old: "1"})
    with pytest.raises(ConfigError) as caught:
        load(environ={new: "off", old: A_KEY})
    assert caught.value.problems == [
        f"${new}: must be true or false",
        f"${old}: must be true or false",
    ]


def test_a_flag_settles_what_the_environment_leaves_open() -> None:
    """A value that a flag overrides is not validated."""
    environ = dict.fromkeys(ALLOW_BYOK_VARIABLES, "perhaps")
    assert load(environ=environ, allow_byok=False).allow_byok is False


@given(st.text(max_size=8) | st.sampled_from(["1", "t", "TRUE", "True", "0", "f", "FALSE", "tRUE"]))
def test_any_text_is_a_boolean_or_refused(text: str) -> None:
    """Go's twelve spellings of a boolean are accepted, and no others."""
    spellings = {"1", "t", "T", "TRUE", "true", "True", "0", "f", "F", "FALSE", "false", "False"}
    try:
        value = parse_bool(text)
    except ValueError:
        assert text not in spellings
        return
    assert text in spellings
    assert value == (text[0] in "1tT")


@pytest.mark.parametrize(
    "text", ["listen: 127.0.0.1:1", "listen: 127.0.0.1:1\r\n", "﻿listen: 127.0.0.1:1"]
)
def test_line_ends_and_byte_order_marks(text: str) -> None:
    """Files from other editors are read as well."""
    Path("gateway.yaml").write_bytes(text.encode())
    assert load(environ={}).listen.port == 1


def test_a_configuration_shows_no_key() -> None:
    """Neither the configuration nor its repr ever holds a key, but only its location."""
    Path("key").write_text(A_KEY)
    values = {"providers": [{**PROVIDER, "key": {"file": "key"}}]}
    config = load(_write(values), environ={"OPENAI_API_KEY": A_KEY})
    assert A_KEY not in repr(config) + str(config) + config.model_dump_json()
    assert os.environ.get("AUTHZ_CONFIG") is None
