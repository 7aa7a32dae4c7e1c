"""Protobuf modules, compiled from ``proto/`` when the package is built."""
