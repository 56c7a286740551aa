"""One object for each kind of address, all of one owner, so that tests can show that others do not reach them."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.files.uploadedfile import SimpleUploadedFile
from django.urls import URLPattern, URLResolver, get_resolver

import batches.input.files
import batches.services
import chat.services
import chat.streaming.hub
import chat.uploads
import search.models
import search.saved_searches
import search.services
import search.sources.items
import search.uploads
from chat.models import Assistant, Conversation, Prompt, SentRequest
from tests.chat.conftest import serve
from tests.users import Users
from webapp.accounts.models import User
from webapp.backends.models import Backend, BackendModel, BenchmarkRun, Offer, ProbeRun, Rollout, Route
from webapp.backends.services import create_token
from webapp.gateway.models import StoredResponse
from webapp.toolservers.models import ToolServer

__all__ = ["serve"]

WORD = "private-belonging"
"""A word that stands in each thing of the owner, and nowhere else."""


@dataclass(frozen=True)
class Address:
    """One URL pattern of the project; `route` is its path with `{parameter}` where the pattern takes one."""

    app: str
    name: str
    route: str

    @property
    def id(self) -> str:
        return f"{self.app}:{self.name}"

    @property
    def has_parameters(self) -> bool:
        return "{" in self.route


Things = dict[str, dict[str, Any]]
"""By the beginning of a route: what its parameters are for the owner's things."""


def addresses(resolver: URLResolver | None = None, prefix: str = "/", app: str = "") -> list[Address]:
    """Every URL pattern of the project, in the order of the resolver; the admin's regular expressions as one path they match."""
    found: list[Address] = []
    for entry in (resolver or get_resolver()).url_patterns:
        route = re.sub(r"\^\(\?P<app_label>[^)]*\)/\$", "backends/", str(entry.pattern)).replace("(?P<url>.*)$", "nowhere")
        route = prefix + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)
        if isinstance(entry, URLResolver):
            found += addresses(entry, route, entry.namespace or app)
        else:
            assert isinstance(entry, URLPattern)
            found.append(Address(app, entry.name or "", route))
    return found


def path_of(address: Address, things: Things) -> str:
    """The path to the owner's thing."""
    beginning = max((one for one in things if address.route.startswith(one)), key=len, default="")
    return address.route.format(**things.get(beginning, {}))


@pytest.fixture(autouse=True)
def state_folder(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "files"


class NoModel:
    """In the hub's place: questions are written down, and nobody answers."""

    id = uuid.uuid4()

    async def begin(self, write: Callable[[], object]) -> None:
        await sync_to_async(write)()


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub lives in a server process; these tests have none."""
    monkeypatch.setattr(chat.streaming.hub, "hub", NoModel)


@pytest.fixture
def things(users: Users) -> Things:
    """One of each, all the owner's; backends and their like belong to administrators."""
    owner = users.owner
    return {**_chat(owner), **_batches(owner), **_search(owner), **_backends(owner), **_tool_servers(owner), **_responses(owner)}


def _chat(owner: User) -> Things:
    started = chat.services.send_message(owner=uuid.uuid4(), conversation_id=uuid.uuid4(), user=owner, text=WORD)
    parts = [{"kind": "text", "text": WORD}]
    chat.services.finish_generation(generation_id=started.generation.id, parts=parts, outcome=chat.services.Outcome(), html="")
    conversation = Conversation.objects.get(pk=started.conversation.pk)
    assert conversation.leaf_id
    SentRequest.objects.create(message_id=conversation.leaf_id, number=0, base_url="http://localhost/v1", body={"model": WORD})
    upload = chat.uploads.keep(user=owner, file=SimpleUploadedFile(f"{WORD}.txt", WORD.encode()))
    leaf = conversation.leaf_id
    ids = {
        "conversation_id": conversation.pk,
        "message_id": leaf,
        "before": leaf,
        "after": leaf,
        "until": leaf,
        "number": 0,
        "upload_id": upload.pk,
    }
    prompt = Prompt.objects.create(user=owner, name=WORD, text=WORD)
    assistant = Assistant.objects.create(user=owner, name=WORD, model="default")
    return {"/chat/": {**ids, "token": "not-shared", "kind": "mermaid", "prompt_id": prompt.pk, "assistant_id": assistant.pk}}


def _batches(owner: User) -> Things:
    body = {"model": "m", "messages": [{"role": "user", "content": WORD}]}
    line = json.dumps({"custom_id": WORD, "method": "POST", "url": "/v1/chat/completions", "body": body}).encode()
    file = batches.input.files.store(user=owner, filename=f"{WORD}.jsonl", purpose="batch", data=[line])
    batch = batches.services.create_batch(user=owner, input_file=file, executor="local", name=WORD)
    batch.rows.create(number=1, custom_id=WORD, offset=0, length=len(line))
    batch.total, batch.completed, batch.failed = 2, 1, 1  # there is output, and there are errors
    batch.save()
    return {"/batches/": {"batch_id": batch.pk, "number": 1}}


def _search(owner: User) -> Things:
    collection = search.services.create_collection(owner=owner, name=WORD)
    saved = search.saved_searches.save_search(user=owner, name=WORD, address=f"?q={WORD}")
    upload = search.uploads.start_upload(collection=collection, announced=1)
    document = search.services.add_file(collection=collection, name=f"{WORD}.txt", content=[WORD.encode()]).document
    search.models.Document.objects.filter(pk=document.pk).update(pages=[0])  # as if it had a page to draw
    source = search.sources.items.create_web_source(
        collection=collection, kind=search.models.Source.Kind.PAGES, addresses=[f"https://example.com/{WORD}"]
    )
    other_index = collection.indexes.create(model="embed")
    return {
        "/search/collections/": {"pk": collection.pk, "index_id": other_index.pk, "source_id": source.pk, "upload_id": upload.pk},
        "/search/documents/": {"pk": document.pk, "number": 1},
        "/search/saved/": {"pk": saved.pk},
    }


def _tool_servers(owner: User) -> Things:
    server = ToolServer.objects.create(owner=owner, name=WORD, url="http://localhost:9/mcp")
    return {"/tools/": {"pk": server.pk}}


def _responses(owner: User) -> Things:
    row = StoredResponse.objects.create(
        id="resp_1", user=owner, request_id=uuid.uuid4(), status="completed", model=WORD, response={"id": "resp_1", "output": []}
    )
    return {"/responses/": {"name": row.pk}}


def _backends(owner: User) -> Things:
    """For the admin, the same number stands for an object of each kind where there is one."""
    backend = Backend.objects.create(pk=1, name="b", base_url="http://localhost:9/v1")
    BackendModel.objects.create(backend=backend, name="m")
    offer = Offer.objects.create(name="o", base_url="http://localhost:9/v1")
    Route.objects.update_or_create(pk=1, defaults={"name": "r"})
    Rollout.objects.create(pk=1, route_id=1, backend=backend, model="m", kind="canary")
    BenchmarkRun.objects.create(pk=1, target="r")
    ProbeRun.objects.create(pk=1, backend=backend, model="m")
    token, _ = create_token(user=owner, label=WORD)
    return {
        "/backends/": {"pk": backend.pk},
        "/backends/offers/": {"pk": offer.pk},
        "/routes/": {"pk": 1},
        "/rollouts/": {"pk": 1},
        "/accounts/tokens/": {"pk": token.pk},
        "/admin/": {"pk": 1, "run": 1, "object_id": 1, "id": owner.pk, "content_type_id": 1},
    }
