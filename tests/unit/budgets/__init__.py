"""Tests of authz.budgets."""
