"""The collector, which takes log records with OTLP over gRPC."""

import grpc
import grpc.aio

from authz.certificates.trust import system_roots
from authz.config.export import Export
from authz.errors import AuthzError, ConfigError
from authz.pb import otlp_export_pb2 as pb

METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
SECONDS = 10.0
"""The time for one call."""
_OPTIONS = (
    # A collector behind a name may move to another address.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.max_reconnect_backoff_ms", 10_000),
)


class NotExported(AuthzError):  # noqa: N818 - a state of the collector
    """The collector has not accepted records, and may accept them later."""


class Rejected(NotExported):
    """The collector will never accept these records."""


class Collector:
    """The receiver of records.

    Args:
        settings: name the collector.

    Raises:
        ConfigError: ``ca_file`` can't be read.
    """

    def __init__(self, settings: Export) -> None:
        url = settings.otlp
        host = f"[{url.host}]" if ":" in url.host else url.host
        self._target = f"{host}:{url.port}"
        self._roots: bytes | None = None
        if url.tls:
            try:
                self._roots = (settings.ca_file or system_roots()).read_bytes()
            except OSError as error:
                raise ConfigError([f"export.ca_file: can't be read: {error.strerror}"]) from None
        self._channel: grpc.aio.Channel | None = None

    async def send(self, request: bytes) -> int:
        """Send an ``ExportLogsServiceRequest`` once.

        Returns:
            The number of records that the collector rejected, which must not be sent again.

        Raises:
            Rejected: the collector rejected all of them.
            NotExported: the collector did not accept them in time. The message does not quote it.
        """
        export: grpc.aio.UnaryUnaryMultiCallable[bytes, pb.ExportLogsServiceResponse]
        export = self._opened().unary_unary(METHOD, response_deserializer=_response)
        try:
            response = await export(request, timeout=SECONDS)
        except grpc.aio.AioRpcError as error:
            code = error.code()
            kind = Rejected if code is grpc.StatusCode.INVALID_ARGUMENT else NotExported
            raise kind(f"gRPC status {code.name}") from None
        return max(0, int(response.partial_success.rejected_log_records))

    async def close(self) -> None:
        """Close the connection."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(grace=None)

    def _opened(self) -> grpc.aio.Channel:
        # Created at the first call, because it belongs to the event loop that runs then.
        if self._channel is None:
            self._channel = (
                grpc.aio.insecure_channel(self._target, options=_OPTIONS)
                if self._roots is None
                else grpc.aio.secure_channel(
                    self._target, grpc.ssl_channel_credentials(self._roots), options=_OPTIONS
                )
            )
        return self._channel


def _response(message: bytes) -> pb.ExportLogsServiceResponse:
    try:
        return pb.ExportLogsServiceResponse.FromString(message)
    except ValueError:
        return pb.ExportLogsServiceResponse()
