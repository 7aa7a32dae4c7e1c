"""A pool of central keys behind a real Envoy: the next request after a refusal uses another key.

Retries are off, so that each refusal is seen; ``test_retries.py`` tests them.
"""

from collections.abc import Iterator

import httpx
import pytest

from tests.support.pair import CENTRAL_KEYS, OWN_KEYS, Pair, Provider, pair, wait_until

WRONG, GOOD, OTHER = "sk-ant-revoked-0f3a9b7c5d1e", CENTRAL_KEYS["anthropic"], OWN_KEYS["anthropic"]
"""The stand-in refuses the first with a 401, and accepts the others."""


@pytest.fixture
def running(provider: Provider, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """A pair on a transport whose anthropic provider has these keys."""
    transport, *keys = request.param
    with pair(provider, start=False) as made:
        anthropic = made.settings["providers"][0]
        assert anthropic["name"] == "anthropic"
        del anthropic["key"]
        anthropic["keys"] = []
        anthropic["retry_keys"] = False
        for index, key in enumerate(keys):
            file = made.folder / f"anthropic-{index}.key"
            file.write_text(key)
            anthropic["keys"].append({"file": str(file)})
        made.settings["authz"]["transport"] = transport
        made.start()
        made.create_user("alice")
        made.create_user("bob")
        provider.take()
        yield made


def _with_keys(*keys: str, transports: tuple[str, ...] = ("http2",)) -> pytest.MarkDecorator:
    params = [(transport, *keys) for transport in transports]
    return pytest.mark.parametrize("running", params, indirect=True, ids=transports)


def _ask(running: Pair, token: str, model: str = "m", own: str | None = None) -> httpx.Response:
    headers = {"x-coder-ai-governance-token": token, **({"x-api-key": own} if own else {})}
    return httpx.post(
        f"{running.url}/anthropic/v1/messages",
        headers=headers,
        json={"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    )


def _wait_log(running: Pair, text: str) -> None:
    """Wait for a line in the log of authz, which learns of a refusal after the client does."""
    wait_until(lambda: text in running.stderr, 10, text)


def _keys_seen(running: Pair) -> list[str | None]:
    return [seen.credential for seen in running.provider.take()]


@_with_keys(GOOD, OTHER)
def test_a_rate_limited_key_rests(running: Pair) -> None:
    """The provider's 429 reaches the client unchanged, and the next request uses the next key."""
    token = running.create_token("alice")
    limited = _ask(running, token, "fail-429")
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "7")
    _wait_log(running, "central key on cooldown")
    assert [_ask(running, token).status_code for _ in range(3)] == [200] * 3
    assert _keys_seen(running) == [GOOD, OTHER, OTHER, OTHER]


@_with_keys(WRONG, GOOD, transports=("http2", "grpcio"))
def test_a_refused_key_rests(running: Pair) -> None:
    """The second key is used after one 401 of the provider, and authz logs the masked key."""
    token = running.create_token("alice")
    assert _ask(running, token).status_code == 401
    _wait_log(running, "central key on cooldown")
    assert [_ask(running, token).status_code for _ in range(2)] == [200, 200]
    assert _keys_seen(running) == [WRONG, GOOD, GOOD]
    assert WRONG not in running.stderr + running.stdout


@_with_keys(GOOD, OTHER)
def test_byok_leaves_the_pool_alone(running: Pair) -> None:
    """A person's own key that is limited or refused puts no central key on cooldown."""
    token = running.create_token("alice")
    assert _ask(running, token, "fail-429", OTHER).status_code == 429
    assert _ask(running, token, own="sk-ant-wrong-0f3a9b7c5d1e").status_code == 401
    assert _ask(running, token, "fail-500").status_code == 500
    assert _ask(running, token).status_code == 200
    assert _keys_seen(running)[-1] == GOOD


@_with_keys(GOOD)
def test_exhausted_by_rate_limits(running: Pair) -> None:
    """With all keys on cooldown the gateway answers 429 by itself, with the seconds to wait."""
    token = running.create_token("alice")
    for name in ("alice", "bob"):
        assert _ask(running, running.create_token(name), "fail-429").status_code == 429
    _keys_seen(running)
    _wait_log(running, "all central keys on cooldown")
    answer = _ask(running, token)
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 7
    assert answer.json()["error"]["type"] == "rate_limit_error"
    assert _keys_seen(running) == []
    # Somebody with a key of their own is not held up.
    assert _ask(running, token, own=OTHER).status_code == 200


@_with_keys(WRONG)
def test_exhausted_by_refusals(running: Pair) -> None:
    """With all keys refused the gateway answers 502 without Retry-After, as waiting is no help."""
    token = running.create_token("alice")
    assert _ask(running, token).status_code == 401
    assert _ask(running, running.create_token("bob")).status_code == 401
    _wait_log(running, "all central keys on cooldown")
    answer = _ask(running, token)
    assert (answer.status_code, answer.json()["error"]["type"]) == (502, "api_error")
    assert "retry-after" not in answer.headers


@_with_keys(GOOD, OTHER, transports=("http2", "grpcio"))
def test_one_person_leaves_everybody_a_key(running: Pair) -> None:
    """The last key stays in use however many requests of one person are refused."""
    tokens = [running.create_token("alice") for _ in range(2)]
    # Envoy's threads report apart, so only waiting tells which report comes first.
    effects = ["central key on cooldown", "last central key stays in use"]
    for token, effect in zip(tokens * 3, effects + effects[-1:] * 4, strict=True):
        assert _ask(running, token, "fail-429").status_code == 429
        _wait_log(running, effect)
    assert _keys_seen(running) == [GOOD] + [OTHER] * 5
    assert _ask(running, running.create_token("bob")).status_code == 200
    assert _ask(running, tokens[0]).status_code == 200
    lines = [line for line in running.stderr.splitlines() if "central key" in line]
    (rested,) = (line for line in lines if "central key on cooldown" in line)
    (kept,) = (line for line in lines if "last central key stays in use" in line)
    for line, token in ((rested, tokens[0]), (kept, tokens[1])):
        assert "alice" in line
        assert token[:10] in line


@_with_keys(GOOD)
def test_refusals_of_a_central_key_are_counted(running: Pair) -> None:
    """A provider's 429 to its only central key is counted, and one to a user's own key is not."""
    token = running.create_token("alice")

    def count() -> float:
        text = httpx.get(f"http://127.0.0.1:{running.http_port}/metrics").text
        name = 'authz_central_key_refusals_total{provider="anthropic",status="429"} '
        (line,) = (line for line in text.splitlines() if line.startswith(name))
        return float(line.removeprefix(name))

    before = count()
    assert _ask(running, token, "fail-429", own=OWN_KEYS["anthropic"]).status_code == 429
    assert _ask(running, token, "fail-429").status_code == 429
    # Entries come in the order of the requests.
    wait_until(lambda: count() > before, 10, "the refusal being counted")
    assert count() == before + 1
