"""Envoy's configuration as typed objects, in the order a request meets its parts.

Importing the typed objects takes about a second, so nothing that serves requests imports from here.
"""
