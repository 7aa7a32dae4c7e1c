"""Time-outs of providers that can't work, because a shorter one always ends the request first."""

from collections.abc import Iterator

from authz.config.settings import Config
from authz.config.validation import known

_GLOBAL = "envoy.stream_idle_timeout"


def timeout_problems(config: Config) -> Iterator[str]:
    """Yield a message for each time-out of a provider that is longer than one that includes it.

    Envoy counts silence from the last byte of the request on, so its time-outs for silence also end
    the wait for the first byte. The tunnels of the AI Gateway Proxy have the global one.
    """
    if not (known(config, "envoy", "providers") and known(config.envoy, "stream_idle_timeout")):
        return
    limit = config.envoy.stream_idle_timeout
    for index, provider in enumerate(config.providers):
        if not known(provider, "first_byte_timeout", "idle_timeout"):
            continue
        where = f"providers[{index}]"
        idle, first = provider.idle_timeout, provider.first_byte_timeout
        if idle is not None and idle > limit:
            yield (
                f"{where}.idle_timeout: must be at most {_GLOBAL} ({limit} s), which ends every "
                f"silent stream: raise {_GLOBAL}"
            )
        name, most = (_GLOBAL, limit) if idle is None else ("idle_timeout", idle)
        if first is not None and first > most:
            yield (
                f"{where}.first_byte_timeout: must be at most {name} ({most} s), which also counts "
                f"the silence before the first byte: raise {name}"
            )
