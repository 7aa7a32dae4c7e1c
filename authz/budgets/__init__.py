"""Budgets in dollars of users, groups and tokens, held over all processes by the database."""
