"""The open authentication layer for AI gateways on Envoy."""

__version__ = "0.1.0"
