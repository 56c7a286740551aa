"""The page of a backend's models at real size: searched, filtered, changed in bulk."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from webapp.backends import services
from webapp.backends.models import Backend, BackendModel, Learned
from webapp.backends.runtime import learned

PAGE = "/admin/backends/backendmodel/"


@pytest.fixture
def backend(db: None) -> Backend:
    """A backend with 500 models."""
    backend = services.add_backend(name="many", base_url="http://127.0.0.1:9/v1")
    BackendModel.objects.bulk_create(
        BackendModel(backend=backend, name=f"vendor/model-{number:03}", discovered=True) for number in range(500)
    )
    return backend


def act(client: Client, action: str, rows: Any, value: str = "", *, all_pages: bool = False) -> str:
    data = {"action": action, "value": value, "_selected_action": [row.pk for row in rows], "select_across": "1" if all_pages else "0"}
    return client.post(f"{PAGE}?q=vendor", data, follow=True).content.decode()


def test_a_backend_with_500_models_opens_and_saves(as_administrator: Client, backend: Backend) -> None:
    page = f"/admin/backends/backend/{backend.pk}/change/"
    opened = as_administrator.get(page)
    assert "offers 500 models" in opened.content.decode()
    form = opened.context["adminform"].form
    data = {name: form.get_initial_for_field(field, name) for name, field in form.fields.items()}
    data = {name: value for name, value in data.items() if value not in (None, "", False)} | {"headers": "{}", "position": 7}
    saved = as_administrator.post(page, data)
    assert saved.status_code == 302
    backend.refresh_from_db()
    assert backend.position == 7


def test_models_are_searched(as_administrator: Client, backend: Backend) -> None:
    page = as_administrator.get(f"{PAGE}?backend__id__exact={backend.pk}&q=model-42").content.decode()
    assert "vendor/model-421" in page
    assert "vendor/model-300" not in page


def test_capabilities_windows_and_prices_are_set_for_many_at_once(as_administrator: Client, backend: Backend) -> None:
    rows = list(backend.offered.filter(name__in=["vendor/model-001", "vendor/model-002"]))
    assert "2 models changed." in act(as_administrator, "tools_no", rows)
    act(as_administrator, "set_window", rows, "32,768")
    act(as_administrator, "set_input_price", rows, "0.15")
    changed = BackendModel.objects.get(name="vendor/model-002")
    assert (changed.capabilities, changed.context_window, float(changed.input_price or 0)) == ({"tools": False}, 32768, 0.15)
    act(as_administrator, "tools_unknown", rows)
    assert BackendModel.objects.get(name="vendor/model-002").capabilities == {}


def test_an_action_reaches_all_that_were_found(as_administrator: Client, backend: Backend) -> None:
    assert "500 models changed." in act(as_administrator, "vision_yes", backend.offered.all()[:1], all_pages=True)
    assert BackendModel.objects.filter(capabilities__vision=True).count() == 500


@pytest.mark.parametrize(
    ("action", "value"), [("set_window", "many"), ("set_window", "-1"), ("set_input_price", "cheap"), ("set_output_price", "-2")]
)
def test_a_value_that_makes_no_sense_changes_nothing(as_administrator: Client, backend: Backend, action: str, value: str) -> None:
    page = act(as_administrator, action, backend.offered.all()[:2], value)
    assert "Write the" in page
    assert not BackendModel.objects.exclude(context_window=None, input_price=None, output_price=None).exists()


def test_learned_facts_are_shown_and_forgotten(as_administrator: Client, backend: Backend) -> None:
    learned.record_repair(backend.pk, "vendor/model-001", "max_completion_tokens for max_tokens", "Unsupported parameter: 'max_tokens'")
    learned.record_repair(backend.pk, "vendor/model-002", "without temperature", "Unsupported value: 'temperature'")
    page = as_administrator.get(f"/admin/backends/backend/{backend.pk}/change/").content.decode()
    assert "Requests go out with max_completion_tokens for max_tokens." in page
    fact = Learned.objects.get(model="vendor/model-001")
    as_administrator.post(f"/admin/backends/backend/{backend.pk}/forget/", {"fact": fact.pk})
    assert list(Learned.objects.values_list("name", flat=True)) == ["without temperature"]
    as_administrator.post(f"/admin/backends/backend/{backend.pk}/forget/")
    assert not Learned.objects.exists()


def test_the_first_model_of_the_default_route_is_asked_for(as_administrator: Client, backend: Backend) -> None:
    services.seed()
    page = f"/admin/backends/backend/{backend.pk}/default/"
    assert "vendor/model-499" in as_administrator.get(page).content.decode()
    assert as_administrator.post(page, {"model": "nothing"}).status_code == 400
    assert as_administrator.post(page, {"model": "vendor/model-042"}).status_code == 302
    assert [str(step) for step in backend.steps.all()] == ["many/vendor/model-042"]
