"""The reference server: serves methods and the health service with grpcio."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeAlias

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from authz.addresses import Address, UnixAddress
from authz.core.header_names import ROUTE_HEADER
from authz.delayed import DelayedResponse
from authz.errors import StartError
from authz.transport.common import (
    DRAIN_SECONDS,
    BidiStream,
    ClientStream,
    Methods,
    UnaryMethod,
    remove_stale_socket,
    require_free,
    services_of,
)
from authz.transport.mutual_tls import TlsFiles, keep_fresh

_MAX_MESSAGE_BYTES = 1 << 20
"""A check holds only headers, and Envoy accepts at most 60 KiB of them."""

_Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
_UnaryHandler = Callable[[bytes, _Context], Awaitable[bytes]]
_ConversationHandler = Callable[[AsyncIterator[bytes], _Context], Awaitable[None]]
_StreamHandler = Callable[[AsyncIterator[bytes], object], Awaitable[bytes]]


class GrpcServer:
    """Serves methods and their health on one address.

    Args:
        methods: the methods to serve; their handlers must not raise.
        address: a Unix socket, created with mode 0600, or a TCP address.
        tls: the server's certificate and the CA of its clients; None serves in clear.
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
                # Two servers on one port would share Envoy's connections at random.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
                # Envoy sends several PINGs a second to check its connection.
                ("grpc.http2.max_ping_strikes", 0),
            ]
        )

    async def start(self) -> None:
        """Bind and serve.

        Raises:
            StartError: the address is in use or can't be bound.
        """
        for path, method in self._methods.items():
            if isinstance(method, BidiStream):
                handle = self._conversation_handler(method)
                self._add(path, grpc.stream_stream_rpc_method_handler(handle))
            elif isinstance(method, ClientStream):
                self._add(path, grpc.stream_unary_rpc_method_handler(self._stream_handler(method)))
            else:
                self._add(path, grpc.unary_unary_rpc_method_handler(self._unary_handler(method)))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        try:
            self._bind()
        except (OSError, RuntimeError) as error:
            why = error.strerror if isinstance(error, OSError) else "can't listen on this address"
            raise StartError(f"authz.grpc: {self._address}: {why}") from None
        await self._server.start()
        if self._tls is not None:
            self._tls_task = asyncio.create_task(keep_fresh(self._tls, _nothing))
        for service in ("", *services_of(self._methods)):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)

    async def stop(self, grace_seconds: float) -> None:
        """Accept no new calls, and let those in flight finish for at most ``grace_seconds``.

        gRPC removes its Unix socket first; later the path may belong to a successor. Over TCP the
        server first waits, so that Envoy can turn to other servers.
        """
        await self._health.enter_graceful_shutdown()
        if self._tls_task is not None:
            self._tls_task.cancel()
        if not isinstance(self._address, UnixAddress):
            await asyncio.sleep(min(DRAIN_SECONDS, grace_seconds))
        self._stopping.set()
        await self._server.stop(grace_seconds)

    def _unary_handler(self, method: UnaryMethod) -> _UnaryHandler:
        handler, traced = method.handler, method.traced

        async def handle(request: bytes, context: _Context) -> bytes:
            answer = handler
            if traced is not None:
                for name, value in context.invocation_metadata() or ():
                    if name == "traceparent":
                        parent = value if isinstance(value, bytes) else value.encode("latin-1")
                        answer = traced(parent)
                        break
            response = answer(request)
            if not isinstance(response, bytes):
                response = await response
            if isinstance(response, DelayedResponse):
                # Until the server stops, at most.
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), response.seconds)
                # gRPC takes bytes alone, and none of a subclass.
                return bytes(response)
            return response

        return handle

    def _stream_handler(self, method: ClientStream) -> _StreamHandler:
        async def read_all(messages: AsyncIterator[bytes]) -> None:
            async for message in messages:
                method.receive(message)

        async def read(messages: AsyncIterator[bytes], _context: object) -> bytes:
            # The stream never ends on its own, and a stop must not wait for it.
            stopping = asyncio.create_task(self._stopping.wait())
            reading = asyncio.create_task(read_all(messages))
            try:
                await asyncio.wait({stopping, reading}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopping.cancel()
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            return method.response

        return read

    def _conversation_handler(self, method: BidiStream) -> _ConversationHandler:
        async def talk(messages: AsyncIterator[bytes], context: _Context) -> None:
            route = dict(context.invocation_metadata() or ()).get(ROUTE_HEADER, "")
            answers: asyncio.Queue[bytes] = asyncio.Queue()
            conversation = method.open(str(route), answers.put_nowait)

            async def read() -> None:
                async for message in messages:
                    if (answer := conversation.receive(message)) is not None:
                        answers.put_nowait(answer)

            async def write() -> None:
                while True:
                    await context.write(await answers.get())

            reading = asyncio.create_task(read())
            others = [asyncio.create_task(write()), asyncio.create_task(self._stopping.wait())]
            try:
                await asyncio.wait({reading, *others}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                conversation.ended()
                for task in (reading, *others):
                    task.cancel()
                await asyncio.gather(reading, *others, return_exceptions=True)
            if self._stopping.is_set():
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the server stops")

        return talk

    def _add(self, path: str, handler: "grpc.RpcMethodHandler[bytes, bytes]") -> None:
        service, method = path.strip("/").split("/")
        # Without serializers the handler takes and returns bytes.
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: handler}),)
        )

    def _bind(self) -> None:
        if not isinstance(self._address, UnixAddress):
            # gRPC does not tell why it can't use a port, so we try it first.
            require_free(self._address)
            if self._tls is None:
                self._server.add_insecure_port(str(self._address))
            else:
                self._server.add_secure_port(str(self._address), _credentials(self._tls))
            return
        path = Path(self._address.path)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        remove_stale_socket(path)
        # A process that can connect can obtain provider keys.
        mask = os.umask(0o177)
        try:
            self._server.add_insecure_port(f"unix:{path}")
        finally:
            os.umask(mask)


async def _nothing() -> None:
    """Do nothing, since gRPC asks for the current files in each handshake."""


def _credentials(tls: TlsFiles) -> grpc.ServerCredentials:
    def now() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration(
            [(tls.key, tls.chain)], root_certificates=tls.authorities
        )

    return grpc.dynamic_ssl_server_credentials(now(), now, require_client_authentication=True)
