"""The certificates that are trusted by default."""

import ssl
from pathlib import Path

_DEBIAN = Path("/etc/ssl/certs/ca-certificates.crt")


def system_roots() -> Path:
    """Return the file with this system's trusted roots; Debian's file comes first."""
    found = ssl.get_default_verify_paths().cafile
    return _DEBIAN if _DEBIAN.exists() or found is None else Path(found)
