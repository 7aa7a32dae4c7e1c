"""Limits and rules for models that administrators set while the gateway runs."""
