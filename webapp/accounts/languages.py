"""Choose the language of the interface: the user's choice, then this browser's, then the one its settings ask for.

Pages get it from the middleware. What is written outside of a request takes it from `activate_language_of` or `language_of`.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from http.cookies import CookieError, SimpleCookie
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import translation
from django.utils.cache import patch_vary_headers
from django.utils.decorators import sync_and_async_middleware
from django.utils.translation.trans_real import parse_accept_lang_header

from webapp.accounts.models import User
from webapp.core.database import DB_UNAVAILABLE

UNTRANSLATED = {"/healthz", "/readyz", "/metrics", "/csp-report/"}
"""The addresses that machines read. They are always in English, and health must not depend on a user's row."""


@sync_and_async_middleware
def languages(get_response: Any) -> Any:
    """Activate the language of each request, and name it in the response."""

    async def asynchronous(request: HttpRequest) -> HttpResponseBase:
        if _is_for_machines(request):
            return await get_response(request)  # type: ignore[no-any-return]  # Django's middleware is not typed
        if _has_session(request):
            try:
                request.user = await request.auser()  # the view finds it loaded
            except DB_UNAVAILABLE:
                request.user = AnonymousUser()  # the view fails in its turn, in the browser's language
        translation.activate(_language(request))
        return _named(await get_response(request))

    def synchronous(request: HttpRequest) -> HttpResponseBase:
        if _is_for_machines(request):
            return get_response(request)  # type: ignore[no-any-return]
        translation.activate(_language(request))
        return _named(get_response(request))

    return asynchronous if iscoroutinefunction(get_response) else synchronous


def _is_for_machines(request: HttpRequest) -> bool:
    if request.path not in UNTRANSLATED:
        return False
    translation.activate(settings.LANGUAGE_CODE)
    return True


def _has_session(request: HttpRequest) -> bool:
    return settings.SESSION_COOKIE_NAME in request.COOKIES


def _language(request: HttpRequest) -> str:
    chosen = getattr(request.user, "language", "") if _has_session(request) else ""
    return chosen if chosen in dict(settings.LANGUAGES) else translation.get_language_from_request(request)


def _named(response: HttpResponseBase) -> HttpResponseBase:
    if response.headers.get("Content-Type", "").startswith("text/html"):
        response.headers.setdefault("Content-Language", translation.get_language() or settings.LANGUAGE_CODE)
        patch_vary_headers(response, ("Accept-Language", "Cookie"))
    return response


def choice_of(request: HttpRequest) -> str:
    """Return the language that was chosen: the user's, or this browser's where nobody is signed in; empty without a choice."""
    user = getattr(request, "user", None)
    return user.language if isinstance(user, User) else request.COOKIES.get(settings.LANGUAGE_COOKIE_NAME, "")


def activate_language_of(user: User | AnonymousUser, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Activate a user's language for the rest of this task. Without a choice, the headers of the user's browser decide."""
    translation.activate(getattr(user, "language", "") or _asked_for(headers))


def language_of(user: User | None) -> AbstractContextManager[None]:
    """Write in a user's language within the block; in English where the user chose none."""
    return translation.override((user and user.language) or settings.LANGUAGE_CODE)


def _asked_for(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the language that the headers of a connection ask for: its cookie first, then what its browser accepts."""
    found = {name.lower(): value.decode("latin-1") for name, value in headers}
    try:
        cookie = SimpleCookie(found.get(b"cookie", "")).get(settings.LANGUAGE_COOKIE_NAME)
    except CookieError:
        cookie = None
    wanted = [cookie.value] if cookie else []
    wanted += [code for code, _weight in parse_accept_lang_header(found.get(b"accept-language", ""))]
    for code in wanted:
        try:
            return translation.get_supported_language_variant(code)
        except LookupError:
            continue
    return settings.LANGUAGE_CODE
