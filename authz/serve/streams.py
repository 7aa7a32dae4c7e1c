"""Starts the ending of open streams, where it is switched on."""

import asyncio
from contextlib import AsyncExitStack

from authz.config.settings import Config
from authz.core.identity import IdentitySource
from authz.metrics import Metrics
from authz.serve.reloading import Reloadable
from authz.transport.common import BidiStream


def watch_streams(
    config: Config,
    source: IdentitySource,
    reloadable: Reloadable,
    metrics: Metrics,
    parts: AsyncExitStack,
) -> dict[str, BidiStream]:
    """Return the gRPC method that Envoy calls for each request, or none if it is off.

    Args:
        parts: gets the function that stops the watch.
    """
    if not config.revocation.end_streams:
        return {}
    # Imported late: most gateways don't use it.
    from authz.open_streams.messages import METHOD
    from authz.open_streams.metrics import StreamMetrics
    from authz.open_streams.watching import SWEEP_SECONDS, OpenStreams

    state = getattr(source, "state", None)

    def seen() -> object | None:
        found = state() if state is not None else None
        return None if found is None else (found, reloadable.state)

    seconds = config.revocation.coder_interval if config.is_managed_by_coder else SWEEP_SECONDS
    streams = OpenStreams(reloadable.recheck, seen, StreamMetrics(metrics.registry), seconds)
    parts.callback(asyncio.create_task(streams.run()).cancel)
    return {METHOD: BidiStream(streams.open)}
