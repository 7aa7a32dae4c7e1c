"""SQLite and PostgreSQL as databases: connections, transactions, migrations."""
