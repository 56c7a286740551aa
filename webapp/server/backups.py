"""Back up all state into one archive while the server runs, and restore it.

The archive is a gzipped tar: `manifest.json` (version, database kind, SHA-256 of each file), the database (SQLite's online backup, or
`pg_dump`'s custom format), and the state folder without the parts that are recreated (static files, vocabulary).
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from django.conf import settings
from django.db import connection
from django.utils import timezone

from webapp.server import startup

FORMAT = 1
MANIFEST = "manifest.json"
POSTGRES_DUMP = "database.dump"
RECREATED = {"static", "static.stamp", "vocabulary", startup.LOCK, startup.SERVING}
NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


class ArchiveProblem(Exception):
    """Report that a backup or restore is not possible, with the reason and the remedy."""


def backup(target: Path) -> int:
    """Write all state to `target` (a .tar.gz) and return the number of files. The server may keep running.

    Raises:
        ArchiveProblem: the folder is missing, or the database could not be copied.
    """
    if not target.parent.is_dir():
        raise ArchiveProblem(f"There is no folder {target.parent}: create it first.")
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        database = _dump_database(Path(folder))
        files = [(database, database.name), *_state_files(skip=(database.name, target.name, Path(folder).name))]
        draft = Path(folder) / target.name
        draft.touch(mode=0o600)  # it holds the keys
        with tarfile.open(draft, "w:gz", compresslevel=6) as archive:
            hashes = {name: digest for path, name in files if (digest := _add(archive, path, name))}
            manifest = {"format": FORMAT, "created": timezone.now().isoformat(), "database": connection.vendor, "files": hashes}
            _add_manifest(archive, manifest, Path(folder))
        draft.replace(target)
    return len(hashes)


def restore(source: Path, *, force: bool) -> int:
    """Replace the present state by that of an archive and return the number of files. Stop the server first.

    Every file is unpacked and its hash is checked before anything is replaced. An existing database is replaced only with `force`.

    Raises:
        ArchiveProblem: a server runs, the archive is damaged or of another kind of database, or the room is missing.
    """
    home: Path = settings.PATCHBAY_HOME
    with _alone(), tempfile.TemporaryDirectory(dir=home) as folder:
        unpacked = Path(folder)
        manifest = _unpack(source, unpacked)
        _refuse_to_overwrite(manifest, force=force)
        connection.close()
        for name in manifest["files"]:
            _put(unpacked / name, home / name)
        if manifest["database"] == "postgresql":
            _pg("pg_restore", "--clean", "--if-exists", "--no-owner", "--dbname", _pg_address(), str(home / POSTGRES_DUMP))
            (home / POSTGRES_DUMP).unlink()
    return len(manifest["files"])


@contextmanager
def _alone() -> Iterator[None]:
    try:
        with startup.serving(alone=True):
            yield
    except BlockingIOError as error:
        raise ArchiveProblem("A server is running here: stop it first.") from error


def _dump_database(folder: Path) -> Path:
    if connection.vendor == "postgresql":
        _pg("pg_dump", "--format=custom", "--no-owner", f"--file={folder / POSTGRES_DUMP}", _pg_address())
        return folder / POSTGRES_DUMP
    source = Path(settings.DATABASES["default"]["NAME"])
    target = folder / "patchbay.sqlite3"
    try:
        with closing(sqlite3.connect(source, timeout=20)) as live, closing(sqlite3.connect(target)) as copy:
            live.backup(copy)
    except sqlite3.Error as error:
        raise ArchiveProblem(f"The database could not be copied into {folder.parent}: {error}") from error
    return target


def _state_files(*, skip: tuple[str, ...]) -> Iterator[tuple[Path, str]]:
    home: Path = settings.PATCHBAY_HOME
    for path in sorted(home.rglob("*")):
        name = path.relative_to(home)
        if name.parts[0] in RECREATED or name.name.startswith(skip) or not path.is_file():
            continue
        yield path, str(name)


def _add(archive: tarfile.TarFile, path: Path, name: str) -> str:
    """Add a file as it is now, even while another process writes it; return its SHA-256, or nothing if it is gone.

    Bytes that were appended after the size was read are left out. The database was copied earlier, so it refers to none of them.
    """
    try:
        with path.open("rb") as file:
            hashing = _Hashing(file)
            archive.addfile(archive.gettarinfo(arcname=name, fileobj=file), hashing)
    except FileNotFoundError:
        return ""
    return hashing.digest.hexdigest()


class _Hashing(io.RawIOBase):
    """Hash the bytes of a file as they are read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self.digest.update(data)
        return data


def _add_manifest(archive: tarfile.TarFile, manifest: dict[str, Any], folder: Path) -> None:
    path = folder / MANIFEST
    path.write_text(json.dumps(manifest, indent=1))
    archive.add(path, MANIFEST)


def _unpack(source: Path, folder: Path) -> dict[str, Any]:
    try:
        with tarfile.open(source) as archive:
            archive.extractall(folder, filter="data")
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError) as error:
        if getattr(error, "errno", None) in NO_ROOM:
            raise ArchiveProblem(f"There is not enough room in {folder.parent} to unpack {source}. Nothing was changed.") from error
        raise ArchiveProblem(f"{source} is not a backup of Patchbay, or it is damaged: {error}") from error
    damaged = [name for name, digest in manifest["files"].items() if not (folder / name).is_file() or _digest(folder / name) != digest]
    if damaged:
        raise ArchiveProblem(f"{source} is damaged: {', '.join(damaged[:3])}. Nothing was changed.")
    return manifest


def _refuse_to_overwrite(manifest: dict[str, Any], *, force: bool) -> None:
    if manifest["database"] != connection.vendor:
        raise ArchiveProblem(f"The backup holds {manifest['database']}, but DATABASE_URL is {connection.vendor}: restore DATABASE_URL.")
    if not force and "accounts_user" in connection.introspection.table_names():
        raise ArchiveProblem("A database already exists. Restore into an empty PATCHBAY_HOME, or add --force to replace it.")


def _put(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in (Path(f"{target}-wal"), Path(f"{target}-shm")):
        leftover.unlink(missing_ok=True)  # they belong to the replaced database
    shutil.move(source, target)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pg_address() -> str:
    values = connection.get_connection_params()
    parts = {"host": values.get("host"), "port": values.get("port"), "user": values.get("user"), "dbname": values.get("dbname")}
    return " ".join(f"{name}='{value}'" for name, value in parts.items() if value)


def _pg(*command: str) -> None:
    environment = {**os.environ, "PGPASSWORD": str(connection.settings_dict.get("PASSWORD") or "")}
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, env=environment)  # noqa: S603 - a fixed command of our own
    except FileNotFoundError as error:
        raise ArchiveProblem(f"{command[0]} is not installed: apt-get install postgresql-client") from error
    except subprocess.CalledProcessError as error:
        raise ArchiveProblem(f"{command[0]} failed: {error.stderr.strip()}") from error
