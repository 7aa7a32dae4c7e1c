"""Tests of authz.assigned."""
