"""Prompt templates: prompts of the library, with their variables filled in."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from chat.models import Prompt
from tests.gateway.api import Api
from tests.upstream import Upstream

TEXT = "Write about {{topic}} in {{style}}."
VALUES: Any = {"topic": "boats", "style": "verse {{topic}}"}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AA=="}


@pytest.fixture(autouse=True)
async def library(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    await Prompt.objects.acreate(user=api.users.owner, name="write", text=TEXT)
    await Prompt.objects.acreate(user=api.users.other, name="secret", text="Mine.")
    await Prompt.objects.acreate(user=api.users.other, name="shared", text="Ours.", shared=True)


def told(upstream: Upstream) -> list[Any]:
    messages: list[Any] = upstream.requests[-1].body["messages"]
    return messages


async def test_a_prompt_alone_is_the_users_message(api: Api, upstream: Upstream) -> None:
    response = await api.sdk().responses.create(model="m", prompt={"id": "write", "variables": VALUES})
    assert told(upstream) == [{"role": "user", "content": "Write about boats in verse {{topic}}."}]
    assert response.prompt
    assert response.prompt.id == "write"
    items = (await api.sdk().responses.input_items.list(response.id)).data
    assert [item.type for item in items] == ["message"]


async def test_beside_input_it_stands_before_it(api: Api, upstream: Upstream) -> None:
    await api.sdk().responses.create(model="m", input="Now.", instructions="Be brief.", prompt={"id": "/shared"})
    assert told(upstream) == [{"role": "system", "content": "Be brief.\n\nOurs."}, {"role": "user", "content": "Now."}]


async def test_values_may_be_texts_and_images(api: Api, upstream: Upstream) -> None:
    variables: Any = {"topic": {"type": "input_text", "text": "boats"}, "style": IMAGE}
    await api.sdk().responses.create(model="m", input="Now.", prompt={"id": "write", "variables": variables})
    first = told(upstream)[0]
    assert first["role"] == "user"
    assert first["content"][0]["text"] == "Write about boats in ."
    assert first["content"][1]["image_url"]["url"] == IMAGE["image_url"]


@pytest.mark.parametrize("name", ["nobody", "secret", ""])
async def test_a_prompt_of_someone_else_does_not_exist(api: Api, name: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        await api.sdk().responses.create(model="m", input="hi", prompt={"id": name})
    assert caught.value.code == "prompt_not_found"


async def test_a_variable_without_a_value_is_refused(api: Api, upstream: Upstream) -> None:
    with pytest.raises(openai.BadRequestError, match="needs values for style"):
        await api.sdk().responses.create(model="m", prompt={"id": "write", "variables": {"topic": "boats"}})
    assert not upstream.requests
