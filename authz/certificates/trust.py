"""Which certificates are trusted where the configuration names none."""

import ssl
from pathlib import Path

_DEBIAN = Path("/etc/ssl/certs/ca-certificates.crt")


def system_roots() -> Path:
    """Return the file of this system's trusted roots, Debian's place first."""
    found = ssl.get_default_verify_paths().cafile
    return _DEBIAN if _DEBIAN.exists() or found is None else Path(found)
