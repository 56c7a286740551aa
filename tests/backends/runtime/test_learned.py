"""Learned facts are stored, applied after a restart, and forgotten."""

from __future__ import annotations

from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from tests.upstream import Upstream, error
from webapp.backends.models import Backend, Learned
from webapp.backends.runtime import learned, registry
from webapp.core.database import in_database
from webapp.patterns.types import Request, Usage

pytestmark = pytest.mark.django_db(transaction=True)

HELLO = Request.chat([{"role": "user", "content": "hi"}], max_tokens=9)
REFUSAL = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."


async def ask() -> None:
    await (await registry.resolve("up/m", user=None)).send(HELLO)


async def test_a_repair_outlives_the_process(up: Upstream) -> None:
    up.script(error(REFUSAL, param="max_tokens"))
    await ask()
    await registry.aclose()  # as a restart does
    fact = await Learned.objects.aget()
    assert (fact.model, fact.kind, fact.name) == ("m", "repair", "max_completion_tokens for max_tokens")
    assert "max_tokens" in fact.why
    await ask()
    sent = [request.body for request in up.requests if request.method == "POST"]
    assert ["max_tokens" in body for body in sent] == [True, False, False]


async def test_a_forgotten_repair_is_not_applied(up: Upstream) -> None:
    backend = await Backend.objects.aget(name="up")
    await in_database(learned.record_repair, backend.pk, "m", "without temperature", "no")
    request = HELLO.with_options(temperature=0.5)
    await (await registry.resolve("up/m", user=None)).send(request)
    assert await in_database(lambda: learned.forget(backend=backend)) == 1
    await (await registry.resolve("up/m", user=None)).send(request)
    sent = [received.body for received in up.requests if received.method == "POST"]
    assert ["temperature" in body for body in sent] == [False, True]


async def test_an_old_fact_is_forgotten_by_itself(up: Upstream) -> None:
    backend = await Backend.objects.aget(name="up")
    await in_database(learned.record_repair, backend.pk, "m", "without temperature", "no")
    await Learned.objects.aupdate(last_seen_at=timezone.now() - timedelta(days=31))
    await (await registry.resolve("up/m", user=None)).send(HELLO.with_options(temperature=0.5))
    assert "temperature" in up.requests[-1].body


async def test_a_window_is_stored_restored_and_forgotten(up: Upstream) -> None:
    key = ("up", "m")
    learned.calibration.forget(key)
    for counted in (20_000, 30_000, 40_000):
        learned.calibration.observe(key, counted=counted, usage=Usage(prompt_tokens=4_096))
    await learned.save_readings()
    fact = await Learned.objects.aget(kind="window")
    assert (fact.value, fact.observations) == (4096, 3)
    assert "4,096 tokens" in fact.in_words
    learned.calibration.forget(key)
    await registry.current().refresh()
    assert learned.calibration.truncates_at(key) == 4_096
    backend = await Backend.objects.aget(name="up")
    await sync_to_async(learned.forget)(backend=backend, fact=fact.pk)
    assert learned.calibration.truncates_at(key) is None
    await registry.current().refresh()
    assert learned.calibration.truncates_at(key) is None
