"""The reference server, by grpcio: Envoy's Authorization service and the health service."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from authz import access_log
from authz.addresses import Address, UnixAddress
from authz.errors import StartError
from authz.ext_authz import METHOD
from authz.mutual_tls import TlsFiles, keep_fresh
from authz.serving import (
    DRAIN_SECONDS,
    CheckHandler,
    LogHandler,
    TracedHandler,
    can_listen,
    remove_stale_socket,
)
from authz.usage import receiver

_MAX_MESSAGE_BYTES = 1 << 20
"""A check holds headers only, and Envoy takes at most 60 KiB of them."""


class GrpcServer:
    """Serves checks on one address.

    Args:
        check: answers a check; it must not raise.
        address: a Unix socket, made with mode 0600, or a TCP address.
        receive_log: takes messages of the access log stream without raising; None serves none.
        receive_requests: takes OpenTelemetry's log exports without raising; None serves none.
        traced: makes what answers a check that Envoy traces, out of its ``traceparent``.
        tls: the certificate to show and whose clients to serve; None serves in clear.
    """

    def __init__(
        self,
        check: CheckHandler,
        address: Address,
        receive_log: LogHandler | None = None,
        receive_requests: CheckHandler | None = None,
        *,
        traced: TracedHandler | None = None,
        tls: TlsFiles | None = None,
    ) -> None:
        self._check = check
        self._traced = traced
        self._receive_log = receive_log
        self._receive_requests = receive_requests
        self._stopping = asyncio.Event()
        self._address = address
        self._tls = tls
        self._tls_task: asyncio.Task[None] | None = None
        self._health = health.aio.HealthServicer()
        self._server = grpc.aio.server(
            options=[
                # Two servers on one port would share Envoy's connections by chance.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
                # Envoy asks several times a second whether its connection lives.
                ("grpc.http2.max_ping_strikes", 0),
            ]
        )

    async def start(self) -> None:
        """Bind and serve.

        Raises:
            StartError: the address is in use or can't be bound.
        """
        answer = self._answer if self._traced is None else self._answer_traced
        self._add(METHOD, grpc.unary_unary_rpc_method_handler(answer))
        if self._receive_log is not None:
            self._serve_log(self._receive_log)
        if self._receive_requests is not None:
            self._serve_requests(self._receive_requests)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            self._bind()
        except (OSError, RuntimeError) as error:
            why = error.strerror if isinstance(error, OSError) else "can't listen there"
            raise StartError(f"authz.grpc: {self._address}: {why}") from None
        await self._server.start()
        if self._tls is not None:
            self._tls_task = asyncio.create_task(keep_fresh(self._tls, _nothing))
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_seconds: float) -> None:
        """Take no new checks, let those in flight finish, at most ``grace_seconds``.

        gRPC removes a Unix socket of its own at the beginning. Later it may be a successor's.
        Over TCP Envoy is first given a moment to turn to others.
        """
        await self._health.enter_graceful_shutdown()
        if self._tls_task is not None:
            self._tls_task.cancel()
        if not isinstance(self._address, UnixAddress):
            await asyncio.sleep(min(DRAIN_SECONDS, grace_seconds))
        self._stopping.set()
        await self._server.stop(grace_seconds)

    async def _answer(self, request: bytes, _context: object) -> bytes:
        return await self._check(request)

    async def _answer_traced(
        self, request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]
    ) -> bytes:
        for name, value in context.invocation_metadata() or ():
            if name == "traceparent" and self._traced is not None:
                parent = value if isinstance(value, bytes) else value.encode("latin-1")
                return await self._traced(parent)(request)
        return await self._check(request)

    def _serve_log(self, receive: LogHandler) -> None:
        async def read_all(messages: AsyncIterator[bytes]) -> None:
            async for message in messages:
                receive(message)

        async def read(messages: AsyncIterator[bytes], _context: object) -> bytes:
            # The stream goes on for ever, which a stop must not wait for.
            stopping = asyncio.create_task(self._stopping.wait())
            reading = asyncio.create_task(read_all(messages))
            try:
                await asyncio.wait({stopping, reading}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopping.cancel()
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            return access_log.ANSWER

        self._add(access_log.METHOD, grpc.stream_unary_rpc_method_handler(read))

    def _serve_requests(self, receive: CheckHandler) -> None:
        async def answer(message: bytes, _context: object) -> bytes:
            return await receive(message)

        self._add(receiver.METHOD, grpc.unary_unary_rpc_method_handler(answer))

    def _add(self, path: str, handler: "grpc.RpcMethodHandler[bytes, bytes]") -> None:
        service, method = path.strip("/").split("/")
        # Without (de)serializers the handler gets and gives bytes.
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: handler}),)
        )

    def _bind(self) -> None:
        if not isinstance(self._address, UnixAddress):
            # gRPC itself says of a taken port only that it failed, in lines of its own.
            can_listen(self._address)
            if self._tls is None:
                self._server.add_insecure_port(str(self._address))
            else:
                self._server.add_secure_port(str(self._address), _credentials(self._tls))
            return
        path = Path(self._address.path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_stale_socket(path)
        # Whoever can connect can ask for provider keys.
        mask = os.umask(0o177)
        try:
            self._server.add_insecure_port(f"unix:{path}")
        finally:
            os.umask(mask)


async def _nothing() -> None:
    """Each handshake asks for the files of now."""


def _credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    def now() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration(
            [(tls.key, tls.chain)], root_certificates=tls.authorities
        )

    return grpc.dynamic_ssl_server_credentials(now(), now, require_client_authentication=True)
