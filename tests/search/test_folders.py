"""Watched folders: additions, changes, and deletions are followed, also those that happen while nothing watches."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from search import services
from search.ingest_cli import Outcome
from search.models import Collection, Source
from search.sources import items
from search.sources.folders import FolderFollower, scan
from search.sources.watching import watch
from tests.search.conftest import CATS, ENGINES, Ingest
from tests.users import Users
from webapp.backends.runtime import registry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    (folder / "inner").mkdir(parents=True)
    (folder / "cats.md").write_text(CATS)
    (folder / "inner" / "engines.md").write_text(ENGINES)
    return folder


def follow(collection: Collection, folder: Path, rounds: int = 1) -> list[Outcome]:
    """Compare the folder once, as after a restart, or several times in a row."""
    outcomes: list[Outcome] = []

    async def run() -> None:
        try:
            await watch(collection, [str(folder)], outcomes.append, rounds=rounds, interval=0)
        finally:
            await registry.aclose()

    asyncio.run(run())
    return outcomes


def names(collection: Collection) -> dict[str, str]:
    return {document.name: document.state for document in collection.documents.all()}


def test_additions_changes_and_deletions_are_followed_over_restarts(collection: Collection, folder: Path) -> None:
    (folder / ".hidden").write_text("no")
    assert {outcome.name for outcome in follow(collection, folder)} == {"cats.md", "inner/engines.md"}
    assert names(collection) == {"cats.md": "ready", "inner/engines.md": "ready"}
    first = collection.documents.get(name="cats.md")
    assert follow(collection, folder) == []
    (folder / "cats.md").write_text(CATS + "\nCats purr.\n")
    (folder / "inner" / "engines.md").unlink()
    (folder / "new.md").write_text("# New\n\nSomething new.\n")
    outcomes = {outcome.name: outcome for outcome in follow(collection, folder)}
    assert outcomes["inner/engines.md"].removed
    assert names(collection) == {"cats.md": "ready", "new.md": "ready"}
    changed = collection.documents.get(name="cats.md")
    assert "purr" in changed.text
    assert changed.pk != first.pk
    assert not services.file_path(first.pk).exists()


def test_a_file_that_is_being_written_is_read_when_it_rests(collection: Collection, folder: Path) -> None:
    source = items.folder_source(collection=collection, path=str(folder))
    follower = FolderFollower(source)
    assert len(follower.compare().stored) == 2
    file = folder / "long.md"
    file.write_text("# Half")
    assert follower.compare().waiting == 1
    file.write_text("# Half\n\nand whole.\n")
    assert follower.compare().waiting == 1
    assert [name for name, _ in follower.compare().stored] == ["long.md"]


def test_a_folder_that_is_gone_for_a_while_loses_nothing(collection: Collection, folder: Path, tmp_path: Path) -> None:
    """A network share may be away."""
    follow(collection, folder)
    folder.rename(tmp_path / "away")
    assert follow(collection, folder) == []
    source = Source.objects.get()
    assert "cannot be read" in source.why
    assert len(names(collection)) == 2
    (tmp_path / "away").rename(folder)
    assert follow(collection, folder) == []
    source.refresh_from_db()
    assert source.why == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_files_in_a_folder_that_cannot_be_listed_stay(collection: Collection, folder: Path) -> None:
    follow(collection, folder)
    (folder / "inner").chmod(0)
    follow(collection, folder)
    (folder / "inner").chmod(0o700)
    assert len(names(collection)) == 2


def test_what_lies_below_an_unlisted_folder_is_not_gone(collection: Collection, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow(collection, folder)
    listed = os.scandir

    def refusing(path: Any = ".") -> Any:
        if str(path).endswith("inner"):
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert scan(folder).unread == ["inner"]
    assert follow(collection, folder) == []
    assert "inner" in Source.objects.get().why


def test_files_that_index_documents_added_before_are_adopted(collection: Collection, folder: Path, ingest: Ingest) -> None:
    document = ingest("cats.md", CATS)
    assert [outcome.name for outcome in follow(collection, folder)] == ["inner/engines.md"]
    assert collection.documents.filter(name="cats.md").get() == document
    (folder / "cats.md").unlink()
    follow(collection, folder)
    assert list(names(collection)) == ["inner/engines.md"]


def test_files_of_the_same_name_or_content_in_two_folders_are_kept_apart(collection: Collection, folder: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    shutil.copytree(folder, second)
    follow(collection, folder)
    follow(collection, second)
    assert collection.documents.count() == 4
    shutil.rmtree(second / "inner")
    follow(collection, second)
    assert collection.documents.filter(name="inner/engines.md").count() == 1


def test_a_file_that_cannot_be_read_says_why_once(collection: Collection, folder: Path) -> None:
    (folder / "noise.txt").write_bytes(bytes(range(256)) * 40)
    outcomes = {outcome.name: outcome.why for outcome in follow(collection, folder)}
    assert outcomes["noise.txt"] == "It is binary data, not text"
    assert follow(collection, folder) == []
    (folder / "noise.txt").write_text("Now it is text.")
    assert [outcome.why for outcome in follow(collection, folder)] == [""]
    assert names(collection)["noise.txt"] == "ready"


def test_a_document_that_was_deleted_in_the_browser_stays_deleted_until_its_file_changes(collection: Collection, folder: Path) -> None:
    follow(collection, folder)
    services.delete_document(document=collection.documents.get(name="cats.md"))
    assert follow(collection, folder) == []
    (folder / "cats.md").write_text(CATS + "More.")
    assert [outcome.name for outcome in follow(collection, folder)] == ["cats.md"]


def test_work_that_a_killed_process_left_is_finished(collection: Collection, folder: Path) -> None:
    FolderFollower(items.folder_source(collection=collection, path=str(folder))).compare()
    assert set(names(collection).values()) == {"queued"}
    assert len(follow(collection, folder)) == 2
    assert set(names(collection).values()) == {"ready"}


def test_only_folders_are_watched(users: Users, folder: Path) -> None:
    with pytest.raises(CommandError, match="Only folders"):
        call_command("index_documents", str(folder / "cats.md"), watch=True)
