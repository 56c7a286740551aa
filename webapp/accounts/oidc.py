"""Sign users in through an OpenID Connect provider. Imported only if the extra is installed and configured."""

from __future__ import annotations

import logging
from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.providers.openid_connect import views
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from requests import RequestException

from webapp.accounts import services

logger = logging.getLogger("patchbay.accounts")
BROKEN = _("Try again in a moment, or sign in with a password. If the error persists, an administrator can find the reason in the log.")
REFUSED = _("It refused the sign-in, or you canceled it. Try again, or ask its operator whether your account may use Patchbay.")


class Adapter(DefaultSocialAccountAdapter):
    """Connect a person to the account with the same verified email address; otherwise sign them up, if that is allowed."""

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        """Connect a first sign-in to the account that has the same verified address."""
        if sociallogin.is_existing:
            return
        user = services.account_of(address.email for address in sociallogin.email_addresses if address.verified)
        if user:
            sociallogin.connect(request, user)

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:  # noqa: ARG002 - allauth's signature
        """Return whether a first sign-in creates an account."""
        return bool(settings.OIDC_SIGN_UP)

    def on_authentication_error(
        self,
        request: HttpRequest,
        provider: Any,  # noqa: ARG002 - allauth's signature
        error: Any = None,  # noqa: ARG002 - allauth's signature
        exception: Exception | None = None,
        **_details: Any,
    ) -> None:
        """Show the reason: the provider refused, answered incorrectly, or its answer was for another browser."""
        said = request.GET.get("error", "")
        provider_name = {"provider": settings.OIDC_NAME}
        logger.warning("single sign-on failed: %.200r", exception or said)
        if exception:
            page = _page(request, gettext("%(provider)s did not answer correctly") % provider_name, str(BROKEN), status=502)
        elif said:
            page = _page(request, gettext("%(provider)s refused the sign-in") % provider_name, str(REFUSED))
        else:
            page = _page(
                request,
                gettext("That sign-in did not work"),
                gettext("It took too long or started in another browser. Go back to sign-in and try again."),
            )
        raise ImmediateHttpResponse(page)


def login(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Redirect to the provider, or show that it is unreachable."""
    try:
        return views.login(request, provider_id)  # type: ignore[no-any-return]  # allauth has no types
    except RequestException as error:
        logger.warning("single sign-on: the provider does not answer: %.200r", error)
        title = gettext("%(provider)s does not respond") % {"provider": settings.OIDC_NAME}
        return _page(request, title, gettext("Try again in a moment, or sign in with a password."), status=503)


def _page(request: HttpRequest, title: str, advice: str, *, status: int = 403) -> HttpResponse:
    return render(request, "error.html", {"status": status, "title": title, "advice": advice}, status=status)
