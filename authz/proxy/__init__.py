"""The AI Gateway Proxy: its CA, and the leaf certificates that Envoy opens TLS with.

Envoy alone carries the traffic (``authz/envoy/proxy.py``); what is here only makes certificates.
"""
