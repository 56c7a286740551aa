"""Who may come in through the OpenID Connect provider. Imported only where the extra is installed and set up."""

from __future__ import annotations

from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.conf import settings
from django.http import HttpRequest
from django.shortcuts import render

from webapp.accounts.models import User


class Adapter(DefaultSocialAccountAdapter):
    """Connects a person to the account of the same verified email address; else signs them up, where that is allowed."""

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        if sociallogin.is_existing:
            return
        verified = [address.email for address in sociallogin.email_addresses if address.verified]
        user = User.objects.filter(email__in=verified).exclude(email="").first()
        if user:
            sociallogin.connect(request, user)

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:  # noqa: ARG002 - allauth's signature
        return bool(settings.OIDC_SIGN_UP)

    def on_authentication_error(self, request: HttpRequest, provider: Any, **_details: Any) -> None:  # noqa: ARG002 - allauth's signature
        """The provider refused, or the answer was not for this browser."""
        raise ImmediateHttpResponse(_page(request, "That sign-in did not work", "Go back to the sign-in page and try again."))


def _page(request: HttpRequest, title: str, advice: str) -> Any:
    return render(request, "error.html", {"status": 403, "title": title, "advice": advice}, status=403)
