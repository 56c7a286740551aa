"""Who may come in through the OpenID Connect provider. Imported only where the extra is installed and set up."""

from __future__ import annotations

import logging
from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.providers.openid_connect import views
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from requests import RequestException

from webapp.accounts import services

logger = logging.getLogger("patchbay.accounts")
BROKEN = "Try again in a moment, or sign in with a password. If it stays, an administrator finds the reason in the log."
REFUSED = "It refused the sign-in, or you cancelled it. Try again, or ask whoever runs it whether your account may use Patchbay."


class Adapter(DefaultSocialAccountAdapter):
    """Connects a person to the account of the same verified email address; else signs them up, where that is allowed."""

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        if sociallogin.is_existing:
            return
        user = services.account_of(address.email for address in sociallogin.email_addresses if address.verified)
        if user:
            sociallogin.connect(request, user)

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:  # noqa: ARG002 - allauth's signature
        return bool(settings.OIDC_SIGN_UP)

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,  # noqa: ARG002 - allauth's signature
        error: Any = None,  # noqa: ARG002 - allauth's signature
        exception: Exception | None = None,
        **_details: Any,
    ) -> None:
        """The provider refused, did not answer as it should, or the answer was not for this browser."""
        said = request.GET.get("error", "")
        logger.warning("single sign-on failed: %.200r", exception or said)
        if exception:
            page = _page(request, f"{settings.OIDC_NAME} did not answer as it should", BROKEN, status=502)
        elif said:
            page = _page(request, f"{settings.OIDC_NAME} did not let you in", REFUSED)
        else:
            page = _page(
                request, "That sign-in did not work", "It took too long, or began in another browser. Go back to sign-in and try again."
            )
        raise ImmediateHttpResponse(page)


def login(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Send a person to the provider; where that one is away, say so."""
    try:
        return views.login(request, provider_id)  # type: ignore[no-any-return]  # allauth has no types
    except RequestException as error:
        logger.warning("single sign-on: the provider does not answer: %.200r", error)
        return _page(request, f"{settings.OIDC_NAME} does not answer", "Try again in a moment, or sign in with a password.", status=503)


def _page(request: HttpRequest, title: str, advice: str, *, status: int = 403) -> HttpResponse:
    return render(request, "error.html", {"status": status, "title": title, "advice": advice}, status=status)
