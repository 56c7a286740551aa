"""models: what the token's user may use."""

from __future__ import annotations

from tests.gateway.api import Api
from tests.upstream import Upstream


async def test_routes_and_backend_models_are_listed_as_the_sdk_expects(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream, route="fast")
    page = await api.sdk().models.list()
    assert [model.id for model in page.data] == ["fast", "backend0/m"]
    assert {(model.object, type(model.created)) for model in page.data} == {("model", int)}
    assert [model.owned_by for model in page.data] == ["patchbay", "backend0"]


async def test_a_model_is_found_by_every_name_that_a_request_may_carry(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream, route="fast", model="org/some-model:7b")
    for name in ("fast", "backend0/org/some-model:7b", "org/some-model:7b"):
        assert (await api.sdk().models.retrieve(name)).id == name
    response = await api.http.get("models/nope")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
