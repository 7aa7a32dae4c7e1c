"""The authz service: the gRPC and the HTTP side in one event loop, from start to graceful stop."""

import asyncio
import gc
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import structlog
import uvloop
from starlette.applications import Starlette
from starlette.routing import Route

from authz.addresses import Address, TcpAddress
from authz.check import ext_authz, refused_keys
from authz.check.entry_ids import EntryIds
from authz.config.settings import Config
from authz.core.identity import IdentitySource
from authz.device.claude import claude_routes
from authz.device.endpoints import device_routes
from authz.device.grants import DeviceGrants
from authz.errors import StartError
from authz.identity.caching_source import CachingSource
from authz.identity.open import open_source
from authz.metrics import Metrics
from authz.oauth.server_metadata import metadata_route, request_origin
from authz.oauth.token_endpoint import Grant, token_route
from authz.prices.current import CurrentPrices
from authz.sds.leaves import make_leaves
from authz.sds.secret_files import write_secrets
from authz.serve import limiting
from authz.serve.assigned import start_assigned
from authz.serve.budgets import settling, start_budgets
from authz.serve.cooldowns import open_sharing
from authz.serve.exports import start_export
from authz.serve.notices import Notices
from authz.serve.reloading import Reloadable
from authz.serve.streams import watch_streams
from authz.serve.systemd import Notifier
from authz.serve.workers import Worker
from authz.transport.common import BidiStream, ClientStream, Method, UnaryMethod
from authz.transport.http2.server import Http2Server
from authz.transport.mutual_tls import TlsFiles
from authz.usage import receiver
from authz.usage.answered import AnsweredRequests
from authz.usage.entry import UsageEntry
from authz.usage.metrics import UsageMetrics
from authz.usage.receiver import RequestRecords
from authz.usage.service import UsageRecording
from authz.web.api.app import create_api
from authz.web.api.call import Services
from authz.web.app import create_app
from authz.web.own_store import OwnStore
from authz.web.pages.app import create_pages
from authz.web.pages.context import GatewayState, Pages
from authz.web.readiness import LASTS_SECONDS, Readiness
from authz.web.server import HttpServer, forget_http, from_envoy, listen_http
from authz.web.sign_in import SignIn
from authz.web.usage_rows import UsageRows

if TYPE_CHECKING:
    from authz.serve.tracing import CheckTraces
    from authz.transport.grpcio_server import GrpcServer

_log = structlog.get_logger(__name__)

STOP_GRACE_SECONDS = 5.0
"""Time for checks in flight to finish; Envoy's own timeout is 2 s."""
TRACES_GRACE_SECONDS = 1.0
"""Time to send the last spans."""


def run(
    load: Callable[[], Config], worker: Worker | None = None, notifier: Notifier | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP reads the configuration again.

    Args:
        load: reads the configuration, now and on SIGHUP.
        worker: this process among several workers; None if it is the only process.
        notifier: is told the state of this process.

    Raises:
        AuthzError: the configuration, the identity source or an address can't be used.
    """
    uvloop.run(serve(load(), load, worker, notifier))


async def serve(
    config: Config,
    load: Callable[[], Config],
    worker: Worker | None = None,
    notifier: Notifier | None = None,
) -> None:
    """Serve until this process gets SIGTERM or SIGINT; the arguments are those of ``run``."""
    notifier = notifier or Notifier()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    # The parts stop in reverse order, also those of a start that fails halfway.
    async with AsyncExitStack() as parts:
        http_tasks = await _start(config, load, worker, notifier, parts)
        # Objects that exist now stay. A search through all of them for garbage would delay every
        # check, by 30 ms at a time.
        gc.collect()
        gc.freeze()
        _log.info("authz serves", grpc=str(_address(config, worker)), http=str(config.authz.http))
        stop_task = asyncio.create_task(stop.wait())
        await asyncio.wait({stop_task, *http_tasks}, return_when=asyncio.FIRST_COMPLETED)
        notifier.stopping()
    _log.info("authz stopped")


async def _start(
    config: Config,
    load: Callable[[], Config],
    worker: Worker | None,
    notifier: Notifier,
    parts: AsyncExitStack,
) -> Sequence[asyncio.Task[None]]:
    """Start every part, and return the tasks of the HTTP servers.

    Args:
        parts: gets the function that stops each part.
    """
    loop = asyncio.get_running_loop()
    # A SIGHUP before this process can reload may mean that ``config`` is old already.
    early_reload = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, early_reload.set)
    # The parent of several workers starts them with it blocked.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGHUP])
    make_leaves(config)
    write_secrets(config)
    metrics = Metrics()
    if worker is not None:
        # The last counts, when nothing counts any more.
        parts.callback(metrics.tallies.flush)
        parts.callback(asyncio.create_task(metrics.tallies.keep_shared()).cancel)
    source = await _open_source(config, metrics)
    parts.push_async_callback(source.close)
    own_store = OwnStore(config.identity, config.audit_keep_days, config.tokens.max_per_user)
    parts.push_async_callback(own_store.close)

    ids = EntryIds()
    prices = CurrentPrices(config, lambda: reloadable.config)
    usage = UsageRecording(
        config,
        ids,
        UsageMetrics(
            metrics.registry, by_user=config.usage.metrics_by_user, tallies=metrics.tallies
        ),
        lambda: prices.cost_if_any,
        start_export(config, metrics.registry, worker, parts),
    )
    assigned = await start_assigned(config, parts)
    limit_gate = limiting.open_limits(config, metrics, assigned)
    if limit_gate is not None:
        limit_gate.start()
        parts.push_async_callback(limit_gate.stop, STOP_GRACE_SECONDS)
    answered = AnsweredRequests(usage.record) if config.usage.enabled else None
    notices = Notices(config, own_store.get, metrics, sends=worker is None or worker.index == 0)
    budgets = await start_budgets(config, prices, notices.wake, parts)
    # A limit is asked first: a budget's transaction costs more.
    gates = [gate for gate in (limit_gate, budgets) if gate is not None]
    sharing = open_sharing(config, metrics.registry, lambda: reloadable)

    def swapped(config: Config) -> None:
        limiting.apply(limit_gate, config)
        own_store.use(config.audit_keep_days, config.tokens.max_per_user)
        usage.keep(config.usage.keep_days)
        if sharing is not None:
            sharing.pools_changed()

    reloadable = Reloadable(
        config,
        load,
        source,
        metrics,
        ids,
        notifier,
        answered,
        gates=gates,
        assigned=assigned,
        swapped=swapped,
        on_exhausted=notices.keys_exhausted,
        on_refused=None if sharing is None else sharing.refused,
    )
    parts.callback(reloadable.join)
    if sharing is not None:
        sharing.start()
        parts.push_async_callback(sharing.stop)
    usage_rows = UsageRows(lambda: reloadable.config)
    parts.push_async_callback(usage_rows.close)
    records = None
    if config.usage.enabled:
        record: Callable[[UsageEntry], None] = usage.record
        if budgets is not None:
            record = settling(record, budgets)
        records = RequestRecords(
            limiting.recording(limit_gate, record),
            reloadable.key_refused,
            usage.report,
            reloadable.record_kinds,
        )
    sign_in = SignIn(passwords=config.sign_in.passwords)
    secure = config.is_public_over_tls
    api = create_api(
        Services(
            own_store,
            sign_in,
            secure,
            lambda: reloadable.config.provider_names,
            lambda: reloadable.config,
            lambda: reloadable.keyring,
            usage_rows,
        )
    )
    pages = _pages(
        config,
        Pages(
            own_store,
            sign_in,
            secure,
            lambda: reloadable.config,
            usage_rows,
            lambda: reloadable.keyring,
            gateway=GatewayState(lambda: reloadable.pools, metrics),
        ),
        parts,
    )
    routes = _oauth_routes(config, own_store, parts, reloadable)
    app = create_app(source, metrics, config.proxy, api, pages, lambda: usage.problem, routes)

    http_tasks: list[asyncio.Task[None]] = []
    listeners = worker.listeners if worker else listen_http(config)
    parts.callback(_close_http, config, listeners, is_worker=worker is not None)
    parts.push_async_callback(_finish, http_tasks)
    http_servers = _http_servers(config, app, listeners)
    traces = _traces(config, reloadable)
    if traces is not None:
        parts.push_async_callback(traces.stop, TRACES_GRACE_SECONDS)
    watched = watch_streams(config, source, reloadable, metrics, parts)
    grpc_server = _grpc_server(
        config, _address(config, worker), reloadable, records, traces, watched
    )

    loop.add_signal_handler(signal.SIGHUP, reloadable.reload_soon)
    if early_reload.is_set():
        # Before the first check, because Envoy may have the routes of the new one by now.
        await reloadable.reload()
    await grpc_server.start()
    usage.start()
    parts.push_async_callback(_stop_checks, grpc_server, usage)
    http_tasks += [asyncio.create_task(server.run_until_stopped()) for server in http_servers]
    for server in http_servers:
        parts.callback(server.stop)
    parts.callback(asyncio.create_task(own_store.keep_audit_short()).cancel)
    notices.start(parts)
    reloadable.start()
    parts.callback(reloadable.stop)
    if notifier.is_on:
        parts.callback(asyncio.create_task(_tell_ready(source, notifier)).cancel)
        parts.callback(asyncio.create_task(notifier.stay_alive()).cancel)
    return http_tasks


async def _tell_ready(source: IdentitySource, notifier: Notifier) -> None:
    """Report readiness as soon as the identity source can decide checks, as ``/readyz`` does."""
    readiness = Readiness(source)
    while not await readiness.get():
        notifier.waiting("the identity source")
        await asyncio.sleep(LASTS_SECONDS)
    notifier.ready()


def _pages(config: Config, pages: Pages, parts: AsyncExitStack) -> Starlette:
    """Return the pages, with the sign-in of OpenID providers if there are any."""
    if not config.sign_in.oidc:
        return create_pages(pages)
    # Imported late: the libraries for JWTs take some megabytes.
    from authz.oidc.pages import OidcPages

    oidc = OidcPages(config)
    parts.push_async_callback(oidc.close)
    pages = replace(pages, providers=oidc.titles, end_session=oidc.end_session)
    return create_pages(pages, oidc.pages)


def _oauth_routes(
    config: Config, own_store: OwnStore, parts: AsyncExitStack, reloadable: Reloadable
) -> list[Route]:
    """Return the token endpoint and what belongs to its grants, if one is switched on."""
    grants: dict[str, Grant] = {}
    routes: list[Route] = []
    if config.sign_in.machines is not None:
        # Imported late: the libraries for JWTs take some megabytes.
        from authz.oauth.machines import MachineGrants

        machines = MachineGrants(config.sign_in.machines)
        parts.push_async_callback(machines.close)
        grants.update(machines.grants)
    if config.claude_code_providers:
        device = DeviceGrants(config.sign_in.claude_code)
        grants.update(device.grants)
        routes += device_routes(
            own_store,
            grants,
            lambda: [one.name for one in reloadable.config.claude_code_providers],
            str(config.sign_in.url).rstrip("/") if config.sign_in.url else None,
        )
        routes += claude_routes(own_store, config.sign_in.claude_code)
    elif grants:
        origin = partial(request_origin, is_https=config.is_public_over_tls)
        routes.append(metadata_route(grants, origin=origin))
    return [token_route(grants, own_store), *routes] if grants else []


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
    watched: Mapping[str, BidiStream],
) -> "GrpcServer | Http2Server":
    methods: dict[str, Method] = {
        **watched,
        ext_authz.METHOD: UnaryMethod(
            reloadable.answer,
            immediate=True,
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
        config.identity,
        ca_file=config.identity_ca_file,
        on_batch=metrics.looked_up_together,
        own_keys=config.own_keys is not None,
    )
    if not config.identity_max_staleness and not config.identity_stale_if_error:
        return source
    return CachingSource(
        source,
        max_staleness=config.identity_max_staleness,
        stale_if_error=config.identity_stale_if_error,
        on_stale=metrics.count_stale,
    )
