"""Create, list, and revoke tokens of the signed-in user."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from webapp.accounts.models import User
from webapp.backends.services import create_token, revoke_token
from webapp.gateway import auth, selectors
from webapp.gateway.forms import TokenForm


@never_cache
@login_required
@require_http_methods(["GET", "POST"])
def tokens(request: HttpRequest) -> HttpResponse:
    """List the user's tokens, and create one. Its plain text appears only in this response."""
    if not isinstance(request.user, User):
        return HttpResponseForbidden()
    form = TokenForm(request.POST or None)
    plaintext = ""
    if request.method == "POST" and form.is_valid():
        _, plaintext = create_token(user=request.user, **form.values())
        form = TokenForm()
    page = {"form": form, "plaintext": plaintext, "tokens": selectors.tokens_of(request.user), "now": timezone.now()}
    return render(request, "gateway/tokens.html", page, status=400 if form.is_bound else 200)


@login_required
@require_POST
def revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """Revoke one of the user's tokens."""
    token = get_object_or_404(selectors.tokens_of(request.user), pk=pk) if isinstance(request.user, User) else None
    if token is None:
        return HttpResponseForbidden()
    revoke_token(token=token)
    auth.tokens.forget()
    messages.success(request, gettext("Token %(token)s revoked.") % {"token": token})
    return redirect("gateway:tokens")
