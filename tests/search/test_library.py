"""Collections and documents on their pages."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Group
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from search import services
from search.models import Collection, Document
from tests.search.conftest import CATS, Ingest, run_ingestion
from tests.users import Users

PARTIAL = {"HX-Request": "true", "HX-Request-Type": "partial"}


def file(name: str, content: bytes = b"# x\n\ntext") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, content)


def test_many_files_are_queued_and_shown_with_their_state(as_owner: Client, collection: Collection) -> None:
    files = [file("a.md", b"# a\n\none"), file("b.md", b"# b\n\ntwo")]
    page = as_owner.post(f"/search/collections/{collection.pk}/upload/", {"files": files}, headers=PARTIAL).content.decode()
    assert page.count('data-testid="document-row" data-status="queued"') == 2
    assert 'hx-trigger="every 2s"' in page


def test_files_of_a_folder_keep_their_paths_and_those_of_one_name_stay_apart(as_owner: Client, collection: Collection) -> None:
    files = [file("index.md", b"one"), file("index.md", b"two")]
    address = f"/search/collections/{collection.pk}/upload/"
    as_owner.post(address, {"files": files, "paths": '["docs/index.md", "docs/inner/index.md"]'})
    assert set(Document.objects.values_list("name", flat=True)) == {"docs/index.md", "docs/inner/index.md"}
    for number, wrong in enumerate(['["a"]', "[1, 2]", "{}", "nonsense", "[" * 100_000]):
        files = [file(f"{number}a.md", b"%d a" % number), file(f"{number}b.md", b"%d b" % number)]
        as_owner.post(address, {"files": files, "paths": wrong})
        assert Document.objects.filter(name=f"{number}b.md").exists()


def test_files_that_are_there_already_are_named_but_not_all_of_many(as_owner: Client, collection: Collection) -> None:
    address = f"/search/collections/{collection.pk}/upload/"
    for _ in range(2):
        files = [file(f"{number}.md", b"%d" % number) for number in range(7)]
        page = as_owner.post(address, {"files": files}, headers=PARTIAL).content.decode()
    assert "Already in this collection: 0.md, 1.md, 2.md, 3.md, 4.md and 2 more" in page


def test_the_state_of_the_indexes_comes_with_the_list_while_one_is_built(as_owner: Client, collection: Collection, ingest: Ingest) -> None:
    ingest("a.md", CATS)
    services.change_model(collection=collection, model="builtin/all-MiniLM-L6-v2")
    page = as_owner.get(f"/search/collections/{collection.pk}/documents/", headers=PARTIAL).content.decode()
    assert 'hx-trigger="every 2s"' in page
    assert '<section id="indexes" hx-swap-oob="true">' in page
    assert "<progress" in page


def test_the_list_is_fetched_no_more_when_all_is_done(as_owner: Client, collection: Collection, ingest: Ingest) -> None:
    ingest("a.md", CATS)
    page = as_owner.get(f"/search/collections/{collection.pk}/documents/", headers=PARTIAL).content.decode()
    assert 'data-status="ready"' in page
    assert "hx-trigger" not in page.split("<table")[0]


@pytest.mark.parametrize("name", ["../../../etc/passwd", "a\0b.md", "x" * 300 + ".md", "..", "C:\\x\\y.md", "<b>.md", "\u202egnp.md"])
def test_a_name_never_is_a_path(as_owner: Client, collection: Collection, name: str) -> None:
    """FAULTS 19: stored under a UUID, shown escaped."""
    added = services.add_file(collection=collection, name=name, content=[b"text"])
    document = Document.objects.get(pk=added.document.pk)
    assert services.file_path(document.pk).name == document.pk.hex
    assert len(document.name) <= 200
    assert document.name.isprintable()
    assert "<b>" not in as_owner.get(f"/search/collections/{collection.pk}/").content.decode()


def test_a_failed_file_says_why_and_may_be_tried_again(as_owner: Client, collection: Collection, ingest: Ingest) -> None:
    document = ingest("noise.txt", bytes(range(256)) * 40)
    page = as_owner.get(f"/search/collections/{collection.pk}/").content.decode()
    assert 'data-status="failed"' in page
    assert "It is binary data, not text" in page
    as_owner.post(f"/search/documents/{document.pk}/change/", {"do": "retry"})
    document.refresh_from_db()
    assert document.state == Document.State.QUEUED


def test_an_uploaded_page_is_a_download_and_never_opened(as_owner: Client, ingest: Ingest) -> None:
    """FAULTS 21: uploaded HTML or SVG opened: attachment, nosniff."""
    document = ingest("evil.html", "<h1>hi</h1><script>alert(1)</script>")
    response = as_owner.get(f"/search/documents/{document.pk}/original/")
    assert response["Content-Disposition"].startswith("attachment")
    assert response["Content-Type"] == "application/octet-stream"
    assert response["X-Content-Type-Options"] == "nosniff"
    assert b"".join(response.streaming_content) == b"<h1>hi</h1><script>alert(1)</script>"  # type: ignore[attr-defined]  # Django's client


def test_of_files_dropped_together_the_bad_ones_say_why_and_the_rest_go_on(as_owner: Client, collection: Collection) -> None:
    """FAULTS 22: that file fails with its reason; the rest go on."""
    files = [
        file("good.md", CATS.encode()),
        file("broken.pdf", b"%PDF-1.7\n"),
        file("noise.txt", bytes(range(256)) * 40),
        file("empty.md", b""),
    ]
    files += [file("bomb.docx", b"PK\x03\x04" + bytes(500)), file("wide.txt", "Straße und Café, spät geöffnet.".encode("utf-16"))]
    as_owner.post(f"/search/collections/{collection.pk}/upload/", {"files": files})
    for document in Document.objects.all():
        run_ingestion(document)
    ended = {document.name: (document.state, document.why) for document in Document.objects.all()}
    assert {name for name, (state, _) in ended.items() if state == "ready"} == {"good.md", "wide.txt"}
    assert all(why for state, why in ended.values() if state == "failed")
    assert len(ended) == len(files)
    assert "wide.txt" in as_owner.get("/search/", {"q": "Straße"}).content.decode()


def test_pasted_text_becomes_a_document(as_owner: Client, collection: Collection) -> None:
    as_owner.post(f"/search/collections/{collection.pk}/paste/", {"name": "", "text": "First line\n\nmore"})
    assert Document.objects.get().name == "First line.md"


def test_deleting_removes_the_row(as_owner: Client, collection: Collection) -> None:
    document = services.add_text(collection=collection, name="x", text="text").document
    assert as_owner.post(f"/search/documents/{document.pk}/change/").status_code == 400
    as_owner.post(f"/search/documents/{document.pk}/change/", {"do": "delete"})
    assert not Document.objects.exists()


def test_a_collection_is_made_named_once_and_deleted(as_owner: Client, users: Users) -> None:
    made = as_owner.post("/search/collections/", {"name": "Books", "model": "embed"})
    collection = Collection.objects.get()
    assert made["Location"] == f"/search/collections/{collection.pk}/"
    again = as_owner.post("/search/collections/", {"name": "Books", "model": "embed"})
    assert again.status_code == 422
    assert "already" in again.content.decode()
    as_owner.post(f"/search/collections/{collection.pk}/delete/")
    assert not Collection.objects.exists()


def test_a_group_s_members_may_search_and_read_but_not_change(
    as_owner: Client, as_other: Client, users: Users, collection: Collection, ingest: Ingest
) -> None:
    document = ingest("cats.md", CATS)
    group = Group.objects.create(name="readers")
    users.owner.groups.add(group)
    as_owner.post(f"/search/collections/{collection.pk}/", {"name": "Library", "groups": [group.pk]})
    assert as_other.get(f"/search/documents/{document.pk}/").status_code == 404
    users.other.groups.add(group)
    assert as_other.get(f"/search/documents/{document.pk}/").status_code == 200
    assert "cats.md" in as_other.get("/search/", {"q": "kittens"}).content.decode()
    page = as_other.get(f"/search/collections/{collection.pk}/").content.decode()
    assert 'data-testid="document-upload"' not in page
    assert as_other.post(f"/search/collections/{collection.pk}/upload/", {"files": [file("a.md")]}).status_code == 404
    assert as_other.post(f"/search/documents/{document.pk}/change/", {"do": "delete"}).status_code == 404


def test_a_new_description_undoes_neither_sharing_nor_summaries(as_owner: Client, users: Users, collection: Collection) -> None:
    """The owner left the group, and the model's backend is off: both are still to be seen, and kept."""
    group = Group.objects.create(name="readers")
    collection.groups.add(group)
    Collection.objects.update(describe_with="gone/llm")
    address = f"/search/collections/{collection.pk}/"
    page = as_owner.get(address).content.decode()
    assert '<option value="gone/llm" selected>gone/llm (not available)</option>' in page
    assert re.search(rf'name="groups" value="{group.pk}"[^>]* checked', page)
    form = {"name": "Library", "description": "new", "groups": [group.pk], "describe_with": "gone/llm"}
    assert as_owner.post(address, form).status_code == 302
    collection.refresh_from_db()
    assert (collection.description, collection.describe_with, list(collection.groups.all())) == ("new", "gone/llm", [group])


def test_the_map_and_the_comparison_show_the_passages(as_owner: Client, users: Users, collection: Collection, ingest: Ingest) -> None:
    text = "".join(f"# Part {number}\n\n{'word ' * 60}number {number}.\n\n" for number in range(4))
    ingest("parts.md", text)
    drawing = as_owner.get(f"/search/collections/{collection.pk}/map/").content.decode()
    assert drawing.count("<circle class") == 4
    other = services.change_model(collection=collection, model="builtin/all-MiniLM-L6-v2")
    page = as_owner.get(f"/search/collections/{collection.pk}/indexes/{other.pk}/compare/", {"q": "number 2"}).content.decode()
    assert "parts.md" in page
    assert "builtin/all-MiniLM-L6-v2" in page
    as_owner.post(f"/search/collections/{collection.pk}/indexes/{other.pk}/", {"do": "drop"})
    assert collection.indexes.count() == 1
