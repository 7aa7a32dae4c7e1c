"""Starting and stopping the stand-in."""

import datetime
import ipaddress
import ssl
import threading
import time
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.ports import free_port
from tests.support.provider import Accounts, Server

ACCOUNTS = Accounts()
BEARER = {"authorization": "Bearer sk-own-0123456789abcdef"}


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[str, str]:
    """Return the files of a self-signed certificate for 127.0.0.1 and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "stand-in")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = tmp_path / "cert.pem", tmp_path / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(cert_file), str(key_file)


def test_server_serves_on_the_given_port_and_frees_it() -> None:
    """A server answers at its URL at once, and leaves neither its port nor a thread behind."""
    port = free_port()
    before = threading.active_count()
    for _ in range(2):
        with Server(ACCOUNTS, port=port) as server:
            assert server.url == f"http://127.0.0.1:{port}"
            answer = httpx.get(f"{server.url}/openai/v1/models", headers=BEARER)
            assert answer.status_code == 200
    with pytest.raises(httpx.ConnectError):
        httpx.get(server.url)
    # Threads of other tests may end meanwhile.
    assert threading.active_count() <= before


def test_port_in_use_is_an_error_for_the_caller() -> None:
    """A taken port raises where the server is entered, not in its thread."""
    with (
        Server(ACCOUNTS) as first,
        pytest.raises(OSError, match="in use"),
        Server(ACCOUNTS, port=first.port),
    ):
        pass


def test_tls(certificate: tuple[str, str]) -> None:
    """With a certificate the stand-in speaks TLS."""
    cert_file, key_file = certificate
    with Server(ACCOUNTS, certfile=cert_file, keyfile=key_file) as server:
        assert server.url.startswith("https://")
        context = ssl.create_default_context(cafile=cert_file)
        answer = httpx.get(f"{server.url}/openai/v1/models", headers=BEARER, verify=context)
    assert answer.status_code == 200


def test_missing_certificate_is_an_error_for_the_caller() -> None:
    """An unreadable certificate raises when the server is made."""
    with pytest.raises(FileNotFoundError):
        Server(ACCOUNTS, certfile="/nowhere/cert.pem", keyfile="/nowhere/key.pem")


def test_stop_does_not_wait_for_a_long_stream() -> None:
    """A stream that would last an hour doesn't keep the server from stopping."""
    call = {"model": "slow-3600", "input": "hi", "stream": True}
    with httpx.Client() as client:
        with Server(ACCOUNTS) as server:
            url = f"{server.url}/openai/v1/responses"
            asked = client.build_request("POST", url, json=call, headers=BEARER)
            stream = client.send(asked, stream=True)
            assert stream.status_code == 200
            began = time.monotonic()
        assert time.monotonic() - began < 100
        stream.close()
