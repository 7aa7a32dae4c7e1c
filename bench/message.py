"""The request that every variant gets, as bytes."""

from collections.abc import Mapping

from bench import upstream

PROVIDER, STREAMING = "anthropic", "streaming"
"""Names of the providers that the two kinds of request go to."""
MODEL, STREAMING_MODEL = "claude-sonnet-4-5", "claude-haiku-4-5"
"""For gateways that choose the provider by the model."""
_TEXT = b"Say hello to the benchmark, please."


def request(
    token: str,
    *,
    streaming: bool = False,
    path: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Return a small POST as the Anthropic SDK sends it, less its texts.

    Args:
        token: the bearer token.
        streaming: asks for server-sent events, from the provider that sends them.
        path: where the gateway has this API, if not below the provider's name.
        headers: more of them.
    """
    model = STREAMING_MODEL if streaming else MODEL
    stream = '"stream":true,' if streaming else ""
    body = (
        f'{{"model":"{model}","max_tokens":64,{stream}'
        f'"messages":[{{"role":"user","content":"{_TEXT.decode()}"}}]}}'
    )
    where = path or f"/{STREAMING if streaming else PROVIDER}/v1/messages"
    return _post(where, token, body, headers or {})


def with_body_of(size: int, small: bytes) -> bytes:
    """Return a request of this module whose text is longer, so that its body has ``size`` bytes."""
    head, _, body = small.partition(b"\r\n\r\n")
    body = body.replace(_TEXT, _TEXT + b" word" * ((size - len(body)) // 5))
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length:")]
    return b"\r\n".join((*lines, b"Content-Length: %d" % len(body), b"", body))


def _post(where: str, token: str, body: str, headers: Mapping[str, str]) -> bytes:
    head = (
        f"POST {where} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Bearer {token}",
        "Accept: application/json",
        "Accept-Encoding: identity",
        "Anthropic-Version: 2023-06-01",
        "Content-Type: application/json",
        "User-Agent: Anthropic/Python 2.12.0",
        "X-Stainless-Lang: python",
        "X-Stainless-Retry-Count: 0",
        *(f"{name}: {value}" for name, value in headers.items()),
        f"Content-Length: {len(body)}",
        "",
        body,
    )
    return "\r\n".join(head).encode()


def upstream_request(*, streaming: bool = False) -> bytes:
    """Return the same request as it has to reach the provider."""
    bearer = b"Authorization: Bearer x"
    key = f"X-Api-Key: {upstream.CENTRAL_KEY}".encode()
    return request("x", streaming=streaming).replace(bearer, key)
