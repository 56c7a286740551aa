"""The registry between the gateway and whoever serves files and batches."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from webapp.backends import api_registry
from webapp.backends.api_registry import ApiError, FilesApi, listing


@pytest.fixture(autouse=True)
def _empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_registry._Registered, "files", None)
    monkeypatch.setattr(api_registry._Registered, "batches", None)


def test_an_api_that_nobody_serves_is_a_501_in_the_error_shape() -> None:
    with pytest.raises(ApiError) as caught:
        api_registry.batches()
    assert caught.value.status == 501
    assert set(caught.value.as_json()["error"]) == {"message", "type", "param", "code"}


def test_registering_one_api_leaves_the_other_alone() -> None:
    served = Mock(spec=FilesApi)
    api_registry.register(files=served)
    api_registry.register()
    assert api_registry.files() is served
    with pytest.raises(ApiError):
        api_registry.batches()


def test_a_listing_names_its_first_and_last_entry_and_an_empty_one_neither() -> None:
    assert listing([{"id": "a"}, {"id": "b"}], has_more=True) == {
        "object": "list",
        "data": [{"id": "a"}, {"id": "b"}],
        "first_id": "a",
        "last_id": "b",
        "has_more": True,
    }
    assert listing([], has_more=False)["first_id"] is None
