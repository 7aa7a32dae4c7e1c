"""Settings of the authz service: its addresses and their protection."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, StrictBool, model_validator

from authz.addresses import Address, TcpAddress, UnixAddress, unix_path_problem
from authz.config.fields import AnyAddress, FilePath, Section, Tcp, Tls


class MutualTls(Tls):
    """TLS in which both sides show a certificate.

    Attributes:
        ca_file: PEM file with the CAs of both sides. Anyone with a certificate from one of them
            can obtain provider keys from authz.
    """

    ca_file: FilePath


class Service(Section):
    """Settings of the authz process.

    Attributes:
        grpc: address for the checks of Envoy: ``unix:PATH`` or ``host:port``.
        transport: implementation of the gRPC server; ``grpcio`` is the reference implementation.
        tls: certificates of the gRPC side. Both sides show a certificate.
        client_tls: the certificate of Envoy. Unset means the certificate of ``tls``.
        insecure: whether ``grpc`` may carry credentials in clear to other machines.
        http: address for health, metrics, the token API and the page.
        envoy_http: the same for Envoy only, which reports the client's address there. It is a
            Unix socket, or an address with the certificates of ``tls``. Unset means a socket
            beside that of ``grpc``. If ``grpc`` is not a socket, Envoy uses ``http``, and authz
            ignores the reported address.
        workers: number of processes, each with its own address beside ``grpc``. Unset means one.
            ``authz envoy render`` gives Envoy the address of each.
    """

    grpc: AnyAddress = UnixAddress("./.authz/authz.sock")
    transport: Literal["http2", "grpcio"] = "http2"
    tls: MutualTls | None = None
    client_tls: Tls | None = None
    insecure: StrictBool = False
    http: Tcp = TcpAddress("127.0.0.1", 8081)
    envoy_http: AnyAddress | None = None
    workers: Annotated[int, Field(strict=True, ge=1, le=64)] | None = None

    @property
    def grpc_addresses(self) -> tuple[Address, ...]:
        """The addresses of the workers, one if their number is not set."""
        return tuple(self.worker_address(index) for index in range(self.workers or 1))

    def worker_address(self, index: int) -> Address:
        """Return the address of a worker: ``grpc`` for the first, one beside it for the others.

        Args:
            index: from 0. ``authz.sock`` becomes ``authz-1.sock``, port 9001 becomes 9002.
        """
        if index == 0:
            return self.grpc
        if isinstance(self.grpc, UnixAddress):
            path = Path(self.grpc.path)
            return UnixAddress(str(path.with_name(f"{path.stem}-{index}{path.suffix}")))
        return TcpAddress(self.grpc.host, self.grpc.port + index)

    @property
    def http_for_envoy(self) -> Address | None:
        """The HTTP address that only Envoy can reach, or None."""
        if self.envoy_http is not None or not isinstance(self.grpc, UnixAddress):
            return self.envoy_http
        path = Path(self.grpc.path)
        return UnixAddress(str(path.with_name(f"{path.stem}-http{path.suffix}")))

    @model_validator(mode="after")
    def _for_envoy_alone(self) -> Self:
        address = self.http_for_envoy
        if isinstance(address, UnixAddress):
            problem = unix_path_problem(address.path)
            if problem:
                raise ValueError(f"envoy_http: {address.path}: {problem}")
        elif address is not None and self.in_clear(address):
            raise ValueError(
                "envoy_http: other machines could connect to it as Envoy: set tls, use unix:path "
                "or a loopback host, or set insecure: true"
            )
        return self

    @model_validator(mode="after")
    def _room_for_workers(self) -> Self:
        last = self.worker_address((self.workers or 1) - 1)
        if isinstance(last, TcpAddress) and last.port > 65535:
            raise ValueError(f"workers: {self.workers} from {self.grpc} on need ports above 65535")
        return self

    @property
    def envoy_tls(self) -> Tls | None:
        """The certificate that Envoy presents, or None without TLS."""
        return None if self.tls is None else self.client_tls or self.tls

    def in_clear(self, address: TcpAddress) -> bool:
        """Return whether checks would leave the machine in clear although that is not allowed."""
        return self.tls is None and not self.insecure and not address.is_loopback

    @model_validator(mode="after")
    def _protected(self) -> Self:
        if isinstance(self.grpc, UnixAddress):
            if self.tls is not None and not isinstance(self.envoy_http, TcpAddress):
                raise ValueError("tls: needs grpc to be host:port, not a Unix socket")
        elif self.in_clear(self.grpc):
            raise ValueError(
                "grpc: credentials would cross the network in clear: set tls, use unix:path or a "
                "loopback host, or set insecure: true"
            )
        return self

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.tls is None:
            if self.client_tls is not None:
                raise ValueError("client_tls: needs tls")
            return self
        if self.insecure:
            raise ValueError("insecure: can't be combined with tls: remove one")
        return self
