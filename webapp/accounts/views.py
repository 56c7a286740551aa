"""Views for setup, sign-in, sign-out, and the profile."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import auth, messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import PasswordChangeForm
from django.http import HttpRequest, HttpResponse, HttpResponseForbidden, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from webapp.accounts import services, throttling
from webapp.accounts.forms import LoginForm, ProfileForm, SetupForm
from webapp.accounts.models import THEME_NAMES, THEMES, User

YEAR_SECONDS = 365 * 24 * 3600


def start(request: HttpRequest) -> HttpResponse:
    """Redirect to the chat, to sign-in, or to setup."""
    if request.user.is_authenticated:
        return redirect("/chat/")
    return redirect("accounts:login" if User.objects.exists() else "accounts:setup")


@never_cache
@require_http_methods(["GET", "POST"])
def login(request: HttpRequest) -> HttpResponse:
    """Sign in and redirect to `next`."""
    if not User.objects.exists():
        return redirect("accounts:setup")
    if request.method == "POST" and throttling.is_address_locked(request):
        return locked_out(request, None, {"username": request.POST.get("username", "")})
    form = LoginForm(request, data=request.POST or None)
    if request.method == "POST" and form.is_valid():
        auth.login(request, form.get_user())  # replaces the session id
        return HttpResponseRedirect(_next(request))
    status = 400 if form.is_bound else 200
    context = {"form": form, "next": request.GET.get("next", ""), "sso": settings.OIDC_ISSUER and settings.OIDC_NAME}
    return render(request, "accounts/login.html", context, status=status)


def _next(request: HttpRequest) -> str:
    """Return the path in the form's `next` if it is on this site, otherwise `/`. Never a view's name."""
    target = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(target, allowed_hosts={request.get_host()}, require_https=request.is_secure())
    return target if safe else "/"


def locked_out(request: HttpRequest, _refused: HttpResponse | None, credentials: dict[str, Any] | None) -> HttpResponse:
    """Show the lockout page after too many wrong passwords."""
    minutes = throttling.minutes_left(request, credentials)
    response = render(request, "accounts/locked_out.html", {"minutes": minutes}, status=429)
    response["Retry-After"] = str(60 * minutes)
    return response


@require_POST
def logout(request: HttpRequest) -> HttpResponse:
    """Sign out."""
    auth.logout(request)
    return redirect("accounts:login")


@login_required
@require_POST
def sign_out_everywhere(request: HttpRequest) -> HttpResponse:
    """End every session of the user but this one."""
    if not isinstance(request.user, User):
        return HttpResponseForbidden()
    services.end_sessions(user=request.user)
    auth.update_session_auth_hash(request, request.user)
    messages.success(request, _("You are signed out on all other devices."))
    return redirect("accounts:profile")


@never_cache
@require_http_methods(["GET", "POST"])
def setup(request: HttpRequest) -> HttpResponse:
    """Create the first administrator, only through the link that the server printed."""
    if User.objects.exists():
        return redirect("accounts:login")
    token = request.POST.get("token") or request.GET.get("token", "")
    if not services.setup_token_fits(token):
        return render(request, "accounts/setup_link.html", status=403 if token else 200)
    form = SetupForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            user = services.create_first_administrator(username=data["username"], password=data["password1"], email=data["email"])
        except services.AlreadySetUp:
            return redirect("accounts:login")
        auth.login(request, user, backend="django.contrib.auth.backends.ModelBackend")
        return redirect("/backends/connect/")
    return render(request, "accounts/setup.html", {"form": form, "token": token}, status=400 if form.is_bound else 200)


@login_required
@require_http_methods(["GET", "POST"])
def profile(request: HttpRequest) -> HttpResponse:
    """Edit names, the default system prompt, and the password."""
    if not isinstance(request.user, User):
        return HttpResponseForbidden()
    changing = "old_password" in request.POST
    form = ProfileForm(request.POST if request.method == "POST" and not changing else None, instance=request.user)
    password = PasswordChangeForm(request.user, request.POST if changing else None)
    password.fields["old_password"].widget.attrs.pop("autofocus", None)  # the field is not the first one on the page
    if changing and password.is_valid():
        auth.update_session_auth_hash(request, password.save())
        messages.success(request, _("Password changed."))
        return redirect("accounts:profile")
    if form.is_bound and form.is_valid():
        form.save()
        messages.success(request, _("Saved."))
        return redirect("accounts:profile")
    status = 400 if form.is_bound or changing else 200
    return render(request, "accounts/profile.html", {"form": form, "password_form": password, "themes": THEME_NAMES.items()}, status=status)


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """Store light, dark, or auto in a cookie."""
    wanted = request.POST.get("theme", "auto")
    response = HttpResponseRedirect(_next(request))
    response.set_cookie(
        "theme",
        wanted if wanted in THEMES else "auto",
        max_age=YEAR_SECONDS,
        samesite="Lax",
        secure=request.is_secure(),
    )
    return response


@require_POST
def language(request: HttpRequest) -> HttpResponse:
    """Store the language of the interface: for the user, and in a cookie for this browser. An empty one means the browser's own."""
    wanted = request.POST.get("language", "")
    wanted = wanted if wanted in dict(settings.LANGUAGES) else ""
    if isinstance(request.user, User):
        services.choose_language(user=request.user, language=wanted)
    response = HttpResponseRedirect(_next(request))
    if wanted:
        response.set_cookie(
            settings.LANGUAGE_COOKIE_NAME, wanted, max_age=YEAR_SECONDS, samesite="Lax", secure=request.is_secure(), httponly=True
        )
    else:
        response.delete_cookie(settings.LANGUAGE_COOKIE_NAME, samesite="Lax")
    return response
