"""Tests of authz.identity."""
