"""Creation and renewal of the leaf certificates of intercepted hosts."""

import asyncio

import structlog

from authz.config.settings import Config

_log = structlog.get_logger(__name__)

CHECK_SECONDS = 3600.0


def make_leaves(config: Config) -> list[str]:
    """Create the certificates that are missing or expire soon, if the proxy is on.

    Returns:
        The hosts whose certificate was created.

    Raises:
        ConfigError: the CA can't be used.
        OSError: a certificate can't be written.
    """
    if config.proxy is None:
        return []
    # Imported late: cryptography takes 8 MB, and only the proxy needs it.
    from authz.certificates.ca import load_ca
    from authz.certificates.leaves import ensure_leaf

    authority = load_ca(config.proxy.ca.cert_file, config.proxy.ca.key_file)
    return [
        host
        for host in config.intercepted_hosts
        if ensure_leaf(authority, config.leaf_folder, host)
    ]


async def keep_leaves(config: Config) -> None:
    """Renew certificates until cancelled; Envoy loads them without a restart."""
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        try:
            for host in await asyncio.to_thread(make_leaves, config):
                _log.info("certificate renewed", host=host)
        except Exception as error:
            # The certificates in use are still valid for days, and the next round tries again.
            _log.error("certificates not renewed", error=type(error).__name__, why=str(error))
