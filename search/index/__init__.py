"""Rank passages by vectors and by full text, embedded (SQLite and mapped files) or in PostgreSQL, behind one interface."""

from __future__ import annotations

from functools import lru_cache

from django.db import connection

from search.index.base import Engine, Hit

__all__ = ["Engine", "Hit", "engine"]


def engine() -> Engine:
    """Return the engine of the database in use."""
    return _engine(connection.vendor)


@lru_cache
def _engine(vendor: str) -> Engine:
    if vendor == "postgresql":
        from search.index.postgres import PostgresEngine

        return PostgresEngine()
    from search.index.embedded import EmbeddedEngine

    return EmbeddedEngine()
