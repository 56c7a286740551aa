"""A server that is killed while it indexes goes on at the next start."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.live import Live

COUNT = "from search.models import Document; print(Document.objects.filter(state='ready').count())"
STATE = """
from search.models import Chunk, Collection, Document
from search.index import engine
index = Collection.objects.select_related('serving').get().serving
print(engine().ids(index) == set(Chunk.objects.values_list('pk', flat=True)), Document.objects.count())
"""
SHORT_LEASES = "from search.models import Document; Document.objects.update(lease_until=None)"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_server_goes_on_with_what_it_left(new_live: Callable[..., Live]) -> None:
    server = new_live()
    client = server.sign_in("owner")
    made = client.post("/search/collections/", data={"name": "Books", "model": "embed"}, headers={"Referer": server.url})
    path = made.headers["location"]
    files = [("files", (f"{number}.md", f"# Part {number}\n\n{'some words here ' * 300}{number}".encode())) for number in range(6)]
    assert client.post(f"{path}upload/", files=files, headers={"Referer": server.url}).status_code == 302
    for _ in range(2):  # a third time would be the document's last
        time.sleep(1.5)
        server.kill()
        server.run_python(SHORT_LEASES)
        server.start()
    deadline = time.monotonic() + 120
    while server.run_python(COUNT).strip() != "6":
        assert time.monotonic() < deadline, server.output()
        time.sleep(1)
    assert server.run_python(STATE).strip() == "True 6"
