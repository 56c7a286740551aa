"""Show jobs at the backends' own Batch APIs, from any program, and follow them."""

from __future__ import annotations

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.contrib.auth.decorators import login_required, permission_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from batches.execution import runner
from batches.remote import remote_jobs
from batches.views.monitor import user_of
from webapp.patterns.errors import PatternError
from webapp.patterns.types import Json


@login_required
@permission_required(remote_jobs.PERMISSION, raise_exception=True)
@never_cache
@require_GET
def remote(request: HttpRequest) -> HttpResponse:
    """Show a page of the jobs at one backend with a Batch API, newest first."""
    servers = async_to_sync(remote_jobs.servers)()
    wanted = request.GET.get("backend", "")
    backend = wanted if wanted in servers else next(iter(servers), "")
    context: Json = {"servers": servers, "backend": backend}
    if backend:
        try:
            page = async_to_sync(remote_jobs.listed)(user_of(request), backend, after=request.GET.get("after", "")[:200])
            context |= {"jobs": page.jobs, "more": page.more}
        except PatternError as error:
            context["problem"] = error.message
    return render(request, "batches/remote.html", context)


@login_required
@permission_required(remote_jobs.PERMISSION, raise_exception=True)
@require_POST
def follow(request: HttpRequest) -> HttpResponse:
    """Follow a job and redirect to its page."""
    try:
        batch = async_to_sync(remote_jobs.follow)(
            user=user_of(request), backend=request.POST.get("backend", ""), job_id=request.POST.get("job", "")[:200]
        )
    except PatternError as error:
        messages.error(request, error.message)
        return redirect("batches:remote")
    runner.wake()
    return redirect("batches:detail", batch_id=batch.pk)
