"""Start and store probes and benchmarks, which run in the background."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from webapp.accounts.models import User
from webapp.backends.config import conformance
from webapp.backends.config.conformance import Finding
from webapp.backends.models import Backend, BackendModel, BenchmarkRun, ProbeRun
from webapp.backends.runtime import jobs, registry
from webapp.core.database import in_database
from webapp.patterns.errors import PatternError
from webapp.patterns.types import Json, Request

BENCHMARK_SECONDS = 600.0
WRITE_SECONDS = 0.5
QUESTION = "Write a short story about a lighthouse keeper who repairs radios."


def start_probe(*, backend: Backend, model: str, user: User | None) -> tuple[ProbeRun, threading.Thread]:
    """Start a conformance probe. Its findings appear in the row one by one."""
    run = ProbeRun.objects.create(backend=backend, model=model, user=user)
    return run, jobs.start(f"probe of {backend.name}", lambda: _probe(run.pk, backend.pk, model))


async def _probe(run: int, backend: int, model: str) -> None:
    row = (await registry.current().snapshot()).backends[backend]
    kept: list[Json] = []

    async def keep(finding: Finding) -> None:
        kept.append(finding.as_json())
        await in_database(ProbeRun.objects.filter(pk=run).update, results=kept)

    findings = await conformance.probe(row, model, keep)
    await in_database(_finish_probe, run, findings)


@transaction.atomic
def _finish_probe(run: int, findings: list[Finding]) -> None:
    """Apply certain results to the chain. An unclear result keeps the known value."""
    probe = ProbeRun.objects.select_related("backend").get(pk=run)
    probe.finished_at = timezone.now()
    probe.save(update_fields=["finished_at"])
    backend = probe.backend
    backend.capabilities = {**backend.capabilities, **conformance.learnt(findings, conformance.OF_THE_SERVER)}
    backend.save(update_fields=["capabilities", "updated_at"])
    model = BackendModel.objects.filter(backend=backend, name=probe.model).first()
    if model:
        model.capabilities = {**model.capabilities, **conformance.learnt(findings, conformance.OF_THE_MODEL)}
        model.save(update_fields=["capabilities"])


def start_benchmark(
    *, target: str, concurrency: int, max_tokens: int, rounds: int, user: User | None
) -> tuple[BenchmarkRun, threading.Thread]:
    """Start a benchmark of a model name of /v1."""
    run = BenchmarkRun.objects.create(target=target, concurrency=concurrency, max_tokens=max_tokens, rounds=rounds, user=user)
    return run, launch_benchmark(run=run)


def launch_benchmark(*, run: BenchmarkRun) -> threading.Thread:
    """Start the benchmark of a saved row."""
    return jobs.start(f"benchmark of {run.target}", lambda: _benchmark(run))


def cancel_benchmark(*, run: BenchmarkRun) -> None:
    """Cancel a benchmark. Its process notices within a second, wherever it runs."""
    BenchmarkRun.objects.filter(pk=run.pk, status=BenchmarkRun.Status.RUNNING).update(status=BenchmarkRun.Status.CANCELLED)


class _Cancelled(Exception):
    """Report that the row is marked as cancelled."""


async def _benchmark(run: BenchmarkRun) -> None:
    try:
        chain = await registry.resolve(run.target, user=None)
        results = await _measured(run, chain)
    except PatternError as error:
        await in_database(_end, run.pk, BenchmarkRun.Status.FAILED, {}, error.message)
    except _Cancelled:
        return
    else:
        failed = not results["answered"]
        status = BenchmarkRun.Status.FAILED if failed else BenchmarkRun.Status.DONE
        first = next((sample["message"] for sample in results["samples"] if sample["error"]), "") if failed else ""
        await in_database(_end, run.pk, status, results, first)


async def _measured(run: BenchmarkRun, chain: Any) -> Json:
    from webapp.patterns.benchmark import Progress, measure

    samples: list[Json] = []
    request = Request.chat([{"role": "user", "content": QUESTION}], max_tokens=run.max_tokens)
    watched = jobs.Watched(lambda: in_database(_still_running, run.pk, len(samples)), every=WRITE_SECONDS)

    def progress(now: Progress) -> None:
        samples.append(dataclasses.asdict(now.sample))

    began = time.monotonic()
    measuring = measure(chain, request, requests=run.total, concurrency=run.concurrency, seconds=BENCHMARK_SECONDS, on_progress=progress)
    report = await watched.run(measuring)
    if report is None:
        raise _Cancelled
    rates = {"tokens_per_second": report.tokens_per_second, "requests_per_second": report.requests_per_second}
    return {**dataclasses.asdict(report), **rates, "samples": samples, "wall_seconds": time.monotonic() - began}


def _still_running(pk: int, done: int) -> bool:
    """Write the progress; return False if it was cancelled."""
    rows = BenchmarkRun.objects.filter(pk=pk, status=BenchmarkRun.Status.RUNNING)
    return bool(rows.update(done=done, touched_at=timezone.now()))


def _end(pk: int, status: str, results: Json, error: str) -> None:
    rows = BenchmarkRun.objects.filter(pk=pk, status=BenchmarkRun.Status.RUNNING)
    rows.update(status=status, results=results, error=error[:500], touched_at=timezone.now(), done=F("concurrency") * F("rounds"))
