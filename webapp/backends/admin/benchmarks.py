"""Start benchmarks from a form, watch them, store, and compare them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from webapp.accounts.models import User
from webapp.backends import services
from webapp.backends.config import snapshot
from webapp.backends.models import BenchmarkRun
from webapp.core import charts
from webapp.templatetags.ui import milliseconds

MAX_REQUESTS = 2000
COMPARED = 8


class BenchmarkForm(forms.ModelForm):
    """Choose a target and the size of a benchmark."""

    concurrency = forms.IntegerField(min_value=1, max_value=256, initial=4, help_text=gettext_lazy("Number of parallel workers."))
    max_tokens = forms.IntegerField(min_value=1, max_value=4096, initial=64, help_text=gettext_lazy("Max tokens per answer."))
    rounds = forms.IntegerField(
        min_value=1, max_value=500, initial=5, help_text=gettext_lazy("Requests that each worker sends, one after the other.")
    )

    class Meta:
        model = BenchmarkRun
        fields = ["target", "concurrency", "max_tokens", "rounds"]
        widgets = {"target": forms.TextInput(attrs={"list": "targets", "autocomplete": "off", "spellcheck": "false"})}

    def clean(self) -> dict[str, Any]:
        """Limit the number of requests."""
        data: dict[str, Any] = super().clean() or self.cleaned_data
        if data.get("concurrency", 0) * data.get("rounds", 0) > MAX_REQUESTS:
            raise ValidationError(
                _("That makes more than %(MAX_REQUESTS)s requests. Lower the concurrency or the rounds.") % {"MAX_REQUESTS": MAX_REQUESTS}
            )
        return data


@admin.register(BenchmarkRun)
class BenchmarkRunAdmin(admin.ModelAdmin):
    """Start benchmarks and show their results."""

    form = BenchmarkForm
    list_display = ["target", "created_at", "status", "concurrency", "max_tokens", "requests", "first_token", "pace", "user"]
    list_filter = ["status", "target"]
    search_fields = ["target"]
    list_select_related = ["user"]
    fields = ["target", ("concurrency", "max_tokens", "rounds")]

    def has_change_permission(self, request: HttpRequest, obj: BenchmarkRun | None = None) -> bool:  # noqa: ARG002 - Django's signature
        """Refuse: a run cannot be edited."""
        return False

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Take the target from the address."""
        return {"target": request.GET.get("target", "")}

    @admin.display
    def requests(self, run: BenchmarkRun) -> int:
        """Return the number of requests."""
        return run.total

    @admin.display(description=gettext_lazy("first token, p50"))
    def first_token(self, run: BenchmarkRun) -> str:
        """Return the median time to the first token."""
        return milliseconds(_p50(run))

    @admin.display(description="tokens/s")
    def pace(self, run: BenchmarkRun) -> str:
        """Return the tokens a second."""
        rate = run.results.get("tokens_per_second")
        return f"{rate:.1f}" if rate else "–"

    def save_model(self, request: HttpRequest, obj: BenchmarkRun, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's signature
        """Save the run and start it after the commit."""
        obj.user = request.user if isinstance(request.user, User) else None
        super().save_model(request, obj, form, change)
        transaction.on_commit(lambda: services.launch_benchmark(run=obj))

    def response_add(self, request: HttpRequest, obj: BenchmarkRun, post_url_continue: str | None = None) -> HttpResponse:  # noqa: ARG002 - Django's signature
        """Continue to the page of the new run."""
        return redirect("admin:backends_benchmarkrun_change", obj.pk)

    def get_urls(self) -> list[URLPattern]:
        """Add the addresses for progress and cancellation."""
        own = [
            path("<int:pk>/progress/", self.admin_site.admin_view(self.progress), name="backends_benchmarkrun_progress"),
            path("<int:pk>/cancel/", self.admin_site.admin_view(require_POST(self.cancel)), name="backends_benchmarkrun_cancel"),
        ]
        return own + super().get_urls()

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """Show the run, or the form with the possible targets."""
        run = self.get_object(request, object_id) if object_id else None
        context = {**(extra_context or {}), **(_shown(run) if run else {"targets": _targets()})}
        return super().changeform_view(request, object_id, form_url, context)

    def progress(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Show the part of the page that changes during a run."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        run = get_object_or_404(BenchmarkRun, pk=pk)
        return render(request, "admin/backends/benchmarkrun/_run.html", {"original": run, **_shown(run)})

    def cancel(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Cancel a run."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        services.cancel_benchmark(run=get_object_or_404(BenchmarkRun, pk=pk))
        return redirect("admin:backends_benchmarkrun_change", pk)


def _p50(run: BenchmarkRun) -> float | None:
    return (run.results.get("first_token_ms") or {}).get("p50")


def _targets() -> list[str]:
    known = snapshot.load()
    models = [f"{backend.name}/{model.name}" for backend, model in known.direct(None) if model.capabilities.get("chat", True)]
    return [*(route.name for route in known.routes.values() if route.enabled), *models]


def _shown(run: BenchmarkRun) -> dict[str, Any]:
    """Return the charts of one run: its requests in order, and its figures next to those of other runs."""
    if run.status != BenchmarkRun.Status.DONE:
        return {"targets": _targets()}
    samples = [sample for sample in run.results.get("samples", ()) if not sample["error"]]
    labels = [str(number + 1) for number in range(len(samples))]
    times = [[sample["first_token_ms"] for sample in samples], [sample["duration_ms"] for sample in samples]]
    drawn = [charts.lines("Request by request", labels, ("first token", "whole answer"), times, charts.seconds)]
    return {"charts": [*drawn, *_compared(run)]}


def _compared(run: BenchmarkRun) -> list[charts.Chart]:
    done = BenchmarkRun.objects.filter(status=BenchmarkRun.Status.DONE)
    others = [*done.filter(target=run.target).exclude(pk=run.pk)[:COMPARED], *done.exclude(target=run.target)[:COMPARED]]
    runs = sorted([run, *others[: COMPARED - 1]], key=lambda one: one.created_at)
    if len(runs) < 2:
        return []
    labels = [f"{one.target.rpartition('/')[2][:9]} ×{one.concurrency}" for one in runs]
    names = ("other runs", "this run")
    firsts = [_p50(one) or 0 for one in runs]
    paces = [one.results.get("tokens_per_second", 0) for one in runs]
    mine = [one.pk == run.pk for one in runs]
    return [
        charts.bars("First token, p50", labels, names, _marked(firsts, mine), charts.seconds),
        charts.bars("Tokens/s of all streams", labels, names, _marked(paces, mine)),
    ]


def _marked(values: list[float], mine: list[bool]) -> list[tuple[float, float]]:
    """Return each value as a bar of the first series, or of the second for this run."""
    return [(0, value) if own else (value, 0) for value, own in zip(values, mine, strict=True)]
