"""Check the installation for `manage.py doctor`: database, channel layer, tokenizer, disk, settings, files."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator

from channels.layers import get_channel_layer
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, Error, connection, connections
from django.db.migrations.executor import MigrationExecutor

from webapp.core.findings import Finding
from webapp.server import channel_layer, database_checks

FREE_BYTES = 1_000_000_000
SECRET_FILES = ("secret_key", "encryption_keys")


def everything() -> Iterator[Finding]:
    """Yield the findings of all checks. The checks are independent of each other."""
    yield _database()
    yield _layer()
    yield _tokenizer()
    yield _disk()
    yield from _settings()
    yield from _secrets()


def _database() -> Finding:
    try:
        database_checks.connected(DEFAULT_DB_ALIAS)
        executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except Error as error:
        return Finding("error", "database", str(error), "Check DATABASE_URL, and that the server runs and accepts this user.")
    if problem := database_checks.wrong_encoding(DEFAULT_DB_ALIAS):
        return Finding("error", "database", problem, f"Create it again: {database_checks.ENCODING}")
    if plan:
        return Finding("warning", "database", f"{len(plan)} migrations are not applied", "Run manage.py migrate, or start with make run.")
    return Finding("ok", "database", f"{connection.vendor}, up to date")


def _layer() -> Finding:
    problem = channel_layer.problem()
    if problem:
        return Finding("error", "channel layer", problem, "Check REDIS_URL, and that Redis runs.")
    return Finding("ok", "channel layer", type(get_channel_layer()).__name__)


def _tokenizer() -> Finding:
    from webapp.patterns.tokens import counting

    try:
        count = counting.count_text("Hello, world!", "gpt-4o")
    except OSError as error:
        return Finding("error", "tokenizer", str(error), "Reinstall: pip install --require-hashes -r requirements/base.txt")
    return Finding("ok", "tokenizer", f"counts offline ({count} tokens in “Hello, world!”)")


def _disk() -> Finding:
    if not os.access(settings.PATCHBAY_HOME, os.W_OK | os.X_OK):
        return Finding("error", "disk", f"{settings.PATCHBAY_HOME} cannot be written", "Run chown -R for the user that runs Patchbay.")
    free = shutil.disk_usage(settings.PATCHBAY_HOME).free
    state = f"{free / 1e9:.1f} GB free at {settings.PATCHBAY_HOME}"
    if free < FREE_BYTES:
        return Finding("warning", "disk", state, "Free some space, or move PATCHBAY_HOME. Batches pause when the disk is full.")
    return Finding("ok", "disk", state)


def _settings() -> Iterator[Finding]:
    if settings.DEBUG:
        yield Finding("warning", "settings", "PATCHBAY_DEBUG is on", "Unset it before others use this server: error pages show internals.")
    if "*" in settings.ALLOWED_HOSTS:
        yield Finding("warning", "settings", "PATCHBAY_ALLOWED_HOSTS allows every name", "List the names people use instead of *.")
    if not settings.DEBUG and "*" not in settings.ALLOWED_HOSTS:
        yield Finding("ok", "settings", f"serves {', '.join(settings.ALLOWED_HOSTS)}")


def _secrets() -> Iterator[Finding]:
    for name in SECRET_FILES:
        path = settings.PATCHBAY_HOME / name
        if not path.exists():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            yield Finding("error", "secrets", f"{path} has mode {mode:04o}", f"Run: chmod 600 {path}")
        else:
            yield Finding("ok", "secrets", f"{name} is private")
