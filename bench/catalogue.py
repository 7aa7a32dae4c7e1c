"""Every variant, in the order of the report."""

from bench.peers import litellm, nginx, portkey
from bench.peers.python import reverse_proxy
from bench.sources import coder, postgresql
from bench.variants import CORE, Variant, fragments

PEERS = (
    Variant("nginx", "nginx auth_request and uvicorn", nginx.begin, peer=True),
    Variant("aiohttp", "Starlette and aiohttp", reverse_proxy("aiohttp"), peer=True),
    Variant("httpx", "Starlette and httpx", reverse_proxy("httpx"), peer=True),
    # 400: without a database it knows its master key alone.
    Variant("litellm", "LiteLLM proxy", litellm.begin, refusal=400, peer=True),
    Variant("portkey", "Portkey gateway, no key check", portkey.begin, refusal=None, peer=True),
)
VARIANTS = (
    *CORE,
    *fragments(),
    Variant("postgresql", "Envoy and authz, PostgreSQL", postgresql),
    Variant("coder", "Envoy and authz, Coder's API", coder),
    *PEERS,
)
