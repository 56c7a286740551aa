"""The first start creates rows that later starts leave alone."""

from __future__ import annotations

import pytest
from django.test import override_settings

from webapp.backends import services
from webapp.backends.config import detection
from webapp.backends.models import Backend, ConfigState, Offer, Route, RouteStep

pytestmark = pytest.mark.django_db


def test_a_first_start_gives_routes_over_the_built_in_backend() -> None:
    services.seed()
    names = [model.name for model in Backend.objects.get().offered.all()]
    assert names == ["all-MiniLM-L6-v2", "multilingual-e5-small", "patchbay-builtin"]
    steps = {route.name: [str(step) for step in route.steps.all()] for route in Route.objects.all()}
    assert steps == {"default": ["builtin/patchbay-builtin"], "embed": ["builtin/multilingual-e5-small"]}


def test_an_older_installation_gets_the_multilingual_model_as_the_step_of_an_unchanged_route() -> None:
    seed_older_installation()
    services.seed()
    assert Backend.objects.get().offered.filter(name="multilingual-e5-small").exists()
    assert [str(step) for step in Route.objects.get(name="embed").steps.all()] == ["builtin/multilingual-e5-small"]


def test_an_older_installation_keeps_the_steps_that_its_administrator_chose() -> None:
    seed_older_installation()
    route = Route.objects.get(name="embed")
    route.steps.create(backend=Backend.objects.get(), model="patchbay-builtin", position=0)
    services.seed()
    assert [str(step) for step in route.steps.all()] == ["builtin/patchbay-builtin", "builtin/all-MiniLM-L6-v2"]


def seed_older_installation() -> None:
    """Leave the rows that a first start created before the multilingual model existed."""
    services.seed()
    Backend.objects.get().offered.filter(name="multilingual-e5-small").delete()
    RouteStep.objects.filter(route__name="embed").update(model="all-MiniLM-L6-v2")
    state = ConfigState.objects.get()
    state.seeded.remove("multilingual")
    state.save()


def test_what_people_deleted_stays_deleted() -> None:
    services.seed()
    Route.objects.get(name="default").delete()
    Backend.objects.all().delete()
    services.seed()
    assert list(Route.objects.values_list("name", flat=True)) == ["embed"]
    assert not Backend.objects.exists()


def test_a_second_start_asks_the_database_little(django_assert_max_num_queries: object) -> None:
    services.seed()
    with django_assert_max_num_queries(6):  # type: ignore[operator] # pytest-django's context manager factory
        services.seed()


@override_settings(PATCHBAY_BUILTIN=False)
def test_without_the_built_in_backend_the_routes_wait_empty() -> None:
    services.seed()
    assert not Backend.objects.exists()
    assert Route.objects.get(name="default").steps.count() == 0


def test_an_offer_becomes_the_first_step_of_the_default_route_by_one_call() -> None:
    services.seed()
    offer = Offer.objects.create(
        name="ollama", preset="ollama", base_url="http://localhost:11434/v1", model_ids=["nomic-embed-text", "llama3.1:8b"]
    )
    services.accept_offer(offer=offer)
    steps = [str(step) for step in Route.objects.get(name="default").steps.all()]
    assert steps == ["ollama/llama3.1:8b", "builtin/patchbay-builtin"]
    offer.refresh_from_db()
    assert offer.state == Offer.State.ACCEPTED
    with pytest.raises(Offer.DoesNotExist):  # a second click, of whoever had seen it open
        services.accept_offer(offer=offer)
    assert Backend.objects.filter(preset="ollama").count() == 1


def test_of_many_models_one_that_chats_is_chosen_to_begin_with() -> None:
    services.seed()
    backend = services.add_backend(name="openai", base_url="https://api.openai.com/v1")
    for name in ("babbage-002", "tts-1", "o1-pro", "gpt-4o-realtime-preview", "gpt-4o-mini", "gpt-3.5-turbo-instruct"):
        services.add_model(backend=backend, name=name, discovered=True)
    step = services.add_to_default(backend=backend)
    assert str(step) == "openai/gpt-4o-mini"
    assert services.add_to_default(backend=backend) is None, "it is there already"


def steps_of_default() -> list[str]:
    return [str(step) for step in Route.objects.get(name="default").steps.all()]


def test_a_backend_that_is_put_first_is_before_every_other_step() -> None:
    services.seed()
    for name in ("one", "two"):
        backend = services.add_backend(name=name, base_url=f"http://{name}.example/v1")
        for model in ("a", "b"):
            services.add_model(backend=backend, name=model)
        services.put_first(backend=backend)
    assert steps_of_default() == ["two/a", "one/a", "builtin/patchbay-builtin"]
    services.put_first(backend=backend, model="b")
    assert steps_of_default() == ["two/b", "two/a", "one/a", "builtin/patchbay-builtin"]
    services.put_first(backend=backend, model="a")
    assert steps_of_default() == ["two/a", "two/b", "one/a", "builtin/patchbay-builtin"]


def test_a_key_in_the_environment_is_offered_and_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-the-environment")
    monkeypatch.setattr(detection, "LOCAL", ())
    services.look_for_servers()
    offer = Offer.objects.get()
    assert (offer.preset, offer.base_url, offer.api_key_env) == ("openai", "https://api.openai.com/v1", "OPENAI_API_KEY")
    backend = services.accept_offer(offer=offer)
    assert not backend.api_key


def test_a_start_does_not_fail_for_an_address_that_no_backend_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-the-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://169.254.169.254/v1")
    monkeypatch.setattr(detection, "LOCAL", ())
    services.look_for_servers()
    assert not Offer.objects.exists()


def test_a_dismissed_offer_does_not_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-the-environment")
    monkeypatch.setattr(detection, "LOCAL", ())
    services.look_for_servers()
    services.dismiss_offer(offer=Offer.objects.get())
    services.look_for_servers()
    assert Offer.objects.get().state == Offer.State.DISMISSED
