"""The pair answers."""

import httpx

from tests.support.pair import CENTRAL_KEYS, Pair


def test_central_key_reaches_the_provider(gateway: Pair) -> None:
    """A request with a Coder token alone is answered by the provider for the central key."""
    token = gateway.create_token("alice")
    gateway.provider.take()
    answer = httpx.post(
        f"{gateway.url}/anthropic/v1/messages",
        headers={"x-api-key": token},
        json={
            "model": "claude-sonnet-4-5",
            "max_tokens": 8,
            "messages": [{"role": "user", "content": "Hello"}],
        },
    )
    assert answer.status_code == 200, answer.text
    (seen,) = gateway.provider.take()
    assert seen.credential == CENTRAL_KEYS["anthropic"]
    gateway.delete_token(token)
