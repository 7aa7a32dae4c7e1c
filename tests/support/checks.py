"""Envoy's side of a check without Envoy: the bytes of the request, and the response parsed."""

from collections.abc import Iterable, Mapping

from authz.pb import ext_authz_pb2 as pb

ANTHROPIC = {
    "provider": "anthropic",
    "base_url": "https://api.anthropic.com/",
    "supported": "true",
}
OPENAI = {"provider": "openai", "base_url": "https://api.openai.com/v1", "supported": "true"}


def question(
    headers: Iterable[tuple[str, str | bytes]] = (),
    context: Mapping[str, str] = ANTHROPIC,
    method: str = "POST",
    path: str = "/anthropic/v1/messages",
) -> bytes:
    """Return a serialized ``CheckRequest`` as Envoy sends it with ``encode_raw_headers``."""
    request = pb.CheckRequest()
    http = request.attributes.request.http
    http.method, http.path = method, path
    for name, value in ((":method", method), (":path", path), *headers):
        raw = value.encode() if isinstance(value, str) else value
        header = pb.HeaderValue(key=name, raw_value=raw)
        http.header_map.headers.append(header.SerializeToString())
    for name, value in context.items():
        fact = pb.ContextExtension(key=name, value=value)
        request.attributes.context_extensions.append(fact.SerializeToString())
    return request.SerializeToString()


def answer(message: bytes) -> pb.CheckResponse:
    """Read a serialized ``CheckResponse``."""
    return pb.CheckResponse.FromString(message)


def allows(message: bytes) -> bool:
    """Return whether Envoy takes the answer for an allow: status 0, also protobuf's default.

    Envoy also requires an ``ok_response`` or nothing beside it. An answer that is an allow by one
    rule and a refusal by the other counts as one here, so that no test can overlook it.
    """
    return pb.CheckResponse.FromString(message).status.code == 0
