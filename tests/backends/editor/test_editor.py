"""The route editor: its page, saving, its model list, the picture, and test questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from tests.upstream import Upstream, error, says
from webapp.backends import services
from webapp.backends.models import Attempt, Backend, Route

MakeUpstream = Callable[..., Upstream]


def posted(*steps: str, **fields: object) -> dict[str, object]:
    """A form with `backend/model` steps; a step that begins with "then " begins a group."""
    names = [step.removeprefix("then ") for step in steps]
    lists: dict[str, Sequence[object]] = {
        "step": [""] * len(steps),
        "backend": [name.partition("/")[0] for name in names],
        "model": [name.partition("/")[2] for name in names],
        "then": ["1" if step.startswith("then ") else "0" for step in steps],
        "weight": [1] * len(steps),
        "condition": [""] * len(steps),
    }
    return {"name": "fast", "balance": "ordered", "mid_stream": "stop", "enabled": "on", **lists, **fields}


@pytest.fixture
def servers(db: None) -> None:
    for name in ("one", "two", "three"):
        backend = services.add_backend(name=name, base_url=f"http://127.0.0.1:9/{name}")
        services.add_model(backend=backend, name="m")


def steps_of(name: str) -> list[tuple[str, int, int]]:
    return [(str(step), step.group, step.weight) for step in Route.objects.get(name=name).steps.all()]


@pytest.mark.usefixtures("servers")
def test_a_route_is_made_with_groups_and_weights(as_administrator: Client) -> None:
    form = posted("one/m", "two/m", "then three/m", balance="weighted", weight=[3, 1, ""])
    response = as_administrator.post("/routes/new/", form)
    assert response.status_code == 302
    assert steps_of("fast") == [("one/m", 0, 3), ("two/m", 0, 1), ("three/m", 1, 1)]
    page = as_administrator.get(response.headers["Location"]).content.decode()
    assert page.count('data-testid="route-step"') == 4, "three steps and the template"
    assert LogEntry.objects.get().change_message == "Saved with one/m → two/m → three/m."


@pytest.mark.usefixtures("servers")
def test_reordered_steps_keep_their_timeouts_and_their_ids(as_administrator: Client) -> None:
    route = services.set_route(name="fast", steps=[(Backend.objects.get(name=name), "m") for name in ("one", "two")])
    first, second = route.steps.all()
    form = posted("two/m", "one/m", step=[second.pk, first.pk], first_token_timeout=["", 2.5])
    assert as_administrator.post(f"/routes/{route.pk}/", form).status_code == 302
    assert list(route.steps.values_list("pk", "first_token_timeout")) == [(second.pk, None), (first.pk, 2.5)]


@pytest.mark.usefixtures("servers")
def test_a_step_id_of_another_route_is_not_taken_over(as_administrator: Client) -> None:
    other = services.set_route(name="other", steps=[(Backend.objects.get(name="one"), "m")])
    as_administrator.post("/routes/new/", posted("two/m", step=[other.steps.get().pk]))
    assert steps_of("other") == [("one/m", 0, 1)]
    assert steps_of("fast") == [("two/m", 0, 1)]


@pytest.mark.usefixtures("servers")
@pytest.mark.parametrize(
    ("form", "told"),
    [
        (posted("gone/m"), "The backend &#x27;gone&#x27; does not exist."),
        (posted("one/m", weight=["many"]), "weight: “many” value must be an integer."),
        (posted("one/m", name="two words"), "Use letters, digits"),
        (posted("one/m", first_token_timeout=[0]), "first token timeout: Ensure this value"),
    ],
)
def test_a_draft_that_is_not_valid_is_shown_again_with_the_reason(as_administrator: Client, form: dict[str, object], told: str) -> None:
    response = as_administrator.post("/routes/new/", form)
    assert response.status_code == 400
    assert told in response.content.decode()
    assert not Route.objects.exists()


@pytest.mark.usefixtures("servers")
def test_a_change_by_somebody_else_is_not_overwritten(as_administrator: Client) -> None:
    route = services.set_route(name="fast", steps=[(Backend.objects.get(name="one"), "m")])
    seen = services.version_of(route)
    services.set_route(name="fast", steps=[(Backend.objects.get(name="two"), "m")])
    response = as_administrator.post(f"/routes/{route.pk}/", posted("three/m", seen=seen))
    assert response.status_code == 409
    assert "Somebody else saved this route" in response.content.decode()
    assert steps_of("fast") == [("two/m", 0, 1)]


@pytest.mark.usefixtures("servers")
def test_the_model_list_is_bounded_and_searched(as_administrator: Client) -> None:
    many = Backend.objects.get(name="two")
    for number in range(70):
        services.add_model(backend=many, name=f"vendor/model-{number:03}")
    page = as_administrator.get("/routes/models/").content.decode()
    assert page.count('data-testid="model-choice"') == 60
    assert "13 more models" in page
    found = as_administrator.get("/routes/models/", {"words": "Model 069"}).content.decode()
    assert found.count('data-testid="model-choice"') == 1
    unlisted = as_administrator.get("/routes/models/", {"words": "secret-model", "from": "one"}).content.decode()
    assert "not listed by one" in unlisted


@pytest.mark.usefixtures("servers")
def test_the_picture_shows_shares_and_the_effect_of_a_failure(as_administrator: Client) -> None:
    form = posted("one/m", "two/m", "then three/m", balance="weighted", weight=[3, 1, 1])
    page = as_administrator.post("/routes/preview/", form).content.decode()
    assert "75 %" in page
    assert "25 %" in page
    assert "<strong>one/m</strong> would answer" in page
    failing = as_administrator.post("/routes/preview/", {**form, "condition": ["429", "down", ""]}).content.decode()
    assert "<strong>three/m</strong> would answer" in failing
    assert "100 %" in failing
    assert "Rate limit" in failing
    assert "This model is skipped for as long as the server says" in failing
    nobody = as_administrator.post("/routes/preview/", {**form, "condition": ["429", "down", "401"]}).content.decode()
    assert "100 % of the requests get an error" in nobody
    assert not Attempt.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_test_question_goes_through_the_draft_and_shows_who_was_tried(make_upstream: MakeUpstream, as_administrator: Client) -> None:
    broken, healthy = make_upstream(), make_upstream()
    broken.script(error("The GPU fell off the bus.", code=500))
    healthy.script(says("Paris."))
    for name, server in (("broken", broken), ("healthy", healthy)):
        services.add_backend(name=name, base_url=server.base_url)
    form = posted("broken/m", "healthy/m", question="Capital of France?")
    page = as_administrator.post("/routes/question/", form).content.decode()
    assert "<strong>healthy/m</strong>" in page
    assert "Paris." in page
    assert "The GPU fell off the bus." in page
    assert "Server error" in page
    assert healthy.requests[-1].body["messages"] == [{"role": "user", "content": "Capital of France?"}]


@pytest.mark.django_db(transaction=True)
def test_a_simulated_failure_is_neither_sent_nor_recorded(make_upstream: MakeUpstream, as_administrator: Client) -> None:
    first, second = make_upstream(), make_upstream()
    second.script(says("Paris."))
    for name, server in (("first", first), ("second", second)):
        services.add_backend(name=name, base_url=server.base_url)
    page = as_administrator.post("/routes/question/", posted("first/m", "second/m", condition=["401", ""])).content.decode()
    assert "Key refused" in page
    assert "<strong>second/m</strong>" in page
    assert first.requests == []
    assert not Backend.objects.get(name="first").flagged


@pytest.mark.usefixtures("servers")
def test_the_admin_leads_to_the_editor(as_administrator: Client) -> None:
    route = services.set_route(name="fast", steps=[(Backend.objects.get(name="one"), "m")])
    assert f'<a href="/routes/{route.pk}/">fast</a>' in as_administrator.get("/admin/backends/route/").content.decode()
    assert as_administrator.get("/admin/backends/route/add/").headers["Location"] == "/routes/new/"
    assert f"/routes/{route.pk}/" in as_administrator.get(f"/admin/backends/route/{route.pk}/change/").content.decode()
