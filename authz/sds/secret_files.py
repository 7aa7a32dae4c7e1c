"""Files in which Envoy finds its certificates, and reads them again when replaced (file SDS)."""

from pathlib import Path

import yaml

from authz.config.fields import Tls
from authz.config.settings import Config
from authz.files import write_whole

SECRET_TYPE = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105


AUTHZ_CLIENT = "authz-client"
"""The name of the secret with the certificate that Envoy presents to authz."""
AUTHZ_CA = "authz-ca"
"""The name of the secret with the CA of authz's certificates."""


def secret_file(config: Config, name: str) -> Path:
    """Return the file that describes a secret. The port separates gateways in one folder.

    Args:
        config: the configuration.
        name: the name of the secret; for a listener's certificate, that of the listener.
    """
    return config.state_folder / "sds" / f"{name}-{config.listen.port}.yaml"


def listener_secret_file(config: Config, listener: str) -> Path:
    """Return the file that describes a listener's certificate."""
    return secret_file(config, listener)


def write_secrets(config: Config) -> None:
    """Write the descriptions of the operator's certificate files for Envoy.

    They cover the listeners with TLS, and mutual TLS between Envoy and authz. A description names
    the files and the folder to watch. Envoy reads the files again when a rename replaces one, as
    cert-manager, Kubernetes and certbot do.

    Raises:
        OSError: the state folder can't be written to.
    """
    pairs = {
        "gateway": config.tls,
        "proxy": config.proxy.tls if config.proxy else None,
        AUTHZ_CLIENT: config.authz.envoy_tls,
    }
    secrets = [_secret(name, tls) for name, tls in pairs.items() if tls is not None]
    if config.authz.tls is not None:
        secrets.append(_authorities(AUTHZ_CA, config.authz.tls.ca_file))
    for secret in secrets:
        path = secret_file(config, str(secret["name"]))
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(path, yaml.safe_dump({"resources": [secret]}))


def _authorities(name: str, ca_file: Path) -> dict[str, object]:
    path = Path(ca_file).absolute()
    context = {
        "trusted_ca": {"filename": str(path)},
        "watched_directory": {"path": str(path.parent)},
    }
    return {"@type": SECRET_TYPE, "name": name, "validation_context": context}


def _secret(name: str, tls: Tls) -> dict[str, object]:
    cert_file, key_file = Path(tls.cert_file).absolute(), Path(tls.key_file).absolute()
    certificate: dict[str, object] = {
        "certificate_chain": {"filename": str(cert_file)},
        "private_key": {"filename": str(key_file)},
    }
    # Envoy watches either one folder or the files. Only a folder shows that Kubernetes has replaced
    # the link of a mounted secret.
    if cert_file.parent == key_file.parent:
        certificate["watched_directory"] = {"path": str(cert_file.parent)}
    return {"@type": SECRET_TYPE, "name": name, "tls_certificate": certificate}
