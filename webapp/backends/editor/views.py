"""Serve the route editor: steps in order, who gets which share, simulated failures, and a test question."""

from __future__ import annotations

from asgiref.sync import async_to_sync, sync_to_async
from django.contrib import messages
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth.decorators import login_required, permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.accounts.models import User
from webapp.backends import services
from webapp.backends.config import snapshot
from webapp.backends.config.failure_simulation import AT_ONCE, CONDITIONS, REQUESTS
from webapp.backends.config.snapshot import RouteRow
from webapp.backends.editor import draft, model_list, picture, trial
from webapp.backends.editor.draft import DraftStep
from webapp.backends.editor.forms import RouteForm
from webapp.backends.models import Backend, Route
from webapp.backends.runtime import cooldowns

QUESTION = "What is the capital of France? Answer in one sentence."
MAX_QUESTION = 4000


@login_required
@permission_required("backends.add_route", raise_exception=True)
@require_http_methods(["GET", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Create a route."""
    return _edit(request, Route())


@login_required
@permission_required("backends.change_route", raise_exception=True)
@require_http_methods(["GET", "POST"])
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    """Change a route and its steps."""
    return _edit(request, get_object_or_404(Route, pk=pk))


def _edit(request: HttpRequest, route: Route) -> HttpResponse:
    form = RouteForm(request.POST or None, instance=route)
    seen = request.POST.get("seen", services.version_of(route))
    if request.method != "POST":
        steps = draft.steps_of(route) if route.pk else []
        return _page(request, route, form, steps, seen)
    steps = draft.posted_steps(request.POST)
    valid = form.is_valid() and not any(step.problems for step in steps)
    if not valid:
        return _page(request, route, form, steps, seen, status=400)
    added = route.pk is None
    try:
        services.save_route(route=form.instance, steps=[step.row for step in steps], seen="" if added else seen)
    except services.RouteChanged:
        form.add_error(None, "Somebody else saved this route after you opened it. Reload the page to see their change, then make yours.")
        return _page(request, route, form, steps, seen, status=409)
    _log(request, form.instance, [step.row for step in steps], added=added)
    messages.success(request, _("%(name)s is saved. It applies to the next request.") % {"name": form.instance.name})
    return redirect("backends:route", form.instance.pk)


def _page(request: HttpRequest, route: Route, form: RouteForm, steps: list[DraftStep], seen: str, *, status: int = 200) -> HttpResponse:
    context = {
        "section": "backends",
        "route": route,
        "form": form,
        "steps": steps,
        "seen": seen,
        "conditions": [(name, words) for name, (words, _failure) in CONDITIONS.items()],
        "question": QUESTION,
        "backends": Backend.objects.filter(enabled=True),
        **model_list.find("", ""),
    }
    return render(request, "backends/route.html", context, status=status)


def _log(request: HttpRequest, route: Route, steps: list[object], *, added: bool) -> None:
    """Write the saved steps into the history that the admin shows."""
    assert request.user.pk is not None
    words = " → ".join(str(step) for step in steps) or "no steps"
    LogEntry.objects.log_actions(
        user_id=request.user.pk, queryset=[route], action_flag=ADDITION if added else CHANGE, change_message=f"Saved with {words}."
    )


@login_required
@permission_required("backends.change_route", raise_exception=True)
@require_GET
def models(request: HttpRequest) -> HttpResponse:
    """List the models that can become steps, filtered by backend and by words."""
    context = model_list.find(request.GET.get("words", "")[:200], request.GET.get("from", ""))
    return render(request, "backends/_models.html", context)


@login_required
@permission_required("backends.change_route", raise_exception=True)
@require_POST
def preview(request: HttpRequest) -> HttpResponse:
    """Draw the posted draft: shares, and what happens under the simulated failures. Nothing is sent or saved."""
    plan, conditions = _draft(request)
    if not plan.steps:
        return render(request, "backends/_picture.html", {"picture": None})
    cooling = cooldowns.rows() if request.POST.get("cooling") else []
    draw = async_to_sync(picture.draw, force_new_loop=True)
    drawn = draw(plan, snapshot.load(), conditions, cooling, picture.latencies())
    context = {"picture": drawn, "plan": plan, "failing": any(conditions), "requests": REQUESTS, "at_once": AT_ONCE}
    return render(request, "backends/_picture.html", {**context, "bar_width": picture.BAR_WIDTH})


def _draft(request: HttpRequest) -> tuple[RouteRow, list[str]]:
    form = RouteForm(request.POST)
    form.is_valid()
    steps = draft.posted_steps(request.POST)
    return draft.plan(form, steps), draft.conditions(steps)


async def question(request: HttpRequest) -> HttpResponse:
    """Send a test question through the posted draft. It runs in the server's event loop, which owns the connections to backends."""
    refused = await sync_to_async(_check_asker)(request)
    return await _ask(request) if refused.status_code == 204 else refused


@login_required
@permission_required("backends.change_route", raise_exception=True)
@require_POST
def _check_asker(_request: HttpRequest) -> HttpResponse:
    """Return an empty answer for users who may ask: Django's decorators refuse the others."""
    return HttpResponse(status=204)


async def _ask(request: HttpRequest) -> HttpResponse:
    plan, conditions = await sync_to_async(_draft)(request)
    text = request.POST.get("question", "").strip()[:MAX_QUESTION] or QUESTION
    user = await request.auser()
    asked = await trial.ask(plan, conditions, text, user_id=user.pk) if plan.steps and isinstance(user, User) else None
    return await sync_to_async(render)(request, "backends/_trial.html", {"trial": asked})
