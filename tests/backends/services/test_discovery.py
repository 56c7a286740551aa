"""The models of a backend, and the address that its administrator meant."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from tests.backends.conftest import add
from tests.upstream import Upstream, closed_port, status
from webapp.backends import services
from webapp.backends.config.addresses import alternatives, clean_base_url, deployment_in
from webapp.backends.models import Backend
from webapp.backends.runtime import polling, registry
from webapp.patterns.openai.backend import authorization_of, split_query
from webapp.patterns.types import Request

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
async def closed(transactional_db: None) -> AsyncIterator[None]:
    yield
    await registry.aclose()


async def discovered(pk: int) -> services.Discovery:
    return await services.discover(await Backend.objects.aget(pk=pk))


@pytest.mark.parametrize("typed", ["", "/", "/v1/chat", "/api"])
async def test_an_address_without_v1_is_corrected(upstream: Upstream, typed: str) -> None:
    upstream.models = [{"id": "m"}]
    root = upstream.base_url.removesuffix("/v1")
    pk = await add("b", root + typed)
    found = await discovered(pk)
    assert (found.corrected, found.added) == (upstream.base_url, ("m",))
    assert (await Backend.objects.aget(pk=pk)).base_url == upstream.base_url


async def test_an_address_that_answers_stays(upstream: Upstream) -> None:
    upstream.models = [{"id": "m"}]
    found = await discovered(await add("b", upstream.base_url))
    assert (found.corrected, found.total) == ("", 1)


async def test_an_address_where_nothing_answers_is_said_to_be_wrong(upstream: Upstream) -> None:
    root = upstream.base_url.removesuffix("/v1")
    upstream.models = []
    found = await discovered(await add("b", f"{root}/nowhere/at/all"))
    assert "is the base URL right?" in found.problem


async def test_a_backend_that_was_away_finds_its_models_when_it_comes_back(make_upstream: Callable[..., Upstream]) -> None:
    pk = await add("late", f"http://127.0.0.1:{closed_port()}/v1")
    assert (await discovered(pk)).problem
    upstream = make_upstream()
    upstream.models = [{"id": "m"}]
    backend = await Backend.objects.aget(pk=pk)
    backend.base_url = upstream.base_url
    await backend.asave()
    await polling.poll(quiet=timedelta(0))
    assert [row.name async for row in (await Backend.objects.aget(pk=pk)).offered.all()] == ["m"]


async def test_v1_is_preferred_where_the_root_lists_models_too(upstream: Upstream) -> None:
    """llama.cpp lists its models at `/models` and `/v1/models`, and answers `/completions` in a format of its own."""
    upstream.models = [{"id": "m"}]
    upstream.paths["/models"] = status(200, {"object": "list", "data": [{"id": "m"}]})
    pk = await add("b", upstream.base_url.removesuffix("/v1"))
    found = await discovered(pk)
    assert (found.corrected, found.added) == (upstream.base_url, ("m",))


@pytest.mark.parametrize(
    ("typed", "cleaned"),
    [
        ("https://api.example.com/v1/chat/completions", "https://api.example.com/v1"),
        ("https://api.example.com/v1/models/", "https://api.example.com/v1"),
        (
            "https://x.openai.azure.com/openai/deployments/gpt/chat/completions?api-version=2024-10-21",
            "https://x.openai.azure.com/openai/deployments/gpt?api-version=2024-10-21",
        ),
    ],
)
def test_endpoints_are_cut_off_an_address(typed: str, cleaned: str) -> None:
    assert clean_base_url(typed) == cleaned


@pytest.mark.parametrize(
    "typed", ["https://x.example/v1?key=secret", "https://x.example/v1?api-version=1&key=secret", "https://u:p@x.example"]
)
def test_an_address_holds_no_keys(typed: str) -> None:
    with pytest.raises(ValidationError):
        clean_base_url(typed)


def test_what_people_mean_by_an_address() -> None:
    assert alternatives("https://x.openai.azure.com") == ["https://x.openai.azure.com/openai/v1"]
    assert alternatives("https://generativelanguage.googleapis.com/v1beta")[0] == "https://generativelanguage.googleapis.com/v1beta/openai"
    assert alternatives("https://api.groq.com/openai")[0] == "https://api.groq.com/openai/v1"
    assert alternatives("https://host/v1/extra")[0] == "https://host/v1"
    assert deployment_in("https://x.openai.azure.com/openai/deployments/my%20gpt?api-version=1") == "my gpt"


def test_azure_gets_its_key_in_its_own_header_and_its_version_with_every_call() -> None:
    assert authorization_of("https://x.openai.azure.com/openai", "k") == {"api-key": "k"}
    assert authorization_of("https://api.openai.com/v1", "k") == {"Authorization": "Bearer k"}
    assert authorization_of("https://api.openai.com/v1", "") == {}
    assert split_query("https://x/openai?api-version=2024-10-21") == ("https://x/openai", {"api-version": "2024-10-21"})


async def test_an_api_version_goes_out_with_every_call(upstream: Upstream) -> None:
    upstream.models = [{"id": "m"}]
    pk = await add("azure", f"{upstream.base_url}?api-version=2024-10-21", "m")
    backend = await registry.backend(pk)
    request = Request.chat([{"role": "user", "content": "hi"}], model="m")
    await backend.models()
    await backend.send(request)
    async for _ in backend.stream(request):
        pass
    assert [received.query for received in upstream.requests] == [{"api-version": "2024-10-21"}] * 3


async def test_a_deployment_without_a_list_is_its_own_model(upstream: Upstream) -> None:
    root = upstream.base_url.removesuffix("/v1")
    pk = await add("azure", f"{root}/openai/deployments/gpt?api-version=2024-10-21")
    found: Any = await discovered(pk)
    assert found.added == ("gpt",) or found.corrected == upstream.base_url
