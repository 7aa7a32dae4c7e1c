"""Imports Envoy's typed API once, where its own deprecation warnings are not our errors."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import envoy_data_plane.envoy.service.auth.v3  # noqa: F401

    import authz.envoy.render  # noqa: F401
