"""Provider keys that users store: encryption, the table, and the master keys."""
