"""`index_documents`, `evaluate_search`, and the tool."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from search import services
from search.models import Chunk, Collection, Document
from search.ranking import evaluation
from tests.search.conftest import CATS, ENGINES, Ingest
from tests.users import Users
from webapp.backends.runtime import registry
from webapp.patterns.agent.tools import ToolContext
from webapp.ports.toolbox import toolbox


def call_tool(arguments: dict[str, Any], user_id: int | None) -> tuple[str, str]:
    async def run() -> tuple[str, str]:
        try:
            result = await toolbox.call("search_documents", json.dumps(arguments), ToolContext(user_id=user_id))
            return result.text, result.fault
        finally:
            await registry.aclose()

    return asyncio.run(run())


def test_files_and_folders_are_indexed_and_failures_named(users: Users, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    (folder / "inner").mkdir(parents=True)
    (folder / "cats.md").write_text(CATS)
    (folder / "inner" / "engines.md").write_text(ENGINES)
    (folder / "noise.txt").write_bytes(bytes(range(256)) * 40)
    (folder / ".hidden").write_text("no")
    out, err = StringIO(), StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("index_documents", str(folder), collection="Docs", stdout=out, stderr=err)
    assert ended.value.code == 1
    assert err.getvalue().strip() == "noise.txt: It is binary data, not text"
    assert out.getvalue().strip() == "2 added to “Docs”, 1 failed"
    collection = Collection.objects.get(name="Docs", owner=users.administrator)
    assert {d.name: d.state for d in collection.documents.all()} == {
        "cats.md": "ready",
        "inner/engines.md": "ready",
        "noise.txt": "failed",
    }
    again = StringIO()
    call_command("index_documents", str(folder / "cats.md"), collection="Docs", stdout=again, stderr=err)
    assert again.getvalue().strip() == "0 added to “Docs”, 1 already there"


def test_a_file_that_a_killed_process_left_behind_is_gone_on_with(users: Users, tmp_path: Path) -> None:
    (tmp_path / "cats.md").write_text(CATS)
    into = services.default_collection(owner=users.administrator, name="Two  words")
    document = services.add_file(collection=into, name="cats.md", content=[CATS.encode()]).document
    Document.objects.update(lease_until=timezone.now() + timedelta(seconds=0.5))
    out = StringIO()
    call_command("index_documents", str(tmp_path / "cats.md"), collection="Two  words", stdout=out)
    document.refresh_from_db()
    assert (document.state, out.getvalue().strip()) == ("ready", "1 added to “Two words”")


def test_a_path_that_is_not_there_is_named(users: Users) -> None:
    with pytest.raises(CommandError, match="There is no /nowhere"):
        call_command("index_documents", "/nowhere")
    with pytest.raises(CommandError, match="no user named 'x'"):
        call_command("index_documents", __file__, user="x")


def test_search_is_evaluated_by_the_corpus_s_own_headings(users: Users, ingest: Ingest) -> None:
    body = "sentence about it. " * 15
    titles = ["Feeding house cats", "Diesel engine oil", "Growing tomato plants", "Tuning piano strings"]
    ingest("all.md", "".join(f"# {title}\n\n{title.split()[1]} {body}\n\n" for title in titles))
    out = StringIO()
    call_command("evaluate_search", collection="Library", stdout=out)
    lines = out.getvalue().splitlines()
    assert lines[0] == "4 known-item queries over Library"
    assert [line.split() for line in lines[2:]] == [[mode, "1.000", "1.000", "1.000"] for mode in ("hybrid", "semantic", "keyword")]


def test_the_two_halves_of_the_queries_have_none_in_common(collection: Collection, ingest: Ingest) -> None:
    """Weights that are chosen on one half are measured on the other."""
    body = "sentence about it. " * 15
    ingest("all.md", "".join(f"# Title number {number}\n\n{body}\n\n" for number in range(9)))
    even, odd = (evaluation.known_items(collection, 100, half=half) for half in ("even", "odd"))
    assert (len(even), len(odd)) == (5, 4)
    assert {item.text for item in [*even, *odd]} == {item.text for item in evaluation.known_items(collection, 100)}


def test_quality_is_counted_by_the_first_right_answer() -> None:
    measured = evaluation.quality([1, 2, None, None])
    assert (measured.recall, measured.mrr) == (0.5, 0.375)
    assert measured.ndcg == pytest.approx((1 + 0.63093) / 4, abs=1e-4)


def test_the_tool_finds_passages_with_links_to_them(users: Users, ingest: Ingest) -> None:
    ingest("cats.md", CATS)
    text, fault = call_tool({"query": "what do kittens play with?", "limit": 1}, users.owner.pk)
    assert fault == ""
    answer = json.loads(text)
    chunk = Chunk.objects.get()
    assert answer["passages"] == [
        {
            "document": "cats.md",
            "heading": "Cats",
            "text": chunk.text,
            "url": f"/search/documents/{chunk.document_id}/?passage={chunk.pk}#passage",
            "collection": "Library",
        }
    ]


def test_the_tool_knows_the_user_s_documents_alone(users: Users, ingest: Ingest) -> None:
    ingest("cats.md", CATS)
    assert json.loads(call_tool({"query": "kittens"}, users.other.pk)[0])["passages"] == []
    assert "signed-in" in call_tool({"query": "kittens"}, None)[0]
    text, fault = call_tool({"query": "kittens", "collection": "Library"}, users.other.pk)
    assert fault == "failed"
    assert "There is no collection named 'Library'. There are: none." in text
