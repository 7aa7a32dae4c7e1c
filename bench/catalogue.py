"""Every variant, in the order of the report."""

from bench import naked
from bench.peers import litellm, nginx, opa, portkey
from bench.peers.python import reverse_proxy
from bench.samples import BUSY, REALISTIC
from bench.sources import coder, postgresql
from bench.variants import (
    BASELINE_WITHOUT_USAGE,
    CORE,
    COUNTS,
    PLAIN,
    SMALL,
    Variant,
    envoy_alone,
    fragments,
    with_providers,
)

PEERS = (
    Variant("opa", "Envoy with OPA's engine, no metering", opa.begin, peer=True),
    Variant("nginx", "nginx auth_request and uvicorn", nginx.begin, peer=True),
    Variant("aiohttp", "Starlette and aiohttp", reverse_proxy("aiohttp"), peer=True),
    Variant(
        "httpx",
        "Starlette and httpx",
        reverse_proxy("httpx"),
        peer=True,
        parts=SMALL | {REALISTIC},
    ),
    # 400: without a database it knows its master key alone.
    Variant("litellm", "LiteLLM proxy", litellm.begin, refusal=400, peer=True),
    Variant(
        "portkey",
        "Portkey gateway, no key check",
        portkey.begin,
        None,
        peer=True,
        parts=frozenset({BUSY}),
    ),
)
VARIANTS = (
    *CORE,
    Variant(PLAIN, "Envoy as a plain proxy, no logs", naked.begin, refusal=None),
    *fragments(),
    Variant(
        BASELINE_WITHOUT_USAGE,
        "Envoy alone, without usage metering",
        envoy_alone(usage={"enabled": False}),
        refusal=None,
        parts=frozenset({BUSY}),
    ),
    Variant("postgresql", "Envoy and authz, PostgreSQL", postgresql(), parts=SMALL),
    Variant(
        "postgresql-2",
        "Envoy and authz, PostgreSQL, two workers",
        postgresql(workers=2),
        parts=SMALL,
    ),
    Variant("coder", "Envoy and authz, Coder's API", coder, parts=frozenset({BUSY})),
    *(
        Variant(
            f"providers-{count}",
            f"Envoy and authz, {count} provider{'s' if count > 1 else ''}",
            with_providers(count),
            parts=frozenset({BUSY}),
        )
        for count in COUNTS
    ),
    *PEERS,
)
