"""authz.config.settings."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from authz.addresses import TcpAddress, UnixAddress
from authz.config.fields import Tls
from authz.config.key_reference import KeyReference
from authz.config.providers import Aws, ExtraPath
from authz.config.settings import DEFAULT_PROVIDERS, Config, Provider
from authz.config.uses import Uses, broken_files
from authz.keys.sources import EnvKey, FileKey
from authz.secret import Secret
from tests.support.certificates import Authority

TOKEN = "Abcdefghi1-Abcdefghijklmnopqrstu2"
A_KEY = "sk-ant-api03-0123456789abcdef"


def _provider(**changes: Any) -> Provider:
    values = {"name": "mine", "type": "openai", "base_url": "https://a.example/v1/"}
    return Provider.model_validate(values | changes)


def _broken(**values: Any) -> list[str]:
    return list(broken_files(Config.model_validate(values), Uses.ENVOY_FILES))


def _problem(model: Any, values: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(values)
    return str(caught.value)


def test_the_defaults() -> None:
    """Without any file the four usual providers are served on loopback, with BYOK."""
    config = Config()
    assert config.listen == TcpAddress("127.0.0.1", 8080)
    assert config.allow_byok is True
    assert config.tls is None
    assert config.authz.grpc == UnixAddress("./.authz/authz.sock")
    assert config.authz.http == TcpAddress("127.0.0.1", 8081)
    assert [(p.name, p.type, str(p.base_url)) for p in config.providers] == [
        ("anthropic", "anthropic", "https://api.anthropic.com/"),
        ("openai", "openai", "https://api.openai.com/v1"),
        ("chatgpt", "openai", "https://chatgpt.com/backend-api/codex"),
        ("copilot", "copilot", "https://api.individual.githubcopilot.com/"),
    ]
    assert [p.key.env if p.key else None for p in DEFAULT_PROVIDERS] == [
        "ANTHROPIC_API_KEY",
        "OPENAI_API_KEY",
        None,
        None,
    ]


def test_nothing_can_be_changed_later() -> None:
    """A configuration is frozen, so that a reload has to make a new one."""
    config = Config()
    for section, name in ((config, "allow_byok"), (config.authz, "http"), (_provider(), "name")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, name, None)


@pytest.mark.parametrize("name", ["a", "openai-eu", "a1-b2-c3", "4o"])
def test_provider_names(name: str) -> None:
    """Lower-case words joined by single hyphens are names."""
    assert _provider(name=name).name == name


@pytest.mark.parametrize(
    "name", ["", "A", "a_b", "-a", "a-", "a--b", "a/b", "a.b", "ä", "a\n", "٣"]
)
def test_no_provider_names(name: str) -> None:
    """A name that could be read as several path segments, or as another name, is refused."""
    assert "lower-case words" in _problem(
        Provider, {"name": name, "type": "openai", "base_url": "https://a.example"}
    )


@pytest.mark.parametrize(
    "name", ["api", "healthz", "readyz", "sessions", "models", "clients", "oauth"]
)
def test_reserved_provider_names(name: str) -> None:
    """The words of Coder's own routes are reserved, and the error quotes the name."""
    values = {"name": name, "type": "openai", "base_url": "https://a.example"}
    assert f"'{name}' is a reserved name" in _problem(Provider, values)


def test_an_unknown_type_names_the_known_ones() -> None:
    """The error lists the known types."""
    text = _problem(Provider, {"name": "a", "type": "opnai", "base_url": "https://a.example"})
    assert "must be one of anthropic, openai" in text


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"env": "A", "file": "b"},
        {"env": None, "file": None},
        {"exec": ["a"], "file": "b"},
        {"exec": ["a"], "env": "A"},
    ],
)
def test_a_key_is_in_one_place(value: dict[str, Any]) -> None:
    """A key reference with no place, or with several, is refused."""
    assert (
        "must be {env: NAME}, {file: PATH}, {exec: [COMMAND, …]} or {workload: {type: …}}"
        in _problem(KeyReference, value)
    )


@pytest.mark.parametrize("name", [A_KEY, "A B", "", "1A", "A-B", "Ä"])
def test_a_key_pasted_as_a_variable_is_not_repeated(name: str) -> None:
    """A value that can't be a variable's name may be the key itself, so it is not repeated."""
    text = _problem(KeyReference, {"env": name})
    assert "not a key" in text
    assert A_KEY not in text


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"exec": []}, "at least 1 item"),
        ({"exec": [""]}, "exec: must begin with a program"),
        ({"exec": ["vault", "a\0b"]}, "exec: must begin with a program and have no zero byte"),
        ({"exec": ["vault", f"--token={TOKEN}"]}, "exec: must not contain a Coder token"),
        ({"exec": ["vault"], "refresh": 9.9}, "greater than or equal to 10"),
        ({"exec": ["vault"], "refresh": "soon"}, "a duration such as"),
        ({"exec": ["vault"], "timeout": "61s"}, "less than or equal to 60"),
        ({"exec": ["vault"], "pass_env": ["A=b"]}, "pass_env: must be names of environment"),
        ({"file": "a", "refresh": "15m"}, "refresh: needs exec"),
        ({"env": "A", "timeout": "5s"}, "timeout: needs exec"),
        ({"env": "A", "pass_env": []}, "pass_env: needs exec"),
    ],
)
def test_a_command_that_can_not_be(value: dict[str, Any], problem: str) -> None:
    """A wrong command is refused without its arguments in the message."""
    text = _problem(KeyReference, value)
    assert problem in text
    assert TOKEN not in text


_COMMANDS = st.fixed_dictionaries(
    {"exec": st.lists(st.text(max_size=5) | st.integers(), max_size=4) | st.text(max_size=9)},
    optional={
        "refresh": st.sampled_from(["15m", "1h30m", "500ms", "", "-1s", 10, 9, 1e9]),
        "timeout": st.sampled_from(["1s", "61s", 0, 60, None]),
        "pass_env": st.lists(st.sampled_from(["A", "_b1", "1a", "A=b", ""]), max_size=3),
    },
)


@given(_COMMANDS)
def test_any_command_is_read_or_refused(value: dict[str, Any]) -> None:
    """An accepted command is a program with text arguments, and stays the same when written."""
    try:
        reference = KeyReference.model_validate(value)
    except ValidationError:
        return
    assert reference.exec is not None
    assert list(reference.exec) == value["exec"]
    assert reference.exec[0]
    assert reference.refresh is None or 10 <= reference.refresh <= 86_400
    written = reference.model_dump(mode="json", exclude_none=True)
    assert KeyReference.model_validate(written) == reference


@pytest.mark.parametrize("value", [A_KEY, [A_KEY], {"value": A_KEY}, {A_KEY: "env"}])
def test_a_key_pasted_as_a_value_is_not_repeated(value: object) -> None:
    """Secrets are never values in the file, and an error does not print them."""
    values = {"name": "a", "type": "openai", "base_url": "https://a.example", "key": value}
    text = _problem(Provider, values)
    if value != {A_KEY: "env"}:
        assert A_KEY not in text


def test_copilot_takes_no_central_key() -> None:
    """A central key for a Copilot provider is refused, since it would never be used."""
    values = {"name": "a", "type": "copilot", "base_url": "https://a.example", "key": {"env": "A"}}
    assert "own credential only" in _problem(Provider, values)


def test_a_ca_file_has_to_be_readable_and_of_use(tmp_path: Path) -> None:
    """A missing file, one without certificates, or one beside a URL in clear, is refused."""
    ca_file = tmp_path / "mine.pem"
    values = {"name": "a", "type": "openai", "base_url": "https://a.example"}
    provider = values | {"ca_file": str(ca_file)}
    (problem,) = _broken(providers=[provider])
    assert problem.startswith(f"providers[0].ca_file: can't read {ca_file}: ")
    for text in ("", "no PEM", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"):
        ca_file.write_text(text)
        problem = f"providers[0].ca_file: {ca_file} holds no PEM certificates"
        assert _broken(providers=[provider]) == [problem]
    ca_file = Authority(tmp_path, "mine").ca_file
    assert _provider(ca_file=str(ca_file)).ca_file == ca_file
    assert _broken(providers=[values | {"ca_file": str(ca_file)}]) == []
    assert "needs base_url to begin with https://" in _problem(
        Provider, values | {"ca_file": str(ca_file), "base_url": "http://a.example"}
    )


def test_tls_files_have_to_match(tmp_path: Path) -> None:
    """Files that are not a certificate and its key are refused at the start, not by Envoy."""
    for name in ("cert.pem", "key.pem"):
        (tmp_path / name).write_text("no PEM")
    values = {"cert_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}
    assert _broken(tls=values) == ["tls: cert_file and key_file are not a matching PEM pair"]
    assert "key_file" in _problem(Tls, {"cert_file": str(tmp_path / "cert.pem")})


def test_two_providers_of_one_name() -> None:
    """Two providers can't have the same name."""
    values = {"name": "a", "type": "openai", "base_url": "https://a.example"}
    assert "names are used twice: a" in _problem(Config, {"providers": [values, values]})


def test_where_state_is_kept() -> None:
    """All sockets are in one folder, and each listener has an admin socket of its own."""
    config = Config.model_validate({"authz": {"grpc": "unix:/run/authz/a.sock"}})
    assert config.state_folder == Path("/run/authz")
    assert config.admin_address == UnixAddress("/run/authz/admin-8080.sock")
    tcp = Config.model_validate(
        {"authz": {"grpc": "127.0.0.1:9000"}, "envoy": {"admin": "127.0.0.1:9901"}}
    )
    assert tcp.state_folder == Path(".authz")
    assert tcp.admin_address == TcpAddress("127.0.0.1", 9901)


def test_where_a_key_comes_from(tmp_path: Path) -> None:
    """A reference opens the file or variable that it names, and no repr shows the key."""
    (tmp_path / "key").write_text(A_KEY)
    of_file = KeyReference(file=tmp_path / "key").open({})
    of_env = KeyReference(env="A").open({"A": A_KEY})
    assert isinstance(of_file, FileKey)
    assert isinstance(of_env, EnvKey)
    assert of_file.current() == of_env.current() == Secret(A_KEY)
    texts = [repr(_provider(key={"env": "A"})), repr(of_file), repr(of_env), repr(vars(of_env))]
    assert not [text for text in texts if A_KEY in text]


AWS = {"region": "us-east-1"}
BEDROCK = {"type": "bedrock", "base_url": "https://bedrock-mantle.us-east-1.api.aws"}


def test_aws_credentials_are_for_bedrock(tmp_path: Path) -> None:
    """Only Bedrock takes AWS credentials; it takes no key, and its base URL has no path."""
    provider = _provider(**BEDROCK, aws=AWS | {"credentials_file": str(tmp_path / "c")})
    assert provider.signed
    assert provider.aws is not None
    assert provider.aws.profile == "default"
    assert not _provider(**BEDROCK).signed
    values = {"name": "a", **BEDROCK}
    assert "AWS credentials: set aws instead" in _problem(Provider, values | {"key": {"env": "A"}})
    url = {"base_url": "https://bedrock-mantle.us-east-1.api.aws/anthropic"}
    assert "must not have a path" in _problem(Provider, values | url)
    openai = {"name": "a", "type": "openai", "base_url": "https://a.example", "aws": AWS}
    assert "takes no AWS signature" in _problem(Provider, openai)


@pytest.mark.parametrize("region", ["", "us-east", "US-EAST-1", "us-east-1/x", "*", "us-east-1,x"])
def test_no_regions(region: str) -> None:
    """The region to sign for has to be one region."""
    assert "must be an AWS region" in _problem(Aws, {"region": region})


@pytest.mark.parametrize(
    "region", ["us-east-1", "ap-southeast-3", "us-gov-west-1", "us-iso-east-1"]
)
def test_regions(region: str) -> None:
    """Regions of all partitions are accepted."""
    assert Aws.model_validate({"region": region}).region == region


def test_no_profile() -> None:
    """A profile has to be a name."""
    assert "name of a profile" in _problem(Aws, {"region": "us-east-1", "profile": "a]\nb"})


@pytest.mark.parametrize(
    "path", ["/v1/embeddings", "/v1/files/*", "/v1/models/a.b_c~d-e:f@g", "/v1/*"]
)
def test_further_paths(path: str) -> None:
    """A further path is a literal path, or everything below one."""
    extra = ExtraPath.model_validate({"path": path, "methods": ["POST"]})
    assert extra.central_key is False
    literal = path.removesuffix("/*")
    below = f"{literal}/x/y"
    assert bool(re.fullmatch(extra.allowed.pattern, below)) == path.endswith("/*")
    assert bool(re.fullmatch(extra.allowed.pattern, literal)) != path.endswith("/*")
    assert not re.fullmatch(extra.allowed.pattern, literal.replace("/v1", "/v2"))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "*",
        "/*",
        "v1/x",
        "/v1/",
        "/v1//x",
        "/v1/*/x",
        "/v1/x*",
        "/v1/**",
        "/v1/.*",
        "/v1/(a|b)",
        "/v1/[^/]+",
        "/v1/../x",
        "/v1/.",
        "/v1/%2e",
        "/v1/x?y=1",
        "/v1/x y",
        "/v1/\\d",
        "/v1/x\n",
        "/v1/ä",
        "/v1/$",
    ],
)
def test_no_further_paths(path: str) -> None:
    """A pattern, or a path that normalization could change, is refused."""
    assert "must be a literal path" in _problem(ExtraPath, {"path": path, "methods": ["GET"]})


def test_further_paths_fit_their_type() -> None:
    """Further paths are below the base URL, and have a central key only if the type has one."""
    values = {"name": "a", "type": "openai", "base_url": "https://a.example/v1"}
    outside = {"extra_paths": [{"path": "/embeddings", "methods": ["POST"]}]}
    assert "must begin with /v1/" in _problem(Provider, values | outside)
    opted_in = [{"path": "/x", "methods": ["POST"], "central_key": True}]
    copilot = {"name": "a", "type": "copilot", "base_url": "https://a.example"}
    assert "has no central key" in _problem(Provider, copilot | {"extra_paths": opted_in})
    provider = _provider(extra_paths=[{"path": "/v1/embeddings", "methods": ["POST"]}])
    assert provider.paths[:-1] == provider.provider_type.paths
    assert provider.paths[-1].central_key is False


def test_further_credential_and_account_headers() -> None:
    """Header names may be in any case, and a credential header counts as one of the user's own."""
    provider = _provider(
        credential_headers=["X-Team-Key"], account_headers={"OpenAI-Organization": "org-1"}
    )
    assert provider.credential_headers == ("x-team-key",)
    assert provider.account_headers == {"openai-organization": "org-1"}
    assert provider.provider_type.own_headers[-1] == "x-team-key"
    assert _provider().provider_type.own_headers[-1] != "x-team-key"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("authorization", "handles this header already"),
        ("X-Coder-AI-Governance-Token", "handles this header already"),
        ("x-forwarded-for", "handles this header already"),
        ("x-authz-peer", "handles this header already"),
        ("Host", "handles this header already"),
        ("content-length", "handles this header already"),
        ("sec-websocket-protocol", "handles this header already"),
        (":path", "must be the name of a header"),
        ("x_team", "must be the name of a header"),
        ("x-team\r\nx", "must be the name of a header"),
        ("", "must be the name of a header"),
    ],
)
def test_headers_that_are_not_for_the_configuration(name: str, problem: str) -> None:
    """Headers that the gateway handles itself, and invalid names, are refused."""
    values = {"name": "a", "type": "openai", "base_url": "https://a.example/v1"}
    assert problem in _problem(Provider, values | {"credential_headers": [name]})
    assert problem in _problem(Provider, values | {"account_headers": {name: "x"}})


@pytest.mark.parametrize("value", ["", " ", "a\r\nb", "ä", "x" * 513, f"{'a' * 10}-{'b' * 22}"])
def test_values_of_account_headers(value: str) -> None:
    """A value that is not visible ASCII, or is a Coder token, is refused."""
    values = {"name": "a", "type": "openai", "base_url": "https://a.example/v1"}
    problem = _problem(Provider, values | {"account_headers": {"openai-project": value}})
    assert "account_headers" in problem


@pytest.mark.parametrize("methods", [[], ["post"], ["CONNECT"], ["TRACE"], ["GET|POST"], "POST"])
def test_methods_of_further_paths(methods: object) -> None:
    """Methods that a provider's own paths can't have are refused."""
    assert "methods" in _problem(ExtraPath, {"path": "/v1/x", "methods": methods})


LOCAL = {"name": "local", "type": "openai-compat", "base_url": "http://127.0.0.1:11434/v1"}


def test_a_provider_that_takes_no_key() -> None:
    """`key: none` means that there is no key to read, and is written back unchanged."""
    provider = _provider(**LOCAL, key="none")
    assert provider.is_open
    assert provider.key_references == ()
    assert provider.model_dump(mode="json")["key"] == "none"
    assert Provider.model_validate(provider.model_dump(mode="json")) == provider
    assert not _provider(**LOCAL).is_open


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {**LOCAL, "type": "openai", "key": "none"},
            "key: 'none' needs type openai-compat",
        ),
        ({**LOCAL, "key": "None"}, "key"),
        ({**LOCAL, "keys": ["none", "none"]}, "keys"),
        (
            {**LOCAL, "key": {}},
            "must be {env: NAME}, {file: PATH}, {exec: [COMMAND, …]} or {workload: {type: …}}",
        ),
    ],
)
def test_where_a_key_is_needed(settings: dict[str, Any], message: str) -> None:
    """Only type openai-compat can have `key: none`, and no other word means the same."""
    with pytest.raises(ValidationError) as caught:
        _provider(**settings)
    assert message in str(caught.value)
