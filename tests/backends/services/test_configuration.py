"""Backends, routes and models, as people and scripts enter them."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command

from webapp.backends import services
from webapp.backends.models import Backend, Route

pytestmark = pytest.mark.django_db
KEY = "sk-test-abcdefghijklmnop-7f3d"


def add_route(*options: str) -> None:
    call_command("add_route", "--name=fast", *options, stdout=StringIO())


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:11434",
        "ftp://x/v1",
        "http://",
        "http://u:p@h/v1",
        "http://h/v1?key=1",
        "http://h:0/v1",
        "http://h:99999/v1",
        "http://a b/",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        services.add_backend(name="a", base_url=url)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.1.1:8000",
        "2852039166",
        "0xA9FEA9FE",
        "0251.0376.0251.0376",
        "[::ffff:169.254.169.254]",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "metadata.google.internal",
    ],
)
def test_link_local_and_metadata_addresses_are_refused_at_entry(host: str) -> None:
    """FAULTS 14: in any notation; what a name leads to is checked on each connection."""
    with pytest.raises(ValidationError, match="which no backend may have"):
        services.add_backend(name="a", base_url=f"http://{host}/v1")
    with pytest.raises(CommandError):
        call_command("add_backend", "--name=a", f"--base-url=http://{host}/v1")
    assert not Backend.objects.exists()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "10.0.0.7", "192.168.1.20:1234", "[::1]:8080", "vllm"])
def test_loopback_and_private_networks_are_where_backends_live(host: str) -> None:
    assert services.add_backend(name="a", base_url=f"http://{host}/v1").pk


def test_an_endpoint_pasted_as_the_address_is_cut_off() -> None:
    assert services.add_backend(name="a", base_url="http://localhost:9/v1/chat/completions/").base_url == "http://localhost:9/v1"


def test_a_preset_is_recognised_by_its_address() -> None:
    backend = services.add_backend(name="a", base_url="http://127.0.0.1:8080/v1")
    assert (backend.preset, backend.max_concurrency) == ("llamacpp", 1)


def test_the_same_name_changes_the_backend_and_keeps_its_key() -> None:
    first = services.add_backend(name="a", base_url="http://localhost:9/v1", api_key=KEY)
    again = services.add_backend(name="a", base_url="http://localhost:9/v2")
    assert again.pk == first.pk
    assert Backend.objects.get().api_key.reveal() == KEY


def test_a_key_does_not_follow_when_the_address_moves_to_another_server() -> None:
    services.add_backend(name="a", base_url="http://localhost:9/v1", api_key=KEY)
    services.add_backend(name="a", base_url="http://elsewhere.example/v1")
    assert not Backend.objects.get().api_key


@pytest.mark.parametrize(
    "variable",
    ["PATCHBAY_SECRET_KEY", "DATABASE_URL", "REDIS_URL", "DJANGO_SUPERUSER_PASSWORD", "no name", "HOME", "AWS_SECRET_ACCESS_KEY"],
)
def test_patchbays_own_secrets_cannot_be_named_as_a_key(variable: str) -> None:
    with pytest.raises(ValidationError):
        services.add_backend(name="a", base_url="http://localhost:9/v1", api_key_env=variable)


@pytest.mark.parametrize(
    "headers",
    [["X"], {"X": 1}, {"X\n": "1"}, {"X": "a\r\nEvil: 1"}, {"Host": "evil"}, {"Authorization": "Bearer sk-plain"}, {"api-key": "sk-plain"}],
)
def test_headers_that_would_break_or_bare_a_request_are_refused(headers: object) -> None:
    backend = services.add_backend(name="a", base_url="http://localhost:9/v1")
    backend.headers = headers
    with pytest.raises(ValidationError):
        backend.full_clean()


def test_a_header_may_name_the_key_without_holding_it() -> None:
    backend = services.add_backend(name="a", base_url="http://localhost:9/v1")
    backend.headers = {"api-key": "{api_key}", "X-Team": "blue"}
    backend.full_clean()


def test_a_route_gets_exactly_the_steps_it_is_given() -> None:
    for name in ("a", "b"):
        services.add_backend(name=name, base_url=f"http://localhost/{name}")
    add_route("--step=a/m1", "--step=b/vendor/m2", "--first-token-timeout=2.5")
    add_route("--step=b/vendor/m2", "--step=a/m1", "--mid-stream=restart")
    route = Route.objects.get()
    assert [str(step) for step in route.steps.all()] == ["b/vendor/m2", "a/m1"]
    assert [step.first_token_timeout for step in route.steps.all()] == [None, None]
    assert route.mid_stream == "restart"


@pytest.mark.parametrize("step", ["a", "a/", "/m", "nobody/m"])
def test_a_step_that_leads_nowhere_is_refused_and_nothing_changes(step: str) -> None:
    services.add_backend(name="a", base_url="http://localhost/v1")
    with pytest.raises(CommandError):
        add_route("--step=a/m1", f"--step={step}")
    assert not Route.objects.exists()


def test_an_embedding_model_is_known_by_its_name() -> None:
    backend = services.add_backend(name="a", base_url="http://localhost/v1")
    assert services.add_model(backend=backend, name="text-embedding-3-small").capabilities == {"chat": False, "embeddings": True}
    assert services.add_model(backend=backend, name="llama3.1").capabilities == {}
