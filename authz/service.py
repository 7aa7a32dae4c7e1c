"""The authz service: the gRPC and the HTTP side in one event loop, from start to graceful stop."""

import asyncio
import gc
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog
import uvloop

from authz.addresses import Address
from authz.errors import StartError
from authz.http2.server import Http2Server
from authz.identity import IdentitySource
from authz.identity.memory import RememberingSource
from authz.identity.open import open_source
from authz.metrics import Metrics
from authz.mutual_tls import TlsFiles
from authz.proxy.keeper import make_leaves
from authz.reloading import Reloadable
from authz.sds import write_secrets
from authz.settings import Config
from authz.usage.ids import EntryIds
from authz.usage.metrics import UsageMetrics
from authz.usage.receiver import RequestRecords
from authz.usage.service import UsageRecording
from authz.web.api.app import create_api
from authz.web.api.call import Services
from authz.web.app import create_app
from authz.web.own_store import OwnStore
from authz.web.pages.app import create_pages
from authz.web.pages.usage_rows import UsageRows
from authz.web.pages.visit import Pages
from authz.web.server import HttpServer, listen
from authz.web.sign_in import SignIn
from authz.workers import Worker

if TYPE_CHECKING:
    from authz.grpc_server import GrpcServer
    from authz.tracing import CheckTraces

_log = structlog.get_logger(__name__)

STOP_GRACE_SECONDS = 5.0
"""How long checks in flight may take to finish; Envoy gives up on one after 2 s."""
TRACES_GRACE_SECONDS = 1.0
"""How long the last spans may take."""


def run(load: Callable[[], Config], worker: Worker | None = None) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reads the configuration again.

    Args:
        load: reads it, now and on SIGHUP.
        worker: which of several; None where this process is the only one.

    Raises:
        AuthzError: the configuration, the identity source or an address can't be used.
    """
    uvloop.run(serve(load(), load, worker))


async def serve(config: Config, load: Callable[[], Config], worker: Worker | None = None) -> None:
    """Serve until this process gets SIGTERM or SIGINT; the arguments are those of ``run``."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # What was read before this process can reload may be old by then.
    early = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, early.set)
    make_leaves(config)
    write_secrets(config)
    metrics = Metrics()
    source = await _open_source(config, metrics)
    own_store = OwnStore(config.identity, config.audit_keep_days)
    try:
        ids = EntryIds()
        usage = UsageRecording(
            config, ids, UsageMetrics(metrics.registry, by_user=config.usage.metrics_by_user)
        )
        reloadable = Reloadable(config, load, source, metrics, ids)
        records = None
        if config.usage.enabled:
            records = RequestRecords(usage.record, metrics.key_refused)
        address = config.authz.worker_address(worker.index if worker else 0)
        traces = _traces(config, reloadable)
        grpc_server = _grpc_server(config, address, reloadable, records, traces)
        listener = worker.http if worker else listen(config.authz.http)
        sign_in, secure = SignIn(), config.tls is not None
        api = create_api(
            Services(own_store, sign_in, secure, lambda: reloadable.config.provider_names)
        )
        usage_rows = UsageRows(lambda: reloadable.config)
        pages = create_pages(
            Pages(own_store, sign_in, secure, lambda: reloadable.config, usage_rows)
        )
        http_server = HttpServer(
            create_app(source, metrics, config.proxy, api, pages, lambda: usage.problem), listener
        )
        await grpc_server.start()
        usage.start()
        reloadable.start()
        loop.add_signal_handler(signal.SIGHUP, reloadable.reload_soon)
        if early.is_set():
            reloadable.reload_soon()
        audit_task = asyncio.create_task(own_store.keep_audit_short())
        http_task = asyncio.create_task(http_server.run_until_stopped())
        # What is here now stays. Looking through it all for garbage would hold every check up, for
        # 30 ms at a time.
        gc.collect()
        gc.freeze()
        _log.info("authz serves", grpc=str(address), http=str(config.authz.http))
        stop_task = asyncio.create_task(stop.wait())
        await asyncio.wait({stop_task, http_task}, return_when=asyncio.FIRST_COMPLETED)
        reloadable.stop()
        audit_task.cancel()
        http_server.stop()
        await grpc_server.stop(STOP_GRACE_SECONDS)
        await usage.stop(STOP_GRACE_SECONDS)
        if traces is not None:
            await traces.stop(TRACES_GRACE_SECONDS)
        await http_task
        await usage_rows.close()
        _log.info("authz stopped")
    finally:
        await own_store.close()
        await source.close()


def _grpc_server(
    config: Config,
    address: Address,
    reloadable: Reloadable,
    records: RequestRecords | None,
    traces: "CheckTraces | None",
) -> "GrpcServer | Http2Server":
    handlers = (
        reloadable.check,
        address,
        reloadable.receive,
        records.receive if records is not None else None,
    )
    tls = TlsFiles(config.authz.tls) if config.authz.tls else None
    traced = traces.traced if traces is not None else None
    if config.authz.transport == "grpcio":
        # 10 MB that the other one does without.
        from authz.grpc_server import GrpcServer

        return GrpcServer(*handlers, traced=traced, tls=tls)
    immediate = reloadable.is_immediate
    return Http2Server(*handlers, immediate=immediate, traced=traced, tls=tls)


def _traces(config: Config, reloadable: Reloadable) -> "CheckTraces | None":
    if config.tracing is None:
        return None
    try:
        from authz.tracing import CheckTraces
    except ImportError:
        raise StartError(
            "tracing: needs opentelemetry-sdk and opentelemetry-exporter-otlp-proto-grpc"
        ) from None
    return CheckTraces(reloadable.check, config.tracing)


async def _open_source(config: Config, metrics: Metrics) -> IdentitySource:
    source = await open_source(
        config.identity, ca_file=config.identity_ca_file, on_batch=metrics.looked_up_together
    )
    if not config.identity_max_staleness and not config.identity_stale_if_error:
        return source
    return RememberingSource(
        source,
        max_staleness=config.identity_max_staleness,
        stale_if_error=config.identity_stale_if_error,
        on_stale=metrics.count_stale,
    )
