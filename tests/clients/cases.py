"""One client in one mode: its pasted lines, and checks of the result."""

import re
from typing import Any

from authz.clients.catalog import DENIED, MODES, Client
from authz.clients.rendering import fill, urls
from authz.config.loading import load
from authz.config.uses import Uses
from tests.clients.installing import Installed
from tests.clients.running import Ran, run
from tests.e2e.proxy.pairs import Proxied
from tests.support.pair import CENTRAL_KEYS, OWN_KEYS, SUBSCRIPTION, wait_until
from tests.support.requests import CREDENTIAL_HEADERS, leaks

ANSWER = "Hello from the stand-in provider"
ENDING = "You said:"
EVENTS = "/api/event_logging/"
"""The path of requests that have no credential even with a subscription; the central key serves."""
REFUSED = "The Coder token is not valid"
QUICK = 30.0
"""Seconds within which a client has to give up on a deleted token."""
STREAMED = 0.1
"""The minimum seconds from a streamed answer's first byte to its last: the stand-in waits four
times between its pieces."""
SLOW = 0.6
"""Seconds between pieces that are long enough to show whether a client gets them one by one. A
client takes a second or more for its first event, also without a gateway; a shorter answer is
complete by then, and looks as if it had been held back."""
AT_ONCE = ("claude-code", "codex", "opencode")
"""Clients that print an answer only when it is complete."""
_WAIT = 15.0


def cases(client: Client) -> list[tuple[str, str]]:
    """Return every mode of a client, the denied one included, with each kind of provider."""
    return [
        (mode, kind)
        for mode in (*MODES, DENIED)
        for kind in client.lines.get("centralized" if mode == DENIED else mode, {})
    ]


def check(
    client: Client,
    mode: str,
    kind: str,
    there: Installed,
    proxy: Proxied,
    *,
    slow: bool = False,
) -> str:
    """Run the lines of a client, and look at what it printed and what reached the provider.

    Args:
        client: whose lines.
        mode: of the catalogue, or the denied one.
        kind: of the provider.
        there: the client itself.
        proxy: the pair.
        slow: whether the provider is ``SLOW``; then the client has to print piece by piece.

    Returns:
        How long it took and what the gateway answered, for a person to read.

    Raises:
        AssertionError: it is not as it should be.
    """
    lines = client.lines["centralized" if mode == DENIED else mode][kind]
    token = proxy.pair.create_token("alice")
    if mode == DENIED:
        proxy.pair.delete_token(token)
    filled = fill(lines, urls(load(proxy.pair.folder / "gateway.yaml", uses=Uses.NOTHING)))
    proxy.provider.take()
    before = len(proxy.log())
    ran = run(client.name, filled, there, proxy, token, mode)
    try:
        if mode == DENIED:
            _check_denied(ran, proxy)
        else:
            _check_served(ran, proxy, mode, kind, token)
            _check_streamed(proxy, before)
            if slow and client.name not in AT_ONCE:
                took = ran.spread(ANSWER[:9], ENDING)
                assert took > SLOW / 2, f"printed within {took:.3f} s: {ran}"
    except AssertionError as error:
        access = [
            [entry.get(key) for key in ("method", "path", "status", "decision", "reason")]
            for entry in proxy.log()[before:]
        ]
        raise AssertionError(f"{error}\n--- access log\n{access}") from None
    requests = [entry.get("status") for entry in proxy.log()[before:]]
    return f"{client.name} {mode} {kind}: {ran.seconds:.1f} s, statuses {requests}"


def _check_served(ran: Ran, proxy: Proxied, mode: str, kind: str, token: str) -> None:
    taken = proxy.provider.take()
    assert ANSWER in ran.output, f"no answer: {ran}"
    assert taken, "nothing reached the provider"
    for seen in taken:
        credentials = [pair for pair in seen.headers if pair[0] in CREDENTIAL_HEADERS]
        where = f"{seen.method} {seen.path}: {[name for name, _ in credentials]}"
        assert len(credentials) == 1, f"not one credential, {where}"
        right = _right(mode, kind)
        if mode.startswith("proxy-") and seen.path.startswith(EVENTS):
            right = [*right, *_right("proxy", kind)]
        assert credentials[0] in right, f"wrong credential, {where}"
        assert leaks(seen, [token, token.partition("-")[2]]) == []
        names = [name for name, _ in seen.headers if re.match(r"coder-|x-coder-|proxy-", name)]
        assert names == []


def _check_streamed(proxy: Proxied, before: int) -> None:
    """Assert that an answer took its time from the first byte to the last."""

    def streams() -> bool:
        return any(_is_streamed(entry) for entry in proxy.log()[before:])

    wait_until(streams, _WAIT, "a streamed answer in the access log")


def _is_streamed(entry: dict[str, Any]) -> bool:
    if entry["status"] == 101:
        # Each event is a message of its own.
        return entry["mode"] is not None
    if entry["status"] != 200 or entry["method"] != "POST" or entry["mode"] is None:
        return False
    return bool(entry["duration_ms"] - entry["first_byte_ms"] > STREAMED * 1000)


def _right(mode: str, kind: str) -> list[tuple[str, str]]:
    """Return the credentials that are right for the provider to see, one at a time."""
    if mode.endswith("subscription"):
        token = SUBSCRIPTION if kind == "anthropic" else OWN_KEYS["chatgpt"]
        return [("authorization", f"Bearer {token}")]
    own = mode.endswith("byok")
    key = (OWN_KEYS if own else CENTRAL_KEYS)[kind]
    bearer = ("authorization", f"Bearer {key}")
    if kind != "anthropic":
        return [bearer]
    # Anthropic's Node SDK sends an API key as a Bearer, and BYOK passes it on as it came.
    return [("x-api-key", key), bearer] if own else [("x-api-key", key)]


def _check_denied(ran: Ran, proxy: Proxied) -> None:
    said = ran.output + ran.errors
    assert ANSWER not in said, f"served with a deleted token: {ran}"
    assert proxy.provider.take() == [], "a request with a deleted token reached the provider"
    assert REFUSED in " ".join(said.split()), f"does not say what the gateway said: {ran}"
    assert ran.seconds < QUICK, f"took {ran.seconds:.0f} s to give up: {ran}"
