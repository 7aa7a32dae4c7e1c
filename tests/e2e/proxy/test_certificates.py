"""The CA and the leaf certificates, with an Envoy that uses them."""

import datetime
import ssl
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml
from cryptography import x509

from authz.certificates import leaves
from authz.certificates.ca import load_ca, make_ca
from authz.certificates.leaves import ensure_leaf, leaf_file
from authz.config.loading import load
from authz.config.settings import Config
from authz.sds.leaves import make_leaves
from tests.e2e.proxy.pairs import HOSTS, Proxied
from tests.support import raw
from tests.support.pair import Pair, wait_until
from tests.support.tls import Connect, credentials, trusting

OPENAI = HOSTS["openai"]
CONNECTIONS = 10
"""New connections of which one meets each thread of Envoy's: the kernel chooses one of two."""
CA_PATHS = ("/api/v2/ai-gateway/proxy/ca-cert.pem", "/api/v2/aibridge/proxy/ca-cert.pem")


def _leaf(proxy: Proxied, host: str = OPENAI, **options: bool) -> x509.Certificate:
    """Return the certificate that a new connection sees."""
    context = trusting(proxy.ca_file)
    if options.get("unverified"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    listener = trusting(proxy.listener_ca) if proxy.listener_ca else None
    # TLS in TLS is beyond Python's sockets, so a proxy that speaks TLS itself is not for this.
    assert listener is None
    with Connect(proxy.port, f"{host}:443", credentials(proxy.token)) as connection:
        connection.start_tls(context, host)
        shown = connection.tls.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown)


@pytest.mark.parametrize("host", HOSTS.values())
def test_leaf_of_each_host(proxied: Proxied, host: str) -> None:
    """Each provider's host gets a certificate for its name only, for a month at most."""
    leaf = _leaf(proxied, host)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [host]
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc < datetime.timedelta(days=32)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_versions(proxied: Proxied, version: ssl.TLSVersion) -> None:
    """TLS 1.2 and 1.3 are accepted inside the tunnel."""
    context = trusting(proxied.ca_file)
    context.minimum_version = context.maximum_version = version
    with Connect(proxied.port, f"{OPENAI}:443", credentials(proxied.token)) as connection:
        connection.start_tls(context, OPENAI)
        assert connection.tls.version() == version.name.replace("_", ".")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_tls_is_refused(proxied: Proxied) -> None:
    """TLS 1.1 is refused inside the tunnel."""
    context = trusting(proxied.ca_file)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        Connect(proxied.port, f"{OPENAI}:443", credentials(proxied.token)) as connection,
        pytest.raises((ssl.SSLError, ConnectionResetError)),
    ):
        connection.start_tls(context, OPENAI)


def test_renewal_without_restart(proxied: Proxied, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leaf that expires soon is replaced and served at once, and open tunnels continue."""
    config = _config(proxied.pair, monkeypatch)
    assert config.proxy is not None
    authority = load_ca(config.proxy.ca.cert_file, config.proxy.ca.key_file)
    envoy = proxied.pair.children()["envoy"]
    path = leaf_file(config.leaf_folder, OPENAI)
    with Connect(proxied.port, f"{OPENAI}:443", credentials(proxied.token)) as connection:
        connection.start_tls(trusting(proxied.ca_file), OPENAI)
        with monkeypatch.context() as patch:
            patch.setattr(leaves, "LEAF_LIFETIME", datetime.timedelta(days=9))
            path.unlink()
            assert ensure_leaf(authority, config.leaf_folder, OPENAI)
        # Each of Envoy's threads takes a new certificate by itself.
        _wait_lasts(proxied, lambda days: days < 10, "the short certificate being served")
        make_leaves(config)
        _wait_lasts(proxied, lambda days: days > 28, "the new certificate being served")
        answer = connection.ask(raw.request("GET", "/v1/models", host=OPENAI))
        assert answer.status == 200
    assert proxied.pair.children()["envoy"] == envoy
    assert path.stat().st_mode & 0o777 == 0o600


def _wait_lasts(proxied: Proxied, is_right: Callable[[int], bool], what: str) -> None:
    """Wait until the whole days that new connections' certificates last are right."""

    def days() -> int:
        return (_leaf(proxied).not_valid_after_utc - datetime.datetime.now(datetime.UTC)).days

    wait_until(lambda: all(is_right(days()) for _ in range(CONNECTIONS)), 5, what)


def test_good_leaf_is_kept(proxied: Proxied, monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates that are valid for long enough are not replaced."""
    config = _config(proxied.pair, monkeypatch)
    paths = [leaf_file(config.leaf_folder, host) for host in HOSTS.values()]
    before = [path.read_text() for path in paths]
    make_leaves(config)
    assert [path.read_text() for path in paths] == before


def test_another_ca(proxied: Proxied, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change of the CA, the leaves are replaced and served without a restart."""
    config = _config(proxied.pair, monkeypatch)
    files = [proxied.pair.folder / name for name in ("ca.pem", "ca-key.pem")]
    kept = [file.read_bytes() for file in files]
    try:
        for file in files:
            file.unlink()
        make_ca(files[0], files[1], "Another CA")
        make_leaves(config)
        wait_until(lambda: _serves(proxied, "Another CA"), 5, "the new leaf being served")
        # Verified with the new CA, whose file this is.
        _leaf(proxied)
    finally:
        for file, content in zip(files, kept, strict=True):
            file.write_bytes(content)
        make_leaves(config)
    wait_until(lambda: _serves(proxied, "AI Gateway Proxy"), 5, "the old CA's leaf being served")


def _serves(proxied: Proxied, issuer: str) -> bool:
    """Return whether every thread of Envoy serves a leaf of this CA."""
    return all(
        issuer in _leaf(proxied, unverified=True).issuer.rfc4514_string()
        for _ in range(CONNECTIONS)
    )


def _config(running: Pair, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(running.folder)
    return load(Path("gateway.yaml"))


def test_intermediate_is_sent_along(proxied_tls: Proxied) -> None:
    """A client that trusts only the root accepts leaves of the company's intermediate."""
    assert proxied_tls.listener_ca is not None
    proxy = httpx.Proxy(proxied_tls.url, ssl_context=trusting(proxied_tls.listener_ca))
    with httpx.Client(proxy=proxy, verify=trusting(proxied_tls.ca_file)) as client:
        assert client.get(f"https://{OPENAI}/v1/models").status_code == 200
    shown = leaf_file(proxied_tls.pair.folder / "leaves", OPENAI).read_text()
    chain = yaml.safe_load(shown)["resources"][0]["tls_certificate"]["certificate_chain"]
    names = [
        certificate.subject.rfc4514_string()
        for certificate in x509.load_pem_x509_certificates(chain["inline_string"].encode())
    ]
    assert names == [f"CN={OPENAI}", "CN=Company Gateway"]


@pytest.mark.parametrize("path", CA_PATHS)
def test_ca_certificate_endpoint(proxied: Proxied, path: str) -> None:
    """The gateway gives the CA's certificate only to callers with a valid token."""
    for headers in ({"x-api-key": proxied.token}, {"authorization": f"Bearer {proxied.token}"}):
        answer = httpx.get(f"{proxied.pair.url}{path}", headers=headers)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/x-pem-file"
        assert answer.headers["content-disposition"] == "attachment; filename=ca-cert.pem"
        assert answer.text == proxied.ca_file.read_text()
    for headers in ({}, {"x-api-key": f"{proxied.token[:-1]}!"}, {"x-api-key": "sk-ant-own"}):
        refused = httpx.get(f"{proxied.pair.url}{path}", headers=headers)
        assert refused.status_code == 401
        assert "CERTIFICATE" not in refused.text
    assert (
        httpx.post(f"{proxied.pair.url}{path}", headers={"x-api-key": proxied.token}).status_code
        == 404
    )


def test_ca_certificate_endpoint_of_an_intermediate(proxied_tls: Proxied) -> None:
    """Only the first certificate of the file is returned, and never a key."""
    answer = httpx.get(
        f"{proxied_tls.pair.url}{CA_PATHS[0]}", headers={"x-api-key": proxied_tls.token}
    )
    (certificate,) = x509.load_pem_x509_certificates(answer.content)
    assert certificate.subject.rfc4514_string() == "CN=Company Gateway"
    assert "KEY" not in answer.text


@pytest.mark.parametrize("path", CA_PATHS)
def test_ca_certificate_endpoint_without_proxy(gateway: Pair, path: str) -> None:
    """Without a proxy the certificate is a 404, and a 401 for callers without a token."""
    token = gateway.create_token("alice")
    answer = httpx.get(f"{gateway.url}{path}", headers={"x-api-key": token})
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "not_found_error"
    assert httpx.get(f"{gateway.url}{path}").status_code == 401
