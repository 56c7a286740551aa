"""A Django database backend: SQLite in memory, which can be slow, full, locked, or away."""
