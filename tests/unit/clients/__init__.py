"""Tests of authz.clients and ``authz client``."""
