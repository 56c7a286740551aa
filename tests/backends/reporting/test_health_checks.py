"""`manage.py doctor` reports on the backends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.upstream import Upstream, closed_port
from webapp.backends import services
from webapp.backends.config import crypto
from webapp.backends.models import Backend, Route
from webapp.backends.reporting import health_checks

pytestmark = pytest.mark.django_db(transaction=True)


def findings() -> dict[str, tuple[str, str]]:
    return {finding.subject: (finding.level, finding.state) for finding in health_checks.findings()}


def test_it_asks_every_backend_and_says_what_to_do(make_upstream: Callable[..., Upstream], monkeypatch: pytest.MonkeyPatch) -> None:
    services.seed()
    services.add_backend(name="up", base_url=make_upstream().base_url)
    services.add_backend(name="down", base_url=f"http://127.0.0.1:{closed_port()}/v1")
    services.add_backend(name="keyless", base_url="http://127.0.0.1:9/v1", api_key_env="NO_SUCH_API_KEY")
    flagged = services.add_backend(name="flagged", base_url=make_upstream().base_url)
    Backend.objects.filter(pk=flagged.pk).update(flagged="Incorrect API key.")
    Route.objects.create(name="empty")
    found = findings()
    assert {name.removeprefix("backend "): level for name, (level, _) in found.items() if name.startswith("backend")} == {
        "builtin": "ok",
        "up": "ok",
        "down": "warning",
        "keyless": "warning",
        "flagged": "error",
    }
    assert "NO_SUCH_API_KEY is not set" in found["backend keyless"][1]
    assert found["route empty"] == ("warning", "has no step that may be used")


def test_a_broken_encryption_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(crypto.KEY_VARIABLE, "short")
    assert findings()["encryption keys"][0] == "error"
