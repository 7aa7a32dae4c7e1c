"""Start of the export of requests and of the audit log, if it is switched on."""

import asyncio
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial

import structlog
from prometheus_client import CollectorRegistry

from authz.config.settings import Config
from authz.identity.open import coder_base, open_database
from authz.serve.workers import Worker
from authz.usage.entry import Report, UsageEntry

_log = structlog.get_logger(__name__)

_GRACE_SECONDS = 3.0
"""The time to send the last requests."""


def start_export(
    config: Config, registry: CollectorRegistry, worker: Worker | None, parts: AsyncExitStack
) -> Callable[[UsageEntry | Report], None] | None:
    """Start the export.

    Args:
        config: names the collector.
        registry: gets the metrics.
        worker: this process among several workers; the first one exports the audit log.
        parts: gets the functions that stop the export.

    Returns:
        A function that exports a request; None if requests are not exported.
    """
    settings = config.export
    if settings is None:
        return None
    # Imported late: gRPC takes 10 MB, and most gateways export nothing.
    from authz.export.changes import KIND as AUDIT
    from authz.export.changes import AuditExport
    from authz.export.collector import Collector
    from authz.export.delivery import Delivery
    from authz.export.metrics import ExportMetrics
    from authz.export.requests import KIND as USAGE
    from authz.export.requests import RequestExport

    process = secrets.token_hex(6)
    collector = Collector(settings)
    parts.push_async_callback(collector.close)
    is_coder = coder_base(config.identity) is not None
    has_audit = settings.audit and not is_coder and (worker is None or worker.index == 0)
    kinds = {USAGE: settings.usage, AUDIT: has_audit}
    metrics = ExportMetrics(registry, [kind for kind, is_on in kinds.items() if is_on])
    if settings.audit and is_coder:
        _log.info("Coder keeps the audit log of its users and tokens: none is exported")
    if has_audit:
        audit = AuditExport(
            partial(open_database, config.identity),
            Delivery(collector, AUDIT, metrics, process),
            process,
        )
        parts.push_async_callback(audit.close)
        parts.push_async_callback(_cancel, asyncio.create_task(audit.run()))
    if not settings.usage:
        return None
    requests = RequestExport(Delivery(collector, USAGE, metrics, process), metrics, settings.queue)
    requests.start()
    parts.push_async_callback(requests.stop, _GRACE_SECONDS)
    return requests.add


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
