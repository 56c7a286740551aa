"""Search on PostgreSQL with pgvector, in two live web processes."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from tests.scale.installation import Installation, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.redis]
RIVERS = "# Rivers\n\nThe Danube rises in the Black Forest and flows into the Black Sea.\n"
BREAD = "# Bread\n\nSourdough is leavened by wild yeast, and keeps for days.\n"


def add(client: httpx2.Client, **files: str) -> str:
    """Upload texts into a new collection, and wait until they are indexed; the collection's path."""
    referer = {"Referer": str(client.base_url)}
    made = client.post("/search/collections/", data={"name": "Notes", "model": "embed"}, headers=referer)
    assert made.status_code == 302, made.text
    path = made.headers["location"]
    parts = [("files", (f"{name}.md", text.encode())) for name, text in files.items()]
    assert client.post(f"{path}upload/", files=parts, headers=referer).status_code == 302

    def ready() -> bool:
        page = client.get(f"{path}documents/").text
        assert 'data-status="failed"' not in page
        return page.count('data-status="ready"') == len(files)

    wait_until(ready, "the documents are not ready")
    return path


def found(client: httpx2.Client, query: str, mode: str = "hybrid") -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = client.get("/search/export/", params={"q": query, "mode": mode, "format": "json"}).json()
    return rows


def test_what_one_process_indexes_the_other_finds(both_webs: Installation) -> None:
    """By words, by meaning and by both; and what the other deletes is gone here."""
    here, there = both_webs.first.sign_in("owner"), both_webs.second.sign_in("owner")
    path = add(here, rivers=RIVERS, bread=BREAD)
    for client in (here, there):
        assert [row["document"] for row in found(client, "sourdough", "keyword")] == ["bread.md"]
        meant = found(client, "streams of water through Europe", "semantic")
        assert meant[0]["document"] == "rivers.md"
        assert meant[0]["cosine"] > 0.3
        both = found(client, "Danube")
        assert (both[0]["document"], both[0]["keyword_rank"], both[0]["semantic_rank"]) == ("rivers.md", 1, 1)
        assert "Danube" in client.get(both[0]["url"].removeprefix(str(client.base_url).rstrip("/"))).text
    assert found(both_webs.first.sign_in("other"), "Danube") == []
    assert there.post(f"{path}delete/", headers={"Referer": str(there.base_url)}).status_code == 302
    assert found(here, "Danube") == []
