"""Serve HTTP: health, metrics, the token API and the pages."""
