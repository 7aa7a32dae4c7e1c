"""A refused central key behind a real Envoy: the same request is tried with the next key."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from authz.addresses import UnixAddress
from authz.up.admin import AdminClient
from tests.support.pair import CENTRAL_KEYS, OWN_KEYS, Pair, Provider, pair, stand_in, wait_until

GOOD = CENTRAL_KEYS["anthropic"]
LIMIT_KIB = 64
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def refused() -> dict[str, int]:
    """The keys that the stand-in refuses, with their statuses."""
    return {}


@pytest.fixture(scope="module")
def refusing(refused: dict[str, int]) -> Iterator[Provider]:
    """A stand-in that refuses keys as tests ask for."""
    with stand_in(refused=refused) as provider:
        yield provider


@pytest.fixture(scope="module")
def shared(refusing: Provider, refused: dict[str, int]) -> Iterator[Pair]:
    """A pair with three keys for each of two providers; tests replace them in their files."""
    with pair(refusing, start=False, envoy={"max_retry_body_kib": LIMIT_KIB}) as made:
        for name in ("anthropic", "openai"):
            (provider,) = (one for one in made.settings["providers"] if one["name"] == name)
            del provider["key"]
            files = [made.folder / f"{name}-{place}.key" for place in range(3)]
            provider["keys"] = [{"file": str(file)} for file in files]
            for file in files:
                file.write_text(_refused_key(refused, 429))
        made.start()
        for user in ("alice", "bob"):
            made.create_user(user)
        yield made


@pytest.fixture
def running(shared: Pair) -> Pair:
    """The pair, with no requests recorded at its provider."""
    shared.provider.take()
    return shared


def _refused_key(refused: dict[str, int], status: int) -> str:
    """Return a new key that the stand-in refuses; a new key in a pool is not on cooldown."""
    number = next(_numbers)
    key = f"sk-ant-{status}-refused-{number:04d}"
    refused[key] = status
    return key


def _put(running: Pair, *keys: str, provider: str = "anthropic") -> None:
    """Put keys in the places of a pool; the last one fills the rest."""
    for place, key in enumerate((keys + keys[-1:] * 3)[:3]):
        (running.folder / f"{provider}-{place}.key").write_text(key)


def _ask(
    running: Pair, token: str, text: str = "hi", own: str | None = None, model: str = "m"
) -> httpx.Response:
    headers = {"x-coder-ai-governance-token": token, **({"x-api-key": own} if own else {})}
    return httpx.post(
        f"{running.url}/anthropic/v1/messages",
        headers=headers,
        json={"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": text}]},
        timeout=30,
    )


def _keys_seen(running: Pair) -> list[str | None]:
    return [seen.credential for seen in running.provider.take()]


def _wait_cooldown(running: Pair, key: str) -> None:
    """Wait until authz has logged the cooldown of a key, which it does after the refusal."""

    def has_line() -> bool:
        lines = [one for one in running.stderr.splitlines() if "central key on cooldown" in one]
        return any(f"...{key[-4:]}" in one for one in lines)

    wait_until(has_line, 10, "the cooldown")


def _last_line(running: Pair) -> tuple[int, str]:
    """Return the status and the key's last characters from the last line of the access log."""
    found = running.stdout.splitlines()
    lines: list[dict[str, Any]] = [json.loads(one) for one in found if one.startswith("{")]
    for line in reversed(lines):
        if line["provider"] == "anthropic":
            return line["status"], line["credential_hint"][-4:]
    return 0, ""


def _metric(running: Pair, name: str, **labels: str) -> float:
    written = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    text = httpx.get(f"http://127.0.0.1:{running.http_port}/metrics").text
    start = f"{name}{{{written}}} "
    return sum(float(one[len(start) :]) for one in text.splitlines() if one.startswith(start))


def _retries(running: Pair, status: int) -> float:
    return _metric(
        running, "authz_central_key_retries_total", provider="anthropic", status=str(status)
    )


@pytest.mark.parametrize("status", [401, 429, 529])
def test_the_client_sees_the_answer_of_the_next_key(
    running: Pair, refused: dict[str, int], status: int
) -> None:
    """The client gets a 200 after a refused key, the log names the second key, a counter counts."""
    first = _refused_key(refused, status)
    _put(running, first, GOOD)
    before = _retries(running, status)
    answer = _ask(running, running.create_token("alice"))
    assert answer.status_code == 200
    assert _keys_seen(running) == [first, GOOD]
    wait_until(lambda: _retries(running, status) == before + 1, 5, "the retry being counted")

    wait_until(lambda: _last_line(running) == (200, GOOD[-4:]), 5, "its line in the access log")
    # A 529 says that the provider is overloaded, and nothing about the key.
    _ask(running, running.create_token("alice"))
    assert _keys_seen(running) == ([first, GOOD] if status == 529 else [GOOD])


def test_a_cooldown_begins_while_the_answer_still_streams(
    running: Pair, refused: dict[str, int]
) -> None:
    """The refused key is on cooldown at once, for its own Retry-After, before the answer ends."""
    first = _refused_key(refused, 429)
    _put(running, first, GOOD)
    token = running.create_token("alice")
    url, key = f"{running.url}/anthropic/v1/messages", {"x-api-key": token}
    body = {"model": "slow-3", "max_tokens": 9, "stream": True}
    body["messages"] = [{"role": "user", "content": "hi"}]
    with httpx.stream("POST", url, headers=key, json=body, timeout=60) as answer:
        assert answer.status_code == 200
        wait_until(lambda: f'"credential_hint": "sk-a...{first[-4:]}"' in running.stderr, 2, "log")
        assert _ask(running, token).status_code == 200
        answer.read()
    assert _keys_seen(running) == [first, GOOD, GOOD]
    (line,) = (one for one in running.stderr.splitlines() if f"...{first[-4:]}" in one)
    assert json.loads(line) | {"status": 429, "seconds": 7, "user": "alice"} == json.loads(line)


def test_no_sdk_sees_a_refusal(running: Pair, refused: dict[str, int]) -> None:
    """With max_retries=0 both SDKs get their answers, also as a stream, after two refused keys."""
    token = running.create_token("alice")
    _put(running, _refused_key(refused, 429), _refused_key(refused, 401), GOOD)
    claude = anthropic.Anthropic(base_url=f"{running.url}/anthropic", api_key=token, max_retries=0)
    with claude.messages.stream(
        model="claude-test", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
    ) as stream:
        assert "stand-in" in stream.get_final_text()
    assert len(_keys_seen(running)) == 3
    _put(running, _refused_key(refused, 429), CENTRAL_KEYS["openai"], provider="openai")
    gpt = openai.OpenAI(base_url=f"{running.url}/openai/v1", api_key=token, max_retries=0)
    answer = gpt.chat.completions.create(
        model="gpt-test", messages=[{"role": "user", "content": "hi"}]
    )
    assert "stand-in" in (answer.choices[0].message.content or "")
    assert [seen.all("authorization") for seen in running.provider.take()][1] == [
        f"Bearer {CENTRAL_KEYS['openai']}"
    ]


def test_every_key_refused(running: Pair, refused: dict[str, int]) -> None:
    """Each key is tried once; the client gets the provider's last answer, then the gateway's."""
    keys = [_refused_key(refused, 401), _refused_key(refused, 429), _refused_key(refused, 429)]
    _put(running, *keys)
    answer = _ask(running, running.create_token("alice"))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    assert _keys_seen(running) == keys
    for key in keys[:2]:
        _wait_cooldown(running, key)
    # The last usable key rests only after requests of two people, and is then tried alone.
    assert _ask(running, running.create_token("bob")).status_code == 429
    assert _keys_seen(running) == keys[2:]
    wait_until(lambda: "all central keys on cooldown" in running.stderr, 5, "the pool exhausted")
    answer = _ask(running, running.create_token("bob"))
    assert (answer.status_code, "retry-after" in answer.headers) == (429, True)
    assert _keys_seen(running) == []


def test_byok_is_never_retried(running: Pair, refused: dict[str, int]) -> None:
    """A person's own key that is refused is tried once, and the provider's answer is returned."""
    _put(running, GOOD)
    own = _refused_key(refused, 429)
    assert _ask(running, running.create_token("alice"), own=own).status_code == 429
    assert _keys_seen(running) == [own]


def test_no_other_answer_is_retried(running: Pair, refused: dict[str, int]) -> None:
    """A 500 or a 400 reaches the client after one try, since the request may have been paid for."""
    _put(running, GOOD, OWN_KEYS["anthropic"])
    token = running.create_token("alice")
    assert [_ask(running, token, model=f"fail-{one}").status_code for one in (500, 400)] == [
        500,
        400,
    ]
    assert _keys_seen(running) == [GOOD, GOOD]


def test_a_large_body_is_not_kept(running: Pair, refused: dict[str, int]) -> None:
    """A body up to the limit is sent again; a larger one is not, and the client gets its 429."""
    _put(running, first := _refused_key(refused, 429), GOOD)
    token = running.create_token("alice")
    large = _ask(running, token, "x" * (LIMIT_KIB * 4096))
    assert (large.status_code, large.headers["retry-after"]) == (429, "7")
    assert _keys_seen(running) == [first]
    _put(running, first := _refused_key(refused, 429), GOOD)
    assert _ask(running, token, "x" * (LIMIT_KIB * 512)).status_code == 200
    assert _keys_seen(running) == [first, GOOD]


def test_clients_cannot_ask_for_retries(running: Pair, refused: dict[str, int]) -> None:
    """A client's Envoy headers for retries have no effect."""
    _put(running, GOOD)
    own = _refused_key(refused, 429)
    headers = {
        "x-coder-ai-governance-token": running.create_token("alice"),
        "x-api-key": own,
        "x-envoy-max-retries": "3",
        "x-envoy-retry-on": "retriable-status-codes,5xx",
        "x-envoy-retriable-status-codes": "429",
    }
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    answer = httpx.post(f"{running.url}/anthropic/v1/messages", headers=headers, json=body)
    assert answer.status_code == 429
    (seen,) = running.provider.take()
    assert not any(name.startswith("x-envoy") for name, _ in seen.headers)


def test_a_key_replaced_meanwhile(running: Pair, refused: dict[str, int]) -> None:
    """A new key in a refused key's place is used at once."""
    _put(running, _refused_key(refused, 401), GOOD)
    token = running.create_token("alice")
    assert _ask(running, token).status_code == 200
    _put(running, OWN_KEYS["anthropic"], GOOD)
    _keys_seen(running)
    assert _ask(running, token).status_code == 200
    assert _keys_seen(running) == [OWN_KEYS["anthropic"]]


async def test_no_refusal_is_seen_under_load(running: Pair, refused: dict[str, int]) -> None:
    """With sixty simultaneous requests and one of two keys refused, every client gets a 200."""
    first = _refused_key(refused, 529)
    _put(running, first, GOOD)
    token = await asyncio.to_thread(running.create_token, "alice")
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=60), timeout=60) as client:
        answers = await asyncio.gather(
            *(
                client.post(
                    f"{running.url}/anthropic/v1/messages",
                    headers={"x-api-key": token},
                    json=body,
                )
                for _ in range(300)
            )
        )
    assert {answer.status_code for answer in answers} == {200}
    seen = _keys_seen(running)
    assert (seen.count(first), seen.count(GOOD)) == (300, 300)


def test_no_key_is_told(running: Pair, refused: dict[str, int]) -> None:
    """No key appears in a log, the metrics, the usage or Envoy's admin interface."""
    admin = AdminClient(UnixAddress(f"{running.folder}/admin-{running.port}.sock"), timeout=20)
    texts = {
        "log": running.stderr,
        "access log": running.stdout,
        "metrics": httpx.get(f"http://127.0.0.1:{running.http_port}/metrics").text,
        "usage": running.command("usage", "-o", "json").stdout,
        "config_dump": admin.get("/config_dump?include_eds"),
        "stats": admin.get("/stats"),
        "clusters": admin.get("/clusters"),
    }
    keys = {*refused, GOOD, CENTRAL_KEYS["openai"], OWN_KEYS["anthropic"]}
    held = {where for where, text in texts.items() for key in keys if key in text}
    assert held == set()
    for file in running.folder.rglob("*.db*"):
        assert not any(key.encode() in file.read_bytes() for key in keys), file


def test_every_worker_is_told(refusing: Provider, refused: dict[str, int]) -> None:
    """Two workers both put the refused key on cooldown at once, and the retry counts once."""
    first = _refused_key(refused, 401)
    with pair(refusing, start=False) as made:
        (provider,) = (one for one in made.settings["providers"] if one["name"] == "anthropic")
        del provider["key"]
        provider["keys"] = [{"file": str(made.folder / f"anthropic-{n}.key")} for n in range(2)]
        for place, key in enumerate((first, GOOD)):
            (made.folder / f"anthropic-{place}.key").write_text(key)
        made.settings["authz"]["workers"] = 2
        made.start()
        wait_until(lambda: made.stderr.count("authz serves") == 2, 20, "every worker")
        made.create_user("alice")
        token = made.create_token("alice")
        refusing.take()
        assert _ask(made, token).status_code == 200
        wait_until(lambda: made.stderr.count("central key on cooldown") == 2, 5, "both told")
        assert [_ask(made, token).status_code for _ in range(6)] == [200] * 6
        assert _keys_seen(made) == [first, *[GOOD] * 7]
        wait_until(lambda: _retries(made, 401) == 1, 5, "the retry being counted")
