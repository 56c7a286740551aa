"""Documents of a conversation: indexed for it, found in it first, gone with it."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path

from search import services
from search.conversation_documents import Attached, collection_of
from search.models import Collection, Document
from search.tool import search_documents
from tests.search.conftest import CATS, run_ingestion
from tests.users import Users
from webapp.backends.runtime import registry
from webapp.patterns.agent.tools import ToolContext

PET = "# My cat\n\nOur cat at home is named Wilhelmina and sleeps on the piano.\n"


def attach(users: Users, conversation: uuid.UUID, path: Path) -> Document:
    Attached().add(user=users.owner, conversation_id=conversation, title="Pets", name="pet.md", path=path)
    return run_ingestion(Document.objects.get(name="pet.md"))


def found_by(user_id: int, conversation: uuid.UUID | None) -> list[str]:
    async def ask() -> list[str]:
        try:
            found = await search_documents("cat", ToolContext(user_id=user_id, conversation_id=str(conversation or "")), limit=5)
            return [str(passage["document"]) for passage in found["passages"]]
        finally:
            await registry.aclose()

    return asyncio.run(ask())


def test_in_its_conversation_an_attached_document_is_found_first(users: Users, collection: Collection, tmp_path: Path) -> None:
    """FAULTS 7: and never by anybody else."""
    run_ingestion(services.add_file(collection=collection, name="cats.md", content=[CATS.encode()]).document)
    file, conversation = tmp_path / "pet", uuid.uuid4()
    file.write_text(PET)
    attach(users, conversation, file)
    found = found_by(users.owner.pk, conversation)
    assert found[0] == "pet.md"
    assert "cats.md" in found
    assert found_by(users.other.pk, conversation) == []
    assert asyncio.run(collection_of(users.other, str(conversation))) is None


def test_the_documents_go_with_the_conversation(users: Users, tmp_path: Path) -> None:
    file, conversation = tmp_path / "pet", uuid.uuid4()
    file.write_text(PET)
    document = attach(users, conversation, file)
    Attached().forget(user=users.owner, conversation_id=conversation)
    assert not Collection.objects.filter(conversation=conversation).exists()
    assert not services.file_path(document.pk).exists()


def test_the_tool_waits_for_a_document_that_is_being_read_but_not_for_ever(users: Users, tmp_path: Path) -> None:
    file, conversation = tmp_path / "pet", uuid.uuid4()
    file.write_text(PET)
    Attached().add(user=users.owner, conversation_id=conversation, title="Pets", name="pet.md", path=file)
    assert asyncio.run(collection_of(users.owner, str(conversation), wait=0.1)) is not None
