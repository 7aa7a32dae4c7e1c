"""Installs the import hook for Envoy's typed API before a test imports a part of it."""

import authz.envoy  # noqa: F401
