"""Serve the pages of mirrors and canaries."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required, permission_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.backends import services
from webapp.backends.models import Rollout
from webapp.backends.rollouts import figures
from webapp.backends.rollouts.forms import RolloutForm

SHOWN = 100


@login_required
@permission_required("backends.change_route", raise_exception=True)
@require_http_methods(["GET", "POST"])
def index(request: HttpRequest) -> HttpResponse:
    """Show the newest rollouts, and a form to start one."""
    form = RolloutForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            return redirect("backends:rollout", services.start_rollout(**form.arguments()).pk)
        except ValidationError as error:
            form.add_error(None, error.messages)
    found = Rollout.objects.select_related("route", "backend")[:SHOWN]
    return render(request, "rollouts/index.html", {"rollouts": found, "form": form}, status=422 if form.errors else 200)


@login_required
@permission_required("backends.change_route", raise_exception=True)
@require_GET
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the differences between the route and the candidate."""
    rollout = get_object_or_404(Rollout.objects.select_related("route", "backend"), pk=pk)
    return render(request, "rollouts/detail.html", {"rollout": rollout, "figures": figures.of(rollout)})


@login_required
@permission_required("backends.change_route", raise_exception=True)
@require_POST
def stop(request: HttpRequest, pk: int) -> HttpResponse:
    """Stop a rollout."""
    rollout = get_object_or_404(Rollout, pk=pk)
    services.stop_rollout(rollout=rollout, note=f"{request.user.get_username()} stopped it.")
    messages.success(request, _("The rollout is stopped. Requests go to the route's own steps."))
    return redirect("backends:rollout", pk)


@login_required
@permission_required("backends.change_route", raise_exception=True)
@require_POST
def promote(request: HttpRequest, pk: int) -> HttpResponse:
    """Make the candidate of a canary the first step of the route."""
    rollout = get_object_or_404(Rollout.objects.select_related("route", "backend"), pk=pk)
    names = {"candidate": rollout.candidate, "route": rollout.route.name}
    if services.promote_rollout(rollout=rollout, note=f"{request.user.get_username()} promoted it."):
        messages.success(request, _("%(candidate)s is now the first step of %(route)s.") % names)
    else:
        messages.error(request, _("Only a running canary can be promoted. %(route)s is unchanged.") % names)
    return redirect("backends:rollout", pk)
