"""Limits that all replicas count together: requests, tokens and concurrent requests."""
