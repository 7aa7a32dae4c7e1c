"""The authz service: the gRPC and the HTTP side in one event loop, from start to graceful stop."""

import asyncio
import gc
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import structlog
import uvloop
from starlette.applications import Starlette

from authz.addresses import Address, TcpAddress
from authz.check import ext_authz, refused_keys
from authz.check.entry_ids import EntryIds
from authz.config.settings import Config
from authz.core.identity import IdentitySource
from authz.errors import StartError
from authz.identity.caching_source import CachingSource
from authz.identity.open import open_source
from authz.metrics import Metrics
from authz.sds.leaves import make_leaves
from authz.sds.secret_files import write_secrets
from authz.serve.reloading import Reloadable
from authz.serve.workers import Worker
from authz.transport.common import ClientStream, UnaryMethod
from authz.transport.http2.server import Http2Server
from authz.transport.mutual_tls import TlsFiles
from authz.usage import receiver
from authz.usage.metrics import UsageMetrics
from authz.usage.receiver import RequestRecords
from authz.usage.service import UsageRecording
from authz.web.api.app import create_api
from authz.web.api.call import Services
from authz.web.app import create_app
from authz.web.own_store import OwnStore
from authz.web.pages.app import create_pages
from authz.web.pages.context import Pages
from authz.web.pages.usage_rows import UsageRows
from authz.web.server import HttpServer, forget_http, from_envoy, listen_http
from authz.web.sign_in import SignIn

if TYPE_CHECKING:
    from authz.serve.tracing import CheckTraces
    from authz.transport.grpcio_server import GrpcServer

_log = structlog.get_logger(__name__)

STOP_GRACE_SECONDS = 5.0
"""Time for checks in flight to finish; Envoy's own timeout is 2 s."""
TRACES_GRACE_SECONDS = 1.0
"""Time to send the last spans."""


def run(load: Callable[[], Config], worker: Worker | None = None) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reads the configuration again.

    Args:
        load: reads the configuration, now and on SIGHUP.
        worker: this process among several workers; None if it is the only process.

    Raises:
        AuthzError: the configuration, the identity source or an address can't be used.
    """
    uvloop.run(serve(load(), load, worker))


async def serve(config: Config, load: Callable[[], Config], worker: Worker | None = None) -> None:
    """Serve until this process gets SIGTERM or SIGINT; the arguments are those of ``run``."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    # The parts stop in reverse order, also those of a start that fails halfway.
    async with AsyncExitStack() as parts:
        http_tasks = await _start(config, load, worker, parts)
        # Objects that exist now stay. A search through all of them for garbage would delay every
        # check, by 30 ms at a time.
        gc.collect()
        gc.freeze()
        _log.info("authz serves", grpc=str(_address(config, worker)), http=str(config.authz.http))
        stop_task = asyncio.create_task(stop.wait())
        await asyncio.wait({stop_task, *http_tasks}, return_when=asyncio.FIRST_COMPLETED)
    _log.info("authz stopped")


async def _start(
    config: Config, load: Callable[[], Config], worker: Worker | None, parts: AsyncExitStack
) -> Sequence[asyncio.Task[None]]:
    """Start every part, and return the tasks of the HTTP servers.

    Args:
        parts: gets the function that stops each part.
    """
    loop = asyncio.get_running_loop()
    # A SIGHUP before this process can reload may mean that ``config`` is old already.
    early_reload = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, early_reload.set)
    make_leaves(config)
    write_secrets(config)
    metrics = Metrics()
    source = await _open_source(config, metrics)
    parts.push_async_callback(source.close)
    own_store = OwnStore(config.identity, config.audit_keep_days)
    parts.push_async_callback(own_store.close)

    ids = EntryIds()
    usage = UsageRecording(
        config, ids, UsageMetrics(metrics.registry, by_user=config.usage.metrics_by_user)
    )
    reloadable = Reloadable(config, load, source, metrics, ids)
    usage_rows = UsageRows(lambda: reloadable.config)
    parts.push_async_callback(usage_rows.close)
    records = RequestRecords(usage.record, metrics.key_refused) if config.usage.enabled else None
    sign_in, secure = SignIn(), config.tls is not None
    api = create_api(
        Services(
            own_store,
            sign_in,
            secure,
            lambda: reloadable.config.provider_names,
            lambda: reloadable.config,
        )
    )
    pages = create_pages(Pages(own_store, sign_in, secure, lambda: reloadable.config, usage_rows))
    app = create_app(source, metrics, config.proxy, api, pages, lambda: usage.problem)

    http_tasks: list[asyncio.Task[None]] = []
    listeners = worker.listeners if worker else listen_http(config)
    parts.callback(_close_http, config, listeners, is_worker=worker is not None)
    parts.push_async_callback(_finish, http_tasks)
    http_servers = _http_servers(config, app, listeners)
    traces = _traces(config, reloadable)
    if traces is not None:
        parts.push_async_callback(traces.stop, TRACES_GRACE_SECONDS)
    grpc_server = _grpc_server(config, _address(config, worker), reloadable, records, traces)

    await grpc_server.start()
    usage.start()
    parts.push_async_callback(_stop_checks, grpc_server, usage)
    http_tasks += [asyncio.create_task(server.run_until_stopped()) for server in http_servers]
    for server in http_servers:
        parts.callback(server.stop)
    parts.callback(asyncio.create_task(own_store.keep_audit_short()).cancel)
    reloadable.start()
    parts.callback(reloadable.stop)
    loop.add_signal_handler(signal.SIGHUP, reloadable.reload_soon)
    if early_reload.is_set():
        reloadable.reload_soon()
    return http_tasks


def _address(config: Config, worker: Worker | None) -> Address:
    return config.authz.worker_address(worker.index if worker else 0)


def _close_http(config: Config, listeners: Sequence[socket.socket], *, is_worker: bool) -> None:
    for listener in listeners:
        listener.close()
    # The Unix socket of several workers belongs to their parent.
    if not is_worker:
        forget_http(config)


async def _finish(tasks: Sequence[asyncio.Task[None]]) -> None:
    await asyncio.gather(*tasks)


async def _stop_checks(grpc_server: "GrpcServer | Http2Server", usage: UsageRecording) -> None:
    """Stop the checks, and then the usage records, which Envoy sends until its last check."""
    try:
        await grpc_server.stop(STOP_GRACE_SECONDS)
    finally:
        await usage.stop(STOP_GRACE_SECONDS)


def _grpc_server(
    config: Config,
    address: Address,
    reloadable: Reloadable,
    records: RequestRecords | None,
    traces: "CheckTraces | None",
) -> "GrpcServer | Http2Server":
    methods: dict[str, UnaryMethod | ClientStream] = {
        ext_authz.METHOD: UnaryMethod(
            reloadable.check,
            immediate=reloadable.is_immediate,
            traced=traces.traced if traces is not None else None,
        ),
        refused_keys.METHOD: ClientStream(reloadable.receive, refused_keys.RESPONSE),
    }
    if records is not None:
        methods[receiver.METHOD] = UnaryMethod(records.receive, immediate=True)
    tls = TlsFiles(config.authz.tls) if config.authz.tls else None
    if config.authz.transport == "grpcio":
        # Imported late: grpcio takes 10 MB, which the other server does not need.
        from authz.transport.grpcio_server import GrpcServer

        return GrpcServer(methods, address, tls=tls)
    return Http2Server(methods, address, tls=tls)


def _http_servers(
    config: Config, app: Starlette, listeners: Sequence[socket.socket]
) -> list[HttpServer]:
    """Return the public server and, if there is a listener for it, Envoy's own server."""
    public, *envoys = listeners
    is_tcp = isinstance(config.authz.http_for_envoy, TcpAddress)
    tls = TlsFiles(config.authz.tls, "http/1.1") if config.authz.tls and is_tcp else None
    return [
        HttpServer(app, public),
        *(HttpServer(from_envoy(app), listener, tls) for listener in envoys),
    ]


def _traces(config: Config, reloadable: Reloadable) -> "CheckTraces | None":
    if config.tracing is None:
        return None
    try:
        from authz.serve.tracing import CheckTraces
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
    return CachingSource(
        source,
        max_staleness=config.identity_max_staleness,
        stale_if_error=config.identity_stale_if_error,
        on_stale=metrics.count_stale,
    )
