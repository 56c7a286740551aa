"""The pages of tool servers: which there are and how they are, one with its tools and calls, and signing in at one."""

from __future__ import annotations

from urllib.parse import urlsplit

from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from webapp.accounts.models import User
from webapp.patterns.mcp.types import ToolServerError
from webapp.toolservers import oauth, selectors, services, toolset
from webapp.toolservers.connections import sessions
from webapp.toolservers.forms import ServerForm, secret_names
from webapp.toolservers.models import ServerTool, ToolServer
from webapp.toolservers.presets import PRESETS

SHARED = "toolservers.add_toolserver"


@login_required
@require_GET
def index(request: HttpRequest) -> HttpResponse:
    """Show the servers that the user may use: tools, health, calls of the last day."""
    user = _user(request)
    found = list(selectors.servers(user).prefetch_related("tools"))
    sums = selectors.call_sums(found)
    rows = [(server, sums.get(server.pk, {})) for server in found]
    context = {"section": "backends", "rows": rows, "presets": PRESETS.values(), "may_add": _may_add(user), "shared": user.has_perm(SHARED)}
    return render(request, "toolservers/index.html", context)


@login_required
@require_http_methods(["GET", "POST"])
def new(request: HttpRequest) -> HttpResponse:
    """Add a server: administrators for everybody, others for themselves where that is allowed."""
    user = _user(request)
    if not _may_add(user):
        raise PermissionDenied
    shared = user.has_perm(SHARED)
    form = ServerForm(request.POST or None, preset=PRESETS.get(request.GET.get("preset", "")), shared=shared)
    if request.method == "POST" and form.is_valid():
        owner = None if shared else user
        if ToolServer.objects.filter(name=form.cleaned_data["name"], owner=owner).exists():
            form.add_error("name", _("There is a server of this name."))
        elif server := _saved(form, owner):
            _refresh_now(request, server)
            return redirect("toolservers:detail", server.pk)
    return render(request, "toolservers/edit.html", {"section": "backends", "form": form, "shared": shared})


@login_required
@require_http_methods(["GET", "POST"])
def detail(request: HttpRequest, pk: int) -> HttpResponse:
    """Show a server with its tools and its newest calls; take a change of how its tools are approved."""
    user = _user(request)
    server = get_object_or_404(selectors.servers(user).prefetch_related("tools"), pk=pk)
    may_change = selectors.changeable(user).filter(pk=pk).exists()
    if request.method == "POST":
        if not may_change:
            raise PermissionDenied
        approvals = {tool.name: request.POST[f"approval.{tool.pk}"] for tool in server.tools.all() if f"approval.{tool.pk}" in request.POST}
        services.set_approvals(server=server, approvals=approvals)
        messages.success(request, _("Saved. It applies from the next question on."))
        return redirect("toolservers:detail", pk)
    context = {
        "section": "backends",
        "server": server,
        "may_change": may_change,
        "approvals": ServerTool.Approval.choices,
        "calls": selectors.recent_calls(server, user),
        "secrets": secret_names(server) if may_change else "",
    }
    return render(request, "toolservers/detail.html", context)


@login_required
@require_http_methods(["GET", "POST"])
def edit(request: HttpRequest, pk: int) -> HttpResponse:
    """Change a server."""
    server = _changeable(request, pk)
    form = ServerForm(request.POST or None, server=server, shared=server.owner_id is None)
    if request.method == "POST" and form.is_valid() and (saved := _saved(form, server.owner)):
        async_to_sync(sessions.close_of)(saved.pk)
        _refresh_now(request, saved)
        return redirect("toolservers:detail", pk)
    context = {"section": "backends", "form": form, "server": server, "shared": server.owner_id is None, "secrets": secret_names(server)}
    return render(request, "toolservers/edit.html", context)


@login_required
@require_POST
def check(request: HttpRequest, pk: int) -> HttpResponse:
    """List a server's tools now."""
    _refresh_now(request, _changeable(request, pk))
    return redirect("toolservers:detail", pk)


@login_required
@require_POST
def delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Remove a server with its tools and calls."""
    server = _changeable(request, pk)
    server.delete()
    async_to_sync(sessions.close_of)(pk)
    messages.success(request, _("%(name)s is removed.") % {"name": server.name})
    return redirect("toolservers:index")


async def sign_in(request: HttpRequest, pk: int) -> HttpResponse:
    """Start an OAuth sign-in and show the link to the authorization server. Its tasks live in the server's event loop."""
    server = await sync_to_async(_to_sign_in)(request, pk)
    if isinstance(server, HttpResponse):
        return server
    callback = request.build_absolute_uri(reverse("toolservers:callback"))
    try:
        address = await oauth.begin(server, _user(request).pk, callback)
    except ToolServerError as error:
        await sync_to_async(messages.error)(request, error.message)
        return redirect("toolservers:detail", pk)
    if not address:
        await sync_to_async(messages.success)(request, _("%(name)s asks for no sign-in.") % {"name": server.name})
        return redirect("toolservers:detail", pk)
    context = {"section": "backends", "server": server, "address": address, "host": urlsplit(address).netloc}
    return await sync_to_async(render)(request, "toolservers/sign_in.html", context)


def _to_sign_in(request: HttpRequest, pk: int) -> ToolServer | HttpResponse:
    if not request.user.is_authenticated:
        return redirect_to_login(request.get_full_path())
    if request.method != "POST":
        return redirect("toolservers:detail", pk)
    return _changeable(request, pk)


@login_required
@require_GET
def callback(request: HttpRequest) -> HttpResponse:
    """Take the code that the authorization server sent the person back with."""
    given = {name: request.GET.get(name, "") for name in ("state", "code", "iss", "error")}
    server = oauth.finish(
        state=given["state"], user_id=_user(request).pk, code=given["code"], issuer=given["iss"], error=given["error"]
    )  # fmt: skip
    if server is None:
        messages.error(request, _("That sign-in is unknown or took too long. Start it again."))
        return redirect("toolservers:index")
    if given["error"] or not given["code"]:
        reason = given["error"] or _("no code came back")
        messages.error(request, _("%(name)s did not let you in: %(reason)s.") % {"name": server.name, "reason": reason})
    else:
        messages.success(request, _("Signed in at %(name)s. Its tools appear in a moment.") % {"name": server.name})
    return redirect("toolservers:detail", server.pk)


@require_GET
def client_metadata(request: HttpRequest) -> JsonResponse:
    """Describe Patchbay as an OAuth client to authorization servers that read this document in place of a registration."""
    redirect_uri = request.build_absolute_uri(reverse("toolservers:callback"))
    document = {"client_id": request.build_absolute_uri(request.path), **oauth.client_metadata(redirect_uri)}
    return JsonResponse({**document, "client_uri": request.build_absolute_uri("/")}, headers={"Cache-Control": "public, max-age=3600"})


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)
    return request.user


def _may_add(user: User) -> bool:
    return user.has_perm(SHARED) or bool(settings.TOOL_SERVER_HOSTS)


def _changeable(request: HttpRequest, pk: int) -> ToolServer:
    """Return a server that the user may change; 404 for one that the user may not see, 403 for one of the administrators'."""
    user = _user(request)
    server = get_object_or_404(selectors.servers(user), pk=pk)
    if not selectors.changeable(user).filter(pk=pk).exists():
        raise PermissionDenied
    return server


def _saved(form: ServerForm, owner: User | None) -> ToolServer | None:
    """Save what a valid form says; None, with the reason in the form, where it cannot be used."""
    try:
        server = services.add_server(owner=owner, **form.address())
    except ValidationError as error:
        form.add_error(None, error)
        return None
    services.set_limits(server=server, routes=form.cleaned_data.get("routes"), **form.limits())
    return server


def _refresh_now(request: HttpRequest, server: ToolServer) -> None:
    try:
        tools = async_to_sync(toolset.refresh)(server)
    except ToolServerError as error:
        messages.warning(request, error.message)
    else:
        found = ngettext("%(name)s answers and lists %(n)s tool.", "%(name)s answers and lists %(n)s tools.", len(tools))
        messages.success(request, found % {"name": server.name, "n": len(tools)})
