"""A name server on loopback whose answers a test chooses."""

import contextlib
import ipaddress
import socket
import struct
import threading
from collections.abc import Sequence
from typing import Self

_A, _AAAA = 1, 28


class NameServer:
    """A DNS server over UDP with the names that a test sets; it answers NXDOMAIN to the rest.

    Attributes:
        asked: every name that was asked for, in lower case.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self._answers: dict[str, list[list[str]]] = {}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, name="dns", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        port: int = self._socket.getsockname()[1]
        return port

    def set(self, name: str, *answers: Sequence[str]) -> None:
        """Give a name its addresses.

        Args:
            name: without a trailing dot.
            answers: one list of addresses for each question in turn; the last one stays.
        """
        self._answers[name.lower()] = [list(answer) for answer in answers]

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Stop."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)

    def _serve(self) -> None:
        while True:
            try:
                question, client = self._socket.recvfrom(4096)
            except OSError:
                return
            if not question:
                return
            with contextlib.suppress(OSError):
                self._socket.sendto(self._answer(question), client)

    def _answer(self, message: bytes) -> bytes:
        name, end = _read_name(message, 12)
        (kind,) = struct.unpack_from(">H", message, end)
        self.asked.append(name)
        known = self._answers.get(name)
        addresses: list[str] = []
        if known is not None:
            # The first question about a name is for one family only when it has but one answer.
            addresses = known[0]
            if kind == _A and len(known) > 1:
                known.pop(0)
        records = []
        for address in map(ipaddress.ip_address, addresses):
            if (address.version == 4) == (kind == _A) and kind in (_A, _AAAA):
                data = address.packed
                # The name by a pointer to the question; one second to live.
                records.append(struct.pack(">HHHIH", 0xC00C, kind, 1, 1, len(data)) + data)
        flags = 0x8180 if known is not None else 0x8183
        header = message[:2] + struct.pack(">HHHHH", flags, 1, len(records), 0, 0)
        return header + message[12 : end + 4] + b"".join(records)


def _read_name(message: bytes, at: int) -> tuple[str, int]:
    labels = []
    while length := message[at]:
        labels.append(message[at + 1 : at + 1 + length].decode("latin-1").lower())
        at += 1 + length
    return ".".join(labels), at + 1
