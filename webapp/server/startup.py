"""Prepare the state before serving: tables, static files, vocabulary, first rows, the first administrator. Every step is idempotent."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.contrib.staticfiles import finders
from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.migrations.executor import MigrationExecutor

from webapp.accounts import services as accounts
from webapp.accounts.models import User
from webapp.core import env

STATIC_STAMP = "static.stamp"
LOCK = "prepare.lock"
SERVING = "serving.lock"
ADVISORY_LOCK = 0x7061746368626179  # "patchbay"


def migrate() -> None:
    """Apply pending migrations; cheap if there are none."""
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        call_command("migrate", interactive=False, verbosity=0, skip_checks=False)


def collect_static() -> None:
    """Copy, hash, and compress the static files if any of them changed. Old ones stay: open pages and other processes use them."""
    stamp, path = _static_fingerprint(), settings.PATCHBAY_HOME / STATIC_STAMP
    if path.exists() and path.read_text() == stamp and Path(settings.STATIC_ROOT).is_dir():
        return
    # In a separate process: compressing takes 80 MB, which this process would keep.
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "collectstatic", "--no-input", "--verbosity", "0"]
    subprocess.run(command, check=True)  # noqa: S603 - our own command
    path.write_text(stamp)


def _static_fingerprint() -> str:
    digest = hashlib.sha256()
    for path in _static_files():
        stat = path.stat()
        digest.update(f"{path}:{stat.st_size}:{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _static_files() -> Iterator[Path]:
    for finder in finders.get_finders():
        for name, storage in sorted(finder.list(ignore_patterns=[]), key=lambda found: found[0]):
            yield Path(storage.path(name))


def first_administrator() -> User | None:
    """Create and return the administrator of `DJANGO_SUPERUSER_*`; None if a user exists or the name or password is missing."""
    username, password = env.text("DJANGO_SUPERUSER_USERNAME"), env.text("DJANGO_SUPERUSER_PASSWORD")
    if not username or not password or User.objects.exists():
        return None
    return accounts.create_first_administrator(username=username, password=password, email=env.text("DJANGO_SUPERUSER_EMAIL"))


def prepare_vocabulary() -> None:
    """Unpack the tokenizer's vocabulary into the state folder."""
    from webapp.patterns.tokens import counting

    counting.prepare_vocabulary(settings.PATCHBAY_HOME / "vocabulary")


@contextmanager
def _folder() -> Iterator[None]:
    """Admit one process at a time among those that share the state folder."""
    with (settings.PATCHBAY_HOME / LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def _database() -> Iterator[None]:
    """Admit one process at a time among those that share PostgreSQL. For SQLite, the lock of the folder is enough."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [ADVISORY_LOCK])
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [ADVISORY_LOCK])


@contextmanager
def serving(*, alone: bool = False) -> Iterator[None]:
    """Hold the state folder. Servers share it; `alone` excludes every other process.

    Raises:
        BlockingIOError: `alone`, and another process holds the folder.
    """
    with (settings.PATCHBAY_HOME / SERVING).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        yield


def everything() -> None:
    """Run every step in order. An app with first rows gives its config a `prepare` method."""
    with _folder():
        collect_static()
        prepare_vocabulary()
        with _database():
            migrate()
            first_administrator()
            for config in apps.get_app_configs():
                prepare = getattr(config, "prepare", None)
                if prepare:
                    prepare()
