"""The open authentication layer for AI gateways on Envoy."""

__version__ = "0.1.0"
"""The only place of the version; the distribution's metadata is made from it."""
