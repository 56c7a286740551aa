"""The registry between the gateway and whoever serves files and batches."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from webapp.ports import files_and_batches
from webapp.ports.files_and_batches import ApiError, FilesApi, listing


@pytest.fixture(autouse=True)
def _empty_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files_and_batches._Registered, "files", None)
    monkeypatch.setattr(files_and_batches._Registered, "batches", None)


def test_an_api_that_nobody_serves_is_a_501_in_the_error_shape() -> None:
    with pytest.raises(ApiError) as caught:
        files_and_batches.batches()
    assert caught.value.status == 501
    assert set(caught.value.as_json()["error"]) == {"message", "type", "param", "code"}


def test_registering_one_api_leaves_the_other_alone() -> None:
    served = Mock(spec=FilesApi)
    files_and_batches.register(files=served)
    files_and_batches.register()
    assert files_and_batches.files() is served
    with pytest.raises(ApiError):
        files_and_batches.batches()


def test_a_listing_names_its_first_and_last_entry_and_an_empty_one_neither() -> None:
    assert listing([{"id": "a"}, {"id": "b"}], has_more=True) == {
        "object": "list",
        "data": [{"id": "a"}, {"id": "b"}],
        "first_id": "a",
        "last_id": "b",
        "has_more": True,
    }
    assert listing([], has_more=False)["first_id"] is None
