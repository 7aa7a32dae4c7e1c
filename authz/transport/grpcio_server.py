"""The reference server, by grpcio: the methods it is given and the health service."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from authz.addresses import Address, UnixAddress
from authz.errors import StartError
from authz.transport.common import (
    DRAIN_SECONDS,
    ClientStream,
    Methods,
    UnaryMethod,
    can_listen,
    remove_stale_socket,
    services_of,
)
from authz.transport.mutual_tls import TlsFiles, keep_fresh

_MAX_MESSAGE_BYTES = 1 << 20
"""A check holds headers only, and Envoy takes at most 60 KiB of them."""

_Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
_UnaryHandler = Callable[[bytes, _Context], Awaitable[bytes]]
_StreamHandler = Callable[[AsyncIterator[bytes], object], Awaitable[bytes]]


class GrpcServer:
    """Serves methods and their health on one address.

    Args:
        methods: the methods to serve; their handlers must not raise.
        address: a Unix socket, made with mode 0600, or a TCP address.
        tls: the certificate to show and whose clients to serve; None serves in clear.
    """

    def __init__(self, methods: Methods, address: Address, *, tls: TlsFiles | None = None) -> None:
        self._methods = methods
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
        for path, method in self._methods.items():
            if isinstance(method, ClientStream):
                self._add(path, grpc.stream_unary_rpc_method_handler(self._reading(method)))
            else:
                self._add(path, grpc.unary_unary_rpc_method_handler(_answering(method)))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            self._bind()
        except (OSError, RuntimeError) as error:
            why = error.strerror if isinstance(error, OSError) else "can't listen there"
            raise StartError(f"authz.grpc: {self._address}: {why}") from None
        await self._server.start()
        if self._tls is not None:
            self._tls_task = asyncio.create_task(keep_fresh(self._tls, _nothing))
        for service in ("", *services_of(self._methods)):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

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

    def _reading(self, method: ClientStream) -> _StreamHandler:
        async def read_all(messages: AsyncIterator[bytes]) -> None:
            async for message in messages:
                method.receive(message)

        async def read(messages: AsyncIterator[bytes], _context: object) -> bytes:
            # The stream never ends by itself, and a stop must not wait for it.
            stopping = asyncio.create_task(self._stopping.wait())
            reading = asyncio.create_task(read_all(messages))
            try:
                await asyncio.wait({stopping, reading}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopping.cancel()
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            return method.answer

        return read

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


def _answering(method: UnaryMethod) -> _UnaryHandler:
    answer, traced = method.answer, method.traced

    async def answer_call(request: bytes, _context: _Context) -> bytes:
        return await answer(request)

    async def answer_traced_call(request: bytes, context: _Context) -> bytes:
        for name, value in context.invocation_metadata() or ():
            if name == "traceparent" and traced is not None:
                parent = value if isinstance(value, bytes) else value.encode("latin-1")
                return await traced(parent)(request)
        return await answer(request)

    return answer_call if traced is None else answer_traced_call


async def _nothing() -> None:
    """Each handshake asks for the files of now."""


def _credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    def now() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration(
            [(tls.key, tls.chain)], root_certificates=tls.authorities
        )

    return grpc.dynamic_ssl_server_credentials(now(), now, require_client_authentication=True)
