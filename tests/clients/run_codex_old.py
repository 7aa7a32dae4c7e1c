"""Older versions of Codex, which send headers with underscores; run by ``make test-clients``.

Newer ones are in ``run_clients.py``.
"""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from authz.clients.catalog import clients
from tests.clients.installing import Installed, NpmMissingError, install
from tests.clients.running import run
from tests.e2e.proxy import pairs
from tests.e2e.proxy.pairs import Proxied
from tests.support.pair import CENTRAL_KEYS, OWN_KEYS
from tests.support.requests import CREDENTIAL_HEADERS, leaks

ANSWER = "Hello from the stand-in provider"
UNDERSCORED = {
    "0.36.0": {"conversation_id", "session_id"},
    "0.58.0": {"conversation_id", "session_id"},
}
"""The headers that each version sends."""
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def proxied() -> Iterator[Proxied]:
    """A pair with the proxy on."""
    with pairs.proxied() as running:
        yield running


@pytest.fixture(scope="module", params=UNDERSCORED)
def version(request: pytest.FixtureRequest) -> str:
    """Return a version that sends such headers."""
    return str(request.param)


@pytest.fixture(scope="module")
def codex(version: str) -> Installed:
    """Install it."""
    newest = clients()["codex"]
    packages = {"@openai/codex": version}
    try:
        return install(replace(newest, tested=replace(newest.tested, packages=packages)))
    except NpmMissingError as error:
        pytest.skip(str(error))


def _lines(base_url: str, key: str) -> str:
    settings = {
        "name": '"gateway"',
        "base_url": json.dumps(base_url),
        "env_key": '"GIVEN_KEY"',
        "wire_api": '"responses"',
    }
    table = ", ".join(f"{name}={value}" for name, value in settings.items())
    return (
        f'export GIVEN_KEY="{key}"\n'
        "codex exec --skip-git-repo-check -c model_provider=gateway "
        f"-c 'model_providers.gateway={{{table}}}' Hello"
    )


def _underscored(seen: list[tuple[str, str]]) -> set[str]:
    return {name for name, _ in seen if "_" in name}


@pytest.mark.parametrize("way", ["base URL", "proxy"])
def test_headers_with_underscores(
    proxied: Proxied, codex: Installed, version: str, way: str
) -> None:
    """The gateway serves the request, and no header with an underscore reaches the provider."""
    proxied.provider.take()
    if way == "base URL":
        lines = _lines(f"{proxied.pair.url}/openai/v1", "$CODER_TOKEN")
    else:
        lines = f'eval "$(authz proxy env)"\n{_lines("https://api.openai.com/v1", "$CODER_TOKEN")}'
    ran = run("codex", lines, codex, proxied, proxied.token, "centralized")
    assert ANSWER in ran.output + ran.errors, str(ran)
    taken = proxied.provider.take()
    assert taken
    for seen in taken:
        credentials = [header for header in seen.headers if header[0] in CREDENTIAL_HEADERS]
        assert credentials == [("authorization", f"Bearer {CENTRAL_KEYS['openai']}")]
        assert leaks(seen, [proxied.token.partition("-")[2]]) == []
        assert _underscored(seen.headers) == set()


def test_it_is_such_a_version(proxied: Proxied, codex: Installed, version: str) -> None:
    """The provider sees the headers without a gateway, so the test above is about them."""
    proxied.provider.take()
    url = f"{proxied.provider.server.url}/openai/v1"
    trust = f"export SSL_CERT_FILE={proxied.pair.settings['providers'][0]['ca_file']}\n"
    lines = trust + _lines(url, OWN_KEYS["openai"])
    ran = run("codex", lines, codex, proxied, proxied.token, "byok")
    assert ANSWER in ran.output + ran.errors, str(ran)
    found = [_underscored(seen.headers) for seen in proxied.provider.take()]
    assert UNDERSCORED[version] in found
